//! The end of a model for whole frames: a row with a fixed number of places for boxes, whatever the file returns.
//!
//! | file | as exported | adapted |
//! |---|---|---|
//! | YOLOX and RTMDet with suppression | `dets` `[N,n,5]`, `labels` `[N,n]` | `detections` `[N,M,6]`: left, top, right,
//! bottom, score, class |
//! | the same, cut before the suppression | boxes `[N,A,4]`, scores `[N,C,A]` | `candidates` `[N,A,4+c]`: box, and its score
//! for each requested class |
//! | YOLOX without | `[N,A,5+C]` for each anchor | `candidates` `[N,A,4+c]` |
//! | RF-DETR | boxes `[N,Q,4]`, logits `[N,Q,C]` | `queries` `[N,Q,4+c]` |
//! | RTMO | `dets` `[N,n,5]`, `keypoints` `[N,n,K,3]` | `people` `[N,M,5+3K]`: box, score, and x, y, score of each key point
//! |
//!
//! All positions are in pixels of the input. n changes from run to run; boxes beyond the last place are dropped, and unused
//! places are 0.

use super::{
    Colours, MEAN, PREFIX, STD,
    messages::{Dimension, Graph, Node, Tensor, ValueInfo, element_type},
};
use crate::network::{
    Classes,
    detector::{CANDIDATES, DETECTIONS, Family, Found, PEOPLE, QUERIES, STRIDES},
};

/// Mean and standard deviation of blue, green and red (`data_preprocessor` in RTMDet's configs).
const RTMDET_MEAN: [f32; 3] = [103.53, 116.28, 123.675];
const RTMDET_STD: [f32; 3] = [57.375, 57.12, 58.395];

/// What to do at the end of a file.
pub(super) struct Ending {
    family: Family,
    sides: [i64; 2],
    most: i64,
    points: Option<usize>,
    is_cut: bool,
}

impl Ending {
    pub fn of(found: &Found) -> Self {
        Self {
            family: found.family,
            sides: found.sides,
            most: found.most as i64,
            points: found.points,
            is_cut: found.is_cut,
        }
    }

    /// What the file's model accepts.
    pub fn colours(&self) -> Colours {
        match self.family {
            Family::Yolox | Family::YoloxAnchors { .. } | Family::Rtmo => {
                Colours { is_bgr: true, normal: None }
            }
            Family::RtmDet => Colours { is_bgr: true, normal: Some((RTMDET_MEAN, RTMDET_STD)) },
            // Its values are these divided by 255.
            Family::RfDetr { .. } => Colours { is_bgr: false, normal: Some((MEAN, STD)) },
        }
    }

    /// Appends the nodes that make rows from the file's answers; returns the adapted graph's output.
    pub fn append(
        &self,
        graph: &mut Graph,
        nodes: &mut Vec<Node>,
        answers: &[String],
        classes: Classes,
        batch: Dimension,
    ) -> Result<ValueInfo, String> {
        let mut builder = Builder { graph, nodes };
        let [boxes, others @ ..] = answers else { return Err("it has no output".to_string()) };
        let (name, columns) = match self.family {
            Family::Yolox | Family::RtmDet if self.is_cut => {
                let scores = others.first().ok_or("it has no scores")?;
                self.unsuppressed(&mut builder, boxes, scores, classes);
                (CANDIDATES, Some(4 + classes.count()))
            }
            Family::Yolox | Family::RtmDet => {
                self.suppressed(&mut builder, boxes, others.first());
                (DETECTIONS, Some(6))
            }
            Family::YoloxAnchors { .. } => {
                self.anchors(&mut builder, boxes, classes);
                (CANDIDATES, Some(4 + classes.count()))
            }
            Family::RfDetr { .. } => {
                let logits = others.first().ok_or("it has no logits")?;
                self.queries(&mut builder, boxes, logits, classes);
                (QUERIES, Some(4 + classes.count()))
            }
            Family::Rtmo => {
                let points = others.first().ok_or("it has no key points")?;
                self.people(&mut builder, boxes, points);
                (PEOPLE, self.points.map(|points| 5 + 3 * points))
            }
        };
        let columns = columns.map_or(Dimension::default(), |columns| Dimension::of(columns as i64));
        let most = if self.is_cut { Dimension::default() } else { Dimension::of(self.most) };
        let dimensions = vec![batch, most, columns];
        Ok(ValueInfo::of(name, element_type::FLOAT, dimensions))
    }

    fn suppressed(&self, builder: &mut Builder, boxes: &str, labels: Option<&String>) {
        let Some(labels) = labels else {
            // Without labels all are of class 0.
            builder.fit(boxes, &[0, 0, 0, 0, self.most, 1], self.most, DETECTIONS);
            return;
        };
        let float = builder.cast(labels, "labels");
        let shape = builder.whole_numbers("label_shape", &[0, 0, 1]);
        let column = builder.node("Reshape", &[&float, &shape], "label_column");
        let all = builder.concat(&[boxes, &column], "boxes");
        builder.fit(&all, &[0, 0, 0, 0, self.most, 0], self.most, DETECTIONS);
    }

    fn unsuppressed(&self, builder: &mut Builder, boxes: &str, scores: &str, classes: Classes) {
        // The file always has class 0. A class that it does not have has scores of 0.
        let scores = match classes.last() {
            0 => scores.to_string(),
            last => {
                let more = builder.whole_numbers("more_classes", &[0, 0, 0, 0, last as i64, 0]);
                builder.node("Pad", &[scores, &more], "all_scores")
            }
        };
        let numbers: Vec<_> = classes.numbers().map(|class| class as i64).collect();
        let numbers = builder.whole_numbers("class_numbers", &numbers);
        let wanted = named("wanted_scores");
        builder.nodes.push(Node::new("Gather", &[&scores, &numbers], &wanted).with_int("axis", 1));
        let columns = named("score_columns");
        builder.nodes.push(Node::new("Transpose", &[&wanted], &columns).with_ints("perm", &[0, 2, 1]));
        builder.concat_as(&[boxes, &columns], CANDIDATES);
    }

    fn people(&self, builder: &mut Builder, boxes: &str, points: &str) {
        let boxes = builder.fit(boxes, &[0, 0, 0, 0, self.most, 0], self.most, &named("boxes"));
        let points = builder.fit(points, &[0, 0, 0, 0, 0, self.most, 0, 0], self.most, &named("points"));
        let shape = builder.whole_numbers("point_shape", &[0, self.most, -1]);
        let columns = builder.node("Reshape", &[&points, &shape], "point_columns");
        builder.concat_as(&[&boxes, &columns], PEOPLE);
    }

    fn anchors(&self, builder: &mut Builder, answers: &str, classes: Classes) {
        let (mut cells, mut strides) = (Vec::new(), Vec::new());
        let [height, width] = self.sides;
        for stride in STRIDES {
            for y in 0..height / stride {
                for x in 0..width / stride {
                    cells.extend([x as f32, y as f32]);
                    strides.push(stride as f32);
                }
            }
        }
        let cells = builder.numbers("cells", &[1, self.most, 2], &cells);
        let strides = builder.numbers("strides", &[1, self.most, 1], &strides);
        let part = |builder: &mut Builder, from: i64, to: i64, name: &str| {
            let from = builder.whole_numbers(&format!("{name}_from"), &[from]);
            let to = builder.whole_numbers(&format!("{name}_to"), &[to]);
            let axis = builder.whole_numbers("last", &[2]);
            builder.node("Slice", &[answers, &from, &to, &axis], name)
        };
        let place = part(builder, 0, 2, "place");
        let size = part(builder, 2, 4, "size");
        let object = part(builder, 4, 5, "object");
        let place = builder.node("Add", &[&place, &cells], "cell_place");
        let centre = builder.node("Mul", &[&place, &strides], "centre");
        let size = builder.node("Exp", &[&size], "size_in_cells");
        let size = builder.node("Mul", &[&size, &strides], "size_in_pixels");
        let boxes = builder.concat(&[&centre, &size], "boxes");
        let boxes = builder.corners(&boxes, [1.0, 1.0]);
        let scores = builder.columns(answers, classes.numbers().map(|class| class as i64 + 5), "classes");
        let scores = builder.node("Mul", &[&object, &scores], "scores");
        builder.concat_as(&[&boxes, &scores], CANDIDATES);
    }

    fn queries(&self, builder: &mut Builder, boxes: &str, logits: &str, classes: Classes) {
        let [height, width] = self.sides.map(|side| side as f32);
        let boxes = builder.corners(boxes, [width, height]);
        // The first class is the background.
        let logits = builder.columns(logits, classes.numbers().map(|class| class as i64 + 1), "classes");
        let scores = builder.node("Sigmoid", &[&logits], "scores");
        builder.concat_as(&[&boxes, &scores], QUERIES);
    }
}

fn named(what: &str) -> String {
    format!("{PREFIX}/{what}")
}

/// A graph that is extended. The names of new nodes have our prefix.
struct Builder<'a> {
    graph: &'a mut Graph,
    nodes: &'a mut Vec<Node>,
}

impl Builder<'_> {
    fn add(&mut self, tensor: Tensor) -> String {
        let name = tensor.name().to_string();
        if !self.graph.initializer.iter().any(|known| known.name() == name) {
            self.graph.initializer.push(tensor);
        }
        name
    }

    fn whole_numbers(&mut self, name: &str, values: &[i64]) -> String {
        self.add(Tensor::int64(&named(name), &[values.len() as i64], values))
    }

    fn numbers(&mut self, name: &str, dims: &[i64], values: &[f32]) -> String {
        self.add(Tensor::float32(&named(name), dims, values))
    }

    fn node(&mut self, op_type: &str, inputs: &[&str], name: &str) -> String {
        let name = named(name);
        self.nodes.push(Node::new(op_type, inputs, &name));
        name
    }

    fn cast(&mut self, input: &str, name: &str) -> String {
        let name = named(name);
        self.nodes.push(Node::new("Cast", &[input], &name).with_int("to", i64::from(element_type::FLOAT)));
        name
    }

    /// Joins values along the last of three axes.
    fn concat(&mut self, inputs: &[&str], name: &str) -> String {
        let name = named(name);
        self.concat_as(inputs, &name);
        name
    }

    fn concat_as(&mut self, inputs: &[&str], output: &str) {
        self.nodes.push(Node::new("Concat", inputs, output).with_int("axis", 2));
    }

    /// These columns of a value, on the last of three axes.
    fn columns(&mut self, value: &str, numbers: impl Iterator<Item = i64>, name: &str) -> String {
        let numbers: Vec<_> = numbers.collect();
        let numbers = self.whole_numbers(&format!("{name}_numbers"), &numbers);
        let name = named(name);
        self.nodes.push(Node::new("Gather", &[value, &numbers], &name).with_int("axis", 2));
        name
    }

    /// Converts boxes from centre and size to left, top, right, bottom, and multiplies them by these.
    fn corners(&mut self, boxes: &str, [x, y]: [f32; 2]) -> String {
        #[rustfmt::skip]
        let matrix = [
            x, 0.0, x, 0.0,
            0.0, y, 0.0, y,
            -x / 2.0, 0.0, x / 2.0, 0.0,
            0.0, -y / 2.0, 0.0, y / 2.0,
        ];
        let matrix = self.numbers("corner_matrix", &[4, 4], &matrix);
        self.node("MatMul", &[boxes, &matrix], "corners")
    }

    /// Makes a list of any length one of `most` entries: appends zeros, then cuts.
    fn fit(&mut self, list: &str, padding: &[i64], most: i64, output: &str) -> String {
        let amounts = self.whole_numbers(&format!("padding_{}", padding.len()), padding);
        let longer = format!("{output}/longer");
        self.nodes.push(Node::new("Pad", &[list, &amounts], &longer));
        let from = self.whole_numbers("first_place", &[0]);
        let to = self.whole_numbers("last_place", &[most]);
        let axis = self.whole_numbers("places", &[1]);
        self.nodes.push(Node::new("Slice", &[&longer, &from, &to, &axis], output));
        output.to_string()
    }
}
