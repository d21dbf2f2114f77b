//! A request without a body and its answer, on a connection of HTTP/1.1: a session of ours in the place of pingora's.
//!
//! Pingora's reads bodies, upgrades, pipelines and writes heads of its own making. For what most requests are it costs more than
//! all that is decided about them, and an answer leaves it in pieces that [`Framed`] has to put together again. This one writes a
//! head with the first bytes of its body. The trait is doc-hidden, which is why pingora is pinned exactly.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Version};
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, OrErr, Result};

use super::framed::Framed;
use super::head;
use super::response::{self, Body};
use crate::postscript::Postscript;
use crate::trailers;

/// Bodies up to this many bytes are copied behind their head: one buffer costs the kernel less than two.
const COPIED: usize = 4096;

/// Where a connection is left for its next request.
#[derive(Clone, Default)]
pub(super) struct Place(Arc<Mutex<Option<Box<Framed>>>>);

impl Place {
    /// The connection, if it can carry another request.
    pub(super) fn take(&self) -> Option<Box<Framed>> {
        self.0.lock().take()
    }
}

/// The request, and how far its answer has come.
pub(super) struct Bodiless {
    request: RequestHeader,
    /// Until it is left for the next request.
    framed: Option<Box<Framed>>,
    place: Place,
    digest: Arc<Digest>,
    postscript: Postscript,
    /// What waits to be sent: a head for the first bytes of its body, to leave with them in one packet.
    held: Vec<u8>,
    /// The head that is held. As long as it is, another may take its place: nothing is lost if the body never comes.
    pending: Option<Box<ResponseHeader>>,
    /// The last head that was sent.
    written: Option<Box<ResponseHeader>>,
    body: Body,
    /// Bytes of its body that were sent.
    sent: usize,
    /// Whether the connection may carry another request.
    keeps: bool,
}

/// The head of a request of HTTP/1.1, which the lane has judged; `None` for what pingora would refuse.
pub(super) fn parse(head: &BytesMut) -> Option<RequestHeader> {
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

impl Bodiless {
    /// Over `framed`, which is left in `place` once the answer has ended, if it `keeps` and nothing speaks against it.
    pub(super) fn new(
        request: RequestHeader,
        framed: Box<Framed>,
        place: Place,
        digest: Arc<Digest>,
        keeps: bool,
    ) -> Bodiless {
        let postscript = framed.postscript();
        Bodiless {
            request,
            framed: Some(framed),
            place,
            digest,
            postscript,
            held: Vec::new(),
            pending: None,
            written: None,
            body: Body::Done,
            sent: 0,
            keeps,
        }
    }

    /// Writes a head, or holds it until its body's first bytes if one follows.
    async fn begin(&mut self, head: Box<ResponseHeader>) -> Result<()> {
        if self.written.as_ref().is_some_and(|written| !written.status.is_informational()) {
            return Ok(());
        }
        let is_interim = head.status.is_informational();
        if !is_interim {
            self.body = Body::of(&head, self.request.method == Method::HEAD);
            self.keeps &= !(self.body == Body::UntilClose || response::closes(&head.headers));
        }
        self.held.clear();
        response::write(&head, (!is_interim).then_some(self.keeps), &mut self.held);
        self.pending = Some(head);
        if is_interim || self.body == Body::Done {
            return self.send(&[], "while writing a response's head").await;
        }
        Ok(())
    }

    /// Writes a part of the body; with `end` it is the last.
    async fn write(&mut self, data: Bytes, end: bool) -> Result<()> {
        const WHILE: &str = "while writing a response's body";
        if self.written.is_none() && self.pending.is_none() {
            return Error::e_explain(ErrorType::InternalError, "a body without a head");
        }
        let data = self.body.cut(&data);
        if !data.is_empty() {
            let chunk = self.body == Body::Chunked;
            if chunk {
                self.held.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            }
            // What ends it goes along, if anything does.
            let mut after = if chunk { b"\r\n".to_vec() } else { Vec::new() };
            if end {
                self.end_into(&mut after);
            }
            if data.len() <= COPIED {
                self.held.extend_from_slice(data);
                self.held.extend_from_slice(&after);
                self.send(&[], WHILE).await?;
            } else {
                self.send(&[data, &after], WHILE).await?;
            }
            self.sent += data.len();
        }
        if end { self.finish_body().await } else { Ok(()) }
    }

    /// Ends the body, if that is still to be said.
    async fn finish_body(&mut self) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        self.end_into(&mut held);
        self.held = held;
        self.send(&[], "while ending a response").await
    }

    /// What ends the body.
    fn end_into(&mut self, bytes: &mut Vec<u8>) {
        if self.body != Body::Chunked {
            return;
        }
        self.body = Body::Done;
        bytes.extend_from_slice(b"0\r\n");
        if let Some(fields) = self.postscript.take() {
            trailers::write(&fields, bytes);
        }
        bytes.extend_from_slice(b"\r\n");
    }

    /// Sends what is held and `more`.
    async fn send(&mut self, more: &[&[u8]], context: &'static str) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        self.written = self.pending.take().or(self.written.take());
        let sent = match &mut self.framed {
            Some(framed) => send(framed, &held, more).await,
            None => Err(ErrorKind::NotConnected.into()),
        };
        held.clear();
        self.held = held;
        self.keeps &= sent.is_ok();
        sent.or_err(ErrorType::WriteError, context)
    }

    /// Returns when the client leaves.
    async fn left(&mut self) -> Box<Error> {
        const WHILE: &str = "while the client waits";
        let Some(framed) = &mut self.framed else { return Error::explain(ErrorType::ConnectionClosed, WHILE) };
        match poll_fn(|cx| framed.poll_left(cx)).await {
            Ok(()) => Error::explain(ErrorType::ConnectionClosed, WHILE),
            Err(e) => Error::because(ErrorType::ConnectionClosed, WHILE, e),
        }
    }

    /// Does what a task says; whether the answer ends with it.
    async fn perform(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, end) => self.begin(head).await.map(|()| end),
            HttpTask::Body(data, end) => self.write(data.unwrap_or_default(), end).await.map(|()| end),
            HttpTask::Trailer(_) | HttpTask::Done => Ok(true),
            HttpTask::UpgradedBody(..) => {
                Error::e_explain(ErrorType::InternalError, "an upgrade that was not asked for")
            }
            // Not the client's fault.
            HttpTask::Failed(e) => Err(e),
        }
    }
}

/// Sends these, one after the other, as the client takes them.
async fn send(framed: &mut Framed, first: &[u8], more: &[&[u8]]) -> io::Result<()> {
    let mut slices = [IoSlice::new(first), IoSlice::new(&[]), IoSlice::new(&[])];
    for (slice, part) in slices.iter_mut().skip(1).zip(more) {
        *slice = IoSlice::new(part);
    }
    let mut rest = &mut slices[..=more.len().min(2)];
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match poll_fn(|cx| framed.poll_send(cx, rest)).await? {
            0 => return Err(ErrorKind::WriteZero.into()),
            n => IoSlice::advance_slices(&mut rest, n),
        }
    }
    poll_fn(|cx| framed.poll_sent(cx)).await
}

#[async_trait]
impl Session for Bodiless {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn read_body_or_idle(&mut self, _no_body_expected: bool) -> Result<Option<Bytes>> {
        Err(self.left().await)
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    fn is_body_done(&mut self) -> bool {
        true
    }

    fn is_body_empty(&mut self) -> bool {
        true
    }

    fn body_bytes_read(&self) -> usize {
        0
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, _end: bool) -> Result<()> {
        self.begin(head).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, _end: bool) -> Result<()> {
        self.begin(Box::new(head.clone())).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.write(data, end).await
    }

    /// They are left with the connection's [`Postscript`], which knows whether the client reads them.
    async fn write_trailers(&mut self, _fields: HeaderMap) -> Result<()> {
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ends = false;
        for task in tasks {
            ends |= self.perform(task).await.map_err(Error::into_down)?;
        }
        if ends {
            self.finish_body().await.map_err(Error::into_down)?;
        }
        Ok(ends)
    }

    async fn finish(&mut self) -> Result<()> {
        self.finish_body().await?;
        // A body that is shorter than was said ends with the connection.
        if self.body != Body::Done {
            return Ok(());
        }
        let Some(framed) = self.framed.take() else { return Ok(()) };
        match self.keeps {
            true => *self.place.0.lock() = Some(framed),
            // Boxed: it is seldom awaited.
            false => Box::pin(framed.close()).await,
        }
        Ok(())
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if let Some(framed) = self.framed.take() {
            Box::pin(framed.close()).await;
        }
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    // There is no body that could be waited for, and the clock of writes is that of `Framed`.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _timeout: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.local_addr()
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.request.method, self.request.uri)
    }

    /// Pingora makes a refresh of it.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        http_req_header_to_wire(&self.request).map(BytesMut::freeze).unwrap_or_default()
    }

    // HTTP has no messages beside requests and responses; pingora counts on a reader and a writer of them.
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        Some(Box::new(futures::stream::empty()))
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        Some(Box::new(()))
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
