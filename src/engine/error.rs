//! Errors of the engine: each message is one sentence that names the thing and, where there is one, the remedy.

use std::fmt;

/// What went wrong. The element chooses the message's domain by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The model file is missing or cannot be read.
    ModelMissing,
    /// The element cannot run the model file.
    ModelRefused,
    /// ONNX Runtime cannot be loaded.
    Library,
    /// The execution provider cannot be used on this machine.
    Provider,
    /// No inference server can be used.
    Server,
    /// The device has too little memory.
    OutOfMemory,
    /// Properties that contradict each other.
    Settings,
    /// A run of the network failed.
    Run,
    /// Loading was interrupted.
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub message: String,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "Loading the model was interrupted")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
