//! Runs prepared sessions of adapted graphs: crops in, peaks out.

use std::sync::Arc;

use super::{
    cuda::turns::{self, DroppedInTurn},
    library::Runtime,
    session::{RunOptions, Session},
};
use crate::{
    engine::{Error, ErrorKind, Executor, Model},
    network::{
        Peak,
        contract::{self, Columns, Contract},
        graph::{IMAGE, KEY_POINTS},
    },
};

pub(super) struct OnnxExecutor {
    /// One session for all sizes, or one for each. On a GPU of NVIDIA, where captures must be alone, they are run and
    /// dropped in turn.
    sessions: DroppedInTurn<Vec<Session>>,
    /// Batch sizes that can be run, ascending.
    sizes: Vec<usize>,
    contract: Contract,
    points: usize,
    /// Crops, [largest size, height, width, 3].
    input: Vec<u8>,
    run_options: Arc<RunOptions>,
    name: String,
}

impl OnnxExecutor {
    /// Runs the largest size once, which shows the number of key points where the file does not say it.
    pub(super) fn new(
        runtime: Runtime,
        sessions: Vec<Session>,
        sizes: Vec<usize>,
        contract: Contract,
        name: &str,
    ) -> Result<Self, Error> {
        let largest = *sizes.last().expect("there is always a size");
        let mut executor = Self {
            // A turn for loading is still held.
            sessions: DroppedInTurn::new(sessions, false),
            sizes,
            contract,
            points: 0,
            input: vec![0; largest * 3 * contract.width as usize * contract.height as usize],
            run_options: Arc::new(runtime.run_options()?),
            name: name.to_string(),
        };
        executor.points = executor.forward(largest, |_| ())?;
        Ok(executor)
    }

    pub(super) fn with_model(mut self, provider: &str, sha256: String) -> (Model, Box<dyn Executor>) {
        self.sessions.set_takes_turns(["cuda", "tensorrt"].contains(&provider));
        let model = self.contract.model(self.points, provider, sha256);
        (model, Box::new(self))
    }

    /// Runs `rows` rows, one of `sizes`; gives the key points to `read` and their number for a crop back.
    fn forward(&mut self, rows: usize, read: impl FnOnce(&[f32])) -> Result<usize, Error> {
        let (width, height) = (self.contract.width as usize, self.contract.height as usize);
        let index = self.sizes.iter().position(|size| *size == rows).unwrap_or_default();
        let session = if self.sessions.len() == 1 { 0 } else { index };
        let input = &self.input[..rows * height * width * 3];
        let input = (IMAGE, [rows, height, width, 3], input);
        let outputs = self.sessions[session].run(input, Some(&self.run_options))?;
        let (shape, key_points) = outputs.get(KEY_POINTS)?;
        let points = contract::check_key_points(&self.contract, rows, shape, &self.name)?;
        read(key_points);
        Ok(points)
    }
}

/// The peaks of the rows of `key_points`. NaN stays NaN: it counts as missing.
pub(super) fn to_peaks(key_points: &[f32], columns: Columns, peaks: &mut [Peak]) {
    match columns {
        Columns::Maxima => {
            let (rows, _) = key_points.as_chunks();
            for (peak, [x, y, max_x, max_y]) in peaks.iter_mut().zip(rows) {
                *peak = Peak { x: *x, y: *y, max_x: *max_x, max_y: *max_y };
            }
        }
        Columns::Score => {
            let (rows, _) = key_points.as_chunks();
            for (peak, [x, y, score]) in peaks.iter_mut().zip(rows) {
                *peak = Peak { x: *x, y: *y, max_x: *score, max_y: *score };
            }
        }
    }
}

impl Executor for OnnxExecutor {
    fn load(&mut self, row: usize, crop: &[u8]) {
        let bytes = self.contract.width as usize * self.contract.height as usize * 3;
        self.input[row * bytes..][..bytes].copy_from_slice(crop);
    }

    fn run(&mut self, rows: usize, peaks: &mut [Peak]) -> Result<usize, Error> {
        let size = *self
            .sizes
            .iter()
            .find(|size| **size >= rows)
            .ok_or_else(|| Error::new(ErrorKind::Run, format!("No batch size for {rows} crops")))?;
        let (points, columns) = (self.points, self.contract.columns());
        let _turn = self.sessions.takes_turns().then(turns::run);
        self.forward(size, |key_points| to_peaks(key_points, columns, &mut peaks[..rows * points]))?;
        Ok(size)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        if self.sessions.len() == 1 {
            // One session takes any size: its memory is laid out for the largest.
            return self.sizes.last().copied().into_iter().collect();
        }
        self.sizes.clone()
    }

    fn terminator(&self) -> Arc<dyn Fn() + Send + Sync> {
        let run_options = self.run_options.clone();
        Arc::new(move || run_options.terminate())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_columns_become_peaks() {
        let mut peaks = [Peak::default(); 2];
        to_peaks(&[1.0, 2.5, 0.5, 0.25, 3.0, 4.0, f32::NAN, 1.5], Columns::Maxima, &mut peaks);
        assert_eq!(peaks[0], Peak { x: 1.0, y: 2.5, max_x: 0.5, max_y: 0.25 });
        assert_eq!((peaks[1].x, peaks[1].max_y), (3.0, 1.5));
        assert!(peaks[1].max_x.is_nan());
        to_peaks(&[1.0, 2.5, 0.5, 3.0, 4.0, 1.5], Columns::Score, &mut peaks);
        assert_eq!(peaks[1], Peak { x: 3.0, y: 4.0, max_x: 1.5, max_y: 1.5 });
    }
}
