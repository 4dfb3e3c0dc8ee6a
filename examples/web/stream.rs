//! A camera's stream on its way to the viewers.
//!
//! The latest frames are kept once for all viewers; a viewer is a place among them. A slow viewer falls out at the old end
//! and continues with the newest frame that can be shown without earlier ones, so that viewers cost no memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use tokio::sync::watch;

/// Most bytes that are kept of a stream, whatever the encoder makes.
pub const MOST: usize = 8 << 20;

/// An encoded frame, as viewers receive it.
pub struct Frame {
    /// It can be shown without earlier frames.
    pub is_key: bool,
    pub bytes: Bytes,
}

type OnWatched = Box<dyn Fn(bool) + Send>;

#[derive(Default)]
struct State {
    /// What must precede the first frame; none before the pipeline has started.
    opening: Option<Bytes>,
    /// Number of the streams so far.
    streams: u64,
    /// From the key frame before the last one on.
    frames: VecDeque<Frame>,
    /// Number of the first of them, and of the newest key frame; all frames are numbered from 0.
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
            // Viewers that are still before the last key frame fall out.
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
    /// Called when viewers come or go. It has its own lock, because it calls elements.
    on_watched: Mutex<Option<OnWatched>>,
    /// Called for each frame.
    news: watch::Sender<()>,
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn tell(&self) {
        let tell = lock(&self.on_watched);
        // Read with the lock held, so that the last caller passes on the current state.
        let is_watched = self.state().viewers > 0;
        if let Some(tell) = &*tell {
            tell(is_watched);
        }
    }

    /// Sets a new pipeline as the source of frames. `on_watched` is called at once, and whenever viewers come or go.
    pub fn connect(&self, on_watched: impl Fn(bool) + Send + 'static) {
        let mut state = self.state();
        state.clear();
        state.opening = None;
        drop(state);
        *lock(&self.on_watched) = Some(Box::new(on_watched));
        self.tell();
    }

    /// What must precede the following frames.
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
    /// The stream that is watched, and the number of its next frame.
    place: Option<(u64, u64)>,
}

impl Viewer {
    /// What to send now, if anything is new. The opening comes first, and again after frames were skipped.
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
        // The sender is kept in the stream.
        let _ = self.news.changed().await;
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut state = self.stream.state();
        state.viewers -= 1;
        let was_last = state.viewers == 0;
        if was_last {
            // The next viewer's stream begins with a new key frame.
            state.clear();
        }
        drop(state);
        if was_last {
            self.stream.tell();
        }
    }
}
