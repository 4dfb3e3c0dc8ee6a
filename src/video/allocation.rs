//! What elements that send frames on as they are may promise upstream.

/// Takes GstVideoCropMeta out of downstream's answer. An element upstream that reads it there leaves the whole picture in the
/// frame and only notes which part of it counts, but crops are cut, and people drawn, by the caps.
pub(crate) fn refuse_crop_meta(query: &mut gst::query::Allocation) {
    while let Some(index) = query.find_allocation_meta::<gst_video::VideoCropMeta>() {
        query.remove_nth_allocation_meta(index);
    }
}
