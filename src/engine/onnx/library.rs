//! Finds and loads ONNX Runtime's shared library, once in a process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use once_cell::sync::OnceCell;
use ort::{environment::Environment, logging::LogLevel};

use crate::{
    engine::{Error, ErrorKind},
    sync::lock,
};

/// Receives ONNX Runtime's own log.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// The least important level that is wanted: ONNX Runtime spends time on all that it writes.
    pub level: LogLevel,
    /// Called with level, place in ONNX Runtime's code, and message.
    pub write: fn(LogLevel, &str, &str),
}

/// The one environment that a process can have, kept for ever, and the library it came from.
static ENVIRONMENT: OnceCell<(Environment, PathBuf)> = OnceCell::new();

/// Versions of ONNX Runtime whose names are tried, newest first: 1.20 is the oldest with the API that is called.
const MINOR_VERSIONS: std::ops::RangeInclusive<u32> = 20..=40;

/// Where ONNX Runtime is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Named by the user: nothing else is tried.
    pub file: Option<PathBuf>,
    /// The folder of the plugin, tried before the loader's own folders.
    pub beside: Option<PathBuf>,
}

impl Search {
    /// Who named the library, and the files to try in order.
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
        let beside = self.beside.iter().flat_map(|folder| names().map(|name| absolute(folder).join(name)));
        (Origin::Search, beside.filter(|file| file.exists()).chain(names().map(PathBuf::from)).collect())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Property,
    Variable,
    Search,
}

/// `ort` would resolve a relative path against the executable; people mean the working directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Hands in the environment of an application that uses `ort` itself: a process can have only one. Gives it back if
/// there is one already.
pub fn set_environment(environment: Environment) -> Result<(), Environment> {
    ENVIRONMENT
        .set((environment, PathBuf::from("the application's own ONNX Runtime")))
        .map_err(|(environment, _)| environment)
}

/// The process's environment; loads the library if that has not been done. A failure may be tried again.
pub(super) fn environment(search: &Search, log: Log) -> Result<&'static Environment, Error> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _loading = lock(&LOADING);
    let (environment, loaded) = ENVIRONMENT.get_or_try_init(|| load(search, log))?;
    environment.set_log_level(log.level);
    if let Some(wanted) = search.file.as_deref().map(absolute)
        && !same_file(&wanted, loaded)
    {
        return Err(Error::new(
            ErrorKind::Library,
            format!(
                "ort-library is {}, but this process already runs {}: one process can use one ONNX Runtime only, \
                 give every element the same",
                wanted.display(),
                loaded.display()
            ),
        ));
    }
    Ok(environment)
}

fn same_file(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn load(search: &Search, log: Log) -> Result<(Environment, PathBuf), Error> {
    let (origin, candidates) = search.candidates();
    // The loader's "not found" says nothing that the list of names does not say; the first other answer does.
    let mut telling = None;
    for file in candidates {
        match ort::init_from(&file) {
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
                return Ok((environment, file));
            }
            Err(error) if origin != Origin::Search || file.is_absolute() || is_telling(&error) => {
                telling.get_or_insert((file, error.to_string()));
            }
            Err(_) => (),
        }
    }
    let message = match (origin, telling) {
        (Origin::Property, Some((file, error))) => {
            format!("The property ort-library names {}, which cannot be used: {error}", file.display())
        }
        (Origin::Variable, Some((file, error))) => {
            format!("The variable ORT_DYLIB_PATH names {}, which cannot be used: {error}", file.display())
        }
        (_, Some((file, error))) => {
            format!("ONNX Runtime was found in {}, but cannot be used: {error}", file.display())
        }
        (_, None) => {
            "ONNX Runtime (libonnxruntime.so, 1.20 or newer) was found neither beside the plugin nor in the \
                      loader's folders: install it, or name it with the property ort-library or the variable \
                      ORT_DYLIB_PATH"
                .to_string()
        }
    };
    Err(Error::new(ErrorKind::Library, message))
}

/// Whether a failure says more than that there is no such file.
fn is_telling(error: &ort::LoadDynamicError) -> bool {
    match error {
        ort::LoadDynamicError::Dlopen { error, .. } => !error.to_string().contains("No such file"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_is_the_only_candidate_and_made_absolute() {
        let search = Search { file: Some("lib/x.so".into()), beside: Some("/plugins".into()) };
        let (origin, files) = search.candidates();
        assert_eq!(origin, Origin::Property);
        assert_eq!(files, [std::env::current_dir().unwrap().join("lib/x.so")]);
    }
}
