//! Writes the adapted model that rtmposebatch or rtmposedetect runs: bytes in, rows of key points or boxes out. Options choose
//! half precision and a fixed batch size. The file is for other tools (trtexec, a graph viewer, a server); the elements accept
//! it, too.
//!
//!     cargo run --example adapt -- end2end.onnx adapted.onnx --half

#[path = "support/output.rs"]
mod output;

use std::{error::Error, path::PathBuf};

use clap::Parser;
use gstrtmpose::network::{
    Classes,
    graph::{self, Adaptation},
};

/// Writes the adapted model that the elements run: input `image` uint8 [N,H,W,3], output such as `keypoints` [N,K,4].
#[derive(Parser)]
struct Arguments {
    /// ONNX file of a pose model or a detector, as its authors export it.
    model: PathBuf,
    /// File to write.
    output: PathBuf,
    /// Compute in half precision.
    #[arg(long)]
    half: bool,
    /// Fix the batch dimension at this size.
    #[arg(long)]
    batch: Option<usize>,
    /// Classes of a detector that are people, separated by commas.
    #[arg(long, default_value = "0")]
    class_ids: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    output::make_folder_of(&arguments.output)?;
    let model = graph::read(std::fs::read(&arguments.model)?.into())?;
    let classes = Classes::read(&arguments.class_ids)
        .map_err(|wrong| format!("--class-ids: \"{wrong}\" is not the number of a class"))?;
    let adaptation =
        Adaptation { half: arguments.half, fixed_batch: arguments.batch, classes, ..Adaptation::default() };
    std::fs::write(&arguments.output, graph::adapt(&model, &adaptation)?)?;
    Ok(())
}
