//! How many requests are under way on a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The count; see the module.
#[derive(Default)]
pub(super) struct Active {
    count: AtomicUsize,
    changed: Notify,
}

/// One request that is under way.
pub(super) struct Busy(Arc<Active>);

impl Active {
    /// One more, until what is returned goes.
    pub(super) fn enter(self: &Arc<Active>) -> Busy {
        self.count.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Returns when there is none.
    pub(super) async fn none(&self) {
        while self.count.load(Ordering::Relaxed) != 0 {
            self.changed.notified().await;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.changed.notify_one();
        }
    }
}
