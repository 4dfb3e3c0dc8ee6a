//! Makes a model repository for Triton from a model that the elements run: the adapted model, and a configuration for
//! clients that batch by themselves.
//!
//!     models/server-repository rtmpose-m.onnx repository
//!
//! writes `repository/rtmpose-m/1/model.onnx` and `repository/rtmpose-m/config.pbtxt`, for
//! `tritonserver --model-repository=repository` and `rtmposebatch inference-server=grpc://...:8001 model-name=rtmpose-m`.

#[path = "support/output.rs"]
mod output;

use std::{error::Error, fmt::Write, fs, path::PathBuf};

use clap::Parser;
use gstrtmpose::network::{
    check_and_adapt,
    graph::{self, Adaptation, messages::ValueInfo},
};

/// Makes a model repository for Triton from a model that rtmposebatch or rtmposedetect runs.
#[derive(Parser)]
struct Arguments {
    /// ONNX file, as model-file of rtmposebatch or rtmposedetect accepts it.
    model: PathBuf,
    /// Folder of the repository. Other models in it are kept.
    repository: PathBuf,
    /// Name of the model on the server [default: the file's name]
    #[arg(long)]
    name: Option<String>,
    /// Most crops in a request, at least the clients' batch-size.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    largest: u16,
    /// Batches in flight at once: with 2, one is copied while the other is computed.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=16))]
    instances: u16,
    /// Run the model on the server's CPU instead of its GPUs.
    #[arg(long)]
    cpu: bool,
    /// Compute in half precision.
    #[arg(long)]
    half: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let stem = arguments.model.file_stem().and_then(|stem| stem.to_str()).unwrap_or("rtmpose");
    let name = arguments.name.clone().unwrap_or_else(|| stem.to_string());
    if name.is_empty() || !name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    {
        return Err(format!(
            "`{name}` is not a valid name for a model: set --name to one of letters, digits, -, _ and ."
        )
        .into());
    }
    let bytes =
        fs::read(&arguments.model).map_err(|error| format!("{}: {error}", arguments.model.display()))?;
    let adapted = check_and_adapt(&bytes, &Adaptation { half: arguments.half, ..Adaptation::default() })?;
    let folder = arguments.repository.join(&name);
    output::make_folder(folder.join("1"))?;
    fs::write(folder.join("config.pbtxt"), configuration(&name, &adapted, &arguments)?)?;
    fs::write(folder.join("1/model.onnx"), adapted)?;
    println!(
        "{}: start tritonserver --model-repository={}",
        folder.display(),
        arguments.repository.display()
    );
    Ok(())
}

/// The text of `config.pbtxt`.
fn configuration(name: &str, adapted: &[u8], arguments: &Arguments) -> Result<String, Box<dyn Error>> {
    let model = graph::read(adapted.to_vec().into())?;
    let graph = model.graph.ok_or("the model has no graph")?;
    let (input, output) =
        (graph.inputs().next().ok_or("no input")?, graph.output.first().ok_or("no output")?);
    // A batch dimension that the file fixes is an ordinary dimension; otherwise requests are batched.
    let fixed = input.dimensions()[0];
    let largest = fixed.map_or(i64::from(arguments.largest), |_| 0);
    let skipped = usize::from(fixed.is_none());
    let dims = |value: &ValueInfo| {
        let sides = value.dimensions().into_iter().skip(skipped).map(|side| side.unwrap_or(-1).to_string());
        sides.collect::<Vec<_>>().join(", ")
    };
    let (input_name, input_dims) = (input.name(), dims(input));
    let mut text = format!(
        r#"# Made by models/server-repository: bytes in, rows of numbers out.
name: "{name}"
backend: "onnxruntime"
max_batch_size: {largest}
input [ {{ name: "{input_name}" data_type: TYPE_UINT8 dims: [ {input_dims} ] }} ]
output [ {{ name: "{}" data_type: TYPE_FP32 dims: [ {} ] }} ]
"#,
        output.name(),
        dims(output)
    );
    let kind = if arguments.cpu { "KIND_CPU" } else { "KIND_GPU" };
    writeln!(text, "instance_group [ {{ count: {} kind: {kind} }} ]", arguments.instances)?;
    let mut sizes = vec![fixed.unwrap_or(1)];
    if largest > 1 {
        text += "\n# Clients have filled their batches already: a request waits for no other one.\n\
                 dynamic_batching { max_queue_delay_microseconds: 0 }\n";
        sizes.push(largest);
    }
    text += "\n# The first runs of a size take long: they are over before the model is ready.\n";
    for size in sizes {
        // The dimensions of a fixed batch include its size.
        let batch_size = if fixed.is_some() { 0 } else { size };
        writeln!(
            text,
            "model_warmup [ {{ name: \"{size}\" batch_size: {batch_size} inputs {{ key: \"{input_name}\" value \
             {{ data_type: TYPE_UINT8 dims: [ {input_dims} ] zero_data: true }} }} }} ]"
        )?;
    }
    if !arguments.cpu {
        text += "\n# Algorithms by cuDNN's heuristics, since to measure them takes long for each size of a batch; convolutions of\n\
                 # channels last, which tensor cores take as they are.\n\
                 optimization { execution_accelerators { gpu_execution_accelerator : [ { name : \"cuda\"\n  \
                 parameters { key: \"cudnn_conv_algo_search\" value: \"HEURISTIC\" }\n  \
                 parameters { key: \"prefer_nhwc\" value: \"1\" } } ] } }\n";
    }
    Ok(text)
}
