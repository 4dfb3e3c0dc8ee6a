//! Lets tests give the element a fake network and clock.

use std::sync::Arc;

use gst::subclass::prelude::*;

use super::RtmPoseBatch;
use crate::{engine::Clock, runtime::Backend};

/// From the next NULL->READY on, the element runs `backend` with `clock`. Takes effect once.
pub fn inject(element: &RtmPoseBatch, backend: Arc<Backend>, clock: Arc<dyn Clock>) {
    element.imp().stage.inference.configuration.give((backend, clock));
}

/// Whether the loading in progress was asked to end.
pub fn loading_is_cancelled(element: &RtmPoseBatch) -> bool {
    element.imp().stage.loading_is_cancelled()
}
