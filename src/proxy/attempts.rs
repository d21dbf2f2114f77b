//! Attempts at backends, one after the other, until one gives a response's head.
//!
//! Retrying pays only where the failure says nothing about the request: connects that failed, and connections that
//! ended before a head for methods that may be repeated. It goes to another backend, after a jittered wait, within
//! the pool's budget, so that a failing pool is not asked twice as much as a healthy one.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;

use super::exchange::{Condition, Exchange};
use crate::cache::validate::Mismatch;
use crate::clock;
use crate::tail::deadline::Deadline;
use crate::upstream::{Attempt, Failure, Member};

/// A connection on which a request was begun.
pub(super) struct Leg {
    /// Whose connection.
    pub member: Arc<Member>,
    /// The connection.
    pub http: HttpSession<()>,
    /// Whether the connection had served a request before.
    pub reused: bool,
    /// In flight until dropped.
    pub attempt: Attempt,
}

/// The attempts of one request.
pub(super) struct Attempts {
    exchange: Arc<Exchange>,
    connector: Arc<Connector>,
    deadline: Deadline,
    stale: Stale,
    /// Whether a 304 is an answer to what is asked.
    conditional: bool,
}

/// Whether a connection that turned out stale was already replaced by another to the same backend.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stale {
    MayRepeat,
    Repeated,
}

impl Attempts {
    /// None made yet; the route's timeout starts now.
    pub(super) fn new(exchange: Arc<Exchange>, connector: Arc<Connector>) -> Attempts {
        let begun = exchange.seen.lock().uploaded.unwrap_or(exchange.started);
        let deadline = Deadline::new(begun, exchange.route.config.timeout);
        if exchange.seen.lock().tried.is_empty() {
            exchange.route.pool.budget().deposit();
        }
        let conditional = !matches!(exchange.condition, Condition::None);
        Attempts { exchange, connector, deadline, stale: Stale::MayRepeat, conditional }
    }

    /// Starts the route's timeout anew: the client has only now sent the last byte of its request.
    pub(super) fn restart_deadline(&mut self) {
        let begun = *self.exchange.seen.lock().uploaded.get_or_insert_with(clock::now);
        self.deadline = Deadline::new(begun, self.exchange.route.config.timeout);
    }

    /// How long the next head may take: `first_byte`, or what is left of the route's timeout.
    pub(super) fn head_timeout(&self) -> (Duration, Failure) {
        let first_byte = self.exchange.route.pool.config().timeouts.first_byte;
        match self.deadline.left(clock::now()) {
            Some(left) if left < first_byte => (left, Failure::Deadline),
            Some(_) => (first_byte, Failure::FirstByteTimeout),
            None => (Duration::ZERO, Failure::Deadline),
        }
    }

    /// Sends a request without body and waits for a response's head, interim or final.
    pub(super) async fn ask(&mut self, request: &RequestHeader) -> Result<Leg, Failure> {
        loop {
            let mut leg = self.open(request).await?;
            match self.read_head(&mut leg).await {
                Ok(()) => return Ok(leg),
                // The backend closed a kept connection as the request left: not its fault, and no reason to leave it.
                Err(Failure::ClosedEarly)
                    if leg.reused && self.exchange.idempotent && self.stale == Stale::MayRepeat =>
                {
                    self.stale = Stale::Repeated;
                    self.exchange.seen.lock().tried.pop();
                }
                Err(failure) => self.after_failure(leg.attempt, failure).await?,
            }
        }
    }

    /// The same without its conditions, since the answer was about another response than the stored one: `mismatch`.
    ///
    /// It is the same question to the same backend, which has answered; so it is no retry.
    pub(super) async fn ask_again(&mut self, request: &mut RequestHeader, mismatch: Mismatch) -> Result<Leg, Failure> {
        {
            let mut seen = self.exchange.seen.lock();
            seen.mismatch = Some(mismatch);
            seen.tried.pop();
        }
        self.conditional = false;
        request.remove_header(&IF_NONE_MATCH);
        request.remove_header(&IF_MODIFIED_SINCE);
        if mismatch == Mismatch::Head {
            // Now all of it is wanted, for the cache.
            request.set_method(Method::GET);
        }
        self.ask(request).await
    }

    /// Connects and writes the head of a request; nothing of a body has been read from the client yet, so a failure
    /// here may be retried whatever the method.
    pub(super) async fn open(&mut self, request: &RequestHeader) -> Result<Leg, Failure> {
        loop {
            let (attempt, result) = self.connect(request).await?;
            match result {
                Ok((member, http, reused)) => return Ok(Leg { member, http, reused, attempt }),
                Err(failure) => self.after_failure(attempt, failure).await?,
            }
        }
    }

    /// Reads the next head, interim or final.
    pub(super) async fn read_head(&self, leg: &mut Leg) -> Result<(), Failure> {
        let (limit, clock) = self.head_timeout();
        leg.http.set_read_timeout(None);
        match tokio::time::timeout(limit, leg.http.read_response_header()).await {
            Ok(Ok(())) => self.check_head(leg),
            Ok(Err(e)) => Err(Failure::of_read(&e, clock)),
            Err(_) => Err(clock),
        }
    }

    /// Accepts a head that was read, or names what is wrong with it.
    pub(super) fn check_head(&self, leg: &mut Leg) -> Result<(), Failure> {
        let status = leg.http.response_header().map_or(0, |h| h.status.as_u16());
        match status {
            // Nothing was asked to be upgraded on this path.
            0 | 101 => return Err(Failure::InvalidResponse),
            102..=199 | 100 => return Ok(()),
            304 if !self.conditional => return Err(Failure::UnexpectedNotModified),
            _ => {}
        }
        let took = leg.attempt.answered(status, clock::now());
        let pool = &self.exchange.route.pool;
        pool.counters().first_byte(took);
        let timeouts = &pool.config().timeouts;
        leg.http.set_read_timeout(Some(timeouts.between_bytes));
        self.exchange.seen.lock().failure = None;
        Ok(())
    }

    /// The plan.
    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// Notes the failure of an attempt.
    pub(super) fn fail(&self, attempt: &mut Attempt, failure: Failure) {
        self.exchange.seen.lock().failure = Some(failure);
        if failure == Failure::BodyRefused {
            return;
        }
        let now = clock::now();
        let pool = &self.exchange.route.pool;
        attempt.failed(failure, pool.usual(), pool.may_eject(attempt.backend(), now), now);
    }

    async fn connect(
        &mut self,
        request: &RequestHeader,
    ) -> Result<(Attempt, Result<(Arc<Member>, HttpSession<()>, bool), Failure>), Failure> {
        let now = clock::now();
        let member = {
            let mut seen = self.exchange.seen.lock();
            let picked = self.exchange.route.pool.pick(&seen.tried, now, &mut fastrand::Rng::new());
            // What the last attempt died of says more than that there is no other backend to try.
            let member = picked.map_err(|none| *seen.failure.get_or_insert(none))?;
            seen.tried.push(member.clone());
            seen.began.get_or_insert(now);
            member
        };
        let attempt = member.backend.begin(now);
        let result = self.write_head(&member, request).await.map(|(http, reused)| (member, http, reused));
        Ok((attempt, result))
    }

    async fn write_head(&self, member: &Member, request: &RequestHeader) -> Result<(HttpSession<()>, bool), Failure> {
        let Some(left) = self.deadline.left(clock::now()) else { return Err(Failure::Deadline) };
        let connecting = self.connector.get_http_session(&*member.peer);
        let (mut http, reused) = match tokio::time::timeout(left, connecting).await {
            Ok(connected) => connected.map_err(|e| Failure::of_connect(&e))?,
            Err(_) => return Err(Failure::Deadline),
        };
        http.set_write_timeout(Some(self.exchange.route.pool.config().timeouts.write));
        http.write_request_header(Box::new(request.clone())).await.map_err(|_| Failure::WriteFailed)?;
        Ok((http, reused))
    }

    /// Decides whether there is another attempt, and waits for it.
    pub(super) async fn after_failure(&mut self, mut attempt: Attempt, failure: Failure) -> Result<(), Failure> {
        self.fail(&mut attempt, failure);
        drop(attempt);
        let pool = &self.exchange.route.pool;
        let retry = &pool.config().retry;
        let now = clock::now();
        let (made, others) = {
            let tried = &self.exchange.seen.lock().tried;
            (u32::try_from(tried.len()).unwrap_or(u32::MAX), pool.pick(tried, now, &mut fastrand::Rng::new()))
        };
        let may_repeat = self.exchange.idempotent || failure.before_request();
        let given_up = matches!(failure, Failure::Deadline | Failure::BodyRefused);
        if !may_repeat || given_up || made > retry.attempts || others.is_err() {
            return Err(failure);
        }
        let wait = retry.backoff.delay(made.saturating_sub(1), &mut fastrand::Rng::new());
        let in_time = self.deadline.left(now).is_some_and(|left| left > wait);
        // The budget last: what is withdrawn is spent.
        if !in_time || pool.budget().withdraw(now).is_err() {
            return Err(failure);
        }
        pool.counters().retry(failure.termination().as_str());
        tokio::time::sleep(wait).await;
        Ok(())
    }
}
