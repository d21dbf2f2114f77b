//! One attempt on the wire: connect, write the request's head, read a response's head.
//!
//! The work is a future that borrows nothing, so that a race can give it up to a task of its own; the accounting is a
//! guard beside it, so that giving up is seen.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::deadlines::Told;
use super::traced;
use crate::clock;
use crate::config::UpstreamTimeouts;
use crate::tail::deadline::Deadline;
use crate::telemetry::{Dial, Entry, Trace};
use crate::upstream::{Attempt, Connection, Connections, Failure, Introduction, Member, Request};

/// Of a response that nobody waits for, the most that is read so that its connection can be used again.
const DRAINED: usize = 64 * 1024;

/// A connection on which a request was begun.
pub(super) struct Leg {
    /// Whose connection.
    pub member: Arc<Member>,
    /// The connection.
    pub http: Box<Connection>,
    /// In flight until dropped.
    pub attempt: Attempt,
}

/// What all attempts at one request share.
#[derive(Clone)]
pub(super) struct Wire {
    /// Connections by backend.
    pub connections: Arc<Connections>,
    /// The end of the request's time.
    pub deadline: Deadline,
    /// Whether a connection that was kept and turned out closed may be replaced, as the request may be repeated.
    pub idempotent: bool,
    /// What backends are told of that time.
    pub told: Told,
    /// The pool's clocks.
    pub timeouts: UpstreamTimeouts,
    /// What connections begin with, and are for.
    pub opening: Option<Introduction>,
    /// The trace that backends are told of, if there is one.
    pub trace: Option<Trace>,
}

/// A connection on which a head has come.
pub(super) type Headed = Result<Box<Connection>, Failure>;

/// An attempt under way, up to the next head.
pub(super) struct Run {
    /// Whom it asks.
    pub member: Arc<Member>,
    /// In flight until dropped.
    pub attempt: Attempt,
    going: Pin<Box<dyn Future<Output = Headed> + Send>>,
}

impl Wire {
    /// Gets a connection and writes the head of a request. How a backend is spoken to is decided here.
    pub(super) async fn open(
        &self,
        member: &Member,
        request: &Request,
        entry: &Entry,
    ) -> Result<Box<Connection>, Failure> {
        let mut left = self.deadline.left(clock::now()).ok_or(Failure::Deadline)?;
        let key = self.opening.map_or(member.key, |opening| opening.key(member.key));
        let mut http = match self.connections.take(key) {
            Some(kept) => kept,
            None => {
                let begun = clock::now();
                // Boxed: a handshake takes much room, which each request would carry along.
                let connecting = Box::pin(self.connections.connect(key, &member.peer, self.opening));
                let connected = tokio::time::timeout(left, connecting).await.unwrap_or(Err(Failure::Deadline))?;
                let now = clock::now();
                entry.dialled(dial(&connected, now.since(begun)));
                left = self.deadline.left(now).ok_or(Failure::Deadline)?;
                connected
            }
        };
        http.set_patience(self.timeouts.write, self.timeouts.between_bytes);
        let mut lines = self.told.lines(left);
        traced::tell_in(&mut lines, self.trace, entry);
        http.send(request, &lines).await?;
        Ok(http)
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
    pub(super) async fn read_head(&self, http: &mut Connection) -> Result<(), Failure> {
        let (limit, clock) = self.head_timeout();
        tokio::time::timeout(limit, http.read_head()).await.unwrap_or(Err(clock))
    }

    /// Starts an attempt at `member` without a body.
    pub(super) fn run(&self, member: Arc<Member>, attempt: Attempt, request: Result<Request, Failure>) -> Run {
        let (wire, asked) = (self.clone(), member.clone());
        let entry = attempt.entry().clone();
        let going = Box::pin(async move {
            let request = request?;
            let mut http = wire.open(&asked, &request, &entry).await?;
            match wire.read_head(&mut http).await {
                // The backend closed a kept connection as the request left: not its fault, and no reason to leave it.
                Err(Failure::ClosedEarly) if !http.is_fresh() && wire.idempotent => {}
                read => return read.map(|()| http),
            }
            let mut http = wire.open(&asked, &request, &entry).await?;
            wire.read_head(&mut http).await.map(|()| http)
        });
        Run { member, attempt, going }
    }

    /// Goes on with an attempt that has given an interim head.
    pub(super) fn go_on(&self, leg: Leg) -> Run {
        let (wire, mut http) = (self.clone(), leg.http);
        let going = Box::pin(async move { wire.read_head(&mut http).await.map(|()| http) });
        Run { member: leg.member, attempt: leg.attempt, going }
    }
}

/// What making this connection took of the time until it stood.
fn dial(http: &Connection, took: Duration) -> Dial {
    let tls = http.handshake().unwrap_or_default().min(took);
    Dial { connect: took - tls, tls }
}

impl Run {
    /// Waits for the next head.
    pub(super) async fn head(&mut self) -> Headed {
        (&mut self.going).await
    }

    /// Waits for its answer for up to `patience` with nobody to read it, so that its connection need not be closed.
    pub(super) async fn drain(mut self, connections: &Arc<Connections>, patience: Duration) {
        let end = Deadline::new(clock::now(), patience);
        let head = tokio::time::timeout(patience, self.head()).await;
        let Ok(Ok(http)) = head else { return };
        let Some(head) = http.head().filter(|head| head.status.as_u16() >= 200) else { return };
        self.attempt.answered(head, clock::now());
        let leg = Leg { member: self.member, http, attempt: self.attempt };
        if let Some(left) = end.left(clock::now()) {
            // What does not end in time is closed, as it is dropped.
            let _ended = tokio::time::timeout(left, leg.drain(connections)).await;
        }
    }
}

impl Leg {
    /// Reads what is left of a response that nobody wants, if it is little, and gives the connection back.
    pub(super) async fn drain(mut self, connections: &Arc<Connections>) {
        let mut read = 0;
        while let Ok(Some(data)) = self.http.read_body().await {
            read += data.len();
            if read > DRAINED {
                return;
            }
        }
        self.release(connections);
    }

    /// Gives the connection back, if both messages have ended on it.
    pub(super) fn release(self, connections: &Arc<Connections>) {
        connections.put(&self.member.peer, self.http);
    }
}
