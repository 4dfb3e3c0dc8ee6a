//! A network on several GPUs: how crops are distributed, and what happens when GPUs are lost. The GPUs are fakes;
//! `cuda_cards.rs` runs the same on real ones.

mod common;

use std::{
    any::Any,
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use common::*;
use gst::prelude::*;
use gstrtmpose::engine::{
    Cancel, CropBuffer, DeviceFigures, Engine, EngineSettings, Error, ErrorKind, ManualClock, PendingAnswer,
    Slot, Stream, TimeoutPolicy,
};

/// A network on `count` GPUs, and the fallback for when all are lost.
fn on_cards(count: usize) -> (Fake, Arc<Fake>) {
    let spare = Arc::new(Fake::default());
    let card = || Fake { spare: Some(spare.clone()), ..Fake::default() };
    (Fake { cards: (0..count).map(|_| card()).collect(), ..card() }, spare)
}

fn set(card: &Fake, behaviour: Behaviour) {
    *card.behaviour.lock().unwrap() = behaviour;
}

fn provider(element: &impl IsA<gst::Element>) -> String {
    element.property("active-provider")
}

/// Number, state and crops of each GPU.
fn figures(element: &impl IsA<gst::Element>) -> Vec<(u32, String, u64)> {
    let stats: gst::Structure = element.property("stats");
    let cards = stats.get::<gst::Array>("gpus").expect("there are several cards");
    let card = |value: &gst::glib::SendValue| {
        let card = value.get::<gst::Structure>().unwrap();
        (card.get("device-id").unwrap(), card.get("state").unwrap(), card.get("crops").unwrap())
    };
    cards.iter().map(card).collect()
}

#[test]
fn crops_go_to_whichever_card_is_free() {
    let (fake, _spare) = on_cards(3);
    let (element, _clock) = element_by_hand(&fake);
    element.set_property("batch-size", 4u32);
    element.set_property("inference-streams", 1u32);
    let bus = bus(&element);
    let mut harness = harness(&element);
    fake.cards.iter().for_each(|card| card.gate.close());
    // Each GPU gets a batch, and ends none.
    (0..12).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
    fake.cards.iter().for_each(|card| card.gate.wait_for_a_run());
    // A GPU that is done takes all further batches. Frames still leave in order.
    fake.cards[1].gate.open();
    (12..20).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
    while fake.cards[1].seen.lock().unwrap().len() < 12 {
        std::thread::yield_now();
    }
    fake.cards.iter().for_each(|card| card.gate.open());
    (0..20).for_each(|number| check(&harness.pull().unwrap(), number));
    assert_eq!(
        figures(&element),
        [(0, "ready".to_string(), 4), (1, "ready".to_string(), 12), (2, "ready".to_string(), 4)]
    );
    let stats: gst::Structure = element.property("stats");
    assert_eq!(stats.get::<u64>("crops").unwrap(), 20);
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]));
    element.set_state(gst::State::Null).unwrap();
    assert!(fake.cards.iter().all(|card| card.executors.load(Ordering::SeqCst) == 0));
}

#[test]
fn a_lost_card_takes_its_executors_and_nothing_else() {
    for (executors, overlaps) in [(1u32, false), (2, false), (1, true), (2, true)] {
        for fallback in ["cpu", "none"] {
            let (mut fake, spare) = on_cards(2);
            fake.cards.iter_mut().for_each(|card| card.overlaps = overlaps);
            let (element, _clock) = element_by_hand(&fake);
            element.set_property("inference-streams", executors);
            element.set_property("batch-size", 4u32);
            element.set_property_from_str("fallback", fallback);
            let bus = bus(&element);
            let mut harness = harness(&element);
            // The GPU is lost while batches are in it and others wait.
            fake.cards.iter().for_each(|card| card.gate.close());
            (0..20).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
            fake.cards.iter().for_each(|card| card.gate.wait_for_a_run());
            set(&fake.cards[1], Behaviour::Fail);
            fake.cards[1].gate.open();
            // The other GPU may be in a long run.
            let told = bus.timed_pop_filtered(gst::ClockTime::ZERO, &[gst::MessageType::Error]);
            assert!(told.is_none(), "{told:?}");
            fake.cards[0].gate.open();
            assert!(harness.push_event(gst::event::Eos::new()));
            (0..20).for_each(|number| check(&harness.pull().unwrap(), number));
            let (errors, warnings) = errors_and_warnings(&bus);
            assert_eq!((errors.len(), warnings.len()), (0, 1), "{errors:?} {warnings:?}");
            let text = "card 1 is lost (the fake network fails): the model keeps running on card 0, and no frame is lost";
            assert_eq!(warnings[0], text);
            assert_eq!(provider(&element), "device");
            assert_eq!(
                figures(&element),
                [(0, "ready".to_string(), 20), (1, "lost".to_string(), 0)],
                "{executors} {overlaps}"
            );
            assert_eq!(spare.executors.load(Ordering::SeqCst), 0, "nobody needs it");
            // The next start tries the card again.
            set(&fake.cards[1], Behaviour::Answer);
            element.set_state(gst::State::Null).unwrap();
            element.set_state(gst::State::Ready).unwrap();
            assert_eq!(figures(&element)[1].1, "ready");
            element.set_state(gst::State::Null).unwrap();
        }
    }
}

#[test]
fn where_all_cards_are_lost_the_fallback_goes_on() {
    for overlaps in [false, true] {
        let (mut fake, spare) = on_cards(3);
        fake.cards.iter_mut().for_each(|card| card.overlaps = overlaps);
        let (element, _clock) = element_by_hand(&fake);
        element.set_property("batch-size", 4u32);
        let bus = bus(&element);
        let mut harness = harness(&element);
        fake.cards.iter().for_each(|card| card.gate.close());
        (0..20).for_each(|number| assert!(harness.push(frame(number)).is_ok()));
        fake.cards.iter().for_each(|card| {
            card.gate.wait_for_a_run();
            set(card, Behaviour::Fail);
        });
        fake.cards.iter().for_each(|card| card.gate.open());
        assert!(harness.push_event(gst::event::Eos::new()));
        (0..20).for_each(|number| check(&harness.pull().unwrap(), number));
        assert_eq!(provider(&element), "fake");
        assert_eq!(spare.runs.lock().unwrap().iter().sum::<usize>(), 20);
        let (errors, warnings) = errors_and_warnings(&bus);
        assert_eq!((errors.len(), warnings.len()), (0, 3), "{errors:?} {warnings:?}");
        let lost = |warning: &&String| {
            warning.contains("is lost (the fake network fails): the model keeps running on card")
        };
        assert_eq!(warnings.iter().filter(lost).count(), 2, "{warnings:?}");
        assert!(
            warnings[2].contains("device is lost") && warnings[2].contains("now runs on fake"),
            "{warnings:?}"
        );
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn where_all_cards_are_lost_and_nothing_takes_their_place_it_is_an_inference_error() {
    let (fake, spare) = on_cards(2);
    let (element, _clock) = element_by_hand(&fake);
    element.set_property("batch-size", 1u32);
    element.set_property_from_str("fallback", "none");
    element.set_property_from_str("on-error", "passthrough");
    let bus = bus(&element);
    let mut harness = harness(&element);
    fake.cards.iter().for_each(|card| set(card, Behaviour::Fail));
    for number in 0..12 {
        harness.push(frame(number)).unwrap();
        let buffer = harness.pull().unwrap();
        assert_eq!((buffer.offset(), people(&buffer)), (u64::from(number), None));
    }
    let (errors, warnings) = errors_and_warnings(&bus);
    assert_eq!((errors.len(), warnings.len()), (0, 2), "{errors:?} {warnings:?}");
    assert!(
        warnings[0].contains("is lost") && warnings[1].contains("frames pass without metadata"),
        "{warnings:?}"
    );
    // A last GPU that answers again is used again: it was not given up.
    fake.cards.iter().for_each(|card| set(card, Behaviour::Answer));
    harness.push(frame(12)).unwrap();
    check(&harness.pull().unwrap(), 12);
    assert_eq!(spare.executors.load(Ordering::SeqCst), 0);
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_single_failed_run_loses_no_card() {
    let (fake, _spare) = on_cards(2);
    let element = element(&fake);
    let bus = bus(&element);
    let mut harness = harness(&element);
    for number in 0..40 {
        fake.cards.iter().for_each(|card| set(card, Behaviour::FailOnce));
        harness.push(frame(number)).unwrap();
        check(&harness.pull().unwrap(), number);
    }
    assert!(figures(&element).iter().all(|(_, state, _)| state == "ready"));
    assert_eq!(errors_and_warnings(&bus), (vec![], vec![]));
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_card_that_is_short_of_memory_gives_back_what_it_has() {
    let (fake, _spare) = on_cards(2);
    let (element, _clock) = element_by_hand(&fake);
    element.set_property("batch-size", 1u32);
    let bus = bus(&element);
    let mut harness = harness(&element);
    set(&fake.cards[0], Behaviour::OutOfMemory);
    for number in 0..20 {
        harness.push(frame(number)).unwrap();
        check(&harness.pull().unwrap(), number);
    }
    // No frame need have run on GPU 0: there is one warning at most.
    let (errors, warnings) = errors_and_warnings(&bus);
    assert!(errors.is_empty() && warnings.len() <= 1, "{errors:?} {warnings:?}");
    if let Some(warning) = warnings.first() {
        let text = "card 0 has too little memory for a run (the fake network has no room): the model keeps running on card 1";
        assert!(warning.starts_with(text), "{warning}");
        assert_eq!(figures(&element)[0].1, "out-of-memory");
        while fake.cards[0].executors.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
    }
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_card_that_cannot_be_opened_is_left_out() {
    let failing = |kind, cards: &[usize]| {
        let (fake, _spare) = on_cards(3);
        for card in cards {
            *fake.cards[*card].load_error.lock().unwrap() = Some(Error::new(kind, format!("no {card}")));
        }
        let element = element(&fake);
        let bus = bus(&element);
        let opened = element.set_state(gst::State::Ready).is_ok();
        let cards = opened.then(|| figures(&element).iter().map(|(number, ..)| *number).collect::<Vec<_>>());
        element.set_state(gst::State::Null).unwrap();
        assert!(fake.cards.iter().all(|card| card.executors.load(Ordering::SeqCst) == 0));
        (cards, errors_and_warnings(&bus))
    };
    let (cards, (errors, warnings)) = failing(ErrorKind::Provider, &[1]);
    assert_eq!((cards, errors), (Some(vec![0, 2]), vec![]));
    assert_eq!(warnings, ["card 1 is left out: no 1"]);
    let (cards, (errors, warnings)) = failing(ErrorKind::Run, &[0, 1, 2]);
    assert_eq!((cards, &errors[..], warnings.len()), (None, &["no 0".to_string()][..], 0));
    // A fault of the file is the same on every GPU.
    let (cards, (errors, warnings)) = failing(ErrorKind::ModelRefused, &[2]);
    assert_eq!((cards, &errors[..], warnings.len()), (None, &["no 2".to_string()][..], 0));
}

/// An engine on cards and one stream of it.
fn engine(fake: &Fake, batch_size: usize) -> (Engine, Stream) {
    let settings = EngineSettings {
        batch_size,
        executors: 1,
        fallback: true,
        clock: Arc::new(ManualClock::default()),
        observer: |_| (),
    };
    let (engine, _) = Engine::open(Arc::new(fake.clone()), settings, &Cancel::default(), &|_| ()).unwrap();
    let stream = attach(&engine);
    (engine, stream)
}

fn attach(engine: &Engine) -> Stream {
    let policy = TimeoutPolicy { timeout: Duration::from_secs(3600), adaptive: false };
    let stream = engine.attach(policy, Arc::new(|| ()));
    stream.resume();
    stream
}

/// Submits a crop that lies on that GPU; none: in host memory.
fn submit(stream: &Stream, card: Option<u32>, number: u32) -> PendingAnswer {
    let mut buffer: CropBuffer = stream.buffer().unwrap();
    let slot: &mut dyn Slot = buffer.slot_mut();
    let [r, g, b, _] = number.to_le_bytes();
    slot.bytes_mut().chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&[r, g, b]));
    (slot as &mut dyn Any).downcast_mut::<CardSlot>().unwrap().card = card;
    stream.submit(buffer)
}

/// The number that the network saw in the crop.
fn answer(pending: &PendingAnswer) -> u32 {
    loop {
        match pending.outcome() {
            Some(outcome) => return outcome.as_ref().unwrap()[2] as u32,
            None => std::thread::yield_now(),
        }
    }
}

#[test]
fn crops_on_a_card_go_to_its_own_executors() {
    let (fake, _spare) = on_cards(3);
    let (engine, on_1) = engine(&fake, 2);
    let on_0 = attach(&engine);
    let mut pending = Vec::new();
    for number in 0..40 {
        pending.push((number, submit(&on_1, Some(1), number)));
        pending.push((number + 100, submit(&on_0, Some(0), number + 100)));
        // The engine does not have this GPU: any free GPU fetches the crop.
        pending.push((number + 200, submit(&on_0, Some(9), number + 200)));
        on_0.hurry();
        on_1.hurry();
        pending.drain(..).for_each(|(number, pending)| assert_eq!(answer(&pending), number));
    }
    let seen = |card: usize| fake.cards[card].seen.lock().unwrap().clone();
    assert!(seen(1).iter().all(|number| *number < 100 || *number >= 200), "{:?}", seen(1));
    assert!(seen(0).iter().all(|number| *number >= 100), "{:?}", seen(0));
    assert!(seen(2).iter().all(|number| *number >= 200), "{:?}", seen(2));
}

/// Crops on a GPU wait for that GPU, even if another one is idle. The latency counts only the executors of that
/// GPU.
#[test]
fn a_busy_cards_crops_wait_for_it() {
    let (fake, _spare) = on_cards(2);
    let (_engine, stream) = engine(&fake, 1);
    assert_eq!((stream.runs_for(4), stream.crops_in_flight()), (2, 2));
    fake.cards[1].gate.close();
    let pending: Vec<_> = (0..3).map(|number| submit(&stream, Some(1), number)).collect();
    fake.cards[1].gate.wait_for_a_run();
    assert_eq!(stream.runs_for(4), 4, "the other card runs none of them");
    assert!(pending.iter().all(|pending| pending.outcome().is_none()));
    let beside = submit(&stream, Some(0), 7);
    assert_eq!(answer(&beside), 7);
    fake.cards[1].gate.open();
    (0..3).zip(&pending).for_each(|(number, pending)| assert_eq!(answer(pending), number));
    assert_eq!(*fake.cards[1].seen.lock().unwrap(), [0, 1, 2]);
    let states: Vec<_> =
        stream.devices().iter().map(|device: &DeviceFigures| (device.number, device.crops)).collect();
    assert_eq!(states, [(0, 1), (1, 3)]);
}

/// The remaining GPUs try to fetch crops that lie on a lost GPU.
#[test]
fn what_lies_on_a_lost_card_goes_to_the_others() {
    let (fake, _spare) = on_cards(2);
    let (_engine, stream) = engine(&fake, 2);
    fake.cards[1].gate.close();
    let pending: Vec<_> = (0..7).map(|number| submit(&stream, Some(1), number)).collect();
    stream.hurry();
    fake.cards[1].gate.wait_for_a_run();
    set(&fake.cards[1], Behaviour::Fail);
    fake.cards[1].gate.open();
    (0..7).zip(&pending).for_each(|(number, pending)| assert_eq!(answer(pending), number));
    assert!(stream.has_lost(1) && !stream.has_lost(0) && !stream.has_lost(5));
    let late = submit(&stream, Some(1), 9);
    stream.hurry();
    assert_eq!((answer(&late), stream.runs_for(4)), (9, 2));
    assert_eq!(*fake.cards[0].seen.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 9]);
}

/// Many streams on four GPUs, of which two are lost in mid-stream.
#[test]
fn no_frame_of_many_streams_is_lost_with_cards() {
    const FRAMES: u32 = 150;
    let (fake, _spare) = on_cards(4);
    fake.cards.iter().for_each(|card| set(card, Behaviour::Delay(300)));
    let elements: Vec<_> = (0..6).map(|_| element(&fake)).collect();
    for element in &elements {
        element.set_property("model-instance-id", "many-streams-on-cards");
        element.set_property("device-ids", "0,1,2,3");
    }
    let bus = bus(&elements[0]);
    let (sender, ended) = mpsc::channel();
    // An element goes to NULL with its harness.
    let _harnesses: Vec<_> = std::thread::scope(|scope| {
        let streams = elements.iter().map(|element| {
            let sender = sender.clone();
            scope.spawn(move || {
                let mut harness = harness(element);
                for number in 0..FRAMES {
                    harness.push(frame(number)).unwrap();
                    if number >= 10 {
                        check(&harness.pull().unwrap(), number - 10);
                    }
                    if number == FRAMES / 3 {
                        sender.send(()).unwrap();
                    }
                }
                assert!(harness.push_event(gst::event::Eos::new()));
                (FRAMES - 10..FRAMES).for_each(|number| check(&harness.pull().unwrap(), number));
                harness
            })
        });
        let streams: Vec<_> = streams.collect();
        ended.recv().unwrap();
        set(&fake.cards[2], Behaviour::Fail);
        ended.recv().unwrap();
        set(&fake.cards[0], Behaviour::Fail);
        streams.into_iter().map(|stream| stream.join().unwrap()).collect()
    });
    let crops: u64 = figures(&elements[0]).iter().map(|(_, _, crops)| crops).sum();
    assert_eq!(crops, 6 * u64::from(FRAMES));
    let (errors, warnings) = errors_and_warnings(&bus);
    assert!(errors.is_empty() && warnings.len() <= 2, "{errors:?} {warnings:?}");
    elements.iter().for_each(|element| _ = element.set_state(gst::State::Null).unwrap());
}

/// The error of an element with these properties, which cannot start.
fn refusal(properties: &[(&str, &str)]) -> String {
    let element = element(&Fake::default());
    properties.iter().for_each(|(name, value)| element.set_property_from_str(name, value));
    let bus = bus(&element);
    assert!(element.set_state(gst::State::Ready).is_err(), "{properties:?}");
    element.set_state(gst::State::Null).unwrap();
    let (mut errors, warnings) = errors_and_warnings(&bus);
    assert_eq!((errors.len(), warnings.len()), (1, 0), "{properties:?}: {errors:?} {warnings:?}");
    errors.remove(0)
}

#[test]
fn device_ids_that_mean_nothing_are_refused_in_one_sentence() {
    for text in ["", "0,,1", "0,0", "x", "-1"] {
        let error = refusal(&[("device-ids", text)]);
        assert!(error.starts_with("device-ids cannot be used: "), "{text}: {error}");
    }
    let both = refusal(&[("device-ids", "0,1"), ("device-id", "1")]);
    assert!(both.starts_with("device-id and device-ids are set"), "{both}");
    let on_the_cpu = refusal(&[("device-ids", "all"), ("execution-provider", "cpu")]);
    assert!(on_the_cpu.contains("execution-provider=cpu does not use a GPU"), "{on_the_cpu}");
    let elsewhere =
        refusal(&[("device-ids", "0,1"), ("inference-server", "grpc://here:1"), ("model-name", "a")]);
    assert!(elsewhere.starts_with("device-ids and inference-server are set"), "{elsewhere}");
}

#[test]
fn who_shares_an_engine_names_the_same_cards() {
    let (fake, _spare) = on_cards(2);
    let elements = ["0,1", "1,0"].map(|cards| {
        let element = element(&fake);
        element.set_property("model-instance-id", "cards-that-differ");
        element.set_property("device-ids", cards);
        element
    });
    let bus = bus(&elements[1]);
    elements[0].set_state(gst::State::Ready).unwrap();
    assert!(elements[1].set_state(gst::State::Ready).is_err());
    let (errors, _) = errors_and_warnings(&bus);
    assert!(errors[0].contains("device-ids is \"1,0\" here and \"0,1\" there"), "{errors:?}");
    elements.iter().for_each(|element| _ = element.set_state(gst::State::Null).unwrap());
}
