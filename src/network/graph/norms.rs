//! Joins the parts of RTMPose's norms: mmpose's ScaleNorm (`mmpose/models/utils/rtmcc_block.py`) is five operators in a file, and
//! ONNX Runtime's CUDA provider computes ReduceL2 in as much time as ten others (measured on an H200).

use super::{
    messages::{Graph, Node},
    operators::{self, FLOOR, SCALE, SCALE_NORM},
};

/// Rewrites each `x / Clip(ReduceL2(x) * scale, floor) * gain` over the last dimension.
pub(super) fn join(graph: &mut Graph) {
    for last in 0..graph.node.len() {
        if let Some((joined, parts)) = find(graph, &graph.node[last]) {
            graph.node[last] = joined;
            // Their numbers must not change yet.
            for part in parts {
                graph
                    .node
                    .iter_mut()
                    .filter(|node| node.output == [part.as_str()])
                    .for_each(|node| node.output.clear());
            }
        }
    }
    graph.node.retain(|node| !node.output.is_empty());
}

/// The operator for a norm that ends with this node, and the values between both, which nothing else uses.
fn find(graph: &Graph, last: &Node) -> Option<(Node, [String; 4])> {
    let product = |node: &Node| {
        let [value, factor] = &node.input[..] else { return None };
        let is_number =
            |name: &String| graph.constant(name).filter(|tensor| tensor.dims.iter().all(|dim| *dim == 1));
        (node.is("Mul") && is_number(factor).is_some()).then(|| (value.clone(), factor.clone()))
    };
    let made_by = |value: &String, operator: &str| {
        graph
            .producer(value)
            .filter(|node| node.is(operator) && node.output.len() == 1 && graph.uses(value) == 1)
    };
    let number = |name: &String| graph.constant(name)?.first_float();
    let (quotient, gain) = product(last)?;
    let [x, clipped] = &made_by(&quotient, "Div")?.input[..] else { return None };
    let clip = made_by(clipped, "Clip")?;
    let (scaled, floor) = (clip.input.first()?, clip.input.get(1)?);
    if clip.input.get(2).is_some_and(|ceiling| !ceiling.is_empty()) {
        return None;
    }
    let (norm, scale) = product(made_by(scaled, "Mul")?)?;
    let reduced = made_by(&norm, "ReduceL2")?;
    let axis = match reduced.ints("axes") {
        [] => graph.constant_of_any_type(reduced.input.get(1)?)?.first_int64()?,
        [axis] => *axis,
        _ => return None,
    };
    if axis != -1 || reduced.int("keepdims").unwrap_or(1) != 1 || reduced.input.first() != Some(x) {
        return None;
    }
    let [output] = &last.output[..] else { return None };
    let joined = operators::node(SCALE_NORM, &[x, &gain], output);
    let joined = joined.with_float(SCALE, number(&scale)?).with_float(FLOOR, number(floor)?);
    Some((joined, [quotient.clone(), clipped.clone(), scaled.clone(), norm]))
}
