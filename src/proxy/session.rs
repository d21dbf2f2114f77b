//! One request on its way to an answer: what is asked of the backends, and what of their answers is passed on.
//!
//! It answers for pingora what pingora cannot. A 304 about another response, an answer to HEAD that belies the stored copy
//! and a 206 that does not continue what is stored are asked for again before anybody has seen a byte.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};

use super::attempts::{Attempts, Wait};
use super::exchange::{Condition, Exchange, ExchangeRef};
use super::forward::error;
use super::leg::Leg;
use super::rescue::Rescue;
use super::resume::{Resume, Splice, Verdict};
use super::upload::{self, Upload, Writer};
use crate::cache::reuse;
use crate::cache::validate::{self, Mismatch};
use crate::clock;
use crate::grpc;
use crate::postscript::Postscript;
use crate::tail::deadline::Deadline;
use crate::trailers;
use crate::upstream::{Connections, Failure};

/// How long what follows an answer waits for its head to be sent; a head that is not sent has nothing to follow it.
const DECIDED: Duration = Duration::from_secs(1);

/// One request on its way through attempts to a response.
pub struct UpstreamSession {
    connections: Arc<Connections>,
    pub(super) attempts: Option<Attempts>,
    pub(super) request: Option<Box<RequestHeader>>,
    pub(super) leg: Option<Leg>,
    pub(super) upload: Option<Upload>,
    /// The request for the rest of what is stored, until its answer is judged.
    rest: Option<(Resume, Box<RequestHeader>)>,
    /// A 304 in place of an answer to HEAD that says as much.
    pub(super) confirmed: Option<Box<ResponseHeader>>,
    /// The request, until it is known whether the body that answers it may be rescued.
    asked: Option<Box<RequestHeader>>,
    /// What keeps a body that may be.
    rescue: Option<Box<Rescue>>,
    /// What is stored and the rest, as one response.
    pub(super) splice: Option<Box<Splice>>,
    /// Whether the client has begun to read an answer.
    pub(super) has_interim: bool,
    total: Option<Deadline>,
    /// Whether a failed attempt is to be repeated by pingora, which has the request's body.
    pub(super) again: bool,
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

    /// The same with a body that is there, so that it can be sent as often as is useful.
    pub(super) fn ask_with(&mut self, request: Box<RequestHeader>, body: Bytes) -> Result<()> {
        self.ask(request)?;
        if let Some(attempts) = &mut self.attempts {
            attempts.with_body(body);
        }
        Ok(())
    }

    /// Takes a request with a body, with its plan in its extensions, and sends its head.
    pub(super) async fn open(&mut self, request: &mut RequestHeader) -> Result<()> {
        let mut attempts = self.attempts_at(request)?;
        self.leg = Some(attempts.open(request).await.map_err(error)?);
        self.attempts = Some(attempts);
        Ok(())
    }

    /// Where its body goes.
    pub(super) fn writer(&mut self) -> Writer {
        let (writer, upload) = upload::channel();
        self.upload = Some(upload);
        writer
    }

    /// The attempts at what the request's plan names.
    pub(super) fn attempts_at(&mut self, request: &mut RequestHeader) -> Result<Attempts> {
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
            leg.attempt.entry().used();
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

    /// The fields after the body that may pass, once that has ended; what is stored has none, and those of a part are not
    /// about the whole. A client over HTTP/1.1 gets them from its connection.
    pub(super) async fn trailers(&mut self) -> Option<HeaderMap> {
        let (leg, exchange) = (self.leg.as_mut()?, self.attempts.as_ref()?.exchange());
        let fields = leg.http.take_trailers()?;
        if let (Some(_), Some(status)) = (exchange.call, grpc::Status::read(&fields)) {
            leg.attempt.ended_with(status, clock::now());
            exchange.seen.lock().call = Some(status);
        }
        let fields = trailers::passing(fields).filter(|_| self.splice.is_none())?;
        let decided = tokio::time::timeout(DECIDED, exchange.is_stored()).await;
        if decided.unwrap_or(true) {
            return None;
        }
        match Postscript::of_this_connection() {
            Some(postscript) => postscript.leave(fields),
            None => Some(fields),
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
        let asked = clock::now();
        let read = match (self.upload.as_mut(), self.rescue.as_mut()) {
            (Some(upload), _) => upload.until_body(leg, attempts.exchange()).await,
            // Boxed, as it has room for a second backend.
            (None, Some(rescue)) => Box::pin(rescue.read(leg, attempts)).await,
            (None, None) => leg.http.read_body().await,
        };
        attempts.exchange().seen.lock().body_wait += clock::now().since(asked);
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
