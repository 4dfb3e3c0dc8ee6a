//! Bad input: each case ends with one clear error message that names the thing and the remedy; nothing panics or hangs.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod hostile;
mod layouts;
mod libraries;
mod models;
mod streams;

use gst::prelude::*;

use network_rig::process::watched;

/// What a pipeline posted until its end.
struct End {
    /// Errors of the element.
    errors: Vec<String>,
    warnings: Vec<String>,
    /// Whether the change to PLAYING failed.
    failed_to_start: bool,
    reached_eos: bool,
}

/// Plays a launch line, whose element is called `pose`, until a state change fails, an error comes, or EOS.
fn play(line: &str) -> End {
    play_with(line, |_| ())
}

/// Like `play`, after `prepare` has changed the pipeline.
fn play_with(line: &str, prepare: impl FnOnce(&gst::Pipeline) + Send + 'static) -> End {
    network_rig::init();
    let line = line.to_string();
    watched(&line.clone(), move || {
        let pipeline = gst::parse::launch(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let bus = pipeline.bus().unwrap();
        // Keeps all messages up to the end of the last thread.
        pipeline.set_auto_flush_bus(false);
        prepare(&pipeline);
        let failed_to_start = pipeline.set_state(gst::State::Playing).is_err();
        let mut said = Vec::new();
        let is_end = |message: &gst::Message| {
            matches!(message.type_(), gst::MessageType::Error | gst::MessageType::Eos)
        };
        while !failed_to_start && !said.last().is_some_and(is_end) {
            said.extend(bus.timed_pop(None));
        }
        pipeline.set_state(gst::State::Null).unwrap();
        let mut end = End { errors: vec![], warnings: vec![], failed_to_start, reached_eos: false };
        said.extend(std::iter::from_fn(|| bus.pop()));
        for message in said {
            let from_element = message.src().is_some_and(|source| source.name() == "pose");
            match message.view() {
                // The source also posts an error after the element's error: its stream has ended.
                gst::MessageView::Error(error) if from_element => {
                    end.errors.push(error.error().message().to_string());
                }
                gst::MessageView::Warning(warning) => {
                    end.warnings.push(warning.error().message().to_string())
                }
                gst::MessageView::Eos(_) => end.reached_eos = true,
                _ => (),
            }
        }
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
    // Places in ONNX Runtime's source, and names of Rust types.
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
