//! Files: whose they are, what is done with one that is there, and what cannot be written.

use std::os::unix::fs::PermissionsExt;

use gst::prelude::*;
use serde_json::{Value, json};

use crate::{
    network_rig::{init, messages, process::Folder},
    play,
};

#[test]
fn a_file_is_its_owners_and_is_not_overwritten_unasked() {
    let folder = Folder::new("json");
    let file = folder.path().join("people.jsonl");
    let text = |frames: u32, properties: &str| {
        format!(
            "videotestsrc num-buffers={frames} ! video/x-raw,format=I420,width=64,height=48,framerate=25/1 ! tee name=t \
             ! queue ! rtmposejson location={} {properties} ! filesink location={} t. ! queue ! fakesink sync=false",
            file.display(),
            folder.path().join("buffers.jsonl").display()
        )
    };
    play(&text(5, "")).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, std::fs::read_to_string(folder.path().join("buffers.jsonl")).unwrap());
    let times: Vec<_> =
        written.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["pts"].clone()).collect();
    assert_eq!(times, [0, 40, 80, 120, 160].map(|ms| json!(ms * 1_000_000)));

    let error = play(&text(2, "")).unwrap_err();
    assert!(
        error.contains(file.to_str().unwrap()) && error.contains("overwrite=true or append=true"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written, "the file is untouched");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    play(&text(2, "overwrite=true")).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

/// A camera that comes back continues its file, also behind half a line that a power cut left.
#[test]
fn a_file_is_continued_where_that_is_asked_for() {
    let folder = Folder::new("json-append");
    let file = folder.path().join("people.jsonl");
    let text = |properties: &str| {
        format!(
            "videotestsrc num-buffers=2 ! video/x-raw,width=64,height=48 ! rtmposejson location={} {properties} ! fakesink",
            file.display()
        )
    };
    play(&text("append=true")).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    play(&text("append=true")).unwrap();
    let numbers = || -> Vec<_> {
        let text = std::fs::read_to_string(&file).unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).ok()?["frame"].as_u64()).collect()
    };
    assert_eq!(numbers(), [Some(0), Some(1), Some(0), Some(1)]);
    let half = std::fs::metadata(&file).unwrap().len() - 20;
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(half).unwrap();
    play(&text("append=true")).unwrap();
    assert_eq!(numbers(), [Some(0), Some(1), Some(0), None, Some(0), Some(1)]);

    let error = play(&text("")).unwrap_err();
    assert!(error.contains("overwrite=true or append=true"), "{error}");
    for (properties, words) in [
        ("append=true overwrite=true", "overwrite and append are both set"),
        ("append=true format=coco", "append is set, but works with format=lines only"),
    ] {
        let error = play(&text(properties)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(numbers().len(), 6, "the file is untouched");
}

#[test]
fn a_property_that_comes_too_late_is_warned_of() {
    init();
    let folder = Folder::new("json-late");
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let element =
        gst::ElementFactory::make("rtmposejson").property("location", file("first")).build().unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_property("skeleton", "coco-17");
    element.set_state(gst::State::Paused).unwrap();
    assert!(bus.pop_filtered(&[gst::MessageType::Warning]).is_none(), "they were in time");
    element.set_property("location", file("second"));
    element.set_property("overwrite", true);
    element.set_property("skeleton", "hand-21");
    element.set_property_from_str("format", "coco");
    element.set_property("append", false);
    let texts = messages(&bus, gst::MessageType::Warning);
    assert_eq!(texts.len(), 5, "{texts:?}");
    for (text, name) in texts.iter().zip(["location", "overwrite", "skeleton", "format", "append"]) {
        assert!(text.contains(name) && text.contains("READY to PAUSED"), "{text}");
    }
    element.set_state(gst::State::Ready).unwrap();
    assert!(!folder.path().join("second").exists());
    element.set_state(gst::State::Paused).unwrap();
    assert!(folder.path().join("second").exists(), "it takes effect at the next start");
    element.set_state(gst::State::Null).unwrap();
    // An element that failed to start does not run.
    element.set_property("location", file("none/file"));
    assert!(element.set_state(gst::State::Paused).is_err());
    element.set_property("location", file("third"));
    assert_eq!(messages(&bus, gst::MessageType::Warning), [""; 0]);
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_names_it() {
    let text = |location: &str| {
        format!(
            "videotestsrc num-buffers=3 ! rtmposejson location={location} overwrite=true ! fakesink sync=false"
        )
    };
    let error = play(&text("/nowhere/people.jsonl")).unwrap_err();
    assert!(error.starts_with("The file /nowhere/people.jsonl cannot be created: "), "{error}");
    let error = play(&text("/dev/full")).unwrap_err();
    assert!(error.starts_with("Writing to /dev/full failed: No space left on device"), "{error}");
}
