//! Memory for caps and metadata: at most a few times the frame's size, whatever they say.

mod network_rig;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use gstrtmpose::{
    meta::{self, FramePeople},
    pose::{KeyPoint, Person, Region},
};
use network_rig::{Rig, picture::add_person, with_network};

/// Rust's allocator, with a count of the bytes in use and of their maximum.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: all is System's; counting changes nothing of it. (`realloc` and `alloc_zeroed` call these two.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract.
        let memory = unsafe { System.alloc(layout) };
        if !memory.is_null() {
            let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
            MOST.fetch_max(live, Ordering::Relaxed);
        }
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(memory, layout) };
    }
}

/// The memory that frames of any shape may take besides their own size.
const BASE: usize = 32 << 20;

fn people(width: u32, height: u32) -> FramePeople {
    let corner =
        |share: f32| KeyPoint { x: width as f32 * share, y: height as f32 * share, score: 1.0, z: None };
    let region = Region::new(0.0, 0.0, width as f32, height as f32);
    FramePeople {
        source: "test".to_string(),
        width,
        height,
        skeleton: "coco-17".to_string(),
        points: 17,
        people: vec![Person {
            region,
            key_points: (0..17).map(|n| corner(n as f32 / 16.0)).collect(),
            id: Some(1),
        }],
        carried: false,
    }
}

#[test]
fn frames_of_any_shape_take_no_more_than_their_size() {
    network_rig::init();
    for (format, width, height, aspect) in [
        ("GRAY8", 2_000_000, 1, "1/1"),
        ("GRAY8", 1, 2_000_000, "1/1"),
        ("NV12", 500_001, 3, "1/1"),
        ("RGB", 3, 300_001, "1/1"),
        ("BGRx", 64, 48, "2147483647/1"),
        ("I420", 64, 48, "1/2147483647"),
        ("YUY2", 100_000, 2, "64/1"),
        ("RGB", 1920, 1080, "1/1"),
    ] {
        let caps = format!(
            "video/x-raw,format={format},width={width},height={height},framerate=30/1,pixel-aspect-ratio={aspect}"
        );
        let caps: gst::Caps = caps.parse().unwrap();
        let size = gst_video::VideoInfo::from_caps(&caps).unwrap().size();
        // Values of inference-region differ only in their boxes.
        let regions: &[_] = if height == 1 { &["track", "roi-list", "full-frame"] } else { &["track"] };
        for region in regions {
            let pose = with_network("dots-small").replace("inference-region=full-frame", "");
            let mut rig = Rig::start_bin(&format!(
                "{pose} batch-size=1 inference-region={region} ! rtmposeoverlay draw-box=true ! rtmposejson"
            ));
            rig.harness.set_src_caps(caps.clone());
            let before = LIVE.load(Ordering::Relaxed);
            MOST.store(before, Ordering::Relaxed);
            for _ in 0..2 {
                let mut frame = gst::Buffer::with_size(size).unwrap();
                frame.make_mut().map_writable().unwrap().fill(77);
                add_person(&mut frame, [0, 0, width, height]);
                meta::write(frame.make_mut(), &people(width as u32, height as u32)).unwrap();
                rig.push(frame);
                rig.cut();
                rig.pull();
            }
            let taken = MOST.load(Ordering::Relaxed) - before;
            assert!(taken < BASE + 8 * size, "{caps} {region}: {taken} bytes for frames of {size}");
        }
    }
}
