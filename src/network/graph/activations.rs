//! Joins a convolution's bias with the activation behind it.
//!
//! ONNX Runtime's CUDA provider adds the bias to a convolution's answer, and computes SiLU, x * sigmoid(x), each in a pass over
//! memory: almost half of the time of a run of RTMPose (measured on an H200). The rewritten convolution has no bias, and a
//! single operator adds it and computes SiLU.

use std::collections::{HashMap, HashSet};

use super::{
    messages::{Graph, Node},
    operators::{self, AXIS, BIAS_SILU},
};

/// Rewrites each convolution with a bias whose only use is SiLU. Returns how many there were.
pub(super) fn join(graph: &mut Graph) -> usize {
    let joined = find(graph);
    for Joined { convolution, sigmoid, product } in &joined {
        let Some(bias) = graph.node[*convolution].input.pop() else { continue };
        let answer = graph.node[*convolution].output[0].clone();
        let activated = graph.node[*product].output[0].clone();
        graph.node[*product] = operators::node(BIAS_SILU, &[&answer, &bias], &activated).with_int(AXIS, 1);
        // Removed below: the numbers of nodes must not change yet.
        graph.node[*sigmoid].output.clear();
    }
    graph.node.retain(|node| !node.output.is_empty());
    add_in_place(graph);
    joined.len()
}

/// Lets the operator also add what only an Add does, as at the end of a residual block.
fn add_in_place(graph: &mut Graph) {
    let mut activations = HashMap::new();
    for number in 0..graph.node.len() {
        let node = &graph.node[number];
        if let ([output], true) = (&node.output[..], node.is_our(BIAS_SILU)) {
            activations.insert(output.clone(), number);
            continue;
        }
        let ([one, other], true) = (&node.input[..], node.is("Add")) else { continue };
        let is_free = |value: &String| activations.contains_key(value) && graph.uses(value) == 1;
        let (activated, added) = if is_free(one) { (one, other) } else { (other, one) };
        if !is_free(activated) || activated == added || graph.constant_of_any_type(added).is_some() {
            continue;
        }
        let (activation, added) = (activations[activated], added.clone());
        // At the place of the Add, because what it adds may come after the activation.
        let mut joined = std::mem::take(&mut graph.node[activation]);
        let sum = &mut graph.node[number];
        joined.input.push(added);
        (joined.name, joined.output) = (sum.name.take(), std::mem::take(&mut sum.output));
        *sum = joined;
    }
    graph.node.retain(|node| !node.output.is_empty());
}

/// Numbers of three nodes: x = Conv(_, _, bias), s = Sigmoid(x), x * s.
struct Joined {
    convolution: usize,
    sigmoid: usize,
    product: usize,
}

fn find(graph: &Graph) -> Vec<Joined> {
    let mut uses: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, node) in graph.node.iter().enumerate() {
        for input in &node.input {
            uses.entry(input).or_default().push(number);
        }
    }
    let answers: HashSet<_> = graph.output.iter().map(|output| output.name()).collect();
    let of = |value: &str| match answers.contains(value) {
        true => &[],
        false => uses.get(value).map_or(&[][..], Vec::as_slice),
    };
    let joined = |(convolution, node): (usize, &Node)| {
        let [answer] = &node.output[..] else { return None };
        let has_bias = node.is("Conv") && node.input.len() == 3 && !node.input[2].is_empty();
        let [first, second] = *of(answer).first_chunk().filter(|_| has_bias && of(answer).len() == 2)?;
        let is_sigmoid = |number: usize| graph.node[number].is("Sigmoid");
        let (sigmoid, product) = if is_sigmoid(first) { (first, second) } else { (second, first) };
        let [weight] = &graph.node[sigmoid].output[..] else { return None };
        let is_silu = is_sigmoid(sigmoid)
            && graph.node[product].is("Mul")
            && graph.node[product].output.len() == 1
            && of(weight) == [product]
            && graph.node[product].input.iter().any(|input| input == answer);
        is_silu.then_some(Joined { convolution, sigmoid, product })
    };
    graph.node.iter().enumerate().filter_map(joined).collect()
}
