//! Finds and loads ONNX Runtime's shared library, once per process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use once_cell::sync::OnceCell;
use ort::environment::Environment;
pub use ort::logging::LogLevel;

use crate::{
    engine::{Error, ErrorKind},
    sync::{Mutex, lock},
};

/// Receives ONNX Runtime's own log.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The lowest level to log: ONNX Runtime spends time on everything that it logs.
    pub level: LogLevel,
    /// Called with level, place in ONNX Runtime's code, and message.
    pub write: fn(LogLevel, &str, &str),
}

/// The only environment that a process can have, kept forever, and the library that it came from.
static LIBRARY: OnceCell<Library> = OnceCell::new();

struct Library {
    environment: Environment,
    /// The path as given.
    named: PathBuf,
    /// The path without links.
    real: PathBuf,
}

impl Library {
    /// Whether that path is this library. The path that it was loaded from still is, after the file is gone.
    fn is(&self, name: &Path) -> bool {
        name == self.named || name == self.real || name.canonicalize().is_ok_and(|real| real == self.real)
    }
}

/// Versions of ONNX Runtime whose names are tried, newest first: 1.20 is the oldest with the API that is used.
const MINOR_VERSIONS: std::ops::RangeInclusive<u32> = 20..=40;

/// Where to search for ONNX Runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The user's file: nothing else is tried.
    pub file: Option<PathBuf>,
    /// Folders that are tried in this order, before the loader's own: the plugin's, the program's.
    pub folders: Vec<PathBuf>,
}

impl Search {
    /// The origin of the path, and the files to try in order.
    fn candidates(&self) -> (Origin, Vec<PathBuf>) {
        if let Some(file) = &self.file {
            return (Origin::Property, vec![absolute(file)]);
        }
        if let Some(file) = std::env::var_os("ORT_DYLIB_PATH").filter(|file| !file.is_empty()) {
            return (Origin::Variable, vec![absolute(Path::new(&file))]);
        }
        let names = || {
            let versioned = MINOR_VERSIONS.rev().map(|minor| format!("libonnxruntime.so.1.{minor}"));
            ["libonnxruntime.so".to_string(), "libonnxruntime.so.1".to_string()].into_iter().chain(versioned)
        };
        let there = self.folders.iter().flat_map(|folder| names().map(|name| absolute(folder).join(name)));
        (Origin::Search, there.filter(|file| file.exists()).chain(names().map(PathBuf::from)).collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Property,
    Variable,
    Search,
}

/// `ort` would resolve a relative path against the executable; users mean the working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Sets the environment of an application that uses `ort` itself, because a process can have only one. Returns it if there
/// is already one.
pub fn set_environment(environment: Environment) -> Result<(), Environment> {
    let name = PathBuf::from("the application's own ONNX Runtime");
    let library = Library { environment, named: name.clone(), real: name };
    LIBRARY.set(library).map_err(|library| library.environment)
}

/// Proof that this process has loaded ONNX Runtime and made its environment. All calls into the library are made from it.
#[derive(Clone, Copy)]
pub(crate) struct Runtime(&'static Library);

impl Runtime {
    /// Loads the library, unless it is loaded. After a failure it may be called again.
    pub fn load(search: &Search, log: Log) -> Result<Self, Error> {
        static LOADING: Mutex<()> = Mutex::new(());
        let _loading = lock(&LOADING);
        let library = LIBRARY.get_or_try_init(|| load(search, log))?;
        library.environment.set_log_level(log.level);
        if let Some(wanted) = search.file.as_deref().map(absolute)
            && !library.is(&wanted)
        {
            return Err(Error::new(
                ErrorKind::Library,
                format!(
                    "ort-library is {}, but this process already runs {}: a process can use only one ONNX Runtime: \
                     set every element to the same",
                    wanted.display(),
                    library.real.display()
                ),
            ));
        }
        Ok(Self(library))
    }

    pub(super) fn environment(self) -> &'static Environment {
        &self.0.environment
    }

    /// The library's file, without links.
    pub fn file(self) -> &'static Path {
        &self.0.real
    }
}

/// Loads a library that others will request by its name, for as long as the process runs.
pub(super) fn preload(file: &Path) -> Result<(), impl std::fmt::Display + use<>> {
    ort::util::preload_dylib(file)
}

/// ONNX Runtime 1.31 for Linux writes a number for the machine into the user's cache folder, and sends statistics of its use
/// to its makers, before `with_telemetry(false)` reaches it. Only this variable prevents that: the library reads nothing
/// else for it, and its API comes too late.
const NO_TELEMETRY: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// What the user has set stays.
fn disable_telemetry() {
    let (name, value) = NO_TELEMETRY;
    if std::env::var_os(name).is_none() {
        // SAFETY: a thread that calls C's getenv at this moment could see the environment move. It moves only here, once per
        // process, before the library is loaded that reads this variable; glibc keeps the process's first environment where
        // it is.
        unsafe { std::env::set_var(name, value) };
    }
}

fn load(search: &Search, log: Log) -> Result<Library, Error> {
    disable_telemetry();
    let (origin, candidates) = search.candidates();
    // A missing file says no more than the list of names; the first other error is kept.
    let mut telling = None;
    for file in candidates {
        // Through a link, ONNX Runtime would look for its execution providers beside the link.
        let real = if file.is_absolute() { file.canonicalize().ok() } else { None };
        let real = real.unwrap_or_else(|| file.clone());
        match ort::init_from(&real) {
            Ok(builder) => {
                let environment = builder
                    .with_name("rtmpose")
                    .with_telemetry(false)
                    .with_logger(Arc::new(move |level, _: &str, _: &str, place: &str, message: &str| {
                        (log.write)(level, place, message);
                    }))
                    .build()
                    .map_err(|error| {
                        Error::new(
                            ErrorKind::Library,
                            format!("ONNX Runtime from {} cannot be started: {error}", file.display()),
                        )
                    })?;
                return Ok(Library { environment, named: file, real });
            }
            Err(error) => match reason(&real, &error) {
                None if origin == Origin::Search => (),
                reason => {
                    let reason = reason.unwrap_or_else(|| "there is no such file".to_string());
                    telling.get_or_insert((file, reason));
                }
            },
        }
    }
    let message = match (origin, telling) {
        (Origin::Property, Some((file, reason))) => named("The property ort-library", &file, &reason),
        (Origin::Variable, Some((file, reason))) => named("The variable ORT_DYLIB_PATH", &file, &reason),
        (_, Some((file, reason))) => format!(
            "ONNX Runtime was found at {}, but cannot be used: {reason}; set the property ort-library or the \
             variable ORT_DYLIB_PATH to {REMEDY}",
            file.display()
        ),
        (_, None) => {
            "ONNX Runtime (libonnxruntime.so, 1.20 or newer) was not found: neither beside the plugin or the \
             program, nor in the folders of GStreamer's plugins and of the loader. Install it, or set the property \
             ort-library or the variable ORT_DYLIB_PATH to its path"
                .to_string()
        }
    };
    Err(Error::new(ErrorKind::Library, message))
}

const REMEDY: &str = "ONNX Runtime's libonnxruntime.so, 1.20 or newer";

fn named(what: &str, file: &Path, reason: &str) -> String {
    format!("{what} is {}, which cannot be used: {reason}; set it to {REMEDY}, or unset it", file.display())
}

/// Why the library cannot be used; none if there is no such file.
fn reason(file: &Path, error: &ort::LoadDynamicError) -> Option<String> {
    Some(match error {
        ort::LoadDynamicError::Dlopen { .. } if file.is_dir() => "it is a folder".to_string(),
        ort::LoadDynamicError::Dlopen { error, .. } => {
            // The outer error only says that dlopen failed; its source is the loader's text, `FILE: reason`.
            let source = std::error::Error::source(error).map(ToString::to_string);
            let text = source.unwrap_or_else(|| error.to_string());
            match text.strip_prefix(&format!("{}: ", file.display())) {
                // If it is about a library that this one needs, it is kept.
                Some(text) if text.contains("No such file or directory") => return None,
                stripped => format!("the loader says `{}`", stripped.unwrap_or(&text)),
            }
        }
        ort::LoadDynamicError::MissingApi { .. } => {
            "it is a different library, without the function OrtGetApiBase".to_string()
        }
        ort::LoadDynamicError::InvalidVersionString => "it does not report its version".to_string(),
        ort::LoadDynamicError::BadVersion { version_str, .. } => {
            format!("it is ONNX Runtime {version_str}, but 1.20 or newer is needed")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_is_the_only_candidate_and_made_absolute() {
        let search = Search { file: Some("lib/x.so".into()), folders: vec!["/plugins".into()] };
        let (origin, files) = search.candidates();
        assert_eq!(origin, Origin::Property);
        assert_eq!(files, [std::env::current_dir().unwrap().join("lib/x.so")]);
    }
}
