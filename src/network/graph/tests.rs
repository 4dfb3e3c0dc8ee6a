//! Rewritten files, and files that cannot be rewritten.

use std::path::PathBuf;

use super::{
    operators::{BIAS_SILU, DEPTHWISE_SILU, LARGEST, MEAN, POINTWISE_SILU, SCALE_NORM},
    *,
};

fn file(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read(root.join(name)).unwrap()
}

fn model(name: &str) -> Model {
    read(Bytes::from(file(name))).unwrap()
}

/// Only these are computed in float32. Weights are halved, whatever type the file stores.
#[test]
fn only_the_norms_stay_in_float32() {
    let adapted = adapt(
        &model("models/rtmpose-t.onnx"),
        &Adaptation { half: true, fixed_batch: None, ..Adaptation::default() },
    )
    .unwrap();
    let graph = read(adapted.into()).unwrap().graph.unwrap();
    let singles = graph.initializer.iter().filter(|tensor| tensor.data_type() == element_type::FLOAT);
    let mut singles: Vec<_> =
        singles.map(|tensor| (tensor.name(), tensor.to_float32().unwrap().len())).collect();
    singles.sort_unstable();
    assert_eq!(
        singles,
        [
            ("/head/gau/ln/Constant_1_output_0", 1),
            ("/head/mlp/mlp.0/Constant_1_output_0", 1),
            ("rtmposebatch/half", 1),
            ("score_factor", 1)
        ]
    );
    let casts = graph.node.iter().filter(|node| node.is("Cast"));
    // Casts of the crop and the bins, to and from each norm and each floor, and of the two answers.
    assert_eq!(casts.count(), 2 + 2 * 4 + 2);
}

/// If a network takes blue first and begins with a convolution, the weights of this convolution are
/// reordered. Other networks get an operator that reorders the colours.
#[test]
fn the_order_of_colours_is_folded_into_a_first_convolution() {
    for (name, is_folded) in [("rtmdet", true), ("yolox", false), ("rtmo", false)] {
        let adapted = adapt(&model(&format!("tests/networks/{name}.onnx")), &Adaptation::default()).unwrap();
        let graph = read(adapted.into()).unwrap().graph.unwrap();
        let orders = graph.initializer.iter().any(|tensor| tensor.name() == "rtmposebatch/colour_order");
        let scales = graph.initializer.iter().any(|tensor| tensor.name() == "rtmposebatch/factor");
        assert_eq!((orders, scales), (!is_folded, false), "{name}");
    }
}

#[test]
fn unknown_operators_are_named_in_half_precision_only() {
    let mut model = model("tests/networks/dots-small.onnx");
    let graph = model.graph.as_mut().unwrap();
    let node = graph.node.iter_mut().find(|node| node.is("Relu")).unwrap();
    node.op_type = Some("Shrink".to_string());
    assert!(adapt(&model, &Adaptation::default()).is_ok());
    let error =
        adapt(&model, &Adaptation { half: true, fixed_batch: None, ..Adaptation::default() }).unwrap_err();
    assert!(error.contains("operator `Shrink`"), "{error}");
}

/// A file in the adapted form and an adapted file are equal here: both pass unchanged.
#[test]
fn adapted_files_pass_unchanged() {
    for name in ["packed", "packed-3"] {
        let bytes = file(&format!("tests/networks/{name}.onnx"));
        let model = read(Bytes::from(bytes.clone())).unwrap();
        for half in [false, true] {
            assert!(
                adapt(&model, &Adaptation { half, fixed_batch: None, ..Adaptation::default() }).unwrap()
                    == bytes,
                "{name}"
            );
        }
    }
    let once = adapt(&model("tests/networks/dots.onnx"), &Adaptation::default()).unwrap();
    let again = adapt(&read(Bytes::from(once.clone())).unwrap(), &Adaptation::default()).unwrap();
    assert!(once == again);
}

/// An adapted file has the same contract as the original; it passes unchanged, too.
#[test]
fn adapted_files_of_each_kind_are_known_again() {
    use crate::network::{Classes, check::check};
    let kind = |model: &Model| {
        let contract = check(model.graph.as_ref().unwrap(), "model", None, Classes::default()).unwrap();
        (
            contract.kind(contract.points.unwrap_or(17)),
            [contract.width, contract.height],
            contract.is_adapted(),
        )
    };
    for name in ["yolox", "yolox-any-size", "rtmdet", "yolox-anchors", "rfdetr", "rtmo", "rtmw3d", "vitpose"]
    {
        let model = model(&format!("tests/networks/{name}.onnx"));
        let once = adapt(&model, &Adaptation::default()).unwrap();
        let again = read(Bytes::from(once.clone())).unwrap();
        let (was, is) = (kind(&model), kind(&again));
        assert_eq!((was.0, was.1, was.2, is.2), (is.0, is.1, false, true), "{name}");
        assert!(adapt(&again, &Adaptation::default()).unwrap() == once, "{name}");
    }
}

/// Behind the last weights everything stays in float32, known or not; before them, suppression of boxes is refused.
#[test]
fn what_follows_the_last_weights_stays_in_float32() {
    let half = Adaptation { half: true, ..Adaptation::default() };
    let file = model("tests/networks/yolox-by-class.onnx");
    let graph = read(adapt(&file, &half).unwrap().into()).unwrap().graph.unwrap();
    let made = |name: &str| graph.node.iter().find(|node| node.output.iter().any(|output| output == name));
    let suppression = graph.node.iter().find(|node| node.is("NonMaxSuppression")).unwrap();
    assert_eq!((suppression.input[0].as_str(), suppression.input[1].as_str()), ("boxes", "scores"));
    let (conv, first) = (made("v").unwrap(), made("r").unwrap());
    let cast = made(&first.input[0]).unwrap();
    assert!(
        cast.is("Cast") && cast.attribute("to").unwrap().i() == i64::from(element_type::FLOAT),
        "{cast:?}"
    );
    assert!(
        !conv.input[1].is_empty()
            && graph.constant(&conv.input[1]).unwrap().data_type() == element_type::FLOAT16
    );

    let mut file = file;
    let product = Node::new("MatMul", &["dets", "dets"], "product");
    file.graph.as_mut().unwrap().node.push(product);
    let error = adapt(&file, &half).unwrap_err();
    assert!(error.contains("operator `Range`") || error.contains("operator `NonMaxSuppression`"), "{error}");
}

/// `messages` knows every field: what is read is written again, byte by byte.
#[test]
fn files_survive_being_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/networks");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    assert!(files.len() > 20);
    for path in
        files.into_iter().chain([PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/rtmpose-t.onnx")])
    {
        let bytes = std::fs::read(&path).unwrap();
        let model = read(Bytes::from(bytes.clone())).unwrap();
        assert!(model.encode_to_vec() == bytes, "{}", path.display());
    }
}

#[test]
fn what_stands_in_the_way_is_named() {
    let refusal = |change: &dyn Fn(&mut Model)| {
        let mut model = model("tests/networks/dots-small.onnx");
        change(&mut model);
        adapt(&model, &Adaptation::default()).unwrap_err()
    };
    let old = refusal(&|model| model.opset_import[0].version = Some(9));
    assert!(old.contains("opset is 9"), "{old}");
    let none = refusal(&|model| model.graph = None);
    assert!(none.contains("no graph"), "{none}");
    // Sizes that the file does not hold are never allocated.
    for dims in [vec![1 << 31, 3, 1 << 31, 1], vec![3, 3, 1 << 31, 1], vec![3, 3, -1, 1]] {
        let huge = refusal(&|model| model.graph.as_mut().unwrap().initializer[0].dims = dims.clone());
        assert!(huge.contains("tensor `w` of") && huge.contains("has 9 numbers"), "{huge}");
    }
    // ONNX Runtime refuses empty weights and impossible shapes.
    for dims in [vec![0, 3, 1 << 40, 1 << 40], vec![3, 3, 0, 1 << 62], vec![-3, 3, 1, -1]] {
        let mut model = model("tests/networks/dots-small.onnx");
        let weights = &mut model.graph.as_mut().unwrap().initializer[0];
        (weights.dims, weights.raw_data) = (dims, Some(Bytes::new()));
        assert!(adapt(&model, &Adaptation::default()).is_ok());
    }
}

/// A model's operators: how often each occurs in the adapted graph; and the layouts into which values are brought, first those with
/// channels last.
fn adapted(name: &str, wanted: Option<(Layout, bool)>, operators: &[&str]) -> (Vec<usize>, [usize; 2]) {
    let wanted = wanted.map(|(layout, pointwise)| Operators { layout, pointwise });
    let adaptation = Adaptation { half: true, operators: wanted, ..Adaptation::default() };
    let graph = read(adapt(&model(name), &adaptation).unwrap().into()).unwrap().graph.unwrap();
    let count = |op: &&str| graph.node.iter().filter(|node| node.op_type() == *op).count();
    let perms = |perm: [i64; 4]| {
        let of_values = |node: &&Node| node.is("Transpose") && graph.constant(&node.input[0]).is_none();
        graph.node.iter().filter(of_values).filter(|node| node.ints("perm") == perm).count()
    };
    (operators.iter().map(count).collect(), [perms([0, 2, 3, 1]), perms([0, 3, 1, 2])])
}

/// Each convolution of RTMPose with SiLU behind it. Values change their layout before the head only.
#[test]
fn our_operators_replace_activations_and_values_keep_one_layout() {
    let onnxs = |wanted| {
        adapted(
            "models/rtmpose-t.onnx",
            wanted,
            &["Conv", "Sigmoid", "Add", "MaxPool", "GlobalAveragePool", "ReduceL2", "TopK"],
        )
    };
    let ours = |wanted| {
        let ours = [POINTWISE_SILU, BIAS_SILU, DEPTHWISE_SILU, LARGEST, MEAN, SCALE_NORM, PEAKS];
        adapted("models/rtmpose-t.onnx", wanted, &[&["NhwcConv"][..], &ours].concat()).0
    };
    let (first, last) =
        (Some((Layout::ChannelsFirst, true)), |pointwise| Some((Layout::ChannelsLast, pointwise)));
    assert_eq!(onnxs(None), (vec![38, 34, 6, 3, 4, 2, 2], [0, 1]));
    assert_eq!(ours(None), [0; 8]);
    assert_eq!(onnxs(first), (vec![38, 1, 3, 3, 4, 0, 0], [0, 1]));
    assert_eq!(ours(first), [0, 0, 33, 0, 0, 0, 2, 1]);
    for pointwise in [false, true] {
        assert_eq!(onnxs(last(pointwise)), (vec![0, 1, 3, 0, 0, 0, 0], [0, 1]));
    }
    assert_eq!(ours(last(false)), [34, 0, 29, 4, 3, 4, 2, 1]);
    assert_eq!(ours(last(true)), [25, 9, 20, 4, 3, 4, 2, 1]);
}

/// A detector's body.
#[test]
fn a_detectors_values_keep_one_layout() {
    let onnxs = ["Conv", "MaxPool", "GlobalAveragePool", "Resize"];
    let ours = ["NhwcConv", POINTWISE_SILU, BIAS_SILU, DEPTHWISE_SILU, LARGEST, MEAN];
    let found = adapted(
        "tests/networks/yolox-body.onnx",
        Some((Layout::ChannelsLast, true)),
        &[&onnxs[..], &ours].concat(),
    );
    assert_eq!(found, (vec![0, 0, 0, 1, 5, 3, 1, 4, 2, 1], [0, 0]));
}

/// A convolution's answer, or its sigmoid, that something else uses too, or that is the graph's, and products of other values.
#[test]
fn what_is_not_only_activated_stays() {
    let graph = |nodes: Vec<Node>, output: &str| Graph {
        node: nodes,
        output: vec![ValueInfo::of(output, element_type::FLOAT, Vec::new())],
        ..Graph::default()
    };
    let conv = |inputs: &[&str]| Node::new("Conv", inputs, "x");
    let sigmoid = || Node::new("Sigmoid", &["x"], "s");
    let product = |inputs: &[&str]| Node::new("Mul", inputs, "y");
    let join = |nodes, output| activations::join(&mut graph(nodes, output));
    let with_bias = || conv(&["image", "weights", "bias"]);
    assert_eq!(join(vec![with_bias(), sigmoid(), product(&["x", "s"])], "y"), 1);
    assert_eq!(join(vec![with_bias(), sigmoid(), product(&["s", "x"])], "y"), 1);
    for (nodes, output) in [
        (vec![conv(&["image", "weights"]), sigmoid(), product(&["x", "s"])], "y"),
        (vec![with_bias(), sigmoid(), product(&["s", "s"])], "y"),
        (vec![with_bias(), sigmoid(), product(&["x", "x"])], "y"),
        (vec![with_bias(), sigmoid(), product(&["x", "s"])], "x"),
        (vec![with_bias(), sigmoid(), product(&["x", "s"])], "s"),
        (vec![with_bias(), sigmoid(), product(&["x", "s"]), Node::new("Relu", &["x"], "z")], "y"),
        (vec![with_bias(), sigmoid(), product(&["x", "s"]), Node::new("Relu", &["s"], "z")], "y"),
    ] {
        let mut graph = graph(nodes.clone(), output);
        assert_eq!((activations::join(&mut graph), graph.node), (0, nodes), "{output}");
    }
}
