//! The pads and the change of state of an inference element: functions that GStreamer needs for the element's type.

use gst::{glib, prelude::*, subclass::prelude::*};

use super::{Inference, Stage};

/// An element that holds a stage.
pub trait Staged: ElementImpl {
    type Inference: Inference;

    fn stage(&self) -> &Stage<Self::Inference>;
}

/// The templates `sink` and `src`, both with these caps.
pub fn pad_templates(caps: &gst::Caps) -> [gst::PadTemplate; 2] {
    let template = |name, direction| {
        let template = gst::PadTemplate::new(name, direction, gst::PadPresence::Always, caps);
        template.expect("names and caps are valid")
    };
    [template("sink", gst::PadDirection::Sink), template("src", gst::PadDirection::Src)]
}

/// The sink pad and the source pad, made from their templates.
pub fn pads<T: Staged>([sink, src]: [gst::PadTemplate; 2]) -> [gst::Pad; 2] {
    let panicked = || gst::loggable_error!(T::Inference::category(), "Panic while a pad was activated");
    let sinkpad = gst::Pad::builder_from_template(&sink)
        .activatemode_function(move |pad, parent, mode, active| {
            let activate = |this: &T| this.stage().sink_activatemode(pad, mode, active);
            T::catch_panic_pad_function(parent, || Err(panicked()), activate)
        })
        .chain_function(|pad, parent, buffer| {
            let chain = |this: &T| this.stage().sink_chain(pad, buffer);
            T::catch_panic_pad_function(parent, || Err(gst::FlowError::Error), chain)
        })
        .event_full_function(|pad, parent, event| {
            let handle = |this: &T| this.stage().sink_event(pad, event);
            T::catch_panic_pad_function(parent, || Err(gst::FlowError::Error), handle)
        })
        .query_function(|pad, parent, query| {
            T::catch_panic_pad_function(parent, || false, |this| this.stage().sink_query(pad, query))
        })
        // Caps without a size reach `set_caps`, whose error says what is missing.
        .flags(gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_SCHEDULING | gst::PadFlags::ACCEPT_INTERSECT)
        .build();
    let srcpad = gst::Pad::builder_from_template(&src)
        .activatemode_function(move |pad, parent, mode, active| {
            let activate = |this: &T| {
                let task = this.ref_counted();
                let mut output = super::output::Output::default();
                // One turn of the task.
                let turn = move || {
                    task.catch_panic(
                        || task.stage().stop_task_with(gst::FlowError::Error),
                        |this| this.stage().iterate(&mut output),
                    );
                };
                this.stage().src_activatemode(pad, mode, active, turn)
            };
            T::catch_panic_pad_function(parent, || Err(panicked()), activate)
        })
        .event_function(|pad, parent, event| {
            T::catch_panic_pad_function(parent, || false, |this| this.stage().src_event(pad, event))
        })
        .query_function(|pad, parent, query| {
            T::catch_panic_pad_function(parent, || false, |this| this.stage().src_query(pad, query))
        })
        .flags(gst::PadFlags::PROXY_CAPS | gst::PadFlags::PROXY_SCHEDULING)
        .build();
    [sinkpad, srcpad]
}

/// Overrides `GstElementClass.set_state`, for which the bindings have no function. `gst_element_set_state (NULL)` waits for
/// the change in progress, which can be the loading of a network, so the loading must be interrupted before that wait.
pub fn install_set_state<T: Staged>(class: &mut T::Class) {
    use glib::translate::*;

    unsafe extern "C" fn set_state<T: Staged>(
        element: *mut gst::ffi::GstElement,
        state: gst::ffi::GstState,
    ) -> gst::ffi::GstStateChangeReturn {
        // SAFETY: GStreamer calls this with an instance of the class that it is installed in.
        unsafe {
            let object: Borrowed<gst::Element> = from_glib_borrow(element);
            let this = object.downcast_ref::<T::Type>().expect("it is of this type").imp();
            let parent = T::type_data().as_ref().parent_class() as *const gst::ffi::GstElementClass;
            let Some(parent_set_state) = (*parent).set_state else {
                return gst::ffi::GST_STATE_CHANGE_FAILURE;
            };
            if state != gst::ffi::GST_STATE_NULL {
                return parent_set_state(element, state);
            }
            this.stage().before_change_to_null();
            let changed = parent_set_state(element, state);
            this.stage().after_change_to_null();
            changed
        }
    }

    // SAFETY: the class struct of a subclass of GstElement begins with GstElementClass.
    unsafe {
        let class = &mut *(class as *mut _ as *mut gst::ffi::GstElementClass);
        class.set_state = Some(set_state::<T>);
    }
}
