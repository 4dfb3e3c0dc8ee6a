//! Where frames may be: in system memory, or on the GPU that runs the network.

use std::sync::Arc;

use gst::prelude::*;

use super::{Inference, Stage};
use crate::video::cuda::{CONTEXT_TYPE, Device, FEATURE};

fn is_on_a_card(features: Option<&gst::CapsFeaturesRef>) -> bool {
    features.is_some_and(|features| features.contains(FEATURE))
}

/// The number of the GPU that the nearest upstream element uses, as GStreamer's own elements report it.
fn number_upstream(pad: &gst::Pad) -> Option<u32> {
    const NUMBER: &str = "cuda-device-id";
    /// No pipeline has longer chains.
    const LONGEST: usize = 64;
    let mut pad = pad.clone();
    for _ in 0..LONGEST {
        let mut peer = pad.peer()?;
        // Into bins, and out of them.
        while let Some(ghost) = peer.downcast_ref::<gst::GhostPad>() {
            peer = ghost.target()?;
        }
        if let Some(ghost) = peer.parent().and_then(|parent| parent.downcast::<gst::GhostPad>().ok()) {
            pad = ghost.upcast();
            continue;
        }
        let element = peer.parent_element()?;
        if let Some(property) = element.find_property(NUMBER) {
            let value = element.property_value(NUMBER);
            let number = match property.value_type() {
                gst::glib::Type::U32 => value.get().ok(),
                gst::glib::Type::I32 => value.get::<i32>().ok().and_then(|number| u32::try_from(number).ok()),
                _ => None,
            };
            // -1 is any.
            if number.is_some() {
                return number;
            }
        }
        let sinks = element.sink_pads();
        let [sink] = &sinks[..] else { return None };
        pad = sink.clone();
    }
    None
}

impl<I: Inference> Stage<I> {
    /// Announces the CUDA context that frames should be in: decoders that use it avoid a copy.
    pub(super) fn share_context(&self) {
        let Some(card) = self.card_for(None) else { return };
        let context = card.shared_context();
        self.element().set_context(context);
        self.post(gst::message::HaveContext::builder(context.clone()).src(&self.element()).build());
    }

    /// A query for a context does not name a GPU: it is the GPU of the nearest upstream element that has one, or else the
    /// first.
    fn card_for(&self, asking: Option<&gst::Pad>) -> Option<Arc<Device>> {
        let running = self.running()?;
        let number = asking.and_then(number_upstream);
        let named = running.cards.iter().find(|card| Some(card.number()) == number);
        named.or_else(|| running.cards.iter().next()).cloned()
    }

    /// Answers a CONTEXT query for the CUDA context; false if it asks for another one.
    pub(super) fn answer_context(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        let gst::QueryViewMut::Context(query) = query.view_mut() else { return false };
        if query.context_type() != CONTEXT_TYPE {
            return false;
        }
        let Some(card) = self.card_for(Some(pad)) else { return false };
        query.set_context(card.shared_context());
        true
    }

    /// Removes frames in GPU memory from the answer to a caps query, unless they can be read there.
    pub(super) fn keep_to_possible_memory(&self, query: &mut gst::QueryRef) {
        // In NULL this is not known.
        if self.running().is_none_or(|running| !running.cards.is_empty()) {
            return;
        }
        match query.view_mut() {
            gst::QueryViewMut::Caps(query) => {
                let Some(caps) = query.result_owned() else { return };
                let possible =
                    caps.iter_with_features().filter(|(_, features)| !is_on_a_card(Some(features)));
                let possible: gst::Caps = possible
                    .map(|(structure, features)| (structure.to_owned(), features.to_owned()))
                    .collect();
                query.set_result(&possible);
            }
            gst::QueryViewMut::AcceptCaps(query) if is_on_a_card(query.caps().features(0)) => {
                query.set_result(false);
            }
            _ => (),
        }
    }

    /// Frames of another CUDA context, or of another GPU, must be copied before they can be read.
    pub(super) fn warn_of_copies(&self) {
        gst::element_warning!(
            self.element(),
            gst::ResourceError::Settings,
            ("Frames come from another element's CUDA context, or from another GPU, so each is copied: set device-id \
              or device-ids to the same GPU as cuda-device-id of GStreamer's elements, and change this element to \
              READY before the others")
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{LazyLock, Mutex};

    use gst::{glib, subclass::prelude::*};

    use super::*;

    /// A stand-in for a GStreamer element that works on a GPU: -1 is any.
    #[derive(Default)]
    pub struct OnACard(Mutex<i32>);

    #[glib::object_subclass]
    impl ObjectSubclass for OnACard {
        const NAME: &'static str = "TestRtmPoseOnACard";
        type Type = Wrapper;
        type ParentType = gst::Element;
    }

    glib::wrapper! {
        pub struct Wrapper(ObjectSubclass<OnACard>) @extends gst::Element, gst::Object;
    }

    impl ObjectImpl for OnACard {
        fn properties() -> &'static [glib::ParamSpec] {
            static SPECIFICATIONS: LazyLock<[glib::ParamSpec; 1]> =
                LazyLock::new(|| [glib::ParamSpecInt::builder("cuda-device-id").minimum(-1).build()]);
            &*SPECIFICATIONS
        }

        fn property(&self, _: usize, _: &glib::ParamSpec) -> glib::Value {
            self.0.lock().unwrap().to_value()
        }

        fn set_property(&self, _: usize, value: &glib::Value, _: &glib::ParamSpec) {
            *self.0.lock().unwrap() = value.get().unwrap();
        }

        fn constructed(&self) {
            self.parent_constructed();
            for (name, direction) in [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)] {
                let pad = gst::Pad::builder(direction).name(name).build();
                self.obj().add_pad(&pad).unwrap();
            }
        }
    }

    impl GstObjectImpl for OnACard {}
    impl ElementImpl for OnACard {}

    #[test]
    fn the_nearest_element_upstream_that_works_on_a_card_tells_which() {
        gst::init().unwrap();
        let on_card = |number: i32| -> gst::Element {
            glib::Object::builder::<Wrapper>().property("cuda-device-id", number).build().upcast()
        };
        let plain = |name: &str| gst::ElementFactory::make(name).build().unwrap();
        let ask = |chain: &[gst::Element]| {
            let pipeline = gst::Pipeline::new();
            let end = plain("identity");
            pipeline.add_many(chain.iter().chain([&end])).unwrap();
            gst::Element::link_many(chain.iter().chain([&end])).unwrap();
            number_upstream(&end.static_pad("sink").unwrap())
        };
        assert_eq!(ask(&[on_card(1)]), Some(1));
        assert_eq!(ask(&[on_card(2), on_card(1), plain("queue"), plain("capsfilter")]), Some(1));
        assert_eq!(ask(&[on_card(2), on_card(-1), plain("queue")]), Some(2), "-1 is any");
        assert_eq!(ask(&[plain("fakesrc"), plain("queue")]), None);
        assert_eq!(number_upstream(&plain("identity").static_pad("sink").unwrap()), None);
        // Asks inside a bin in a bin, where decodebin has its decoders, and from inside a bin.
        let inner = gst::Bin::new();
        let (decoder, queue) = (on_card(3), plain("queue"));
        inner.add_many([&decoder, &queue]).unwrap();
        decoder.link(&queue).unwrap();
        inner.add_pad(&gst::GhostPad::with_target(&queue.static_pad("src").unwrap()).unwrap()).unwrap();
        let outer = gst::Bin::new();
        outer.add(&inner).unwrap();
        outer.add_pad(&gst::GhostPad::with_target(&inner.static_pad("src").unwrap()).unwrap()).unwrap();
        let last = gst::Bin::new();
        let end = plain("identity");
        last.add(&end).unwrap();
        last.add_pad(&gst::GhostPad::with_target(&end.static_pad("sink").unwrap()).unwrap()).unwrap();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([outer.upcast_ref::<gst::Element>(), last.upcast_ref()]).unwrap();
        outer.link(&last).unwrap();
        assert_eq!(number_upstream(&end.static_pad("sink").unwrap()), Some(3));
    }
}
