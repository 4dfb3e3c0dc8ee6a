use std::sync::Mutex;

use super::*;
use crate::engine::{Backend, MonotonicClock, Shape, Slot};

#[derive(Clone, Debug, PartialEq)]
struct Fake;

impl Network for Fake {
    fn shape(&self) -> Shape {
        Shape { width: 1, height: 1, row: 1 }
    }

    fn provider(&self) -> &str {
        "fake"
    }

    fn answers_like(&self, _: &Self) -> bool {
        true
    }
}

/// A device with room for this many crops in all executors together.
#[derive(Default)]
struct SmallDevice {
    room: usize,
    taken: Arc<Mutex<usize>>,
    likely: usize,
}

struct Share(usize, Arc<Mutex<usize>>);

impl Backend for SmallDevice {
    type Network = Fake;

    fn open(&self, loading: &Loading) -> Result<(Fake, Box<dyn Executor>), Error> {
        let mut taken = self.taken.lock().unwrap();
        let batch_size = loading.most_crops.min(16);
        if *taken + batch_size > self.room {
            return Err(Error::new(ErrorKind::OutOfMemory, "The device has no room"));
        }
        *taken += batch_size;
        Ok((Fake, Box::new(Share(batch_size, self.taken.clone()))))
    }

    fn likely_executors(&self) -> usize {
        self.likely
    }

    fn best_executors(&self, _: &Fake) -> usize {
        self.likely
    }
}

impl Executor for Share {
    fn load(&mut self, _: usize, _: &dyn Slot) {}

    fn run(&mut self, rows: usize, _: &mut [f32]) -> Result<usize, Error> {
        Ok(rows)
    }

    fn warm_up_sizes(&self) -> Vec<usize> {
        vec![self.0]
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.1.lock().unwrap() -= self.0;
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::default())
}

/// Batch size, number of executors and warnings.
fn opened(room: usize, likely: usize, executors: usize) -> Result<(usize, usize, Vec<String>), Error> {
    opened_for(8, room, likely, executors)
}

fn opened_for(
    batch_size: usize,
    room: usize,
    likely: usize,
    executors: usize,
) -> Result<(usize, usize, Vec<String>), Error> {
    let backend: Arc<BackendOf<Fake>> = Arc::new(SmallDevice { room, likely, ..SmallDevice::default() });
    let warnings = std::cell::RefCell::new(Vec::new());
    let report = |event| {
        if let LoadEvent::Warning(text) = event {
            warnings.borrow_mut().push(text);
        }
    };
    let All { batch_size, executors, .. } =
        open(&backend, batch_size, executors, &clock(), &Cancel::default(), &report)?;
    Ok((batch_size, executors.len(), warnings.into_inner()))
}

#[test]
fn with_room_for_all_nothing_is_said() {
    assert_eq!(opened(16, 2, 0).unwrap(), (8, 2, vec![]));
    assert_eq!(opened(32, 2, 4).unwrap(), (8, 4, vec![]));
}

#[test]
fn too_little_memory_makes_batches_smaller() {
    let (batch_size, executors, warnings) = opened(3, 1, 0).unwrap();
    assert_eq!((batch_size, executors), (2, 1));
    assert_eq!(
        warnings,
        [
            "The device has no room; trying again with batches of 4",
            "The device has no room; trying again with batches of 2"
        ]
    );
}

#[test]
fn an_open_number_of_executors_is_given_up_before_the_batch_size() {
    let (batch_size, executors, warnings) = opened(4, 2, 0).unwrap();
    assert_eq!((batch_size, executors), (4, 1));
    assert_eq!(
        warnings,
        [
            "The device has no room; trying again with one batch in flight",
            "The device has no room; trying again with batches of 4"
        ]
    );
}

#[test]
fn a_number_that_was_asked_for_is_kept() {
    let (batch_size, executors, warnings) = opened(9, 1, 2).unwrap();
    assert_eq!((batch_size, executors, warnings.len()), (4, 2, 1));
}

#[test]
fn an_open_batch_size_is_what_the_backend_prepared() {
    assert_eq!(opened_for(0, 16, 1, 0).unwrap(), (16, 1, vec![]));
    let (batch_size, _, warnings) = opened_for(0, 15, 1, 0).unwrap();
    assert_eq!(
        (batch_size, &warnings[..]),
        (8, &["The device has no room; trying again with batches of 8".to_string()][..])
    );
}

#[test]
fn without_room_for_one_crop_loading_fails() {
    assert_eq!(opened(0, 2, 0).unwrap_err().kind, ErrorKind::OutOfMemory);
}

#[test]
fn where_batches_cannot_be_smaller_another_device_is_tried() {
    /// Its file allows batches of only one size.
    struct Fixed(SmallDevice, Option<Arc<BackendOf<Fake>>>);
    impl Backend for Fixed {
        type Network = Fake;

        fn open(&self, loading: &Loading) -> Result<(Fake, Box<dyn Executor>), Error> {
            assert_eq!(loading.most_crops, 8, "it is not asked for fewer");
            self.0.open(loading)
        }
        fn likely_executors(&self) -> usize {
            self.0.likely
        }
        fn takes_smaller_batches(&self) -> bool {
            false
        }
        fn elsewhere(&self) -> Option<(&'static str, Arc<BackendOf<Fake>>)> {
            self.1.clone().map(|other| ("the spare", other))
        }
    }
    let device = |room| SmallDevice { room, likely: 2, ..SmallDevice::default() };
    let warnings = std::cell::RefCell::new(Vec::new());
    let report = |event| warnings.borrow_mut().push(event);
    let open = |backend: Arc<BackendOf<Fake>>| {
        open(&backend, 8, 0, &clock(), &Cancel::default(), &report)
            .map(|all| (all.batch_size, all.executors.len()))
    };
    let spare: Arc<BackendOf<Fake>> = Arc::new(device(16));
    assert_eq!(open(Arc::new(Fixed(device(7), Some(spare)))), Ok((8, 2)));
    let text = |less: &str| LoadEvent::Warning(format!("The device has no room; trying again {less}"));
    let is_warning = |event: &LoadEvent| matches!(event, LoadEvent::Warning(_));
    let told = |events: Vec<LoadEvent>| events.into_iter().filter(is_warning).collect::<Vec<_>>();
    assert_eq!(told(warnings.take()), [text("with one batch in flight"), text("on the spare")]);
    // The user asked for this device, so there is no other place.
    assert_eq!(open(Arc::new(Fixed(device(7), None))).unwrap_err().kind, ErrorKind::OutOfMemory);
    assert_eq!(told(warnings.take()), [text("with one batch in flight")]);
}

#[test]
fn a_warm_up_that_fails_has_freed_all_before_the_next_try() {
    /// Has room to load, but not for the second executor's runs of batches of 8.
    #[derive(Default)]
    struct Tight {
        living: Arc<Mutex<Vec<usize>>>,
        warmed: Arc<Mutex<usize>>,
    }
    struct Working(usize, Arc<Mutex<Vec<usize>>>, Arc<Mutex<usize>>);
    impl Backend for Tight {
        type Network = Fake;

        fn open(&self, loading: &Loading) -> Result<(Fake, Box<dyn Executor>), Error> {
            let size = loading.most_crops;
            let mut living = self.living.lock().unwrap();
            assert!(living.iter().all(|other| *other == size), "{living:?} live beside one of {size}");
            living.push(size);
            Ok((Fake, Box::new(Working(size, self.living.clone(), self.warmed.clone()))))
        }
    }
    impl Executor for Working {
        fn load(&mut self, _: usize, _: &dyn Slot) {}
        fn run(&mut self, rows: usize, _: &mut [f32]) -> Result<usize, Error> {
            let mut warmed = self.2.lock().unwrap();
            *warmed += 1;
            if rows == 8 && *warmed > WARM_UP_RUNS {
                return Err(Error::new(ErrorKind::OutOfMemory, "The device has no room"));
            }
            Ok(rows)
        }
        fn warm_up_sizes(&self) -> Vec<usize> {
            vec![self.0]
        }
    }
    impl Drop for Working {
        fn drop(&mut self) {
            // Releasing the memory takes time.
            (0..1000).for_each(|_| std::thread::yield_now());
            let mut living = self.1.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let own = living.iter().position(|size| *size == self.0).unwrap();
            living.remove(own);
        }
    }
    let tight = Tight::default();
    let living = tight.living.clone();
    let backend: Arc<BackendOf<Fake>> = Arc::new(tight);
    let all = open(&backend, 8, 2, &clock(), &Cancel::default(), &|_| ()).expect("the second try has room");
    assert_eq!((all.batch_size, all.executors.len()), (4, 2));
    drop(all);
    assert_eq!(*living.lock().unwrap(), [0; 0], "nobody lives when they are dropped");
}
