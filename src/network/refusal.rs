//! Why a model cannot be used.

use crate::{
    engine::{Error, ErrorKind},
    platform::files::bounded,
};

/// What is wrong with a model, apart from what its user can do: with a file that is something else than with a server's model.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: ErrorKind,
    /// Names the model.
    what: String,
    /// What was expected and what was found, where that is known.
    difference: Option<String>,
    /// What the user of a file can do, where `what` does not say it.
    remedy: Option<&'static str>,
}

impl Refusal {
    pub fn new(what: String) -> Self {
        Self { kind: ErrorKind::ModelRefused, what, difference: None, remedy: None }
    }

    /// A property asks for what the model does not have.
    pub fn of_settings(what: String) -> Self {
        Self { kind: ErrorKind::Settings, ..Self::new(what) }
    }

    pub fn expected(self, expected: &str, found: &str) -> Self {
        Self { difference: Some(format!("expected {expected}, found {}", bounded(found))), ..self }
    }

    pub fn remedy(self, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// What was expected and what was found; all that is wrong where that is not known.
    pub fn difference(&self) -> &str {
        self.difference.as_ref().unwrap_or(&self.what)
    }

    /// A sentence without a full stop, and without a file's remedy.
    pub fn text(&self) -> String {
        match &self.difference {
            Some(difference) => format!("{}: {difference}", self.what),
            None => self.what.clone(),
        }
    }

    /// Of a file, with what its user can do.
    pub fn of_file(self) -> Error {
        let text = self.text();
        Error::new(self.kind, self.remedy.map_or(text.clone(), |remedy| format!("{text}; {remedy}")))
    }
}
