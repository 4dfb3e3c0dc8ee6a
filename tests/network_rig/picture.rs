//! Pictures of dots, and their frames in any format and memory layout.

use gst_video::{VideoFormat, VideoFrameExt, VideoInfo};

pub const WHITE: [u8; 3] = [255; 3];
pub const RED: [u8; 3] = [255, 0, 0];
pub const GREEN: [u8; 3] = [0, 255, 0];
pub const BLUE: [u8; 3] = [0, 0, 255];

/// The formats of the element, as its pad templates promise.
pub const FORMATS: [VideoFormat; 17] = {
    use VideoFormat::*;
    [Rgb, Bgr, Rgbx, Bgrx, Xrgb, Xbgr, Rgba, Bgra, Argb, Abgr, Nv12, Nv21, I420, Yv12, Yuy2, Uyvy, Gray8]
};

/// Layout of a frame in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layout {
    /// The layout that the caps give.
    Plain,
    /// Longer rows, gaps between the planes and an offset, described by a GstVideoMeta. The gaps are white.
    Padded,
}

pub fn video(format: VideoFormat, width: u32, height: u32) -> VideoInfo {
    video_with(format, width, height, "")
}

/// With further fields of the caps, such as `,colorimetry=bt709`.
pub fn video_with(format: VideoFormat, width: u32, height: u32, fields: &str) -> VideoInfo {
    super::init();
    let text = format!(
        "video/x-raw,format={},width={width},height={height},framerate=30/1{fields}",
        format.to_str()
    );
    VideoInfo::from_caps(&text.parse::<gst::Caps>().unwrap())
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A black picture to draw on.
#[derive(Clone)]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    pub fn new(width: u32, height: u32) -> Self {
        let (width, height) = (width as usize, height as usize);
        Self { width, height, pixels: vec![[0; 3]; width * height] }
    }

    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        let mut picture = Self::new(width, height);
        picture.pixels.fill(colour);
        picture
    }

    /// Fills a rectangle: left, top, width, height, in whole pixels. Parts outside the picture are not drawn.
    pub fn rectangle(mut self, [left, top, width, height]: [i32; 4], colour: [u8; 3]) -> Self {
        let range = |from: i32, length: i32, most: usize| {
            let end = |at: i32| (at.max(0) as usize).min(most);
            end(from)..end(from + length)
        };
        for row in range(top, height, self.height) {
            let line = &mut self.pixels[row * self.width..][..self.width];
            line[range(left, width, self.width)].fill(colour);
        }
        self
    }

    /// Draws a soft disc: full inside half of its diameter, then fading out. The centre of pixel i is at i.
    pub fn dot(mut self, (x, y): (f32, f32), diameter: f32, colour: [u8; 3]) -> Self {
        let radius = diameter / 2.0;
        let range = |centre: f32, size: usize| {
            (centre - radius).floor().max(0.0) as usize
                ..((centre + radius).ceil() + 1.0).clamp(0.0, size as f32) as usize
        };
        for row in range(y, self.height) {
            for column in range(x, self.width) {
                let distance = (column as f32 - x).hypot(row as f32 - y);
                let cover = (2.0 - 2.0 * distance / radius).clamp(0.0, 1.0);
                let pixel = &mut self.pixels[row * self.width + column];
                for (old, new) in pixel.iter_mut().zip(colour) {
                    *old = (f32::from(*old) + cover * (f32::from(new) - f32::from(*old))).round() as u8;
                }
            }
        }
        self
    }

    /// The picture with `across` times fewer columns and `down` times fewer rows. Each pixel is the mean of
    /// those that it replaces.
    pub fn squeezed(&self, across: usize, down: usize) -> Self {
        let (width, height) = (self.width / across, self.height / down);
        let mean = |index: usize| {
            let (left, top) = (index % width * across, index / width * down);
            let all = (top..top + down).flat_map(|y| (left..left + across).map(move |x| (x, y)));
            let sums = all.fold([0; 3], |mut sums, (x, y)| {
                let pixel = self.pixels[y * self.width + x];
                sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += usize::from(value));
                sums
            });
            sums.map(|sum| (sum / (across * down)) as u8)
        };
        Self { width, height, pixels: (0..width * height).map(mean).collect() }
    }

    /// The picture as a frame, made by GStreamer's own converter, so that its matrices and chroma sites are
    /// independent of ours.
    pub fn frame(&self, info: &VideoInfo, layout: Layout) -> gst::Buffer {
        super::init();
        let rgb = video(VideoFormat::Rgb, self.width as u32, self.height as u32);
        let mut source =
            gst_video::VideoFrame::from_buffer_writable(gst::Buffer::with_size(rgb.size()).unwrap(), &rgb)
                .unwrap();
        let stride = source.plane_stride()[0] as usize;
        let rows = source.plane_data_mut(0).unwrap().chunks_mut(stride);
        for (row, pixels) in rows.zip(self.pixels.chunks(self.width)) {
            row[..self.width * 3].copy_from_slice(pixels.as_flattened());
        }
        let buffer = match layout {
            Layout::Plain => gst::Buffer::with_size(info.size()).unwrap(),
            Layout::Padded => padded(info),
        };
        let mut target = gst_video::VideoFrame::from_buffer_writable(buffer, info).unwrap();
        let mut config = gst_video::VideoConverterConfig::new();
        config.set_dither_method(gst_video::VideoDitherMethod::None);
        let converter = gst_video::VideoConverter::new(&rgb, info, Some(config)).unwrap();
        converter.frame(&source, &mut target);
        target.into_buffer()
    }
}

/// A white buffer with room for a padded frame.
fn padded(info: &VideoInfo) -> gst::Buffer {
    let (mut offsets, mut strides) = (Vec::new(), Vec::new());
    let mut size = 64;
    for plane in 0..info.n_planes() {
        let stride = info.stride()[plane as usize] + 52;
        offsets.push(size);
        strides.push(stride);
        // In every format used here planes have the heights of their components.
        size += stride as usize * info.comp_height(plane as u8) as usize + 160;
    }
    let mut buffer = gst::Buffer::from_mut_slice(vec![255u8; size]);
    gst_video::VideoMeta::add_full(
        buffer.make_mut(),
        gst_video::VideoFrameFlags::empty(),
        info.format(),
        info.width(),
        info.height(),
        &offsets,
        &strides,
    )
    .unwrap();
    buffer
}

/// Adds a person's region to the frame, as a detector does. Parts outside the frame may have negative
/// coordinates.
pub fn add_person(buffer: &mut gst::Buffer, region: [i32; 4]) {
    add_region(buffer, "person", region);
}

/// Adds a region of any type to the frame.
pub fn add_region<'a>(
    buffer: &'a mut gst::Buffer,
    kind: &str,
    region: [i32; 4],
) -> gst::MetaRefMut<'a, gst_video::VideoRegionOfInterestMeta, gst::meta::Standalone> {
    let [x, y, width, height] = region.map(|number| number as u32);
    gst_video::VideoRegionOfInterestMeta::add(buffer.make_mut(), kind, (x, y, width, height))
}
