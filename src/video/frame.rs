//! GStreamer's video frames as pictures for the crop sampler.

use gst_video::{VideoColorRange, prelude::*};

use super::{ChromaSite, Colour, Component, Picture, YuvMatrix, planes};

/// The caps' colours, as the sampler needs them.
#[derive(Clone, Copy)]
pub(crate) struct Colours {
    pub(super) colour: Colour,
    pub(super) chroma_site: ChromaSite,
}

impl Colours {
    pub fn of(info: &gst_video::VideoInfo) -> Self {
        let format = info.format_info();
        let range = info.colorimetry().range();
        let full_range = range == VideoColorRange::Range0_255;
        let colour = if format.is_gray() && range != VideoColorRange::Range16_235 {
            Colour::Gray
        } else if format.is_gray() || format.is_yuv() {
            // Caps without a matrix: BT.601, as in videoconvert.
            let (kr, kb) = info.colorimetry().matrix().kr_kb().unwrap_or((0.299, 0.114));
            Colour::Yuv(YuvMatrix::new(kr, kb, full_range))
        } else if range == VideoColorRange::Range16_235 {
            Colour::LimitedRgb
        } else {
            Colour::Rgb
        };
        Self { colour, chroma_site: chroma_site(info.chroma_site()) }
    }
}

fn chroma_site(site: gst_video::VideoChromaSite) -> ChromaSite {
    use gst_video::VideoChromaSite as Site;
    if site.is_empty() {
        return ChromaSite::default();
    }
    ChromaSite {
        horizontally_cosited: site.contains(Site::H_COSITED),
        vertically_cosited: site.contains(Site::V_COSITED),
    }
}

/// The chroma of grey, which is needed to convert limited range to RGB.
const NO_CHROMA: Component = Component { data: &[128], row_stride: 1, pixel_stride: 1, width: 1, height: 1 };

/// Why a buffer cannot be used as a frame with these caps, and what to do about it.
pub(crate) fn misfit(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> String {
    let (size, format) = (buffer.size(), info.format());
    let frame = format!("{}x{} {format}", info.width(), info.height());
    let remedy = if buffer.meta::<gst_video::VideoMeta>().is_some() {
        "its GstVideoMeta places rows outside its memory, or backwards; correct the offsets and strides"
            .to_string()
    } else if size < info.size() {
        let (stride, row) = (info.stride()[0], row_bytes(info));
        let padded = if stride as usize > row {
            format!("{stride} bytes, not {row}: GStreamer pads rows to multiples of 4")
        } else {
            format!("{stride} bytes")
        };
        let needed = info.size();
        format!(
            "{needed} bytes are needed, in rows of {padded}; send such rows, or add a GstVideoMeta with your strides"
        )
    } else {
        "its memory cannot be mapped; put videoconvert, or an element that downloads from the device, upstream".to_string()
    };
    format!("{size} bytes cannot be read as {frame}: {remedy}")
}

/// Bytes of the samples in a row of the first plane.
fn row_bytes(info: &gst_video::VideoInfo) -> usize {
    let format = info.format_info();
    let ends = (0..info.n_components()).filter(|index| format.plane()[*index as usize] == 0).map(|index| {
        let last = (info.comp_width(index as u8) as usize).saturating_sub(1);
        info.comp_poffset(index as u8) as usize + last * info.comp_pstride(index as u8) as usize + 1
    });
    ends.max().unwrap_or(0)
}

/// The mapped frame as a picture of the size in its caps, `info`; none if its layout cannot be read (negative strides, or
/// outside its memory). A GstVideoMeta may be larger than the picture: the rest is padding.
pub(crate) fn picture<'a>(
    frame: &'a gst_video::VideoFrameRef<&gst::BufferRef>,
    info: &gst_video::VideoInfo,
    colours: &Colours,
) -> Option<Picture<'a>> {
    let components = frame.format_info().n_components().min(3);
    let component = |index: u32| {
        if index >= components {
            return Some(NO_CHROMA);
        }
        Some(Component {
            data: planes::plane(frame, frame.comp_plane(index) as usize)?
                .get(frame.comp_poffset(index) as usize..)?,
            row_stride: usize::try_from(frame.comp_stride(index)).ok()?,
            pixel_stride: usize::try_from(frame.comp_pstride(index)).ok()?,
            width: info.comp_width(index as u8) as usize,
            height: info.comp_height(index as u8) as usize,
        })
    };
    Some(Picture {
        width: info.width() as usize,
        height: info.height() as usize,
        components: [component(0)?, component(1)?, component(2)?],
        colour: colours.colour,
        chroma_site: colours.chroma_site,
    })
}
