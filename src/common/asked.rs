//! What an element asks for, by its properties.

use std::path::PathBuf;

use super::settings::Common;
use crate::{
    engine::{Agreement, BatchReport},
    network::Wanted,
};

/// The network that an element asks for.
pub(crate) struct Asked<'a> {
    /// None: the embedded one.
    pub model_file: Option<PathBuf>,
    pub wanted: Wanted,
    pub batch_size: usize,
    pub common: &'a Common,
    /// What all who share it must give alike.
    pub agreement: Agreement,
    /// Hears of each batch.
    pub observer: fn(&BatchReport),
}
