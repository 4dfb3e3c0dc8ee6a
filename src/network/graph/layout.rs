//! Rewrites a graph for values with their channels last, `[N,H,W,C]`, which an NVIDIA GPU's tensor cores want.
//!
//! ONNX Runtime does so by itself (`prefer_nhwc`), but not around an operator that it does not know, such as ours. Operators that
//! are not rewritten here keep values of `[N,C,H,W]`, with a Transpose before and behind them.

use std::collections::{HashMap, HashSet};

use super::{
    PREFIX,
    messages::{Graph, Node, Tensor},
    operators::{
        self, AXIS, BIAS_SILU, DEPTHWISE_SIDES, DEPTHWISE_SILU, DEPTHWISE_STRIDES, LARGEST, MEAN,
        POINTWISE_SILU, SIDE, STRIDE,
    },
};

/// The domain of ONNX Runtime's own operators. Its `NhwcConv` is a Conv of `[N,H,W,C]` with weights `[M,H,W,C/groups]`.
pub(super) const ONNX_RUNTIME: &str = "com.microsoft";

/// From `[N,C,H,W]` to `[N,H,W,C]`.
const TO_LAST: [i64; 4] = [0, 2, 3, 1];
/// From `[N,H,W,C]` to `[N,C,H,W]`.
const TO_FIRST: [i64; 4] = [0, 3, 1, 2];

/// From more channels cuDNN's convolution is faster, although bias and activation need a pass of their own then
/// (benches/RESULTS.md).
const MOST_CHANNELS: i64 = 128;

/// Operators that treat each number by itself.
const ELEMENTWISE: [&str; 7] = ["Add", "Cast", "HardSigmoid", "Mul", "Relu", "Sigmoid", "Sub"];

/// Our operators work on as many channels at once (in half precision).
const VECTOR: i64 = 8;

/// Rewrites a graph, if wanted also convolutions of 1 x 1. The model must import [`ONNX_RUNTIME`]'s operators, and ours.
pub(super) fn put_channels_last(graph: &mut Graph, pointwise: bool) {
    let activated = graph.node.iter().filter(|node| node.is_our(BIAS_SILU));
    let activated: HashMap<_, _> = activated.map(|node| (node.input[0].clone(), node.input.len())).collect();
    let nodes = std::mem::take(&mut graph.node);
    let mut rewriting = Rewriting {
        graph,
        last: HashMap::new(),
        first: HashSet::new(),
        activated,
        pointwise,
        waiting: HashMap::new(),
    };
    for node in nodes {
        rewriting.add(node);
    }
    let answers: Vec<_> = rewriting.graph.output.iter().map(|output| output.name().to_string()).collect();
    answers.iter().for_each(|answer| rewriting.with_channels_first(answer));
}

struct Rewriting<'a> {
    /// Its nodes are those written so far.
    graph: &'a mut Graph,
    /// Values of the old graph that exist with their channels last: their names in this form.
    last: HashMap<String, String>,
    /// Those of them that exist in their own form, too.
    first: HashSet<String>,
    /// Values of the old graph that only our activation uses, and how many inputs it has.
    activated: HashMap<String, usize>,
    pointwise: bool,
    /// Convolutions that wait for their activation, by their outputs.
    waiting: HashMap<String, Node>,
}

impl Rewriting<'_> {
    fn add(&mut self, mut node: Node) {
        let has_values = !node.input.is_empty() && node.output.len() == 1;
        match node.op_type() {
            _ if !has_values => self.add_with_channels_first(node),
            "Conv" if self.is_plane_convolution(&node) => match self.waits_for_activation(&node) {
                true => drop(self.waiting.insert(node.output[0].clone(), node)),
                false => self.add_convolution(node),
            },
            "Transpose" if node.is("Transpose") && node.ints("perm") == TO_FIRST => {
                self.last.insert(node.output[0].clone(), node.input[0].clone());
            }
            BIAS_SILU if node.is_our(BIAS_SILU) && node.input.len() > 1 => {
                match self.waiting.remove(&node.input[0]) {
                    Some(convolution) if self.is_pointwise(&convolution) => {
                        self.add_pointwise(convolution, node);
                    }
                    Some(convolution) => self.add_depthwise(convolution, node),
                    None => {
                        node.set_int(AXIS, 3);
                        self.add_with_channels_last(node, |number| number != 1);
                    }
                }
            }
            op if node.is(op) && ELEMENTWISE.contains(&op) && self.can_be_elementwise(&node) => {
                self.add_with_channels_last(node, |_| true);
            }
            "Concat" if node.is("Concat") && node.int("axis") == Some(1) && self.are_last(&node.input) => {
                node.set_int("axis", 3);
                self.add_with_channels_last(node, |_| true);
            }
            "Gather"
                if node.is("Gather") && node.int("axis") == Some(1) && self.are_last(&node.input[..1]) =>
            {
                node.set_int("axis", 3);
                self.add_with_channels_last(node, |number| number == 0);
            }
            "Slice" if node.is("Slice") && self.are_last(&node.input[..1]) => {
                let axes = self.axes_of_last(&node);
                self.add_with_constant(node, 3, axes);
            }
            "Resize" if node.is("Resize") && self.are_last(&node.input[..1]) => {
                let scales = self.scales_of_last(&node);
                self.add_with_constant(node, 2, scales);
            }
            "Transpose"
                if node.is("Transpose") && node.ints("perm") == TO_LAST && self.are_last(&node.input) =>
            {
                let value = self.with_channels_last(&node.input[0]);
                self.graph.node.push(Node::new("Identity", &[&value], &node.output[0]));
            }
            "MaxPool" if node.is("MaxPool") && self.are_last(&node.input) => match side_of_pool(&node) {
                Some(side) => {
                    let value = self.with_channels_last(&node.input[0]);
                    self.add_last(operators::node(LARGEST, &[&value], &node.output[0]).with_int(SIDE, side));
                }
                None => self.add_with_channels_first(node),
            },
            "GlobalAveragePool" if node.is("GlobalAveragePool") && self.are_last(&node.input) => {
                let value = self.with_channels_last(&node.input[0]);
                self.add_last(operators::node(MEAN, &[&value], &node.output[0]));
            }
            _ => self.add_with_channels_first(node),
        }
    }

    /// A convolution over height and width. Its weights must be known to have four dimensions.
    fn is_plane_convolution(&self, node: &Node) -> bool {
        let weights = node.input.get(1).and_then(|weights| self.graph.constant(weights));
        node.is("Conv")
            && weights.is_some_and(|weights| weights.dims.len() == 4)
            && node.attribute("auto_pad").is_none()
    }

    /// A constant with a Slice's dimensions, counted with channels last.
    fn axes_of_last(&mut self, node: &Node) -> Option<String> {
        let axes = self.graph.constant_of_any_type(node.input.get(3)?)?.to_int64()?;
        let moved = |axis: i64| {
            let axis = usize::try_from(if axis < 0 { axis + 4 } else { axis }).ok()?;
            TO_FIRST.get(axis).copied()
        };
        let axes: Vec<i64> = axes.into_iter().map(moved).collect::<Option<_>>()?;
        let name = format!("{PREFIX}/axes/{}", node.output[0]);
        self.graph.initializer.push(Tensor::int64(&name, &[axes.len() as i64], &axes));
        Some(name)
    }

    /// A constant with a Resize's factors, with channels last. None unless it repeats pixels, and only height and width change.
    fn scales_of_last(&mut self, node: &Node) -> Option<String> {
        let repeats = node.attribute("mode").is_none_or(|mode| mode.s() == b"nearest");
        if !repeats || node.attribute("axes").is_some() || node.input.len() != 3 {
            return None;
        }
        let scales = self.graph.constant(&node.input[2])?.to_float32().ok()?;
        let [1.0, 1.0, down, across] = scales[..] else { return None };
        let name = format!("{PREFIX}/scales/{}", node.output[0]);
        self.graph.initializer.push(Tensor::float32(&name, &[4], &[1.0, down, across, 1.0]));
        Some(name)
    }

    fn are_last(&self, values: &[String]) -> bool {
        values.iter().all(|value| self.last.contains_key(value))
    }

    /// Whether a value has a number for each channel of each picture, or is one number.
    fn can_be_elementwise(&self, node: &Node) -> bool {
        let is_constant = |value: &String| {
            let dims = self.graph.constant_of_any_type(value).map(|tensor| &tensor.dims[..]);
            dims.is_some_and(|dims| dims.len() == 4 || dims.iter().all(|dim| *dim == 1))
        };
        node.input.iter().any(|value| self.last.contains_key(value))
            && node.input.iter().all(|value| self.last.contains_key(value) || is_constant(value))
    }

    fn add_convolution(&mut self, mut node: Node) {
        let channels = self.with_channels_last(&node.input[0].clone());
        let weights = format!("{PREFIX}/last/{}", node.input[1]);
        // ONNX Runtime transposes constants when it loads the model.
        let is_new = self.graph.producer(&weights).is_none();
        if is_new {
            self.graph
                .node
                .push(Node::new("Transpose", &[&node.input[1]], &weights).with_ints("perm", &TO_LAST));
        }
        node.input[0] = channels;
        node.input[1] = weights;
        node.op_type = Some("NhwcConv".to_string());
        node.domain = Some(ONNX_RUNTIME.to_string());
        self.add_last(node);
    }

    /// Whether an operator of ours can compute the convolution together with its activation.
    fn waits_for_activation(&self, node: &Node) -> bool {
        self.activated
            .get(&node.output[0])
            .is_some_and(|inputs| self.is_pointwise(node) || *inputs == 2 && self.is_depthwise(node))
    }

    fn weights_of(&self, convolution: &Node) -> &[i64] {
        self.graph.constant(&convolution.input[1]).map_or(&[], |weights| &weights.dims)
    }

    fn is_pointwise(&self, node: &Node) -> bool {
        let &[channels, from, 1, 1] = self.weights_of(node) else { return false };
        self.pointwise
            && node.int("group").unwrap_or(1) == 1
            && channels % VECTOR == 0
            && from % VECTOR == 0
            && from <= MOST_CHANNELS
            && node.ints_are("pads", 0)
            && node.ints_are("strides", 1)
            && node.ints_are("dilations", 1)
    }

    fn is_depthwise(&self, node: &Node) -> bool {
        let &[channels, 1, height, width] = self.weights_of(node) else { return false };
        node.int("group") == Some(channels)
            && channels % VECTOR == 0
            && height == width
            && DEPTHWISE_SIDES.contains(&height)
            && node.ints("pads").len() == 4
            && node.ints_are("pads", height / 2)
            && DEPTHWISE_STRIDES.contains(&stride_of(node))
            && node.ints_are("strides", stride_of(node))
            && node.ints_are("dilations", 1)
    }

    fn add_pointwise(&mut self, convolution: Node, mut activation: Node) {
        // Weights [M,C,1,1] are in the same order with channels last.
        activation.input[0] = convolution.input[0].clone();
        activation.input.insert(1, convolution.input[1].clone());
        activation.op_type = Some(POINTWISE_SILU.to_string());
        activation.attribute.clear();
        self.add_with_channels_last(activation, |number| number == 0 || number == 3);
    }

    /// The convolution that has waited, with its activation.
    fn add_depthwise(&mut self, convolution: Node, activation: Node) {
        let pictures = self.with_channels_last(&convolution.input[0]);
        let weights = format!("{PREFIX}/depthwise/{}", convolution.output[0]);
        // From [C,1,S,S] to [S,S,C,1].
        let transposed =
            Node::new("Transpose", &[&convolution.input[1]], &weights).with_ints("perm", &[2, 3, 0, 1]);
        self.graph.node.push(transposed);
        let inputs = [pictures.as_str(), &weights, &activation.input[1]];
        let depthwise = operators::node(DEPTHWISE_SILU, &inputs, &activation.output[0]);
        self.add_last(depthwise.with_int(STRIDE, stride_of(&convolution)));
    }

    /// A node some of whose inputs, by their numbers, have their channels last.
    fn add_with_channels_last(&mut self, mut node: Node, has_channels: impl Fn(usize) -> bool) {
        for (_, input) in node.input.iter_mut().enumerate().filter(|(number, _)| has_channels(*number)) {
            *input = self.with_channels_last(&input.clone());
        }
        self.add_last(node);
    }

    /// A node whose first input has its channels last, with another constant as one of its inputs; without one it stays as it is.
    fn add_with_constant(&mut self, mut node: Node, number: usize, constant: Option<String>) {
        let Some(constant) = constant else { return self.add_with_channels_first(node) };
        node.input[number] = constant;
        self.add_with_channels_last(node, |number| number == 0);
    }

    /// A node as in the old graph.
    fn add_with_channels_first(&mut self, node: Node) {
        node.input.iter().for_each(|input| self.with_channels_first(input));
        self.graph.node.push(node);
    }

    /// A node whose output has its channels last.
    fn add_last(&mut self, mut node: Node) {
        let output = format!("{PREFIX}/last/{}", node.output[0]);
        self.last.insert(std::mem::replace(&mut node.output[0], output.clone()), output);
        self.graph.node.push(node);
    }

    /// The name of a value, or constant, with its channels last.
    fn with_channels_last(&mut self, value: &str) -> String {
        if let Some(last) = self.last.get(value) {
            return last.clone();
        }
        let is_one_number = self
            .graph
            .constant_of_any_type(value)
            .is_some_and(|tensor| tensor.dims.len() < 4 && tensor.dims.iter().all(|dim| *dim == 1));
        if is_one_number {
            return value.to_string();
        }
        let last = format!("{PREFIX}/last/{value}");
        self.graph.node.push(Node::new("Transpose", &[value], &last).with_ints("perm", &TO_LAST));
        self.last.insert(value.to_string(), last.clone());
        self.first.insert(value.to_string());
        last
    }

    /// Writes the value in its own form, if it exists only with its channels last.
    fn with_channels_first(&mut self, value: &str) {
        let Some(last) = self.last.get(value).filter(|_| !self.first.contains(value)) else { return };
        let mut node = Node::new("Transpose", &[last], value).with_ints("perm", &TO_FIRST);
        // The node that made the value may have its name.
        node.name = Some(format!("{PREFIX}/first/{value}"));
        self.graph.node.push(node);
        self.first.insert(value.to_string());
    }
}

fn stride_of(convolution: &Node) -> i64 {
    convolution.ints("strides").first().copied().unwrap_or(1)
}

/// The side of a pool's square, if the pool keeps the picture's size.
fn side_of_pool(pool: &Node) -> Option<i64> {
    let [side, other] = pool.ints("kernel_shape") else { return None };
    let keeps_size = side == other
        && side % 2 == 1
        && pool.ints_are("strides", 1)
        && pool.ints_are("dilations", 1)
        && pool.ints("pads").len() == 4
        && pool.ints_are("pads", side / 2)
        && pool.int("ceil_mode").unwrap_or(0) == 0
        && pool.attribute("auto_pad").is_none();
    keeps_size.then_some(*side)
}
