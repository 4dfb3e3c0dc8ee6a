//! Where frames may lie: in system memory, and on the card that the network runs on.

use gst::prelude::*;

use super::{Inference, Stage};
use crate::video::cuda::{CONTEXT_TYPE, FEATURE};

fn is_on_a_card(features: Option<&gst::CapsFeaturesRef>) -> bool {
    features.is_some_and(|features| features.contains(FEATURE))
}

impl<I: Inference> Stage<I> {
    /// Tells the pipeline of the CUDA context that frames are to be in: decoders that take it spare a copy.
    pub(super) fn share_context(&self) {
        let Some(card) = self.running().and_then(|running| running.card.clone()) else { return };
        let context = card.shared_context();
        self.element().set_context(context);
        self.post(gst::message::HaveContext::builder(context.clone()).src(&self.element()).build());
    }

    /// Answers a CONTEXT query for the CUDA context; false if it is another one.
    pub(super) fn answer_context(&self, query: &mut gst::QueryRef) -> bool {
        let gst::QueryViewMut::Context(query) = query.view_mut() else { return false };
        if query.context_type() != CONTEXT_TYPE {
            return false;
        }
        let Some(card) = self.running().and_then(|running| running.card.clone()) else { return false };
        query.set_context(card.shared_context());
        true
    }

    /// Takes frames on a card out of the answer to a query for caps, unless they can be read there.
    pub(super) fn keep_to_possible_memory(&self, query: &mut gst::QueryRef) {
        // In NULL nobody knows.
        if self.running().is_none_or(|running| running.card.is_some()) {
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

    /// Frames of another CUDA context, or of another card, can be read, but not where they are.
    pub(super) fn warn_of_copies(&self) {
        gst::element_warning!(
            self.element(),
            gst::ResourceError::Settings,
            ("Frames come in the CUDA context of another element, or from another card, and each is copied: set device-id \
                 (cuda-device-id of GStreamer's elements) alike, and let this element change to READY before the others")
        );
    }
}
