//! Engines that elements of a process share under a name.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use super::{Cancel, Engine, Error, ErrorKind};
use crate::sync::{Condvar, Mutex, lock, wait};

/// Settings that must be equal for all elements that share an engine: name and value of each.
pub type Agreement = Vec<(&'static str, String)>;

/// What belongs to a name.
enum Slot<T> {
    /// An element is loading it.
    Opening,
    Open {
        engine: Weak<T>,
        agreement: Agreement,
        owner: String,
    },
}

/// The shared engines of a process, each with what its elements must know about it. Its lock is never held while a model is
/// loaded or an engine is closed.
pub struct Registry<T>(Arc<Slots<T>>);

struct Slots<T> {
    by_name: Mutex<HashMap<String, Slot<T>>>,
    changed: Condvar,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Arc::new(Slots { by_name: Mutex::default(), changed: Condvar::default() }))
    }
}

impl<T: AsRef<Engine> + Send + Sync + 'static> Registry<T> {
    /// The engine called `name`: the running one, or what `open` returns. While another element loads it, this waits; if
    /// that fails, it tries itself. `owner` and `agreement` are for the error of the next element that disagrees.
    pub fn get(
        &self,
        name: &str,
        agreement: Agreement,
        owner: &str,
        cancel: &Cancel,
        open: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Arc<T>, Error> {
        if let Some(engine) = self.find_or_reserve(name, &agreement, owner, cancel)? {
            return Ok(engine);
        }
        let reservation = Reservation { slots: &self.0, name };
        let engine = Arc::new(open()?);
        let slot = Slot::Open { engine: Arc::downgrade(&engine), agreement, owner: owner.to_string() };
        lock(&self.0.by_name).insert(name.to_string(), slot);
        drop(reservation);
        Ok(engine)
    }

    /// The running engine; none: the caller must open it, and the name is reserved for it.
    fn find_or_reserve(
        &self,
        name: &str,
        agreement: &Agreement,
        owner: &str,
        cancel: &Cancel,
    ) -> Result<Option<Arc<T>>, Error> {
        let waiting = self.0.clone();
        cancel.on_cancel(move || {
            let _slots = lock(&waiting.by_name);
            waiting.changed.notify_all();
        });
        let mut slots = lock(&self.0.by_name);
        loop {
            cancel.check()?;
            match slots.get(name) {
                Some(Slot::Opening) => slots = wait(&self.0.changed, slots),
                Some(Slot::Open { engine, agreement: agreed, owner: first }) => {
                    let engine = engine.upgrade();
                    // An engine that is closed, or whose executors are gone, cannot be shared.
                    let lives = engine.as_ref().is_some_and(|engine| !(**engine).as_ref().has_failed());
                    let disagreement =
                        lives.then(|| disagreement(name, agreement, agreed, owner, first)).flatten();
                    if !lives {
                        slots.insert(name.to_string(), Slot::Opening);
                    }
                    // This may be the last handle now, and an engine must not be closed under the lock.
                    drop(slots);
                    return disagreement.map_or(Ok(engine.filter(|_| lives)), Err);
                }
                None => {
                    slots.insert(name.to_string(), Slot::Opening);
                    return Ok(None);
                }
            }
        }
    }
}

/// Frees the name if loading ends without an engine, and wakes the elements that wait for it.
struct Reservation<'a, T> {
    slots: &'a Slots<T>,
    name: &'a str,
}

impl<T> Drop for Reservation<'_, T> {
    fn drop(&mut self) {
        let mut by_name = lock(&self.slots.by_name);
        if matches!(by_name.get(self.name), Some(Slot::Opening)) {
            by_name.remove(self.name);
        }
        self.slots.changed.notify_all();
    }
}

fn disagreement(
    name: &str,
    asked: &Agreement,
    agreed: &Agreement,
    owner: &str,
    first: &str,
) -> Option<Error> {
    let (property, ours, theirs) = asked
        .iter()
        .zip(agreed)
        .find_map(|((property, ours), (_, theirs))| (ours != theirs).then_some((property, ours, theirs)))?;
    Some(Error::new(
        ErrorKind::Settings,
        format!(
            "{owner} and {first} share the engine {name} (model-instance-id), but {property} is {ours} here and \
             {theirs} there: set both to the same value, or use different names"
        ),
    ))
}
