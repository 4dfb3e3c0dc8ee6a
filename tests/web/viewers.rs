//! What viewers get of a stream, step by step.

use std::sync::{Arc, Mutex};

use crate::stream::{Frame, MOST, Stream, Viewer};

fn key(number: u8) -> Frame {
    Frame { is_key: true, bytes: vec![number].into() }
}

fn delta(number: u8) -> Frame {
    Frame { is_key: false, bytes: vec![number].into() }
}

fn taken(viewer: &mut Viewer) -> Vec<u8> {
    std::iter::from_fn(|| viewer.take()).map(|bytes| bytes[0]).collect()
}

const OPENING: u8 = 200;

#[test]
fn a_viewer_begins_at_a_key_frame_and_falls_behind_to_the_newest() {
    let stream = Arc::new(Stream::default());
    let mut early = stream.viewer();
    assert!(taken(&mut early).is_empty());
    stream.begin(vec![OPENING].into());
    // This frame cannot be shown without its key frame.
    stream.push(delta(1));
    assert!(taken(&mut early).is_empty());
    stream.push(key(2));
    stream.push(delta(3));
    assert_eq!(taken(&mut early), [OPENING, 2, 3]);
    let mut slow = stream.viewer();
    assert_eq!(slow.take().unwrap()[0], OPENING);
    stream.push(key(4));
    stream.push(delta(5));
    let mut late = stream.viewer();
    assert_eq!(taken(&mut late), [OPENING, 4, 5], "from the newest key frame on");
    assert_eq!(taken(&mut early), [4, 5]);
    // A viewer one key frame behind misses nothing; a viewer two behind skips frames.
    assert_eq!(slow.take().unwrap()[0], 2);
    stream.push(key(6));
    stream.push(delta(7));
    assert_eq!(taken(&mut slow), [OPENING, 6, 7]);
    assert_eq!(taken(&mut late), [6, 7]);
    // A new stream: nothing more of the old one comes.
    stream.push(delta(8));
    stream.begin(vec![OPENING + 1].into());
    assert!(taken(&mut late).is_empty());
    stream.push(key(9));
    for viewer in [&mut slow, &mut late, &mut early] {
        assert_eq!(taken(viewer), [OPENING + 1, 9]);
    }
}

#[test]
fn what_is_kept_is_bounded_though_no_key_frame_comes() {
    let stream = Arc::new(Stream::default());
    let mut viewer = stream.viewer();
    stream.begin(vec![OPENING].into());
    stream.push(key(1));
    let large = || Frame { is_key: false, bytes: vec![2; MOST / 4].into() };
    for _ in 0..3 {
        stream.push(large());
    }
    assert_eq!(taken(&mut viewer), [OPENING, 1, 2, 2, 2]);
    for _ in 0..10 {
        stream.push(large());
    }
    assert!(taken(&mut viewer).is_empty());
    stream.push(key(3));
    assert_eq!(taken(&mut viewer), [OPENING, 3]);
}

#[test]
fn the_encoder_works_only_while_somebody_watches() {
    let stream = Arc::new(Stream::default());
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    stream.connect(move |is_watched| tell.lock().unwrap().push(is_watched));
    let (one, other) = (stream.viewer(), stream.viewer());
    drop(one);
    assert_eq!(*told.lock().unwrap(), [false, true]);
    stream.begin(vec![OPENING].into());
    stream.push(key(1));
    drop(other);
    assert_eq!(*told.lock().unwrap(), [false, true, false]);
    // Frames that were on their way do not start a stream for the next viewer.
    stream.push(delta(2));
    let mut next = stream.viewer();
    assert!(taken(&mut next).is_empty());
    stream.push(key(3));
    assert_eq!(taken(&mut next), [OPENING, 3]);
    let again = told.clone();
    stream.connect(move |is_watched| again.lock().unwrap().push(is_watched));
    assert_eq!(*told.lock().unwrap(), [false, true, false, true, true]);
}
