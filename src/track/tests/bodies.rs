//! What a set of key points says about a body, and bodies that the frame's edge cuts off.

use super::*;

#[test]
fn a_pose_has_a_box_of_flesh_around_its_confident_points() {
    let anatomy = coco();
    let point = |x: f32, y: f32| KeyPoint { x, y, score: 0.9, z: None };
    let mut points = vec![KeyPoint { x: 5000.0, y: -700.0, score: 0.29, z: None }; 17];
    for (place, at) in
        points.iter_mut().zip([(10.0, 20.0), (60.0, 20.0), (10.0, 120.0), (60.0, 120.0), (30.0, 70.0)])
    {
        *place = point(at.0, at.1);
    }
    let pose = anatomy.pose(points.clone(), SIZE).unwrap();
    // 50 x 100, grown by 1.2 around its middle.
    let Region { x, y, width, height } = pose.region;
    for (found, expected) in [(x, 5.0), (y, 10.0), (width, 60.0), (height, 120.0)] {
        assert!((found - expected).abs() < 1e-3, "{:?}", pose.region);
    }
    points[4].score = 0.1;
    assert!(anatomy.pose(points, SIZE).is_none(), "four points tell nothing");
    let one_place = vec![point(50.0, 50.0); 17];
    assert_eq!(anatomy.pose(one_place, SIZE).unwrap().region, Region::new(42.0, 42.0, 16.0, 16.0));
    let three = Anatomy::of("custom-3", 3, None);
    assert!(
        three.pose(vec![point(0.0, 0.0), point(10.0, 0.0), point(0.0, 30.0)], SIZE).is_some(),
        "all it has"
    );
}

#[test]
fn similarities_are_those_of_their_definitions() {
    let anatomy = coco();
    let pose = |person: Someone| anatomy.pose(person.points(), SIZE).unwrap();
    let here = pose(someone(600.0, 400.0, 400.0));
    assert_eq!(anatomy.oks(&here, &here), 1.0);
    let aside = pose(someone(610.0, 400.0, 400.0));
    // exp(-d² / (2 (2 sigma)² area)), with the mean area of the boxes.
    let area = here.region.width * here.region.height;
    let sigmas = [
        0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087,
        0.087, 0.089, 0.089_f32,
    ];
    let expected =
        sigmas.map(|sigma| (-100.0 / (8.0 * sigma * sigma * area)).exp()).iter().sum::<f32>() / 17.0;
    assert!((anatomy.oks(&here, &aside) - expected).abs() < 1e-4);
    assert!((anatomy.agreement(&here, &aside) - 1.0).abs() < 1e-4, "the same pose, walked on");
    let of_shoulders = Anatomy::of("custom-17", 17, None);
    let expected = (-100.0 / (8.0 * 0.079 * 0.079 * area)).exp();
    assert!((of_shoulders.oks(&here, &aside) - expected).abs() < 1e-4, "no sigmas: those of a shoulder");
    let own = Anatomy::of("custom-17", 17, Some(&[0.05; 17]));
    let expected = (-100.0 / (8.0 * 0.05 * 0.05 * area)).exp();
    assert!((own.oks(&here, &aside) - expected).abs() < 1e-4, "sigmas of a skeleton from a file");
    assert_eq!(anatomy.agreement(&here, &pose(someone(900.0, 400.0, 400.0))), 0.0, "too far away");
    assert_eq!(overlap(&Region::new(0.0, 0.0, 2.0, 2.0), &Region::new(1.0, 0.0, 2.0, 2.0)), 1.0 / 3.0);
    assert_eq!(overlap(&Region::new(0.0, 0.0, 1.0, 1.0), &Region::new(5.0, 0.0, 1.0, 1.0)), 0.0);
}

#[test]
fn pairs_have_the_largest_sum() {
    // Taking the best pair first would leave nothing for the second row.
    let weights = [[0.9, 0.8], [0.85, 0.1]];
    assert_eq!(assign(2, 2, 0.15, |row, column| weights[row][column]), [(0, 1), (1, 0)]);
    let tall = [[0.2], [0.9], [0.5]];
    assert_eq!(assign(3, 1, 0.15, |row, column| tall[row][column]), [(1, 0)]);
    assert_eq!(assign(1, 3, 0.15, |_, column| tall[column][0]), [(0, 1)]);
    assert!(assign(2, 2, 0.15, |_, _| 0.1).is_empty());
    assert!(assign(0, 3, 0.15, |_, _| 1.0).is_empty());
    assert!(assign(3, 0, 0.15, |_, _| 1.0).is_empty());
    let pairs = assign(64, 64, 0.15, |row, column| if (row + column) % 64 == 0 { 1.0 } else { 0.3 });
    assert!(pairs.iter().all(|(row, column)| (row + column) % 64 == 0) && pairs.len() == 64);
}

/// A person whose shoulders are that far above the frame's lower edge, as the model sees them.
fn before_a_webcam(height: f32, above: f32) -> Someone {
    someone(640.0, SIZE.1 as f32 - above + 0.3 * height, height)
}

/// What is outside the frame cannot be seen, wherever the model may put it.
fn seen(person: Someone) -> Vec<KeyPoint> {
    let mut points = person.points();
    for point in points.iter_mut().filter(|point| point.y >= SIZE.1 as f32) {
        *point = KeyPoint { x: 300.0, y: 200.0, score: 0.05, z: None };
    }
    points
}

#[test]
fn a_head_two_shoulders_and_an_arm_at_the_pictures_edge_are_a_person() {
    let anatomy = coco();
    for above in [200.0, 300.0, 420.0] {
        let pose = anatomy.pose(seen(before_a_webcam(1500.0, above)), SIZE).unwrap();
        assert!(anatomy.is_plausible(&pose), "shoulders {above} above the edge: {pose:?}");
        assert!(pose.score > 0.75, "{}", pose.score);
        // The box holds the visible part of the body.
        let Region { y, height, .. } = pose.region;
        assert!((y + height - SIZE.1 as f32).abs() < 1.0 && y >= 0.0, "{:?}", pose.region);
    }
    let person = before_a_webcam(1500.0, 420.0);
    // In a frame that continues below, the same points are half a body, the other half of which was not seen.
    let pose = anatomy.pose(seen(person), (SIZE.0, 3 * SIZE.1)).unwrap();
    assert!(!anatomy.is_plausible(&pose) && pose.score < 0.5 && pose.cut_off.is_empty());
    // Without a visible arm, a shoulder or most of a head, it is not a person.
    for missing in [&[7, 8, 9, 10][..], &[5], &[0, 1, 2]] {
        let mut points = seen(person);
        missing.iter().for_each(|index| points[*index].score = 0.1);
        let pose = anatomy.pose(points, SIZE).unwrap();
        assert!(!anatomy.is_plausible(&pose), "without {missing:?}");
    }
}

#[test]
fn whoever_the_edge_cuts_off_is_found_and_kept() {
    for still in [false, true] {
        let mut stage = Stage { still, ..Stage::new(1) };
        let mut first = None;
        for number in 0..90 {
            let sway = 20.0 * (number as f32 / 5.0).sin();
            let person = Someone { x: 640.0 + sway, ..before_a_webcam(1500.0, 300.0) };
            let answer = |look: &Look| {
                let visible = Region::new(person.x - 250.0, 200.0, 500.0, 520.0);
                let points = if overlap(&look.region, &visible) > 0.3 {
                    seen(person)
                } else {
                    vec![KeyPoint { x: 10.0, y: 10.0, score: 0.05, z: None }; 17]
                };
                Seen { look: *look, points }
            };
            let people = stage.frame_with(answer);
            if first.is_some() || !people.is_empty() {
                assert_eq!(ids(&people), [Some(1)], "frame {number}");
                first.get_or_insert(number);
            }
        }
        assert!(first.is_some_and(|first| first < 30), "still {still}: first in frame {first:?}");
    }
}

/// A search may show no more than the upper half, and a box around that half never shows the rest.
#[test]
fn legs_that_the_first_box_left_out_are_found_by_the_further_ones() {
    for still in [false, true] {
        let person = someone(640.0, 360.0, 500.0);
        // The model sees what the box shows, and is sure of the whole person only.
        let answer = |look: &Look| {
            let lower = look.region.y + look.region.height;
            let mut points = network(look, &[person]);
            let hidden = points
                .iter_mut()
                .filter(|point| look.purpose == Purpose::Search && point.y > person.y || point.y > lower);
            hidden.for_each(|point| point.score = 0.1);
            Seen { look: *look, points }
        };
        let mut stage = Stage { still, ..Stage::new(1) };
        let first = (0..30).find(|_| !stage.frame_with(answer).is_empty());
        assert!(first.is_some_and(|first| first < 12), "still {still}: {first:?}");
    }
}

#[test]
fn a_whole_body_reaches_down_to_its_unseen_feet() {
    let anatomy = coco();
    let person = someone(640.0, 360.0, 500.0);
    let mut points = person.points();
    let all = anatomy.pose(points.clone(), SIZE).unwrap();
    assert_eq!(anatomy.whole(&all, SIZE), all.region, "nothing is unseen");
    points[13..].iter_mut().for_each(|point| point.score = 0.1);
    let half = anatomy.pose(points.clone(), SIZE).unwrap();
    let (seen, whole) = (half.region, anatomy.whole(&half, SIZE));
    let [feet, hips] = [person.y + 0.42 * person.height, person.y];
    assert!(seen.y + seen.height < hips + 0.2 * person.height, "{seen:?}");
    assert!((whole.y + whole.height - feet).abs() < 1.0 && whole.y == seen.y, "{whole:?}");
    // The box ends at the frame's edge.
    let low = anatomy.whole(&half, (SIZE.0, 500));
    assert_eq!(low.y + low.height, 500.0);
    // Without shoulders, nothing says where the legs are; and other skeletons have none.
    points[5].score = 0.1;
    let one_shoulder = anatomy.pose(points.clone(), SIZE).unwrap();
    assert_eq!(anatomy.whole(&one_shoulder, SIZE), one_shoulder.region);
    let custom = Anatomy::of("custom-17", 17, None);
    let other = custom.pose(points, SIZE).unwrap();
    assert_eq!(custom.whole(&other, SIZE), other.region);
}
