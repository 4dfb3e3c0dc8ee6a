//! Lets tests put a fake network and a clock of their own under the element.

use std::sync::Arc;

use gst::subclass::prelude::*;

use super::RtmPoseDetect;
use crate::{engine::Clock, runtime::Backend};

/// From the next NULL->READY on, the element runs `backend` by `clock`. Takes effect once.
pub fn inject(element: &RtmPoseDetect, backend: Arc<Backend>, clock: Arc<dyn Clock>) {
    element.imp().stage.inference.configuration.give((backend, clock));
}
