//! A backend's workers, and the queue before them: first in, first out, and whoever leaves is out of it.
//!
//! A worker goes on at the moment at which it was to end, not at the later one at which its task was polled: so the capacity
//! is that of the drawn times, however late this process is scheduled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot::{self, Receiver, Sender};

/// The workers of one backend. Times are since the load's begin.
pub(crate) struct Workers {
    inner: Mutex<Inner>,
}

struct Inner {
    idle: usize,
    /// Each is told when its worker became free.
    queue: VecDeque<Sender<Duration>>,
}

/// A worker at work.
pub(crate) struct Turn {
    workers: Arc<Workers>,
    /// When it began.
    pub(crate) from: Duration,
}

/// A place in the queue.
struct Place<'a> {
    workers: &'a Workers,
    free: Receiver<Duration>,
}

impl Workers {
    pub(crate) fn new(number: usize) -> Arc<Workers> {
        Arc::new(Workers { inner: Mutex::new(Inner { idle: number, queue: VecDeque::new() }) })
    }

    /// Waits for a worker; dropped before that, it leaves the queue.
    pub(crate) async fn turn(self: &Arc<Workers>, now: Duration) -> Turn {
        let place = self.place();
        let from = match place {
            None => now,
            // Workers outlast those who wait for them.
            Some(mut place) => (&mut place.free).await.map_or(now, |free| free.max(now)),
        };
        Turn { workers: self.clone(), from }
    }

    /// Takes an idle worker, or a place in the queue.
    fn place(&self) -> Option<Place<'_>> {
        let mut inner = self.inner.lock();
        if inner.idle > 0 {
            inner.idle -= 1;
            return None;
        }
        let (tell, free) = oneshot::channel();
        inner.queue.push_back(tell);
        Some(Place { workers: self, free })
    }

    /// Gives a worker to the first who still waits.
    fn free(&self, at: Duration) {
        let mut inner = self.inner.lock();
        while let Some(next) = inner.queue.pop_front() {
            if next.send(at).is_ok() {
                return;
            }
        }
        inner.idle += 1;
    }
}

impl Turn {
    /// Frees the worker, as of then.
    pub(crate) fn end(self, at: Duration) {
        self.workers.free(at);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.free.close();
        // It was given a worker and left before it knew.
        if let Ok(at) = self.free.try_recv() {
            self.workers.free(at);
        }
    }
}
