//! Lets tests give the element a fake network and clock.

use std::sync::Arc;

use gst::subclass::prelude::*;

use super::RtmPoseDetect;
use crate::{engine::Clock, runtime::Backend};

/// From the next NULL->READY on, the element runs `backend` with `clock`. Takes effect once.
pub fn inject(element: &RtmPoseDetect, backend: Arc<Backend>, clock: Arc<dyn Clock>) {
    element.imp().stage.inference.configuration.give((backend, clock));
}
