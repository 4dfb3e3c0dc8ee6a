//! The metadata: what is written can be read, by our reader and field by field; wrong content is refused; GStreamer's own
//! elements pass it on.

#[path = "support/patience.rs"]
mod patience;

use gst::glib;
use gst::meta::CustomMeta;
use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;
use gstrtmpose::meta::{self, FrameDetections, FramePeople, MetaError, PersonRegion};
use gstrtmpose::pose::{KeyPoint, Person, Region};

fn init() {
    gst::init().unwrap();
    meta::init();
}

fn person(x: f32, points: usize, id: Option<i64>) -> Person {
    let key_points = (0..points)
        .map(|i| KeyPoint { x: x + i as f32, y: 2.0 * i as f32, score: 0.25 * i as f32, z: None })
        .collect();
    Person { region: Region::new(x, -8.0, 64.0, 128.0), key_points, id }
}

/// The frame's size is one whose fractions float32 holds exactly.
fn frame_people(people: Vec<Person>, points: usize) -> FramePeople {
    FramePeople {
        source: "pose0".into(),
        width: 512,
        height: 256,
        skeleton: format!("custom-{points}"),
        points,
        people,
        carried: false,
    }
}

fn read_all(buffer: &gst::BufferRef) -> Vec<FramePeople> {
    meta::read(buffer).collect::<Result<_, _>>().unwrap()
}

#[test]
fn people_are_read_as_written() {
    init();
    let mut nan = person(16.0, 5, None);
    nan.key_points[2] = KeyPoint { x: f32::INFINITY, y: -1e30, score: -0.5, z: None };
    for (people, points) in [
        (vec![], 17),
        (vec![person(3.0, 5, Some(7)), nan], 5),
        (vec![person(0.0, 133, Some(i64::MAX)); 40], 133),
        (vec![person(0.0, 0, None)], 0),
    ] {
        for carried in [false, true] {
            let written = FramePeople { carried, ..frame_people(people.clone(), points) };
            let mut buffer = gst::Buffer::new();
            meta::write(buffer.get_mut().unwrap(), &written).unwrap();
            assert_eq!(read_all(&buffer), [written]);
        }
    }
}

#[test]
fn not_a_number_keeps_its_place() {
    init();
    let mut lost = person(0.0, 3, None);
    lost.key_points[1].x = f32::NAN;
    let mut buffer = gst::Buffer::new();
    meta::write(buffer.get_mut().unwrap(), &frame_people(vec![lost], 3)).unwrap();
    let read = read_all(&buffer);
    let points = &read[0].people[0].key_points;
    assert!(points[1].x.is_nan());
    assert_eq!(points[2], KeyPoint { x: 2.0, y: 4.0, score: 0.5, z: None });
}

/// Checks every field as other languages read it.
#[test]
fn fields_keep_the_contract() {
    init();
    let mut buffer = gst::Buffer::new();
    meta::write(
        buffer.get_mut().unwrap(),
        &frame_people(vec![person(128.0, 2, None), person(0.0, 2, Some(5))], 2),
    )
    .unwrap();
    let meta = CustomMeta::from_buffer(&buffer, "RtmPoseMeta").unwrap();
    let structure = meta.structure();
    assert_eq!(structure.name(), "RtmPoseMeta");
    for (name, value) in [("version", 1), ("width", 512), ("height", 256), ("people", 2), ("points", 2)] {
        assert_eq!(structure.get::<u32>(name), Ok(value), "{name}");
    }
    assert_eq!(structure.get::<&str>("source"), Ok("pose0"));
    assert_eq!(structure.get::<&str>("skeleton"), Ok("custom-2"));
    assert!(!structure.has_field("carried"));
    let floats = |name| -> Vec<f32> {
        let bytes = structure.get::<glib::Bytes>(name).unwrap();
        bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    };
    assert_eq!(
        floats("keypoints"),
        [0.25, 0.0, 0.0, 129.0 / 512.0, 2.0 / 256.0, 0.25, 0.0, 0.0, 0.0, 1.0 / 512.0, 2.0 / 256.0, 0.25]
    );
    assert_eq!(floats("boxes"), [0.25, -8.0 / 256.0, 0.125, 0.5, 0.0, -8.0 / 256.0, 0.125, 0.5]);
    assert_eq!(floats("scores"), [0.125, 0.125]);
    let ids = structure.get::<glib::Bytes>("ids").unwrap();
    assert_eq!(ids[..], [(-1i64).to_le_bytes(), 5i64.to_le_bytes()].concat());
}

/// `docs/metadata.md` has a row for each field, with the version that it first appeared in, and for no other.
#[test]
fn the_documents_tell_every_field_and_since_when() {
    init();
    let mut frame = frame_people(vec![person(0.0, 2, None)], 2);
    frame.people[0].key_points[0].z = Some(1.0);
    frame.carried = true;
    let mut buffer = gst::Buffer::new();
    meta::write(buffer.get_mut().unwrap(), &frame).unwrap();
    let detections = FrameDetections { source: "detect0".to_string(), people: Vec::new() };
    meta::write_detections(buffer.get_mut().unwrap(), &detections).unwrap();
    let page = include_str!("../docs/metadata.md");
    let changes = include_str!("../CHANGELOG.md");
    for (section, name) in
        [("# Reading the metadata", meta::NAME), ("## What rtmposedetect writes", "RtmPoseDetectMeta")]
    {
        let (_, section) = page.split_once(section).unwrap();
        let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
        let mut documented: Vec<_> = rows
            .flat_map(|row| {
                let cells: Vec<_> = row.split('|').collect();
                let since = cells[3].trim();
                assert!(changes.contains(&format!("## [{since}]")), "no version {since}: {row}");
                cells[1].split('`').skip(1).step_by(2)
            })
            .collect();
        let meta = CustomMeta::from_buffer(&buffer, name).unwrap();
        let mut fields: Vec<_> = meta.structure().fields().map(|field| field.to_string()).collect();
        documented.sort_unstable();
        fields.sort_unstable();
        assert_eq!(documented, fields, "{name}");
    }
}

#[test]
fn two_elements_add_one_each() {
    init();
    let mut buffer = gst::Buffer::new();
    let first = frame_people(vec![person(1.0, 2, None)], 2);
    let second = FramePeople { source: "pose1".into(), ..frame_people(vec![], 17) };
    for people in [&first, &second] {
        meta::write(buffer.get_mut().unwrap(), people).unwrap();
    }
    assert_eq!(read_all(&buffer), [first, second]);
}

#[test]
fn what_cannot_be_written_adds_nothing() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    let no_width = FramePeople { width: 0, ..frame_people(vec![], 2) };
    assert_eq!(meta::write(buffer, &no_width), Err(MetaError::FrameSize { width: 0, height: 256 }));
    let short = frame_people(vec![person(0.0, 3, None), person(0.0, 2, None)], 3);
    assert_eq!(meta::write(buffer, &short), Err(MetaError::KeyPoints { person: 1, expected: 3, found: 2 }));
    assert_eq!(meta::read(buffer).count(), 0);
}

#[test]
fn malformed_metas_are_refused() {
    init();
    let refused = |change: &dyn Fn(&mut gst::StructureRef)| {
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.get_mut().unwrap();
        let people = frame_people(vec![person(0.0, 2, None), person(9.0, 2, None)], 2);
        meta::write(buffer, &people).unwrap();
        change(CustomMeta::from_mut_buffer(buffer, meta::NAME).unwrap().mut_structure());
        // The reader still reads the next meta.
        meta::write(buffer, &people).unwrap();
        let mut read = meta::read(buffer);
        let error = read.next().unwrap().expect_err("accepted");
        assert_eq!(read.next(), Some(Ok(people)));
        error.to_string()
    };
    for name in [
        "version",
        "source",
        "width",
        "height",
        "skeleton",
        "people",
        "points",
        "keypoints",
        "boxes",
        "scores",
        "ids",
    ] {
        for error in [
            refused(&|s| s.remove_field(name)),
            refused(&|s| s.set(name, 1.5f64)),
            refused(&|s| s.set(name, None::<&str>)),
            refused(&|s| s.set(name, -1i32)),
        ] {
            assert!(error.starts_with(&format!("field '{name}' is missing or not of type")), "{error}");
        }
    }
    for name in ["keypoints", "boxes", "scores", "ids"] {
        for length in [0, 1, 47, 49, 1000] {
            let error = refused(&|s| s.set(name, glib::Bytes::from_owned(vec![0u8; length])));
            assert!(error.starts_with(&format!("field '{name}' has {length} bytes, expected")), "{error}");
        }
    }
    for (name, value) in [
        ("people", u32::MAX),
        ("people", 0),
        ("people", 3),
        ("points", u32::MAX),
        ("points", 0),
        ("width", 0),
        ("height", 0),
        ("version", 0),
    ] {
        refused(&|s| s.set(name, value));
    }
    // The largest counts, without the bytes for them.
    let error = refused(&|s| {
        s.set("people", u32::MAX);
        s.set("points", u32::MAX);
    });
    let expected = 12 * u128::from(u32::MAX).pow(2);
    assert_eq!(error, format!("field 'keypoints' has 48 bytes, expected {expected}"));
    refused(&|s| {
        s.set("people", u32::MAX);
        s.set("points", 0u32);
        s.set("keypoints", glib::Bytes::from_static(b""));
    });
    refused(&|s| s.set("carried", 1u32));
}

#[test]
fn later_versions_are_read_by_the_fields_of_this_one() {
    init();
    let people = frame_people(vec![person(0.0, 2, None)], 2);
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    meta::write(buffer, &people).unwrap();
    let mut meta = CustomMeta::from_mut_buffer(buffer, meta::NAME).unwrap();
    meta.mut_structure().set("version", 2u32);
    meta.mut_structure().set("hands", "new");
    assert_eq!(read_all(buffer), [people]);
}

#[test]
fn scaling_keeps_the_place_in_the_frame() {
    let mut people = frame_people(vec![person(16.0, 2, Some(1))], 2);
    people.scale_to(1024, 64);
    assert_eq!((people.width, people.height), (1024, 64));
    assert_eq!(people.people[0].region, Region::new(32.0, -2.0, 128.0, 32.0));
    assert_eq!(people.people[0].key_points[1], KeyPoint { x: 34.0, y: 0.5, score: 0.25, z: None });
}

#[test]
fn conversion_scaling_and_queues_carry_the_meta() {
    init();
    let pipeline = gst::parse::launch(
        "appsrc name=src format=time caps=video/x-raw,format=I420,width=512,height=256,framerate=30/1 ! queue \
         ! videoconvert ! video/x-raw,format=RGBA ! videoscale ! video/x-raw,width=320,height=240 ! queue \
         ! appsink name=sink sync=false",
    )
    .unwrap()
    .downcast::<gst::Pipeline>()
    .unwrap();
    let source = pipeline.by_name("src").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();

    let first = frame_people(vec![person(100.0, 17, Some(3))], 17);
    let second = FramePeople { source: "pose1".into(), ..first.clone() };
    let mut buffer = gst::Buffer::with_size(512 * 256 * 3 / 2).unwrap();
    {
        let buffer = buffer.get_mut().unwrap();
        buffer.set_pts(gst::ClockTime::ZERO);
        meta::write(buffer, &first).unwrap();
        meta::write(buffer, &second).unwrap();
    }
    source.push_buffer(buffer).unwrap();
    source.end_of_stream().unwrap();
    let sample = patience::wait(patience::WATCHDOG, |time| {
        sink.try_pull_sample(gst::ClockTime::try_from(time).unwrap())
    })
    .expect("no frame came out");
    assert_eq!(read_all(sample.buffer().unwrap()), [first, second]);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn registering_from_many_threads_is_one_registration() {
    gst::init().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut buffer = gst::Buffer::new();
                meta::write(buffer.get_mut().unwrap(), &frame_people(vec![], 17)).unwrap();
                assert_eq!(read_all(&buffer).len(), 1);
            });
        }
    });
}

#[test]
fn persons_of_a_detector_are_regions() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    assert_eq!(meta::person_regions(buffer, &["person"]), None);

    VideoRegionOfInterestMeta::add(buffer, "face", (0, 0, 5, 5));
    assert_eq!(meta::person_regions(buffer, &["person"]), None);

    VideoRegionOfInterestMeta::add(buffer, "person", (1, 2, 3, 4));
    VideoRegionOfInterestMeta::add(buffer, "Person", (u32::MAX - 9, 20, 30, 40)).set_id(12);
    VideoRegionOfInterestMeta::add(buffer, "PERSON", (0, 0, 0, 0)).set_id(-1);
    {
        // A region like DL Streamer's: detected and tracked.
        let mut tracked = VideoRegionOfInterestMeta::add(buffer, "person", (0, 0, 8, 8));
        tracked.set_id(4711);
        tracked.add_param(gst::Structure::builder("detection").field("confidence", 0.5f64).build());
        tracked.add_param(gst::Structure::builder("object_id").field("id", 3i32).build());
    }
    {
        // A region like DL Streamer's: detected only.
        let mut detected = VideoRegionOfInterestMeta::add(buffer, "person", (0, 0, 9, 9));
        detected.set_id(4712);
        detected.add_param(gst::Structure::builder("detection").build());
    }
    {
        let mut broken = VideoRegionOfInterestMeta::add(buffer, "person", (0, 0, 7, 7));
        broken.add_param(gst::Structure::builder("object_id").field("id", "three").build());
    }
    let region = |x, y, width, height, id| {
        let confidence = (width == 8.0).then_some(0.5);
        // This number may be a person's id, or the box's own number.
        let number = (width == 9.0).then_some(4712);
        PersonRegion { region: Region::new(x, y, width, height), id, number, confidence }
    };
    assert_eq!(
        meta::person_regions(buffer, &["person"]).unwrap(),
        [
            region(1.0, 2.0, 3.0, 4.0, None),
            region(-10.0, 20.0, 30.0, 40.0, Some(12)),
            region(0.0, 0.0, 0.0, 0.0, None),
            region(0.0, 0.0, 8.0, 8.0, Some(3)),
            region(0.0, 0.0, 9.0, 9.0, None),
            region(0.0, 0.0, 7.0, 7.0, None),
        ]
    );
}

#[test]
fn regions_of_no_readable_type_are_nobody() {
    init();
    let mut buffer = gst::Buffer::new();
    let buffer = buffer.get_mut().unwrap();
    // SAFETY: the buffer is writable and the string ends with 0; only C code can make such types.
    unsafe {
        for kind in [0, glib::ffi::g_quark_from_string(c"per\xffson".as_ptr())] {
            gst_video::ffi::gst_buffer_add_video_region_of_interest_meta_id(
                buffer.as_mut_ptr(),
                kind,
                1,
                2,
                3,
                4,
            );
        }
    }
    assert_eq!(meta::person_regions(buffer, &["person"]), None);
}

/// Depths come back as they were written. Without depths the field is missing.
#[test]
fn depths_survive() {
    init();
    let mut frame = frame_people(vec![person(0.0, 2, None), person(8.0, 2, None)], 2);
    let field = |buffer: &gst::BufferRef| {
        let meta = CustomMeta::from_buffer(buffer, meta::NAME).unwrap();
        meta.structure().has_field("keypoints-z")
    };
    let mut buffer = gst::Buffer::new();
    meta::write(buffer.get_mut().unwrap(), &frame).unwrap();
    assert!(!field(&buffer));
    frame.people[1].key_points[0].z = Some(-0.75);
    let mut buffer = gst::Buffer::new();
    meta::write(buffer.get_mut().unwrap(), &frame).unwrap();
    assert!(field(&buffer));
    let read = meta::read(&buffer).next().unwrap().unwrap();
    let depths: Vec<_> = read.people.iter().map(|person| person.key_points[0].z).collect();
    assert_eq!(depths, [None, Some(-0.75)]);
}
