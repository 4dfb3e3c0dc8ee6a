//! The adapted model: an RTMPose file rewritten at load, so that normalisation before the model and the search for peaks
//! after it run where the model runs. A crop of bytes goes in, and four numbers for each key point come out:
//!
//! | | as exported by mmdeploy | adapted |
//! |---|---|---|
//! | in | `input`, float32 `[N,3,H,W]`, normalised RGB | `image`, uint8 `[N,H,W,3]`, RGB |
//! | out | `simcc_x` float32 `[N,K,2W]`, `simcc_y` float32 `[N,K,2H]` | `keypoints`, float32 `[N,K,4]`: x, y in crop pixels,
//! and the maxima of both axes |
//!
//! RTMW3D's third output, `simcc_z`, becomes a fifth number: metres from the middle of the hips.
//!
//! A file with heat maps (ViTPose) gets the same beginning; its output becomes `rtmposebatch/heatmaps`, float32 `[N,K,h,w]`.
//! `detections` describes models for whole frames.
//!
//! The mean is subtracted before the first convolution, so that its zero padding stays exact; 1/std is multiplied into its
//! weights. If the model begins with another operator, a separate node multiplies. Of equal maxima the first wins, as in
//! `numpy.argmax`: by its specification, TopK returns the lower index first, and so do ONNX Runtime's CPU provider (tested)
//! and CUDA provider (by its source). ArgMax above opset 11 is not in the CUDA provider. A row that contains NaN has any
//! position, and NaN or a number of the row as its maximum.

mod activations;
mod detections;
mod half_precision;
mod layout;
pub mod messages;
mod norms;
pub(crate) mod operators;
mod peaks;
mod scan;
pub(crate) mod suppression;
mod tensor;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use prost::{Message, bytes::Bytes};

use messages::{
    Attribute, Dimension, Graph, Model, Node, Tensor, TensorShape, TensorType, Type, ValueInfo,
    attribute_type, element_type,
};

use super::{
    Classes,
    contract::{DEPTH, HEAT_MAPS, IMAGE, INPUT, KEY_POINTS, OUTPUTS, heat_maps, is_adapted},
    detector,
};
use detections::Ending;
use operators::PEAKS;
use peaks::find_peaks;

/// Mean and standard deviation of the training images' red, green and blue (`data_preprocessor` in mmpose's RTMPose
/// configs).
pub(crate) const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
pub(crate) const STD: [f32; 3] = [58.395, 57.12, 57.375];

/// Prefix of all added nodes and values, so that their names differ from the file's.
const PREFIX: &str = "rtmposebatch";

/// The first opset whose TopK has k as an input.
const OLDEST_OPSET: i64 = 10;
/// The first opset whose Pad has its amounts as an input.
const OLDEST_OPSET_OF_DETECTORS: i64 = 11;
/// The first IR version whose constants need not be inputs, too.
const OLDEST_IR_VERSION: i64 = 4;

/// How to adapt a graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adaptation {
    /// Compute in half precision: weights and activations become float16, except for the norms (see `half_precision`).
    pub half: bool,
    /// Fix the batch dimension at this size; none: it stays as in the file.
    pub fixed_batch: Option<usize>,
    /// Accept a crop's colours as planes, uint8 `[N,3,H,W]`: faster on a CPU. No effect on a file that accepts bytes.
    pub planar: bool,
    /// Use operators of ours for an NVIDIA GPU; none: only ONNX's operators. No effect on a file that accepts bytes.
    pub operators: Option<Operators>,
    /// A detector's classes that are people; no effect if the file's answer contains the class.
    pub classes: Classes,
}

/// Which operators of ours to use (`operators`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operators {
    pub layout: Layout,
    /// Also the one for convolutions of 1 x 1, with channels last: it needs tensor cores of compute capability 8.0 or newer.
    pub pointwise: bool,
}

/// The order of a value's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[N,C,H,W]`, as in files.
    ChannelsFirst,
    /// `[N,H,W,C]`.
    ChannelsLast,
}

/// What a model accepts, in its own order of the colours.
struct Colours {
    is_bgr: bool,
    /// Mean and standard deviation; none: values from 0 to 255.
    normal: Option<([f32; 3], [f32; 3])>,
}

/// Reads a file's protobuf. The error says what is wrong, or what is refused (see `scan`).
pub fn read(bytes: Bytes) -> Result<Model, String> {
    scan::scan(&bytes)?;
    Model::decode(bytes).map_err(|error| error.to_string())
}

/// Rewrites an official file, whose contract was checked, as the adapted graph. In an adapted file, it only fixes the batch
/// dimension. The error says what prevents it.
pub fn adapt(model: &Model, adaptation: &Adaptation) -> Result<Vec<u8>, String> {
    let mut model = model.clone();
    let opset = opset(&model);
    let graph = model.graph.as_mut().ok_or("it has no graph")?;
    if !is_adapted(graph) {
        let form = Plain::of(graph);
        let oldest = if form.ending.is_some() { OLDEST_OPSET_OF_DETECTORS } else { OLDEST_OPSET };
        if opset < oldest {
            return Err(format!("its opset is {opset}, but {oldest} or newer is needed"));
        }
        let [height, width] = form.sides.ok_or("its input has no fixed size")?;
        let (batch, half) = (form.batch.clone(), adaptation.half);
        // Inner shapes, which are only valid for the file's form.
        graph.value_info.clear();
        let (mut nodes, mut constants) = normalise(graph, &form.input, adaptation, &form.colours())?;
        let has_subgraphs = graph.node.iter().any(has_subgraphs);
        if adaptation.operators.is_some() && !has_subgraphs {
            norms::join(graph);
        }
        let answers =
            if half { half_precision::convert(graph, &form.input, &form.outputs)? } else { form.outputs };
        nodes.append(&mut graph.node);
        graph.initializer.append(&mut constants);
        let output = match (&form.ending, &answers[..]) {
            (Some(ending), answers) => {
                ending.append(graph, &mut nodes, answers, adaptation.classes, batch.clone())?
            }
            (None, [x, y, depth @ ..]) => {
                nodes.extend(match depth.first() {
                    None if adaptation.operators.is_some() => {
                        vec![operators::node(PEAKS, &[x, y], KEY_POINTS)]
                    }
                    depth => find_peaks(graph, [x, y], depth, form.depth_bins.unwrap_or(2 * width)),
                });
                let columns = Dimension::of(if depth.is_empty() { 4 } else { 5 });
                ValueInfo::of(KEY_POINTS, element_type::FLOAT, vec![batch.clone(), form.points, columns])
            }
            (None, maps) => {
                let maps = maps.first().ok_or("it has no output")?;
                nodes.push(Node::new("Identity", &[maps], HEAT_MAPS));
                let dimensions = [batch.clone(), form.points].into_iter().chain(form.map_sides);
                ValueInfo::of(HEAT_MAPS, element_type::FLOAT, dimensions.collect())
            }
        };
        graph.node = nodes;
        let mut pixels = vec![batch, Dimension::of(height), Dimension::of(width), Dimension::of(3)];
        if adaptation.planar {
            // The colours come before the rows.
            pixels[1..].rotate_right(1);
        }
        graph.input = vec![ValueInfo::of(IMAGE, element_type::UINT8, pixels)];
        graph.output = vec![output];
        // The constants are no longer inputs.
        model.ir_version = Some(model.ir_version.unwrap_or_default().max(OLDEST_IR_VERSION));
        if let Some(wanted) = adaptation.operators {
            let is_joined = !has_subgraphs && activations::join(graph) > 0;
            let is_last = is_joined && wanted.layout == Layout::ChannelsLast;
            if is_last {
                layout::put_channels_last(graph, wanted.pointwise);
            }
            operators::import(&mut model, operators::DOMAIN);
            if is_last {
                operators::import(&mut model, layout::ONNX_RUNTIME);
            }
        }
    }
    if let (Some(fixed), Some(graph)) = (adaptation.fixed_batch, &mut model.graph) {
        graph.value_info.clear();
        let values = graph.input.iter_mut().chain(&mut graph.output);
        for batch in values.filter_map(|value| value.shape_mut()?.dim.first_mut()) {
            *batch = Dimension::of(fixed as i64);
        }
    }
    Ok(model.encode_to_vec())
}

/// The version of ONNX's own operators.
fn opset(model: &Model) -> i64 {
    let own = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
    own.map_or(0, |set| set.version())
}

impl Graph {
    /// The inputs that must be fed. Old files also list their constants as inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &ValueInfo> {
        let is_constant = |name: &str| self.initializer.iter().any(|tensor| tensor.name() == name);
        self.input.iter().filter(move |input| !is_constant(input.name()))
    }
}

/// A file that accepts floats, before it is rewritten.
struct Plain {
    input: String,
    /// Two SimCC answers, or one output of heat maps.
    outputs: Vec<String>,
    batch: Dimension,
    /// Height and width of the input.
    sides: Option<[i64; 2]>,
    /// The number of key points, if one of the outputs has it.
    points: Dimension,
    /// Bins of the depth's answer, if declared.
    depth_bins: Option<i64>,
    /// Height and width of a heat map.
    map_sides: Vec<Dimension>,
    /// For a model of whole frames.
    ending: Option<Ending>,
}

impl Plain {
    /// The colours of RTMPose and ViTPose, unless there are others.
    fn colours(&self) -> Colours {
        let usual = Colours { is_bgr: false, normal: Some((MEAN, STD)) };
        self.ending.as_ref().map_or(usual, Ending::colours)
    }

    fn of(graph: &Graph) -> Self {
        if let Some(found) = detector::find(graph) {
            let batch = found.input.shape().and_then(|shape| shape.dim.first().cloned());
            return Self {
                input: found.input.name().to_string(),
                outputs: found.outputs.iter().map(|output| output.name().to_string()).collect(),
                batch: batch.unwrap_or_default(),
                sides: Some(found.sides),
                points: Dimension::default(),
                depth_bins: None,
                map_sides: Vec::new(),
                ending: Some(Ending::of(&found)),
            };
        }
        let dimensions = |value: &ValueInfo| value.shape().map_or(Vec::new(), |shape| shape.dim.clone());
        let (input, outputs): (_, Vec<&ValueInfo>) = match heat_maps(graph) {
            Some((input, output)) => (Some(input), vec![output]),
            None => (
                graph.inputs().find(|input| input.name() == INPUT),
                graph.output.iter().filter(|output| OUTPUTS.contains(&output.name())).collect(),
            ),
        };
        let depth = graph.output.iter().find(|output| output.name() == DEPTH);
        let is_heat_maps = outputs.len() == 1 && heat_maps(graph).is_some();
        let of_input = input.map(dimensions).unwrap_or_default();
        let of_outputs: Vec<_> = outputs.iter().map(|output| dimensions(output)).collect();
        let mut points = of_outputs.iter().filter_map(|dimensions| dimensions.get(1));
        let sides = match &of_input[..] {
            [_, _, height, width] => height.value.zip(width.value).map(<[i64; 2]>::from),
            _ => None,
        };
        Self {
            input: input.map_or(INPUT, ValueInfo::name).to_string(),
            outputs: if is_heat_maps {
                vec![outputs[0].name().to_string()]
            } else {
                let depth = depth.map(|_| DEPTH);
                OUTPUTS.into_iter().chain(depth).map(str::to_string).collect()
            },
            depth_bins: depth.and_then(|depth| depth.dimensions().get(2).copied().flatten()),
            batch: of_input.first().cloned().unwrap_or_default(),
            sides,
            points: points.find(|points| points.value.is_some()).cloned().unwrap_or_default(),
            map_sides: of_outputs
                .first()
                .map_or(Vec::new(), |dimensions| dimensions.iter().skip(2).cloned().collect()),
            ending: None,
        }
    }
}

/// The nodes that turn bytes into the float input, and their constants. `graph`'s first convolution gets 1/std, and the other order of
/// colours.
fn normalise(
    graph: &mut Graph,
    input: &str,
    adaptation: &Adaptation,
    colours: &Colours,
) -> Result<(Vec<Node>, Vec<Tensor>), String> {
    let half = adaptation.half;
    let name = |what: &str| format!("{PREFIX}/{what}");
    let constant = |name: &str, values: [f32; 3]| {
        let tensor = Tensor::float32(name, &[1, 3, 1, 1], &values);
        if half { tensor.to_float16(name) } else { Ok(tensor) }
    };
    let (planes, float, mean, ordered) = (name("planes"), name("float"), name("mean"), name("bgr"));
    // First, because TensorRT accepts bytes in no other operator.
    let mut nodes = vec![
        Node::new("Cast", &[IMAGE], &float)
            .with_int("to", i64::from(if half { element_type::FLOAT16 } else { element_type::FLOAT })),
    ];
    let mut constants = Vec::new();
    let mut last = float;
    if !adaptation.planar {
        nodes.push(Node::new("Transpose", &[&last], &planes).with_ints("perm", &[0, 3, 1, 2]));
        last = planes;
    }
    let deviations = colours.normal.map_or([1.0; 3], |(_, deviations)| deviations);
    let is_folded = fold_colours(graph, input, deviations, colours.is_bgr)?;
    if colours.is_bgr && !is_folded {
        let order = name("colour_order");
        nodes.push(Node::new("Gather", &[&last, &order], &ordered).with_int("axis", 1));
        constants.push(Tensor::int64(&order, &[3], &[2, 1, 0]));
        last = ordered;
    }
    if let Some((mut means, deviations)) = colours.normal {
        if colours.is_bgr && is_folded {
            means.reverse();
        }
        let centred = name("centred");
        nodes.push(Node::new("Sub", &[&last, &mean], &centred));
        constants.push(constant(&mean, means)?);
        if !is_folded {
            let factor = name("factor");
            nodes.push(Node::new("Mul", &[&centred, &factor], &name("normal")));
            constants.push(constant(&factor, deviations.map(|deviation| 1.0 / deviation))?);
        }
    }
    // The last node produces the input of the file's own nodes.
    if let Some(node) = nodes.last_mut() {
        (node.name, node.output) = (Some(input.to_string()), vec![input.to_string()]);
    }
    Ok((nodes, constants))
}

/// Whether a node contains graphs, which can use values of the outer one.
fn has_subgraphs(node: &Node) -> bool {
    node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty())
}

/// Multiplies 1/std into the weights of the convolution that is the input's only user, and changes their order from BGR to RGB.
/// False: there is no such convolution.
fn fold_colours(graph: &mut Graph, input: &str, deviations: [f32; 3], is_bgr: bool) -> Result<bool, String> {
    if graph.node.iter().any(has_subgraphs) {
        return Ok(false);
    }
    let uses = |name: &str, graph: &Graph| {
        graph.node.iter().flat_map(|node| &node.input).filter(|i| *i == name).count()
    };
    if uses(input, graph) != 1 {
        return Ok(false);
    }
    let Some(first) = graph.node.iter().position(|node| node.input.iter().any(|name| name == input)) else {
        return Ok(false);
    };
    let (true, [first_input, weights, ..]) = (graph.node[first].is("Conv"), &graph.node[first].input[..])
    else {
        return Ok(false);
    };
    let Some(tensor) = graph.constant(weights).filter(|_| first_input == input) else { return Ok(false) };
    let [outputs @ 1..=i64::MAX, 3, _, _] = tensor.dims[..] else { return Ok(false) };
    let mut values = tensor.to_float32()?;
    if values.is_empty() {
        return Ok(false);
    }
    // There is no remainder: the number of values is the product of the dimensions.
    let plane = values.len() / (3 * outputs as usize);
    for (index, values) in values.chunks_exact_mut(plane).enumerate() {
        let factor = 1.0 / deviations[index % 3];
        values.iter_mut().for_each(|value| *value *= factor);
    }
    if is_bgr {
        for channels in values.chunks_exact_mut(3 * plane) {
            let (blue, rest) = channels.split_at_mut(plane);
            blue.swap_with_slice(&mut rest[plane..]);
        }
    }
    let folded = format!("{PREFIX}/weights");
    let tensor = Tensor::float32(&folded, &tensor.dims, &values);
    let weights = std::mem::replace(&mut graph.node[first].input[1], folded);
    graph.initializer.push(tensor);
    if uses(&weights, graph) == 0 {
        graph.initializer.retain(|tensor| tensor.name() != weights);
    }
    Ok(true)
}

impl Graph {
    /// The float tensor behind a name: an initializer, a Constant node, or one of them cast to float32.
    fn constant(&self, name: &str) -> Option<&Tensor> {
        let is_float =
            |tensor: &&Tensor| [element_type::FLOAT, element_type::FLOAT16].contains(&tensor.data_type());
        let cast = || {
            let node = self.producer(name).filter(|node| node.is("Cast"))?;
            (node.attribute("to")?.i() == i64::from(element_type::FLOAT))
                .then(|| self.constant_of_any_type(node.input.first()?))
                .flatten()
        };
        self.constant_of_any_type(name).or_else(cast).filter(is_float)
    }

    /// The tensor behind a name: an initializer or a Constant node.
    fn constant_of_any_type(&self, name: &str) -> Option<&Tensor> {
        let initializer = self.initializer.iter().find(|tensor| tensor.name() == name);
        initializer.or_else(|| {
            self.producer(name).filter(|node| node.is("Constant"))?.attribute("value")?.t.as_ref()
        })
    }

    /// Removes constants that no node needs, and that are not among these values.
    fn drop_unused_constants(&mut self, values: &[String]) {
        let used: HashSet<_> =
            self.node.iter().flat_map(|node| &node.input).chain(values).map(String::as_str).collect();
        self.initializer.retain(|tensor| used.contains(tensor.name()));
    }

    /// How often nodes and the graph's outputs use a value.
    fn uses(&self, name: &str) -> usize {
        let answers = self.output.iter().map(|output| output.name());
        self.node
            .iter()
            .flat_map(|node| &node.input)
            .map(String::as_str)
            .chain(answers)
            .filter(|i| *i == name)
            .count()
    }

    fn producer(&self, name: &str) -> Option<&Node> {
        self.node.iter().find(|node| node.output.iter().any(|output| output == name))
    }
}

impl Node {
    /// A node with one output, whose name is the node's.
    pub(crate) fn new(op_type: &str, inputs: &[&str], output: &str) -> Self {
        Self {
            op_type: Some(op_type.to_string()),
            name: Some(output.to_string()),
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_string()],
            ..Self::default()
        }
    }

    fn with_int(self, name: &str, value: i64) -> Self {
        self.with(name, attribute_type::INT, Attribute { i: Some(value), ..Attribute::default() })
    }

    fn with_float(self, name: &str, value: f32) -> Self {
        self.with(name, attribute_type::FLOAT, Attribute { f: Some(value), ..Attribute::default() })
    }

    pub(crate) fn with_ints(self, name: &str, values: &[i64]) -> Self {
        self.with(name, attribute_type::INTS, Attribute { ints: values.to_vec(), ..Attribute::default() })
    }

    fn with(mut self, name: &str, r#type: i32, value: Attribute) -> Self {
        self.attribute.push(Attribute { name: Some(name.to_string()), r#type: Some(r#type), ..value });
        self
    }

    fn set_int(&mut self, name: &str, value: i64) {
        for attribute in self.attribute.iter_mut().filter(|attribute| attribute.name() == name) {
            attribute.i = Some(value);
        }
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name).map(|attribute| attribute.i())
    }

    fn ints(&self, name: &str) -> &[i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    /// Whether all numbers of the attribute, if it has any, are this one.
    fn ints_are(&self, name: &str, value: i64) -> bool {
        self.ints(name).iter().all(|of| *of == value)
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// Whether it is this operator of ONNX's own.
    fn is(&self, op_type: &str) -> bool {
        matches!(self.domain(), "" | "ai.onnx") && self.op_type() == op_type
    }
}

impl ValueInfo {
    pub(crate) fn of(name: &str, elem_type: i32, dim: Vec<Dimension>) -> Self {
        let tensor_type = TensorType { elem_type: Some(elem_type), shape: Some(TensorShape { dim }) };
        Self {
            name: Some(name.to_string()),
            r#type: Some(Type { tensor_type: Some(tensor_type), ..Type::default() }),
            ..Self::default()
        }
    }

    /// The type of a tensor's elements; 0 if it is not a tensor.
    pub fn element_type(&self) -> i32 {
        let tensor_type = self.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref());
        tensor_type.map_or(0, |tensor_type| tensor_type.elem_type())
    }

    /// The dimensions of a tensor; none for each that the file does not fix.
    pub fn dimensions(&self) -> Vec<Option<i64>> {
        let shape = self.shape().map_or(&[][..], |shape| &shape.dim);
        shape.iter().map(|dim| dim.value).collect()
    }

    /// The shape of a tensor.
    pub fn shape(&self) -> Option<&TensorShape> {
        self.r#type.as_ref()?.tensor_type.as_ref()?.shape.as_ref()
    }

    fn shape_mut(&mut self) -> Option<&mut TensorShape> {
        self.r#type.as_mut()?.tensor_type.as_mut()?.shape.as_mut()
    }
}

impl Dimension {
    pub(crate) fn of(value: i64) -> Self {
        Self { value: Some(value), ..Self::default() }
    }
}
