//! A model file: read, checked against the contract, and rewritten.

use std::path::Path;

use prost::bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{
    BoxForm, Boxes, Classes, Task, check,
    contract::{Contract, Form},
    graph::{self, Adaptation, messages, suppression::Cut},
    refusal::Refusal,
};
use crate::{
    engine::{Error, ErrorKind},
    platform::files::{self, bounded},
};

/// The embedded RTMPose-t, and its form whose backbone computes in 8-bit integers; see `models/README.md`.
#[cfg(feature = "embedded-model")]
const EMBEDDED_MODELS: Option<[&[u8]; 2]> =
    Some([include_bytes!("../../models/rtmpose-t.onnx"), include_bytes!("../../models/rtmpose-t-int8.onnx")]);
#[cfg(not(feature = "embedded-model"))]
const EMBEDDED_MODELS: Option<[&[u8]; 2]> = None;

/// Protobuf's own limit for one message.
const LARGEST_FILE: u64 = (1 << 31) - 1;

/// SHA-256 in hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What `Network::sha256` would be if the file was loaded now. The error completes a sentence such as 'cannot be read: '.
pub fn checksum(file: &Path) -> Result<String, String> {
    files::read(file, LARGEST_FILE).map(|bytes| sha256(&bytes))
}

pub(crate) struct ModelFile {
    pub bytes: Bytes,
    model: messages::Model,
    pub contract: Contract,
    /// See [`Network::score_unit`](super::Network::score_unit).
    pub score_unit: f32,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// The model's name in messages.
    pub name: String,
    /// A detector's classes that are people.
    classes: Classes,
}

/// The requirements for a model file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// None: any task.
    pub task: Option<Task>,
    /// A detector's classes that are people.
    pub classes: Classes,
}

/// The key of a model's metadata with its score unit.
const SCORE_UNIT: &str = "score_unit";

/// What the model's metadata says; 1 if it says nothing, or no positive number.
fn score_unit(model: &messages::Model) -> f32 {
    let entry = model.metadata_props.iter().find(|entry| entry.key() == SCORE_UNIT.as_bytes());
    let number = entry.and_then(|entry| std::str::from_utf8(entry.value()).ok()?.parse::<f32>().ok());
    number.filter(|unit| unit.is_normal() && *unit > 0.0).unwrap_or(1.0)
}

impl ModelFile {
    /// Reads a model file, or the embedded model.
    pub fn read(file: Option<&Path>, wanted: Wanted) -> Result<Self, Error> {
        if let (None, Some(Task::Boxes)) = (file, wanted.task) {
            let text = "No detector is embedded in the plugin: set the property model-file to a YOLOX, RTMDet or RF-DETR ONNX \
                        file (models/fetch gets them)";
            return Err(Error::new(ErrorKind::ModelMissing, text));
        }
        let name = file.map_or("embedded in the plugin".to_string(), |file| file.display().to_string());
        let bytes = match file {
            Some(file) => read_file(file)?,
            None => Bytes::from_static(embedded()?[0]),
        };
        Self::of(bytes, name, wanted)
    }

    /// The embedded model with a backbone that computes in 8-bit integers.
    pub fn embedded_int8() -> Result<Self, Error> {
        Self::of(
            Bytes::from_static(embedded()?[1]),
            "embedded in the plugin (int8)".to_string(),
            Wanted::default(),
        )
    }

    /// Checks a model file's bytes; `name` is the model's name in messages.
    pub fn of(bytes: Bytes, name: String, wanted: Wanted) -> Result<Self, Error> {
        let sha256 = sha256(&bytes);
        let model = graph::read(bytes.clone()).map_err(|why| not_loadable(&name, &why))?;
        let graph = model.graph.as_ref().ok_or_else(|| not_loadable(&name, "it has no graph"))?;
        let contract = check::check(graph, &name, wanted.task, wanted.classes).map_err(Refusal::of_file)?;
        let score_unit = score_unit(&model);
        Ok(Self { bytes, model, contract, score_unit, sha256, name, classes: wanted.classes })
    }

    /// Where the graph can end before it suppresses boxes; none if that is not known.
    pub fn suppression(&self) -> Option<Cut> {
        graph::suppression::find(&self.model)
    }

    /// Lets the graph end there.
    pub fn cut(self, cut: Cut) -> Self {
        let candidates =
            BoxForm::Candidates { classes: self.classes.count(), suppression: Some(cut.suppression) };
        let boxes = Boxes { form: candidates, most: 0 };
        let form = match self.contract.form {
            Form::Boxes { family, .. } => Form::Boxes { family, boxes },
            other => other,
        };
        Self { model: cut.model, contract: Contract { form, ..self.contract }, ..self }
    }

    /// Whether the file already accepts bytes.
    pub fn is_adapted(&self) -> bool {
        self.contract.is_adapted()
    }

    /// The file for ONNX Runtime.
    pub fn adapted(&self, adaptation: &Adaptation) -> Result<Vec<u8>, Error> {
        let is_detector = self.contract.task() == Task::Boxes;
        graph::adapt(&self.model, &Adaptation { classes: self.classes, ..*adaptation }).map_err(|why| {
            Error::new(
                ErrorKind::ModelRefused,
                format!(
                    "The model {} cannot be adapted to accept bytes and return {}{}: {}; {}",
                    self.name,
                    if is_detector { "boxes" } else { "key points" },
                    if adaptation.half { " in half precision" } else { "" },
                    bounded(&why),
                    if adaptation.half {
                        "set precision=model"
                    } else if is_detector {
                        "export it again, as one file"
                    } else {
                        "export it with mmdeploy's configuration for RTMPose, as one file"
                    }
                ),
            )
        })
    }

    /// Names the file in ONNX Runtime's error from the first run, which does not.
    pub fn first_run_error(&self, error: Error) -> Error {
        match error.kind {
            ErrorKind::Run | ErrorKind::OutOfMemory => Error::new(
                error.kind,
                format!(
                    "The model {} cannot be run ({}): set model-file to {}, or a smaller batch-size if \
                     memory is short",
                    self.name,
                    error.message,
                    if self.contract.task() == Task::Boxes { "another detector" } else { "an RTMPose model" }
                ),
            ),
            _ => error,
        }
    }
}

fn embedded() -> Result<[&'static [u8]; 2], Error> {
    EMBEDDED_MODELS.ok_or_else(|| {
        Error::new(
            ErrorKind::ModelMissing,
            "This build of the plugin has no embedded model: set the property model-file to an RTMPose ONNX file",
        )
    })
}

fn read_file(file: &Path) -> Result<Bytes, Error> {
    let bytes = files::read(file, LARGEST_FILE).map_err(|why| {
        Error::new(
            ErrorKind::ModelMissing,
            format!(
                "The model file {} cannot be read: {why}; set model-file to an RTMPose ONNX file",
                file.display()
            ),
        )
    })?;
    if bytes.is_empty() {
        return Err(Error::new(
            ErrorKind::ModelRefused,
            format!("The model file {} is empty: download it again", file.display()),
        ));
    }
    Ok(bytes.into())
}

/// What a runtime would receive for a file with these bytes, or the error that the element would post.
pub fn check_and_adapt(bytes: &[u8], adaptation: &Adaptation) -> Result<Vec<u8>, Error> {
    let wanted = Wanted { task: None, classes: adaptation.classes };
    ModelFile::of(bytes.to_vec().into(), "model.onnx".to_string(), wanted)?.adapted(adaptation)
}

/// The same for a detector whose graph ends before it suppresses boxes, as if its trial had succeeded; none if it cannot end
/// there. For tests and fuzzing.
pub fn check_cut_and_adapt(bytes: &[u8], adaptation: &Adaptation) -> Option<Result<Vec<u8>, Error>> {
    let wanted = Wanted { task: None, classes: adaptation.classes };
    let file = ModelFile::of(bytes.to_vec().into(), "model.onnx".to_string(), wanted).ok()?;
    let cut = file.suppression()?;
    Some(file.cut(cut).adapted(adaptation))
}

pub(crate) fn not_loadable(name: &str, why: &str) -> Error {
    Error::new(
        ErrorKind::ModelRefused,
        format!(
            "The model {name} is not an ONNX file that ONNX Runtime can load ({}): download it again, or export it \
             again as one file",
            bounded(why)
        ),
    )
}

#[cfg(test)]
mod tests {
    use messages::{Entry, Model};

    use super::*;

    #[test]
    fn the_metadata_may_say_the_unit_of_scores() {
        let unit = |key: &str, value: &'static [u8]| {
            let entry =
                Entry { key: Some(Bytes::from(key.to_string())), value: Some(Bytes::from_static(value)) };
            score_unit(&Model { metadata_props: vec![Entry::default(), entry], ..Model::default() })
        };
        assert_eq!(unit("score_unit", b"1.5"), 1.5);
        for nonsense in [&b"0"[..], b"-1.5", b"inf", b"NaN", b"much", b"", b"\xff"] {
            assert_eq!(unit("score_unit", nonsense), 1.0, "{nonsense:?}");
        }
        assert_eq!(unit("unit", b"1.5"), 1.0);
    }

    #[cfg(feature = "embedded-model")]
    #[test]
    fn both_forms_of_the_embedded_model_have_the_same_unit() {
        let model = ModelFile::read(None, Wanted::default()).unwrap();
        assert_eq!((model.score_unit, ModelFile::embedded_int8().unwrap().score_unit), (1.28, 1.28));
    }
}
