//! What a model file must look like, checked before anything runs: RTMPose as mmdeploy exports it.

use ort::{
    session::Session,
    value::{Outlet, Shape, TensorElementType, ValueType},
};

use crate::engine::{Error, ErrorKind};

/// Largest side of a crop that is taken from a file: above it the number is an error in the file, not a network.
const MAX_SIDE: i64 = 4096;
/// Largest number of key points that is taken from a file.
const MAX_POINTS: i64 = 4096;

/// Shapes that the file declares. Symbolic dimensions are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contract {
    pub width: u32,
    pub height: u32,
    /// The batch size, where the file fixes one.
    pub fixed_batch: Option<usize>,
    pub points: Option<usize>,
}

/// Names of the tensors in mmdeploy's export.
pub(super) const INPUT: &str = "input";
pub(super) const OUTPUTS: [&str; 2] = ["simcc_x", "simcc_y"];

/// Bins of a SimCC output per pixel of the crop (`simcc_split_ratio` in mmpose's configs).
pub(super) const BINS_PER_PIXEL: u32 = 2;

pub(super) fn check(session: &Session, batch_size: usize, name: &str) -> Result<Contract, Error> {
    let refuse = |expected: &str, found: String| refused(name, expected, &found);
    let found = || format!("inputs {} and outputs {}", list(session.inputs()), list(session.outputs()));

    let [input] = session.inputs() else {
        return Err(refuse("one input `input`", found()));
    };
    if input.name() != INPUT {
        return Err(refuse("one input `input`", found()));
    }
    let expected_input =
        "an input `input` of float32 [batch, 3, height, width] with height and width of 1 to 4096";
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = input.dtype() else {
        return Err(refuse(expected_input, describe(input)));
    };
    let &[batch, 3, height @ 1..=MAX_SIDE, width @ 1..=MAX_SIDE] = &shape[..] else {
        return Err(refuse(expected_input, describe(input)));
    };
    let fixed_batch = usize::try_from(batch).ok();
    if fixed_batch.is_some_and(|fixed| fixed != batch_size) {
        return Err(Error::new(
            ErrorKind::ModelRefused,
            format!(
                "The model {name} has its batch dimension fixed at {batch}, but batch-size is {batch_size}: export \
                 it with a dynamic batch dimension, or set batch-size={batch}"
            ),
        ));
    }

    let mut points = None;
    for (output_name, side) in OUTPUTS.into_iter().zip([width, height]) {
        let bins = side * i64::from(BINS_PER_PIXEL);
        let expected = format!("an output `{output_name}` of float32 [batch, key points, {bins}]");
        let Some(output) = session.outputs().iter().find(|output| output.name() == output_name) else {
            return Err(refuse(&expected, found()));
        };
        let ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } = output.dtype() else {
            return Err(refuse(&expected, describe(output)));
        };
        let declared = match shape[..] {
            [_, k @ (-1 | 1..=MAX_POINTS), n] if n == -1 || n == bins => usize::try_from(k).ok(),
            _ => return Err(refuse(&expected, describe(output))),
        };
        match (points, declared) {
            (Some(one), Some(other)) if one != other => {
                return Err(different_points(name, one, other));
            }
            _ => points = points.or(declared),
        }
    }
    Ok(Contract { width: width as u32, height: height as u32, fixed_batch, points })
}

/// Checks one output of the first run against the contract; gives the number of key points.
pub(super) fn check_output(
    contract: &Contract,
    rows: usize,
    output: usize,
    shape: &Shape,
    name: &str,
) -> Result<usize, Error> {
    let bins = i64::from(BINS_PER_PIXEL * [contract.width, contract.height][output]);
    match shape[..] {
        [n, k @ 1..=MAX_POINTS, length]
            if n == rows as i64
                && length == bins
                && contract.points.is_none_or(|points| points as i64 == k) =>
        {
            Ok(k as usize)
        }
        _ => {
            let points = contract.points.map_or("key points".to_string(), |points| points.to_string());
            let expected =
                format!("`{}` of [{rows}, {points}, {bins}] for a batch of {rows}", OUTPUTS[output]);
            Err(refused(name, &expected, &format!("{:?}", &shape[..])))
        }
    }
}

/// The two outputs have different numbers of key points.
pub(super) fn different_points(name: &str, one: usize, other: usize) -> Error {
    refused(name, "as many key points in `simcc_x` as in `simcc_y`", &format!("{one} and {other}"))
}

fn refused(name: &str, expected: &str, found: &str) -> Error {
    Error::new(
        ErrorKind::ModelRefused,
        format!(
            "The model {name} is not an RTMPose network as mmdeploy exports it: expected {expected}, found {found}; set \
             model-file to one that is, or export it with mmdeploy's configuration for RTMPose"
        ),
    )
}

fn list(outlets: &[Outlet]) -> String {
    if outlets.is_empty() {
        return "none".to_string();
    }
    outlets.iter().map(describe).collect::<Vec<_>>().join(", ")
}

fn describe(outlet: &Outlet) -> String {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            let dims = shape.iter().map(|dim| if *dim < 0 { "?".to_string() } else { dim.to_string() });
            let dims = dims.collect::<Vec<_>>().join(", ");
            format!("`{}` of {} [{dims}]", outlet.name(), type_name(*ty))
        }
        other => format!("`{}` of {other}", outlet.name()),
    }
}

/// The type's name as ONNX writes it, which is how people know it; Rust's where that is rare.
fn type_name(ty: TensorElementType) -> String {
    match ty {
        TensorElementType::Float16 => "float16".to_string(),
        TensorElementType::Float32 => "float32".to_string(),
        TensorElementType::Float64 => "double".to_string(),
        TensorElementType::Uint8 => "uint8".to_string(),
        TensorElementType::Int8 => "int8".to_string(),
        TensorElementType::Int32 => "int32".to_string(),
        TensorElementType::Int64 => "int64".to_string(),
        other => other.to_string(),
    }
}
