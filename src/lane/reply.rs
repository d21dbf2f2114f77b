//! A hit on its way to a client.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use super::framed::Framed;
use crate::clock;
use crate::edge::Edge;
use crate::snapshot::Route;
use crate::store::Ready;
use crate::telemetry::{CacheResult, InFlight, Method, Record, Termination};
use crate::units::Tick;

/// Pieces of a body given to the kernel at once.
const PIECES: usize = 16;
/// Bodies up to this many bytes are copied behind their head: one buffer costs the kernel less than two.
const COPIED: u64 = 4096;

thread_local! {
    /// Heads are put together here; only one that a client does not take at once is copied.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What remains to be sent.
#[derive(Debug)]
pub(super) struct Reply<'a> {
    /// The head, and a small body.
    head: Cow<'a, [u8]>,
    /// How much of it has gone.
    gone: usize,
    /// The rest of the body: from where to where.
    body: Option<(Ready, u64, u64)>,
    /// How many bytes of the body `head` ends with.
    copied: usize,
}

/// Puts a head together by `write`, the body of `ready` behind it unless it `is_headless`, and gives both to `send`.
pub(super) fn with<T>(
    ready: &Ready,
    without_body: bool,
    write: impl FnOnce(&mut Vec<u8>),
    send: impl FnOnce(Reply<'_>) -> T,
) -> T {
    let put_together = |head: &mut Vec<u8>| {
        head.clear();
        write(head);
        let length = if without_body { 0 } else { ready.len() };
        let whole = head.len();
        let body = if length > COPIED {
            Some((ready.clone(), 0, length))
        } else {
            if length > 0 {
                ready.pieces(0).for_each(|piece| head.extend_from_slice(piece));
            }
            None
        };
        let copied = head.len() - whole;
        (body, copied)
    };
    HEAD.with(|kept| match kept.try_borrow_mut() {
        Ok(mut head) => {
            let (body, copied) = put_together(&mut head);
            send(Reply { head: Cow::Borrowed(&head), gone: 0, body, copied })
        }
        Err(_) => {
            let mut head = Vec::new();
            let (body, copied) = put_together(&mut head);
            send(Reply { head: Cow::Owned(head), gone: 0, body, copied })
        }
    })
}

impl Reply<'_> {
    /// Sends what the client takes; ready when all is sent.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, framed: &mut Framed) -> Poll<io::Result<()>> {
        loop {
            let head = self.head.get(self.gone..).unwrap_or_default();
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            let pieces = self.body.iter().flat_map(|(ready, at, _)| ready.pieces(*at));
            for (slice, piece) in slices.iter_mut().zip([head].into_iter().chain(pieces).filter(|p| !p.is_empty())) {
                *slice = IoSlice::new(piece);
                count += 1;
            }
            if count == 0 {
                return Poll::Ready(Ok(()));
            }
            let sent = match framed.poll_send(cx, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => sent,
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Pending,
            };
            let of_head = sent.min(head.len());
            self.gone += of_head;
            if let Some((_, at, end)) = &mut self.body {
                *at += (sent - of_head) as u64;
                if at >= end {
                    self.body = None;
                }
            }
            if self.body.is_none() && self.gone >= self.head.len() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// How many bytes of the body have been sent of `length`.
    fn body_sent(&self, length: u64) -> u64 {
        match &self.body {
            Some((_, at, _)) => *at,
            None => length.saturating_sub((self.head.len() - self.gone).min(self.copied) as u64),
        }
    }

    fn into_owned(self) -> Reply<'static> {
        Reply { head: Cow::Owned(self.head.into_owned()), gone: self.gone, body: self.body, copied: self.copied }
    }
}

/// What is counted and logged of a request when its reply has ended.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub started: Tick,
    pub method: Method,
    pub status: u16,
    /// The length of the body to be sent.
    pub length: u64,
    /// Its line in the access log, if there is one.
    pub line: Option<Line<'a>>,
}

/// What only the access log wants to know.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub time: SystemTime,
    pub client: Option<IpAddr>,
    pub host: Cow<'a, str>,
    pub path: Cow<'a, str>,
    pub id: Cow<'a, [u8]>,
    pub generation: u64,
}

impl Account<'_> {
    /// Counts and logs it: it has ended at `now`. `sent` are bytes of the body.
    fn close(&self, edge: &Edge, route: &Route, reason: Termination, sent: u64, now: Tick) {
        let duration = now.since(self.started);
        // As behind the lane: what is cut has no status.
        let (status, cache) =
            if reason == Termination::Cut { (0, CacheResult::None) } else { (self.status, CacheResult::Hit) };
        route.metrics.record(self.method, status, cache, duration);
        edge.metrics().terminated(reason);
        let Some(line) = &self.line else { return };
        edge.access_log().log(&Record {
            time: line.time,
            client: line.client,
            method: self.method.as_str(),
            host: &line.host,
            path: &line.path,
            protocol: if reason == Termination::Cut { "" } else { "HTTP/1.1" },
            status,
            bytes: sent,
            duration,
            upstream_time: None,
            route: Some(&route.config.name),
            pool: None,
            backend: None,
            cache,
            attempts: 0,
            hedge: None,
            priority: Some(route.config.priority.as_str()),
            queue_time: None,
            shed: None,
            stale: None,
            reason,
            request_id: std::str::from_utf8(&line.id).unwrap_or_default(),
            generation: line.generation,
        });
    }

    fn into_owned(self) -> Account<'static> {
        let Account { started, method, status, length, line } = self;
        let line = line.map(|line| Line {
            time: line.time,
            client: line.client,
            host: Cow::Owned(line.host.into_owned()),
            path: Cow::Owned(line.path.into_owned()),
            id: Cow::Owned(line.id.into_owned()),
            generation: line.generation,
        });
        Account { started, method, status, length, line }
    }
}

/// A reply that its client has not taken at once.
#[derive(Debug)]
pub(super) struct Pending {
    reply: Reply<'static>,
    account: Account<'static>,
    route: Arc<Route>,
    keeps: bool,
    _in_flight: InFlight,
}

/// Whether a reply has ended, and how.
#[derive(Debug)]
pub(super) enum Sent {
    /// All of it has gone at that time; the connection goes on, or not.
    Done { keeps: bool, at: Tick },
    /// The client has left or takes nothing.
    Failed,
    /// The rest is to be sent.
    Pending(Box<Pending>),
}

/// Sends what the client takes at once.
pub(super) fn begin(
    mut reply: Reply<'_>,
    account: Account<'_>,
    route: &Arc<Route>,
    keeps: bool,
    edge: &Edge,
    framed: &mut Framed,
    cx: &mut Context<'_>,
) -> Sent {
    match reply.poll_send(cx, framed) {
        Poll::Ready(result) => {
            // What is answered at once takes some microseconds; only a line in the log is worth another look at the clock.
            let at = if account.line.is_some() { clock::now() } else { account.started };
            end(&reply, &account, route, keeps, edge, result, at)
        }
        Poll::Pending => Sent::Pending(Box::new(Pending {
            reply: reply.into_owned(),
            account: account.into_owned(),
            route: route.clone(),
            keeps,
            _in_flight: edge.metrics().request(),
        })),
    }
}

impl Pending {
    /// Sends what the client takes now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, framed: &mut Framed, edge: &Edge) -> Poll<Sent> {
        let Pending { reply, account, route, keeps, .. } = self;
        reply.poll_send(cx, framed).map(|result| end(reply, account, route, *keeps, edge, result, clock::now()))
    }

    /// The edge ends before the client has taken all.
    pub(super) fn cut(&self, edge: &Edge) {
        self.account.close(edge, &self.route, Termination::Cut, 0, clock::now());
    }
}

fn end(
    reply: &Reply<'_>,
    account: &Account<'_>,
    route: &Route,
    keeps: bool,
    edge: &Edge,
    result: io::Result<()>,
    at: Tick,
) -> Sent {
    let (reason, sent) = match result {
        Ok(()) => (Termination::Done, Sent::Done { keeps, at }),
        Err(e) if e.kind() == io::ErrorKind::TimedOut => (Termination::ClientTimeout, Sent::Failed),
        Err(_) => (Termination::ClientClosed, Sent::Failed),
    };
    account.close(edge, route, reason, reply.body_sent(account.length), at);
    sent
}
