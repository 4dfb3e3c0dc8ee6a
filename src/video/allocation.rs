//! What elements that pass frames unchanged may promise upstream.

/// Removes GstVideoCropMeta from downstream's answer. An upstream element that finds it there leaves the whole image in the
/// frame and only records which part counts; but crops are sampled, and people drawn, according to the caps.
pub(crate) fn refuse_crop_meta(query: &mut gst::query::Allocation) {
    while let Some(index) = query.find_allocation_meta::<gst_video::VideoCropMeta>() {
        query.remove_nth_allocation_meta(index);
    }
}
