//! How a file is recognised as a model for whole frames: a detector, or a one-stage pose model. By the shapes of its input
//! and outputs; YOLOX and RTMDet, whose shapes are equal, by the first operators after the input.

use super::graph::messages::{Graph, ValueInfo, element_type};

/// Largest side of an input that a file may ask for.
pub(super) const MAX_SIDE: i64 = 2048;
/// The input's side if the file does not fix it: the one that such models are trained with.
const USUAL_SIDE: i64 = 640;
/// Boxes per row if the file does not say how many it returns: more than any file keeps (100; RTMO 50).
const KEPT: usize = 300;
/// Most boxes that a file may return, and most key points of each.
pub(super) const MAX_BOXES: i64 = 1 << 16;
const MAX_POINTS: i64 = 512;

/// The adapted graphs' outputs.
pub(crate) const DETECTIONS: &str = "detections";
pub(crate) const CANDIDATES: &str = "candidates";
pub(crate) const QUERIES: &str = "queries";
pub(crate) const PEOPLE: &str = "people";

/// The outputs of a file that is cut before it suppresses boxes: boxes `[N,A,4]`, and for each class their scores `[N,C,A]`.
pub(super) const UNSUPPRESSED: &str = "rtmposebatch/unsuppressed";
pub(super) const SCORES: &str = "rtmposebatch/scores_by_class";

/// Strides of YOLOX's three maps of anchors.
pub(crate) const STRIDES: [i64; 3] = [8, 16, 32];

/// What a file is, as its authors export it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// OpenMMLab's YOLOX: `dets` and `labels`, with suppression.
    Yolox,
    /// RTMDet: the same, from normalised images.
    RtmDet,
    /// Megvii's YOLOX: the raw values of each anchor, without its position.
    YoloxAnchors { classes: usize },
    /// RF-DETR: boxes, and logits of that many classes; the first is the background.
    RfDetr { classes: usize },
    /// RTMO: `dets` and `keypoints`, with suppression.
    Rtmo,
}

impl Family {
    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Yolox | Self::YoloxAnchors { .. } => "YOLOX",
            Self::RtmDet => "RTMDet",
            Self::RfDetr { .. } => "RF-DETR",
            Self::Rtmo => "RTMO",
        }
    }

    /// How many classes the property class-ids can choose from; none if the file does not say.
    pub fn classes(self) -> Option<usize> {
        match self {
            Self::YoloxAnchors { classes } => Some(classes),
            Self::RfDetr { classes } => Some(classes - 1),
            Self::Yolox | Self::RtmDet | Self::Rtmo => None,
        }
    }
}

/// A file's model, as its authors export it.
pub(crate) struct Found<'a> {
    pub family: Family,
    pub input: &'a ValueInfo,
    /// The boxes; then labels, logits or key points, if they are separate outputs.
    pub outputs: Vec<&'a ValueInfo>,
    /// Height and width of the input.
    pub sides: [i64; 2],
    /// The file declares them.
    pub has_sides: bool,
    /// Places for boxes in a row.
    pub most: usize,
    pub points: Option<usize>,
    /// Ends before the suppression of boxes. `most` is 0: only a run shows it.
    pub is_cut: bool,
}

/// What a file with floats as input is; none if it is not a model of this kind.
pub(crate) fn find(graph: &Graph) -> Option<Found<'_>> {
    let mut inputs = graph.inputs();
    let (Some(input), None) = (inputs.next(), inputs.next()) else { return None };
    let (sides, has_sides) = match (input.element_type(), &input.dimensions()[..]) {
        (element_type::FLOAT, &[_, Some(3), Some(height), Some(width)]) => ([height, width], true),
        (element_type::FLOAT, &[_, Some(3) | None, None, None]) => ([USUAL_SIDE; 2], false),
        _ => return None,
    };
    if !sides.iter().all(|side| (1..=MAX_SIDE).contains(side)) {
        return None;
    }
    let found = |family, outputs, most, points| Found {
        family,
        input,
        outputs,
        sides,
        has_sides,
        most,
        points,
        is_cut: false,
    };
    let suppressing =
        || if meets_a_convolution(graph, input.name()) { Family::RtmDet } else { Family::Yolox };
    let named = |name: &str| graph.output.iter().find(|output| output.name() == name);
    let kept = |boxes: &ValueInfo| match boxes.dimensions().get(1).copied().flatten() {
        Some(kept @ 1..=MAX_BOXES) => kept as usize,
        _ => KEPT,
    };
    if let (Some(boxes), Some(scores)) = (named(UNSUPPRESSED), named(SCORES)) {
        return Some(Found { is_cut: true, ..found(suppressing(), vec![boxes, scores], 0, None) });
    }
    if let Some(dets) = named("dets").filter(|dets| is_list(dets, 5)) {
        if let Some(points) = named("keypoints") {
            let count = match points.dimensions()[..] {
                [_, _, count, Some(3) | None] if points.element_type() == element_type::FLOAT => count,
                _ => return None,
            };
            let count = match count {
                Some(count @ 1..=MAX_POINTS) => Some(count as usize),
                None => None,
                Some(_) => return None,
            };
            return Some(found(Family::Rtmo, vec![dets, points], kept(dets), count));
        }
        let outputs = [Some(dets), named("labels")].into_iter().flatten().collect();
        return Some(found(suppressing(), outputs, kept(dets), None));
    }
    match &graph.output[..] {
        [output] => {
            let (_, anchors, numbers) = list(output)?;
            let [height, width] = sides;
            let of = |stride: i64| (height / stride) * (width / stride);
            let expected: i64 = STRIDES.into_iter().map(of).sum();
            let has_grid = height % STRIDES[2] == 0 && width % STRIDES[2] == 0;
            let fits = has_grid && anchors.is_none_or(|anchors| anchors == expected);
            let classes = numbers.filter(|numbers| fits && (6..=512).contains(numbers))? as usize - 5;
            Some(found(Family::YoloxAnchors { classes }, vec![output], expected as usize, None))
        }
        [a, b] => {
            let queries = |boxes, logits| {
                let ((_, queries, Some(4)), (_, also, Some(classes @ 2..=512))) =
                    (list(boxes)?, list(logits)?)
                else {
                    return None;
                };
                let queries = queries.or(also).filter(|queries| (1..=MAX_BOXES).contains(queries))?;
                let family = Family::RfDetr { classes: classes as usize };
                Some(found(family, vec![boxes, logits], queries as usize, None))
            };
            queries(a, b).or_else(|| queries(b, a))
        }
        _ => None,
    }
}

/// The dimensions of a float32 output that has three.
pub(super) fn list(output: &ValueInfo) -> Option<(Option<i64>, Option<i64>, Option<i64>)> {
    match output.dimensions()[..] {
        [batch, boxes, numbers] if output.element_type() == element_type::FLOAT => {
            Some((batch, boxes, numbers))
        }
        _ => None,
    }
}

/// Whether an output is a list of entries with that many numbers, as far as the file says so.
fn is_list(output: &ValueInfo, numbers: i64) -> bool {
    let says_nothing = output.element_type() == element_type::FLOAT && output.shape().is_none();
    says_nothing || list(output).is_some_and(|(_, _, found)| found.is_none_or(|found| found == numbers))
}

/// RTMDet begins with a convolution of the image. YOLOX first separates every second pixel.
fn meets_a_convolution(graph: &Graph, input: &str) -> bool {
    graph.node.iter().any(|node| {
        matches!(node.domain(), "" | "ai.onnx")
            && node.op_type() == "Conv"
            && node.input.first().is_some_and(|first| first == input)
    })
}

/// Key points of a person whose row has that many numbers: a box, its score, and three for each point.
pub(crate) fn points_of(numbers: i64) -> Option<usize> {
    let points = numbers - 5;
    (points > 0 && points % 3 == 0 && points / 3 <= MAX_POINTS).then_some(points as usize / 3)
}

/// What a file with one output of that many numbers for an image most likely is.
pub(crate) fn is_classifier(graph: &Graph) -> bool {
    let mut inputs = graph.inputs();
    let takes_pictures = inputs.next().is_some_and(|input| input.dimensions().len() == 4);
    let [output] = &graph.output[..] else { return false };
    let dimensions = output.dimensions();
    let answers = dimensions.iter().skip(1).filter(|dimension| **dimension != Some(1)).count();
    takes_pictures
        && inputs.next().is_none()
        && dimensions.len() > 1
        && answers == 1
        && dimensions[1] != Some(1)
}
