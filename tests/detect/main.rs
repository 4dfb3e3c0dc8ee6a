//! `rtmposedetect` with tiny models whose correct answer is known (`tests/networks/README.md`), run by ONNX Runtime: a red,
//! a green and a blue rectangle in a frame become regions on it; blue is another class. And `rtmposebatch` with RTMO, which
//! finds all three at once.

#[path = "../network_rig/mod.rs"]
mod network_rig;

mod batches;
mod boxes;
mod chain;
mod files;
mod one_stage;

use gst_video::VideoRegionOfInterestMeta;
use network_rig::picture::{BLUE, GREEN, Picture, RED};

/// The grey between the rectangles, and beside the frame in a letterbox.
const GREY: [u8; 3] = [114; 3];

/// A red, a green and a blue rectangle in a frame of that size.
fn rectangles((width, height): (u32, u32)) -> [[i32; 4]; 3] {
    let place = |[x, y, w, h]: [f32; 4]| {
        let (width, height) = (width as f32, height as f32);
        [(x * width) as i32, (y * height) as i32, (w * width) as i32, (h * height) as i32]
    };
    [[0.05, 0.2, 0.2, 0.6], [0.4, 0.1, 0.15, 0.75], [0.65, 0.3, 0.3, 0.4]].map(place)
}

fn picture(size: (u32, u32), rectangles: &[[i32; 4]; 3]) -> Picture {
    let [red, green, blue] = *rectangles;
    Picture::filled(size.0, size.1, GREY).rectangle(red, RED).rectangle(green, GREEN).rectangle(blue, BLUE)
}

/// Regions of a frame, and the detector's confidence in each.
fn regions(buffer: &gst::BufferRef) -> Vec<([i32; 4], f64)> {
    let metas = buffer.iter_meta::<VideoRegionOfInterestMeta>();
    let region = metas.map(|meta| {
        assert_eq!(meta.roi_type(), "person");
        let (x, y, width, height) = meta.rect();
        let confidence = meta.param("detection").unwrap().get::<f64>("confidence").unwrap();
        ([x, y, width, height].map(|number| number as i32), confidence)
    });
    region.collect()
}

/// Asserts that these rectangles were found, in any order. Each edge may be off by half a pixel of the input
/// and by rounding to a pixel of the frame. `ratio` is how many pixels of the frame, across and down, are one
/// pixel of the input.
#[track_caller]
fn assert_boxes(what: &str, buffer: &gst::BufferRef, expected: &[[i32; 4]], ratio: [f32; 2]) {
    let found = regions(buffer);
    assert_eq!(found.len(), expected.len(), "{what}: {found:?} instead of {expected:?}");
    for rectangle in expected {
        let ends = |[x, y, width, height]: [i32; 4]| [x, y, x + width, y + height];
        let is_near = |(region, _): &([i32; 4], f64)| {
            let pairs = ends(*region).into_iter().zip(ends(*rectangle)).zip(ratio.into_iter().cycle());
            pairs.into_iter().all(|((a, b), ratio)| (a - b).abs() as f32 <= 0.5 * ratio + 0.55)
        };
        assert!(found.iter().any(is_near), "{what}: {rectangle:?} is not in {found:?}");
    }
    assert!(found.iter().all(|(_, confidence)| (0.8..1.1).contains(confidence)), "{what}: {found:?}");
}
