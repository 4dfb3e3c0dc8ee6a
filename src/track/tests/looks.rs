//! Looks that are far apart, and several looks at one frame.

use super::*;

fn decisions(stage: &mut Stage) -> Vec<String> {
    stage.tracks.decisions().iter().map(ToString::to_string).collect()
}

#[test]
fn who_stands_there_is_known_by_the_sixth_look_however_far_apart_they_are() {
    for step in [0.5, 1.0, 31.0 / 30.0, 2.0, 4.0, 5.0, 60.0] {
        for lifetime in [0.0, 1.0] {
            let mut stage = Stage { step, ..Stage::new(1) };
            stage.lifetime = Duration::from_secs_f64(lifetime);
            let person = someone(600.0, 400.0, 400.0);
            let looks = stage.until_reported(&[person]);
            assert!(looks <= 6, "{looks} looks, one in {step} s, life time {lifetime} s");
            for look in 0..10 {
                assert_eq!(ids(&stage.frame(&[person])), [Some(1)], "{look}: one in {step} s");
            }
        }
    }
}

/// Results come some looks late, as from a slow CPU with live frames.
#[test]
fn looks_far_apart_with_frames_in_flight_find_somebody_too() {
    for lookahead in [2, 4] {
        let mut stage = Stage { step: 1.5, ..Stage::new(lookahead) };
        let looks = stage.until_reported(&[someone(600.0, 400.0, 400.0)]);
        assert!(looks <= 6 * lookahead, "{looks} looks, {lookahead} in flight");
    }
}

#[test]
fn without_a_life_time_who_is_missed_once_is_somebody_new() {
    let mut stage = Stage::new(1);
    stage.lifetime = Duration::ZERO;
    let person = someone(600.0, 400.0, 400.0);
    stage.until_reported(&[person]);
    (0..10).for_each(|_| assert_eq!(ids(&stage.frame(&[person])), [Some(1)]));
    assert!(stage.frame(&[]).is_empty());
    stage.until_reported(&[person]);
    assert_eq!(ids(&stage.frame(&[person])), [Some(2)]);
}

#[test]
fn everybody_in_a_picture_is_found_in_that_picture() {
    let people = [
        someone(300.0, 400.0, 600.0),
        someone(700.0, 300.0, 250.0),
        someone(950.0, 500.0, 300.0),
        someone(1200.0, 600.0, 120.0),
    ];
    let mut stage = Stage { still: true, ..Stage::new(1) };
    let found = stage.frame(&people);
    let found: Vec<_> = people.iter().map(|person| id_at(&found, *person)).collect();
    assert!(found.iter().all(Option::is_some), "{found:?}");
    // Here, too, something that resembles a person only a little is not one.
    let mut stage = Stage { still: true, ..Stage::new(1) };
    let weak = Someone { score: 0.45, ..people[0] };
    assert!(stage.frame(&[weak]).is_empty());
    let open = |track: &Track| matches!(track.state, State::Candidate { .. });
    assert!(!stage.tracks.list.iter().any(open), "it is decided");
    assert!(stage.crops < 200, "{} crops", stage.crops);
}

#[test]
fn no_more_than_max_people_are_looked_at_closely_in_a_picture() {
    let crowd: Vec<_> = (0..6).map(|n| someone(120.0 + 200.0 * n as f32, 400.0, 300.0)).collect();
    let mut stage = Stage { still: true, ..Stage::new(1) };
    stage.settings.max_people = 3;
    assert_eq!(stage.frame(&crowd).len(), 3);
    assert_eq!(stage.frame(&crowd).len(), 3);
}

/// However many frames are in flight, no person is missing in the frames after the one in which the person was first found.
#[test]
fn a_newcomer_in_a_file_is_there_from_the_first_sight_on() {
    for lookahead in [1, 4, 8] {
        let mut stage = Stage { still: true, ..Stage::new(lookahead) };
        let (old, new) = (someone(300.0, 400.0, 400.0), someone(900.0, 400.0, 400.0));
        (0..60).for_each(|_| assert_eq!(stage.frame(&[old]).len(), 1));
        let mut since = None;
        for frame in 0..300 {
            let people = stage.frame(&[old, new]);
            assert!(id_at(&people, old) == Some(1), "frame {frame}");
            let there = id_at(&people, new) == Some(2);
            assert!(there || since.is_none(), "lookahead {lookahead}: missing in frame {frame} again");
            since = since.or(there.then_some(frame));
        }
        assert!(since.is_some(), "lookahead {lookahead}");
    }
}

#[test]
fn closer_looks_are_paid_for_by_the_search() {
    let mut stage = Stage { still: true, ..Stage::new(1) };
    let weak = Someone { score: 0.45, ..someone(600.0, 400.0, 400.0) };
    let minute = (60.0 / FRAME) as usize;
    (0..minute).for_each(|_| drop(stage.frame(&[weak])));
    let before = stage.crops;
    (0..minute).for_each(|_| drop(stage.frame(&[weak])));
    let crops = stage.crops - before;
    assert!((300..=375).contains(&crops), "{crops} crops in a minute");
}

#[test]
fn decisions_are_told() {
    let mut stage = Stage::new(1);
    let person = someone(600.0, 400.0, 400.0);
    stage.until_reported(&[person]);
    let told = decisions(&mut stage);
    assert!(told[0].starts_with("Candidate 0 is found at 5"), "{told:?}");
    assert!(told.last().unwrap().starts_with("Candidate 0 is confirmed as person 1 at 5"), "{told:?}");
    stage.frame(&[]);
    assert_eq!(decisions(&mut stage), ["Person 1 is lost"]);
    stage.frame(&[person]);
    let told = decisions(&mut stage);
    assert!(told[0].starts_with("Person 1 is found again at"), "{told:?}");
    (0..60).for_each(|_| drop(stage.frame(&[])));
    assert_eq!(decisions(&mut stage), ["Person 1 is lost", "Person 1 is forgotten"]);
    let mut stage = Stage::new(1);
    (0..60).for_each(|_| drop(stage.frame(&[Someone { score: 0.45, ..person }])));
    let told = decisions(&mut stage);
    assert!(told.iter().any(|told| told.starts_with("Candidate 0 is rejected: ")), "{told:?}");
}

/// Each live frame is searched for at most a quarter of a second, about 40 boxes on a CPU.
#[test]
fn live_frames_far_apart_are_searched_for_as_long_as_may_be() {
    for step in [0.5, 1.0, 2.0, 5.0] {
        let mut stage = Stage { step, most: 40, ..Stage::new(1) };
        let people = [someone(300.0, 400.0, 300.0), someone(1100.0, 500.0, 250.0)];
        let found = (1..=8).find(|_| stage.frame(&people).len() == 2);
        assert!(found.is_some_and(|looks| looks <= 7), "one in {step} s: both after {found:?} looks");
        // Afterwards the search uses no more than its budget and what it had saved.
        let before = stage.crops;
        (0..30).for_each(|_| drop(stage.frame(&people)));
        let crops = stage.crops - before - 60;
        let budget = 30.0 * step * 6.0;
        assert!(
            crops as f64 <= budget + 131.0,
            "one in {step} s: {crops} crops of a search, budget {budget}"
        );
    }
}
