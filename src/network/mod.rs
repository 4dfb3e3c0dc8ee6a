//! What a network takes and gives: its kind, and how a file tells it; the graph rewritten to take bytes and give rows; the
//! rows decoded. A new kind of network is added here and nowhere else.

mod boxes;
pub(crate) mod check;
mod classes;
pub(crate) mod contract;
mod detector;
pub(crate) mod file;
pub mod graph;
mod heatmap;
mod kind;
mod rtmo;
mod simcc;
mod task;

pub use boxes::{BoxForm, Boxes, Detection, Thresholds};
pub use classes::Classes;
pub use file::{Wanted, check_and_adapt, checksum};
pub use kind::{Columns, Kind, OnlyScore};
pub use simcc::{Peak, ScoreMode, decode};
pub use task::Task;

use crate::engine::{self, Shape};

/// A loaded network: what goes in, what comes out, and what runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Size of a crop in pixels.
    pub width: u32,
    pub height: u32,
    pub kind: Kind,
    pub provider: Provider,
    /// SHA-256 of the model file, in hexadecimal; none where there is no file.
    pub sha256: Option<String>,
}

impl Network {
    /// One that answers as RTMPose does and runs in no runtime of this crate: a test's, or an application's own.
    pub fn simcc(width: u32, height: u32, points: usize, provider: &'static str) -> Self {
        let kind = Kind::SimCc { points, columns: Columns::Maxima };
        Self { width, height, kind, provider: Provider::Other(provider), sha256: None }
    }
}

/// What runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
    /// Servers elsewhere.
    Server,
    /// None of this crate's.
    Other(&'static str),
}

impl Provider {
    /// The name that users know.
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

    /// Whether it is a card of NVIDIA.
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
