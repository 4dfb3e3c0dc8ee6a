//! Bad input: each case ends with one clear error message that names the thing and the remedy; nothing panics or hangs.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod libraries;
mod models;
mod streams;

use gst::prelude::*;

use network_rig::{messages, process::watched};

/// What a pipeline said until it ended.
struct End {
    /// What the element posted.
    errors: Vec<String>,
    warnings: Vec<String>,
    /// The change to PLAYING failed.
    failed_to_start: bool,
    reached_eos: bool,
}

/// Plays a launch line whose element is called `pose` to its end: a failed change of state, an error, or EOS.
fn play(line: &str) -> End {
    network_rig::init();
    let line = line.to_string();
    watched(&line.clone(), move || {
        let pipeline = gst::parse::launch(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let bus = pipeline.bus().unwrap();
        let failed_to_start = pipeline.set_state(gst::State::Playing).is_err();
        let mut end = End { errors: vec![], warnings: vec![], failed_to_start, reached_eos: false };
        let wait = if failed_to_start { gst::ClockTime::ZERO } else { gst::ClockTime::from_seconds(30) };
        let kinds = [gst::MessageType::Error, gst::MessageType::Warning, gst::MessageType::Eos];
        while let Some(message) = bus.timed_pop_filtered(wait, &kinds) {
            let from_element = message.src().is_some_and(|source| source.name() == "pose");
            let (texts, text) = match message.view() {
                gst::MessageView::Error(error) => (&mut end.errors, error.error().message().to_string()),
                gst::MessageView::Warning(warning) => {
                    (&mut end.warnings, warning.error().message().to_string())
                }
                _ => {
                    end.reached_eos = true;
                    break;
                }
            };
            if from_element {
                texts.push(text);
            } else if !failed_to_start {
                // The source's report that its stream has ended on an error comes after the element's.
                break;
            }
        }
        // A bin goes on to READY in the background, which must not hold up the end.
        let bus_of_element = bus.clone();
        pipeline.set_state(gst::State::Null).unwrap();
        end.errors.extend(messages(&bus_of_element, gst::MessageType::Error));
        end
    })
}

/// Asserts that a text is one readable sentence with all of these words in it.
#[track_caller]
fn assert_clear(what: &str, text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{what}: `{word}` is missing in: {text}");
    }
    assert!(!text.to_lowercase().contains("panic"), "{what}: {text}");
    assert!(!text.contains('\n') && text.len() < 450, "{what}: not one sentence: {text}");
    // ONNX Runtime's own places in its code, and names of Rust types.
    for noise in ["onnxruntime::", ".cc:", "::", "/onnxruntime/core", "Os {", "Error {"] {
        assert!(!text.contains(noise), "{what}: `{noise}` in: {text}");
    }
    println!("{what}: {text}");
}

/// Asserts that the pipeline did not start, for one reason.
#[track_caller]
fn assert_refused(what: &str, end: &End, words: &[&str]) {
    assert!(end.failed_to_start, "{what}: it started");
    assert_eq!(end.errors.len(), 1, "{what}: {:?}", end.errors);
    assert_eq!(end.warnings, [""; 0], "{what}");
    assert_clear(what, &end.errors[0], words);
}
