//! Model files and settings that are refused at NULL->READY.

use std::path::Path;

use crate::{
    assert_clear, assert_refused, network_rig,
    network_rig::{network, process::Folder},
    play,
};

/// Plays two frames with that model.
pub fn start(file: &Path, properties: &str) -> crate::End {
    play(&format!(
        "videotestsrc num-buffers=2 ! video/x-raw,format=NV12,width=64,height=48 ! rtmposebatch name=pose \
         execution-provider=cpu model-file=\"{}\" {properties} ! fakesink",
        file.display()
    ))
}

/// Networks of `tests/networks`, and the words that the message must have beside the file's name.
const FAULTY: &[(&str, &[&str])] = &[
    ("batch-1", &["fixed batch dimension of 1", "batch-size is 8", "dynamic batch", "batch-size=1"]),
    ("heatmaps", &["expected an output `simcc_x`", "found", "`heatmaps`"]),
    ("float16", &["expected an input `input` of float32", "found `input` of float16"]),
    ("uint8-nchw", &["expected an input `input` of float32", "found `input` of uint8"]),
    ("one-channel", &["[batch, 3, height, width]", "[?, 1, 256, 192]"]),
    ("other-names", &["one input `input`", "`images`"]),
    ("short-simcc", &["`simcc_x`", "384]", "100]"]),
    ("short-simcc-hidden", &["`simcc_x`", "384]", "100]"]),
    ("different-k", &["key points", "17", "16"]),
    ("different-k-hidden", &["key points", "17", "16"]),
    ("no-size", &["height and width of 1 to 1024", "[?, 3, ?, ?]"]),
    ("zero-size", &["height and width of 1 to 1024", "[?, 3, 0, 0]"]),
];

#[test]
fn faulty_networks_are_refused() {
    for (name, words) in FAULTY {
        let file = format!("{name}.onnx");
        let end = start(&network(name), "");
        assert_refused(name, &end, &[words, &["The model", &file, "export"][..]].concat());
    }
}

#[test]
fn files_that_are_no_network_are_refused() {
    let folder = Folder::new("models");
    let empty = folder.write("empty.onnx", "");
    assert_refused("an empty file", &start(&empty, ""), &["empty.onnx", "is empty", "download it again"]);

    let refused = ["is not an ONNX file that ONNX Runtime can load", "download it again"];
    let text =
        folder.write("text.onnx", "<!DOCTYPE html><html><body>404 Not Found</body></html>\n".repeat(40));
    assert_refused("a text file", &start(&text, ""), &[&refused[..], &["text.onnx"]].concat());
    let zeros = folder.write("zeros.onnx", [0; 5000]);
    assert_refused("a file of zeros", &start(&zeros, ""), &[&refused[..], &["zeros.onnx"]].concat());
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = Folder::new("unreadable");
    let remedy = ["cannot be read", "set model-file to"];
    let missing = folder.path().join("missing.onnx");
    assert_refused(
        "no file",
        &start(&missing, ""),
        &[&remedy[..], &["missing.onnx", "No such file"]].concat(),
    );
    assert_refused("a folder", &start(folder.path(), ""), &[&remedy[..], &["is a folder"]].concat());
    let relative = Path::new("no/such/model.onnx");
    assert_refused("a relative path", &start(relative, ""), &[&remedy[..], &["no/such/model.onnx"]].concat());
}

/// A download that ended early, also one cut between two fields of the file.
#[test]
fn truncated_networks_are_refused() {
    let folder = Folder::new("truncated");
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/rtmpose-t.onnx");
    for (file, cuts) in [
        (network("dots"), vec![1, 2, 3, 16, 50, 100, 500, 1000, 2000, 2600, 2700, 2740, 2743]),
        (embedded, vec![1000, 100_000, 3_000_000]),
    ] {
        let whole = std::fs::read(&file).unwrap();
        for cut in cuts {
            assert!(cut < whole.len(), "{} has only {} bytes", file.display(), whole.len());
            let name = format!("cut-at-{cut}.onnx");
            let file = folder.write(&name, &whole[..cut]);
            let end = start(&file, "");
            assert_refused(&name, &end, &["The model", &name, "download it again"]);
        }
    }
}

/// Damaged bytes: the file is refused or accepted as another network, but never a crash.
#[test]
fn damaged_networks_do_no_harm() {
    let folder = Folder::new("damaged");
    let whole = std::fs::read(network("dots-small")).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let file = folder.write(&format!("damaged-at-{at}.onnx"), damaged);
        let end = start(&file, "");
        let what = format!("byte {at} changed");
        match &end.errors[..] {
            [] => assert!(end.reached_eos, "{what}: no error and no end"),
            [error] => assert_clear(&what, error, &[&format!("damaged-at-{at}.onnx")]),
            errors => panic!("{what}: {errors:?}"),
        }
    }
}

/// The plugin checks the sizes in a file before it allocates memory for them.
#[test]
fn networks_with_absurd_sizes_are_refused() {
    use gstrtmpose::network::graph::{self, messages::Model};
    use prost::Message;
    const HUGE: i64 = 1 << 31;
    let folder = Folder::new("absurd");
    let whole = std::fs::read(network("dots-small")).unwrap();
    let input = |model: &mut Model, dimension: usize| {
        let input = &mut model.graph.as_mut().unwrap().input[0];
        let tensor = input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        tensor.shape.as_mut().unwrap().dim[dimension].param = None;
        tensor.shape.as_mut().unwrap().dim[dimension].value = Some(HUGE);
    };
    let weights =
        |model: &mut Model| model.graph.as_mut().unwrap().initializer[0].dims = vec![HUGE, 3, HUGE, 1];
    type Change<'a> = &'a dyn Fn(&mut Model);
    let cases: [(&str, Change, &str, [&str; 2]); 4] = [
        ("weights", &weights, "", ["tensor `w` of [2147483648, 3, 2147483648, 1]", "9 numbers"]),
        ("height", &|model| input(model, 2), "", ["[?, 3, 2147483648, 48]", "height and width of 1 to 1024"]),
        ("batch", &|model| input(model, 0), "", ["fixed batch dimension of 2147483648", "batch-size is 8"]),
        (
            "any-batch",
            &|model| input(model, 0),
            "batch-size=0",
            ["fixed batch dimension of 2147483648", "export"],
        ),
    ];
    for (name, change, properties, words) in cases {
        let mut model = graph::read(whole.clone().into()).unwrap();
        change(&mut model);
        let file = folder.write(&format!("{name}.onnx"), model.encode_to_vec());
        assert_refused(name, &start(&file, properties), &[&words[..], &["The model", name]].concat());
    }
}

/// A network that returns only the smaller maximum cannot give the mean of both.
#[test]
fn a_score_that_the_network_does_not_give_is_refused() {
    let end = start(&network("packed-3"), "score-mode=mean");
    assert_refused("packed-3", &end, &["score-mode=mean", "score-mode=min", "4 columns"]);
    let end = start(&network("packed-3"), "score-mode=min");
    assert_eq!((end.errors.as_slice(), end.reached_eos), (&[][..], true));
}

#[test]
fn a_network_of_batch_1_runs_with_batch_size_1() {
    let end = start(&network("batch-1"), "batch-size=1");
    assert_eq!((end.errors.as_slice(), end.reached_eos), (&[][..], true));
}

#[test]
fn skeletons_must_be_known_and_fit_the_network() {
    for (name, skeleton, words) in [
        (
            "dots",
            "coco17",
            [
                "coco17",
                "neither one of",
                "coco-17, halpe-26, coco-wholebody-133, hand-21, face-106, ap10k-17",
            ],
        ),
        ("dots", "coco-17", ["coco-17", "has 17 key points", "the model has 3"]),
        ("dots-17", "halpe-26", ["halpe-26", "has 26 key points", "the model has 17"]),
        ("dots-17", "custom-17", ["custom-17", "neither one of", "ap10k-17"]),
    ] {
        let end = start(&network(name), &format!("skeleton={skeleton}"));
        let words = [&words[..], &["skeleton", "unset"]].concat();
        assert_refused(&format!("skeleton {skeleton} for {name}"), &end, &words);
    }
}

/// A user's own skeleton file. (The reader's own tests have the faults of such files.)
#[test]
fn skeleton_files_must_be_there_right_and_fit() {
    let folder = Folder::new("skeletons");
    let two = folder.write("two.toml", "names = [\"a\", \"b\"]\n");
    let typo = folder.write("typo.toml", "names = [\"a\", \"b\", \"c\"]\nlinks = [[\"a\", \"d\"]]\n");
    let missing = folder.path().join("missing.toml");
    for (file, words) in [
        (&two, ["has 2 key points", "the model has 3", "set it to one that fits"]),
        (&typo, ["`links` names `d`", "not in `names`", "models/skeletons/example.toml"]),
        (&missing, ["cannot be read", "No such file or directory", "models/skeletons/example.toml"]),
    ] {
        let end = start(&network("dots"), &format!("skeleton={}", file.display()));
        let words = [&words[..], &["property skeleton", file.to_str().unwrap(), "unset"]].concat();
        assert_refused(&file.display().to_string(), &end, &words);
    }
}

/// With a GPU and a GPU build of ONNX Runtime, CUDA is used. Otherwise the error says what CUDA needs.
#[test]
fn cuda_is_used_or_its_lack_explained() {
    let end = play(&format!(
        "videotestsrc num-buffers=2 ! video/x-raw,format=NV12,width=64,height=48 ! rtmposebatch name=pose \
         execution-provider=cuda model-file=\"{}\" ! fakesink",
        network("dots-small").display()
    ));
    if Path::new("/proc/driver/nvidia/version").exists() && end.reached_eos {
        return;
    }
    let words = ["CUDA", "NVIDIA driver", "GPU build of ONNX Runtime", "cuDNN", "execution-provider=cpu"];
    assert_refused("cuda", &end, &words);
}

/// After a refusal the same element starts with another file.
#[test]
fn an_element_recovers_from_a_refused_model() {
    use gst::prelude::*;
    network_rig::init();
    let element = gst::ElementFactory::make("rtmposebatch")
        .property_from_str("execution-provider", "cpu")
        .property("model-file", network("heatmaps").to_str())
        .build()
        .unwrap();
    for _ in 0..3 {
        assert!(element.set_state(gst::State::Ready).is_err());
        element.set_state(gst::State::Null).unwrap();
    }
    element.set_property("model-file", network("dots").to_str());
    element.set_state(gst::State::Ready).unwrap();
    element.set_state(gst::State::Null).unwrap();
}
