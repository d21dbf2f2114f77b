//! One exchange on a connection that others share.
//!
//! Every wait may be given up and taken up again. One that is dropped before its end is cancelled (RST_STREAM), which the
//! connection outlives.

use std::fmt;
use std::future::poll_fn;
use std::time::Duration;

use ::h2::SendStream;
use ::h2::client::ResponseFuture;
use bytes::Bytes;
use http::{HeaderMap, Method};
use pingora::http::ResponseHeader;
use tokio::time::timeout;

use super::answer::Answer;
use super::body::Body;
use super::link::Slot;
use super::request::Request;
use crate::upstream::{Came, Failure};

/// An exchange.
pub struct Stream {
    outgoing: Body,
    /// Whether its connection was made for it.
    is_fresh: bool,
    /// Between two reads of a body.
    patience: Duration,
    // Last: with it its place on the connection is free.
    answer: Answer,
}

impl Stream {
    /// An exchange that was begun with `request`.
    pub(super) fn new(slot: Slot, response: ResponseFuture, body: SendStream<Bytes>, request: &Request) -> Stream {
        Stream {
            answer: Answer::new(slot, response, request.method == Method::HEAD),
            outgoing: Body::new(body, request.length),
            is_fresh: false,
            patience: Duration::MAX,
        }
    }

    /// Its connection was made for it.
    pub(super) fn on_fresh(mut self) -> Stream {
        self.is_fresh = true;
        self
    }

    /// Whether its connection was made for it.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// How long the backend's window may stay closed, and how long bytes of a body may be waited for.
    pub fn set_patience(&mut self, write: Duration, read: Duration) {
        self.outgoing.set_patience(write);
        self.patience = read;
    }

    /// Whether a piece of the body waits to be sent: then nothing more may be given to it.
    pub fn is_sending(&self) -> bool {
        self.outgoing.is_sending()
    }

    /// Takes a piece of the request's body, to be sent while the next head or body is read.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`] if it is more than was announced.
    pub fn send_body(&mut self, data: Bytes) -> Result<(), Failure> {
        self.outgoing.push(data)
    }

    /// Sends what waits to be sent.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`] when the backend takes no more of it, or for too long.
    pub async fn flush(&mut self) -> Result<(), Failure> {
        self.outgoing.flush().await
    }

    /// Ends the request's body.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`], also if it is less than was announced.
    pub fn end_body(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        self.outgoing.end(trailers)
    }

    /// Reads the next head, interim or final, for as long as it takes.
    ///
    /// # Errors
    /// [`Failure::ClosedEarly`], [`Failure::InvalidResponse`] or [`Failure::StreamRefused`].
    pub async fn read_head(&mut self) -> Result<(), Failure> {
        poll_fn(|cx| self.answer.poll_head(cx)).await
    }

    /// The same, unless a piece of the request's body that waits is sent before.
    ///
    /// # Errors
    /// As [`Stream::read_head`], and [`Failure::WriteFailed`].
    pub async fn read_head_or_send(&mut self) -> Result<Came<()>, Failure> {
        let (answer, outgoing) = (&mut self.answer, &mut self.outgoing);
        let is_sending = outgoing.is_sending();
        tokio::select! {
            biased;
            read = poll_fn(|cx| answer.poll_head(cx)) => read.map(Came::Read),
            sent = outgoing.flush(), if is_sending => Ok(Came::Sent(sent)),
        }
    }

    /// The last head that came.
    pub fn head(&self) -> Option<&ResponseHeader> {
        self.answer.head()
    }

    /// The same, for who asks for it but once.
    pub fn take_head(&mut self) -> Option<Box<ResponseHeader>> {
        self.answer.take_head()
    }

    /// The next bytes of the response's body; `None` at its end.
    ///
    /// # Errors
    /// As [`Stream::read_head`], and [`Failure::BetweenBytesTimeout`].
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, Failure> {
        let read = timeout(self.patience, poll_fn(|cx| self.answer.poll_body(cx))).await;
        read.unwrap_or(Err(Failure::BetweenBytesTimeout))
    }

    /// The same, unless a piece of the request's body that waits is sent before.
    ///
    /// # Errors
    /// As [`Stream::read_body`], and [`Failure::WriteFailed`].
    pub async fn read_body_or_send(&mut self) -> Result<Came<Option<Bytes>>, Failure> {
        let (answer, outgoing) = (&mut self.answer, &mut self.outgoing);
        let is_sending = outgoing.is_sending();
        tokio::select! {
            biased;
            read = timeout(self.patience, poll_fn(|cx| answer.poll_body(cx))) => {
                read.unwrap_or(Err(Failure::BetweenBytesTimeout)).map(Came::Read)
            }
            sent = outgoing.flush(), if is_sending => Ok(Came::Sent(sent)),
        }
    }

    /// The fields after the response's body, once that has ended, if there are any.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.answer.take_trailers()
    }

    /// Whether the whole of the response has come.
    pub fn is_done(&self) -> bool {
        self.answer.is_done()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("is_fresh", &self.is_fresh).finish_non_exhaustive()
    }
}
