//! A camera's stream on its way to the viewers.
//!
//! The last frames are kept once, for all viewers: a viewer is a place among them. One that is slow falls out at the old end and
//! goes on at the newest frame that can be shown without those before it, so that nobody costs memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use tokio::sync::watch;

/// Bytes that are kept of a stream at most, whatever the encoder makes.
pub const MOST: usize = 8 << 20;

/// What the encoder has made of a frame, as viewers get it.
pub struct Frame {
    /// It can be shown without those before it.
    pub is_key: bool,
    pub bytes: Bytes,
}

type OnWatched = Box<dyn Fn(bool) + Send>;

#[derive(Default)]
struct State {
    /// What has to come before the first frame that is shown; none before the pipeline has begun.
    opening: Option<Bytes>,
    /// How many streams there have been.
    streams: u64,
    /// From the key frame before the last one on.
    frames: VecDeque<Frame>,
    /// Number of the first of them, and of the newest key frame: all frames are numbered from 0 on.
    first: u64,
    newest_key: Option<u64>,
    viewers: usize,
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn clear(&mut self) {
        self.first = self.end();
        self.frames.clear();
        self.newest_key = None;
    }

    fn push(&mut self, frame: Frame) {
        if frame.is_key {
            // Whoever is still before the last key frame falls out.
            let kept = self.newest_key.replace(self.end()).unwrap_or(self.end());
            self.frames.drain(..(kept - self.first) as usize);
            self.first = kept;
        }
        if self.newest_key.is_none() {
            return;
        }
        self.frames.push_back(frame);
        if self.frames.iter().map(|frame| frame.bytes.len()).sum::<usize>() > MOST {
            self.clear();
        }
    }
}

#[derive(Default)]
pub struct Stream {
    state: Mutex<State>,
    /// Is told whether somebody watches. A lock of its own: elements are called with it.
    on_watched: Mutex<Option<OnWatched>>,
    /// Told of each frame.
    news: watch::Sender<()>,
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn tell(&self) {
        let tell = lock(&self.on_watched);
        // Asked with the lock held: the last one who tells says how it is.
        let is_watched = self.state().viewers > 0;
        if let Some(tell) = &*tell {
            tell(is_watched);
        }
    }

    /// A new pipeline makes the frames from now on. It is told at once, and whenever that changes, whether somebody watches.
    pub fn connect(&self, on_watched: impl Fn(bool) + Send + 'static) {
        let mut state = self.state();
        state.clear();
        state.opening = None;
        drop(state);
        *lock(&self.on_watched) = Some(Box::new(on_watched));
        self.tell();
    }

    /// What has to come before the frames that follow.
    pub fn begin(&self, opening: Bytes) {
        let mut state = self.state();
        state.clear();
        state.opening = Some(opening);
        state.streams += 1;
    }

    pub fn push(&self, frame: Frame) {
        self.state().push(frame);
        self.news.send_replace(());
    }

    pub fn viewer(self: &Arc<Self>) -> Viewer {
        let mut state = self.state();
        state.viewers += 1;
        let is_first = state.viewers == 1;
        drop(state);
        if is_first {
            self.tell();
        }
        Viewer { stream: self.clone(), news: self.news.subscribe(), place: None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Viewer {
    stream: Arc<Stream>,
    news: watch::Receiver<()>,
    /// The stream that is being watched, and the number of its frame that comes next.
    place: Option<(u64, u64)>,
}

impl Viewer {
    /// What to send now, if anything is new. The opening comes first, and again where frames were left out.
    pub fn take(&mut self) -> Option<Bytes> {
        let state = self.stream.state();
        if let Some((stream, next)) = &mut self.place
            && (*stream, true) == (state.streams, state.first <= *next)
        {
            let frame = state.frames.get((*next - state.first) as usize)?;
            *next += 1;
            return Some(frame.bytes.clone());
        }
        let key = state.newest_key?;
        let opening = state.opening.clone()?;
        self.place = Some((state.streams, key));
        Some(opening)
    }

    /// Waits until something may be new.
    pub async fn changed(&mut self) {
        // The sender is in the stream, which is kept.
        let _ = self.news.changed().await;
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut state = self.stream.state();
        state.viewers -= 1;
        let was_last = state.viewers == 0;
        if was_last {
            // What comes to the next viewer begins with a key frame of then.
            state.clear();
        }
        drop(state);
        if was_last {
            self.stream.tell();
        }
    }
}
