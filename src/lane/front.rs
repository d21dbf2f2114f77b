//! The lane's part of a connection: it reads heads, answers plain hits, and stops at what is for others.
//!
//! All of it happens in one poll without an await, from the bytes read to the bytes written, on memory of the thread: an
//! idle connection holds no buffer, and a hit costs little beside its two system calls.

use std::borrow::Cow;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http::header::STRICT_TRANSPORT_SECURITY;

use super::account::{Account, Line};
use super::answer;
use super::framed::Framed;
use super::head::{self, Head, Refusal};
use super::hit::{Hit, NoHit};
use super::plain::Plain;
use super::reply::{self, Pending, Sent};
use super::traced::{self, SpanFacts};
use super::vigil::Vigil;
use crate::caller::{Link, RequestId};
use crate::clock;
use crate::config::ClientTimeouts;
use crate::edge::{Edge, Phase};
use crate::snapshot::Snapshot;
use crate::telemetry::{Lane, Method};
use crate::units::Tick;

/// Bytes read at once.
const READ: usize = 16 * 1024;

thread_local! {
    /// Where a connection's bytes are read to. What of them is not dealt with at once is copied to the connection.
    static BYTES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// One connection's.
pub(super) struct Front<'e> {
    edge: &'e Edge,
    peer: Option<IpAddr>,
    link: &'e Link,
    /// Requests that have begun on the connection.
    requests: u32,
    /// When the connection came to rest, or the first byte of an unfinished head was read.
    since: Tick,
    /// How long the client has for what it is at, from there on: for the rest of a head, for the next one.
    patience: (Duration, Duration),
    /// The reply that the client is still taking.
    pending: Option<Box<Pending>>,
    vigil: Vigil,
}

/// What ends the lane's part, until the connection comes back.
#[derive(Debug)]
pub(super) enum Turn {
    /// A request that is for those behind the lane; its head stands in front of [`Framed::ahead`]. `is_last` if it is the
    /// last one that the connection may have.
    Handed { head: Head, is_last: bool, uncached: Uncached },
    /// A head that may not enter.
    Refused(Refusal),
    /// The last reply has gone.
    Closed,
    /// The client has left or was idle for too long, or the edge ends.
    Ended,
}

/// What is known of a request that the cache may have no part in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Uncached {
    /// It may have.
    No,
    /// Its route has none.
    Off,
    /// Nothing is stored under this key.
    Absent([u8; 16]),
}

/// What has become of the head at the front of some bytes.
enum Seen {
    /// It is not there in whole.
    Partial,
    /// It was so long, and was answered.
    Answered(usize, Sent),
    /// It is for others.
    Stop(Turn),
}

/// The two clocks, read once per wake-up.
#[derive(Clone, Copy)]
struct Now {
    tick: Tick,
    wall: SystemTime,
}

impl Now {
    fn read() -> Now {
        let tick = clock::now();
        Now { tick, wall: clock::wall_at(tick) }
    }
}

impl<'e> Front<'e> {
    /// Of a fresh connection from this address.
    pub(super) fn new(edge: &'e Edge, peer: Option<IpAddr>, link: &'e Link) -> Front<'e> {
        let mut front = Front {
            edge,
            peer,
            link,
            requests: 0,
            since: Tick::default(),
            patience: Default::default(),
            pending: None,
            vigil: Vigil::default(),
        };
        front.heed(&edge.peek().config().server.timeouts);
        front
    }

    /// Answers what it can until something comes that it cannot answer.
    pub(super) async fn turn(&mut self, framed: &mut Framed) -> Turn {
        self.since = clock::now();
        poll_fn(|cx| self.poll(cx, framed)).await
    }

    fn heed(&mut self, timeouts: &ClientTimeouts) {
        self.patience = (timeouts.head, timeouts.idle);
    }

    fn poll(&mut self, cx: &mut Context<'_>, framed: &mut Framed) -> Poll<Turn> {
        let requests = self.requests;
        loop {
            if self.edge.phase() == Phase::Cut {
                if let Some(pending) = self.pending.take() {
                    pending.cut(self.edge);
                }
                return Poll::Ready(Turn::Ended);
            }
            if let Some(pending) = &mut self.pending {
                let Poll::Ready(sent) = pending.poll(cx, framed, self.edge) else {
                    // The clock of `Framed` runs; only the edge's end is to be heard of.
                    let now = clock::now();
                    self.vigil.keep(cx, self.edge, now, now.after(framed.patience()));
                    return Poll::Pending;
                };
                self.pending = None;
                if let Some(turn) = self.take(sent) {
                    return Poll::Ready(turn);
                }
                continue;
            }
            if !framed.ahead().is_empty() {
                let ahead = framed.ahead().split();
                let (used, stop) = self.serve(cx, framed, &ahead, Now::read());
                framed.put_back(ahead, used);
                if let Some(turn) = stop {
                    return Poll::Ready(turn);
                }
                if self.pending.is_some() {
                    continue;
                }
            }
            match self.read(cx, framed) {
                Poll::Ready(Some(turn)) => return Poll::Ready(turn),
                Poll::Ready(None) => {}
                Poll::Pending => {
                    let has_answered = self.requests > requests && framed.ahead().is_empty();
                    return self.wait(cx, framed, has_answered);
                }
            }
        }
    }

    /// Reads, and serves what was read. Something may be left in [`Framed::ahead`] then, or pending.
    fn read(&mut self, cx: &mut Context<'_>, framed: &mut Framed) -> Poll<Option<Turn>> {
        let mut bytes = BYTES.take();
        bytes.resize(READ, 0);
        let read = framed.poll_some(cx, &mut bytes).map(|count| match bytes.get(..count.unwrap_or(0)) {
            Some(read) if !read.is_empty() => self.receive(cx, framed, read),
            _ => Some(Turn::Ended),
        });
        BYTES.set(bytes);
        read
    }

    /// Serves what was just read, unless it goes on with what was read before.
    fn receive(&mut self, cx: &mut Context<'_>, framed: &mut Framed, read: &[u8]) -> Option<Turn> {
        if !framed.ahead().is_empty() {
            framed.ahead().extend_from_slice(read);
            return None;
        }
        let now = Now::read();
        self.since = now.tick;
        let (used, stop) = self.serve(cx, framed, read, now);
        framed.ahead().extend_from_slice(read.get(used..).unwrap_or_default());
        stop
    }

    /// Serves the requests at the front of `bytes`, one after the other: how many bytes they were, and what stops it.
    fn serve(&mut self, cx: &mut Context<'_>, framed: &mut Framed, bytes: &[u8], now: Now) -> (usize, Option<Turn>) {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() || self.pending.is_some() {
                return (used, None);
            }
            match self.look(cx, framed, rest, now) {
                Seen::Partial => return (used, None),
                Seen::Stop(turn) => return (used, Some(turn)),
                Seen::Answered(length, sent) => {
                    used += length;
                    if let Some(turn) = self.take(sent) {
                        return (used, Some(turn));
                    }
                }
            }
        }
    }

    /// What follows from a reply.
    fn take(&mut self, sent: Sent) -> Option<Turn> {
        match sent {
            Sent::Done { keeps: true, at } => {
                self.since = at;
                None
            }
            Sent::Done { keeps: false, .. } => Some(Turn::Closed),
            Sent::Failed => Some(Turn::Ended),
            Sent::Pending(pending) => {
                self.pending = Some(pending);
                None
            }
        }
    }

    /// Answers the request at the front of `bytes` if it is a plain hit.
    fn look(&mut self, cx: &mut Context<'_>, framed: &mut Framed, bytes: &[u8], now: Now) -> Seen {
        let snapshot = self.edge.peek();
        let server = &snapshot.config().server;
        let mut space = head::space();
        let (head, request) = match head::judge(bytes, &server.limits, &mut space) {
            Ok(Some(whole)) => whole,
            Ok(None) => return Seen::Partial,
            Err(refusal) => return Seen::Stop(Turn::Refused(refusal)),
        };
        self.heed(&server.timeouts);
        self.requests += 1;
        let is_last = self.requests >= server.limits.requests_per_connection;
        if self.link.redirect.is_some() {
            return Seen::Stop(Turn::Handed { head, is_last, uncached: Uncached::No });
        }
        let plain = Plain::of(&request, head.rest);
        let found = plain.map_err(NoHit::from).and_then(|plain| {
            Hit::find(&snapshot, self.edge.store(), &plain, self.peer, self.link, now.wall).map(|hit| (plain, hit))
        });
        let (plain, hit) = match found {
            Ok(found) => found,
            Err(NoHit { reason, uncached }) => {
                self.edge.metrics().lane(reason);
                return Seen::Stop(Turn::Handed { head, is_last, uncached });
            }
        };
        self.edge.metrics().lane(Lane::Served);
        framed.set_patience(server.timeouts.write);
        let length = head.len;
        Seen::Answered(length, self.answer(cx, framed, &snapshot, &plain, &hit, is_last, now))
    }

    #[expect(clippy::too_many_arguments, reason = "what one answer is made of, and where it goes")]
    fn answer(
        &self,
        cx: &mut Context<'_>,
        framed: &mut Framed,
        snapshot: &Snapshot,
        plain: &Plain<'_>,
        hit: &Hit<'_>,
        is_last: bool,
        now: Now,
    ) -> Sent {
        let keeps = !(is_last || plain.closes || self.edge.phase() != Phase::Serving);
        let id = RequestId::of(plain.given_id);
        let without_body = hit.not_modified || plain.method == Method::Head;
        let trace = traced::trace(snapshot.config().tracing.as_deref(), plain, &hit.client);
        let is_recorded = trace.is_some_and(|trace| trace.sampled.is_some());
        // A look at the log costs each hit; there is one.
        let log = self.edge.access_log();
        let agent = plain.agent(&log);
        let account = Account {
            started: now.tick,
            method: plain.method,
            protocol: "HTTP/1.1",
            status: if hit.not_modified { 304 } else { hit.ready.status().as_u16() },
            length: if without_body { 0 } else { hit.ready.length() },
            line: (is_recorded || log.is_on()).then(|| Line {
                time: now.wall,
                client: hit.client.address,
                host: Cow::Borrowed(plain.host),
                path: path(plain, hit),
                id: Cow::Borrowed(id.as_bytes()),
                generation: snapshot.generation(),
                coding: hit.coding(),
                trace,
                span: is_recorded.then(|| SpanFacts::of(plain, &hit.client)),
                referer: Cow::Borrowed(agent.referer),
                user_agent: Cow::Borrowed(agent.user_agent),
            }),
        };
        let write = |out: &mut Vec<u8>| {
            answer::write_head(hit, snapshot, &id, now.wall, out);
            // An origin may have a better one for its host.
            let is_told = self.link.hsts.is_empty() || hit.ready.fields().contains_key(STRICT_TRANSPORT_SECURITY);
            answer::end_head(if is_told { "" } else { &self.link.hsts }, keeps, out);
        };
        reply::with(&hit.ready, without_body, write, |reply| {
            reply::begin(reply, account, hit.route, keeps, self.edge, framed, cx)
        })
    }

    /// Nothing is to be read: waits for more, for the end of the client's time, or for that of the edge.
    fn wait(&mut self, cx: &mut Context<'_>, framed: &mut Framed, has_answered: bool) -> Poll<Turn> {
        // Just read, if something was answered.
        let now = if has_answered { self.since } else { clock::now() };
        let is_idle = framed.ahead().is_empty();
        if is_idle && self.edge.phase() != Phase::Serving {
            return Poll::Ready(Turn::Ended);
        }
        let (head, idle) = self.patience;
        let until = self.since.after(if is_idle { idle } else { head });
        if now >= until {
            return Poll::Ready(if is_idle { Turn::Ended } else { Turn::Refused(Refusal::Timeout) });
        }
        self.vigil.keep(cx, self.edge, now, until);
        Poll::Pending
    }
}

/// Path and query as the key and the log have them.
pub(super) fn path<'a>(plain: &'a Plain<'_>, hit: &Hit<'_>) -> Cow<'a, str> {
    let query = hit.route.config.cache.key.query.apply(plain.target.query.as_deref());
    match query {
        Some(query) => Cow::Owned(format!("{}?{query}", plain.target.path)),
        None => Cow::Borrowed(&plain.target.path),
    }
}
