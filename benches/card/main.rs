//! The limit of an NVIDIA GPU, and how near the element comes to it. `benches/gpu` runs it and describes the commands.
//!
//! Each measurement is a separate process (`part ...`), so that start-up time and memory are its own; the parent collects
//! what the parts print into one table, benches/gpu.json and benches/gpu.svg.

mod bare;
mod cameras;
mod detector;
mod element;
mod fuse;
mod report;
mod several;
mod stall;
mod video;

use std::{collections::BTreeMap, error::Error, path::PathBuf, process::Command, time::Duration};

use gstrtmpose::runtime::onnx::{ConvAlgoSearch, FuseConvBias, OnnxBackend, Precision, Provider};
use report::Row;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Multiply-adds of one 256x192 crop, in 10^9. RTMPose's own table calls them GFLOPs.
const GIGA_MACS: [(&str, f64); 4] = [("t", 0.36), ("s", 0.68), ("m", 1.93), ("l", 4.16)];

/// Options of a part: `name=value` arguments.
struct Options(BTreeMap<String, String>);

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let pair = |argument: String| {
            let (name, value) =
                argument.split_once('=').ok_or_else(|| format!("{argument} is no name=value"))?;
            Ok((name.to_string(), value.to_string()))
        };
        arguments.map(pair).collect::<Result<_>>().map(Self)
    }

    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, |value| value)
    }

    fn number(&self, name: &str, default: f64) -> Result<f64> {
        Ok(self.0.get(name).map_or(Ok(default), |value| value.parse())?)
    }

    fn count(&self, name: &str, default: usize) -> Result<usize> {
        Ok(self.0.get(name).map_or(Ok(default), |value| value.parse())?)
    }

    fn seconds(&self) -> Result<Duration> {
        Ok(Duration::from_secs_f64(self.number("seconds", 2.0)?))
    }

    fn model(&self) -> &str {
        self.text("model", concat!(env!("CARGO_MANIFEST_DIR"), "/models/rtmpose-t.onnx"))
    }

    fn backend(&self) -> Result<OnnxBackend> {
        Ok(OnnxBackend {
            model_file: Some(self.model().into()),
            batch_size: self.count("batch", 8)?,
            provider: if self.text("provider", "cuda") == "cpu" { Provider::Cpu } else { Provider::Cuda },
            precision: match self.text("precision", "fp16") {
                "fp16" => Precision::Fp16,
                "fp32" => Precision::Fp32,
                _ => Precision::Tf32,
            },
            conv_algo_search: match self.text("search", "heuristic") {
                "exhaustive" => ConvAlgoSearch::Exhaustive,
                "default" => ConvAlgoSearch::Default,
                _ => ConvAlgoSearch::Heuristic,
            },
            fuse_conv_bias: match self.text("fuse", "auto") {
                "on" => FuseConvBias::On,
                "off" => FuseConvBias::Off,
                _ => FuseConvBias::Auto,
            },
            ..OnnxBackend::default()
        })
    }

    /// With `turn=FIFO`: reports that all is loaded, and waits until the run writes to the FIFO. So several
    /// parts can load at once and measure one after another.
    fn wait_for_turn(&self) -> Result<()> {
        if let Some(fifo) = self.0.get("turn") {
            println!("loaded");
            std::fs::read(fifo)?;
        }
        Ok(())
    }

    /// Arithmetic of `crops` crops a second, in 10^12 operations a second; a multiply-add counts as two.
    fn teraflops(&self, crops: f64) -> Option<f64> {
        let size = self.text("size", "");
        let (_, macs) = GIGA_MACS.iter().find(|(name, _)| *name == size)?;
        Some(2.0 * macs * crops / 1000.0)
    }
}

fn main() -> Result<()> {
    // `cargo bench` adds --bench.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let command = arguments.next().unwrap_or("all".to_string());
    if command == "part" {
        let part = arguments.next().ok_or("which part?")?;
        let options = Options::parse(arguments)?;
        let rows = match &part[..] {
            "bare" => vec![bare::measure(&options)?],
            "element" => vec![element::measure(&options)?],
            "cameras" => cameras::measure(&options)?,
            "cards" => vec![several::measure(&options)?],
            "detector" => detector::measure(&options)?,
            "stall" => vec![stall::measure(&options)?],
            "video" => vec![video::measure(&options)?],
            other => return Err(format!("no part {other}").into()),
        };
        rows.into_iter().for_each(|row| row.print(&part));
        return Ok(());
    }
    let options = Options::parse(arguments)?;
    let folder = report::folder()?;
    if command == "all" && element::Card::find().is_none() && options.text("provider", "cuda") == "cuda" {
        println!("No NVIDIA driver on this machine: nothing is measured");
        return Ok(());
    }
    let run = Run { options: &options, folder, rows: Vec::new() };
    match &command[..] {
        "all" => run.throughput()?.models()?.latency()?.stall()?.seed()?.finish(true),
        "throughput" => run.throughput()?.finish(true),
        "models" => run.models()?.finish(false),
        "latency" => run.latency()?.finish(false),
        "cards" => run.cards()?.finish(false),
        "detector" => run.detector()?.finish(false),
        "stall" => run.stall()?.finish(false),
        "fuse" => run.fuse()?.finish(false),
        "watch" => run.watch()?.finish(false),
        "video" => run.video()?.finish(false),
        "seed" => run.seed()?.finish(false),
        other => Err(format!("no command {other}: see benches/gpu").into()),
    }
}

/// Runs parts and keeps their rows.
struct Run<'a> {
    options: &'a Options,
    folder: PathBuf,
    rows: Vec<Row>,
}

impl Run<'_> {
    /// Runs a part in its own process. A part that fails is a row without figures.
    fn part(&mut self, name: &str, arguments: &[(&str, &str)]) -> Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["part", name]);
        self.run(name, command, arguments)
    }

    /// A part's options: the run's, and its own.
    fn options_of(&self, arguments: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = arguments.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        self.options.0.clone().into_iter().chain(own).collect()
    }

    fn run(&mut self, name: &str, mut command: Command, arguments: &[(&str, &str)]) -> Result<()> {
        let all = self.options_of(arguments);
        command.args(all.iter().map(|(name, value)| format!("{name}={value}")));
        let output = command.stderr(std::process::Stdio::inherit()).output()?;
        self.keep(name, &all, &String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    /// Keeps the rows in a part's output.
    fn keep(&mut self, name: &str, all: &BTreeMap<String, String>, said: &str) {
        let mut rows: Vec<_> = said.lines().filter_map(Row::parse).collect();
        if rows.is_empty() {
            rows.push(Row::failed(name));
        }
        for row in &mut rows {
            all.iter().for_each(|(name, value)| row.set_text(name, value));
            println!("{row}");
        }
        self.rows.append(&mut rows);
    }

    /// The bare session, the element with 1, 4 and 16 streams, and rtmlib.
    fn throughput(mut self) -> Result<Self> {
        for (precision, in_flight) in
            [("fp16", "1"), ("fp16", "2"), ("fp16", "4"), ("fp16", "6"), ("tf32", "1"), ("tf32", "2")]
        {
            let arguments = [("precision", precision), ("in-flight", in_flight)];
            self.part("bare", &arguments)?;
            self.part("element", &arguments)?;
        }
        if let Some(python) = std::env::var_os("PEER_PYTHON") {
            for processes in ["1", "2", "4", "8"] {
                let mut command = Command::new(&python);
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/card/peer.py"));
                // On a machine without the sources, PEER_SCRIPT names the script.
                if let Some(script) = std::env::var_os("PEER_SCRIPT") {
                    command = Command::new(&python);
                    command.arg(script);
                }
                self.run("rtmlib", command, &[("precision", "tf32"), ("processes", processes)])?;
            }
        }
        Ok(self)
    }

    /// The other sizes of RTMPose: `models=FOLDER` has the files that models/random_weights.py writes.
    fn models(mut self) -> Result<Self> {
        let Some(folder) = self.options.0.get("models").cloned() else { return Ok(self) };
        for (size, _) in GIGA_MACS {
            let model = format!("{folder}/rtmpose-{size}-random.onnx");
            if size == self.options.text("size", "") || !std::path::Path::new(&model).exists() {
                continue;
            }
            let arguments = [("model", &model[..]), ("size", size), ("in-flight", "2")];
            self.part("bare", &arguments)?;
            self.part("element", &arguments)?;
        }
        Ok(self)
    }

    /// Eight live cameras with random phases.
    fn latency(mut self) -> Result<Self> {
        for adaptive in ["true", "false"] {
            self.part("cameras", &[("cameras", "8"), ("fps", "30"), ("adaptive", adaptive)])?;
        }
        Ok(self)
    }

    /// Random batch sizes on captured graphs, and on a session that takes any size.
    fn stall(mut self) -> Result<Self> {
        let seconds = self.options.text("stall-seconds", "60").to_string();
        for prepared in ["true", "false"] {
            self.part("stall", &[("prepared", prepared), ("seconds", &seconds)])?;
        }
        Ok(self)
    }

    /// The settings of an earlier tuning guide: before, after, and each change alone.
    fn seed(mut self) -> Result<Self> {
        const BEFORE: [(&str, &str); 7] = [
            ("batch", "5"),
            ("timeout-ms", "25"),
            ("scale", "0.5"),
            ("input-queue", "10"),
            ("output-queue", "4"),
            ("search", "default"),
            ("precision", "fp32"),
        ];
        const AFTER: [&str; 7] = ["8", "15", "0.65", "20", "8", "exhaustive", "tf32"];
        let after = std::array::from_fn(|index| (BEFORE[index].0, AFTER[index]));
        // Both queue settings are one change.
        let changes: [&[usize]; 6] = [&[0], &[1], &[2], &[3, 4], &[5], &[6]];
        let one_by_one = changes.iter().map(|change| {
            let mut settings = BEFORE;
            change.iter().for_each(|index| settings[*index] = after[*index]);
            (change.iter().map(|index| BEFORE[*index].0).collect::<Vec<_>>().join(" and "), settings)
        });
        let rows =
            [("before".to_string(), BEFORE), ("after".to_string(), after)].into_iter().chain(one_by_one);
        let cameras = self.options.text("seed-cameras", "1,8").to_string();
        for (label, settings) in rows.collect::<Vec<_>>() {
            let mut arguments = settings.to_vec();
            arguments.extend([("label", &label[..]), ("cameras", &cameras), ("fps", "15"), ("full", "true")]);
            self.part("cameras", &arguments)?;
        }
        Ok(self)
    }

    fn finish(self, draw: bool) -> Result<()> {
        println!("\n{}", report::table(&self.rows));
        std::fs::write(self.folder.join("gpu.json"), report::json(&self.rows))?;
        if draw {
            std::fs::write(
                self.folder.join("gpu.svg"),
                report::svg(&self.rows, "crops a second (element: 16 streams)")?,
            )?;
        }
        let failed = self.rows.iter().filter(|row| row.has_failed()).count();
        if failed > 0 { Err(format!("{failed} parts failed").into()) } else { Ok(()) }
    }
}
