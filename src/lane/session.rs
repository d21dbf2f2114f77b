//! An exchange of ours as pingora sees it: a session of a protocol that is not its own.
//!
//! Pingora's own sessions read what the lane has read, and write heads of their own making; the one for HTTP/2 has no call for interim
//! responses and knows nothing of trailers of requests. The trait is doc-hidden, which is why pingora is pinned exactly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::body_buffer::FixedBuffer;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::http::v1::client::http_req_header_to_wire;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};

use super::streams::Asked;

/// An answer on its way to a client. What is asked to be written after its end is not.
pub(super) trait Answering: Send + Sync + Unpin + 'static {
    /// Sends a head, interim or final; with `end` that is all. A final one may be held until its body's first bytes.
    fn begin(&mut self, head: Box<ResponseHeader>, end: bool) -> impl Future<Output = Result<()>> + Send;

    /// Sends a part of its body; with `end` it is the last.
    fn write(&mut self, data: Bytes, end: bool) -> impl Future<Output = Result<()>> + Send;

    /// Sends fields after its body, which end it.
    fn end_with(&mut self, fields: HeaderMap) -> impl Future<Output = Result<()>> + Send;

    /// Ends it, if that is still to be said.
    fn end(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// The same, and there is no more to come of the exchange.
    fn finish(&mut self) -> impl Future<Output = Result<()>> + Send {
        self.end()
    }

    /// Breaks it off.
    fn break_off(&mut self) -> impl Future<Output = ()> + Send;

    /// Returns when the client leaves, or no longer wants it.
    fn left(&mut self) -> impl Future<Output = Box<Error>> + Send;

    /// The last head that was sent.
    fn head(&self) -> Option<&ResponseHeader>;

    /// Bytes of its body that were sent.
    fn sent(&self) -> usize;

    /// Sets how long the client may take nothing. Not heeded where the connection sees to that.
    fn set_patience(&mut self, _patience: Option<Duration>) {}

    /// That time, where it is heeded.
    fn patience(&self) -> Option<Duration> {
        None
    }
}

/// One request and its answer.
pub(super) struct Exchange<A> {
    request: RequestHeader,
    /// The request's body, if it may have one.
    asked: Option<Asked>,
    answer: A,
    /// What is known of the connection.
    digest: Arc<Digest>,
}

impl<A: Answering> Exchange<A> {
    /// A request, with what of it is still to come, and how it is answered.
    pub(super) fn new(request: RequestHeader, asked: Option<Asked>, answer: A, digest: Arc<Digest>) -> Exchange<A> {
        Exchange { request, asked, answer, digest }
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        match &mut self.asked {
            Some(asked) => asked.next().await,
            None => Ok(None),
        }
    }

    /// Does what a task says; whether the answer ends with it.
    async fn perform(&mut self, task: HttpTask) -> Result<bool> {
        let (done, ends) = match task {
            HttpTask::Header(head, end) => (self.answer.begin(head, end).await, end),
            HttpTask::Body(Some(data), end) if !data.is_empty() => (self.answer.write(data, end).await, end),
            HttpTask::Body(_, end) => (Ok(()), end),
            HttpTask::Trailer(Some(fields)) => (self.answer.end_with(*fields).await, true),
            HttpTask::Trailer(None) | HttpTask::Done => (Ok(()), true),
            HttpTask::UpgradedBody(..) => {
                return Error::e_explain(ErrorType::InternalError, "an upgrade that was not asked for");
            }
            // Not the client's fault.
            HttpTask::Failed(e) => return Err(e),
        };
        done.map(|()| ends).map_err(Error::into_down)
    }
}

#[async_trait]
impl<A: Answering> Session for Exchange<A> {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.next().await
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            return Err(self.answer.left().await);
        }
        self.next().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        match &mut self.asked {
            Some(asked) => asked.drain().await,
            None => Ok(()),
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.asked.as_ref().is_none_or(Asked::is_done)
    }

    fn is_body_empty(&mut self) -> bool {
        self.asked.as_ref().is_none_or(Asked::is_empty)
    }

    fn body_bytes_read(&self) -> usize {
        self.asked.as_ref().map_or(0, |asked| asked.read)
    }

    fn enable_retry_buffering(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.keep();
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.asked.as_ref().and_then(|asked| asked.kept.as_ref()).is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.asked.as_ref()?.kept.as_ref().filter(|kept| !kept.is_truncated())?.get_buffer()
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.answer.begin(head, end).await
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.answer.begin(Box::new(head.clone()), end).await
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.answer.write(data, end).await
    }

    async fn write_trailers(&mut self, fields: HeaderMap) -> Result<()> {
        self.answer.end_with(fields).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ends = false;
        for task in tasks {
            ends |= self.perform(task).await?;
        }
        if ends {
            self.answer.end().await.map_err(Error::into_down)?;
        }
        Ok(ends)
    }

    async fn finish(&mut self) -> Result<()> {
        self.answer.finish().await
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        self.answer.break_off().await;
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.answer.head()
    }

    fn body_bytes_sent(&self) -> usize {
        self.answer.sent()
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        if let Some(asked) = &mut self.asked {
            asked.patience = timeout;
        }
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.asked.as_ref()?.patience
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.answer.set_patience(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.answer.patience()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        if let Some(asked) = &mut self.asked {
            asked.drain_time = timeout;
        }
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.asked.as_ref()?.drain_time
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
