//! A request without a body and its answer, on a connection of HTTP/1.1.
//!
//! Pingora's session reads bodies, upgrades, pipelines and writes heads of its own making. For what most requests are it costs more
//! than all that is decided about them, and an answer leaves it in pieces that [`Framed`] has to put together again. This one
//! writes a head with the first bytes of its body.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, OrErr, Result};

use super::framed::Framed;
use super::head;
use super::reply::COPIED;
use super::response::{self, Body};
use super::session::Answering;
use crate::postscript::Postscript;
use crate::trailers;

/// Where a connection is left for its next request.
#[derive(Clone, Default)]
pub(super) struct Place(Arc<Mutex<Option<Box<Framed>>>>);

impl Place {
    /// The connection, if it can carry another request.
    pub(super) fn take(&self) -> Option<Box<Framed>> {
        self.0.lock().take()
    }

    fn put(&self, framed: Box<Framed>) {
        *self.0.lock() = Some(framed);
    }
}

/// The head of a request of HTTP/1.1, which the lane has judged; `None` for what pingora would refuse.
pub(super) fn parse(head: &[u8]) -> Option<RequestHeader> {
    // One allocation, of which names and values are parts.
    let bytes = Bytes::copy_from_slice(head);
    let mut space = head::space();
    let mut request = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, &bytes, &mut space);
    if !parsed.ok()?.is_complete() || request.version != Some(1) {
        return None;
    }
    let mut header =
        RequestHeader::build(request.method?, request.path?.as_bytes(), Some(request.headers.len())).ok()?;
    header.set_version(Version::HTTP_11);
    for field in request.headers.iter() {
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value)).ok()?;
        header.append_header(bytes.slice_ref(field.name.as_bytes()), value).ok()?;
    }
    Some(header)
}

/// How far the answer has come.
pub(super) struct Answer {
    /// Until it is left for the next request.
    framed: Option<Box<Framed>>,
    place: Place,
    postscript: Postscript,
    /// Whether it is one to HEAD.
    is_head: bool,
    /// What waits to be sent: a head for the first bytes of its body, to leave with them in one packet.
    held: Vec<u8>,
    /// The head that is held. As long as it is, another may take its place: nothing is lost if the body never comes.
    pending: Option<Box<ResponseHeader>>,
    /// The last head that was sent.
    head: Option<Box<ResponseHeader>>,
    body: Body,
    /// Bytes of its body that were sent.
    sent: usize,
    /// Whether the connection may carry another request.
    keeps: bool,
}

impl Answer {
    /// Over `framed`, which is left in `place` once it has ended, if it `keeps` and nothing speaks against that.
    pub(super) fn new(framed: Box<Framed>, place: Place, is_head: bool, keeps: bool) -> Answer {
        let postscript = framed.postscript();
        Answer {
            framed: Some(framed),
            place,
            postscript,
            is_head,
            held: Vec::new(),
            pending: None,
            head: None,
            body: Body::Done,
            sent: 0,
            keeps,
        }
    }

    /// Adds to `bytes` what ends a body of chunks.
    fn end_chunks(&mut self, bytes: &mut Vec<u8>) {
        self.body = Body::Done;
        bytes.extend_from_slice(b"0\r\n");
        if let Some(fields) = self.postscript.take() {
            trailers::write(&fields, bytes);
        }
        bytes.extend_from_slice(b"\r\n");
    }

    /// Sends what is held, and these parts.
    async fn send(&mut self, parts: [&[u8]; 2], context: &'static str) -> Result<()> {
        self.head = self.pending.take().or(self.head.take());
        let sent = match &mut self.framed {
            Some(framed) => send(framed, &mut [&self.held, parts[0], parts[1]].map(IoSlice::new)).await,
            None => Err(ErrorKind::NotConnected.into()),
        };
        self.held.clear();
        self.keeps &= sent.is_ok();
        sent.or_err(ErrorType::WriteError, context)
    }
}

impl Answering for Answer {
    async fn begin(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        if self.head.as_ref().is_some_and(|head| !head.status.is_informational()) {
            return Ok(());
        }
        let is_interim = head.status.is_informational();
        if !is_interim {
            self.body = Body::of(&head, self.is_head);
            self.keeps &= !(self.body == Body::UntilClose || response::closes(&head.headers));
        }
        self.held.clear();
        response::write(&head, (!is_interim).then_some(self.keeps), &mut self.held);
        self.pending = Some(head);
        if is_interim || self.body == Body::Done {
            return self.send([&[]; 2], "while writing a response's head").await;
        }
        Ok(())
    }

    async fn write(&mut self, data: Bytes, end: bool) -> Result<()> {
        if self.head.is_none() && self.pending.is_none() {
            return Error::e_explain(ErrorType::InternalError, "a body without a head");
        }
        let data = self.body.cut(&data);
        if !data.is_empty() {
            let mut after = Vec::new();
            if self.body == Body::Chunked {
                self.held.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                after.extend_from_slice(b"\r\n");
                if end {
                    self.end_chunks(&mut after);
                }
            }
            let mut parts = [data, &after];
            if data.len() as u64 <= COPIED {
                parts.iter().for_each(|part| self.held.extend_from_slice(part));
                parts = [&[]; 2];
            }
            self.send(parts, "while writing a response's body").await?;
            self.sent += data.len();
        }
        if end { self.end().await } else { Ok(()) }
    }

    /// They are left with the connection's [`Postscript`], which knows whether the client reads them.
    async fn end_with(&mut self, _fields: HeaderMap) -> Result<()> {
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        if self.body == Body::Chunked {
            let mut held = std::mem::take(&mut self.held);
            self.end_chunks(&mut held);
            self.held = held;
        }
        if self.held.is_empty() { Ok(()) } else { self.send([&[]; 2], "while ending a response").await }
    }

    async fn finish(&mut self) -> Result<()> {
        self.end().await?;
        // A body that is shorter than was said ends with the connection.
        let Some(framed) = self.framed.take_if(|_| self.body == Body::Done) else { return Ok(()) };
        match self.keeps {
            true => self.place.put(framed),
            // Boxed: it is seldom awaited.
            false => Box::pin(framed.close()).await,
        }
        Ok(())
    }

    async fn break_off(&mut self) {
        if let Some(framed) = self.framed.take() {
            Box::pin(framed.close()).await;
        }
    }

    async fn left(&mut self) -> Box<Error> {
        const WHILE: &str = "while the client waits";
        let Some(framed) = &mut self.framed else { return Error::explain(ErrorType::ConnectionClosed, WHILE) };
        match poll_fn(|cx| framed.poll_left(cx)).await {
            Ok(()) => Error::explain(ErrorType::ConnectionClosed, WHILE),
            Err(e) => Error::because(ErrorType::ConnectionClosed, WHILE, e),
        }
    }

    fn head(&self) -> Option<&ResponseHeader> {
        self.head.as_deref()
    }

    fn sent(&self) -> usize {
        self.sent
    }
}

/// Sends these, one after the other, as the client takes them.
async fn send(framed: &mut Framed, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while let Some(last) = parts.iter().rposition(|part| !part.is_empty()) {
        // Without empty ones at the end: one part is sent by the cheaper call.
        match poll_fn(|cx| framed.poll_send(cx, &parts[..=last])).await? {
            0 => return Err(ErrorKind::WriteZero.into()),
            n => IoSlice::advance_slices(&mut parts, n),
        }
    }
    poll_fn(|cx| framed.poll_sent(cx)).await
}
