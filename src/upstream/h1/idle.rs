//! Connections that wait for their next request.
//!
//! They cost nothing while they wait: no task, no timer. Whoever takes one sees whether it is still open, and once a
//! second, as long as there are any, those that have ended or waited for too long are closed.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::upstreams::peer::{HttpPeer, Peer};

use super::connection::Connection;
use crate::clock;
use crate::units::Tick;

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

/// Those of one key, the one that came last at the back.
type Shelf = HashMap<u64, VecDeque<Idle>>;

/// Connections to all backends that wait.
pub struct Kept {
    shelves: [Mutex<Shelf>; SHELVES],
    count: AtomicUsize,
    most: usize,
    is_swept: AtomicBool,
}

impl Kept {
    /// None yet.
    pub fn new() -> Arc<Kept> {
        Kept::with_room_for(MOST)
    }

    fn with_room_for(most: usize) -> Arc<Kept> {
        Arc::new(Kept {
            shelves: std::array::from_fn(|_| Mutex::default()),
            count: AtomicUsize::new(0),
            most,
            is_swept: AtomicBool::new(false),
        })
    }

    /// The connection with this `key` that was used last, if it is still open.
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

    /// Keeps a connection to `peer` for its next exchange, if there may be one.
    pub fn put(self: &Arc<Self>, peer: &HttpPeer, mut http: Box<Connection>) {
        let key = http.key();
        let Some(patience) = peer.idle_timeout() else { return };
        if !http.renew() {
            return;
        }
        let until = clock::now() + patience;
        let shelf = self.shelf(key);
        let mut crowded_out = None;
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.most {
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
async fn sweep(kept: Weak<Kept>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(kept) = kept.upgrade() else { return };
        if kept.sweep(clock::now()) {
            continue;
        }
        kept.is_swept.store(false, Ordering::Release);
        // One may have come just before.
        let has_more = kept.count.load(Ordering::Acquire) > 0;
        if !has_more || kept.is_swept.swap(true, Ordering::AcqRel) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora::connectors::TransportConnector;
    use pingora::http::RequestHeader;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::h1::Request;

    /// A server that answers each read with a head, and keeps its kept.
    async fn peer(head: &'static str) -> HttpPeer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = HttpPeer::new(listener.local_addr().unwrap(), false, String::new());
        peer.options.idle_timeout = Some(Duration::from_secs(60));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 1024];
                    while stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {
                        stream.write_all(head.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        peer
    }

    async fn exchange(peer: &HttpPeer) -> Box<Connection> {
        let request = RequestHeader::build("GET", b"/", None).unwrap();
        let mut http = Connection::connect(7, peer, &TransportConnector::new(None), None).await.unwrap();
        http.send(&Request::of(&request, &[]).unwrap(), &[]).await.unwrap();
        http.read_head().await.unwrap();
        http
    }

    #[tokio::test]
    async fn no_more_wait_than_there_is_room_for_and_the_oldest_goes_first() {
        let kept = Kept::with_room_for(2);
        let peer = peer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let mut used = Vec::new();
        for _ in 0..3 {
            used.push(exchange(&peer).await);
        }
        for http in used {
            kept.put(&peer, http);
        }
        assert_eq!(kept.count.load(Ordering::Relaxed), 2);
        assert!(kept.take(8).is_none(), "another peer's");
        assert!(kept.take(7).is_some_and(|http| !http.is_fresh()));
        assert!(kept.take(7).is_some());
        assert!(kept.take(7).is_none());
        assert_eq!(kept.count.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn one_whose_response_has_not_ended_does_not_wait() {
        let kept = Kept::new();
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\nmore",
        ] {
            let peer = peer(head).await;
            kept.put(&peer, exchange(&peer).await);
            assert!(kept.take(7).is_none(), "{head}");
        }
    }

    #[tokio::test]
    async fn one_that_has_waited_for_too_long_is_swept_out() {
        let kept = Kept::new();
        let mut peer = peer("HTTP/1.1 204 No Content\r\n\r\n").await;
        peer.options.idle_timeout = Some(Duration::ZERO);
        kept.put(&peer, exchange(&peer).await);
        assert_eq!(kept.count.load(Ordering::Relaxed), 1);
        assert!(!kept.sweep(clock::now()));
        assert_eq!(kept.count.load(Ordering::Relaxed), 0);
    }
}
