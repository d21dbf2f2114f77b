//! Upstream sessions: pingora's custom protocol, which lets one session choose its backend late and try several.
//!
//! The native path fixes the backend before the session exists and has one read timeout for heads and bodies alike.
//! Here the session connects when it knows the request, retries before a head, and keeps the clocks apart. Only
//! upgraded connections take the native path. These traits are doc-hidden, which is why pingora is pinned exactly.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::connectors::http::custom;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::custom::client::Session;
use pingora::protocols::http::custom::{BodyWrite, CustomMessageWrite};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::tls::CustomALPN;
use pingora::protocols::{ALPN, Digest, UniqueIDType};
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, Result};

use super::attempts::{Attempts, Wait};
use super::exchange::{Condition, Exchange, ExchangeRef};
use super::leg::Leg;
use super::rescue::Rescue;
use super::resume::{Resume, Splice, Verdict};
use super::upload::{self, NoBody, Upload};
use crate::cache::reuse;
use crate::cache::validate::{self, Mismatch};
use crate::clock;
use crate::tail::deadline::Deadline;
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

/// Hands out sessions that share one pool of connections.
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

/// One request on its way through attempts to a response.
pub struct UpstreamSession {
    connections: Arc<Connections>,
    attempts: Option<Attempts>,
    request: Option<Box<RequestHeader>>,
    leg: Option<Leg>,
    upload: Option<Upload>,
    /// The request for the rest of what is stored, until its answer is judged.
    rest: Option<(Resume, Box<RequestHeader>)>,
    /// A 304 in place of an answer to HEAD that says as much.
    confirmed: Option<Box<ResponseHeader>>,
    /// The request, until it is known whether the body that answers it may be rescued.
    asked: Option<Box<RequestHeader>>,
    /// What keeps a body that may be.
    rescue: Option<Box<Rescue>>,
    /// What is stored and the rest, as one response.
    splice: Option<Box<Splice>>,
    /// Whether the client has begun to read an answer.
    has_interim: bool,
    total: Option<Deadline>,
    /// Whether a failed attempt is to be repeated by pingora, which has the request's body.
    again: bool,
}

impl UpstreamSession {
    /// A session that was asked nothing yet.
    pub(super) fn new(connections: Arc<Connections>) -> UpstreamSession {
        UpstreamSession {
            connections,
            attempts: None,
            request: None,
            leg: None,
            upload: None,
            rest: None,
            confirmed: None,
            asked: None,
            rescue: None,
            splice: None,
            has_interim: false,
            total: None,
            again: false,
        }
    }

    /// Gives the connection back if both messages ended on it.
    pub(super) fn release(mut self) {
        if let Some(leg) = self.leg.take().filter(|_| self.upload.as_ref().is_none_or(Upload::is_done)) {
            leg.release(&self.connections);
        }
    }

    /// Takes a request without a body, with its plan in its extensions.
    pub(super) fn ask(&mut self, mut request: Box<RequestHeader>) -> Result<()> {
        self.attempts = Some(self.attempts_at(&mut request)?);
        self.request = Some(request);
        Ok(())
    }

    fn attempts_at(&mut self, request: &mut RequestHeader) -> Result<Attempts> {
        let Some(ExchangeRef(exchange)) = request.extensions_mut().remove() else {
            return Error::e_explain(ErrorType::InternalError, "a forwarded request without its exchange");
        };
        self.total = Some(Deadline::new(exchange.started, exchange.route.pool.config().timeouts.total));
        Ok(Attempts::new(exchange, self.connections.clone()))
    }

    /// Waits for the next head, interim or final.
    pub(super) async fn next_head(&mut self) -> Result<(), Failure> {
        self.any_head().await?;
        self.has_interim |= !self.has_final_head();
        self.judge_rest().await?;
        if let (Some(leg), Some(attempts), true) = (&self.leg, &self.attempts, self.has_final_head()) {
            self.rescue = self.asked.take().and_then(|asked| Rescue::of(asked, leg, attempts.exchange())).map(Box::new);
        }
        Ok(())
    }

    fn has_final_head(&self) -> bool {
        let head = self.leg.as_ref().and_then(|leg| leg.http.head());
        head.is_some_and(|head| !head.status.is_informational())
    }

    /// What comes in answer to a request for the rest of something: the rest, another answer, or nothing of use.
    async fn judge_rest(&mut self) -> Result<(), Failure> {
        let (Some(leg), Some(attempts)) = (self.leg.as_mut(), self.attempts.as_mut()) else { return Ok(()) };
        let Some(head) = leg.http.head().filter(|head| !head.status.is_informational()) else {
            return Ok(());
        };
        let Some((resume, mut request)) = self.rest.take() else { return Ok(()) };
        match resume.judge(head) {
            Verdict::Join(splice) => {
                attempts.exchange().seen.lock().spliced = Some(head.status);
                self.splice = Some(splice);
            }
            Verdict::PassOn => {}
            Verdict::AskAgain => {
                self.leg = None;
                // Its answer was none of ours to use; that is no reason against the backend.
                attempts.exchange().seen.lock().tried.pop();
                resume.undo(&mut request);
                self.leg = Some(Box::pin(attempts.ask(&request)).await?);
            }
        }
        Ok(())
    }

    async fn any_head(&mut self) -> Result<(), Failure> {
        let Some(attempts) = self.attempts.as_mut() else { return Err(Failure::NoBackend) };
        if let Some(mut request) = self.request.take() {
            let mut leg = attempts.ask(&request).await?;
            if let Some(mismatch) = foreign(&leg, attempts.exchange()) {
                // Neither a 304 nor an answer to HEAD has a body: the connection can be used again.
                leg.release(&self.connections);
                leg = Box::pin(attempts.ask_again(&mut request, mismatch)).await?;
            }
            self.confirmed = confirmed(&leg, attempts.exchange());
            self.leg = Some(leg);
            match attempts.exchange().resume.clone() {
                Some(resume) => self.rest = Some((resume, request)),
                None => self.asked = Some(request),
            }
            return Ok(());
        }
        let Some(mut leg) = self.leg.take() else { return Err(Failure::NoBackend) };
        let read = match self.upload.as_mut() {
            Some(upload) => Box::pin(upload.until_head(&mut leg, attempts)).await,
            None => attempts.read_head(&mut leg).await,
        };
        let Err(failure) = read else {
            self.leg = Some(leg);
            return Ok(());
        };
        if self.has_interim {
            attempts.fail(&mut leg.attempt, failure);
            return Err(failure);
        }
        // The body is kept by pingora, which repeats the whole attempt if there is to be another.
        self.again = attempts.after_failure(Some(leg.attempt), failure, Wait::Always).await.is_ok();
        Err(failure)
    }

    /// The last head, for who asks for it but once.
    pub(super) fn take_head(&mut self) -> Option<Box<ResponseHeader>> {
        match (&self.splice, self.confirmed.take()) {
            (Some(splice), _) => Some(Box::new(splice.head.clone())),
            (None, Some(head)) => Some(head),
            (None, None) => self.leg.as_mut()?.http.take_head(),
        }
    }

    /// Whether the whole of the answer was given.
    pub(super) fn is_done(&self) -> bool {
        let has_stored = self.splice.as_ref().is_some_and(|splice| splice.has_more());
        !has_stored && self.leg.as_ref().is_none_or(|leg| leg.http.is_done())
    }

    /// Waits for the next bytes of the body; `None` at its end.
    pub(super) async fn next_body(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(stored) = self.splice.as_mut().and_then(|splice| splice.next()) {
            return Ok(Some(stored));
        }
        let (Some(leg), Some(attempts)) = (self.leg.as_mut(), self.attempts.as_mut()) else { return Ok(None) };
        if self.total.is_some_and(|total| total.left(clock::now()).is_none()) {
            attempts.fail(&mut leg.attempt, Failure::TotalTimeout);
            return Err(Failure::TotalTimeout);
        }
        let read = match (self.upload.as_mut(), self.rescue.as_mut()) {
            (Some(upload), _) => upload.until_body(leg, attempts.exchange()).await,
            // Boxed, as it has room for a second backend.
            (None, Some(rescue)) => Box::pin(rescue.read(leg, attempts)).await,
            (None, None) => leg.http.read_body().await,
        };
        match (&read, self.upload.as_mut()) {
            (Err(failure), _) => attempts.fail(&mut leg.attempt, *failure),
            // The answer is whole: what is left of the request would wait for a reader that does not come.
            (Ok(None), Some(upload)) => upload.close(),
            _ => {}
        }
        read
    }
}

impl Drop for UpstreamSession {
    fn drop(&mut self) {
        if let Some(attempts) = &self.attempts {
            let mut seen = attempts.exchange().seen.lock();
            seen.took = seen.began.map(|began| clock::now().since(began));
            drop(seen);
            // The backend first: who gets the place goes there.
            self.leg = None;
            if !self.again {
                attempts.exchange().leave();
            }
        }
    }
}

/// Why the answer is about another response than the one that is stored.
fn foreign(leg: &Leg, exchange: &Exchange) -> Option<Mismatch> {
    let Condition::Stored(stored) = &exchange.condition else { return None };
    let head = leg.http.head()?;
    if head.status == StatusCode::NOT_MODIFIED {
        return validate::check_304(stored, &head.headers).err();
    }
    if !exchange.by_head || (head.status == StatusCode::OK && validate::head_confirms(stored, &head.headers)) {
        return None;
    }
    if reuse::is_failure(head.status) {
        // Asked again in full it would fail again; a stale copy may stand in for this answer as well.
        exchange.seen.lock().bodyless = true;
        return None;
    }
    Some(Mismatch::Head)
}

/// The 304 that an answer to HEAD amounts to, where that confirms the stored response.
fn confirmed(leg: &Leg, exchange: &Exchange) -> Option<Box<ResponseHeader>> {
    let head = leg.http.head().filter(|head| exchange.by_head && head.status == StatusCode::OK)?;
    if exchange.seen.lock().mismatch.is_some() {
        return None;
    }
    let mut head = Box::new(head.clone());
    head.set_status(StatusCode::NOT_MODIFIED).ok()?;
    Some(head)
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
        let mut attempts = self.attempts_at(&mut request)?;
        self.leg = Some(attempts.open(&request).await.map_err(error)?);
        self.attempts = Some(attempts);
        Ok(())
    }

    fn take_request_body_writer(&mut self) -> Option<Box<dyn BodyWrite>> {
        if self.leg.is_none() {
            return Some(Box::new(NoBody));
        }
        let (writer, upload) = upload::channel();
        self.upload = Some(upload);
        Some(Box::new(writer))
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

    // They do not pass.
    async fn read_trailers(&mut self) -> Result<Option<HeaderMap>> {
        Ok(None)
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
