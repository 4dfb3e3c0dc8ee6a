//! What a hostile or broken server can send: each is one error, and bounded.

use std::time::Duration;

use super::{
    double::{Double, Fault, Model},
    rig::{backend, open},
};

#[test]
fn every_bad_answer_is_one_error_and_the_next_batch_is_well() {
    let cases = [
        (Fault::Hang, "did not answer within"),
        (Fault::Reset, "the connection broke before its answer was complete"),
        (Fault::Refuse, "it says: out of order"),
        (Fault::TooFewNumbers, "which do not fit its shape"),
        (Fault::TooManyRows, "its answer differs from its metadata"),
        (Fault::OtherPoints, "its answer differs from its metadata"),
        (Fault::OtherType, "is FP16, not FP32"),
        (Fault::OtherName, "has no output `keypoints`"),
        (Fault::Endless, "its answer continues after its end"),
        (Fault::FourGigabytes, "its answer has 4294967295 bytes"),
        (Fault::SlowLoris, "did not answer within"),
        (Fault::CutShort, "its answer ends too early"),
        (Fault::NoStatus, "its answer ends without a status"),
        (Fault::NoGrpc, "instead of gRPC"),
        (Fault::Compressed, "its answer is compressed"),
        (Fault::BadDetails, "it says: internal"),
        (Fault::Garbage, "its answer is not a message of the protocol"),
    ];
    // In parallel, because each case mostly waits for its server.
    std::thread::scope(|scope| {
        for (fault, words) in cases {
            scope.spawn(move || is_one_error(fault, words));
        }
    });
}

fn is_one_error(fault: Fault, words: &str) {
    let double = Double::start(Model::default());
    let mut backend = backend(&double.name());
    backend.timeout = Duration::from_millis(400);
    let rig = open(backend).unwrap();
    double.fail(fault);
    let error = rig.run(1).unwrap_err();
    assert!(error.contains(words) && error.contains(&double.name()), "{fault:?}: {error}");
    assert_eq!(error.matches(&double.name()).count(), 1, "{fault:?}: {error}");
    double.fail(Fault::None);
    // Waits until the server is tried again.
    rig.run_until("is ready: 1 of 1");
    rig.run(2).unwrap();
}

/// A broken network's numbers have the same effect as in this process: no peak, and no panic.
#[test]
fn what_is_no_number_is_handed_on_as_such() {
    let double = Double::start(Model::default());
    let rig = open(backend(&double.name())).unwrap();
    double.fail(Fault::NotANumber);
    let pending = rig.submit(&super::rig::crop(1));
    assert!(rig.answer(&pending).unwrap().iter().all(|number| number.is_nan()));
}
