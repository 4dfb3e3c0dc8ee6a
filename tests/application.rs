//! The application of docs/metadata.md: a crate of its own, outside this one, which links the plugin.

mod network_rig;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use network_rig::{
    network,
    process::{Folder, run, run_within, text},
};

/// The block of code that follows a line of the page.
fn block(page: &str, line: &str) -> String {
    let after = page.split_once(line).unwrap_or_else(|| panic!("`{line}` is missing")).1;
    let code = after.split("```").nth(1).unwrap();
    code.split_once('\n').unwrap().1.to_string()
}

/// Builds the application on top of the existing build, and puts the program into the folder.
fn build(folder: &Folder) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/metadata.md")).unwrap();
    let manifest = block(&page, "`Cargo.toml`:\n").replace("../gst-plugin-rtmpose", root.to_str().unwrap());
    // Uses the plugin's features of this build, because a build with other features would overwrite it.
    let features = [
        ("v1_26", cfg!(feature = "v1_26")),
        ("v1_28", cfg!(feature = "v1_28")),
        ("v1_30", cfg!(feature = "v1_30")),
    ];
    let features: Vec<_> = features.iter().filter(|(_, is_on)| *is_on).map(|(feature, _)| *feature).collect();
    let path = format!("{{ path = {root:?}");
    assert!(manifest.contains(&path), "{manifest}");
    let manifest = manifest.replace(&path, &format!("{path}, features = {features:?}"));
    // Uses the profiles and dependencies of the plugin's tests: their crates are built with these features
    // already. So no crate is built again or overwritten.
    let ours = include_str!("../Cargo.toml");
    let tests = ours.split("[dev-dependencies]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let profiles = ours.split("\n\n").filter(|part| part.contains("[profile.dev"));
    folder.write(
        "Cargo.toml",
        profiles.fold(manifest + tests + "\n", |manifest, profile| manifest + "\n" + profile + "\n"),
    );
    std::fs::create_dir(folder.path().join("src")).unwrap();
    folder.write("src/main.rs", block(&page, "`src/main.rs`:\n"));
    std::fs::copy(root.join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    // Tests are in target/<profile>/deps.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_path_buf();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--offline"]).current_dir(folder.path()).env("CARGO_TARGET_DIR", &target);
    // Removes the variables that `cargo test` sets for the plugin's own package. With them, build scripts that
    // read them (ring's) and all crates that depend on these would run again, now and at the next call of
    // cargo.
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_MANIFEST_") || name.starts_with("CARGO_PKG_") || name == "OUT_DIR" {
            cargo.env_remove(name);
        }
    }
    let output = run_within(Duration::from_secs(900), cargo);
    assert!(output.status.success(), "{}", text(&output));
    let program = folder.path().join("application");
    std::fs::copy(target.join("debug/application"), &program).unwrap();
    program
}

#[test]
fn an_application_that_links_the_crate_finds_onnx_runtime_or_says_what_is_missing() {
    let folder = Folder::new("application");
    let program = build(&folder);
    let line = format!(
        "videotestsrc num-buffers=3 ! videoconvert ! rtmposebatch name=pose inference-region=full-frame \
         model-file={} ! fakesink",
        network("dots-small").display()
    );
    let application = |home: &Folder| {
        let mut command = Command::new(&program);
        command.arg(&line).env_clear().env("HOME", home.path()).env("LC_ALL", "C");
        command
    };
    let home = Folder::new("application-home");
    let words = "ONNX Runtime (libonnxruntime.so, 1.20 or newer) was not found: neither beside the plugin or the program";

    // ONNX Runtime is neither installed nor beside the program. The loader may still find one.
    let output = run(application(&home));
    if !output.status.success() {
        assert!(text(&output).contains(words), "{}", text(&output));
        // The log has the same text, for a program that does not read the bus.
        let mut quiet = application(&home);
        quiet.env("GST_DEBUG", "1").env("GST_DEBUG_NO_COLOR", "1");
        let output = run(quiet);
        let text = text(&output);
        assert!(text.lines().any(|line| line.contains("ERROR") && line.contains(words)), "{text}");
    }

    // Puts ONNX Runtime where `make install-user` puts it.
    let installed = home.path().join(".local/share/gstreamer-1.0/plugins");
    std::fs::create_dir_all(&installed).unwrap();
    let library = Path::new(".deps/onnxruntime/libonnxruntime.so.1");
    std::fs::copy(library, installed.join("libonnxruntime.so.1")).unwrap();
    let output = run(application(&home));
    assert_eq!(text(&output).matches("1 people").count(), 3, "{}", text(&output));

    // Puts ONNX Runtime beside the program.
    let other = Folder::new("application-other-home");
    std::fs::copy(library, program.with_file_name("libonnxruntime.so.1")).unwrap();
    let output = run(application(&other));
    assert_eq!(text(&output).matches("1 people").count(), 3, "{}", text(&output));
}
