//! What an element's properties ask for.

use std::path::PathBuf;

use super::settings::Common;
use crate::{
    engine::{Agreement, BatchReport},
    network::Wanted,
};

/// The network that an element asks for.
pub(crate) struct Asked<'a> {
    /// None: the embedded model.
    pub model_file: Option<PathBuf>,
    pub wanted: Wanted,
    pub batch_size: usize,
    pub common: &'a Common,
    /// What must be equal for all elements that share it.
    pub agreement: Agreement,
    /// Called after each batch.
    pub observer: fn(&BatchReport),
}
