//! Sessions of model files.

use super::session::{Builder, LoadError, Session};
use crate::{
    engine::Error,
    network::{
        Refusal,
        contract::{self, Form, INPUT, OUTPUTS},
        file::{ModelFile, not_loadable},
        graph::Adaptation,
    },
};

/// Adapts the graph and loads it.
pub(super) fn load(file: &ModelFile, builder: Builder, adaptation: &Adaptation) -> Result<Session, Error> {
    builder.load(&file.adapted(adaptation)?).map_err(|error| load_error(file, error))
}

/// If the file does not declare how many bins its answers have, one run of the plain graph on the CPU shows it; the adapted
/// graph's answers do not.
pub(super) fn probe(file: &ModelFile, builder: impl FnOnce() -> Result<Builder, Error>) -> Result<(), Error> {
    if !matches!(file.contract.form, Form::Official { bins_declared: false, .. }) {
        return Ok(());
    }
    let (width, height) = (file.contract.width as usize, file.contract.height as usize);
    let rows = file.contract.fixed_batch.unwrap_or(1);
    let mut session = builder()?.load(&file.bytes).map_err(|error| load_error(file, error))?;
    let black = vec![0f32; rows * 3 * height * width];
    let outputs = session.run((INPUT, [rows, 3, height, width], &black[..]), None)?;
    let points = |output: usize| {
        let (shape, _) = outputs.get(OUTPUTS[output])?;
        contract::check_answer(&file.contract, rows, output, shape, &file.name).map_err(Refusal::of_file)
    };
    match (points(0)?, points(1)?) {
        (x, y) if x == y => Ok(()),
        (x, y) => Err(contract::different_points(&file.name, x, y).of_file()),
    }
}

fn load_error(file: &ModelFile, error: LoadError) -> Error {
    match error {
        LoadError::File(text) => not_loadable(&file.name, &text),
        LoadError::Other(Error { kind, message }) => {
            Error::new(kind, format!("The model {} cannot be loaded ({message})", file.name))
        }
    }
}
