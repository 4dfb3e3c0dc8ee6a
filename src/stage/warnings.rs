//! Messages to the application about frames that are not inferred, or in which little can be found.

use std::time::Instant;

use gst::prelude::*;

use super::{Inference, Running, Stage, overload::Reason};
use crate::sync::lock;

impl<I: Inference> Stage<I> {
    /// Counts a frame that passes without inference, and reports it. Do not call it with a lock held.
    pub(super) fn count_skipped(
        &self,
        buffer: &gst::BufferRef,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        live: bool,
        reason: Reason,
    ) {
        let (inferred, skipped) = {
            let mut stats = self.figures();
            stats.frames_skipped += 1;
            stats.skipping.skip(reason, Instant::now());
            (stats.frames_in - stats.frames_skipped, stats.frames_skipped)
        };
        gst::debug!(
            I::category(),
            obj = self.element(),
            "{reason:?}: frame {:?} passes without inference",
            buffer.pts()
        );
        let message = gst::message::Qos::builder(live)
            .src(&self.element())
            .running_time(segment.to_running_time(buffer.pts()))
            .stream_time(segment.to_stream_time(buffer.pts()))
            .timestamp(buffer.pts())
            .duration(buffer.duration())
            .stats(gst::format::Buffers::from_u64(inferred), gst::format::Buffers::from_u64(skipped))
            .build();
        self.post(message);
    }

    /// A frame has arrived: from time to time, warns of those that passed without inference. Do not call it with a lock
    /// held.
    pub(super) fn warn_of_skipped_frames(&self) {
        let text = self.figures().skipping.count_frame(Instant::now(), I::REMEDIES);
        self.post_skipping(text);
    }

    /// The same at the end of a stream, for frames that no warning has reported.
    pub(super) fn warn_of_the_last_skipped_frames(&self) {
        let text = self.figures().skipping.take_warning(Instant::now(), I::REMEDIES);
        self.post_skipping(text);
    }

    fn post_skipping(&self, text: Option<String>) {
        if let Some(text) = text {
            gst::element_warning!(self.element(), gst::ResourceError::Busy, ("{text}"));
        }
    }

    pub(super) fn warn_of_seldom_looks(&self, running: &Running<I>) {
        let Some(apart) = lock(&self.input).slow.news.take() else { return };
        gst::element_warning!(
            self.element(),
            gst::StreamError::Failed,
            (
                "This live stream is inferred only every {apart:.1} s, because a batch takes {:.1?}: {}. Use a \
                 smaller model, a faster execution-provider or fewer streams",
                running.stream.run_time(),
                I::SELDOM
            )
        );
    }

    /// Few people are found in video that is not upright: one warning reports how it is rotated.
    pub(super) fn warn_of_orientation(&self, tags: &gst::TagListRef) {
        let Some(tag) = tags.get::<gst::tags::ImageOrientation>() else { return };
        let orientation = tag.get();
        if orientation == "rotate-0" || lock(&self.input).warned_of_orientation || self.pictures_are_turned()
        {
            return;
        }
        lock(&self.input).warned_of_orientation = true;
        gst::element_warning!(
            self.element(),
            gst::StreamError::Format,
            (
                "The video is not upright (image-orientation {orientation}), so {}: put videoflip \
                 video-direction=auto upstream of this element",
                I::TURNED
            )
        );
    }

    /// Whether an element of the pipeline rotates the video. In GStreamer 1.22, videoflip does not change the tag when it
    /// does.
    fn pictures_are_turned(&self) -> bool {
        let mut root: gst::Object = self.element().upcast();
        while let Some(parent) = root.parent() {
            root = parent;
        }
        let Ok(bin) = root.downcast::<gst::Bin>() else { return false };
        bin.iterate_recurse().into_iter().flatten().any(|element| {
            const DIRECTION: &str = "video-direction";
            let direction = element.find_property(DIRECTION).map(|_| element.property_value(DIRECTION));
            let direction = direction.as_ref().and_then(gst::glib::EnumValue::from_value);
            direction.is_some_and(|(_, direction)| direction.nick() != "identity")
        })
    }
}
