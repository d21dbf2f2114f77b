//! One attempt on the wire: connect, write the request's head, read a response's head.
//!
//! The work is a future that borrows nothing, so that a race can give it up to a task of its own; the accounting is a
//! guard beside it, so that giving up is seen.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use super::deadlines::Told;
use super::traced;
use crate::clock;
use crate::config::{Http2, UpstreamTimeouts};
use crate::tail::deadline::Deadline;
use crate::telemetry::{Dial, Entry, Trace};
use crate::upstream::{Attempt, Connection, Connections, Failure, Fields, Introduction, Member, Request, h1, h2};

/// Connections of an HTTP/2 backend in a row that may turn out to take no more requests as one is sent.
const TRIES: u32 = 3;

/// Of a response that nobody waits for, the most that is read so that its connection can be used again.
const DRAINED: usize = 64 * 1024;

/// A connection on which a request was begun.
pub(super) struct Leg {
    /// Whose connection.
    pub member: Arc<Member>,
    /// The connection.
    pub http: Connection,
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
    /// The request's body, where all of it is there.
    pub body: Option<Bytes>,
    /// The pool's clocks.
    pub timeouts: UpstreamTimeouts,
    /// What connections begin with, and are for.
    pub opening: Option<Introduction>,
    /// How HTTP/2 is spoken to the pool, if it is.
    pub http2: Option<Http2>,
    /// The trace that backends are told of, if there is one.
    pub trace: Option<Trace>,
}

/// A connection on which a head has come.
pub(super) type Headed = Result<Connection, Failure>;

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
    pub(super) async fn open(&self, member: &Member, request: &Request, entry: &Entry) -> Headed {
        let mut http = match (request, &self.http2) {
            (Request::Http1(request), _) => self.open_http1(member, request, entry).await.map(Connection::Http1)?,
            (Request::Http2(request), Some(config)) => {
                let stream = Box::pin(self.open_http2(member, request, config, entry)).await?;
                Connection::Http2(Box::new(stream))
            }
            (Request::Http2(_), None) => return Err(Failure::WriteFailed),
        };
        http.set_patience(self.timeouts.write, self.timeouts.between_bytes);
        Ok(http)
    }

    async fn open_http1(
        &self,
        member: &Member,
        request: &h1::Request,
        entry: &Entry,
    ) -> Result<Box<h1::Connection>, Failure> {
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
                entry.dialled(dial(connected.handshake(), now.since(begun)));
                left = self.deadline.left(now).ok_or(Failure::Deadline)?;
                connected
            }
        };
        // Here too, since the head is the first write.
        http.set_patience(self.timeouts.write, self.timeouts.between_bytes);
        let mut lines = Vec::new();
        self.tell(&mut Fields::Http1(&mut lines), left, entry);
        http.send(request, &lines).await?;
        Ok(http)
    }

    async fn open_http2(
        &self,
        member: &Member,
        request: &h2::Request,
        config: &Http2,
        entry: &Entry,
    ) -> Result<h2::Stream, Failure> {
        for _ in 0..TRIES {
            let begun = clock::now();
            let left = self.deadline.left(begun).ok_or(Failure::Deadline)?;
            let entering = tokio::time::timeout(left, self.connections.enter(member, config)).await;
            let place = entering.unwrap_or(Err(Failure::Deadline))?;
            let now = clock::now();
            if let Some(handshake) = place.made {
                entry.dialled(dial(handshake, now.since(begun)));
            }
            let left = self.deadline.left(now).ok_or(Failure::Deadline)?;
            let mut more = HeaderMap::new();
            self.tell(&mut Fields::Http2(&mut more), left, entry);
            match place.send(request, &more) {
                // The connection has turned out to take no more: nothing was sent, and another one may.
                Err(Failure::StreamRefused) => {}
                sent => return sent,
            }
        }
        Err(Failure::StreamRefused)
    }

    /// What an attempt that is sent now adds to its request.
    fn tell(&self, fields: &mut Fields<'_>, left: Duration, entry: &Entry) {
        self.told.tell(fields, left);
        traced::tell_in(fields, self.trace, entry);
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

    async fn open_and_send(&self, member: &Member, request: &Request, entry: &Entry) -> Headed {
        let mut http = self.open(member, request, entry).await?;
        if let Some(body) = &self.body {
            http.send_whole(body.clone()).await?;
        }
        Ok(http)
    }

    /// Starts an attempt at `member` with a body that is there, or none.
    pub(super) fn run(&self, member: Arc<Member>, attempt: Attempt, request: Result<Request, Failure>) -> Run {
        let (wire, asked) = (self.clone(), member.clone());
        let entry = attempt.entry().clone();
        let going = Box::pin(async move {
            let request = request?;
            let mut http = wire.open_and_send(&asked, &request, &entry).await?;
            match wire.read_head(&mut http).await {
                // The backend closed a kept connection as the request left: not its fault, and no reason to leave it.
                Err(Failure::ClosedEarly) if !http.is_fresh() && wire.idempotent => {}
                // It has gone, or has enough on this connection at present, and says that it has not looked at the request.
                Err(Failure::StreamRefused) => {}
                read => return read.map(|()| http),
            }
            let mut http = wire.open_and_send(&asked, &request, &entry).await?;
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
fn dial(handshake: Option<Duration>, took: Duration) -> Dial {
    let tls = handshake.unwrap_or_default().min(took);
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
        connections.put(&self.member, self.http);
    }
}
