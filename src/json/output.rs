//! Where the texts of frames go, beside the source pad.

use super::{
    failure::Failure,
    file::{Existing, Files},
    settings::Settings,
};

pub enum Output {
    Files(Files),
}

impl Output {
    /// None where no location is set.
    pub fn open(settings: &Settings) -> Result<Option<Self>, Failure> {
        let Some(location) = &settings.location else { return Ok(None) };
        let existing = match (settings.overwrite, settings.append) {
            (true, true) => {
                return Err(Failure::settings(
                    "The properties overwrite and append are both set: leave one of them unset",
                ));
            }
            (true, false) => Existing::Overwritten,
            (false, true) => Existing::Continued,
            (false, false) => Existing::Refused,
        };
        Files::open(location, settings.format, existing).map(|files| Some(Self::Files(files)))
    }

    /// Takes what frame `number` has become in the format that was asked for.
    pub fn write(&mut self, number: u64, text: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Files(files) => files.write(number, text),
        }
    }
}
