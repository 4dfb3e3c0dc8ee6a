//! What a model file is, and whether the element can use it.

use super::{
    Classes, Task,
    boxes::{BoxForm, Boxes},
    contract::{self, Contract, Form},
    detector::{self, CANDIDATES, DETECTIONS, Family, Found, PEOPLE, QUERIES},
    graph::messages::{Graph, ValueInfo, element_type},
    refusal::Refusal,
};
use crate::platform::files::bounded;

/// Checks a file; `name` is the model's name in messages. `task` is the purpose, none if any will do, and `classes` are the
/// detector's classes that are people.
pub(crate) fn check(
    graph: &Graph,
    name: &str,
    task: Option<Task>,
    classes: Classes,
) -> Result<Contract, Refusal> {
    if let Some(contract) = check_whole_frames(graph, classes) {
        check_task(&contract, name, task)?;
        check_classes(&contract, name, classes)?;
        return Ok(contract);
    }
    if detector::is_classifier(graph) {
        return Err(is_classifier(graph, name));
    }
    match (contract::check_poses(graph, name), task) {
        (Ok(contract), task) => check_task(&contract, name, task).map(|()| contract),
        (Err(_), Some(Task::Boxes)) => Err(no_detector(graph, name)),
        (Err(error), _) => Err(error),
    }
}

/// A file must suit the element's task.
fn check_task(contract: &Contract, name: &str, task: Option<Task>) -> Result<(), Refusal> {
    let (is, takes, other) = match (contract.task(), task) {
        (Task::Boxes, Some(Task::Poses)) => {
            ("a detector", "rtmposebatch needs a pose model", "rtmposedetect")
        }
        (Task::Poses, Some(Task::Boxes)) => {
            ("a pose model", "rtmposedetect needs a detector", "rtmposebatch")
        }
        _ => return Ok(()),
    };
    let text = format!("The model {name} is {is} ({}), but {takes}: use {other} for it", contract.name());
    Err(Refusal::new(text))
}

/// The requested classes must exist.
fn check_classes(contract: &Contract, name: &str, classes: Classes) -> Result<(), Refusal> {
    let Form::Boxes { family: Some(family), .. } = contract.form else { return Ok(()) };
    match family.classes() {
        Some(count) if classes.last() >= count => Err(Refusal::of_settings(format!(
            "The property class-ids contains class {}, but the model {name} has classes 0 to {}",
            classes.last(),
            count - 1
        ))),
        _ => Ok(()),
    }
}

fn is_classifier(graph: &Graph, name: &str) -> Refusal {
    let outputs: Vec<_> = graph.output.iter().collect();
    let text = format!(
        "The model {name} is a classifier (its output is {}), which this plugin cannot use: rtmposebatch needs a \
         pose model, rtmposedetect a detector",
        bounded(&contract::list(&outputs))
    );
    Refusal::new(text)
}

fn no_detector(graph: &Graph, name: &str) -> Refusal {
    let (inputs, outputs): (Vec<_>, Vec<_>) = (graph.inputs().collect(), graph.output.iter().collect());
    let found = format!("inputs {} and outputs {}", contract::list(&inputs), contract::list(&outputs));
    Refusal::new(format!("The model {name} is not a detector that rtmposedetect supports"))
        .expected(
            "one float32 input [batch, 3, height, width], and `dets` [batch, boxes, 5] with `labels` (YOLOX or RTMDet as mmdeploy \
             exports them), one output [batch, anchors, 5 + classes] (YOLOX as its authors export it), or boxes [batch, queries, 4] \
             with logits (RF-DETR)",
            &found,
        )
        .remedy("set model-file to one that is")
}

/// The contract of a file of this kind; none if it is not of this kind.
fn check_whole_frames(graph: &Graph, classes: Classes) -> Option<Contract> {
    if contract::is_adapted(graph) {
        return check_adapted_whole_frames(graph, classes);
    }
    let Found { family, input, sides: [height, width], has_sides, most, points, is_cut, .. } =
        detector::find(graph)?;
    let candidates = BoxForm::Candidates { classes: classes.count(), suppression: None };
    let form = match family {
        Family::Yolox | Family::RtmDet if is_cut => candidates,
        Family::Yolox | Family::RtmDet => BoxForm::Suppressed { classes },
        Family::YoloxAnchors { .. } => candidates,
        Family::RfDetr { .. } => BoxForm::Queries { classes: classes.count() },
        Family::Rtmo => {
            let form = Form::People { most, adapted: false };
            return Some(contract_of(input, [height, width], has_sides, points, form));
        }
    };
    let form = Form::Boxes { family: Some(family), boxes: Boxes { form, most } };
    Some(contract_of(input, [height, width], has_sides, None, form))
}

fn check_adapted_whole_frames(graph: &Graph, classes: Classes) -> Option<Contract> {
    let mut inputs = graph.inputs();
    let (Some(input), None) = (inputs.next(), inputs.next()) else { return None };
    let sides = match (input.element_type(), &input.dimensions()[..]) {
        (
            element_type::UINT8,
            &[_, Some(height @ 1..=detector::MAX_SIDE), Some(width @ 1..=detector::MAX_SIDE), Some(3)],
        ) => [height, width],
        _ => return None,
    };
    let [output] = &graph.output[..] else { return None };
    let (_, Some(most @ 1..=detector::MAX_BOXES), numbers) = detector::list(output)? else { return None };
    let most = most as usize;
    let scores = || Some(numbers.filter(|numbers| (5..=516).contains(numbers))? as usize - 4);
    let (form, points) = match (output.name(), numbers) {
        (DETECTIONS, Some(6)) => (BoxForm::Suppressed { classes }, None),
        (CANDIDATES, _) => (BoxForm::Candidates { classes: scores()?, suppression: None }, None),
        (QUERIES, _) => (BoxForm::Queries { classes: scores()? }, None),
        (PEOPLE, numbers) => {
            let points = match numbers {
                None => None,
                Some(numbers) => Some(detector::points_of(numbers)?),
            };
            return Some(contract_of(input, sides, true, points, Form::People { most, adapted: true }));
        }
        _ => return None,
    };
    Some(contract_of(input, sides, true, points, Form::Boxes { family: None, boxes: Boxes { form, most } }))
}

fn contract_of(
    input: &ValueInfo,
    [height, width]: [i64; 2],
    has_sides: bool,
    points: Option<usize>,
    form: Form,
) -> Contract {
    let batch = input.dimensions().first().copied().flatten();
    let fixed_batch = batch.and_then(|batch| usize::try_from(batch).ok());
    Contract { width: width as u32, height: height as u32, has_sides, fixed_batch, points, form }
}
