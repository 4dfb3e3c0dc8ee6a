//! Every number of key points and every crop size of the published networks, with no property that tells them.

use gst_video::VideoFormat;
use gstrtmpose::pose::Skeleton;

use crate::network_rig::{picture::*, *};

/// Network, crop (width, height), number of key points, and the skeleton that this number selects.
const NETWORKS: [(&str, (f32, f32), usize, &str); 9] = [
    ("dots-17", (192.0, 256.0), 17, "coco-17"),
    ("dots-17-384x288", (288.0, 384.0), 17, "coco-17"),
    ("dots-17-256x256", (256.0, 256.0), 17, "coco-17"),
    ("dots-26-256x192", (192.0, 256.0), 26, "halpe-26"),
    ("dots-26-384x288", (288.0, 384.0), 26, "halpe-26"),
    ("dots-133-256x192", (192.0, 256.0), 133, "coco-wholebody-133"),
    ("dots-133-384x288", (288.0, 384.0), 133, "coco-wholebody-133"),
    ("dots-21-256x256", (256.0, 256.0), 21, "hand-21"),
    ("dots-106-256x256", (256.0, 256.0), 106, "face-106"),
];

struct Someone {
    region: [i32; 4],
    /// Red, green and blue.
    dots: [(f32, f32); 3],
}

/// One tall person, one wide, and one partly outside the frame.
const PEOPLE: [Someone; 3] = [
    Someone { region: [300, 100, 160, 450], dots: [(350.5, 150.25), (420.75, 333.3), (385.5, 500.0)] },
    Someone { region: [700, 250, 420, 150], dots: [(730.2, 290.6), (900.0, 350.4), (1090.1, 311.7)] },
    Someone { region: [-60, 500, 180, 300], dots: [(22.2, 533.3), (70.5, 600.0), (40.1, 690.9)] },
];

#[test]
fn published_networks_work_without_a_property() {
    init();
    let mut picture = Picture::new(1280, 720);
    for Someone { dots, .. } in &PEOPLE {
        for (dot, colour) in dots.iter().zip([RED, GREEN, BLUE]) {
            picture = picture.dot(*dot, 16.0, colour);
        }
    }
    let info = video(VideoFormat::Rgb, 1280, 720);
    let mut frame = picture.frame(&info, Layout::Plain);
    for Someone { region, .. } in &PEOPLE {
        add_person(&mut frame, *region);
    }
    for (name, network, points, skeleton) in NETWORKS {
        let mut rig = Rig::start(name, "batch-size=2 inference-region=roi-list");
        rig.set_video(&info);
        let found = rig.find(frame.copy());
        assert_eq!((found.skeleton.as_str(), found.points), (skeleton, points), "{name}");
        assert_eq!(Skeleton::for_points(points).map(|skeleton| skeleton.name), Some(skeleton), "{name}");
        assert_eq!(found.people.len(), PEOPLE.len(), "{name}");
        for (person, Someone { region, dots }) in PEOPLE.iter().enumerate() {
            assert_eq!(found.people[person].key_points.len(), points, "{name}");
            for point in 0..points {
                assert_found(name, &found, (person, point), dots[point % 3], *region, network);
                // A pure colour is about 1 in its channel; the chroma is not subsampled here.
                assert!(found.people[person].key_points[point].score > 0.9, "{name}: point {point}");
            }
        }
    }
}
