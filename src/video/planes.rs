//! The memory of a mapped frame's planes. GStreamer uses the places and strides of a GstVideoMeta unchecked, and so do its
//! bindings: with one that does not fit its buffer, bytes outside the buffer would be read and written.

use std::{marker::PhantomData, ptr::NonNull};

use gst_video::{VideoFormatInfo, ffi::GstVideoFrame, prelude::*};

/// Bytes of a plane, from its first byte to the end of its memory. None if the frame's layout leaves the memory, or has
/// negative strides.
pub(crate) fn plane(frame: &impl VideoFrameExt, index: usize) -> Option<&[u8]> {
    let (first, room) = whole_plane(frame, index)?;
    // SAFETY: the memory is mapped as long as the frame is borrowed.
    Some(unsafe { std::slice::from_raw_parts(first, room) })
}

/// The planes of a frame that is mapped for writing. Rows of one may be between rows of another, so only one is available at
/// a time.
pub(crate) struct PlanesMut<'a> {
    places: [(*mut u8, usize); 4],
    frame: PhantomData<&'a mut [u8]>,
}

impl<'a> PlanesMut<'a> {
    /// None if the frame's layout leaves the memory, or has negative strides.
    pub fn of(frame: &'a mut gst_video::VideoFrameRef<&mut gst::BufferRef>) -> Option<Self> {
        let mut places = [(NonNull::dangling().as_ptr(), 0); 4];
        for (index, place) in places.iter_mut().enumerate().take(frame.n_planes() as usize) {
            *place = whole_plane(frame, index)?;
        }
        Some(Self { places, frame: PhantomData })
    }

    /// Bytes of a plane, from its first byte to the end of its memory; none for a plane that the format does not have.
    pub fn plane(&mut self, index: usize) -> &mut [u8] {
        let (first, room) = self.places[index];
        // SAFETY: the memory is mapped for writing while the frame is borrowed, and nothing else borrows a part of it.
        unsafe { std::slice::from_raw_parts_mut(first, room) }
    }
}

/// Where a plane begins, and how many bytes of memory follow: at least as many as its samples need.
fn whole_plane(frame: &impl VideoFrameExt, index: usize) -> Option<(*mut u8, usize)> {
    // SAFETY: the pointer is that of a mapped frame.
    let raw: &GstVideoFrame = unsafe { &*frame.as_ptr() };
    // With a GstVideoMeta, each plane has its own mapping.
    let map = if raw.meta.is_null() { &raw.map[0] } else { raw.map.get(index)? };
    let first = raw.data.get(index)?.cast::<u8>();
    let room = map.size.checked_sub(first.addr().checked_sub(map.data.addr())?)?;
    (room >= plane_size(frame, index)?).then_some((first, room))
}

/// Bytes from the first to the last sample of a plane.
fn plane_size(frame: &impl VideoFrameExt, index: usize) -> Option<usize> {
    let format: VideoFormatInfo = frame.format_info();
    let stride = usize::try_from(*frame.plane_stride().get(index)?).ok()?;
    let components = (0..format.n_components()).filter(|c| format.plane()[*c as usize] as usize == index);
    let sizes = components.map(|component| {
        let pixel_stride = usize::try_from(frame.comp_pstride(component)).ok()?;
        let last = (frame.comp_width(component) as usize).checked_sub(1)?;
        let row = frame.comp_poffset(component) as usize + last * pixel_stride + 1;
        ((frame.comp_height(component) as usize).checked_sub(1)?).checked_mul(stride)?.checked_add(row)
    });
    sizes.collect::<Option<Vec<_>>>()?.into_iter().max()
}
