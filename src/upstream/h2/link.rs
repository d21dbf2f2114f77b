//! One connection, and the task that drives it to its end.
//!
//! A dead peer is noticed in two ways. Where a request was given up and nothing at all has come since it was sent, the peer
//! is asked whether it is there (PING). And backends that do not mind can be asked at intervals, too, as long as requests
//! wait for them: gRPC servers by default take that for an attack. Who does not answer soon gets no new requests on this
//! connection, who does not answer at all loses those that it has.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::h2::client::{Connection, SendRequest};
use ::h2::{Ping, PingPong};
use bytes::Bytes;
use futures::future::{Either, pending, select};
use http::HeaderMap;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::request::Request;
use super::stream::Stream;
use crate::clock;
use crate::config::Http2;
use crate::units::Tick;
use crate::upstream::Failure;
use crate::upstream::io::Io;

/// How long a connection that nobody needs any longer may take to say so and close.
const FAREWELL: Duration = Duration::from_secs(1);
/// Who gave up a request sooner than this cannot say that the peer is dead.
const SUSPICIOUS: Duration = Duration::from_secs(1);
/// What part of the time that an answer to a PING may take passes before the peer gets no new requests.
const DOUBT: u32 = 10;
/// Beside the number of streams: there are to be no more of them.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// A connection that stands. It closes itself once nobody holds it.
pub(super) struct Link {
    send: SendRequest<Bytes>,
    /// Streams on it, and [`CLOSED`].
    in_use: AtomicUsize,
    /// The most that we want on it.
    most: usize,
    /// Whether a PING has not been answered for a while.
    is_doubtful: AtomicBool,
    /// When something came on it, and when a stream ended, on the monotonic clock in nanoseconds.
    heard: AtomicU64,
    used: AtomicU64,
    suspected: Arc<Notify>,
}

/// A place on a connection.
pub(super) struct Slot(Arc<Link>);

impl Link {
    /// A connection for as many streams as `config` and the backend allow.
    pub(super) fn new(send: SendRequest<Bytes>, config: &Http2) -> Arc<Link> {
        let now = clock::now().as_nanos();
        Arc::new(Link {
            send,
            in_use: AtomicUsize::new(0),
            most: config.max_streams as usize,
            is_doubtful: AtomicBool::new(false),
            heard: AtomicU64::new(now),
            used: AtomicU64::new(now),
            suspected: Arc::default(),
        })
    }

    /// A place on it, if it is usable and there is room.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Slot> {
        if self.is_doubtful.load(Ordering::Relaxed) {
            return None;
        }
        let most = self.room();
        let enter = |n| (n < most).then(|| n + 1);
        self.in_use.fetch_update(Ordering::AcqRel, Ordering::Relaxed, enter).ok()?;
        Some(Slot(self.clone()))
    }

    /// How many streams it may have at a time.
    pub(super) fn room(&self) -> usize {
        self.most.min(self.send.current_max_send_streams())
    }

    /// Whether there are to be no more streams on it.
    pub(super) fn is_closed(&self) -> bool {
        self.in_use.load(Ordering::Acquire) >= CLOSED
    }

    /// Lets nothing more onto it; what is on it goes on.
    pub(super) fn close(&self) {
        self.in_use.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// The same, if it has been unused for `idle`; if not, how long it must stay so for that.
    fn close_if_idle(&self, idle: Duration) -> Result<(), Duration> {
        let unused = clock::now().since(Tick::from_nanos(self.used.load(Ordering::Relaxed)));
        if unused < idle {
            return Err(idle - unused);
        }
        let closed = self.in_use.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Relaxed);
        closed.map(drop).map_err(|_| idle)
    }

    fn is_waited_for(&self) -> bool {
        self.in_use.load(Ordering::Acquire) & !CLOSED > 0
    }

    fn hear(&self) {
        self.heard.store(clock::now().as_nanos(), Ordering::Relaxed);
    }
}

impl Slot {
    /// Begins an exchange, with `more` fields in its request's head.
    ///
    /// # Errors
    /// [`Failure::StreamRefused`] if the connection takes no more of them, [`Failure::WriteFailed`] if the head cannot be
    /// written; nothing was sent then.
    pub(super) fn send(self, request: &Request, more: &HeaderMap) -> Result<Stream, Failure> {
        match self.0.send.clone().send_request(request.with(more), !request.has_body()) {
            Ok((response, body)) => Ok(Stream::new(self, response, body, request)),
            Err(e) if is_about_head(&e) => Err(Failure::WriteFailed),
            Err(_) => {
                self.0.close();
                Err(Failure::StreamRefused)
            }
        }
    }

    /// Something has come on the connection.
    pub(super) fn hear(&self) {
        self.0.hear();
    }

    /// An exchange is given up that has been waited for since then.
    pub(super) fn give_up(&self, since: Tick) {
        let is_silent = self.0.heard.load(Ordering::Relaxed) <= since.as_nanos();
        if is_silent && clock::now().since(since) >= SUSPICIOUS {
            self.0.suspected.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.used.store(clock::now().as_nanos(), Ordering::Relaxed);
        self.0.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Whether the connection has nothing to do with it that a request could not be sent.
fn is_about_head(e: &::h2::Error) -> bool {
    let is_connections = e.is_go_away() || e.is_io() || e.is_reset() || e.reason().is_some();
    !is_connections && !e.to_string().contains("stream ID overflowed")
}

/// Drives a connection until it ends, or is found dead. Once it has been unused for `idle` nobody is let onto it any more,
/// and `forget` is called.
pub(super) async fn drive(
    mut connection: Connection<Io>,
    link: Weak<Link>,
    config: Http2,
    idle: Duration,
    forget: impl Fn(),
) {
    let Some(mut pings) = connection.ping_pong() else { return };
    let watched = pin!(watch(&mut pings, &link, &config, idle, &forget));
    let _ended_or_dead: Either<_, _> = select(pin!(&mut connection), watched).await;
    if let Some(link) = link.upgrade() {
        link.close();
    }
    forget();
}

/// Returns when the connection is dead, or has had the time to close.
async fn watch(pings: &mut PingPong, link: &Weak<Link>, config: &Http2, idle: Duration, forget: &impl Fn()) {
    let Some(suspected) = link.upgrade().map(|link| link.suspected.clone()) else { return };
    let mut look = Instant::now() + idle;
    let mut ping = config.ping_interval.map(|interval| Instant::now() + interval);
    loop {
        let is_due = tokio::select! {
            () = suspected.notified() => true,
            () = until(ping) => {
                ping = config.ping_interval.map(|interval| Instant::now() + interval);
                link.upgrade().is_some_and(|link| link.is_waited_for())
            }
            () = sleep_until(look) => false,
        };
        let Some(link) = link.upgrade() else { break };
        if is_due {
            if !is_there(pings, &link, config.ping_timeout).await {
                return;
            }
            continue;
        }
        match link.close_if_idle(idle) {
            Ok(()) => break,
            Err(left) => look = Instant::now() + left,
        }
    }
    forget();
    sleep(FAREWELL).await;
}

/// Whether the peer answers a PING in time.
async fn is_there(pings: &mut PingPong, link: &Link, patience: Duration) -> bool {
    let mut answer = pin!(pings.ping(Ping::opaque()));
    let mut answered = timeout(patience / DOUBT, &mut answer).await;
    if answered.is_err() {
        link.is_doubtful.store(true, Ordering::Relaxed);
        answered = timeout(patience - patience / DOUBT, answer).await;
    }
    let is_there = matches!(answered, Ok(Ok(_)));
    if is_there {
        link.hear();
        link.is_doubtful.store(false, Ordering::Relaxed);
    }
    is_there
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
