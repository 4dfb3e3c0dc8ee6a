//! RTMO in `rtmposebatch`: the whole frame in, all people out.

use gst_video::VideoFormat;
use gstrtmpose::meta::FramePeople;

use crate::network_rig::{picture::*, *};
use crate::*;

fn frame(info: &gst_video::VideoInfo, rectangles: &[[i32; 4]; 3]) -> gst::Buffer {
    picture((info.width(), info.height()), rectangles).frame(info, Layout::Plain)
}

/// Asserts that these rectangles are the people, each with its 17 points: centre, top left corner, bottom right
/// corner, and so on.
#[track_caller]
fn assert_people(what: &str, people: &FramePeople, expected: &[[i32; 4]], allowed: f32) {
    assert_eq!(
        (people.people.len(), &*people.skeleton, people.points),
        (expected.len(), "coco-17", 17),
        "{what}"
    );
    for rectangle in expected {
        let [x, y, width, height] = rectangle.map(|number| number as f32);
        let near = |a: f32, b: f32| (a - b).abs() <= allowed;
        let person = people.people.iter().find(|person| {
            let region = person.region;
            let ends = [region.x, region.y, region.x + region.width, region.y + region.height];
            ends.into_iter().zip([x, y, x + width, y + height]).all(|(a, b)| near(a, b))
        });
        let person = person.unwrap_or_else(|| panic!("{what}: {rectangle:?} is not in {people:?}"));
        let places = [(x + width / 2.0, y + height / 2.0), (x, y), (x + width, y + height)];
        for (point, (x, y)) in person.key_points.iter().zip(places.into_iter().cycle()) {
            assert!(near(point.x, x) && near(point.y, y), "{what}: {point:?}, not {x}, {y}");
            assert!((0.8..1.1).contains(&point.score), "{what}: {point:?}");
        }
    }
}

#[test]
fn all_people_of_a_frame_are_found_at_once() {
    for batch in [1, 3, 8] {
        let mut rig = Rig::start_with("rtmo", &format!("batch-size={batch} {NEVER}"));
        for (size, aspect) in
            [((1280, 720), (1, 1)), ((720, 1280), (1, 1)), ((641, 479), (1, 1)), ((640, 480), (2, 1))]
        {
            let fields = format!(",pixel-aspect-ratio={}/{}", aspect.0, aspect.1);
            let info = video_with(VideoFormat::Rgb, size.0, size.1, &fields);
            rig.set_video(&info);
            let all = rectangles(size);
            let nobody = [[0; 4]; 3];
            for number in 0..4 {
                rig.push(frame(&info, if number == 2 { &nobody } else { &all }));
            }
            rig.cut();
            let shown = size.0 as f32 * aspect.0 as f32 / aspect.1 as f32;
            let allowed = 0.5 * (shown / 96.0).max(size.1 as f32 / 64.0) + 0.1;
            for number in 0..4 {
                let expected = if number == 2 { &[][..] } else { &all[..] };
                let people = rig.pull_people();
                assert_people(
                    &format!("batch {batch}, {size:?}, frame {number}"),
                    &people,
                    expected,
                    allowed,
                );
                assert!(
                    people.people.iter().all(|person| person.id.is_none()),
                    "ids are for who asks for them"
                );
            }
        }
        assert_eq!(rig.warnings(), [""; 0]);
    }
}

#[test]
fn formats_and_the_number_of_people_are_kept_to() {
    let size = (640, 480);
    let all = rectangles(size);
    let mut rig = Rig::start_with("rtmo", "batch-size=1");
    for format in FORMATS.into_iter().filter(|format| *format != VideoFormat::Gray8) {
        let info = video(format, size.0, size.1);
        rig.set_video(&info);
        rig.push(frame(&info, &all));
        // Chroma of half the width moves an edge by one chroma pixel.
        assert_people(&format.to_string(), &rig.pull_people(), &all, 5.4);
    }
    use gst::prelude::*;
    rig.element.set_property("max-people", 2u32);
    let info = video(VideoFormat::Rgb, size.0, size.1);
    rig.set_video(&info);
    rig.push(frame(&info, &all));
    assert_eq!(rig.pull_people().people.len(), 2);
}

/// People who pass each other keep their ids, and so does a person who is away for a moment.
#[test]
fn people_have_ids_where_they_are_asked_for() {
    let mut rig = Rig::start_with("rtmo", "batch-size=4 inference-region=track inference-interval=2");
    let info = video(VideoFormat::I420, 640, 480);
    rig.set_video(&info);
    let at = |number: i32| {
        let away = if (20..24).contains(&number) { [0; 4] } else { [250, 400, 120, 70] };
        [[40 + 6 * number, 30, 80, 120], [480 - 6 * number, 180, 70, 200], away]
    };
    const FRAMES: i32 = 60;
    (0..FRAMES).for_each(|number| rig.push(frame(&info, &at(number))));
    rig.cut();
    let mut first: Option<Vec<(usize, i64)>> = None;
    for number in 0..FRAMES {
        let people = rig.pull_people();
        assert_eq!(people.carried, number % 2 == 1);
        // For each rectangle in the frame, the id of the person at its place.
        let ids: Vec<_> = at(number - number % 2)
            .into_iter()
            .enumerate()
            .filter(|(_, [.., width, _])| *width > 0)
            .map(|(which, [x, y, width, _])| {
                let is_there = |person: &&gstrtmpose::pose::Person| {
                    let region = person.region;
                    (region.x - x as f32).abs() < 9.0
                        && (region.y - y as f32).abs() < 9.0
                        && (region.width - width as f32).abs() < 14.0
                };
                let person = people.people.iter().find(is_there);
                let person = person.unwrap_or_else(|| panic!("frame {number}: {people:?}"));
                (which, person.id.expect("people are followed"))
            })
            .collect();
        let known = first.get_or_insert_with(|| ids.clone());
        assert!(ids.iter().all(|id| known.contains(id)), "frame {number}: {ids:?}, at first {known:?}");
    }
    assert_eq!(first.unwrap().len(), 3);
}

/// RTMO returns one score, which cannot be the mean of two maxima.
#[test]
fn score_mode_mean_is_refused() {
    init();
    let line = format!(
        "rtmposebatch execution-provider=cpu score-mode=mean model-file=\"{}\"",
        network("rtmo").display()
    );
    use gst::prelude::*;
    let element = gst::parse::launch(&line).unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(gst::State::Ready).is_err());
    element.set_state(gst::State::Null).unwrap();
    let errors = messages(&bus, gst::MessageType::Error);
    assert!(errors.len() == 1 && errors[0].contains("set score-mode=min"), "{errors:?}");
}
