//! How many client connections are open, and when the last one has gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts open connections; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    open: AtomicUsize,
    changed: Notify,
}

impl Connections {
    /// Counts one more until the guard is dropped; `None` when `limit` are open already.
    pub fn enter(&self, limit: usize) -> Option<Open> {
        let entered =
            self.0.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < limit).then_some(open + 1));
        entered.is_ok().then(|| Open(self.0.clone()))
    }

    /// Open now.
    pub fn count(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Returns when none is open.
    pub async fn gone(&self) {
        loop {
            let changed = self.0.changed.notified();
            if self.count() == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_counts_what_is_open_not_what_came() {
        let connections = Connections::default();
        let one = connections.enter(2).unwrap();
        let two = connections.enter(2).unwrap();
        assert!(connections.enter(2).is_none());
        drop(one);
        assert_eq!(connections.count(), 1);
        assert!(connections.enter(2).is_some());
        drop(two);
        assert_eq!(connections.count(), 0);
    }

    #[tokio::test]
    async fn gone_returns_when_the_last_one_leaves() {
        let connections = Connections::default();
        connections.gone().await;
        let open = connections.enter(1).unwrap();
        let waiting = tokio::spawn({
            let connections = connections.clone();
            async move { connections.gone().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(open);
        waiting.await.unwrap();
    }
}
