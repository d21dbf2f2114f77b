//! A hit on its way to a client.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll};

use super::account::Account;
use super::framed::Framed;
use crate::clock;
use crate::edge::Edge;
use crate::snapshot::Route;
use crate::store::Ready;
use crate::telemetry::{InFlight, Termination};
use crate::units::Tick;

/// Pieces of a body given to the kernel at once.
const PIECES: usize = 16;
/// Bodies up to this many bytes are copied behind their head: one buffer costs the kernel less than two.
pub(super) const COPIED: u64 = 4096;

thread_local! {
    /// Heads are put together here; only one that a client does not take at once is copied.
    static HEAD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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

/// Puts a head together by `write`, the body of `ready` behind it unless it goes `without_body`, and gives both to `send`.
pub(super) fn with<T>(
    ready: &Ready,
    without_body: bool,
    write: impl FnOnce(&mut Vec<u8>),
    send: impl FnOnce(Reply<'_>) -> T,
) -> T {
    let mut head = HEAD.take();
    head.clear();
    write(&mut head);
    let end_of_head = head.len();
    let length = if without_body { 0 } else { ready.length() };
    let body = (length > COPIED).then(|| (ready.clone(), 0, length));
    if body.is_none() && length > 0 {
        ready.pieces(0).for_each(|piece| head.extend_from_slice(piece));
    }
    let copied = head.len() - end_of_head;
    let sent = send(Reply { head: Cow::Borrowed(&head), gone: 0, body, copied });
    HEAD.set(head);
    sent
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
                return framed.poll_sent(cx);
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
                return framed.poll_sent(cx);
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
            end(&reply, &account, route, keeps, edge, result, at, true)
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
        reply.poll_send(cx, framed).map(|result| end(reply, account, route, *keeps, edge, result, clock::now(), false))
    }

    /// The edge ends before the client has taken all.
    pub(super) fn cut(&self, edge: &Edge) {
        self.account.close(edge, &self.route, Termination::Cut, 0, clock::now(), false);
    }
}

#[expect(clippy::too_many_arguments, reason = "what has ended, and how")]
fn end(
    reply: &Reply<'_>,
    account: &Account<'_>,
    route: &Route,
    keeps: bool,
    edge: &Edge,
    result: io::Result<()>,
    at: Tick,
    at_once: bool,
) -> Sent {
    let (reason, sent) = match result {
        Ok(()) => (Termination::Done, Sent::Done { keeps, at }),
        Err(e) if e.kind() == io::ErrorKind::TimedOut => (Termination::ClientTimeout, Sent::Failed),
        Err(_) => (Termination::ClientClosed, Sent::Failed),
    };
    account.close(edge, route, reason, reply.body_sent(account.length), at, at_once);
    sent
}
