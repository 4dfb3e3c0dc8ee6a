//! Rows of a network's answers, for tests that run an executor by themselves.

use gstrtmpose::{
    network::{Columns, Kind, Network, Peak},
    runtime::onnx::{Log, LogLevel},
};

/// The peaks in the rows of answers.
pub fn peaks(network: &Network, answers: &[f32]) -> Vec<Peak> {
    match network.kind {
        Kind::SimCc { columns: Columns::Maxima, .. } => {
            let (rows, _) = answers.as_chunks();
            rows.iter().map(|&[x, y, max_x, max_y]| Peak { x, y, max_x, max_y }).collect()
        }
        Kind::SimCc { columns: Columns::Score, .. } => {
            let (rows, _) = answers.as_chunks();
            rows.iter().map(|&[x, y, score]| Peak { x, y, max_x: score, max_y: score }).collect()
        }
        Kind::SimCc { columns: Columns::Depth, .. } => {
            let (rows, _) = answers.as_chunks();
            rows.iter().map(|&[x, y, max_x, max_y, _]| Peak { x, y, max_x, max_y }).collect()
        }
        _ => panic!("these networks give peaks"),
    }
}

/// Room for the answers to `crops` crops.
pub fn room(network: &Network, crops: usize) -> Vec<f32> {
    vec![0.0; crops * network.kind.row()]
}

/// A log that prints ONNX Runtime's warnings.
pub fn printed() -> Log {
    Log { level: LogLevel::Warning, write: |level, place, message| eprintln!("{level:?} {place} {message}") }
}
