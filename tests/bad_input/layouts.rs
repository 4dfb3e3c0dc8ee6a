//! Frames whose GstVideoMeta places rows outside of their memory. GStreamer and its bindings take such a layout as it is, so
//! the elements must not: they would read and write what is not theirs.

use gst_video::VideoFormat;
use gstrtmpose::{
    meta::{self, FramePeople},
    pose::{KeyPoint, Person, Region},
};

use crate::{
    assert_clear,
    network_rig::{Rig, picture::video, process::watched, with_network},
};

const FORMAT: VideoFormat = VideoFormat::Nv12;
const SIZE: (u32, u32) = (64, 48);
/// Bytes of the luma.
const LUMA: usize = 64 * 48;

/// What is wrong, and the offsets and strides of NV12's two planes.
const LAYOUTS: [(&str, [usize; 2], [i32; 2]); 6] = [
    ("rows far apart", [0, LUMA], [1 << 22, 64]),
    ("one row too many", [64, LUMA], [64 + 64, 64]),
    ("begins too late", [0, LUMA + 64], [64, 64]),
    ("begins at the last byte", [LUMA / 2 * 3 - 1, LUMA], [64, 64]),
    ("backwards", [LUMA - 64, LUMA], [-64, 64]),
    ("chroma backwards", [0, LUMA + LUMA / 2 - 64], [64, -64]),
];

/// A frame with one person, whose drawing covers the frame.
fn frame(offsets: [usize; 2], strides: [i32; 2]) -> gst::Buffer {
    crate::network_rig::init();
    let mut frame = gst::Buffer::from_mut_slice(vec![128u8; LUMA / 2 * 3]);
    let buffer = frame.make_mut();
    let (offsets, strides) = ([offsets[0], offsets[1], 0, 0], [strides[0], strides[1], 0, 0]);
    // SAFETY: the buffer is writable, and the arrays hold as many numbers as there can be planes. (The bindings' own function
    // refuses some of these layouts.)
    unsafe {
        use gst::glib::translate::IntoGlib;
        gst_video::ffi::gst_buffer_add_video_meta_full(
            buffer.as_mut_ptr(),
            0,
            FORMAT.into_glib(),
            SIZE.0,
            SIZE.1,
            2,
            &offsets,
            &strides,
        );
    }
    let key_points = (0..17).map(|i| KeyPoint { x: 4.0 * i as f32, y: 3.0 * i as f32, score: 1.0, z: None });
    let person =
        Person { region: Region::new(0.0, 0.0, 64.0, 48.0), key_points: key_points.collect(), id: Some(1) };
    let people = FramePeople {
        source: "test".to_string(),
        width: SIZE.0,
        height: SIZE.1,
        skeleton: "coco-17".to_string(),
        points: 17,
        people: vec![person],
        carried: false,
    };
    meta::write(buffer, &people).unwrap();
    frame
}

/// Pushes a frame through an element; gives the flow and its errors.
fn push(line: &str, frame: gst::Buffer) -> (Result<gst::FlowSuccess, gst::FlowError>, Vec<String>) {
    let line = line.to_string();
    watched(&line.clone(), move || {
        let mut rig = Rig::start_bin(&line);
        rig.set_video(&video(FORMAT, SIZE.0, SIZE.1));
        let flow = rig.harness.push(frame);
        rig.cut();
        (flow, rig.errors())
    })
}

#[test]
fn the_network_gets_nothing_from_outside_of_a_frame() {
    let line = format!("{} batch-size=1", with_network("dots-small"));
    for (what, offsets, strides) in LAYOUTS {
        let (_, errors) = push(&line, frame(offsets, strides));
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        assert_clear(
            what,
            &errors[0],
            &["4608 bytes cannot be read as 64x48", "GstVideoMeta", "on-error=passthrough"],
        );
    }
}

#[test]
fn nothing_is_drawn_outside_of_a_frame() {
    for (what, offsets, strides) in LAYOUTS {
        let (flow, errors) = push("rtmposeoverlay draw-box=true", frame(offsets, strides));
        assert_eq!(flow, Err(gst::FlowError::Error), "{what}");
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        let words = ["Cannot draw on a frame", "4608 bytes cannot be read as 64x48 NV12", "GstVideoMeta"];
        assert_clear(what, &errors[0], &words);
    }
}

/// Odd layouts inside the memory: rows of chroma between rows of luma.
#[test]
fn odd_layouts_inside_the_memory_are_fine() {
    let mut odd = frame([0, 64], [96, 2 * 96]);
    odd.make_mut().replace_all_memory(gst::Memory::from_mut_slice(vec![128u8; 47 * 96 + 64 + 96]));
    for line in [format!("{} batch-size=1", with_network("dots-small")), "rtmposeoverlay".to_string()] {
        let (flow, errors) = push(&line, odd.copy());
        assert_eq!((flow, &errors[..]), (Ok(gst::FlowSuccess::Ok), &[][..]), "{line}");
    }
}
