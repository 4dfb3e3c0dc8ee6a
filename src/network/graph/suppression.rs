//! Where a file begins to suppress boxes, so that the graph can end before that.
//!
//! mmdeploy's YOLOX and RTMDet end in NonMaxSuppression and some thirty operators that collect its choice. Their shapes depend
//! on the picture, so such a graph cannot be captured as a CUDA graph, and its last part is slow on a GPU. The cut graph
//! returns what that operator gets: boxes `[N,A,4]` and scores `[N,C,A]`; `Boxes` suppresses them by the file's limits.
//!
//! Whether a file's end does only that is not read from its operators but tried: its nodes become a small model of their own,
//! whose answers to known boxes must equal ours (`Trial`).

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::{
    PREFIX,
    detections::Ending,
    has_subgraphs,
    messages::{Dimension, Graph, Model, Node, Tensor, ValueInfo, element_type},
};
use crate::{
    network::{
        BoxForm, Boxes, Classes, Suppression, Thresholds,
        detector::{self, Family, SCORES, UNSUPPRESSED},
    },
    video::{Fit, FrameShape, Whole},
};

/// The trial model's input.
pub(crate) const KNOWN_BOXES: &str = "rtmposebatch/known_boxes";
/// Boxes of a trial: groups of boxes that overlap each other more or less.
const GROUPS: usize = 8;
const OF_A_GROUP: usize = 12;
/// Numbers of classes to try.
const CLASSES: [usize; 2] = [1, 3];
/// Width and height of the trial's picture.
const SIDE: u32 = 640;

/// A file that can be cut, if its trial succeeds.
pub(crate) struct Cut {
    /// Ends before the suppression.
    pub model: Model,
    pub suppression: Suppression,
    pub trial: Trial,
}

/// The file's own suppression as a model: known boxes in, `detections` out.
pub(crate) struct Trial {
    pub file: Vec<u8>,
    suppression: Suppression,
}

/// Values of `KNOWN_BOXES` `[1,1,A,4+C]`, and what they are.
pub(crate) struct Scene {
    pub values: Vec<f32>,
    classes: usize,
}

/// Where a detector's file can be cut; none if it does not suppress boxes, or in a way that is not known.
pub(crate) fn find(model: &Model) -> Option<Cut> {
    let graph = model.graph.as_ref()?;
    let found = detector::find(graph)?;
    if !matches!(found.family, Family::Yolox | Family::RtmDet) || found.is_cut {
        return None;
    }
    let mut suppressing = graph.node.iter().filter(|node| node.is("NonMaxSuppression"));
    let (Some(node), None, false) =
        (suppressing.next(), suppressing.next(), graph.node.iter().any(has_subgraphs))
    else {
        return None;
    };
    if node.attribute("center_point_box").is_some_and(|attribute| attribute.i() != 0) {
        return None;
    }
    let input = |number: usize| node.input.get(number).map(String::as_str).filter(|name| !name.is_empty());
    let number = |at: usize| input(at).map_or(Some(0.0), |name| graph.constant(name)?.first_float());
    let [boxes, scores] = [input(0)?, input(1)?];
    let of_a_class = input(2).map_or(Some(0), |name| graph.constant_of_any_type(name)?.first_int64())?;
    let suppression = Suppression {
        overlap: number(3)?,
        score: number(4)?,
        of_a_class: usize::try_from(of_a_class).unwrap_or(0),
    };
    let sources = Sources::of(graph);
    let answers: Vec<_> = found.outputs.iter().map(|output| output.name()).collect();
    let (before, end) = (sources.nodes(&[boxes, scores], &[]), sources.nodes(&answers, &[boxes, scores]));
    let sees_the_picture = |value: &str| sources.nodes(&[value], &[]).reaches_input;
    if end.reaches_input || !sees_the_picture(boxes) || !sees_the_picture(scores) {
        return None;
    }
    let trial = Trial { file: trial(model, &end.nodes, [boxes, scores], &answers, &found), suppression };
    Some(Cut { model: cut(model, &before.nodes, [boxes, scores]), suppression, trial })
}

/// The file without its suppression.
fn cut(model: &Model, kept: &HashSet<usize>, [boxes, scores]: [&str; 2]) -> Model {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        keep(graph, kept);
        graph.node.push(Node::new("Identity", &[boxes], UNSUPPRESSED));
        graph.node.push(Node::new("Identity", &[scores], SCORES));
        let any = Dimension::default;
        graph.output = vec![
            ValueInfo::of(UNSUPPRESSED, element_type::FLOAT, vec![any(), any(), Dimension::of(4)]),
            ValueInfo::of(SCORES, element_type::FLOAT, vec![any(), any(), any()]),
        ];
        graph.value_info.clear();
    }
    model
}

/// The file's suppression alone.
fn trial(
    model: &Model,
    kept: &HashSet<usize>,
    [boxes, scores]: [&str; 2],
    answers: &[&str],
    found: &detector::Found,
) -> Vec<u8> {
    let mut model = model.clone();
    if let Some(graph) = &mut model.graph {
        keep(graph, kept);
        let name = |what: &str| format!("{PREFIX}/known/{what}");
        for (what, number) in [("first", 0), ("four", 4), ("end", i64::MAX), ("axis", 2)] {
            graph.initializer.push(Tensor::int64(&name(what), &[1], &[number]));
        }
        graph.initializer.push(Tensor::int64(&name("zero"), &[], &[0]));
        let [rows, columns] = [name("rows"), name("columns")];
        let mut nodes = vec![
            // Removes an axis in every opset alike; Squeeze does not.
            Node::new("Gather", &[KNOWN_BOXES, &name("zero")], &rows).with_int("axis", 1),
            Node::new("Slice", &[&rows, &name("first"), &name("four"), &name("axis")], boxes),
            Node::new("Slice", &[&rows, &name("four"), &name("end"), &name("axis")], &columns),
            Node::new("Transpose", &[&columns], scores).with_ints("perm", &[0, 2, 1]),
        ];
        nodes.append(&mut graph.node);
        let answers: Vec<_> = answers.iter().map(ToString::to_string).collect();
        // The outputs of a file that was recognised are not missing.
        if let Ok(output) =
            Ending::of(found).append(graph, &mut nodes, &answers, Classes::default(), Dimension::of(1))
        {
            graph.output = vec![output];
        }
        graph.node = nodes;
        let any = Dimension::default;
        let dimensions = vec![Dimension::of(1), Dimension::of(1), any(), any()];
        graph.input = vec![ValueInfo::of(KNOWN_BOXES, element_type::FLOAT, dimensions)];
        graph.value_info.clear();
    }
    model.encode_to_vec()
}

/// Removes all other nodes, and constants that no node needs.
fn keep(graph: &mut Graph, kept: &HashSet<usize>) {
    let nodes = std::mem::take(&mut graph.node).into_iter().enumerate();
    graph.node = nodes.filter(|(number, _)| kept.contains(number)).map(|(_, node)| node).collect();
    graph.drop_unused_constants(&[]);
}

/// Which node makes each value.
struct Sources<'a> {
    graph: &'a Graph,
    inputs: HashSet<&'a str>,
    makers: HashMap<&'a str, usize>,
}

/// Nodes of which some values are made.
struct Makers {
    nodes: HashSet<usize>,
    /// They need the graph's input.
    reaches_input: bool,
}

impl<'a> Sources<'a> {
    fn of(graph: &'a Graph) -> Self {
        let outputs = |(number, node): (usize, &'a Node)| {
            node.output.iter().map(move |output| (output.as_str(), number))
        };
        let makers = graph.node.iter().enumerate().flat_map(outputs).collect();
        Self { graph, inputs: graph.inputs().map(ValueInfo::name).collect(), makers }
    }

    /// What makes these values from those in `known`.
    fn nodes(&self, values: &[&'a str], known: &[&str]) -> Makers {
        let mut open: Vec<&str> = values.to_vec();
        let mut makers = Makers { nodes: HashSet::new(), reaches_input: false };
        while let Some(value) = open.pop() {
            if known.contains(&value) {
                continue;
            }
            makers.reaches_input |= self.inputs.contains(value);
            if let Some(number) = self.makers.get(value)
                && makers.nodes.insert(*number)
            {
                open.extend(self.graph.node[*number].input.iter().map(String::as_str));
            }
        }
        makers
    }
}

impl Trial {
    /// Boxes of which some overlap, with scores for that many classes; and the same without any score.
    pub fn scenes() -> Vec<Scene> {
        let scenes = CLASSES.into_iter().flat_map(|classes| [(classes, true), (classes, false)]);
        scenes.map(|(classes, has_scores)| Scene::of(classes, has_scores)).collect()
    }

    /// Whether the file suppresses a scene's boxes as `Boxes` does. `rows` is its answer.
    pub fn succeeds(&self, scene: &Scene, rows: &[f32]) -> bool {
        let Some(whole) = Whole::new(Fit::Letterbox, FrameShape::new(SIDE, SIDE, (1, 1)), SIDE, SIDE) else {
            return false;
        };
        let thresholds = Thresholds { score: 0.0, overlap: 0.0, most: usize::MAX };
        let of_a_row = |form: BoxForm, row: &[f32]| {
            let boxes = Boxes { form, most: row.len() / form.columns() };
            let mut found = boxes.detections(row, &whole, &thresholds);
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found
        };
        // Each class alone: the file must name it.
        (0..scene.classes).all(|class| {
            let classes = Classes::of([class]);
            let found = of_a_row(BoxForm::Suppressed { classes }, rows);
            let of_the_class = |numbers: &[f32]| [&numbers[..4], &[numbers[4 + class]]].concat();
            let row: Vec<_> = scene.values.chunks_exact(4 + scene.classes).flat_map(of_the_class).collect();
            let form = BoxForm::Candidates { classes: 1, suppression: Some(self.suppression) };
            found == of_a_row(form, &row)
        })
    }
}

impl Scene {
    fn of(classes: usize, has_scores: bool) -> Self {
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as f32 / 65536.0
        };
        let mut values = Vec::new();
        for group in 0..GROUPS {
            let (left, top) = (60.0 * group as f32, 50.0 * (group % 3) as f32);
            for _ in 0..OF_A_GROUP {
                let (x, y) = (left + 20.0 * random(), top + 20.0 * random());
                values.extend([x, y, x + 40.0 + 20.0 * random(), y + 80.0 + 40.0 * random()]);
                values.extend((0..classes).map(|_| if has_scores { random() } else { 0.0 }));
            }
        }
        Self { values, classes }
    }

    /// The dimensions of `KNOWN_BOXES`.
    pub fn shape(&self) -> [usize; 4] {
        [1, 1, GROUPS * OF_A_GROUP, 4 + self.classes]
    }
}
