//! One fetch at a time of a range, or for those who would rather wait than have a stale copy: who comes second waits for
//! the first to end, and looks again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The fetches in progress, by what is fetched: no more than there are requests.
#[derive(Debug)]
pub(super) struct Flights<K: Eq + Hash>(Mutex<HashMap<K, watch::Receiver<()>>>);

/// The place of a request among those for one thing.
#[derive(Debug)]
pub(super) enum Place<K: Eq + Hash> {
    /// The first, which fetches.
    First(Flight<K>),
    /// Another.
    Other(Ahead),
}

/// A fetch. Over when dropped.
#[derive(Debug)]
pub(super) struct Flight<K: Eq + Hash> {
    flights: Arc<Flights<K>>,
    key: K,
    /// Its drop wakes those who wait.
    over: watch::Sender<()>,
}

/// The fetch ahead of one that waits.
#[derive(Debug)]
pub(super) struct Ahead(watch::Receiver<()>);

impl<K: Eq + Hash> Default for Flights<K> {
    fn default() -> Flights<K> {
        Flights(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone> Flights<K> {
    /// Takes a place for this.
    pub(super) fn enter(self: &Arc<Flights<K>>, key: K) -> Place<K> {
        let mut flights = self.0.lock();
        if let Some(ahead) = flights.get(&key) {
            return Place::Other(Ahead(ahead.clone()));
        }
        let (over, ahead) = watch::channel(());
        flights.insert(key.clone(), ahead);
        Place::First(Flight { flights: Arc::clone(self), key, over })
    }
}

impl<K: Eq + Hash> Flight<K> {
    /// To wait for its own end, where it is flown by somebody else.
    pub(super) fn ahead(&self) -> Ahead {
        Ahead(self.over.subscribe())
    }
}

impl Ahead {
    /// Returns when the fetch is over, or after `limit`.
    pub(super) async fn wait(mut self, limit: Duration) {
        // Nothing is ever sent: what ends the wait is that the sender is gone.
        let _over_or_late = tokio::time::timeout(limit, self.0.changed()).await;
    }
}

impl<K: Eq + Hash> Drop for Flight<K> {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_wait_for_the_first_and_then_one_is_first_again() {
        let flights = Arc::new(Flights::default());
        let Place::First(first) = flights.enter((1, 1)) else { panic!("nobody is ahead") };
        let Place::Other(ahead) = flights.enter((1, 1)) else { panic!("one is ahead") };
        assert!(matches!(flights.enter((2, 1)), Place::First(_)));
        assert!(matches!(flights.enter((1, 2)), Place::First(_)));
        let waiting = tokio::spawn(ahead.wait(Duration::from_secs(3600)));
        drop(first);
        waiting.await.unwrap();
        assert!(matches!(flights.enter((1, 1)), Place::First(_)));
        assert!(flights.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_told() {
        let flights = Arc::new(Flights::default());
        let _first = flights.enter((1, 1));
        let Place::Other(ahead) = flights.enter((1, 1)) else { panic!("one is ahead") };
        ahead.wait(Duration::from_secs(5)).await;
    }
}
