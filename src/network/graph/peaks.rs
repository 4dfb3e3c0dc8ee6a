//! The search for the peaks of SimCC answers, in ONNX's operators.

use super::{
    super::contract::KEY_POINTS,
    PREFIX,
    messages::{Graph, Node, Tensor, element_type},
};

/// The metres from the middle bin of RTMW3D's depth to its last (`z_range` of mmpose's `SimCC3DLabel`).
const DEPTH_RANGE: f32 = 2.174_486_9;

/// The nodes that make `keypoints` from the two SimCC answers, and from that of the depth, if there is one, with that many
/// bins: the middle bin is at the hips (mmpose `projects/rtmpose3d/rtmpose3d/simcc_3d_label.py`).
pub(super) fn find_peaks(
    graph: &mut Graph,
    answers: [&String; 2],
    depth: Option<&String>,
    depth_bins: i64,
) -> Vec<Node> {
    let name = |what: &str| format!("{PREFIX}/{what}");
    let (one, half) = (name("one"), name("half"));
    graph.initializer.push(Tensor::int64(&one, &[1], &[1]));
    graph.initializer.push(Tensor::float32(&half, &[], &[0.5]));
    let axes = ["x", "y"];
    let (maxima, bins) =
        (axes.map(|axis| name(&format!("max_{axis}"))), axes.map(|axis| name(&format!("bin_{axis}"))));
    let (both, float, pixels) = (name("bins"), name("float_bins"), name("pixels"));
    let mut nodes = Vec::new();
    for ((answer, maximum), bin) in answers.into_iter().zip(&maxima).zip(&bins) {
        let mut node = Node::new("TopK", &[answer, &one], maximum);
        node.output.push(bin.clone());
        nodes.push(node.with_int("axis", 2));
    }
    nodes.extend([
        Node::new("Concat", &[&bins[0], &bins[1]], &both).with_int("axis", 2),
        Node::new("Cast", &[&both], &float).with_int("to", i64::from(element_type::FLOAT)),
        Node::new("Mul", &[&float, &half], &pixels),
    ]);
    let mut columns = vec![&*pixels, &maxima[0], &maxima[1]];
    let metres = name("metres");
    if let Some(answer) = depth {
        let (step, range) = (name("depth_step"), name("depth_range"));
        graph.initializer.push(Tensor::float32(&step, &[], &[2.0 * DEPTH_RANGE / depth_bins as f32]));
        graph.initializer.push(Tensor::float32(&range, &[], &[DEPTH_RANGE]));
        let (bin, float, behind) = (name("bin_z"), name("float_bin_z"), name("metres_from_the_front"));
        let mut node = Node::new("TopK", &[answer, &one], &name("max_z"));
        node.output.push(bin.clone());
        nodes.extend([
            node.with_int("axis", 2),
            Node::new("Cast", &[&bin], &float).with_int("to", i64::from(element_type::FLOAT)),
            Node::new("Mul", &[&float, &step], &behind),
            Node::new("Sub", &[&behind, &range], &metres),
        ]);
        columns.push(&metres);
    }
    nodes.push(Node::new("Concat", &columns, KEY_POINTS).with_int("axis", 2));
    nodes
}
