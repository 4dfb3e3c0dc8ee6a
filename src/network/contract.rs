//! The form of a model file, checked before anything runs: RTMPose as mmdeploy exports it, or the adapted form (see
//! `graph`).

use super::{
    Task,
    boxes::{BoxForm, Boxes},
    detector::{CANDIDATES, DETECTIONS, Family, PEOPLE, QUERIES, points_of as points_of_row},
    graph::messages::{Graph, ValueInfo, element_type},
    kind::{Columns, Kind},
    refusal::Refusal,
};

/// Largest side of a crop that a file may ask for. Crops are made in that size, so a larger number is treated as an error in
/// the file.
const MAX_SIDE: i64 = 1024;
/// Largest number of key points that a file may have.
const MAX_POINTS: i64 = 4096;
/// Largest batch, as in the property batch-size.
const MAX_BATCH: usize = 64;

/// Names of the tensors in mmdeploy's export.
pub(crate) const INPUT: &str = "input";
pub(crate) const OUTPUTS: [&str; 2] = ["simcc_x", "simcc_y"];
/// The third output of RTMW3D.
pub(crate) const DEPTH: &str = "simcc_z";

/// Names of the adapted graph's input and output.
pub(crate) const IMAGE: &str = "image";
pub(crate) const KEY_POINTS: &str = "keypoints";
/// The output of an adapted graph with heat maps.
pub(crate) const HEAT_MAPS: &str = "rtmposebatch/heatmaps";

/// Most numbers that a file may return for a crop: 16 MiB.
const MAX_ROW: i64 = 1 << 22;

/// Bins of a SimCC output per pixel of the crop (`simcc_split_ratio` in mmpose's configs).
const BINS_PER_PIXEL: i64 = 2;

/// Shapes that the file declares. Symbolic dimensions are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Contract {
    pub width: u32,
    pub height: u32,
    /// The file declares that size; otherwise it is the usual one.
    pub has_sides: bool,
    /// The batch size, if the file fixes one.
    pub fixed_batch: Option<usize>,
    pub points: Option<usize>,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    /// mmdeploy's: normalised crops in, SimCC answers out.
    Official {
        /// The file says how many bins its answers have.
        bins_declared: bool,
        /// It also has an answer for the depth (RTMW3D).
        depth: bool,
    },
    /// Bytes in, key points out.
    Adapted { columns: Columns },
    /// ViTPose's: normalised crops in, heat maps of that size out; or, if adapted, bytes in.
    HeatMaps { width: u32, height: u32, adapted: bool },
    /// A detector's; without a family if it is adapted. Boxes in a row are 0 if only a run shows how many.
    Boxes { family: Option<Family>, boxes: Boxes },
    /// RTMO's: at most this many people.
    People { most: usize, adapted: bool },
}

impl Contract {
    /// Whether the file already accepts bytes.
    pub fn is_adapted(&self) -> bool {
        match self.form {
            Form::Official { .. } => false,
            Form::Adapted { .. } => true,
            Form::HeatMaps { adapted, .. } | Form::People { adapted, .. } => adapted,
            Form::Boxes { family, .. } => family.is_none(),
        }
    }

    /// The task of a model of this form.
    pub fn task(&self) -> Task {
        match self.form {
            Form::Boxes { .. } => Task::Boxes,
            _ => Task::Poses,
        }
    }

    /// What users call it.
    pub fn name(&self) -> &'static str {
        match self.form {
            Form::Official { depth: true, .. } | Form::Adapted { columns: Columns::Depth } => "RTMW3D",
            Form::Official { .. } | Form::Adapted { .. } => "RTMPose",
            Form::HeatMaps { .. } => "ViTPose or another heat-map model",
            Form::Boxes { family, .. } => family.map_or("adapted", Family::name),
            Form::People { .. } => "RTMO",
        }
    }

    /// Whether the computation depends on the images, as in files with suppression of boxes. Such a graph is not captured,
    /// and not every such file accepts several images at once.
    pub fn depends_on_pictures(&self) -> bool {
        match self.form {
            Form::Boxes { boxes, .. } => matches!(boxes.form, BoxForm::Suppressed { .. }),
            Form::People { .. } => true,
            _ => false,
        }
    }

    /// How many frames are run at once if the file fixes that, whatever is asked for: official detector files accept one.
    pub fn frames_at_once(&self) -> Option<usize> {
        self.fixed_batch.filter(|_| self.takes_whole_frames())
    }

    /// Whether the model's pictures are whole frames, not crops of people.
    pub fn takes_whole_frames(&self) -> bool {
        matches!(self.form, Form::Boxes { .. } | Form::People { .. })
    }

    /// The adapted graph's output.
    pub fn output(&self) -> &'static str {
        match self.form {
            Form::Official { .. } | Form::Adapted { .. } => KEY_POINTS,
            Form::HeatMaps { .. } => HEAT_MAPS,
            Form::Boxes { boxes, .. } => match boxes.form {
                BoxForm::Suppressed { .. } => DETECTIONS,
                BoxForm::Candidates { .. } => CANDIDATES,
                BoxForm::Queries { .. } => QUERIES,
            },
            Form::People { .. } => PEOPLE,
        }
    }

    /// What the rows of the adapted graph mean, with the number of key points that a run has shown.
    pub fn kind(&self, points: usize) -> Kind {
        match self.form {
            Form::Official { depth, .. } => {
                let columns = if depth { Columns::Depth } else { Columns::Maxima };
                Kind::SimCc { points, columns }
            }
            Form::Adapted { columns } => Kind::SimCc { points, columns },
            Form::HeatMaps { width, height, .. } => {
                Kind::HeatMaps { points, width: width as usize, height: height as usize }
            }
            Form::Boxes { boxes, .. } => Kind::Boxes(boxes),
            Form::People { most, .. } => Kind::People { most, points },
        }
    }
}

/// Whether the graph already accepts bytes.
pub(crate) fn is_adapted(graph: &Graph) -> bool {
    graph.inputs().any(|input| input.name() == IMAGE)
}

/// Checks the file of a model that processes crops; `name` is the model's name in messages.
pub(super) fn check_poses(graph: &Graph, name: &str) -> Result<Contract, Refusal> {
    let inputs: Vec<_> = graph.inputs().collect();
    let found = || {
        let outputs: Vec<_> = graph.output.iter().collect();
        format!("inputs {} and outputs {}", list(&inputs), list(&outputs))
    };
    if let Some(contract) = check_heat_maps(graph) {
        return Ok(contract);
    }
    match &inputs[..] {
        [input] if is_adapted(graph) => check_adapted(graph, input, &found, name),
        [input] if input.name() == INPUT => check_official(graph, input, &found, name),
        _ => Err(refused(name, "one input `input`", &found())),
    }
}

/// The input and the output of a file with heat maps, whatever their names: an image in, and for each key point a smaller
/// image of the same aspect out.
pub(crate) fn heat_maps(graph: &Graph) -> Option<(&ValueInfo, &ValueInfo)> {
    let (input, mut inputs) = (graph.inputs().next()?, graph.inputs());
    let [output] = &graph.output[..] else { return None };
    let sides = match (input.element_type(), &input.dimensions()[..]) {
        (element_type::FLOAT, &[_, Some(3), Some(height), Some(width)]) => [width, height],
        (element_type::UINT8, &[_, Some(height), Some(width), Some(3)]) if is_adapted(graph) => {
            [width, height]
        }
        _ => return None,
    };
    let (_, [width, height]) = maps_of(output)?;
    let fits = |(side, map): (i64, i64)| (1..=MAX_SIDE).contains(&side) && (2..=side).contains(&map);
    let alike = fits((sides[0], width)) && fits((sides[1], height)) && width * sides[1] == height * sides[0];
    (alike && inputs.nth(1).is_none()).then_some((input, output))
}

/// Number and size of an output's maps.
fn maps_of(output: &ValueInfo) -> Option<(Option<i64>, [i64; 2])> {
    match (output.element_type(), &output.dimensions()[..]) {
        (element_type::FLOAT, &[_, points, Some(height), Some(width)]) if are_points(points) => {
            let numbers = points.unwrap_or(1).checked_mul(height)?.checked_mul(width)?;
            (1..=MAX_ROW).contains(&numbers).then_some((points, [width, height]))
        }
        _ => None,
    }
}

fn check_heat_maps(graph: &Graph) -> Option<Contract> {
    let (input, output) = heat_maps(graph)?;
    let (points, [width, height]) = maps_of(output)?;
    let (adapted, dimensions) = (is_adapted(graph), input.dimensions());
    let [rows, columns] = if adapted { [1, 2] } else { [2, 3] };
    Some(Contract {
        width: dimensions[columns]? as u32,
        height: dimensions[rows]? as u32,
        has_sides: true,
        fixed_batch: fixed(dimensions[0]),
        points: points.map(|points| points as usize),
        form: Form::HeatMaps { width: width as u32, height: height as u32, adapted },
    })
}

fn check_official(
    graph: &Graph,
    input: &ValueInfo,
    found: &dyn Fn() -> String,
    name: &str,
) -> Result<Contract, Refusal> {
    let (batch, height, width) = match (input.element_type(), &input.dimensions()[..]) {
        (element_type::FLOAT, &[batch, Some(3), Some(height @ 1..=MAX_SIDE), Some(width @ 1..=MAX_SIDE)]) => {
            (batch, height, width)
        }
        _ => {
            let expected =
                "an input `input` of float32 [batch, 3, height, width] with height and width of 1 to 1024";
            return Err(refused(name, expected, &describe(input)));
        }
    };
    let mut points = None;
    let mut bins_declared = true;
    for (output_name, side) in OUTPUTS.into_iter().zip([width, height]) {
        let bins = side * BINS_PER_PIXEL;
        let expected = format!("an output `{output_name}` of float32 [batch, key points, {bins}]");
        let Some(output) = graph.output.iter().find(|output| output.name() == output_name) else {
            return Err(refused(name, &expected, &found()));
        };
        let (declared, length) = match (output.element_type(), &output.dimensions()[..]) {
            (element_type::FLOAT, &[_, points, length])
                if are_points(points) && length.is_none_or(|length| length == bins) =>
            {
                (points.map(|points| points as usize), length)
            }
            // Some files do not declare the outputs' shape at all.
            (element_type::FLOAT, []) if output.shape().is_none() => (None, None),
            _ => return Err(refused(name, &expected, &describe(output))),
        };
        bins_declared &= length.is_some();
        match (points, declared) {
            (Some(one), Some(other)) if one != other => {
                return Err(different_points(name, one, other));
            }
            _ => points = points.or(declared),
        }
    }
    Ok(Contract {
        width: width as u32,
        height: height as u32,
        has_sides: true,
        fixed_batch: fixed(batch),
        points,
        form: Form::Official { bins_declared, depth: depth(graph, points, name)? },
    })
}

/// Whether the file has an answer for the depth, with as many key points.
fn depth(graph: &Graph, points: Option<usize>, name: &str) -> Result<bool, Refusal> {
    let Some(output) = graph.output.iter().find(|output| output.name() == DEPTH) else { return Ok(false) };
    let is_alike = |found: Option<i64>| {
        found.zip(points).is_none_or(|(found, points)| found == points as i64) && are_points(found)
    };
    match (output.element_type(), &output.dimensions()[..]) {
        (element_type::FLOAT, &[_, found, None | Some(2..=4096)]) if is_alike(found) => Ok(true),
        (element_type::FLOAT, []) if output.shape().is_none() => Ok(true),
        _ => {
            let points = points.map_or("key points".to_string(), |points| points.to_string());
            let expected = format!("an output `{DEPTH}` of float32 [batch, {points}, bins]");
            Err(refused(name, &expected, &describe(output)))
        }
    }
}

fn check_adapted(
    graph: &Graph,
    input: &ValueInfo,
    found: &dyn Fn() -> String,
    name: &str,
) -> Result<Contract, Refusal> {
    let (batch, height, width) = match (input.element_type(), &input.dimensions()[..]) {
        (element_type::UINT8, &[batch, Some(height @ 1..=MAX_SIDE), Some(width @ 1..=MAX_SIDE), Some(3)]) => {
            (batch, height, width)
        }
        _ => {
            let expected =
                "an input `image` of uint8 [batch, height, width, 3] with height and width of 1 to 1024";
            return Err(refused(name, expected, &describe(input)));
        }
    };
    let expected = "an output `keypoints` of float32 [batch, key points, 4], [batch, key points, 3] or [batch, key points, 5]";
    let Some(output) = graph.output.iter().find(|output| output.name() == KEY_POINTS) else {
        return Err(refused(name, expected, &found()));
    };
    let (points, columns) = match (output.element_type(), &output.dimensions()[..]) {
        (element_type::FLOAT, &[_, points, Some(4)]) if are_points(points) => (points, Columns::Maxima),
        (element_type::FLOAT, &[_, points, Some(3)]) if are_points(points) => (points, Columns::Score),
        (element_type::FLOAT, &[_, points, Some(5)]) if are_points(points) => (points, Columns::Depth),
        _ => return Err(refused(name, expected, &describe(output))),
    };
    Ok(Contract {
        width: width as u32,
        height: height as u32,
        has_sides: true,
        fixed_batch: fixed(batch),
        points: points.map(|points| points as usize),
        form: Form::Adapted { columns },
    })
}

fn are_points(points: Option<i64>) -> bool {
    points.is_none_or(|points| (1..=MAX_POINTS).contains(&points))
}

/// The batch size of a fixed batch dimension.
fn fixed(batch: Option<i64>) -> Option<usize> {
    batch.and_then(|batch| usize::try_from(batch).ok())
}

/// If a file has a fixed batch size, it must equal the one asked for; 0 asks for any up to `MAX_BATCH`.
pub(crate) fn check_batch(contract: &Contract, batch_size: usize, name: &str) -> Result<(), Refusal> {
    match contract.fixed_batch.filter(|batch| contract.frames_at_once() != Some(*batch)) {
        Some(batch) if !(1..=MAX_BATCH).contains(&batch) || (batch_size != 0 && batch != batch_size) => {
            Err(Refusal::new(format!(
                "The model {name} has a fixed batch dimension of {batch}, but batch-size is {batch_size}: export it with a \
                 dynamic batch dimension, or set batch-size={batch}"
            )))
        }
        _ => Ok(()),
    }
}

/// Checks the shape of a SimCC answer to `rows` crops; returns the number of key points.
pub(crate) fn check_answer(
    contract: &Contract,
    rows: usize,
    output: usize,
    shape: &[i64],
    name: &str,
) -> Result<usize, Refusal> {
    let bins = BINS_PER_PIXEL * i64::from([contract.width, contract.height][output]);
    let expected = || (OUTPUTS[output], bins.to_string());
    match *shape {
        [_, _, length] if length != bins => Err(unexpected(contract, rows, expected(), shape, name)),
        _ => points_of(contract, rows, expected(), shape, name),
    }
}

/// Checks the shape of the adapted graph's answer to `rows` crops; returns what its rows mean.
pub(crate) fn check_rows(
    contract: &Contract,
    rows: usize,
    shape: &[i64],
    name: &str,
) -> Result<Kind, Refusal> {
    let mut contract = *contract;
    if let (Form::Boxes { boxes, .. }, &[_, places, _]) = (&mut contract.form, shape)
        && boxes.most == 0
    {
        boxes.most = usize::try_from(places).unwrap_or(0);
    }
    let contract = &contract;
    let points = match (contract.form, shape) {
        (Form::Boxes { .. }, _) => Some(0),
        (Form::People { .. }, [.., numbers]) => {
            let points = points_of_row(*numbers);
            Some(points.filter(|found| contract.points.is_none_or(|said| said == *found)).unwrap_or(0))
        }
        _ => None,
    };
    if let Some(points) = points {
        let kind = contract.kind(points);
        let expected = kind.dimensions(rows);
        let fits = expected.iter().map(|side| *side as i64).eq(shape.iter().copied());
        let is_whole = points > 0 || contract.task() == Task::Boxes;
        if fits && is_whole && kind.row() as i64 <= MAX_ROW {
            return Ok(kind);
        }
        let text = format!(
            "The model {name} returns other shapes than its file declares: expected `{}` of {expected:?} for a batch \
             of {rows}, found {shape:?}",
            contract.output()
        );
        return Err(Refusal::new(text));
    }
    let of_one = &contract.kind(1).dimensions(1)[2..];
    let last: Vec<_> = of_one.iter().map(ToString::to_string).collect();
    let expected = || (contract.output(), last.join(", "));
    let fits = shape.get(2..).is_some_and(|found| found.iter().zip(of_one).all(|(a, b)| *a == *b as i64));
    if shape.len() != 2 + of_one.len() || !fits {
        return Err(unexpected(contract, rows, expected(), shape, name));
    }
    let points = points_of(contract, rows, expected(), &[shape[0], shape[1], 1], name)?;
    let kind = contract.kind(points);
    if kind.row() as i64 > MAX_ROW {
        return Err(unexpected(contract, rows, expected(), shape, name));
    }
    Ok(kind)
}

fn points_of(
    contract: &Contract,
    rows: usize,
    expected: (&str, String),
    shape: &[i64],
    name: &str,
) -> Result<usize, Refusal> {
    match *shape {
        [n, k @ 1..=MAX_POINTS, _]
            if n == rows as i64 && contract.points.is_none_or(|points| points as i64 == k) =>
        {
            Ok(k as usize)
        }
        _ => Err(unexpected(contract, rows, expected, shape, name)),
    }
}

fn unexpected(
    contract: &Contract,
    rows: usize,
    (output, last): (&str, String),
    shape: &[i64],
    name: &str,
) -> Refusal {
    let points = contract.points.map_or("key points".to_string(), |points| points.to_string());
    let expected = format!("`{output}` of [{rows}, {points}, {last}] for a batch of {rows}");
    refused(name, &expected, &format!("{shape:?}"))
}

/// The two outputs have different numbers of key points.
pub(crate) fn different_points(name: &str, one: usize, other: usize) -> Refusal {
    refused(name, "as many key points in `simcc_x` as in `simcc_y`", &format!("{one} and {other}"))
}

fn refused(name: &str, expected: &str, found: &str) -> Refusal {
    Refusal::new(format!("The model {name} is not an RTMPose model as mmdeploy exports it"))
        .expected(expected, found)
        .remedy("set model-file to one that is, or export it with mmdeploy's configuration for RTMPose")
}

pub(super) fn list(values: &[&ValueInfo]) -> String {
    if values.is_empty() {
        return "none".to_string();
    }
    values.iter().map(|value| describe(value)).collect::<Vec<_>>().join(", ")
}

fn describe(value: &ValueInfo) -> String {
    let dims = value.dimensions().into_iter().map(|dim| dim.map_or("?".to_string(), |dim| dim.to_string()));
    let dims = dims.collect::<Vec<_>>().join(", ");
    format!("`{}` of {} [{dims}]", value.name(), element_type::name(value.element_type()))
}
