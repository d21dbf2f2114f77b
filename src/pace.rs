//! How long the client of a connection has kept its answer waiting.
//!
//! Only the stream under pingora ([`crate::lane`]) sees when a client does not take what is written; the request's account
//! ([`crate::proxy`]) wants to know it. Like [`crate::last_word`] it belongs to the connection's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static OF_THIS_CONNECTION: Pace;
}

/// The pace of one connection's present request; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<AtomicU64>);

impl Pace {
    /// Runs a connection with this as its own.
    pub fn scope<F: Future>(self, connection: F) -> TaskLocalFuture<Pace, F> {
        OF_THIS_CONNECTION.scope(self, connection)
    }

    /// That of the connection this is called for; `None` for what no connection waits for.
    pub fn of_this_connection() -> Option<Pace> {
        OF_THIS_CONNECTION.try_with(Clone::clone).ok()
    }

    /// A write has waited for the client for so long.
    pub fn waited(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long writes of the present request have waited.
    pub fn held_up(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// Another request begins.
    pub fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_add_up_until_the_next_request() {
        let pace = Pace::default();
        assert!(Pace::of_this_connection().is_none());
        pace.clone().scope(async { Pace::of_this_connection().unwrap().waited(Duration::from_millis(3)) }).await;
        pace.waited(Duration::from_millis(4));
        assert_eq!(pace.held_up(), Duration::from_millis(7));
        pace.clear();
        assert_eq!(pace.held_up(), Duration::ZERO);
    }
}
