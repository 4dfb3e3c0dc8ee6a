//! Where the texts of frames go, besides the source pad.

use super::{
    failure::Failure,
    file::{Existing, Files},
    mqtt::{self, Figures, Publisher},
    settings::Settings,
};

pub enum Output {
    Files(Files),
    Broker(Publisher),
}

impl Output {
    /// None if no location is set. `name` is the element's.
    pub fn open(settings: &Settings, name: &str) -> Result<Option<Self>, Failure> {
        let Some(location) = &settings.location else { return Ok(None) };
        if mqtt::is_broker(location) {
            return Publisher::open(location, name, settings).map(|publisher| Some(Self::Broker(publisher)));
        }
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

    /// Writes the text of frame `number` in the chosen format. The returned text, if any, is a warning.
    pub fn write(&mut self, number: u64, text: &[u8]) -> Result<Option<String>, Failure> {
        match self {
            Self::Files(files) => files.write(number, text).map(|()| None),
            Self::Broker(publisher) => {
                publisher.send(text);
                Ok(publisher.take_warning())
            }
        }
    }

    /// Statistics of messages; none if there are none.
    pub fn figures(&self) -> Option<Figures> {
        match self {
            Self::Files(_) => None,
            Self::Broker(publisher) => Some(publisher.figures()),
        }
    }
}
