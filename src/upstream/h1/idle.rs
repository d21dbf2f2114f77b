//! Connections that wait for their next request.
//!
//! They cost nothing while they wait: no task, no timer. Whoever takes one sees whether it is still open, and once a
//! second, as long as there are any, those that have ended or waited for too long are closed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::connectors::TransportConnector;
use pingora::upstreams::peer::{HttpPeer, Peer};

use super::connection::Connection;
use crate::clock;
use crate::units::Tick;
use crate::upstream::Failure;

/// The most connections that wait.
const MOST: usize = 1024;
/// Shelves, so that threads seldom meet.
const SHELVES: usize = 16;
/// How often it is looked for those that have ended.
const SWEEP: Duration = Duration::from_secs(1);

/// One that waits, and until when.
struct Idle {
    until: Tick,
    http: Box<Connection>,
}

/// Those of one backend (and one rule of trust), the one that came last at the back.
type Shelf = HashMap<u64, VecDeque<Idle>>;

/// Connections to all backends.
pub struct Connections {
    tls: TransportConnector,
    shelves: [Mutex<Shelf>; SHELVES],
    count: AtomicUsize,
    is_swept: AtomicBool,
}

impl Connections {
    /// None yet.
    pub fn new() -> Arc<Connections> {
        Arc::new(Connections {
            tls: TransportConnector::new(None),
            shelves: std::array::from_fn(|_| Mutex::default()),
            count: AtomicUsize::new(0),
            is_swept: AtomicBool::new(false),
        })
    }

    /// A new connection.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connect(&self, peer: &HttpPeer) -> Result<Box<Connection>, Failure> {
        Connection::connect(peer, &self.tls).await
    }

    /// The connection to the peer with this `key` that was used last, if it is still open.
    pub fn take(&self, key: u64) -> Option<Box<Connection>> {
        let now = clock::now();
        loop {
            let Idle { until, mut http } = self.shelf(key).lock().get_mut(&key)?.pop_back()?;
            self.count.fetch_sub(1, Ordering::Relaxed);
            // One that has ended is closed here, outside of the lock.
            if now < until && http.is_silent() {
                return Some(http);
            }
        }
    }

    /// Keeps a connection to the peer with this `key` for its next exchange, if there may be one.
    pub fn put(self: &Arc<Self>, key: u64, peer: &HttpPeer, mut http: Box<Connection>) {
        let Some(patience) = peer.idle_timeout() else { return };
        if !http.renew() {
            return;
        }
        let until = clock::now() + patience;
        let shelf = self.shelf(key);
        let mut crowded_out = None;
        if self.count.fetch_add(1, Ordering::Relaxed) >= MOST {
            crowded_out = oldest(&mut shelf.lock());
            if crowded_out.is_none() {
                self.count.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        shelf.lock().entry(key).or_default().push_back(Idle { until, http });
        drop(crowded_out);
        if !self.is_swept.swap(true, Ordering::AcqRel) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn shelf(&self, key: u64) -> &Mutex<Shelf> {
        &self.shelves[(key as usize) % SHELVES]
    }

    /// Closes those that have ended or waited for too long; whether any are left.
    fn sweep(&self, now: Tick) -> bool {
        for shelf in &self.shelves {
            let mut closed = Vec::new();
            shelf.lock().retain(|_, idle| {
                for mut one in std::mem::take(idle) {
                    let stays = now < one.until && one.http.is_silent();
                    if stays { idle.push_back(one) } else { closed.push(one) }
                }
                !idle.is_empty()
            });
            self.count.fetch_sub(closed.len(), Ordering::Relaxed);
        }
        self.count.load(Ordering::Relaxed) > 0
    }
}

/// Takes out the one that has waited for longest.
fn oldest(shelf: &mut Shelf) -> Option<Idle> {
    let longest = shelf.values_mut().filter(|idle| !idle.is_empty());
    longest.min_by_key(|idle| idle.front().map(|one| one.until))?.pop_front()
}

/// Sweeps until nothing waits.
async fn sweep(connections: Weak<Connections>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(connections) = connections.upgrade() else { return };
        if connections.sweep(clock::now()) {
            continue;
        }
        connections.is_swept.store(false, Ordering::Release);
        // One may have come just before.
        let has_more = connections.count.load(Ordering::Acquire) > 0;
        if !has_more || connections.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
    }
}
