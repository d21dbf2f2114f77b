//! One connection to a backend, and the exchange that is on it.
//!
//! Every wait may be given up and taken up again: bytes that came are in the buffer, and what they were is in the state.

use std::io::{ErrorKind, IoSlice};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use pingora::connectors::TransportConnector;
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;

use super::chunked::Front;
use super::framing::Body;
use super::head::{self, MAX_HEAD};
use super::request::{Outgoing, Request};
use crate::trailers;
use crate::upstream::Failure;
use crate::upstream::io::Io;

/// Interim responses that are read for one request; an origin that sends more is broken.
const MAX_INTERIM: u32 = 16;
/// Room for a head and a small body.
const SMALL: usize = 8 * 1024;
/// Room for a piece of a large body.
const LARGE: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    io: Io,
    /// What was read and is not yet used.
    buffer: BytesMut,
    /// Whether the exchange is the first one.
    is_fresh: bool,
    is_head: bool,
    outgoing: Outgoing,
    head: Option<Box<ResponseHeader>>,
    body: Body,
    /// The lines of the fields after it.
    trailers: Vec<u8>,
    interim: u32,
    /// Bytes of a head that have been looked at in vain.
    looked_at: usize,
    /// Whether both sides leave it open after this exchange.
    keeps_open: bool,
    /// For one write to make progress.
    write_patience: Duration,
    /// Between two reads of a body.
    read_patience: Duration,
}

impl Connection {
    /// Connects to `peer`.
    ///
    /// # Errors
    /// Why it could not.
    pub(in crate::upstream) async fn connect(
        peer: &HttpPeer,
        tls: &TransportConnector,
    ) -> Result<Box<Connection>, Failure> {
        let io = Io::connect(peer, tls).await?;
        Ok(Box::new(Connection {
            io,
            buffer: BytesMut::new(),
            is_fresh: true,
            is_head: false,
            outgoing: Outgoing::Length(0),
            head: None,
            body: Body::Unknown,
            trailers: Vec::new(),
            interim: 0,
            looked_at: 0,
            keeps_open: true,
            write_patience: Duration::MAX,
            read_patience: Duration::MAX,
        }))
    }

    /// How long its TLS handshake took; `None` without TLS.
    pub fn handshake(&self) -> Option<Duration> {
        self.io.handshake()
    }

    /// Whether this is its first exchange.
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// How long one write may take, and how long bytes of a body may be waited for.
    pub fn set_patience(&mut self, write: Duration, read: Duration) {
        (self.write_patience, self.read_patience) = (write, read);
    }

    /// Sends a request's head, with `more` lines.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`].
    pub async fn send(&mut self, request: &Request, more: &[u8]) -> Result<(), Failure> {
        (self.is_head, self.outgoing, self.keeps_open) = (request.is_head, request.body, !request.closes);
        (self.head, self.body, self.interim) = (None, Body::Unknown, 0);
        self.trailers.clear();
        self.write(&mut [IoSlice::new(request.head()), IoSlice::new(more), IoSlice::new(b"\r\n")]).await
    }

    /// Sends a piece of the request's body.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`], also if it is more than was announced.
    pub async fn send_body(&mut self, data: &[u8]) -> Result<(), Failure> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.outgoing {
            Outgoing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Failure::WriteFailed)?;
                self.write(&mut [IoSlice::new(data)]).await
            }
            Outgoing::Chunked => {
                let size = format!("{:x}\r\n", data.len());
                let chunk = &mut [IoSlice::new(size.as_bytes()), IoSlice::new(data), IoSlice::new(b"\r\n")];
                self.write(chunk).await
            }
        }
    }

    /// Ends the request's body, with fields after it if it is chunked.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`], also if it is less than was announced.
    pub async fn end_body(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        match std::mem::replace(&mut self.outgoing, Outgoing::Length(0)) {
            Outgoing::Length(0) => Ok(()),
            Outgoing::Length(_) => Err(Failure::WriteFailed),
            Outgoing::Chunked => {
                let mut lines = Vec::new();
                if let Some(fields) = &trailers {
                    trailers::write(fields, &mut lines);
                }
                self.write(&mut [IoSlice::new(b"0\r\n"), IoSlice::new(&lines), IoSlice::new(b"\r\n")]).await
            }
        }
    }

    async fn write(&mut self, parts: &mut [IoSlice<'_>]) -> Result<(), Failure> {
        let written = timeout(self.write_patience, self.io.write(parts)).await;
        written.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(|_| {
            self.keeps_open = false;
            Failure::WriteFailed
        })
    }

    /// Reads the next head, interim or final, for as long as it takes.
    ///
    /// # Errors
    /// [`Failure::ClosedEarly`] or [`Failure::InvalidResponse`].
    pub async fn read_head(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(head) = self.next_head()? {
                self.head = Some(head);
                return Ok(());
            }
            self.buffer.reserve(SMALL.max(self.buffer.len()));
            let read = self.io.read(&mut self.buffer).await;
            if read.map_err(|_| Failure::ClosedEarly)? == 0 {
                return Err(Failure::ClosedEarly);
            }
        }
    }

    /// The next head, if all of it is there. What was looked at before is looked at again only once it has doubled, or ends
    /// a line that may be the last: a head that comes byte by byte is not parsed as often.
    fn next_head(&mut self) -> Result<Option<Box<ResponseHeader>>, Failure> {
        let bytes = &self.buffer[..];
        let is_worth_it = self.looked_at == 0 || bytes.len() >= 2 * self.looked_at || ends_head(bytes, self.looked_at);
        if bytes.is_empty() || !is_worth_it {
            return if bytes.len() > MAX_HEAD { Err(Failure::InvalidResponse) } else { Ok(None) };
        }
        let parsed = head::parse(bytes).map_err(|_| Failure::InvalidResponse)?;
        let Some(head) = parsed.filter(|head| head.length <= MAX_HEAD) else {
            self.looked_at = bytes.len();
            return if bytes.len() > MAX_HEAD { Err(Failure::InvalidResponse) } else { Ok(None) };
        };
        self.buffer.advance(head.length);
        self.looked_at = 0;
        self.body = head.said.body(head.response.status, self.is_head);
        self.keeps_open &= head.said.keeps_open(head.response.version);
        self.interim += u32::from(self.body == Body::Unknown);
        if self.interim > MAX_INTERIM { Err(Failure::InvalidResponse) } else { Ok(Some(head.response)) }
    }

    /// The last head that came.
    pub fn head(&self) -> Option<&ResponseHeader> {
        self.head.as_deref()
    }

    /// The same, for who asks for it but once.
    pub fn take_head(&mut self) -> Option<Box<ResponseHeader>> {
        self.head.take()
    }

    /// The next bytes of the response's body; `None` at its end.
    ///
    /// # Errors
    /// [`Failure::ClosedEarly`], [`Failure::InvalidResponse`] or [`Failure::BetweenBytesTimeout`].
    pub async fn read_body(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(data) = self.next_data()? {
                return Ok(Some(data));
            }
            if self.body == Body::Done {
                return Ok(None);
            }
            let room = match self.body {
                Body::Length(left) if left < SMALL as u64 => SMALL,
                _ => LARGE,
            };
            self.buffer.reserve(room);
            let read = timeout(self.read_patience, self.io.read(&mut self.buffer)).await;
            match (read.map_err(|_| Failure::BetweenBytesTimeout)?, self.body) {
                (Ok(0), Body::UntilClose) => (self.body, self.keeps_open) = (Body::Done, false),
                (Ok(0) | Err(_), _) => return Err(Failure::ClosedEarly),
                (Ok(_), _) => {}
            }
        }
    }

    /// The bytes of the body that are at hand: copied, so that the buffer is used again and nobody keeps more than that.
    fn next_data(&mut self) -> Result<Option<Bytes>, Failure> {
        let n = match &mut self.body {
            Body::Unknown => return Err(Failure::InvalidResponse),
            Body::Done => 0,
            Body::UntilClose => self.buffer.len(),
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left -= n as u64;
                if *left == 0 {
                    self.body = Body::Done;
                }
                n
            }
            Body::Chunked(chunked) => {
                let (framing, front) =
                    chunked.next(&self.buffer, &mut self.trailers).map_err(|_| Failure::InvalidResponse)?;
                self.buffer.advance(framing);
                match front {
                    Front::Data(n) => n,
                    Front::Nothing => 0,
                    Front::End => {
                        self.body = Body::Done;
                        0
                    }
                }
            }
        };
        if n == 0 {
            return Ok(None);
        }
        let data = Bytes::copy_from_slice(&self.buffer[..n]);
        self.buffer.advance(n);
        Ok(Some(data))
    }

    /// The fields after the response's body, once that has ended, if there are any that can be read.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        let lines = std::mem::take(&mut self.trailers);
        if lines.is_empty() { None } else { trailers::parse(&lines).ok() }
    }

    /// Whether the whole of the response has come, and no fields after it.
    pub fn is_done(&self) -> bool {
        self.body == Body::Done && self.trailers.is_empty()
    }

    /// Makes it ready for the next exchange; whether there may be one: both messages have ended and nothing is left over.
    pub(super) fn renew(&mut self) -> bool {
        let has_ended = self.body == Body::Done && self.outgoing == Outgoing::Length(0) && self.buffer.is_empty();
        if !has_ended || !self.keeps_open {
            return false;
        }
        if self.buffer.capacity() > 2 * SMALL {
            self.buffer = BytesMut::new();
        }
        (self.head, self.is_fresh, self.looked_at) = (None, false, 0);
        self.is_silent()
    }

    /// Whether nothing has come on it since, not even its end.
    pub(super) fn is_silent(&mut self) -> bool {
        self.io.is_silent()
    }

    /// Lets it end with this exchange.
    pub fn spoil(&mut self) {
        self.keeps_open = false;
    }
}

/// Whether an empty line is among what has come since `from`.
fn ends_head(bytes: &[u8], from: usize) -> bool {
    let since = &bytes[from.saturating_sub(3).min(bytes.len())..];
    memchr::memmem::find(since, b"\n\r\n").is_some() || memchr::memmem::find(since, b"\n\n").is_some()
}
