//! The kernels' arithmetic, compiled for the CPU by its C compiler, compared with the sampler's.

mod on_a_card;

use std::sync::LazyLock;

use gst::prelude::*;
use gst_video::VideoFormat;
use libloading::Library;

use super::{
    super::{
        ChromaSite, Colour, Colours, Component as HostComponent, Crop, Fit, FrameShape, Picture, Region,
        Sampler, Whole, YuvMatrix,
    },
    painter::{Layer, Stroke, Tiles},
    task::{Component, Grid, Layout, Task},
};
use crate::platform::nvrtc::tests::compiled;

/// The kernel that samples crops.
fn crop() -> libloading::Symbol<'static, unsafe extern "C" fn(*const Task, *mut u8)> {
    static LIBRARY: LazyLock<Library> = LazyLock::new(|| compiled("src/video/cuda/crop.cu"));
    // SAFETY: the file declares it so.
    unsafe { LIBRARY.get(c"crop") }.unwrap()
}

/// Draws on bytes in host memory as the kernel does in GPU memory.
pub(crate) fn draw_on_the_host(bytes: &mut [u8], layers: &[Layer], strokes: &[Stroke]) {
    type Draw = unsafe extern "C" fn(*const Layer, *const Stroke, *const [i32; 4], i32, *const u32);
    let library = compiled("src/video/cuda/draw.cu");
    // SAFETY: the file declares it so.
    let draw: libloading::Symbol<Draw> = unsafe { library.get(c"draw") }.unwrap();
    for layer in layers {
        let mut layer = *layer;
        layer.data.iter_mut().for_each(|at| *at += bytes.as_mut_ptr().addr() as u64);
        let (tiles, list) = Tiles::of(&layer, strokes).told();
        // SAFETY: the layer lies in the bytes, and the lists are those of the strokes.
        unsafe {
            draw(&layer, strokes.as_ptr(), tiles.as_ptr(), tiles.len() as i32, list.as_ptr());
        }
    }
}

/// A picture's planes: bytes that change from sample to sample.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 56) as u8
    };
    (0..len).map(next).collect()
}

/// The same picture for the kernel.
fn layout(picture: &Picture) -> Layout {
    let component = |of: &HostComponent| Component {
        data: of.data.as_ptr().addr() as u64,
        row_stride: of.row_stride as i32,
        pixel_stride: of.pixel_stride as i32,
        width: of.width as i32,
        height: of.height as i32,
    };
    Layout {
        components: [0, 1, 2].map(|index| component(&picture.components[index])),
        width: picture.width as i32,
        height: picture.height as i32,
        sample_bytes: 1,
        colour: picture.colour,
        chroma_site: picture.chroma_site,
    }
}

fn component(data: &[u8], row_stride: usize, pixel_stride: usize, size: [usize; 2]) -> HostComponent<'_> {
    HostComponent { data, row_stride, pixel_stride, width: size[0], height: size[1] }
}

/// Crops inside, over each border, far away, tiny, and larger than the frame.
fn crops(width: f32, height: f32, network: [u32; 2]) -> Vec<Crop> {
    let regions = [
        Region::new(width * 0.3, height * 0.2, width * 0.25, height * 0.5),
        Region::new(-width * 0.2, height * 0.6, width * 0.5, height * 0.7),
        Region::new(width * 0.9, -height * 0.1, width * 0.3, height * 0.3),
        Region::new(0.0, 0.0, width, height),
        Region::new(-width, -height, width * 3.0, height * 3.0),
        Region::new(width * 0.5, height * 0.5, 1.5, 2.5),
        Region::new(width * 5.0, 0.0, width, height),
    ];
    regions.iter().map(|region| Crop::new(region, network[0], network[1]).unwrap()).collect()
}

/// A picture, its bytes, the sampler's form of it, and the kernel's.
type Check<'a> = dyn FnMut(&Picture, &[&[u8]], &[u8], &dyn Fn(&Layout) -> Task) + 'a;

/// Pictures of all colours, fitted whole into a network's input, and crops of them at all scales.
fn for_each_crop(mut check: impl FnMut(&Picture, &[&[u8]], &[u8], &dyn Fn(&Layout) -> Task)) {
    let check: &mut Check = &mut check;
    let network = [48, 64];
    for (width, height) in [(160usize, 90usize), (61, 43), (2, 1)] {
        let (across, down) = (width.div_ceil(2), height.div_ceil(2));
        let (stride, half) = (width + 7, across * 2 + 6);
        let (luma, chroma) = (noise(stride * height, 1), noise(half * down, 2));
        let packed = noise((width * 4 + 12) * height, 3);
        let yuv = [
            component(&luma, stride, 1, [width, height]),
            component(&chroma, half, 2, [across, down]),
            component(&chroma[1..], half, 2, [across, down]),
        ];
        let rgb = |order: [usize; 3]| {
            order.map(|offset| component(&packed[offset..], width * 4 + 12, 4, [width, height]))
        };
        let matrices = [YuvMatrix::bt709(false), YuvMatrix::bt601(true), YuvMatrix::bt2020(false)];
        let sites = [ChromaSite::MPEG2, ChromaSite::JPEG, ChromaSite::COSITED];
        let pictures = matrices
            .iter()
            .zip(sites)
            .map(|(matrix, site)| (yuv, Colour::Yuv(*matrix), site))
            .chain([
                (rgb([0, 1, 2]), Colour::Rgb, ChromaSite::MPEG2),
                (rgb([2, 1, 0]), Colour::LimitedRgb, ChromaSite::MPEG2),
                (yuv, Colour::Gray, ChromaSite::MPEG2),
            ])
            .map(|(components, colour, chroma_site)| Picture {
                width,
                height,
                components,
                colour,
                chroma_site,
            });
        let planes = [&luma[..], &chroma[..], &packed[..]];
        for picture in pictures {
            let mut expected = vec![1; 48 * 64 * 3];
            for fit in [Fit::Letterbox, Fit::Stretch] {
                let shape = FrameShape::new(width as u32, height as u32, (1, 1));
                let whole = Whole::new(fit, shape, network[0], network[1]).unwrap();
                Sampler::new(network[0], network[1], 1.0).sample_whole(&picture, &whole, &mut expected);
                check(&picture, &planes, &expected, &|layout| Task::whole(layout, &whole, [48, 64]));
            }
            for scale in [1.0, 0.65, 0.1] {
                let mut sampler = Sampler::new(network[0], network[1], scale);
                for region in crops(width as f32, height as f32, network) {
                    sampler.sample(&picture, &region, &mut expected);
                    let sides = network.map(|side| side as i32);
                    check(&picture, &planes, &expected, &|layout| Task::new(layout, &region, sides, scale));
                }
            }
        }
    }
}

#[test]
fn the_crop_kernel_samples_as_the_processor_does() {
    let crop = crop();
    let mut compared = 0;
    for_each_crop(|picture, _, expected, task| {
        let mut batch = vec![2; 48 * 64 * 3 * 2];
        let task = task(&layout(picture)).for_row(1);
        // SAFETY: the picture lives, and the batch has two rows.
        unsafe { crop(&task, batch.as_mut_ptr()) };
        let (before, found) = batch.split_at(48 * 64 * 3);
        assert!(before.iter().all(|value| *value == 2), "another row is left alone");
        assert!(found == expected, "{}x{} {:?} {task:?}", picture.width, picture.height, picture.colour);
        compared += 1;
    });
    assert_eq!(compared, 3 * 6 * (2 + 3 * 7));
}

/// Ten bits in the upper bits of two bytes: the same picture, and values between two levels of 8 bits.
#[test]
fn samples_of_two_bytes_are_as_fine_as_they_are() {
    let crop = crop();
    let (width, height) = (160, 90);
    let (luma, chroma) = (noise(width * height, 1), noise(width * height / 2, 2));
    let sampled = |luma: &[u8], chroma: &[u8], bytes: usize| {
        let part = |data: &[u8], pixels: usize, [across, down]: [usize; 2], offset: usize| Component {
            data: data[offset..].as_ptr().addr() as u64,
            row_stride: (width * bytes) as i32,
            pixel_stride: (pixels * bytes) as i32,
            width: across as i32,
            height: down as i32,
        };
        let half = [width / 2, height / 2];
        let layout = Layout {
            components: [
                part(luma, 1, [width, height], 0),
                part(chroma, 2, half, 0),
                part(chroma, 2, half, bytes),
            ],
            width: width as i32,
            height: height as i32,
            sample_bytes: bytes as i32,
            colour: Colour::Yuv(YuvMatrix::bt709(true)),
            chroma_site: ChromaSite::MPEG2,
        };
        let region = Crop::new(&Region::new(20.0, 10.0, 60.0, 70.0), 48, 64).unwrap();
        let mut batch = vec![0; 48 * 64 * 3];
        // SAFETY: planes and batch live.
        unsafe { crop(&Task::new(&layout, &region, [48, 64], 1.0), batch.as_mut_ptr()) };
        batch
    };
    let wide = |samples: &[u8], low: u8| samples.iter().flat_map(|sample| [low, *sample]).collect::<Vec<_>>();
    let plain = sampled(&luma, &chroma, 1);
    assert!(plain == sampled(&wide(&luma, 0), &wide(&chroma, 0), 2));
    // Half a level more, everywhere.
    let half = sampled(&wide(&luma, 0x80), &wide(&chroma, 0), 2);
    let higher = plain.iter().zip(&half).filter(|(plain, half)| half > plain).count();
    assert!(plain.iter().zip(&half).all(|(plain, half)| half.abs_diff(*plain) <= 1));
    assert!((plain.len() / 4..plain.len() * 3 / 4).contains(&higher), "{higher} of {}", plain.len());
}

#[test]
fn the_glimpse_kernel_sees_what_the_processor_does() {
    let library = compiled("src/video/cuda/glimpse.cu");
    // SAFETY: the file declares it so.
    let glimpse: libloading::Symbol<unsafe extern "C" fn(*const Grid, *mut u8)> =
        unsafe { library.get(c"glimpse") }.unwrap();
    for (width, height) in [(160, 90), (61, 43), (3, 2)] {
        let packed = noise(width * 4 * height, 3);
        let rgb = [0, 1, 2].map(|offset| component(&packed[offset..], width * 4, 4, [width, height]));
        for colour in [Colour::Rgb, Colour::Yuv(YuvMatrix::bt709(false))] {
            let picture =
                Picture { width, height, components: rgb, colour, chroma_site: ChromaSite::default() };
            let (columns, rows) = (64, 36);
            let mut cells = vec![0; columns * rows];
            let grid = Grid::new(&layout(&picture), [columns as i32, rows as i32], 2);
            // SAFETY: the picture lives, and there is room for the cells.
            unsafe { glimpse(&grid, cells.as_mut_ptr()) };
            assert_eq!(cells, picture.brightness(columns, rows, 2));
        }
    }
}

/// GStreamer's own frames of a picture in every format for GPU memory: the same crops.
#[test]
fn gstreamers_formats_are_laid_out_as_the_kernel_reads_them() {
    gst::init().unwrap();
    let crop = crop();
    let sampled = |format: VideoFormat| {
        let line = format!(
            "filesrc location=docs/demo.jpg ! jpegdec ! videoconvertscale ! \
             video/x-raw,format={},width=642,height=362 ! appsink name=sink",
            format.to_str()
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let sample = sink.pull_sample().unwrap();
        pipeline.set_state(gst::State::Null).unwrap();
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        let buffer = sample.buffer().unwrap();
        let map = buffer.map_readable().unwrap();
        let mut layout = super::frame::layout(buffer, &info, &Colours::of(&info), map.len() as u64)
            .expect("it lies in its memory");
        layout.components.iter_mut().for_each(|component| component.data += map.as_ptr().addr() as u64);
        let region = Crop::new(&Region::new(100.0, 20.0, 300.0, 320.0), 48, 64).unwrap();
        let mut batch = vec![0; 48 * 64 * 3];
        // SAFETY: the frame is mapped, and the batch has a row.
        unsafe { crop(&Task::new(&layout, &region, [48, 64], 1.0), batch.as_mut_ptr()) };
        batch
    };
    let expected = sampled(VideoFormat::Nv12);
    for format in super::FORMATS {
        let found = sampled(format);
        let apart: u32 = expected.iter().zip(&found).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = apart as f32 / expected.len() as f32;
        assert!(mean < 2.5, "{format}: {mean} grey levels");
    }
}
