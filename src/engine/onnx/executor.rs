//! Runs prepared sessions: normalised crops in, peaks out.

use std::sync::Arc;

use ort::{
    session::{RunOptions, Session},
    value::TensorRef,
};

use super::{
    contract::{self, Contract, INPUT, OUTPUTS},
    run_error,
};
use crate::{
    engine::{Error, Executor, Model},
    pose::{Peak, decode},
};

/// Mean and standard deviation of the training pictures' red, green and blue (`data_preprocessor` in mmpose's RTMPose
/// configs).
pub(super) const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
pub(super) const STD: [f32; 3] = [58.395, 57.12, 57.375];

pub(super) struct OnnxExecutor {
    /// One session for all sizes, or one for each.
    sessions: Vec<Session>,
    /// Batch sizes that can be run, ascending.
    sizes: Vec<usize>,
    contract: Contract,
    points: usize,
    /// Normalised crops, [largest size, 3, height, width].
    input: Vec<f32>,
    /// The normalised value of each 8-bit sample, by channel.
    normalised: [[f32; 256]; 3],
    run_options: Arc<RunOptions>,
    name: String,
}

impl OnnxExecutor {
    /// Runs each session once, which shows the number of key points where the file does not say it.
    pub(super) fn new(
        sessions: Vec<Session>,
        sizes: Vec<usize>,
        contract: Contract,
        name: &str,
    ) -> Result<Self, Error> {
        let largest = *sizes.last().expect("there is always a size");
        let normalised =
            std::array::from_fn(|c| std::array::from_fn(|value| (value as f32 - MEAN[c]) / STD[c]));
        let mut executor = Self {
            sessions,
            sizes,
            contract,
            points: 0,
            input: vec![0.0; largest * 3 * contract.width as usize * contract.height as usize],
            normalised,
            run_options: Arc::new(RunOptions::new().map_err(run_error)?),
            name: name.to_string(),
        };
        executor.points = executor.forward(largest, |_, _, _| ())?;
        Ok(executor)
    }

    pub(super) fn with_model(self, provider: &str, sha256: String) -> (Model, Box<dyn Executor>) {
        let model = Model {
            width: self.contract.width,
            height: self.contract.height,
            points: self.points,
            provider: provider.to_string(),
            sha256,
        };
        (model, Box::new(self))
    }

    /// Runs `rows` rows, one of `sizes`; gives the outputs to `read` and the number of key points back.
    fn forward(&mut self, rows: usize, read: impl FnOnce(&[f32], &[f32], usize)) -> Result<usize, Error> {
        let Contract { width, height, .. } = self.contract;
        let index = self.sizes.iter().position(|size| *size == rows).unwrap_or_default();
        let session = if self.sessions.len() == 1 { 0 } else { index };
        let crop = 3 * width as usize * height as usize;
        let shape = [rows, 3, height as usize, width as usize];
        let input = TensorRef::from_array_view((shape, &self.input[..rows * crop])).map_err(run_error)?;
        let outputs = self.sessions[session]
            .run_with_options(ort::inputs![INPUT => input], &self.run_options)
            .map_err(run_error)?;
        let extract = |output: usize| {
            outputs
                .get(OUTPUTS[output])
                .ok_or_else(|| {
                    Error::new(crate::engine::ErrorKind::Run, format!("No output {}", OUTPUTS[output]))
                })
                .and_then(|value| value.try_extract_tensor::<f32>().map_err(run_error))
        };
        let ((shape_x, simcc_x), (shape_y, simcc_y)) = (extract(0)?, extract(1)?);
        let points = contract::check_output(&self.contract, rows, 0, shape_x, &self.name)?;
        let points_y = contract::check_output(&self.contract, rows, 1, shape_y, &self.name)?;
        if points != points_y {
            return Err(contract::different_points(&self.name, points, points_y));
        }
        read(simcc_x, simcc_y, points);
        Ok(points)
    }
}

impl Executor for OnnxExecutor {
    fn load(&mut self, row: usize, crop: &[u8]) {
        let pixels = self.contract.width as usize * self.contract.height as usize;
        let planes = &mut self.input[row * 3 * pixels..][..3 * pixels];
        let (red, rest) = planes.split_at_mut(pixels);
        let (green, blue) = rest.split_at_mut(pixels);
        let [r, g, b] = &self.normalised;
        for (((red, green), blue), pixel) in red.iter_mut().zip(green).zip(blue).zip(crop.chunks_exact(3)) {
            *red = r[pixel[0] as usize];
            *green = g[pixel[1] as usize];
            *blue = b[pixel[2] as usize];
        }
    }

    fn run(&mut self, rows: usize, peaks: &mut [Peak]) -> Result<usize, Error> {
        let size = *self.sizes.iter().find(|size| **size >= rows).ok_or_else(|| {
            Error::new(crate::engine::ErrorKind::Run, format!("No batch size for {rows} crops"))
        })?;
        let points = self.points;
        self.forward(size, |simcc_x, simcc_y, _| {
            let (bins_x, bins_y) = (simcc_x.len() / size, simcc_y.len() / size);
            for row in 0..rows {
                decode(
                    &simcc_x[row * bins_x..][..bins_x],
                    &simcc_y[row * bins_y..][..bins_y],
                    &mut peaks[row * points..][..points],
                );
            }
        })?;
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
        Arc::new(move || {
            let _ = run_options.terminate();
        })
    }
}
