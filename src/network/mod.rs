//! What a model accepts and returns: its kind, and how a file is recognised; the adapted graph, from bytes to rows; the
//! decoding of rows. A new kind of model is added here and nowhere else.

mod boxes;
pub(crate) mod check;
mod classes;
pub(crate) mod contract;
pub(crate) mod detector;
pub(crate) mod file;
pub mod graph;
mod heatmap;
mod kind;
mod refusal;
mod rtmo;
mod simcc;
mod task;

pub use boxes::{BoxForm, Boxes, Detection, Suppression, Thresholds};
pub use classes::Classes;
pub use file::{Wanted, check_and_adapt, check_cut_and_adapt, checksum};
pub use kind::{Columns, Kind, OnlyScore};
pub(crate) use refusal::Refusal;
pub use simcc::{Peak, ScoreMode, decode};
pub use task::Task;

use crate::engine::{self, Shape};

/// A loaded model: what goes in, what comes out, and what runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Size of a crop in pixels.
    pub width: u32,
    pub height: u32,
    pub kind: Kind,
    pub provider: Provider,
    /// What its scores must be divided by for the tracker's thresholds (`models/training/calibrate.py`); 1 for models whose scores are
    /// no chances.
    pub score_unit: f32,
    /// SHA-256 of the model file, in hexadecimal; none if there is no file.
    pub sha256: Option<String>,
}

impl Network {
    /// A model that answers like RTMPose and runs in no runtime of this crate: a test's, or an application's own.
    pub fn simcc(width: u32, height: u32, points: usize, provider: &'static str) -> Self {
        let kind = Kind::SimCc { points, columns: Columns::Maxima };
        Self { width, height, kind, provider: Provider::Other(provider), score_unit: 1.0, sha256: None }
    }
}

/// What runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
    /// Inference servers.
    Server,
    /// None of this crate's.
    Other(&'static str),
}

impl Provider {
    /// The name for users.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::TensorRt => "tensorrt",
            Self::OpenVino => "openvino",
            Self::Server => "server",
            Self::Other(name) => name,
        }
    }

    /// Whether it is an NVIDIA GPU.
    pub fn is_nvidia(self) -> bool {
        matches!(self, Self::Cuda | Self::TensorRt)
    }
}

impl engine::Network for Network {
    fn shape(&self) -> Shape {
        Shape { width: self.width, height: self.height, row: self.kind.row() }
    }

    fn provider(&self) -> &str {
        self.provider.name()
    }

    fn answers_like(&self, other: &Self) -> bool {
        (self.width, self.height, self.kind) == (other.width, other.height, other.kind)
    }
}
