//! ONNX Runtime's library missing, wrong or too old. A process loads it once, so each case is a process of its own: this
//! program again, told by an environment variable what to try.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use gst::prelude::*;

use crate::{
    assert_clear,
    network_rig::{
        self, messages, network, process,
        stub::{compile, stub},
    },
};

/// Libraries for `ort-library`, separated by `|`. An empty name leaves the property unset. A library behind
/// [`GONE`] is deleted before that start.
const LIBRARIES: &str = "RTMPOSE_TEST_LIBRARIES";
const GONE: &str = "gone:";
const PROGRAM: &str = "libraries::child_process";

/// Does nothing unless it runs in a child process.
#[test]
fn child_process() {
    let Ok(libraries) = std::env::var(LIBRARIES) else { return };
    network_rig::init();
    for library in libraries.split('|') {
        let gone = library.strip_prefix(GONE);
        gone.into_iter().for_each(|file| std::fs::remove_file(file).unwrap());
        let library = gone.unwrap_or(library);
        let element = gst::ElementFactory::make("rtmposebatch")
            .property_from_str("execution-provider", "cpu")
            .property("model-file", network("dots-small").to_str())
            .property("ort-library", library)
            .build()
            .unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let started = element.set_state(gst::State::Ready).is_ok();
        let errors = messages(&bus, gst::MessageType::Error);
        match (started, &errors[..]) {
            (true, []) => println!("\nRESULT ok"),
            (false, [error]) => println!("\nRESULT error {error}"),
            other => println!("\nRESULT wrong {other:?}"),
        }
        element.set_state(gst::State::Null).unwrap();
    }
}

struct Try<'a> {
    libraries: &'a [&'a Path],
    /// ORT_DYLIB_PATH.
    variable: Option<&'a Path>,
    /// LD_LIBRARY_PATH.
    loader: Option<&'a Path>,
}

impl Try<'_> {
    /// The result of each library.
    fn results(&self) -> Vec<Result<(), String>> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let libraries = self.libraries.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        command
            .args(["--exact", PROGRAM, "--nocapture", "--test-threads=1"])
            .env(LIBRARIES, libraries.join("|"))
            .env("ORT_DYLIB_PATH", self.variable.unwrap_or(Path::new("")))
            // Hides the library that this user may have installed.
            .env("XDG_DATA_HOME", "/nowhere");
        if let Some(folder) = self.loader {
            command.env("LD_LIBRARY_PATH", folder);
        }
        let output = process::run(command);
        let text = process::text(&output);
        assert!(output.status.success(), "{text}");
        let results: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("RESULT "))
            .map(|result| match result.split_once(' ') {
                None => Ok(()),
                Some(("error", message)) => Err(message.to_string()),
                Some(_) => panic!("{text}"),
            })
            .collect();
        assert_eq!(results.len(), self.libraries.len(), "{text}");
        results
    }
}

/// The tests' ONNX Runtime, which `.cargo/config.toml` sets.
fn good_library() -> PathBuf {
    let path = PathBuf::from(std::env::var_os("ORT_DYLIB_PATH").expect("cargo sets ORT_DYLIB_PATH"));
    assert!(path.exists(), "{} is missing: run make setup", path.display());
    path
}

/// A library that cannot be used, and words of the reason.
fn bad_libraries(folder: &process::Folder) -> Vec<(&'static str, PathBuf, &'static [&'static str])> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().find_map(|line| line.contains("libc.so").then(|| line.rsplit(' ').next().unwrap()));
    vec![
        ("no file", folder.path().join("missing.so"), &["there is no such file"]),
        ("a folder", folder.path().to_path_buf(), &["it is a folder"]),
        (
            "a text",
            folder.write("text.so", "not a library\n".repeat(99)),
            &["the loader says", "invalid ELF header"],
        ),
        ("an empty file", folder.write("empty.so", ""), &["the loader says", "file too short"]),
        ("another library", libc.unwrap().into(), &["a different library", "OrtGetApiBase"]),
        ("an old version", stub(folder, "1.10.0"), &["ONNX Runtime 1.10.0", "1.20 or newer is needed"]),
        (
            "needs another library",
            needing_another(folder),
            &["the loader says", "libnowhere.so", "No such file"],
        ),
    ]
}

fn needing_another(folder: &process::Folder) -> PathBuf {
    let other =
        compile(folder, "libnowhere.so", "int nowhere(void) { return 1; }", &["-Wl,-soname,libnowhere.so"]);
    let source = "int nowhere(void); const void *OrtGetApiBase(void) { return (void *)(long)nowhere(); }";
    let needing = compile(folder, "needing.so", source, &[other.to_str().unwrap()]);
    std::fs::remove_file(other).unwrap();
    needing
}

#[test]
fn a_library_named_by_the_property_is_refused_with_the_reason() {
    let folder = process::Folder::new("property");
    let cases = bad_libraries(&folder);
    let libraries: Vec<_> = cases.iter().map(|(_, file, _)| file.as_path()).collect();
    // All in one process: after a failure the element can be started with another library.
    let good = good_library();
    let results =
        Try { libraries: &[&libraries[..], &[&good]].concat(), variable: None, loader: None }.results();
    for ((what, file, words), result) in cases.iter().zip(&results) {
        let message = result.as_ref().unwrap_err();
        let words = [words, &["The property ort-library", file.to_str().unwrap(), "unset"][..]].concat();
        assert_clear(what, message, &words);
    }
    assert_eq!(results.last(), Some(&Ok(())), "the right library after the wrong ones");
}

#[test]
fn a_library_named_by_the_variable_is_refused_with_the_reason() {
    let folder = process::Folder::new("variable");
    for (what, file, words) in bad_libraries(&folder) {
        let results = Try { libraries: &[Path::new("")], variable: Some(&file), loader: None }.results();
        let words = [words, &["The variable ORT_DYLIB_PATH", file.to_str().unwrap(), "unset"][..]].concat();
        assert_clear(what, results[0].as_ref().unwrap_err(), &words);
    }
}

#[test]
fn without_any_library_the_message_says_what_to_install() {
    let results = Try { libraries: &[Path::new("")], variable: None, loader: None }.results();
    match &results[0] {
        Err(message) => {
            let words = ["ONNX Runtime", "1.20 or newer", "Install it", "ort-library", "ORT_DYLIB_PATH"];
            assert_clear("nothing installed", message, &words);
        }
        Ok(()) => {
            let known = Command::new("/sbin/ldconfig").arg("-p").output().unwrap();
            let known = String::from_utf8_lossy(&known.stdout).into_owned();
            network_rig::init();
            let folder = gst::Registry::get().find_plugin("coreelements").unwrap().filename().unwrap();
            assert!(
                known.contains("libonnxruntime.so") || folder.with_file_name("libonnxruntime.so.1").exists(),
                "ONNX Runtime was found, but the loader knows none: {known}"
            );
        }
    }
}

/// In the loader's folders the search continues behind a library that is too old. If it is the only one, the
/// error names it.
#[test]
fn the_loaders_folders_are_searched() {
    let folder = process::Folder::new("loader");
    let old = stub(&folder, "1.10.0");
    std::fs::rename(old, folder.path().join("libonnxruntime.so")).unwrap();
    let search = Try { libraries: &[Path::new("")], variable: None, loader: Some(folder.path()) };
    if let Err(message) = &search.results()[0] {
        let words =
            ["found at libonnxruntime.so", "ONNX Runtime 1.10.0", "1.20 or newer is needed", "ort-library"];
        assert_clear("an old version in the loader's folder", message, &words);
    }
    std::os::unix::fs::symlink(good_library(), folder.path().join("libonnxruntime.so.1.24")).unwrap();
    assert_eq!(search.results(), [Ok(())]);
}

/// A process has one ONNX Runtime: the same library under another name is accepted, a different one is refused.
#[test]
fn a_second_library_is_refused_in_the_same_process() {
    let folder = process::Folder::new("second");
    let good = good_library();
    let (copy, link) = (folder.path().join("copy.so"), folder.path().join("link.so"));
    std::fs::copy(&good, &copy).unwrap();
    std::os::unix::fs::symlink(&good, &link).unwrap();
    let results =
        Try { libraries: &[&good, &copy, &link, Path::new("")], variable: Some(&good), loader: None }
            .results();
    // The message names the file that the links lead to.
    let real = good.canonicalize().unwrap();
    let words = ["ort-library", copy.to_str().unwrap(), real.to_str().unwrap(), "already runs", "the same"];
    assert_clear("a second library", results[1].as_ref().unwrap_err(), &words);
    assert_eq!((&results[0], &results[2], &results[3]), (&Ok(()), &Ok(()), &Ok(())));
}

/// A loaded library stays loaded: one that is deleted between two starts still counts as the named library.
#[test]
fn a_library_that_disappears_between_starts_goes_on() {
    let folder = process::Folder::new("gone");
    let (copy, link) = (folder.path().join("copy.so"), folder.path().join("link.so"));
    std::fs::copy(good_library(), &copy).unwrap();
    std::os::unix::fs::symlink(good_library(), &link).unwrap();
    for file in [copy, link] {
        let gone = PathBuf::from(format!("{GONE}{}", file.display()));
        let results = Try { libraries: &[&file, &gone], variable: None, loader: None }.results();
        assert_eq!(results, [Ok(()), Ok(())], "{}", file.display());
    }
}
