//! Runs prepared sessions of adapted graphs: crops in, rows out.

use std::{ops::Range, sync::Arc};

use super::{
    cuda::capture_lock::{self, DroppedUnderLock},
    library::Runtime,
    planes,
    session::{RunOptions, Session},
    slot::{CardCrop, CropSlot, unfetched_crop},
};
use crate::{
    engine::{Error, ErrorKind, Executor, LoadEvent, Loading, Slot},
    network::{
        Kind, Network, Provider, Refusal,
        contract::{self, Contract, IMAGE},
        file::ModelFile,
        graph::Adaptation,
    },
};

pub(super) struct OnnxExecutor {
    /// One session for all sizes, or one for each. On an NVIDIA GPU, where captures must be alone, they are run and dropped
    /// under the capture lock.
    sessions: DroppedUnderLock<Vec<Session>>,
    /// Batch sizes that can be run, ascending.
    sizes: Vec<usize>,
    contract: Contract,
    kind: Kind,
    /// The model fails on several images at once, but not on each of them.
    one_by_one: bool,
    takes: Takes,
    /// Crops, [largest size, height, width, 3] or [largest size, 3, height, width].
    input: Vec<u8>,
    /// A crop that was copied from a GPU, before its colours are split.
    fetched: Vec<u8>,
    /// Rows whose crop could not be copied from a GPU.
    refused: Vec<(usize, Error)>,
    run_options: Arc<RunOptions>,
    name: String,
}

/// The order in which the sessions accept a crop's bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Pixels,
    Planes,
}

impl Takes {
    /// A file that accepts bytes has pixels.
    pub(super) fn of(file: &ModelFile, provider: Provider) -> Self {
        let is_on_a_cpu = matches!(provider, Provider::Cpu | Provider::OpenVino);
        if is_on_a_cpu && !file.is_adapted() { Self::Planes } else { Self::Pixels }
    }

    /// How a file is adapted for it.
    pub(super) fn adaptation(self) -> Adaptation {
        Adaptation { planar: self == Self::Planes, ..Adaptation::default() }
    }
}

impl OnnxExecutor {
    /// Runs the largest size once. This shows the number of key points if the file does not declare it, and whether a file
    /// with suppression of boxes accepts several images at once.
    pub(super) fn new(
        runtime: Runtime,
        sessions: Vec<Session>,
        sizes: Vec<usize>,
        file: &ModelFile,
        provider: Provider,
        loading: &Loading,
    ) -> Result<Self, Error> {
        let (contract, name) = (file.contract, &file.name);
        let largest = *sizes.last().expect("there is always a size");
        let mut executor = Self {
            // The permit for loading is still held.
            sessions: DroppedUnderLock::new(sessions, false),
            sizes,
            contract,
            // Until the first run has shown it.
            kind: contract.kind(0),
            one_by_one: false,
            takes: Takes::of(file, provider),
            fetched: Vec::new(),
            input: vec![0; largest * 3 * contract.width as usize * contract.height as usize],
            refused: Vec::new(),
            run_options: Arc::new(runtime.run_options()?),
            name: name.to_string(),
        };
        executor.kind = match executor.forward(0..largest, |_| ()) {
            Err(error) if executor.may_take_one_by_one(largest, &error) => {
                let kind = executor.forward(0..1, |_| ())?;
                (loading.report)(LoadEvent::Warning(format!(
                    "The model {name} cannot run {largest} frames at once ({error}), so they are run one after \
                     another; set batch-size=1 to do so without a warning"
                )));
                executor.one_by_one = true;
                kind
            }
            result => result?,
        };
        Ok(executor)
    }

    pub(super) fn with_network(
        mut self,
        provider: Provider,
        file: &ModelFile,
    ) -> (Network, Box<dyn Executor>) {
        self.sessions.set_takes_lock(provider.is_nvidia());
        let Contract { width, height, .. } = self.contract;
        let (score_unit, sha256) = (file.score_unit, Some(file.sha256.clone()));
        let network = Network { width, height, kind: self.kind, provider, score_unit, sha256 };
        (network, Box::new(self))
    }

    /// Whether rows that failed together may succeed alone: that depends on the images, if the file suppresses boxes.
    fn may_take_one_by_one(&self, rows: usize, error: &Error) -> bool {
        let is_the_files = matches!(error.kind, ErrorKind::Run | ErrorKind::ModelRefused);
        rows > 1 && is_the_files && self.contract.depends_on_pictures() && self.sizes.first() == Some(&1)
    }

    /// Runs these rows, as many as one of `sizes`; passes their answers to `read`, and returns what they mean.
    fn forward(&mut self, rows: Range<usize>, read: impl FnOnce(&[f32])) -> Result<Kind, Error> {
        let (width, height) = (self.contract.width as usize, self.contract.height as usize);
        let (first, rows) = (rows.start, rows.len());
        let index = self.sizes.iter().position(|size| *size == rows).unwrap_or_default();
        let session = if self.sessions.len() == 1 { 0 } else { index };
        let input = &self.input[first * height * width * 3..][..rows * height * width * 3];
        let shape = match self.takes {
            Takes::Pixels => [rows, height, width, 3],
            Takes::Planes => [rows, 3, height, width],
        };
        let input = (IMAGE, shape, input);
        let outputs = self.sessions[session].run(input, Some(&self.run_options))?;
        let (shape, answers) = outputs.get(self.contract.output())?;
        let kind = contract::check_rows(&self.contract, rows, shape, &self.name).map_err(Refusal::of_file)?;
        read(answers);
        Ok(kind)
    }
}

impl Executor for OnnxExecutor {
    fn load(&mut self, row: usize, crop: &dyn Slot) {
        let bytes = self.contract.width as usize * self.contract.height as usize * 3;
        let input = &mut self.input[row * bytes..][..bytes];
        let Some(CardCrop { frame, task }) = CropSlot::on_a_card(crop) else {
            return match self.takes {
                Takes::Pixels => input.copy_from_slice(crop.bytes()),
                Takes::Planes => planes::split(crop.bytes(), input),
            };
        };
        let _permit = capture_lock::run();
        let fetched = match self.takes {
            Takes::Pixels => frame.fetch_crop(task, input),
            Takes::Planes => {
                self.fetched.resize(bytes, 0);
                frame.fetch_crop(task, &mut self.fetched).map(|()| planes::split(&self.fetched, input))
            }
        };
        if let Err(why) = fetched {
            self.refused.push((row, unfetched_crop(&why)));
        }
    }

    fn refused(&mut self) -> Vec<(usize, Error)> {
        std::mem::take(&mut self.refused)
    }

    fn run(&mut self, rows: usize, answers: &mut [f32]) -> Result<usize, Error> {
        let size = *self
            .sizes
            .iter()
            .find(|size| **size >= rows)
            .ok_or_else(|| Error::new(ErrorKind::Run, format!("No batch size for {rows} crops")))?;
        let answers = &mut answers[..rows * self.kind.row()];
        let _permit = self.sessions.takes_lock().then(capture_lock::run);
        if !self.one_by_one {
            match self.forward(0..size, |all| answers.copy_from_slice(&all[..answers.len()])) {
                Err(error) if self.may_take_one_by_one(rows, &error) => (),
                result => return result.map(|_| size),
            }
        }
        for (row, answer) in answers.chunks_exact_mut(self.kind.row()).enumerate() {
            self.forward(row..row + 1, |one| answer.copy_from_slice(one))?;
        }
        self.one_by_one = true;
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        if self.one_by_one {
            return vec![1];
        }
        if self.sessions.len() == 1 {
            // One session accepts any size: its memory is laid out for the largest.
            return self.sizes.last().copied().into_iter().collect();
        }
        self.sizes.clone()
    }

    fn most_rows(&self) -> Option<usize> {
        // More at once would not be faster.
        if self.one_by_one { Some(1) } else { self.sizes.last().copied() }
    }

    fn terminator(&self) -> Arc<dyn Fn() + Send + Sync> {
        let run_options = self.run_options.clone();
        Arc::new(move || run_options.terminate())
    }
}
