//! RTMW3D: a third number of each point.

use gst_video::VideoFormat;

use crate::network_rig::{picture::*, *};

/// Metres of a bin, by mmpose's formula.
fn metres(bin: f32) -> f32 {
    (bin / 288.0 - 1.0) * 2.174_486_9
}

#[test]
fn depths_come_with_the_points() {
    let mut rig = Rig::start("rtmw3d", "batch-size=2");
    let info = video(VideoFormat::Rgb, 640, 480);
    rig.set_video(&info);
    // Each channel's brightness gives its depth: 255 levels are 575 bins.
    let levels = [255u8, 128, 51];
    let dot = |picture: Picture, (channel, level): (usize, u8)| {
        let colour = std::array::from_fn(|of| if of == channel { level } else { 0 });
        picture.dot((200.0 + 100.0 * channel as f32, 240.0), 24.0, colour)
    };
    let picture = levels.into_iter().enumerate().fold(Picture::new(640, 480), dot);
    let people = rig.find(picture.frame(&info, Layout::Plain));
    assert_eq!((&*people.skeleton, people.points, people.people.len()), ("coco-wholebody-133", 133, 1));
    for (index, point) in people.people[0].key_points.iter().enumerate() {
        let level = f32::from(levels[index % 3]) / 255.0;
        let expected = metres((575.0 * level).round());
        // A grey level is 2.3 bins.
        let near = |z: f32| (z - expected).abs() < 3.0 * (metres(1.0) - metres(0.0));
        assert!(point.z.is_some_and(near), "point {index}: {point:?}, not {expected}");
        assert!((point.x - (200.0 + 100.0 * (index % 3) as f32)).abs() < 2.0, "{point:?}");
    }
    let nobody = rig.find(Picture::new(640, 480).frame(&info, Layout::Plain));
    assert!(
        nobody.people.iter().flat_map(|person| &person.key_points).all(|point| point.z == Some(metres(0.0)))
    );
}

/// Networks without depths write no depths.
#[test]
fn other_networks_have_no_depths() {
    let mut rig = Rig::start("dots", "batch-size=1");
    let info = video(VideoFormat::Rgb, 640, 480);
    rig.set_video(&info);
    let people =
        rig.find(Picture::new(640, 480).dot((320.0, 240.0), 40.0, WHITE).frame(&info, Layout::Plain));
    assert!(people.people[0].key_points.iter().all(|point| point.z.is_none()));
}
