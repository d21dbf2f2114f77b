//! One exchange with a backend, whichever protocol it speaks.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

use super::{Failure, h1, h2};
use crate::config;

/// A request as its backend's protocol has it.
#[derive(Clone, Debug)]
pub enum Request {
    /// HTTP/1.1.
    Http1(h1::Request),
    /// HTTP/2.
    Http2(h2::Request),
}

/// Fields that are added where a request is sent.
#[derive(Debug)]
pub enum Fields<'a> {
    /// Lines of HTTP/1.1.
    Http1(&'a mut Vec<u8>),
    /// For HTTP/2.
    Http2(&'a mut HeaderMap),
}

impl Request {
    /// `request` for a backend of `pool`, with what is told beside it.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`] for a target that cannot be written.
    pub fn of(
        request: &RequestHeader,
        told: &[(&'static str, HeaderValue)],
        pool: &config::Pool,
    ) -> Result<Request, Failure> {
        match pool.http2 {
            None => h1::Request::of(request, told).map(Request::Http1),
            Some(_) => h2::Request::of(request, told, pool.tls.is_some()).map(Request::Http2),
        }
    }

    /// Adds a field. Neither part of it may be a client's.
    pub fn add(&mut self, name: &str, value: &str) {
        match self {
            Request::Http1(request) => request.add(name, value),
            Request::Http2(request) => request.add(name, value),
        }
    }
}

impl Fields<'_> {
    /// Adds one. Neither part of it may be a client's.
    pub fn add(&mut self, name: &str, value: &str) {
        match self {
            Fields::Http1(lines) => h1::request::add(lines, name, value),
            Fields::Http2(fields) => h2::request::add(fields, name, value),
        }
    }
}

/// What was waited for where a request's body is sent beside it.
#[derive(Debug)]
pub enum Came<T> {
    /// That.
    Read(T),
    /// Nothing yet, but the piece of the body has left, or has failed to.
    Sent(Result<(), Failure>),
}

/// An exchange, with what carries it.
#[derive(Debug)]
pub enum Connection {
    /// A connection of its own.
    Http1(Box<h1::Connection>),
    /// A stream on one that others share.
    Http2(Box<h2::Stream>),
}

impl Connection {
    /// Whether the connection was made for it: then its end is no sign that a kept one was closed meanwhile.
    pub fn is_fresh(&self) -> bool {
        match self {
            Connection::Http1(http) => http.is_fresh(),
            Connection::Http2(stream) => stream.is_fresh(),
        }
    }

    /// Whether a piece of the request's body waits to be sent: then no other may be given to it.
    pub fn is_sending(&self) -> bool {
        match self {
            Connection::Http1(_) => false,
            Connection::Http2(stream) => stream.is_sending(),
        }
    }

    /// Sends a piece of the request's body, or takes it to be sent while the response is read.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`], also if it is more than was announced.
    pub async fn send_body(&mut self, data: Bytes) -> Result<(), Failure> {
        match self {
            Connection::Http1(http) => http.send_body(&data).await,
            Connection::Http2(stream) => stream.send_body(data),
        }
    }

    /// Ends the request's body, with fields after it where its framing has room for them.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`], also if it is less than was announced.
    pub async fn end_body(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        match self {
            Connection::Http1(http) => http.end_body(trailers).await,
            Connection::Http2(stream) => stream.end_body(trailers),
        }
    }

    /// Sends the whole of the request's body.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`], also if it is not as long as was announced.
    pub async fn send_whole(&mut self, data: Bytes) -> Result<(), Failure> {
        self.send_body(data).await?;
        if let Connection::Http2(stream) = self {
            stream.flush().await?;
        }
        self.end_body(None).await
    }

    /// Reads the next head, interim or final, for as long as it takes.
    ///
    /// # Errors
    /// [`Failure::ClosedEarly`], [`Failure::InvalidResponse`] or [`Failure::StreamRefused`].
    pub async fn read_head(&mut self) -> Result<(), Failure> {
        match self {
            Connection::Http1(http) => http.read_head().await,
            Connection::Http2(stream) => stream.read_head().await,
        }
    }

    /// The same, unless a piece of the request's body that waits is sent before.
    ///
    /// # Errors
    /// As [`Connection::read_head`].
    pub async fn read_head_or_send(&mut self) -> Result<Came<()>, Failure> {
        match self {
            Connection::Http1(http) => http.read_head().await.map(Came::Read),
            Connection::Http2(stream) => stream.read_head_or_send().await,
        }
    }

    /// The last head that came.
    pub fn head(&self) -> Option<&ResponseHeader> {
        match self {
            Connection::Http1(http) => http.head(),
            Connection::Http2(stream) => stream.head(),
        }
    }

    /// The same, for who asks for it but once.
    pub fn take_head(&mut self) -> Option<Box<ResponseHeader>> {
        match self {
            Connection::Http1(http) => http.take_head(),
            Connection::Http2(stream) => stream.take_head(),
        }
    }

    /// The next bytes of the response's body; `None` at its end.
    ///
    /// # Errors
    /// As [`Connection::read_head`], and [`Failure::BetweenBytesTimeout`].
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Connection::Http1(http) => http.read_body().await,
            Connection::Http2(stream) => stream.read_body().await,
        }
    }

    /// The same, unless a piece of the request's body that waits is sent before.
    ///
    /// # Errors
    /// As [`Connection::read_body`].
    pub async fn read_body_or_send(&mut self) -> Result<Came<Option<Bytes>>, Failure> {
        match self {
            Connection::Http1(http) => http.read_body().await.map(Came::Read),
            Connection::Http2(stream) => stream.read_body_or_send().await,
        }
    }

    /// The fields after the response's body, once that has ended, if there are any.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        match self {
            Connection::Http1(http) => http.take_trailers(),
            Connection::Http2(stream) => stream.take_trailers(),
        }
    }

    /// Whether the whole of the response has come, and no fields after it.
    pub fn is_done(&self) -> bool {
        match self {
            Connection::Http1(http) => http.is_done(),
            Connection::Http2(stream) => stream.is_done(),
        }
    }

    /// Lets what is its own end with this exchange.
    pub fn spoil(&mut self) {
        if let Connection::Http1(http) = self {
            http.spoil();
        }
    }

    /// How long the backend may keep a write waiting, and how long bytes of a body may be waited for.
    pub fn set_patience(&mut self, write: Duration, read: Duration) {
        match self {
            Connection::Http1(http) => http.set_patience(write, read),
            Connection::Http2(stream) => stream.set_patience(write, read),
        }
    }
}
