//! The user's first contact with the plugin: `gst-launch-1.0` and `gst-inspect-1.0`, each in a separate process with its own
//! registry; and the reference pages, compared with what they show.

mod network_rig;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Output, Stdio},
};

use network_rig::{
    init, network,
    process::{Folder, run, text, tool, watched},
};

/// Runs a launch line; ORT_DYLIB_PATH comes from `.cargo/config.toml`.
fn launch(line: &str, environment: &[(&str, &str)]) -> Output {
    let mut command = tool("gst-launch-1.0");
    command.args(line.split_whitespace()).envs(environment.iter().copied());
    run(command)
}

#[track_caller]
fn assert_says(output: &Output, words: &[&str]) {
    let text = text(output);
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in:\n{text}");
    }
}

#[test]
#[cfg(feature = "embedded-model")]
fn the_first_launch_line_plays_to_its_end() {
    let line = "videotestsrc num-buffers=30 ! videoconvert ! rtmposebatch ! fakesink";
    let output = launch(line, &[]);
    assert!(output.status.success(), "{}", text(&output));
    // gst-launch prints these words around the element's progress messages.
    assert_says(
        &output,
        &["Progress: (load)", "Loading", "Warming up", "coco-17 key points on", "Got EOS from element"],
    );
    assert!(!text(&output).contains("WARNING") && !text(&output).contains("CRITICAL"), "{}", text(&output));
}

#[test]
fn a_bad_model_file_ends_with_a_status_and_the_message() {
    let folder = Folder::new("bad-model");
    for (file, message) in [
        (folder.path().join("missing.onnx"), "cannot be read: No such file or directory; set model-file"),
        (folder.write("text.onnx", "no network\n"), "is not an ONNX file that ONNX Runtime can load"),
        (network("heatmaps"), "is not an RTMPose model as mmdeploy exports it"),
    ] {
        let line = format!(
            "videotestsrc num-buffers=3 ! videoconvert ! rtmposebatch execution-provider=cpu model-file={} ! fakesink",
            file.display()
        );
        let output = launch(&line, &[]);
        assert!(!output.status.success(), "{}", text(&output));
        assert_says(&output, &["ERROR: from element", file.to_str().unwrap(), message]);
        assert_eq!(text(&output).matches("ERROR: from element").count(), 1, "{}", text(&output));
    }
}

#[test]
fn without_onnx_runtime_the_element_says_so() {
    let line = format!(
        "videotestsrc num-buffers=3 ! videoconvert ! rtmposebatch model-file={} ! fakesink",
        network("dots-small").display()
    );
    let output = launch(&line, &[("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so")]);
    assert!(!output.status.success(), "{}", text(&output));
    assert_says(
        &output,
        &["The variable ORT_DYLIB_PATH is /nowhere/libonnxruntime.so", "there is no such file"],
    );
}

/// A run that fails in mid-stream makes gst-launch fail, as a shell script sees it.
#[test]
fn an_inference_error_ends_with_a_status() {
    let line = |on_error: &str| {
        format!(
            "videotestsrc num-buffers=8 pattern=white ! rtmposebatch execution-provider=cpu model-file={} \
             on-error={on_error} ! fakesink",
            network("fails").display()
        )
    };
    let output = launch(&line("fail"), &[]);
    assert!(!output.status.success(), "{}", text(&output));
    assert_says(&output, &["ERROR: from element", "Inference failed"]);
    let output = launch(&line("passthrough"), &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert_says(&output, &["WARNING: from element", "frames pass without metadata", "Got EOS from element"]);
}

/// Without the plugin's setting ONNX Runtime 1.31 would store a number for the machine there, and send figures
/// to its makers.
#[test]
fn nothing_is_left_in_the_users_home() {
    let home = Folder::new("home");
    let line = format!(
        "videotestsrc num-buffers=3 ! rtmposebatch execution-provider=cpu model-file={} ! fakesink",
        network("dots-small").display()
    );
    let path = home.path().to_str().unwrap();
    let output = launch(&line, &[("HOME", path), ("XDG_CACHE_HOME", path), ("XDG_DATA_HOME", path)]);
    assert!(output.status.success(), "{}", text(&output));
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Without an NVIDIA driver auto is the CPU, with a line in the log and no warning.
#[test]
fn auto_falls_to_the_cpu_without_a_driver() {
    let line = format!(
        "videotestsrc num-buffers=3 ! rtmposebatch model-file={} ! fakesink",
        network("dots-small").display()
    );
    let output = launch(&line, &[("GST_DEBUG", "rtmposebatch:4"), ("GST_DEBUG_NO_COLOR", "1")]);
    assert!(output.status.success(), "{}", text(&output));
    if ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"]
        .iter()
        .any(|file| Path::new(file).exists())
    {
        // The element runs on CUDA, or on the CPU with a warning that says why not on CUDA.
        assert_says(&output, &["key points on"]);
        let on_cpu = text(&output).contains("key points on cpu");
        assert_eq!(
            on_cpu,
            text(&output).contains("set execution-provider=cpu to choose that without a warning")
        );
    } else {
        assert_says(
            &output,
            &["No NVIDIA driver on this machine: the model runs on the CPU", "key points on cpu"],
        );
        assert!(!text(&output).contains("WARN"), "{}", text(&output));
    }
}

/// Properties of both elements that run networks, with the defaults that users rely on.
const COMMON_PROPERTIES: [(&str, &str); 33] = [
    ("model-file", "Default: null"),
    ("model-sha256", "Default: null"),
    ("batch-timeout", "Default: 15000000"),
    ("input-queue-size", "Default: 20"),
    ("output-queue-size", "Default: 8"),
    ("execution-provider", "Default: 0, \"auto\""),
    ("device-id", "Default: 0"),
    ("device-ids", "Default: null"),
    ("adaptive-timeout", "Default: true"),
    ("model-instance-id", "Default: null"),
    ("inference-streams", "Default: 0"),
    ("inference-threads", "Default: 0"),
    ("active-provider", "Default: null"),
    ("precision", "Default: 0, \"model\""),
    ("cudnn-conv-algo-search", "Default: 1, \"heuristic\""),
    ("cudnn-fuse-conv-bias", "Default: 0, \"auto\""),
    ("gpu-memory-limit", "Default: 0"),
    ("overload", "Default: 0, \"auto\""),
    ("max-lateness", "Default: -1"),
    ("inference-interval", "Default: 0"),
    ("on-error", "Default: 0, \"fail\""),
    ("fallback", "Default: 1, \"cpu\""),
    ("ort-library", "Default: null"),
    ("inference-server", "Default: null"),
    ("model-name", "Default: null"),
    ("model-version", "Default: null"),
    ("server-timeout", "Default: 1000000000"),
    ("server-metadata", "Default: null"),
    ("server-ca-file", "Default: null"),
    ("server-cert-file", "Default: null"),
    ("server-key-file", "Default: null"),
    ("stats", "Boxed pointer of type \"GstStructure\""),
    ("stats-interval", "Default: 0"),
];

/// Properties that only `rtmposebatch` has, or that have another default there.
const PROPERTIES: [(&str, &str); 14] = [
    ("skeleton", "Default: null"),
    ("batch-size", "Default: 8"),
    ("inference-scale", "Default:               1"),
    ("inference-region", "Default: 0, \"auto\""),
    ("max-people", "Default: 16"),
    ("region-label", "Default: \"person\""),
    ("track-lookahead", "Default: 0"),
    ("track-lifetime", "Default: 1000000000"),
    ("search-interval", "Default: 1000000000"),
    ("search-crops", "Default: 6"),
    ("score-mode", "Default: 0, \"min\""),
    ("smoothing", "Default: 0, \"none\""),
    ("smoothing-min-cutoff", "Default:               1"),
    ("smoothing-beta", "Default:           0.007"),
];

/// Properties that only `rtmposedetect` has, or that have another default there.
const DETECTORS_PROPERTIES: [(&str, &str); 5] = [
    ("batch-size", "Default: 4"),
    ("score-threshold", "Default:             0.3"),
    ("nms-threshold", "Default:            0.45"),
    ("max-detections", "Default: 100"),
    ("class-ids", "Default: \"0\""),
];

/// Lines of gst-inspect's section on each of the element's own properties, by name.
fn inspected_properties(text: &str) -> Vec<(String, String)> {
    let section = text.split("Element Properties:").nth(1).expect("a section on properties");
    let mut properties: Vec<(String, String)> = Vec::new();
    for line in section.lines() {
        let indent = line.len() - line.trim_start().len();
        match line.trim_start().split_once(": ").or_else(|| line.trim_start().split_once(" : ")) {
            Some((name, rest)) if indent == 2 => properties.push((name.trim().to_string(), rest.to_string())),
            _ => {
                if let Some((_, lines)) = properties.last_mut() {
                    lines.push('\n');
                    lines.push_str(line);
                }
            }
        }
    }
    properties
}

/// gst-inspect lists the properties without ONNX Runtime and without a GPU.
#[test]
fn gst_inspect_shows_every_property_without_onnx_runtime() {
    assert_properties("rtmposebatch", &[&COMMON_PROPERTIES[..], &PROPERTIES].concat());
    assert_properties("rtmposedetect", &[&COMMON_PROPERTIES[..], &DETECTORS_PROPERTIES].concat());
}

#[track_caller]
fn assert_properties(element: &str, properties: &[(&str, &str)]) {
    let mut command = tool("gst-inspect-1.0");
    command.arg(element).env("ORT_DYLIB_PATH", "/nowhere/libonnxruntime.so").env("LD_LIBRARY_PATH", "");
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output));
    let shown = inspected_properties(&text(&output));
    for &(name, default) in properties {
        let found = shown.iter().find(|(shown, _)| shown == name);
        let (_, lines) = found.unwrap_or_else(|| panic!("{name} is missing in:\n{}", text(&output)));
        assert!(lines.contains(default), "{name}: `{default}` is missing in:\n{lines}");
    }
    let others = shown.iter().map(|(name, _)| name.as_str());
    let unknown: Vec<_> = others
        .filter(|name| {
            !["name", "parent"].contains(name) && !properties.iter().any(|(known, _)| known == name)
        })
        .collect();
    assert!(unknown.is_empty(), "properties that no test knows: {unknown:?}");
    assert!(!text(&output).contains("WARN"), "{}", text(&output));
}

/// The version that a property first appeared in, by the property's name, from the source (`/// Since: 0.2.0`
/// above a row or a specification).
fn since_in_the_source(sources: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for source in sources {
        let mut since = None;
        for line in source.lines().map(str::trim) {
            if let Some(version) = line.trim_start_matches('/').trim().strip_prefix("Since: ") {
                since = Some(version.to_string());
            } else if let Some(version) =
                since.take_if(|_| !line.starts_with("#[") && !line.starts_with("*/"))
            {
                let name = match line.split_once("builder") {
                    Some((_, name)) => name.split('"').nth(1),
                    None => line.split_once(": ").map(|(name, _)| name),
                };
                found.extend(name.map(|name| (name.replace('_', "-"), version)));
            }
        }
    }
    found
}

/// `docs/elements.md` has every property of every element in the table of its section, with the version that it
/// first appeared in: the version in the source, or else the element's own. `CHANGELOG.md` has that version,
/// and names there what is newer than the first version.
#[test]
fn the_documents_tell_every_property_and_since_when() {
    const FIRST: &str = "0.1.0";
    let page = include_str!("../docs/elements.md");
    let changes = include_str!("../CHANGELOG.md");
    let common = include_str!("../src/common/settings.rs");
    let mut newer = 0;
    for (element, since, sources) in [
        ("rtmposebatch", FIRST, [common, include_str!("../src/posebatch/settings.rs")]),
        ("rtmposedetect", "0.2.0", ["", include_str!("../src/detect/settings.rs")]),
        ("rtmposeoverlay", FIRST, ["", include_str!("../src/overlay/imp.rs")]),
        ("rtmposejson", FIRST, [include_str!("../src/json/imp.rs"), include_str!("../src/json/settings.rs")]),
    ] {
        let mut command = tool("gst-inspect-1.0");
        command.arg(element);
        let output = run(command);
        let section = page.split("\n## ").find(|section| section.starts_with(element)).expect(element);
        let rows = section.lines().filter(|line| line.starts_with("| "));
        let rows: Vec<Vec<_>> = rows.map(|line| line.split('|').map(str::trim).collect()).collect();
        let in_source = since_in_the_source(&sources);
        for (name, _) in inspected_properties(&text(&output)) {
            if ["name", "parent", "qos"].contains(&name.as_str()) && !in_source.contains_key(&name) {
                continue;
            }
            let is_its = |row: &&Vec<&str>| {
                let names = row.iter().flat_map(|cell| cell.split([' ', ',', '`']));
                names.collect::<Vec<_>>().contains(&name.as_str())
            };
            let own = rows.iter().find(|row| row[1].split([' ', ',']).any(|word| word == name));
            let row = own.or_else(|| rows.iter().find(is_its));
            let row = row.unwrap_or_else(|| panic!("{element}: {name} is missing in docs/elements.md"));
            let expected = in_source.get(&name).map_or(since, String::as_str);
            assert_eq!(row[3], expected, "since when {element} has {name}");
            let version = changes.split("\n## [").find(|section| section.starts_with(expected));
            let version = version.unwrap_or_else(|| panic!("CHANGELOG.md has no version {expected}"));
            if expected != since {
                newer += 1;
                let mut words = version.split([' ', '`', ',', '=', '(', ')', '\n']);
                assert!(words.any(|word| word == name), "CHANGELOG.md does not name {element}'s {name}");
            } else {
                assert!(version.contains(&format!("`{element}`")), "CHANGELOG.md does not name {element}");
            }
        }
    }
    assert!(newer > 20, "{newer}");
}

#[test]
fn the_version_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let meson = include_str!("../meson.build");
    assert!(
        meson.contains(&format!("version: '{version}'")),
        "meson.build has another version than {version}"
    );
    let newest = include_str!("../CHANGELOG.md").split("\n## [").nth(1).expect("a version");
    assert!(newest.starts_with(version), "CHANGELOG.md begins with another version than {version}");
}

/// The block that GStreamer's documentation shows for each element has the element's first version, and launch
/// lines that GStreamer understands.
#[test]
fn each_element_is_documented_with_a_launch_line() {
    init();
    for (element, source) in [
        ("rtmposebatch", include_str!("../src/posebatch/imp.rs")),
        ("rtmposedetect", include_str!("../src/detect/imp.rs")),
        ("rtmposeoverlay", include_str!("../src/overlay/imp.rs")),
        ("rtmposejson", include_str!("../src/json/imp.rs")),
    ] {
        let start = format!("* SECTION:element-{element}\n");
        let (_, block) = source.split_once(&start).expect(element);
        let block = block.split("*/").next().expect(element);
        assert!(block.contains("\n * Since: "), "{element} does not say since when it is there");
        let lines: Vec<_> = block
            .split("|[\n * gst-launch-1.0 ")
            .skip(1)
            .filter_map(|rest| rest.split("\n * ]|").next())
            .collect();
        assert!(!lines.is_empty(), "{element} has no launch line");
        for line in lines {
            let line = line.replace("\n *", " ");
            assert!(line.contains(element), "{element} is not in its launch line: {line}");
            if let Err(error) = gst::parse::launch(&line) {
                panic!("{element}: {line}: {error}");
            }
        }
    }
}

#[test]
fn gst_inspect_shows_the_plugin() {
    let mut command = tool("gst-inspect-1.0");
    command.arg("rtmpose");
    let output = run(command);
    assert!(output.status.success(), "{}", text(&output));
    assert_says(
        &output,
        &[
            "libgstrtmpose.so",
            env!("CARGO_PKG_VERSION"),
            "Apache",
            "rtmposebatch: RTMPose batch",
            "rtmposedetect: RTMPose detect",
            "rtmposejson: RTMPose JSON",
        ],
    );
}

/// The process writes nothing but the lines, and each line is whole.
#[test]
fn lines_of_json_come_through_a_pipe() {
    let line = format!(
        "-q videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48 ! rtmposebatch execution-provider=cpu \
         inference-region=full-frame model-file={} ! rtmposejson ! fdsink fd=1",
        network("dots-small").display()
    );
    let output = launch(&line, &[]);
    assert!(output.status.success(), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.lines().count(), 30);
    for (number, line) in lines.lines().enumerate() {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(frame["people"].as_array().unwrap().len(), 1, "{frame}");
        assert_eq!(frame["pts"].as_u64(), Some(number as u64 * 1_000_000_000 / 30), "{frame}");
    }
}

/// Ctrl-C ends the pipeline without EOS. The list in the file is complete all the same.
#[test]
fn cocos_list_is_whole_after_ctrl_c() {
    use std::io::Read;

    let folder = Folder::new("interrupted");
    let file = folder.path().join("results.json");
    let mut command = tool("gst-launch-1.0");
    let line = format!(
        "-q videotestsrc is-live=true ! video/x-raw,width=64,height=48 ! rtmposebatch execution-provider=cpu \
         inference-region=full-frame model-file={} ! rtmposejson format=coco location={} ! fdsink fd=1",
        network("dots-small").display(),
        file.display()
    );
    command.args(line.split_whitespace()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let id = child.id();
    let (mut out, mut said) = (child.stdout.take().unwrap(), String::new());
    watched("gst-launch-1.0", move || {
        while said.matches("image_id").count() < 3 {
            let mut bytes = [0; 4096];
            let count = out.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "it ended by itself: {said}");
            said.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
        run({
            let mut kill = std::process::Command::new("kill");
            kill.args(["-INT", &id.to_string()]);
            kill
        });
        // Reads all output, so that a full pipe does not block the program.
        out.read_to_end(&mut Vec::new()).unwrap();
    });
    child.wait().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(list.as_array().unwrap().len() >= 3, "{list}");
}
