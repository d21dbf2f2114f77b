//! A request over HTTP/2 as pingora sees it: a session of a protocol that is not its own.
//!
//! Pingora's own session for HTTP/2 has no call for interim responses, and knows nothing of trailers of requests. The trait is
//! doc-hidden, which is why pingora is pinned exactly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::body_buffer::FixedBuffer;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};

use super::answer::Answer;
use super::asked::Asked;
use crate::pace::Pace;
use crate::postscript::Postscript;

/// One request and its answer.
pub(super) struct StreamSession {
    head: RequestHeader,
    asked: Asked,
    answer: Answer,
    /// What is known of the connection.
    digest: Arc<Digest>,
}

impl StreamSession {
    /// Over a request that was accepted.
    pub(super) fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        digest: Arc<Digest>,
        pace: Pace,
        postscript: Postscript,
    ) -> StreamSession {
        let (head, body) = request.into_parts();
        let is_said_empty = head.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
        StreamSession {
            head: head.into(),
            asked: Asked::new(body, is_said_empty, postscript),
            answer: Answer::new(respond, pace),
            digest,
        }
    }

    /// Does what a task says; whether the answer ends with it.
    async fn perform(&mut self, task: HttpTask) -> Result<bool> {
        let (done, ends) = match task {
            HttpTask::Header(head, end) => (self.answer.begin(head, end), end),
            HttpTask::Body(Some(data), end) if !data.is_empty() => (self.answer.write(data, end).await, end),
            HttpTask::Body(_, end) => (Ok(()), end),
            HttpTask::Trailer(Some(fields)) => (self.answer.end_with(*fields), true),
            HttpTask::Trailer(None) | HttpTask::Done => (Ok(()), true),
            HttpTask::UpgradedBody(..) => return Error::e_explain(ErrorType::InternalError, "an upgrade over HTTP/2"),
            // Not the client's fault.
            HttpTask::Failed(e) => return Err(e),
        };
        done.map(|()| ends).map_err(Error::into_down)
    }
}

#[async_trait]
impl Session for StreamSession {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.asked.next().await
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.asked.is_done() {
            return Err(self.answer.gone().await);
        }
        self.asked.next().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        self.asked.drain().await
    }

    fn is_body_done(&mut self) -> bool {
        self.asked.is_done()
    }

    fn is_body_empty(&mut self) -> bool {
        self.asked.is_empty()
    }

    fn body_bytes_read(&self) -> usize {
        self.asked.read
    }

    fn enable_retry_buffering(&mut self) {
        self.asked.keep();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.asked.kept.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.asked.kept.as_ref().filter(|kept| !kept.is_truncated())?.get_buffer()
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.answer.begin(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.answer.begin(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.answer.write(data, end).await
    }

    async fn write_trailers(&mut self, fields: HeaderMap) -> Result<()> {
        self.answer.end_with(fields)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ends = false;
        for task in tasks {
            ends |= self.perform(task).await?;
        }
        if ends {
            self.answer.finish().map_err(Error::into_down)?;
        }
        Ok(ends)
    }

    async fn finish(&mut self) -> Result<()> {
        self.answer.finish()
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.answer.reset();
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.answer.head.as_deref()
    }

    fn body_bytes_sent(&self) -> usize {
        self.answer.sent
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.asked.patience = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.asked.patience
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.answer.patience = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.answer.patience
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.asked.drain_time = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.asked.drain_time
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
        format!("{} {}", self.head.method, self.head.uri)
    }

    /// Pingora makes a refresh of it.
    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        http_req_header_to_wire(&self.head).map(BytesMut::freeze).unwrap_or_default()
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
