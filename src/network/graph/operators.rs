//! Operators of ours, which an NVIDIA GPU computes faster than those of ONNX that they replace (`runtime::onnx::operators`).
//! Tensors are in float32 or in half precision unless said otherwise.

use super::messages::{Model, Node, OperatorSet};

pub const DOMAIN: &str = "rtmposebatch";

/// SiLU of the first input plus the second, `[C]`, along the dimension [`AXIS`]; then the third input is added, if there is one.
pub const BIAS_SILU: &str = "BiasSilu";
/// The attribute with the number of the dimension.
pub const AXIS: &str = "axis";

/// SiLU of a convolution of each channel of `[N,H,W,C]` by itself: weights `[S,S,C,1]`, bias `[C]`, around the picture all is 0. It
/// computes every [`STRIDE`]th pixel, beginning with the first.
pub const DEPTHWISE_SILU: &str = "DepthwiseSilu";
/// Possible S.
pub const DEPTHWISE_SIDES: [i64; 2] = [3, 5];
/// The attribute, and its possible values.
pub const STRIDE: &str = "stride";
pub const DEPTHWISE_STRIDES: [i64; 2] = [1, 2];

/// SiLU of a convolution of 1 x 1 on `[N,H,W,C]`: weights `[M,C,1,1]`, bias `[M]`; then the fourth input is added, if there is one.
pub const POINTWISE_SILU: &str = "PointwiseSilu";

/// The largest value of each channel of `[N,H,W,C]` in the square around each pixel.
pub const LARGEST: &str = "Largest";
/// The attribute with the square's side, which is odd.
pub const SIDE: &str = "side";

/// From `[N,H,W,C]` to `[N,1,1,C]`.
pub const MEAN: &str = "Mean";

/// x / max(|x| * scale, floor) * gain for each row x of the last dimension, with its Euclidean norm |x|; the gain is one number.
pub const SCALE_NORM: &str = "ScaleNorm";
/// Its attributes.
pub const SCALE: &str = "scale";
pub const FLOOR: &str = "floor";

/// From float32 `[N,K,2W]` and `[N,K,2H]`, float32 `[N,K,4]`: x and y of the maxima in crop pixels, and the maxima.
pub const PEAKS: &str = "Peaks";

pub(super) fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    Node { domain: Some(DOMAIN.to_string()), ..Node::new(operator, inputs, output) }
}

/// Lets a model use the first version of another domain's operators.
pub(super) fn import(model: &mut Model, domain: &str) {
    if model.opset_import.iter().all(|set| set.domain() != domain) {
        model.opset_import.push(OperatorSet { domain: Some(domain.to_string()), version: Some(1) });
    }
}

impl Node {
    /// Whether it is this operator of ours.
    pub(super) fn is_our(&self, operator: &str) -> bool {
        self.domain() == DOMAIN && self.op_type() == operator
    }
}
