//! One fetch of a range at a time: who comes second waits for the first to end, and looks again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::cache::key::HashBinary;
use tokio::sync::watch;

use crate::cache::parts::Wanted;

/// What is fetched: a range of a resource, as it is asked for upstream.
type Key = (HashBinary, Wanted);

/// The fetches in progress: no more than there are requests.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<Key, watch::Receiver<()>>>);

/// The place of a request among those for one range.
#[derive(Debug)]
pub(super) enum Place {
    /// The first, which fetches.
    First(Flight),
    /// Another.
    Other(Ahead),
}

/// A fetch. Over when dropped.
#[derive(Debug)]
pub(super) struct Flight {
    flights: Arc<Flights>,
    key: Key,
    /// Its drop wakes those who wait.
    _over: watch::Sender<()>,
}

/// The fetch ahead of one that waits.
#[derive(Debug)]
pub(super) struct Ahead(watch::Receiver<()>);

impl Flights {
    /// Takes a place for this range of the resource.
    pub(super) fn enter(self: &Arc<Flights>, primary: HashBinary, range: Wanted) -> Place {
        let key = (primary, range);
        let mut flights = self.0.lock();
        if let Some(ahead) = flights.get(&key) {
            return Place::Other(Ahead(ahead.clone()));
        }
        let (over, ahead) = watch::channel(());
        flights.insert(key, ahead);
        Place::First(Flight { flights: Arc::clone(self), key, _over: over })
    }
}

impl Ahead {
    /// Returns when the fetch is over, or after `limit`.
    pub(super) async fn wait(mut self, limit: Duration) {
        // Nothing is ever sent: what ends the wait is that the sender is gone.
        let _over_or_late = tokio::time::timeout(limit, self.0.changed()).await;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Wanted = Wanted::Suffix(1);

    #[tokio::test]
    async fn others_wait_for_the_first_and_then_one_is_first_again() {
        let flights = Arc::new(Flights::default());
        let Place::First(first) = flights.enter([1; 16], RANGE) else { panic!("nobody is ahead") };
        let Place::Other(ahead) = flights.enter([1; 16], RANGE) else { panic!("one is ahead") };
        assert!(matches!(flights.enter([2; 16], RANGE), Place::First(_)));
        assert!(matches!(flights.enter([1; 16], Wanted::Suffix(2)), Place::First(_)));
        let waiting = tokio::spawn(ahead.wait(Duration::from_secs(3600)));
        drop(first);
        waiting.await.unwrap();
        assert!(matches!(flights.enter([1; 16], RANGE), Place::First(_)));
        assert!(flights.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_told() {
        let flights = Arc::new(Flights::default());
        let _first = flights.enter([1; 16], RANGE);
        let Place::Other(ahead) = flights.enter([1; 16], RANGE) else { panic!("one is ahead") };
        ahead.wait(Duration::from_secs(5)).await;
    }
}
