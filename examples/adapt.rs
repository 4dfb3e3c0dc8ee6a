//! Writes an RTMPose file as rtmposebatch runs it: bytes in, key points out, if asked for in half precision or with a
//! fixed batch. Such a file is for other tools (trtexec, a graph viewer, a server), and rtmposebatch takes it too.
//!
//!     cargo run --example adapt -- end2end.onnx adapted.onnx --half

#[path = "support/output.rs"]
mod output;

use std::{error::Error, path::PathBuf};

use clap::Parser;
use gstrtmpose::network::graph::{self, Adaptation};

/// Writes an RTMPose file as rtmposebatch runs it: `image` uint8 [N,H,W,3] in, `keypoints` [N,K,4] out.
#[derive(Parser)]
struct Arguments {
    /// RTMPose network as mmdeploy exports it.
    model: PathBuf,
    /// File to write.
    output: PathBuf,
    /// Compute in half precision.
    #[arg(long)]
    half: bool,
    /// Fix the batch dimension at this size.
    #[arg(long)]
    batch: Option<usize>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    output::make_folder_of(&arguments.output)?;
    let model = graph::read(std::fs::read(&arguments.model)?.into())?;
    let adaptation =
        Adaptation { half: arguments.half, fixed_batch: arguments.batch, ..Adaptation::default() };
    std::fs::write(&arguments.output, graph::adapt(&model, &adaptation)?)?;
    Ok(())
}
