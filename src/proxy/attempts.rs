//! Attempts at backends until one gives a response's head: races one after the other, with retries between them.
//!
//! Retrying pays only where the failure says nothing about the request: connects that failed, connections that ended
//! before a head and gateways' errors (502 to 504), for methods that may be repeated. It goes to another backend,
//! within the pool's ledger, so that a failing pool is not asked twice as much as a healthy one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, RETRY_AFTER};
use pingora::http::RequestHeader;

use super::exchange::{Condition, Exchange};
use super::hedge::{self, Lost};
use super::leg::{Leg, Run, Wire};
use super::{deadlines, reported};
use crate::cache::validate::Mismatch;
use crate::clock;
use crate::grpc;
use crate::tail::signals::Kind;
use crate::telemetry::visits;
use crate::units::Tick;
use crate::upstream::verdict::{Asked, Verdict};
use crate::upstream::{Attempt, Connections, Failure, Member, Request};

/// How often a request that has a place looks for a backend with room for it.
const CROWDED: Duration = Duration::from_millis(2);

/// The attempts of one request.
pub(super) struct Attempts {
    exchange: Arc<Exchange>,
    wire: Wire,
    /// Whether a 304 is an answer to what is asked.
    conditional: bool,
    /// Attempts that were no copies.
    made: u32,
}

/// What a head is.
pub(super) enum Judged {
    /// One before the final one.
    Interim,
    /// An answer.
    Answer,
    /// A backend's word that it failed (5xx), or that it does not want to be asked now.
    Error,
}

impl Attempts {
    /// None made yet; the route's timeout starts now.
    pub(super) fn new(exchange: Arc<Exchange>, connections: Arc<Connections>) -> Attempts {
        let begun = exchange.seen.lock().uploaded.unwrap_or(exchange.started);
        let route = &exchange.route;
        if exchange.seen.lock().tried.is_empty() {
            route.pool.ledger().deposit();
            if exchange.copying.is_ok() {
                route.hedging.copies.deposit();
            }
            route.deferrals.wake();
        }
        let wire = Wire {
            connections,
            deadline: deadlines::until(&exchange, begun),
            told: deadlines::Told::of(&exchange),
            idempotent: exchange.idempotent,
            body: None,
            timeouts: route.pool.config().timeouts.clone(),
            opening: exchange.opening,
            http2: route.pool.config().http2,
            trace: exchange.trace,
        };
        let conditional = !matches!(exchange.condition, Condition::None);
        Attempts { exchange, wire, conditional, made: 0 }
    }

    /// Starts the route's timeout anew: the client has only now sent the last byte of its request.
    pub(super) fn restart_deadline(&mut self) {
        let begun = *self.exchange.seen.lock().uploaded.get_or_insert_with(clock::now);
        self.wire.deadline = deadlines::until(&self.exchange, begun);
    }

    /// The request has this body, all of which is there.
    pub(super) fn with_body(&mut self, body: Bytes) {
        self.wire.body = Some(body);
        self.restart_deadline();
    }

    /// Sends a request whose body is there, or that has none, and waits for a response's head, interim or final.
    pub(super) async fn ask(&mut self, request: &RequestHeader) -> Result<Leg, Failure> {
        let begun = clock::now();
        hedge::probe(self, request, begun);
        loop {
            match hedge::race(self, request).await {
                Ok(leg) => {
                    let leg = self.past_error(leg, request).await;
                    self.exchange.route.hedging.served.record(clock::now().since(begun));
                    return Ok(leg);
                }
                Err(lost) => self.after_failure(lost.attempt, lost.failure, Wait::FirstAtOnce).await?,
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
            let (member, attempt) = self.begin_admitted().await?;
            match self.wire.open(&member, &self.numbered(request, Kind::Primary)?, attempt.entry()).await {
                Ok(http) => return Ok(Leg { member, http, attempt }),
                Err(failure) => self.after_failure(Some(attempt), failure, Wait::Always).await?,
            }
        }
    }

    /// Reads the next head, interim or final.
    pub(super) async fn read_head(&self, leg: &mut Leg) -> Result<(), Failure> {
        self.wire.read_head(&mut leg.http).await?;
        self.judge(leg).map(|_| ())
    }

    /// Accepts a head that was read, or names what is wrong with it.
    pub(super) fn judge(&self, leg: &mut Leg) -> Result<Judged, Failure> {
        let head = leg.http.head().ok_or(Failure::InvalidResponse)?;
        let (status, verdict) = Verdict::of(head, self.asked());
        match head.status.as_u16() {
            // Nothing was asked to be upgraded on this path.
            101 => return Err(Failure::InvalidResponse),
            102..=199 | 100 => return Ok(Judged::Interim),
            304 if !self.conditional => return Err(Failure::UnexpectedNotModified),
            _ => {}
        }
        let took = leg.attempt.answered(head, clock::now());
        let pool = &self.exchange.route.pool;
        reported::hear(pool, leg.attempt.backend(), &head.headers);
        pool.counters().first_byte(took);
        let mut seen = self.exchange.seen.lock();
        seen.answered_by(&leg.member);
        seen.call = self.exchange.call.and_then(|_| grpc::Status::read(&head.headers));
        Ok(if status >= 500 || verdict == Verdict::Pushback { Judged::Error } else { Judged::Answer })
    }

    fn asked(&self) -> Asked {
        match self.exchange.call {
            Some(_) => Asked::ByCall { is_timed: self.exchange.patience.is_some() },
            None => Asked::Plainly,
        }
    }

    /// The plan.
    pub(super) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    /// What the attempts share.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Picks a backend and begins an attempt at it.
    ///
    /// # Errors
    /// When there is none: with what the last attempt died of, which says more than that.
    pub(super) fn begin(&mut self, kind: Kind, now: Tick) -> Result<(Arc<Member>, Attempt), Failure> {
        let picked = match self.wire.deadline.left(now) {
            Some(_) => self.pick(kind, now),
            None => Err(Failure::Deadline),
        };
        let member = picked.map_err(|none| *self.exchange.seen.lock().failure.get_or_insert(none))?;
        let attempt = self.begin_at(&member, kind, now);
        Ok((member, attempt))
    }

    /// The same for a request that has a place: where copies have taken all that backends may have, it waits for one of them
    /// to end, which takes about as long as an answer.
    pub(super) async fn begin_admitted(&mut self) -> Result<(Arc<Member>, Attempt), Failure> {
        loop {
            let now = clock::now();
            let has_busy = self.exchange.route.pool.has_busy(&self.exchange.seen.lock().tried, now);
            let crowded_out = has_busy && matches!(self.pick(Kind::Primary, now), Err(Failure::NoBackend));
            if !crowded_out || self.wire.deadline.left(now).is_none() {
                return self.begin(Kind::Primary, now);
            }
            tokio::time::sleep(CROWDED).await;
        }
    }

    /// The backend for one more attempt, other than those asked already.
    pub(super) fn pick(&self, kind: Kind, now: Tick) -> Result<Arc<Member>, Failure> {
        let tried = &self.exchange.seen.lock().tried;
        self.exchange.route.pool.pick(tried, kind, now, &mut fastrand::Rng::new())
    }

    /// Begins an attempt at this backend.
    pub(super) fn begin_at(&mut self, member: &Arc<Member>, kind: Kind, now: Tick) -> Attempt {
        let route = &self.exchange.route;
        let mut seen = self.exchange.seen.lock();
        seen.tried.push(member.clone());
        seen.began.get_or_insert(now);
        let word = match kind {
            Kind::Primary if self.made == 0 => visits::Kind::First,
            Kind::Primary => visits::Kind::Retry,
            Kind::Copy => visits::Kind::Hedge,
            Kind::Probe => visits::Kind::Probe,
        };
        self.made += u32::from(kind == Kind::Primary);
        let mut attempt = route.pool.begin(member, kind, &route.hedging, now);
        if self.exchange.call.is_some() {
            attempt.is_call(self.exchange.patience.is_some());
        }
        attempt.tell(self.exchange.visits.enter(member.backend.shared_name(), word, now));
        attempt
    }

    /// The request as it is sent for one more time, told which time it is.
    pub(super) fn numbered(&self, request: &RequestHeader, kind: Kind) -> Result<Request, Failure> {
        hedge::numbered(&self.exchange, request, self.exchange.seen.lock().tried.len(), kind)
    }

    /// Notes the failure of an attempt.
    pub(super) fn fail(&self, attempt: &mut Attempt, failure: Failure) {
        self.exchange.seen.lock().failure = Some(failure);
        let is_clients = failure == Failure::Deadline && deadlines::is_clients_own(&self.exchange);
        if !is_clients && failure != Failure::BodyRefused {
            attempt.failed(failure, clock::now());
        }
    }

    /// Gives up an attempt that nobody waits for any longer. That would cost the connection, so its answer is waited for a
    /// little, and longer where many have been closed already.
    pub(super) fn give_up(&self, run: Option<Run>, patience: Duration) {
        let Some(run) = run else { return };
        run.attempt.entry().given_up(clock::now());
        let pool = &self.exchange.route.pool;
        if self.wire.http2.is_some() {
            // A stream is cancelled at no cost to others.
            return;
        }
        let may_close = pool.may_close(clock::now());
        let patience = if may_close { patience } else { self.wire.timeouts.first_byte };
        let connections = self.wire.connections.clone();
        tokio::spawn(async move { run.drain(&connections, patience).await });
    }

    /// Decides whether there is another attempt, and waits for it.
    pub(super) async fn after_failure(
        &mut self,
        attempt: Option<Attempt>,
        failure: Failure,
        wait: Wait,
    ) -> Result<(), Failure> {
        // Where nobody could be asked there is nobody to ask again.
        let Some(mut attempt) = attempt else { return Err(failure) };
        self.fail(&mut attempt, failure);
        drop(attempt);
        let may_repeat = self.exchange.idempotent || failure.before_request();
        let given_up =
            matches!(failure, Failure::Deadline | Failure::BodyRefused | Failure::NoBackend | Failure::Throttled);
        // A connect that failed is no work done, so repeating it is none on top.
        let too_much = !failure.before_request() && self.exchange.route.pool.is_queueing();
        if !may_repeat || given_up || too_much || !self.retry(failure.termination().as_str(), wait).await {
            return Err(failure);
        }
        Ok(())
    }

    /// The answer to be used where the first one says that the backend failed: another backend's, if there is one
    /// that does better.
    async fn past_error(&mut self, mut leg: Leg, request: &RequestHeader) -> Leg {
        loop {
            let status = leg.http.head().map_or(0, |head| Verdict::of(head, self.asked()).0);
            // A gateway that says when to come again does not want to be asked at once, nor does what stands behind it.
            let told = leg.http.head().is_some_and(|head| head.headers.contains_key(RETRY_AFTER));
            let gateway = (502..=504).contains(&status);
            let too_much = self.exchange.route.pool.is_queueing();
            if !gateway || told || too_much || !self.exchange.idempotent || self.exchange.has_fallback {
                return leg;
            }
            if !self.retry("upstream-status", Wait::FirstAtOnce).await {
                return leg;
            }
            match Box::pin(hedge::race(self, request)).await {
                Ok(better) => {
                    let connections = self.wire.connections.clone();
                    tokio::spawn(async move { leg.drain(&connections).await });
                    leg = better;
                }
                Err(lost) => {
                    let Lost { attempt, failure } = *lost;
                    if let Some(mut attempt) = attempt {
                        self.fail(&mut attempt, failure);
                    }
                    let mut seen = self.exchange.seen.lock();
                    seen.failure = None;
                    seen.answered_by(&leg.member);
                    return leg;
                }
            }
        }
    }

    /// Takes what another attempt costs and waits for its time; whether there is to be one.
    async fn retry(&self, reason: &str, wait: Wait) -> bool {
        let pool = &self.exchange.route.pool;
        let retry = &pool.config().retry;
        let now = clock::now();
        if self.made > retry.attempts || self.pick(Kind::Primary, now).is_err() {
            return false;
        }
        let wait = match wait {
            Wait::FirstAtOnce if self.made == 1 => Duration::ZERO,
            _ => retry.backoff.delay(self.made.saturating_sub(1), &mut fastrand::Rng::new()),
        };
        let in_time = self.wire.deadline.left(now).is_some_and(|left| left > wait);
        // The ledger last: what is withdrawn is spent.
        if !in_time || pool.ledger().withdraw(now).is_err() {
            return false;
        }
        pool.counters().retry(reason);
        tokio::time::sleep(wait).await;
        true
    }
}

/// How long a retry waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// A jittered while, longer each time.
    Always,
    /// The same, but for the first: it goes to another backend, and somebody waits.
    FirstAtOnce,
}
