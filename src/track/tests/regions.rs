//! Boxes from upstream that come and go.

use super::*;

fn region(person: Someone) -> (Region, Option<i64>) {
    let Someone { x, y, height, .. } = person;
    (Region::new(x - 0.2 * height, y - 0.5 * height, 0.4 * height, height), None)
}

/// A box from a detector that is never quite certain.
fn jittered(person: Someone, frame: usize) -> (Region, Option<i64>) {
    let noise = |n: usize| ((frame * 37 + n * 101) % 17) as f32 / 17.0 - 0.5;
    let (Region { x, y, width, height }, id) = region(person);
    let grown = 1.0 + 0.3 * noise(2);
    let moved = |at: f32, side: f32, n: usize| at + 0.2 * side * noise(n) - side * (grown - 1.0) / 2.0;
    (Region::new(moved(x, width, 0), moved(y, height, 1), width * grown, height * grown), id)
}

#[test]
fn a_detector_that_misses_somebody_for_a_while_changes_no_id() {
    for gap in 1..=10 {
        for jitter in [false, true] {
            let mut stage = Stage::new(1);
            let at = |frame: usize| {
                [someone(300.0 + 3.0 * frame as f32, 400.0, 400.0), someone(900.0, 380.0, 300.0)]
            };
            for frame in 0..120 {
                let people = at(frame);
                let boxed = |person| if jitter { jittered(person, frame) } else { region(person) };
                let mut boxes = vec![boxed(people[0])];
                let missing = frame % 30 >= 30 - gap;
                if !missing {
                    boxes.push(boxed(people[1]));
                }
                let found = stage.detected(&boxes, &people);
                let expected = if missing { vec![Some(1)] } else { vec![Some(1), Some(2)] };
                assert_eq!(ids(&found), expected, "frame {frame}, gaps of {gap}, jitter {jitter}");
            }
        }
    }
}

#[test]
fn who_walks_on_while_the_detector_sees_nobody_keeps_the_id() {
    let mut stage = Stage::new(1);
    let at = |frame: usize| someone(300.0 + 4.0 * frame as f32, 400.0, 400.0);
    for frame in 0..100 {
        let boxes = if frame % 20 >= 10 { vec![] } else { vec![region(at(frame))] };
        let found = stage.detected(&boxes, &[at(frame)]);
        let expected = if boxes.is_empty() { vec![] } else { vec![Some(1)] };
        assert_eq!(ids(&found), expected, "frame {frame}");
    }
}

#[test]
fn nobody_is_nobody_until_upstream_says_otherwise_but_the_id_waits() {
    for (away, expected) in [(20, Some(1)), (40, Some(2))] {
        let mut stage = Stage::new(1);
        let person = someone(600.0, 400.0, 400.0);
        (0..10).for_each(|_| assert_eq!(ids(&stage.detected(&[region(person)], &[person])), [Some(1)]));
        for frame in 0..away {
            // Upstream reports only now and then.
            let found = if frame % 4 == 0 {
                stage.detected(&[], &[person])
            } else {
                let looks = Vec::new();
                stage.now += FRAME;
                stage.take(looks, false, |look| Seen { look: *look, points: network(look, &[person]) })
            };
            assert!(found.is_empty(), "frame {frame}");
        }
        assert_eq!(ids(&stage.detected(&[region(person)], &[person])), [expected], "away for {away}");
    }
}

#[test]
fn who_is_omitted_is_not_looked_for() {
    let mut stage = Stage::new(1);
    let person = someone(600.0, 400.0, 400.0);
    stage.detected(&[region(person)], &[person]);
    stage.detected(&[], &[person]);
    let moment = Moment { now: stage.now + FRAME, size: SIZE, search: false, still: false, most: usize::MAX };
    let looks = stage.planner.plan(moment, stage.targets.back().unwrap(), &stage.settings, None);
    assert!(looks.is_empty(), "{looks:?}");
}

/// Detectors often miss a person who falls or jumps, and who is not at the predicted place.
#[test]
fn who_moves_far_while_the_detector_misses_him_keeps_the_id_unless_he_cannot_have_come_there() {
    for (far, expected) in [(200.0, Some(1)), (420.0, Some(2))] {
        let mut stage = Stage::new(1);
        let region = |person: Someone| (coco().pose(person.points(), SIZE).unwrap().region, None);
        let detect = |stage: &mut Stage, person: Someone| stage.detected(&[region(person)], &[person]);
        let before = someone(600.0, 200.0, 300.0);
        (0..10).for_each(|_| assert_eq!(ids(&detect(&mut stage, before)), [Some(1)]));
        (0..8).for_each(|_| assert!(stage.detected(&[], &[before]).is_empty()));
        let after = someone(600.0, 200.0 + far, 300.0);
        assert_eq!(ids(&detect(&mut stage, after)), [expected], "{far} pixels lower");
    }
}

/// Where two people cross, the model may show the one in front in both boxes.
#[test]
fn a_box_keeps_its_id_though_the_model_shows_the_person_in_front_in_it() {
    let mut stage = Stage::new(1);
    let (behind, front) = (someone(600.0, 400.0, 400.0), someone(680.0, 430.0, 400.0));
    let both = [region(behind), region(front)];
    for frame in 0..60 {
        // The detector misses the person in front now and then, and then the model shows that person in the other's box.
        let missed = frame % 10 >= 6;
        let (boxes, seen) =
            if missed { (&both[..1], &[front][..]) } else { (&both[..], &[behind, front][..]) };
        let found = stage.detected(boxes, seen);
        assert_eq!(ids(&found), [Some(1), Some(2)][..boxes.len()], "frame {frame}");
    }
}

#[test]
fn a_person_who_stands_up_while_the_detector_misses_him_keeps_the_id() {
    let mut stage = Stage::new(1);
    let boxes = [Region::new(450.0, 120.0, 121.0, 108.0), Region::new(501.0, 248.0, 65.0, 185.0)];
    let mut detect = |boxes: &[Region]| {
        let boxes: Vec<_> = boxes.iter().map(|region| (*region, None)).collect();
        ids(&stage.detected(&boxes, &[]))
    };
    (0..10).for_each(|_| assert_eq!(detect(&boxes[..1]), [Some(1)]));
    (0..8).for_each(|_| assert!(detect(&[]).is_empty()));
    assert_eq!(detect(&boxes[1..]), [Some(1)]);
}
