//! Where a dot is found, in every format, memory layout and fill of a batch.

use gst::prelude::*;
use gst_video::VideoFormat;
use gstrtmpose::video::cuda;

use crate::network_rig::{picture::*, *};

const SIZE: (u32, u32) = (1280, 720);
const WHOLE: [i32; 4] = [0, 0, 1280, 720];

/// A frame with one red, one green and one blue dot, inferred through one region.
struct Scene {
    name: &'static str,
    /// None: the whole frame.
    region: Option<[i32; 4]>,
    diameter: f32,
    dots: [(f32, f32); 3],
}

const SCENES: [Scene; 8] = [
    Scene {
        name: "full frame",
        region: None,
        diameter: 120.0,
        dots: [(300.3, 200.8), (700.0, 411.5), (1111.1, 600.2)],
    },
    Scene {
        name: "inside",
        region: Some([400, 100, 200, 450]),
        diameter: 30.0,
        dots: [(450.5, 222.25), (520.75, 333.3), (555.5, 470.0)],
    },
    Scene {
        name: "inside, smaller than the network",
        region: Some([901, 333, 60, 80]),
        diameter: 10.0,
        dots: [(910.4, 345.7), (940.0, 372.2), (925.9, 400.1)],
    },
    Scene {
        // The crop is 581.25 to 768.75 wide and 275 to 525 high; a padding of 1.2 would cut these dots.
        name: "in the padding of 1.25",
        region: Some([600, 300, 150, 200]),
        diameter: 7.0,
        dots: [(584.8, 400.0), (764.2, 333.3), (675.0, 520.5)],
    },
    Scene {
        name: "across the left border",
        region: Some([-150, 200, 300, 400]),
        diameter: 24.0,
        dots: [(20.6, 180.4), (100.1, 333.0), (160.9, 555.5)],
    },
    Scene {
        name: "across the corner at the bottom right",
        region: Some([1100, 500, 300, 400]),
        diameter: 24.0,
        dots: [(1090.5, 488.8), (1200.0, 600.5), (1260.2, 700.0)],
    },
    Scene {
        name: "outside, left",
        region: Some([-401, 100, 380, 500]),
        diameter: 10.0,
        dots: [(13.3, 150.2), (10.6, 350.0), (8.0, 570.7)],
    },
    Scene {
        name: "outside, above",
        region: Some([500, -303, 300, 300]),
        diameter: 10.0,
        dots: [(505.5, 40.1), (640.0, 20.3), (800.7, 9.9)],
    },
];

impl Scene {
    fn frame(&self, format: VideoFormat) -> gst::Buffer {
        let mut picture = Picture::new(SIZE.0, SIZE.1);
        if format == VideoFormat::Gray8 {
            picture = picture.dot(self.dots[0], self.diameter, WHITE);
        } else {
            for (at, colour) in self.dots.into_iter().zip([RED, GREEN, BLUE]) {
                picture = picture.dot(at, self.diameter, colour);
            }
        }
        let mut buffer = picture.frame(&video(format, SIZE.0, SIZE.1), Layout::Plain);
        if let Some(region) = self.region {
            add_person(&mut buffer, region);
        }
        buffer
    }

    fn check(&self, format: VideoFormat, people: &gstrtmpose::meta::FramePeople) {
        let region = self.region.unwrap_or(WHOLE);
        let what = format!("{}, {format}", self.name);
        assert_eq!(people.people.len(), 1, "{what}");
        for (point, dot) in self.dots.into_iter().enumerate() {
            let dot = if format == VideoFormat::Gray8 { self.dots[0] } else { dot };
            assert_found(&what, people, (0, point), dot, region, NETWORK);
            let score = people.people[0].key_points[point].score;
            assert!(score > 0.8, "{what}: score {score} of point {point}");
        }
    }
}

/// Sends every scene through one element, in batches of 1 to 8 crops.
fn every_scene_at_every_fill(format: VideoFormat) {
    let frames = SCENES.each_ref().map(|scene| (scene, scene.frame(format)));
    let mut rig = Rig::start("dots-no-conv", &format!("{NEVER} batch-size=8"));
    rig.set_video(&video(format, SIZE.0, SIZE.1));
    let mut scenes = frames.iter().cycle();
    for fill in 1..=8 {
        let batch: Vec<_> = scenes.by_ref().take(fill).collect();
        let (batches, crops) = (rig.stat("batches"), rig.stat("crops"));
        for (scene, buffer) in &batch {
            let region = if scene.region.is_some() { "roi-list" } else { "full-frame" };
            rig.element.set_property_from_str("inference-region", region);
            rig.push(buffer.clone());
        }
        rig.cut();
        for (scene, _) in &batch {
            scene.check(format, &rig.pull_people());
        }
        assert_eq!(rig.stat("batches") - batches, 1, "{format}: a batch of {fill}");
        assert_eq!(rig.stat("crops") - crops, fill as u64, "{format}: a batch of {fill}");
    }
}

#[test]
fn dots_are_found_in_rgb_formats() {
    let (rgb, _) = FORMATS.split_at(10);
    rgb.iter().copied().for_each(every_scene_at_every_fill);
}

#[test]
fn dots_are_found_in_yuv_formats_and_grey() {
    let (_, yuv) = FORMATS.split_at(10);
    yuv.iter().copied().for_each(every_scene_at_every_fill);
}

#[test]
fn what_lies_beyond_the_padding_is_not_seen() {
    let mut rig = Rig::start("dots", "batch-size=1 inference-region=roi-list");
    let info = video(VideoFormat::Rgb, SIZE.0, SIZE.1);
    rig.set_video(&info);
    // The crop of the region is 581.25 to 768.75 wide and 275 to 525 high.
    for dot in [(577.0, 400.0), (773.0, 400.0), (675.0, 270.0), (675.0, 530.0)] {
        let mut buffer = Picture::new(SIZE.0, SIZE.1).dot(dot, 6.0, WHITE).frame(&info, Layout::Plain);
        add_person(&mut buffer, [600, 300, 150, 200]);
        let score = rig.find(buffer).people[0].score();
        assert!(score < 0.01, "the dot at {dot:?} has the score {score}");
    }
}

#[test]
fn formats_are_those_of_the_pad_templates() {
    init();
    let factory = gst::ElementFactory::find("rtmposebatch").unwrap();
    for template in factory.static_pad_templates() {
        let caps = template.caps();
        assert_eq!(caps.size(), 2);
        for (index, (feature, formats)) in
            [("memory:SystemMemory", &FORMATS[..]), (cuda::FEATURE, &cuda::FORMATS[..])]
                .into_iter()
                .enumerate()
        {
            assert!(caps.features(index).unwrap().contains(feature));
            let list = caps.structure(index).unwrap().get::<gst::List>("format").unwrap();
            let mut found: Vec<_> = list.iter().map(|format| format.get::<String>().unwrap()).collect();
            let mut expected: Vec<_> = formats.iter().map(|format| format.to_str().to_string()).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
        }
    }
}

/// Odd sizes, and gaps between rows and planes: the gaps are white and must not be sampled.
#[test]
fn dots_are_found_in_odd_sizes_and_padded_frames() {
    const SIZES: [(u32, u32); 4] = [(641, 361), (322, 241), (97, 333), (65, 33)];
    for format in FORMATS {
        let mut rig = Rig::start("dots-small", "batch-size=1");
        for ((width, height), layout) in
            SIZES.into_iter().flat_map(|size| [Layout::Plain, Layout::Padded].map(|layout| (size, layout)))
        {
            let what = format!("{format} {width}x{height} {layout:?}");
            let info = video(format, width, height);
            rig.set_video(&info);
            let region = [0, 0, width as i32, height as i32];
            // Near the far corner, where a wrong stride shows most.
            let diameter = 7.0 * pixels_per_network_pixel(region, SMALL_NETWORK);
            let dot = (width as f32 - 1.0 - diameter / 2.0, height as f32 - 1.0 - diameter / 2.0);
            let picture = Picture::new(width, height).dot(dot, diameter, WHITE);
            let people = rig.find(picture.frame(&info, layout));
            assert_eq!((people.width, people.height), (width, height), "{what}");
            for point in 0..3 {
                assert_found(&what, &people, (0, point), dot, region, SMALL_NETWORK);
            }
        }
    }
}

/// White below or beside the frame, in the rest of the buffer, is not part of the picture.
#[test]
fn the_smallest_frames_go_through() {
    for format in FORMATS {
        let mut rig = Rig::start("dots-small", "batch-size=1");
        for (width, height) in [(1, 1), (2, 1), (1, 2), (3, 3)] {
            let info = video(format, width, height);
            rig.set_video(&info);
            for layout in [Layout::Plain, Layout::Padded] {
                let people = rig.find(Picture::new(width, height).frame(&info, layout));
                let score = people.people[0].score();
                assert!(score < 0.02, "{format} {width}x{height} {layout:?}: a score of {score} on black");
            }
        }
    }
}

#[test]
fn a_reduced_inference_scale_finds_the_same_dots() {
    for scene in SCENES {
        let [full, reduced] = ["1.0", "0.65"].map(|scale| {
            let region = if scene.region.is_some() { "roi-list" } else { "full-frame" };
            let properties = format!("batch-size=1 inference-scale={scale} inference-region={region}");
            let mut rig = Rig::start("dots", &properties);
            rig.set_video(&video(VideoFormat::Nv12, SIZE.0, SIZE.1));
            rig.find(scene.frame(VideoFormat::Nv12))
        });
        let allowed = pixels_per_network_pixel(scene.region.unwrap_or(WHOLE), NETWORK);
        for (a, b) in full.people[0].key_points.iter().zip(&reduced.people[0].key_points) {
            let distance = (a.x - b.x).abs().max((a.y - b.y).abs());
            assert!(distance <= allowed, "{}: {a:?} and {b:?} at 0.65", scene.name);
        }
    }
}
