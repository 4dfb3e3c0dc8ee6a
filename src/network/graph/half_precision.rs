//! Converts a graph's float32 arithmetic to half precision.
//!
//! These stay in float32 ([`KEPT`]): the norm of ScaleNorm, because a sum of squares exceeds half precision's range (65504)
//! once the values pass about 37, and its floor of 1e-5, of which half precision keeps only 3 digits. So does all that follows
//! the last weights, such as a detector's boxes, which are in pixels: above 512, half precision has steps of half a pixel.
//! Casts connect both kinds of nodes. Weights that are stored in half precision and cast to float32, as by
//! `models/store_half.py`, lose their casts.

use std::collections::{HashMap, HashSet};

use super::{
    PREFIX, has_subgraphs,
    messages::{Graph, Node, Tensor, element_type},
    operators::SCALE_NORM,
};

/// Operators that are computed in half precision. All their float inputs and outputs have one type.
const HALVED: &[&str] = &[
    "Abs",
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Div",
    "Dropout",
    "Einsum",
    "Elu",
    "Equal",
    "Erf",
    "Expand",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Less",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "PRelu",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

/// Operators that stay in float32: those that sum many numbers, or limit and spread them.
const KEPT: &[&str] = &[
    "Clip",
    "Exp",
    "InstanceNormalization",
    "LayerNormalization",
    "Log",
    "Pow",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Sqrt",
    "ArgMax",
];

/// Operators with weights.
const PRODUCTS: &[&str] = &["Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"];

/// Operators that only return a shape.
const SHAPES: &[&str] = &["Shape", "Size"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Float {
    Single,
    Half,
}

impl Float {
    fn element_type(self) -> i32 {
        match self {
            Self::Single => element_type::FLOAT,
            Self::Half => element_type::FLOAT16,
        }
    }
}

/// Converts the nodes of `graph`, whose value `input` is now in half precision. Returns the names of the outputs in float32.
pub(super) fn convert(graph: &mut Graph, input: &str, outputs: &[String]) -> Result<Vec<String>, String> {
    let nodes = std::mem::take(&mut graph.node);
    let mut conversion = Conversion::default();
    conversion.floats.insert(input.to_string(), Float::Half);
    for tensor in std::mem::take(&mut graph.initializer) {
        conversion.add_constant(tensor);
    }
    let last = behind_all_products(&nodes);
    for (node, is_last) in nodes.into_iter().zip(last) {
        conversion.add_node(node, is_last)?;
    }
    let mut answers = outputs.to_vec();
    for answer in &mut answers {
        *answer = conversion.want(answer, Float::Single)?;
    }
    (graph.node, graph.initializer) = (conversion.nodes, conversion.constants);
    graph.drop_unused_constants(&answers);
    Ok(answers)
}

/// For each node, whether no product needs it.
fn behind_all_products(nodes: &[Node]) -> Vec<bool> {
    let mut needed = HashSet::new();
    let mut last = vec![false; nodes.len()];
    // A node follows those that it needs.
    for (node, is_last) in nodes.iter().zip(&mut last).rev() {
        let is_product = PRODUCTS.iter().any(|product| node.is(product));
        if is_product || node.output.iter().any(|output| needed.contains(output)) {
            needed.extend(&node.input);
        } else {
            *is_last = true;
        }
    }
    last
}

#[derive(Default)]
struct Conversion {
    nodes: Vec<Node>,
    constants: Vec<Tensor>,
    /// Where the float32 constants are among `constants`.
    by_name: HashMap<String, usize>,
    /// What the float values are in the new graph.
    floats: HashMap<String, Float>,
    /// Removed values, and their replacements.
    aliases: HashMap<String, String>,
    /// Names of values in their other form.
    casts: HashMap<(String, Float), String>,
}

impl Conversion {
    fn add_constant(&mut self, tensor: Tensor) {
        let float = match tensor.data_type() {
            element_type::FLOAT => Some(Float::Single),
            element_type::FLOAT16 => Some(Float::Half),
            _ => None,
        };
        if let Some(float) = float {
            self.floats.insert(tensor.name().to_string(), float);
            self.by_name.insert(tensor.name().to_string(), self.constants.len());
        }
        self.constants.push(tensor);
    }

    /// A node behind the last product stays in float32, whatever it does.
    fn add_node(&mut self, mut node: Node, is_last: bool) -> Result<(), String> {
        for input in &mut node.input {
            if let Some(alias) = self.aliases.get(input) {
                input.clone_from(alias);
            }
        }
        let op = node.op_type().to_string();
        let own = node.is(&op);
        match &op[..] {
            "Constant" if own => return self.add_constant_node(node),
            "Cast" if own => return self.add_cast(node, if is_last { Float::Single } else { Float::Half }),
            op if own && SHAPES.contains(&op) => (),
            _ if is_last && !has_subgraphs(&node) => self.add_float_node(&mut node, Float::Single)?,
            SCALE_NORM if node.is_our(SCALE_NORM) => self.add_float_node(&mut node, Float::Half)?,
            op if own && HALVED.contains(&op) => self.add_float_node(&mut node, Float::Half)?,
            op if own && KEPT.contains(&op) => self.add_float_node(&mut node, Float::Single)?,
            other => {
                return Err(format!(
                    "the behaviour of its operator `{other}` in half precision is not known"
                ));
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    fn add_float_node(&mut self, node: &mut Node, float: Float) -> Result<(), String> {
        // The condition comes before the values to choose from.
        let tells = usize::from(node.is("Where"));
        let is_float = node.input.get(tells).is_some_and(|name| self.floats.contains_key(name));
        // The region and the factors of Resize are float32 in any case.
        let converted = if node.is("Resize") { 1 } else { node.input.len() };
        for input in node.input.iter_mut().take(converted) {
            *input = self.want(input, float)?;
        }
        // Other outputs than the first are indices or masks, and comparisons return booleans.
        let floats = match node.op_type() {
            "Equal" | "Greater" | "Less" | "ArgMax" => 0,
            "Split" => node.output.len(),
            _ => 1,
        };
        if is_float {
            self.floats.extend(node.output.iter().take(floats).map(|name| (name.clone(), float)));
        }
        Ok(())
    }

    fn add_constant_node(&mut self, node: Node) -> Result<(), String> {
        let [output] = &node.output[..] else { return Err("a Constant has no output".to_string()) };
        let tensor = node.attribute.iter().find_map(|attribute| match attribute.name() {
            "value" => attribute.t.clone().map(|tensor| Tensor { name: Some(output.clone()), ..tensor }),
            "value_float" => Some(Tensor::float32(output, &[], &[attribute.f()])),
            "value_floats" => {
                Some(Tensor::float32(output, &[attribute.floats.len() as i64], &attribute.floats))
            }
            _ => None,
        });
        match tensor {
            Some(tensor) => self.add_constant(tensor),
            None => self.nodes.push(node),
        }
        Ok(())
    }

    /// A cast to a float type becomes one to this type.
    fn add_cast(&mut self, mut node: Node, float: Float) -> Result<(), String> {
        let ([input], [output]) = (&node.input[..], &node.output[..]) else {
            return Err("a Cast does not have one input and one output".to_string());
        };
        let (input, output) = (input.clone(), output.clone());
        let to = node.attribute("to").map_or(0, |to| to.i());
        let to_float =
            [element_type::FLOAT, element_type::FLOAT16].iter().any(|float| i64::from(*float) == to);
        if !to_float {
            self.nodes.push(node);
            return Ok(());
        }
        if self.floats.contains_key(&input) {
            let input = self.want(&input, float)?;
            self.aliases.insert(output, input);
            return Ok(());
        }
        for attribute in node.attribute.iter_mut().filter(|attribute| attribute.name() == "to") {
            attribute.i = Some(i64::from(float.element_type()));
        }
        self.floats.insert(output, float);
        self.nodes.push(node);
        Ok(())
    }

    /// The name of a value in type `float`; its own name if it is not a float.
    fn want(&mut self, name: &str, float: Float) -> Result<String, String> {
        let name = self.aliases.get(name).map_or(name, |alias| alias).to_string();
        if self.floats.get(&name).is_none_or(|is| *is == float) {
            return Ok(name);
        }
        let key = (name.clone(), float);
        if let Some(known) = self.casts.get(&key) {
            return Ok(known.clone());
        }
        let (suffix, to) = (if float == Float::Half { "half" } else { "single" }, float.element_type());
        let other = format!("{PREFIX}/{suffix}/{name}");
        match self.by_name.get(&name) {
            Some(index) if float == Float::Half => {
                let tensor = self.constants[*index].to_float16(&other)?;
                self.constants.push(tensor);
            }
            _ => self.nodes.push(Node::new("Cast", &[&name], &other).with_int("to", i64::from(to))),
        }
        self.floats.insert(other.clone(), float);
        self.casts.insert(key, other.clone());
        Ok(other)
    }
}
