//! Libraries that are not ONNX Runtime.

use std::{path::PathBuf, process::Command};

use super::process;

/// A library that answers like ONNX Runtime of that version, but only the query for the version.
pub fn stub(folder: &process::Folder, version: &str) -> PathBuf {
    let source = format!(
        r#"static const char *version(void) {{ return "{version}"; }}
           static const void *api(unsigned number) {{ return (void *)0; }}
           static const struct {{ const void *(*api)(unsigned); const char *(*version)(void); }} base = {{ api, version }};
           const void *OrtGetApiBase(void) {{ return &base; }}"#
    );
    compile(folder, &format!("libonnxruntime.so.{version}"), &source, &[])
}

/// Compiles C source with the linker's compiler, which every Rust installation on Linux has.
pub fn compile(folder: &process::Folder, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let text = folder.write(&format!("{name}.c"), source);
    let library = folder.path().join(name);
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).args([&library, &text]).args(arguments);
    let output = process::run(command);
    assert!(output.status.success(), "{}", process::text(&output));
    library
}
