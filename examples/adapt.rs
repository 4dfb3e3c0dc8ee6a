//! Writes a network as rtmposebatch or rtmposedetect runs it: bytes in, rows of key points or boxes out, if asked for in half
//! precision or with a fixed batch. Such a file is for other tools (trtexec, a graph viewer, a server), and rtmposebatch takes it too.
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

/// Writes a network as the elements run it: `image` uint8 [N,H,W,3] in, and out, such as RTMPose's, `keypoints` [N,K,4].
#[derive(Parser)]
struct Arguments {
    /// A pose network or a detector, as its makers export it.
    model: PathBuf,
    /// File to write.
    output: PathBuf,
    /// Compute in half precision.
    #[arg(long)]
    half: bool,
    /// Fix the batch dimension at this size.
    #[arg(long)]
    batch: Option<usize>,
    /// A detector's classes that are people, separated by commas.
    #[arg(long, default_value = "0")]
    class_ids: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    output::make_folder_of(&arguments.output)?;
    let model = graph::read(std::fs::read(&arguments.model)?.into())?;
    let classes = Classes::read(&arguments.class_ids)
        .map_err(|wrong| format!("--class-ids: \"{wrong}\" is not the number of a class"))?;
    let adaptation = Adaptation { half: arguments.half, fixed_batch: arguments.batch, classes };
    std::fs::write(&arguments.output, graph::adapt(&model, &adaptation)?)?;
    Ok(())
}
