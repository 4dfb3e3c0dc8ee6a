//! What a frame costs on the CPU, compared in one run: the bare ONNX Runtime session, rtmposebatch, rtmlib. `benches/cpu`
//! runs it and describes the commands.
//!
//! Each candidate is a separate process (`work ...`), which processes a block of frames when asked, and then reports the
//! cost. The parent asks one after the other, round after round, so that other load on the machine affects all of them
//! equally; ratios are computed within a round. CPU time is the process's own, so other load changes it little.

mod detectors;
#[path = "../../tests/support/pictures.rs"]
mod pictures;
// The other bench uses the rest of it.
#[allow(dead_code)]
#[path = "../card/report.rs"]
mod report;
mod work;

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use report::Row;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// `name=value` arguments.
#[derive(Clone)]
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

    fn count(&self, name: &str, default: usize) -> Result<usize> {
        Ok(self.0.get(name).map_or(Ok(default), |value| value.parse())?)
    }

    fn with(&self, more: &[(&str, &str)]) -> Self {
        let more = more.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Self(self.0.clone().into_iter().chain(more).collect())
    }
}

fn main() -> Result<()> {
    // `cargo bench` adds --bench.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let command = arguments.next().unwrap_or("all".to_string());
    if command == "work" {
        let what = arguments.next().ok_or("what is to be worked?")?;
        return work::serve(&what, &Options::parse(arguments)?);
    }
    let mut options = Options::parse(arguments)?;
    let cores = std::thread::available_parallelism()?.to_string();
    options.0.entry("threads".to_string()).or_insert(cores);
    let run = Run { options: &options, folder: report::folder()?, rows: Vec::new() };
    match &command[..] {
        "all" => run.compare()?.file()?.crops()?.overlay()?.finish(),
        "compare" => run.compare()?.finish(),
        "threads" => run.threads()?.finish(),
        "file" => run.file()?.finish(),
        "crops" => run.crops()?.finish(),
        "overlay" => run.overlay()?.finish(),
        "detectors" => run.detectors()?.finish(),
        "chain" => run.chain()?.finish(),
        "letterbox" => run.letterbox()?.finish(),
        other => Err(format!("no command {other}: see benches/cpu").into()),
    }
}

/// What one block took, per frame.
#[derive(Clone, Copy)]
struct Block {
    wall_ms: f64,
    cpu_ms: f64,
    memory_mib: f64,
}

/// A candidate's process.
struct Worker {
    row: Row,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    frames: usize,
    blocks: Vec<Block>,
}

impl Worker {
    /// Starts a worker of this program, with blocks of `frames` frames.
    fn own(options: &Options, what: &str, frames: usize, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start(
            Command::new(std::env::current_exe()?).args(["work", what]),
            options,
            what,
            frames,
            settings,
        )
    }

    /// Starts a worker in Python with rtmlib; none if PEER_PYTHON names no Python.
    fn peer(options: &Options, what: &str, frames: usize, settings: &[(&str, &str)]) -> Result<Option<Self>> {
        let Some(python) = std::env::var_os("PEER_PYTHON") else { return Ok(None) };
        let mut command = Command::new(python);
        command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/benches/processor/peer.py"), what]);
        Self::start(&mut command, options, what, frames, settings).map(Some)
    }

    fn start(
        command: &mut Command,
        options: &Options,
        what: &str,
        frames: usize,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let all = options.with(settings);
        command.args(all.0.iter().map(|(name, value)| format!("{name}={value}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut row = Row::default();
        row.set_text("part", what);
        for (name, value) in settings {
            let file = std::path::Path::new(value).file_stem().and_then(|stem| stem.to_str());
            row.set_text(name, file.filter(|_| value.contains('/')).unwrap_or(value));
        }
        let mut worker = Self { row, child, input, output, frames, blocks: Vec::new() };
        // The first block warms up.
        worker.work()?;
        worker.blocks.clear();
        Ok(worker)
    }

    fn work(&mut self) -> Result<()> {
        writeln!(self.input, "{}", self.frames)?;
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line)? == 0 {
                return Err(format!("{} ended", self.row).into());
            }
            let Some(figures) = line.strip_prefix("BLOCK ") else { continue };
            let figures: Vec<f64> =
                figures.split_whitespace().map(str::parse).collect::<std::result::Result<_, _>>()?;
            let [wall, cpu, memory_mib] = figures[..] else { return Err(line.into()) };
            let frames = self.frames as f64;
            let block = Block { wall_ms: wall * 1000.0 / frames, cpu_ms: cpu * 1000.0 / frames, memory_mib };
            self.blocks.push(block);
            return Ok(());
        }
    }

    fn finish(mut self, against: &BTreeMap<&'static str, Vec<Block>>) -> Result<Row> {
        drop(self.input);
        self.child.wait()?;
        let median = |value: fn(&Block) -> f64| part(self.blocks.iter().map(value).collect(), 0.5);
        self.row.set("cpu-ms", median(|block| block.cpu_ms));
        self.row.set("wall-ms", median(|block| block.wall_ms));
        self.row.set("memory-mib", median(|block| block.memory_mib));
        for (name, theirs) in against {
            let ratios = |value: fn(&Block) -> f64| -> Vec<f64> {
                self.blocks.iter().zip(theirs).map(|(own, their)| value(own) / value(their)).collect()
            };
            let cpu = ratios(|block| block.cpu_ms);
            for (end, share) in [("", 0.5), ("-low", 0.25), ("-high", 0.75)] {
                self.row
                    .set_text(&format!("cpu-by-{name}{end}"), &format!("{:.3}", part(cpu.clone(), share)));
            }
            let speed = 1.0 / part(ratios(|block| block.wall_ms), 0.5);
            self.row.set_text(&format!("speed-by-{name}"), &format!("{speed:.2}"));
        }
        println!("{}", self.row);
        Ok(self.row)
    }
}

/// The value that `share` of all values do not exceed: 0.5 gives the median.
fn part(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

struct Run<'a> {
    options: &'a Options,
    folder: PathBuf,
    rows: Vec<Row>,
}

impl Run<'_> {
    /// Lets the workers work in turn. Compares each worker's row with the rows that `against` names.
    fn interleave(&mut self, mut workers: Vec<Worker>, against: &[(&'static str, usize)]) -> Result<()> {
        for _ in 0..self.options.count("rounds", 9)? {
            for worker in &mut workers {
                // Threads that spin after a run must not slow the next worker.
                std::thread::sleep(Duration::from_millis(50));
                worker.work()?;
            }
        }
        let against = against.iter().map(|(name, index)| (*name, workers[*index].blocks.clone())).collect();
        for worker in workers {
            self.rows.push(worker.finish(&against)?);
        }
        Ok(())
    }

    fn models(&self) -> Vec<(String, usize)> {
        let embedded = concat!(env!("CARGO_MANIFEST_DIR"), "/models/rtmpose-t.onnx").to_string();
        let folder = self.options.text("models", "");
        let medium = format!("{folder}/rtmpose-m-random.onnx");
        let mut models = vec![(embedded, 64)];
        if std::path::Path::new(&medium).exists() {
            models.push((medium, 24));
        }
        models
    }

    /// Whole frames with one person each: the network and all work around it.
    fn compare(mut self) -> Result<Self> {
        gst::init()?;
        if gst::ElementFactory::find("onnxinference").is_none() {
            println!("{} has no onnxinference to compare with", gst::version_string());
        }
        let openvino = self.options.text("openvino", "").to_string();
        for (model, frames) in self.models() {
            let model = ("model", &model[..]);
            let mut workers = vec![
                Worker::own(self.options, "bare", frames, &[model, ("batch", "8")])?,
                Worker::own(self.options, "element", frames, &[model, ("batch", "8")])?,
            ];
            let mut against = vec![("bare", 0)];
            if let Some(peer) = Worker::peer(self.options, "rtmlib", frames, &[model])? {
                against.push(("rtmlib", workers.len()));
                workers.push(peer);
            }
            workers.push(Worker::own(self.options, "bare", frames, &[model, ("batch", "1")])?);
            if !openvino.is_empty() {
                let settings = [model, ("batch", "8"), ("provider", "openvino"), ("library", &openvino[..])];
                against.push(("bare-openvino", workers.len()));
                workers.push(Worker::own(self.options, "bare", frames, &settings)?);
                workers.push(Worker::own(self.options, "element", frames, &settings)?);
            }
            if frames == 64 {
                let int8 = concat!(env!("CARGO_MANIFEST_DIR"), "/models/rtmpose-t-int8.onnx");
                against.push(("bare-int8", workers.len()));
                workers.push(Worker::own(self.options, "bare", frames, &[("model", int8), ("batch", "8")])?);
                workers.push(Worker::own(
                    self.options,
                    "element",
                    frames,
                    &[("model", "default"), ("batch", "8")],
                )?);
            }
            self.interleave(workers, &against)?;
        }
        Ok(self)
    }

    /// Numbers of threads for each number of batches in flight; with `decoders=N` beside N processes that
    /// decode video.
    fn threads(mut self) -> Result<Self> {
        let decoders = self.options.count("decoders", 0)?;
        let beside = (0..decoders)
            .map(|_| {
                let own = std::env::current_exe()?;
                let mut command = Command::new(own);
                command.args(["work", "decoder"]);
                command.args(self.options.0.iter().map(|(name, value)| format!("{name}={value}")));
                Ok(Beside(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?))
            })
            .collect::<Result<Vec<_>>>()?;
        let decoders = decoders.to_string();
        let workers = [("1", "1"), ("2", "1"), ("1", "2"), ("2", "2")]
            .into_iter()
            .map(|(threads, in_flight)| {
                let settings = [
                    ("model", "default"),
                    ("batch", "8"),
                    ("threads", threads),
                    ("in-flight", in_flight),
                    ("decoders", &decoders[..]),
                ];
                Worker::own(self.options, "element", 64, &settings)
            })
            .collect::<Result<Vec<_>>>()?;
        self.interleave(workers, &[("1-thread", 0)])?;
        drop(beside);
        Ok(self)
    }

    /// A file of 25 frames a second, played in real time with skeletons drawn on it.
    fn file(mut self) -> Result<Self> {
        let file = self.options.text("file", "");
        if file.is_empty() {
            println!("file=VIDEO names a 1280x720 video to play: left out");
            return Ok(self);
        }
        let row = work::play(self.options, file)?;
        println!("{row}");
        self.rows.push(row);
        Ok(self)
    }

    /// Cutting out crops, with nothing else.
    fn crops(mut self) -> Result<Self> {
        let one = self.options.with(&[("threads", "1")]);
        let mut workers = Vec::new();
        for format in ["RGB", "NV12"] {
            for scale in ["1", "0.65"] {
                workers.push(Worker::own(&one, "sampler", 2400, &[("format", format), ("scale", scale)])?);
            }
        }
        let mut against = vec![("RGB", 0)];
        for (what, name) in [("warp-affine", "warp-affine"), ("rtmlib-crop", "rtmlib-crop")] {
            if let Some(peer) = Worker::peer(&one, what, 240, &[])? {
                against.push((name, workers.len()));
                workers.push(peer);
            }
        }
        self.interleave(workers, &against)?;
        Ok(self)
    }

    /// Drawing people on 1920x1080 I420 frames in place.
    fn overlay(mut self) -> Result<Self> {
        let one = self.options.with(&[("threads", "1")]);
        let workers = ["0", "1", "10"]
            .map(|people| Worker::own(&one, "overlay", 400, &[("people", people)]))
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        self.interleave(workers, &[])?;
        Ok(self)
    }

    fn finish(self) -> Result<()> {
        println!("\n{}", report::table(&self.rows));
        std::fs::write(self.folder.join("cpu.json"), report::json(&self.rows))?;
        if self.rows.iter().any(|row| row.number("speed-by-bare").is_some()) {
            let drawing = report::svg(&self.rows, "frames a second, as multiples of the bare session's");
            std::fs::write(self.folder.join("cpu.svg"), drawing?)?;
        }
        Ok(())
    }
}

/// A process that is ended when this is dropped.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
