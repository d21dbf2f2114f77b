//! Upstream sessions: pingora's custom protocol, which lets one session choose its backend late and try several.
//!
//! The native path fixes the backend before the session exists and has one read timeout for heads and bodies alike.
//! Here the session connects when it knows the request, retries before a head, and keeps the clocks apart. Only
//! upgraded connections take the native path. These traits are doc-hidden, which is why pingora is pinned exactly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::connectors::http::custom;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::custom::client::Session;
use pingora::protocols::http::custom::{BodyWrite, CustomMessageWrite};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::tls::CustomALPN;
use pingora::protocols::{ALPN, Digest, UniqueIDType};
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, Result};

use super::session::UpstreamSession;
use super::upload::NoBody;
use crate::upstream::{Connections, Failure};

/// The peer that selects this path; it names no backend.
pub(super) fn marker_peer() -> HttpPeer {
    let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
    let mut peer = HttpPeer::new(nowhere, false, String::new());
    peer.options.alpn = ALPN::Custom(CustomALPN::new(b"hedgerow".to_vec()));
    // No pooled HTTP/1 connection ever matches it.
    peer.group_key = u64::MAX;
    peer
}

/// Hands out sessions that share one pool of connections, as its clones do.
#[derive(Clone)]
pub struct Forward {
    connections: Arc<Connections>,
}

impl Forward {
    /// Sessions over `connections`.
    pub fn new(connections: Arc<Connections>) -> Forward {
        Forward { connections }
    }
}

#[async_trait]
impl custom::Connector for Forward {
    type Session = UpstreamSession;

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _peer: &P,
    ) -> Result<(custom::Connection<UpstreamSession>, bool)> {
        Ok((custom::Connection::Session(UpstreamSession::new(self.connections.clone())), false))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _peer: &P) -> Option<UpstreamSession> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        session: UpstreamSession,
        _peer: &P,
        _idle: Option<Duration>,
    ) {
        session.release();
    }
}

/// A failure as pingora carries it: upstream's fault, not to be repeated by pingora's own loop.
pub(super) fn error(failure: Failure) -> Box<Error> {
    let mut e = Error::explain(ErrorType::HTTPStatus(failure.status()), failure.as_str());
    e.as_up();
    e.set_retry(false);
    e
}

#[async_trait]
impl Session for UpstreamSession {
    async fn write_request_header(&mut self, mut request: Box<RequestHeader>, end: bool) -> Result<()> {
        if end {
            return self.ask(request);
        }
        self.open(&mut request).await
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        if self.leg.is_none() {
            return Some(Box::new(NoBody));
        }
        Some(Box::new(self.writer()))
    }

    async fn read_response_header(&mut self) -> Result<()> {
        // Pingora filters whatever heads are at hand in one batch, and drops the batch if the final one is stored (the
        // client then reads it from there). So the next head waits until the interim one is through; but not where a
        // request's body is still sent, which waits for this session.
        if self.has_interim
            && self.upload.is_none()
            && let Some(attempts) = &self.attempts
        {
            attempts.exchange().interim_passed_on().await;
        }
        if let Err(failure) = self.next_head().await {
            let mut e = error(failure);
            e.set_retry(self.again);
            return Err(e);
        }
        Ok(())
    }

    async fn read_response_body(&mut self) -> Result<Option<Bytes>> {
        self.next_body().await.map_err(error)
    }

    async fn check_response_end_or_error(&mut self, _headers: bool) -> Result<bool> {
        Ok(self.is_done())
    }

    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        Ok(self.trailers().await)
    }

    fn response_header(&self) -> Option<&ResponseHeader> {
        match (&self.splice, &self.confirmed) {
            (Some(splice), _) => Some(&splice.head),
            (None, Some(head)) => Some(head),
            (None, None) => self.leg.as_ref()?.http.head(),
        }
    }

    async fn shutdown(&mut self, _code: u32, _context: &str) {
        if let Some(leg) = self.leg.as_mut() {
            leg.http.spoil();
        }
    }

    fn response_finished(&self) -> bool {
        false
    }

    fn was_upgraded(&self) -> bool {
        false
    }

    // What pingora would log of a connection; the log is ours.
    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn fd(&self) -> UniqueIDType {
        -1
    }

    // Timeouts are the attempts' own.
    fn set_read_timeout(&mut self, _timeout: Option<Duration>) {}

    fn set_write_timeout(&mut self, _timeout: Option<Duration>) {}

    // The body goes through the writer.
    async fn write_request_body(&mut self, _data: Bytes, _end: bool) -> Result<()> {
        Ok(())
    }

    async fn finish_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    // HTTP has no messages beside requests and responses.
    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    async fn drain_custom_messages(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        Some(Box::new(futures::stream::empty()))
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        Some(Box::new(()))
    }
}
