//! Changes while an engine runs, for the users of all its streams: each stream reports each change once.

use std::{collections::VecDeque, sync::Arc};

use crate::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
    lock,
};

/// Most changes that are kept for streams that have not reported them: if no frame leaves, older changes are forgotten.
const KEPT: usize = 64;

/// A change to report to users, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something got worse.
    Warning(String),
    /// Something works again.
    Info(String),
}

/// The changes of an engine, in order, and what runs its network at present. A backend receives it with `report_to`, and may
/// write to it from any thread.
#[derive(Default)]
pub struct News {
    /// Number of changes so far.
    count: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest ones.
    changes: VecDeque<Arc<Change>>,
    /// What runs the network instead of its own provider; none while its own does.
    provider: Option<String>,
}

impl News {
    /// Something has changed, but not what runs the network.
    pub fn tell(&self, change: Change) {
        self.add(&mut lock(&self.state), change);
    }

    /// From now on `provider` runs the network; none: its own provider does again. Reports the change, unless there was
    /// none.
    pub fn moved(&self, provider: Option<&str>, change: Change) {
        let mut state = lock(&self.state);
        if state.provider.as_deref() != provider {
            state.provider = provider.map(str::to_string);
            self.add(&mut state, change);
        }
    }

    fn add(&self, state: &mut State, change: Change) {
        if state.changes.len() == KEPT {
            state.changes.pop_front();
        }
        state.changes.push_back(Arc::new(change));
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// What runs the network instead of its own provider; none while its own does.
    pub(super) fn provider(&self) -> Option<String> {
        lock(&self.state).provider.clone()
    }

    /// The changes that `told` does not count yet; counts them.
    pub(super) fn after(&self, told: &AtomicU64) -> Vec<Arc<Change>> {
        // Called for each frame.
        if told.load(Ordering::SeqCst) == self.count.load(Ordering::SeqCst) {
            return Vec::new();
        }
        let state = lock(&self.state);
        let count = self.count.load(Ordering::SeqCst);
        let new = count - told.swap(count, Ordering::SeqCst);
        let known = usize::try_from(new).unwrap_or(usize::MAX).min(state.changes.len());
        state.changes.iter().skip(state.changes.len() - known).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(changes: Vec<Arc<Change>>) -> Vec<String> {
        let text = |change: Arc<Change>| match &*change {
            Change::Warning(text) | Change::Info(text) => text.clone(),
        };
        changes.into_iter().map(text).collect()
    }

    #[test]
    fn each_stream_hears_of_each_change_once() {
        let news = News::default();
        let (early, late) = (AtomicU64::new(0), AtomicU64::new(0));
        news.tell(Change::Warning("one".to_string()));
        assert_eq!(texts(news.after(&early)), ["one"]);
        assert!(news.after(&early).is_empty());
        news.moved(Some("cpu"), Change::Warning("two".to_string()));
        news.moved(Some("cpu"), Change::Warning("again".to_string()));
        assert_eq!(news.provider().as_deref(), Some("cpu"));
        news.moved(None, Change::Info("three".to_string()));
        assert_eq!(texts(news.after(&late)), ["one", "two", "three"]);
        assert_eq!(texts(news.after(&early)), ["two", "three"]);
        assert_eq!(news.provider(), None);
    }

    #[test]
    fn what_nobody_hears_is_bounded() {
        let news = News::default();
        let told = AtomicU64::new(0);
        (0..1000).for_each(|number| news.tell(Change::Info(number.to_string())));
        let heard = texts(news.after(&told));
        assert_eq!((heard.len(), heard.last().map(String::as_str)), (KEPT, Some("999")));
        assert!(news.after(&told).is_empty());
    }
}
