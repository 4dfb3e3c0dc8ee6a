//! Model files made to do harm: they end with an error, and take neither memory nor other files. What the reader refuses
//! in them is tested beside it (`src/network/graph/scan.rs`), one case of each kind here through the element.

use std::{path::Path, process::Command};

use gstrtmpose::network::graph::{
    self,
    messages::{Attribute, EXTERNAL, Graph, Model, Node, Tensor, element_type},
};
use prost::{Message, bytes::Bytes};

use crate::{
    assert_clear, assert_refused,
    models::start,
    network_rig::{network, process::Folder},
};

fn small() -> Model {
    graph::read(std::fs::read(network("dots-small")).unwrap().into()).unwrap()
}

/// The small network, changed.
fn changed(change: impl FnOnce(&mut Graph)) -> Vec<u8> {
    let mut model = small();
    change(model.graph.as_mut().unwrap());
    model.encode_to_vec()
}

/// `StringStringEntryProto`, as in a tensor's external_data.
fn entry(key: &str, value: &str) -> Bytes {
    #[derive(Clone, PartialEq, Message)]
    struct Entry {
        #[prost(string, tag = "1")]
        key: String,
        #[prost(string, tag = "2")]
        value: String,
    }
    Entry { key: key.to_string(), value: value.to_string() }.encode_to_vec().into()
}

/// A tensor that says its numbers are in another file.
fn elsewhere(tensor: &Tensor, location: &str) -> Tensor {
    let length = tensor.raw_data.as_ref().unwrap().len();
    Tensor {
        raw_data: None,
        data_location: Some(EXTERNAL),
        external_data: vec![entry("location", location), entry("length", &length.to_string())],
        ..tensor.clone()
    }
}

#[test]
fn numbers_in_other_files_are_never_read() {
    let folder = Folder::new("elsewhere");
    // A file that exists and has the right numbers, and a file that is not the plugin's to read.
    let weights = small().graph.unwrap().initializer[0].clone();
    let right = folder.write("weights.bin", weights.raw_data.as_ref().unwrap());
    let refused = ["is not an ONNX file", "its tensor `w` is in another file", "as one file"];
    for location in ["weights.bin", right.to_str().unwrap(), "../../../../etc/passwd", "/etc/passwd"] {
        let file = changed(|graph| graph.initializer[0] = elsewhere(&weights, location));
        let file = folder.write("elsewhere.onnx", file);
        assert_refused(location, &start(&file, ""), &refused);
    }
    // Places that no other part of the plugin reads.
    let hidden = Graph { initializer: vec![elsewhere(&weights, "/etc/passwd")], ..Graph::default() };
    let branch = Attribute {
        name: Some("then_branch".to_string()),
        g: Some(hidden.encode_to_vec().into()),
        ..Attribute::default()
    };
    let node = Node { op_type: Some("If".to_string()), attribute: vec![branch], ..Node::default() };
    let file = folder.write("branch.onnx", changed(|graph| graph.node.push(node)));
    assert_refused("in a branch", &start(&file, ""), &refused);
}

/// The plugin may run a network once, unchanged, before it adapts it. That run must not be a way around the
/// check.
#[test]
fn networks_that_are_tried_before_they_are_adapted_are_looked_at_first() {
    let folder = Folder::new("probe");
    let mut model = graph::read(std::fs::read(network("short-simcc-hidden")).unwrap().into()).unwrap();
    let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
    *tensor = elsewhere(tensor, "../../../../etc/passwd");
    let file = folder.write("probe.onnx", model.encode_to_vec());
    assert_refused("probe", &start(&file, ""), &["is in another file"]);
}

/// A tensor, read by ONNX Runtime only, that claims more numbers than the file has.
#[test]
fn tensors_of_absurd_sizes_are_refused() {
    let folder = Folder::new("tensors");
    for (what, dims) in
        [("2^31", vec![1 << 31]), ("2^62", vec![1 << 31, 1 << 31]), ("2^93", vec![1 << 31; 3])]
    {
        let file = changed(|graph| {
            let last = graph.initializer.last_mut().unwrap();
            assert_ne!(last.name(), "w");
            last.dims = dims;
        });
        let file = folder.write("tensors.onnx", file);
        assert_refused(what, &start(&file, ""), &["The model", "tensors.onnx"]);
    }
}

/// A graph of two nodes that asks for 2^50 numbers while it is loaded.
#[test]
fn a_network_that_asks_for_more_memory_than_there_is_is_refused() {
    let folder = Folder::new("bomb");
    let file = changed(|graph| {
        let side = Tensor {
            name: Some("side".to_string()),
            data_type: Some(element_type::INT64),
            dims: vec![2],
            raw_data: Some([(1u64 << 25).to_le_bytes(); 2].concat().into()),
            ..Tensor::default()
        };
        graph.initializer.push(side);
        let node = |op: &str, input: &str, output: &str| Node {
            op_type: Some(op.to_string()),
            input: vec![input.to_string()],
            output: vec![output.to_string()],
            ..Node::default()
        };
        graph.node.push(node("ConstantOfShape", "side", "field"));
        graph.node.push(node("Neg", "field", "negative"));
    });
    let end = start(&folder.write("bomb.onnx", file), "");
    // ONNX Runtime may omit the nodes, because their result is not used.
    match &end.errors[..] {
        [] => assert!(end.reached_eos),
        [error] => assert_clear("bomb", error, &["bomb.onnx", "model-file"]),
        errors => panic!("{errors:?}"),
    }
}

#[test]
fn small_files_of_many_or_deep_parts_are_refused() {
    let folder = Folder::new("parts");
    let many = Graph { value_info: vec![Bytes::new(); 1 << 19], ..Graph::default() };
    let many = folder.write("many.onnx", Model { graph: Some(many), ..Model::default() }.encode_to_vec());
    assert_refused("many", &start(&many, ""), &["it has more than 262144 parts", "download it again"]);

    let deep = (0..2000).fold(Graph::default(), |graph, _| {
        let attribute = Attribute { g: Some(graph.encode_to_vec().into()), ..Attribute::default() };
        Graph { node: vec![Node { attribute: vec![attribute], ..Node::default() }], ..Graph::default() }
    });
    let deep = folder.write("deep.onnx", Model { graph: Some(deep), ..Model::default() }.encode_to_vec());
    assert_refused("deep", &start(&deep, ""), &["messages are nested more than 48 levels deep"]);
}

/// A text that claims to be longer than any file.
#[test]
fn lengths_beyond_the_file_are_refused() {
    let folder = Folder::new("lengths");
    for length in [100u64, 1 << 31, 1 << 40, u64::MAX] {
        let mut bytes = vec![2 << 3 | 2];
        prost::encoding::encode_varint(length, &mut bytes);
        bytes.extend([0; 50]);
        let file = folder.write("length.onnx", bytes);
        assert_refused(&length.to_string(), &start(&file, ""), &["its bytes are not protobuf"]);
    }
}

/// Names in a file can be of any length, and can contain characters that move a terminal's cursor.
#[test]
fn names_in_a_file_do_not_flood_messages() {
    let folder = Folder::new("names");
    let name = "\u{1b}[2J\n".repeat(100_000);
    let file = changed(|graph| {
        graph.input[0].name = Some(name.clone());
        graph.node[0].input[0] = name.clone();
    });
    let end = start(&folder.write("names.onnx", file), "");
    let [error] = &end.errors[..] else { panic!("{:?}", end.errors) };
    assert!(error.contains("one input `input`") && error.len() < 1000, "{} bytes", error.len());
    assert!(!error.contains(char::is_control), "{error:?}");
}

/// ONNX Runtime recognises its own format by these letters in the file's fifth to eighth byte.
#[test]
fn a_producers_name_does_not_change_the_format() {
    let folder = Folder::new("producer");
    let mut model = small();
    model.producer_name = Some(Bytes::from_static(b"ORTM"));
    let bytes = model.encode_to_vec();
    assert_eq!(&bytes[4..8], b"ORTM");
    let end = start(&folder.write("producer.onnx", bytes), "");
    assert_eq!((end.errors.as_slice(), end.reached_eos), (&[][..], true));
}

/// A device has no end, and a pipe may have no writer.
#[test]
fn what_is_no_file_is_not_read() {
    let folder = Folder::new("devices");
    let pipe = folder.path().join("pipe.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let words = ["it is a device or a pipe, not a file"];
    for file in [Path::new("/dev/zero"), &pipe] {
        assert_refused("a model", &start(file, ""), &[&words[..], &[file.to_str().unwrap()]].concat());
        let skeleton = format!("skeleton={}", file.display());
        let end = start(&network("dots-small"), &skeleton);
        assert_refused("a skeleton", &end, &[&words[..], &[file.to_str().unwrap()]].concat());
    }
}
