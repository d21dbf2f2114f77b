//! One attempt on the wire: connect, write the request's head, read a response's head.
//!
//! The work is a future that borrows nothing, so that a race can give it up to a task of its own; the accounting is a
//! guard beside it, so that giving up is seen.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::Peer;

use super::deadlines::Told;
use super::traced;
use crate::clock;
use crate::config::UpstreamTimeouts;
use crate::tail::deadline::Deadline;
use crate::telemetry::{Dial, Entry, Trace};
use crate::upstream::{Attempt, Failure, Member};

/// Of a response that nobody waits for, the most that is read so that its connection can be used again.
const DRAINED: usize = 64 * 1024;

/// A connection on which a request was begun.
pub(super) struct Leg {
    /// Whose connection.
    pub member: Arc<Member>,
    /// The connection.
    pub http: HttpSession<()>,
    /// In flight until dropped.
    pub attempt: Attempt,
}

/// What all attempts at one request share.
#[derive(Clone)]
pub(super) struct Wire {
    /// Connections by backend.
    pub connector: Arc<Connector>,
    /// The end of the request's time.
    pub deadline: Deadline,
    /// Whether a connection that was kept and turned out closed may be replaced, as the request may be repeated.
    pub idempotent: bool,
    /// What backends are told of that time.
    pub told: Told,
    /// The pool's clocks.
    pub timeouts: UpstreamTimeouts,
    /// The trace that backends are told of, if there is one.
    pub trace: Option<Trace>,
}

/// A connection on which a head has come; in a box, as it is large and passed on a few times.
pub(super) type Headed = Result<Box<HttpSession<()>>, Failure>;

/// An attempt under way, up to the next head.
pub(super) struct Run {
    /// Whom it asks.
    pub member: Arc<Member>,
    /// In flight until dropped.
    pub attempt: Attempt,
    going: Pin<Box<dyn Future<Output = Headed> + Send>>,
    /// Whether the connection carries other requests too, so that giving this one up does not close it.
    multiplexed: Arc<AtomicBool>,
}

impl Wire {
    /// Connects and writes the head of a request. Says whether the connection was kept from an earlier one.
    pub(super) async fn open(
        &self,
        member: &Member,
        request: &RequestHeader,
        entry: &Entry,
    ) -> Result<(HttpSession<()>, bool), Failure> {
        let begun = clock::now();
        let Some(left) = self.deadline.left(begun) else { return Err(Failure::Deadline) };
        let connecting = self.connector.get_http_session(&*member.peer);
        let (mut http, reused) = match tokio::time::timeout(left, connecting).await {
            Ok(connected) => connected.map_err(|e| Failure::of_connect(&e))?,
            Err(_) => return Err(Failure::Deadline),
        };
        if !reused {
            entry.dialled(dial(&http, clock::now().since(begun)));
        }
        http.set_write_timeout(Some(self.timeouts.write));
        let mut head = Box::new(request.clone());
        let left = self.deadline.left(clock::now()).ok_or(Failure::Deadline)?;
        self.told.write(left, &mut head).map_err(|_| Failure::WriteFailed)?;
        traced::tell(self.trace, entry, &mut head).map_err(|_| Failure::WriteFailed)?;
        http.write_request_header(head).await.map_err(|_| Failure::WriteFailed)?;
        Ok((http, reused))
    }

    /// How long the next head may take: `first_byte`, or what is left of the request's time.
    pub(super) fn head_timeout(&self) -> (Duration, Failure) {
        let first_byte = self.timeouts.first_byte;
        match self.deadline.left(clock::now()) {
            Some(left) if left < first_byte => (left, Failure::Deadline),
            Some(_) => (first_byte, Failure::FirstByteTimeout),
            None => (Duration::ZERO, Failure::Deadline),
        }
    }

    /// Reads the next head, interim or final.
    pub(super) async fn read_head(&self, http: &mut HttpSession<()>) -> Result<(), Failure> {
        let (limit, clock) = self.head_timeout();
        http.set_read_timeout(None);
        match tokio::time::timeout(limit, http.read_response_header()).await {
            Ok(read) => read.map_err(|e| Failure::of_read(&e, clock)),
            Err(_) => Err(clock),
        }
    }

    /// Starts an attempt at `member` without a body.
    pub(super) fn run(&self, member: Arc<Member>, attempt: Attempt, request: RequestHeader) -> Run {
        let (wire, asked, multiplexed) = (self.clone(), member.clone(), Arc::new(AtomicBool::new(false)));
        let entry = attempt.entry().clone();
        let is_h2 = multiplexed.clone();
        let going = Box::pin(async move {
            let (mut http, reused) = wire.open(&asked, &request, &entry).await?;
            is_h2.store(matches!(http, HttpSession::H2(_)), Ordering::Relaxed);
            match wire.read_head(&mut http).await {
                // The backend closed a kept connection as the request left: not its fault, and no reason to leave it.
                Err(Failure::ClosedEarly) if reused && wire.idempotent => {}
                read => return read.map(|()| Box::new(http)),
            }
            let (mut http, _) = wire.open(&asked, &request, &entry).await?;
            wire.read_head(&mut http).await.map(|()| Box::new(http))
        });
        Run { member, attempt, going, multiplexed }
    }

    /// Goes on with an attempt that has given an interim head.
    pub(super) fn go_on(&self, leg: Leg) -> Run {
        let (wire, mut http) = (self.clone(), leg.http);
        let multiplexed = Arc::new(AtomicBool::new(matches!(http, HttpSession::H2(_))));
        let going = Box::pin(async move { wire.read_head(&mut http).await.map(|()| Box::new(http)) });
        Run { member: leg.member, attempt: leg.attempt, going, multiplexed }
    }
}

/// What making this connection took of the time until it stood: pingora does both steps at once, but times the second.
fn dial(http: &HttpSession<()>, took: Duration) -> Dial {
    let layers = http.digest().map_or(&[][..], |digest| &digest.timing_digest);
    let tls = layers.get(1).and_then(Option::as_ref).and_then(|layer| layer.establishment_duration);
    let tls = tls.unwrap_or_default().min(took);
    Dial { connect: took - tls, tls }
}

impl Run {
    /// Waits for the next head.
    pub(super) async fn head(&mut self) -> Headed {
        (&mut self.going).await
    }

    /// Whether giving it up leaves the connection to others.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// Waits for its answer for up to `patience` with nobody to read it, so that its connection need not be closed.
    pub(super) async fn drain(mut self, connector: &Connector, patience: Duration) {
        let end = Deadline::new(clock::now(), patience);
        let head = tokio::time::timeout(patience, self.head()).await;
        let Ok(Ok(http)) = head else { return };
        let Some(head) = http.response_header().filter(|head| head.status.as_u16() >= 200) else { return };
        self.attempt.answered(head, clock::now());
        let leg = Leg { member: self.member, http: *http, attempt: self.attempt };
        if let Some(left) = end.left(clock::now()) {
            // What does not end in time is closed, as it is dropped.
            let _ended = tokio::time::timeout(left, leg.drain(connector)).await;
        }
    }
}

impl Leg {
    /// Reads what is left of a response that nobody wants, if it is little, and gives the connection back.
    pub(super) async fn drain(mut self, connector: &Connector) {
        let mut read = 0;
        while let Ok(Some(data)) = self.http.read_response_body().await {
            read += data.len();
            if read > DRAINED {
                return;
            }
        }
        self.release(connector).await;
    }

    /// Gives the connection back.
    pub(super) async fn release(self, connector: &Connector) {
        let idle = self.member.peer.idle_timeout();
        connector.release_http_session(self.http, &*self.member.peer, idle).await;
    }
}
