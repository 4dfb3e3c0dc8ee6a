//! Many frames through one element: each comes out in its place with its own points, also across changes of the caps.

use gst_video::VideoFormat;

use crate::network_rig::{picture::*, *};

/// A dot's place, which differs in every frame.
fn moving(frame: usize, width: u32, height: u32) -> (f32, f32) {
    let turn = |step: usize, size: u32| {
        let margin = size as f32 * 0.1;
        margin + ((frame * step) % 101) as f32 / 100.0 * (size as f32 - 2.0 * margin)
    };
    (turn(37, width), turn(53, height))
}

fn moving_dot(frame: usize, info: &gst_video::VideoInfo) -> gst::Buffer {
    let (width, height) = (info.width(), info.height());
    let diameter = 7.0 * pixels_per_network_pixel([0, 0, width as i32, height as i32], SMALL_NETWORK);
    Picture::new(width, height).dot(moving(frame, width, height), diameter, WHITE).frame(info, Layout::Plain)
}

#[track_caller]
fn check_moving_dot(what: &str, frame: usize, buffer: &gst::Buffer, (width, height): (u32, u32)) {
    let what = format!("{what}, frame {frame}");
    assert_eq!(buffer.pts(), Some(gst::ClockTime::from_mseconds(frame as u64)), "{what}");
    let people = people_of(buffer);
    assert_eq!((people.width, people.height), (width, height), "{what}");
    let region = [0, 0, width as i32, height as i32];
    assert_found(&what, &people, (0, 0), moving(frame, width, height), region, SMALL_NETWORK);
}

#[test]
fn each_frame_has_its_own_points() {
    const SIZE: (u32, u32) = (160, 120);
    let info = video(VideoFormat::Gray8, SIZE.0, SIZE.1);
    let frames: Vec<_> = (0..200).map(|frame| moving_dot(frame, &info)).collect();
    for batch_size in [1, 3, 8, 64] {
        let mut rig = Rig::start("dots-small", &format!("batch-size={batch_size}"));
        rig.set_video(&info);
        frames.iter().for_each(|frame| rig.push(frame.clone()));
        assert!(rig.harness.push_event(gst::event::Eos::new()));
        for frame in 0..frames.len() {
            check_moving_dot(&format!("batch-size {batch_size}"), frame, &rig.pull(), SIZE);
        }
        assert!(rig.harness.pull_until_eos().unwrap().is_none(), "more frames came out than went in");
        assert_eq!(rig.stat("crops"), 200);
    }
}

/// Frames of both caps share batches. Each frame is sampled with its own caps.
#[test]
fn caps_change_between_frames_of_a_batch() {
    let videos = [
        video(VideoFormat::Nv12, 320, 240),
        video(VideoFormat::Bgrx, 177, 301),
        video(VideoFormat::I420, 177, 301),
        video_with(VideoFormat::Yuy2, 641, 397, ",colorimetry=bt709"),
    ];
    let mut rig = Rig::start("dots-small", &format!("{NEVER} batch-size=8"));
    let mut expected = Vec::new();
    for frame in 0..32 {
        // Caps change after every 3 frames, so that changes fall everywhere in the batches.
        let info = &videos[frame / 3 % videos.len()];
        if frame % 3 == 0 {
            rig.set_video(info);
        }
        rig.push(moving_dot(frame, info));
        expected.push(info);
    }
    rig.cut();
    assert_eq!(rig.stat("batches"), 4);
    for (frame, info) in expected.iter().enumerate() {
        let size = (info.width(), info.height());
        check_moving_dot(&format!("{} {size:?}", info.format()), frame, &rig.pull(), size);
    }
    let mut caps = Vec::new();
    while let Some(event) = rig.harness.try_pull_event() {
        if let gst::EventView::Caps(event) = event.view() {
            caps.push(gst_video::VideoInfo::from_caps(event.caps()).unwrap());
        }
    }
    let changes: Vec<_> = expected.iter().step_by(3).map(|info| (info.format(), info.size())).collect();
    assert_eq!(caps.iter().map(|info| (info.format(), info.size())).collect::<Vec<_>>(), changes);
}

/// Repeated frames are flagged GAP. A frame without people between two frames with people would make the
/// drawing blink.
#[test]
fn copies_by_videorate_are_looked_at() {
    let info = video(VideoFormat::Gray8, 160, 120);
    let mut rig = Rig::start_bin(&format!(
        "videorate ! video/x-raw,framerate=60/1 ! {} batch-size=1",
        with_network("dots-small")
    ));
    rig.set_video(&info);
    for frame in 0..10u64 {
        let mut buffer = moving_dot(frame as usize, &info);
        let made = buffer.make_mut();
        made.set_pts(gst::ClockTime::SECOND * frame / 30);
        made.set_duration(gst::ClockTime::SECOND / 30);
        rig.harness.push(buffer).unwrap();
    }
    rig.harness.push_event(gst::event::Eos::new());
    let (mut frames, mut copies, mut last) = (0, 0, None);
    while let Some(buffer) = rig.harness.pull_until_eos().unwrap() {
        let people = Some(people_of(&buffer).people);
        if buffer.flags().contains(gst::BufferFlags::GAP) {
            assert_eq!(people, last, "frame {frames} is a copy of the one before");
            copies += 1;
        }
        (frames, last) = (frames + 1, people);
    }
    assert!(frames >= 19 && copies >= 9, "{copies} of {frames} frames are copies");
}

/// Two networks in series: each adds its own metadata and keeps the other's.
#[test]
fn two_elements_in_series_both_leave_their_metadata() {
    let mut rig = Rig::start_bin(&format!(
        "{} name=first batch-size=4 ! {} name=second batch-size=3",
        with_network("dots-small"),
        with_network("dots-17")
    ));
    let info = video(VideoFormat::Rgb, 320, 240);
    rig.set_video(&info);
    (0..10).for_each(|frame| rig.push(moving_dot(frame, &info)));
    rig.harness.push_event(gst::event::Eos::new());
    for frame in 0..10 {
        let buffer = rig.pull();
        let metas: Vec<_> = gstrtmpose::meta::read(&buffer).map(Result::unwrap).collect();
        let told: Vec<_> = metas.iter().map(|people| (&*people.source, &*people.skeleton)).collect();
        assert_eq!(told, [("first", "custom-3"), ("second", "coco-17")]);
        for (people, network) in metas.iter().zip([SMALL_NETWORK, NETWORK]) {
            let dot = moving(frame, 320, 240);
            assert_found(&people.source, people, (0, 0), dot, [0, 0, 320, 240], network);
        }
    }
}

/// The frames leave as they came: the same memory with the same bytes.
#[test]
fn frames_go_on_unchanged() {
    let info = video(VideoFormat::I420, 64, 48);
    let mut rig = Rig::start("dots-small", "batch-size=1");
    rig.set_video(&info);
    let sent = moving_dot(3, &info);
    let (before, memory) = (sent.map_readable().unwrap().to_vec(), sent.peek_memory(0).as_ptr());
    rig.push(sent);
    let received = rig.pull();
    assert_eq!(received.map_readable().unwrap().as_slice(), before);
    assert_eq!(received.peek_memory(0).as_ptr(), memory, "the pixels were copied");
}
