//! What a network gains if a kernel of ours, or cuDNN in the convolution's, adds convolutions' biases and activates, for each size
//! of the network and of the batch.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Result, Run};

/// Values of `cudnn-fuse-conv-bias`.
const FUSED: [&str; 3] = ["off", "auto", "on"];

/// A part that has loaded its network, and waits for its turn to measure.
struct Waiting {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    turn: PathBuf,
    arguments: Vec<(&'static str, String)>,
}

impl Run<'_> {
    /// Choosing kernels takes many seconds. All parts of a network do so at once, and then measure one after
    /// another.
    pub(super) fn fuse(mut self) -> Result<Self> {
        let folder = self.options.text("models", "models").to_string();
        let sizes = self.options.text("sizes", "t,s,m,l").to_string();
        for size in sizes.split(',') {
            let model = format!("{folder}/rtmpose-{size}-random.onnx");
            let batches = self.options.text("batches", "1,8,16,32,64").to_string();
            let parts = batches.split(',').flat_map(|batch| FUSED.map(|fuse| (batch, fuse)));
            let waiting = parts
                .map(|(batch, fuse)| self.start_fused(&model, batch, fuse))
                .collect::<Result<Vec<_>>>()?;
            for part in waiting {
                self.measure_fused(part)?;
            }
        }
        Ok(self)
    }

    fn start_fused(&self, model: &str, batch: &str, fuse: &str) -> Result<Waiting> {
        let turn = std::env::temp_dir().join(format!("rtmpose-turn-{}-{batch}-{fuse}", std::process::id()));
        make_fifo(&turn)?;
        let arguments =
            vec![("model", model.to_string()), ("batch", batch.to_string()), ("fuse", fuse.to_string())];
        let plain: Vec<_> = arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let options = self.options_of(&plain).into_iter().map(|(name, value)| format!("{name}={value}"));
        let mut child = Command::new(std::env::current_exe()?)
            .args(["part", "bare"])
            .args(options)
            .arg(format!("turn={}", turn.display()))
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Waiting { child, said, turn, arguments })
    }

    fn measure_fused(&mut self, mut part: Waiting) -> Result<()> {
        let mut line = String::new();
        // A part that fails ends without this line.
        while part.said.read_line(&mut line)? > 0 && line.trim() != "loaded" {
            line.clear();
        }
        let mut rest = String::new();
        if line.trim() == "loaded" {
            std::fs::write(&part.turn, "")?;
            part.said.read_to_string(&mut rest)?;
        }
        part.child.wait()?;
        std::fs::remove_file(&part.turn)?;
        let arguments: Vec<_> = part.arguments.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let all = self.options_of(&arguments);
        self.keep("bare", &all, &rest);
        Ok(())
    }
}

fn make_fifo(path: &Path) -> Result<()> {
    let made = Command::new("mkfifo").arg(path).status()?;
    if made.success() { Ok(()) } else { Err(format!("mkfifo {} failed", path.display()).into()) }
}
