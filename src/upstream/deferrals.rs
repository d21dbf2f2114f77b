//! The late requests of one route that were denied a copy, and how they are woken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::tail::deferred::{Deferred, Place};
use crate::units::Tick;

/// Requests that wait for a token.
#[derive(Debug, Default)]
pub struct Deferrals {
    queue: Mutex<Deferred<Arc<Notify>>>,
    /// So that a request that comes while nobody waits takes no lock.
    waiting: AtomicUsize,
}

/// A place among them, until dropped.
#[derive(Debug)]
pub struct Deferral {
    deferrals: Arc<Deferrals>,
    place: Place,
    wake: Arc<Notify>,
}

impl Deferrals {
    /// Takes a place for a request that began at `begun`.
    pub fn enter(self: &Arc<Self>, begun: Tick) -> Deferral {
        let wake = Arc::new(Notify::new());
        let place = self.queue.lock().enter(begun, wake.clone());
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Deferral { deferrals: self.clone(), place, wake }
    }

    /// A token may have come: wakes the one that has waited longest.
    pub fn wake(&self) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(oldest) = self.queue.lock().oldest() {
            oldest.notify_one();
        }
    }
}

impl Deferral {
    /// Returns when a token may have come.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Deferral {
    fn drop(&mut self) {
        self.deferrals.queue.lock().leave(self.place);
        self.deferrals.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
