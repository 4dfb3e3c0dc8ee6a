//! What each operator computes: its tensors, and the kernel for their shapes.

use ort::operator::{KernelContext, ShapeInferenceContext};

use super::{
    Parameter::{self, Factor, Number},
    kernels::{BLOCK, Kernel, WARP},
};
use crate::network::graph::operators::{
    AXIS, BIAS_SILU, DEPTHWISE_SILU, FLOOR, LARGEST, MEAN, PEAKS, POINTWISE_SILU, SCALE, SCALE_NORM, SIDE,
    STRIDE,
};

/// Bytes that a thread reads at once.
const VECTOR: i64 = 16;

/// A kernel's launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub kernel: Kernel,
    pub threads: u32,
    /// The parameters behind the tensors' addresses.
    pub numbers: Vec<Parameter>,
}

/// A node's attributes.
pub trait Attributes {
    fn int(&self, name: &str) -> Option<i64>;
    fn float(&self, name: &str) -> Option<f32>;
}

impl Attributes for KernelContext<'_> {
    fn int(&self, name: &str) -> Option<i64> {
        self.get(name)
    }

    fn float(&self, name: &str) -> Option<f32> {
        self.get(name)
    }
}

impl Attributes for ShapeInferenceContext {
    fn int(&self, name: &str) -> Option<i64> {
        self.attr(name).ok()
    }

    fn float(&self, name: &str) -> Option<f32> {
        self.attr(name).ok()
    }
}

/// An operator with one output, whose shape follows from those of its inputs.
pub trait Computation: Sized + Send + 'static {
    const NAME: &str;
    const INPUTS: usize;
    const OPTIONAL_INPUTS: usize = 0;
    /// Inputs whose memory the output may have.
    const INPLACES: &[(u32, u32)] = &[];
    const ALWAYS_IN_FLOAT32: bool = false;

    fn read(attributes: &impl Attributes) -> ort::Result<Self>;

    /// The output's shape. An input has at least one dimension; -1: it is not known.
    fn shape(&self, inputs: &[&[i64]]) -> Vec<i64> {
        inputs[0].to_vec()
    }

    /// None if the inputs do not belong together, or have more values than a kernel counts.
    fn plan(&self, inputs: &[&[i64]], half: bool) -> Option<Plan>;
}

/// SiLU of the first input and a bias for each channel; then the third input is added, if there is one.
pub struct BiasSilu {
    /// The dimension of the channels.
    pub axis: usize,
}

/// SiLU of a depthwise convolution with its bias.
pub struct Depthwise {
    pub stride: i64,
}

/// SiLU of a convolution of 1 x 1 with its bias; then the fourth input is added, if there is one.
pub struct Pointwise;

/// The largest value of each channel around each pixel.
pub struct Largest {
    /// Of the square around the pixel.
    pub side: i64,
}

/// The mean of each channel over rows and columns.
pub struct Mean;

/// mmpose's ScaleNorm (`mmpose/models/utils/rtmcc_block.py`).
pub struct ScaleNorm {
    pub scale: f32,
    pub floor: f32,
}

/// The places of the maxima in SimCC answers, and the maxima.
pub struct Peaks;

impl Computation for BiasSilu {
    const NAME: &str = BIAS_SILU;
    const INPUTS: usize = 2;
    const OPTIONAL_INPUTS: usize = 1;
    const INPLACES: &[(u32, u32)] = &[(0, 0)];

    fn read(attributes: &impl Attributes) -> ort::Result<Self> {
        let axis = attributes.int(AXIS).and_then(|axis| usize::try_from(axis).ok());
        Ok(Self { axis: axis.ok_or_else(|| lacks(Self::NAME, AXIS))? })
    }

    fn plan(&self, inputs: &[&[i64]], half: bool) -> Option<Plan> {
        let (shape, bias, added) = match inputs {
            [shape, bias] => (*shape, *bias, *shape),
            [shape, bias, added] => (*shape, *bias, *added),
            _ => return None,
        };
        let channels = *shape.get(self.axis)?;
        let (values, inner) = (product(shape)?, product(&shape[self.axis + 1..])?);
        if bias != [channels] || added != shape {
            return None;
        }
        let lanes = lanes(half);
        let (kernel, count) = match inner {
            1 if channels % lanes == 0 => (Kernel::BiasSiluOfChannels, values / lanes),
            2.. if inner % lanes == 0 => (Kernel::BiasSiluOfRows, values / lanes),
            _ => (Kernel::BiasSilu, values),
        };
        // The kernels compute positions of values in 32 bits.
        number(values)?;
        let threads = number(count)?;
        Some(Plan { kernel, threads, numbers: numbers([count, channels, inner])? })
    }
}

impl Computation for Depthwise {
    const NAME: &str = DEPTHWISE_SILU;
    const INPUTS: usize = 3;

    fn read(attributes: &impl Attributes) -> ort::Result<Self> {
        let stride = attributes.int(STRIDE).filter(|stride| *stride > 0);
        Ok(Self { stride: stride.ok_or_else(|| lacks(Self::NAME, STRIDE))? })
    }

    fn shape(&self, inputs: &[&[i64]]) -> Vec<i64> {
        match *inputs[0] {
            [pictures, height, width, channels] => {
                vec![pictures, strided(height, self.stride), strided(width, self.stride), channels]
            }
            _ => inputs[0].to_vec(),
        }
    }

    fn plan(&self, inputs: &[&[i64]], half: bool) -> Option<Plan> {
        let [pictures, weights, bias] = inputs else { return None };
        let ([batch, height, width, channels], [side, other_side, of, 1]) = (pictures, weights) else {
            return None;
        };
        let kernel = match (side, self.stride) {
            (3, 1) => Kernel::Depthwise3,
            (5, 1) => Kernel::Depthwise5,
            (3, 2) => Kernel::Depthwise3By2,
            (5, 2) => Kernel::Depthwise5By2,
            _ => return None,
        };
        let fits = side == other_side && of == channels && *bias == [*channels];
        if !fits || channels % lanes(half) != 0 {
            return None;
        }
        number(product(pictures)?)?;
        let (rows, columns) = (strided(*height, self.stride), strided(*width, self.stride));
        // A thread computes two pixels.
        let pairs = product(&[*batch, rows, columns.checked_add(1)? / 2])?;
        let count = product(&[pairs, channels / lanes(half)])?;
        let numbers = numbers([count, *channels, *width, *height])?;
        Some(Plan { kernel, threads: number(count)?, numbers })
    }
}

impl Computation for Pointwise {
    const NAME: &str = POINTWISE_SILU;
    const INPUTS: usize = 3;
    const OPTIONAL_INPUTS: usize = 1;

    fn read(_: &impl Attributes) -> ort::Result<Self> {
        Ok(Self)
    }

    fn shape(&self, inputs: &[&[i64]]) -> Vec<i64> {
        match (inputs[0], inputs[1]) {
            ([before @ .., _], [channels, ..]) => before.iter().chain([channels]).copied().collect(),
            (other, _) => other.to_vec(),
        }
    }

    fn plan(&self, inputs: &[&[i64]], half: bool) -> Option<Plan> {
        let (pictures, weights, bias) = match inputs {
            [pictures, weights, bias] => (pictures, weights, bias),
            [pictures, weights, bias, added] if **added == self.shape(inputs) => (pictures, weights, bias),
            _ => return None,
        };
        let (&[batch, height, width, from], &[to, of, 1, 1]) = (*pictures, *weights) else { return None };
        if of != from || **bias != [to] || from % lanes(half) != 0 || to % 8 != 0 {
            return None;
        }
        let rows = product(&[batch, height, width])?;
        let count = product(&[rows.checked_add(15)? / 16, (to + 31) / 32])?;
        // What a warp reads of a row at once.
        let at_once = 4 * lanes(half);
        let kernel = if from <= at_once {
            Kernel::Pointwise1
        } else if from <= 2 * at_once {
            Kernel::Pointwise2
        } else {
            Kernel::Pointwise4
        };
        let numbers = numbers([count, rows, from, to])?;
        Some(Plan { kernel, threads: number(count.checked_mul(i64::from(WARP))?)?, numbers })
    }
}

impl Computation for Largest {
    const NAME: &str = LARGEST;
    const INPUTS: usize = 1;

    fn read(attributes: &impl Attributes) -> ort::Result<Self> {
        let side = attributes.int(SIDE).filter(|side| *side > 0 && side % 2 == 1);
        Ok(Self { side: side.ok_or_else(|| lacks(Self::NAME, SIDE))? })
    }

    fn plan(&self, inputs: &[&[i64]], half: bool) -> Option<Plan> {
        let [pictures @ [_, height, width, channels]] = inputs else { return None };
        if channels % lanes(half) != 0 {
            return None;
        }
        let values = product(pictures)?;
        number(values)?;
        let count = values / lanes(half);
        // A pixel farther away than that lies outside.
        let reach = (self.side / 2).min(*width.max(height));
        let numbers = numbers([count, *channels, *width, *height, reach])?;
        Some(Plan { kernel: Kernel::Largest, threads: number(count)?, numbers })
    }
}

impl Computation for Mean {
    const NAME: &str = MEAN;
    const INPUTS: usize = 1;

    fn read(_: &impl Attributes) -> ort::Result<Self> {
        Ok(Self)
    }

    fn shape(&self, inputs: &[&[i64]]) -> Vec<i64> {
        match inputs[0] {
            [pictures, _, _, channels] => vec![*pictures, 1, 1, *channels],
            other => other.to_vec(),
        }
    }

    fn plan(&self, inputs: &[&[i64]], half: bool) -> Option<Plan> {
        let [[pictures, height, width, channels]] = inputs else { return None };
        let rows = height.checked_mul(*width)?;
        if channels % lanes(half) != 0 || rows == 0 {
            return None;
        }
        let count = pictures.checked_mul(*channels)? / lanes(half);
        let threads = number(count.checked_mul(i64::from(BLOCK))?)?;
        Some(Plan { kernel: Kernel::Mean, threads, numbers: numbers([count, *channels, rows])? })
    }
}

impl Computation for ScaleNorm {
    const NAME: &str = SCALE_NORM;
    const INPUTS: usize = 2;

    fn read(attributes: &impl Attributes) -> ort::Result<Self> {
        let factor = |name| attributes.float(name).ok_or_else(|| lacks(Self::NAME, name));
        Ok(Self { scale: factor(SCALE)?, floor: factor(FLOOR)? })
    }

    fn plan(&self, inputs: &[&[i64]], _half: bool) -> Option<Plan> {
        let [shape, gain] = inputs else { return None };
        let (columns, before) = shape.split_last()?;
        if product(gain)? != 1 {
            return None;
        }
        let rows = product(before)?;
        let mut numbers = numbers([rows, *columns])?;
        numbers.extend([Factor(self.scale), Factor(self.floor)]);
        Some(Plan {
            kernel: Kernel::ScaleNorm,
            threads: number(rows.checked_mul(i64::from(WARP))?)?,
            numbers,
        })
    }
}

impl Computation for Peaks {
    const NAME: &str = PEAKS;
    const INPUTS: usize = 2;
    const ALWAYS_IN_FLOAT32: bool = true;

    fn read(_: &impl Attributes) -> ort::Result<Self> {
        Ok(Self)
    }

    /// x, y and both maxima.
    fn shape(&self, inputs: &[&[i64]]) -> Vec<i64> {
        match inputs[0] {
            [pictures, points, _] => vec![*pictures, *points, 4],
            other => other.to_vec(),
        }
    }

    fn plan(&self, inputs: &[&[i64]], _half: bool) -> Option<Plan> {
        let [[pictures, points, width], [other_pictures, other_points, height]] = inputs else { return None };
        // A row without bins has no maximum.
        if (pictures, points) != (other_pictures, other_points) || *width < 1 || *height < 1 {
            return None;
        }
        let rows = pictures.checked_mul(*points)?;
        let threads = number(rows.checked_mul(i64::from(WARP))?)?;
        Some(Plan { kernel: Kernel::Peaks, threads, numbers: numbers([rows, *width, *height])? })
    }
}

/// Values of a vector.
fn lanes(half: bool) -> i64 {
    VECTOR / if half { 2 } else { 4 }
}

fn product(of: &[i64]) -> Option<i64> {
    of.iter().try_fold(1i64, |product, size| product.checked_mul(*size))
}

/// A number that a kernel can count, to the end of a block.
fn number(number: i64) -> Option<u32> {
    u32::try_from(number).ok().filter(|number| *number <= i32::MAX as u32 - BLOCK)
}

fn numbers<const N: usize>(of: [i64; N]) -> Option<Vec<Parameter>> {
    of.iter().map(|value| number(*value).map(Number)).collect()
}

/// How many of so many pixels in a row are computed.
fn strided(pixels: i64, stride: i64) -> i64 {
    // Unknown dimensions are -1.
    if pixels > 0 { (pixels - 1) / stride + 1 } else { pixels }
}

fn lacks(operator: &str, attribute: &str) -> ort::Error {
    ort::Error::new(format!("{operator} has no {attribute}"))
}
