//! Has the rest of a body from another backend, when the one that began it stalls or breaks off.
//!
//! The first backend is listened to until the second has answered acceptably, and whichever is first gives the next
//! byte. What is acceptable is for [`cache::rescue`](crate::cache::rescue) to say, when a body has stalled for
//! `tail::stalls`.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::attempts::{Attempts, Judged};
use super::caching;
use super::ctx::Ctx;
use super::exchange::Exchange;
use super::hedge;
use super::leg::{Headed, Leg, Run, Wire};
use crate::cache::rescue::Whole;
use crate::clock;
use crate::snapshot::{Route, Snapshot};
use crate::tail::deadline::Deadline;
use crate::tail::signals::Kind;
use crate::tail::stalls::Stalls;
use crate::units::Tick;
use crate::upstream::{Failure, Member, Pool};

const SPLICED: &str = "spliced";
const LOST: &str = "lost";
const FAILED: &str = "failed";
const DENIED: &str = "denied";

/// How often it is looked whether by now a stall is known.
const LOOK: Duration = Duration::from_secs(1);

/// What is to be known of a request before the body that answers it may be rescued.
#[derive(Debug)]
pub struct Terms {
    /// The rules.
    snapshot: Arc<Snapshot>,
    stalls: Arc<Stalls>,
    /// When the request went upstream.
    asked: SystemTime,
}

/// A body that may be rescued, once.
pub(super) struct Rescue {
    request: Box<RequestHeader>,
    whole: Whole,
    stalls: Arc<Stalls>,
    /// Bytes that have come.
    got: u64,
    /// The longest that one of them was waited for.
    longest: Duration,
    /// The request for the rest is out, or was.
    spent: bool,
}

/// The request for the rest, under way.
struct Going {
    wire: Wire,
    run: Run,
    outcome: Outcome,
}

/// What comes of it, counted when that is known: `lost` unless it is set, as when the client leaves.
struct Outcome {
    pool: Arc<Pool>,
    began: Tick,
    result: &'static str,
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.pool.counters().rescued(self.result);
        if self.result != SPLICED {
            self.pool.counters().wasted(clock::now().since(self.began));
        }
    }
}

/// What a wait for the next bytes ended with.
enum Next {
    Read(Result<Option<Bytes>, Failure>),
    Head(Headed),
    Stalled,
}

/// The terms, if the route has bodies rescued and the request is one whose answer may be stored.
pub(super) fn terms(session: &mut Session, request: &RequestHeader, ctx: &Ctx) -> Option<Terms> {
    let stalls = ctx.route.as_ref()?.stalls.clone()?;
    let plain = request.method == Method::GET && session.as_mut().is_body_empty();
    let asked = ctx.asked.unwrap_or_else(clock::wall);
    // Of what is known not to be stored nothing is to be had again either.
    let may_be_stored = ctx.cache.looked_up && !session.cache.bypassing();
    (plain && may_be_stored).then(|| Terms { snapshot: ctx.snapshot.clone(), stalls, asked })
}

impl Rescue {
    /// The keeper of the body of this answer, if it is one that may be rescued.
    pub(super) fn of(request: Box<RequestHeader>, leg: &Leg, exchange: &Exchange) -> Option<Rescue> {
        let Terms { snapshot, stalls, asked } = exchange.rescue.as_ref()?;
        let head = leg.http.head().filter(|_| request.method == Method::GET)?;
        let whole = Whole::of(head.status, &head.headers)?;
        let targets = &snapshot.config().cache.targets;
        caching::judge(&exchange.route, targets, &request, head, *asked, clock::wall()).ok()?;
        let (longest, spent) = (Duration::ZERO, false);
        Some(Rescue { request, whole, stalls: stalls.clone(), got: 0, longest, spent })
    }

    /// The next bytes of the body, from whichever backend they come; `leg` is that one from then on.
    pub(super) async fn read(&mut self, leg: &mut Leg, attempts: &mut Attempts) -> Result<Option<Bytes>, Failure> {
        let began = clock::now();
        let second = match self.wait(leg, attempts, began).await {
            Ok(second) => second,
            Err(read) => return self.note(read, began),
        };
        let now = clock::now();
        self.stalls.given_up(now.since(began));
        second.attempt.entry().used();
        // The connection of the one that has stalled is closed.
        *leg = second;
        let read = leg.http.read_body().await;
        self.note(read, now)
    }

    /// Waits for bytes of the first backend or for the second one, which then goes on in its place.
    async fn wait(
        &mut self,
        leg: &mut Leg,
        attempts: &mut Attempts,
        began: Tick,
    ) -> Result<Leg, Result<Option<Bytes>, Failure>> {
        let Leg { member, http, attempt } = leg;
        let mut reading = pin!(http.read_body());
        let mut going = None;
        let mut may_ask = !self.spent;
        let failure = loop {
            let next = tokio::select! {
                biased;
                read = &mut reading => Next::Read(read),
                head = head(&mut going) => Next::Head(head),
                () = stall(&self.stalls, self.longest, began), if may_ask => Next::Stalled,
            };
            match next {
                Next::Read(Ok(data)) => {
                    give_up(attempts, member, going);
                    return Err(Ok(data));
                }
                Next::Read(Err(failure)) => break failure,
                Next::Head(head) => {
                    if let Some(second) = self.headed(attempts, member, &mut going, head) {
                        return Ok(second);
                    }
                }
                Next::Stalled => {
                    may_ask = false;
                    going = self.ask(attempts, member);
                }
            }
        };
        if !self.spent && self.got < self.whole.length() {
            going = self.ask(attempts, member);
        }
        while going.is_some() {
            let head = head(&mut going).await;
            if let Some(second) = self.headed(attempts, member, &mut going, head) {
                attempts.fail(attempt, failure);
                attempts.exchange().seen.lock().answered_by(&second.member);
                return Ok(second);
            }
        }
        Err(Err(failure))
    }

    /// Gets the request for the rest under way, if there is another backend and a token for it.
    fn ask(&mut self, attempts: &mut Attempts, first: &Arc<Member>) -> Option<Going> {
        let exchange = attempts.exchange().clone();
        let (pool, now) = (&exchange.route.pool, clock::now());
        let others = pool.pick(std::slice::from_ref(first), Kind::Copy, now, &mut fastrand::Rng::new());
        let (Ok(other), Some(fields)) = (others, self.whole.ask(self.got)) else {
            pool.counters().rescued(DENIED);
            return None;
        };
        // The ledger last: what is withdrawn is spent.
        if pool.ledger().withdraw(now).is_err() {
            pool.counters().rescued(DENIED);
            return None;
        }
        self.spent = true;
        let attempt = attempts.begin_at(&other, Kind::Copy, now);
        attempt.entry().is_rescue();
        let nth = exchange.seen.lock().tried.len();
        let mut request = self.request.clone();
        // They are about what the client or the cache has had before.
        request.remove_header(&IF_NONE_MATCH);
        request.remove_header(&IF_MODIFIED_SINCE);
        for (name, value) in fields {
            // A name and a value that are always allowed.
            let _infallible = request.insert_header(name, value);
        }
        let wire = Wire { deadline: deadline(&exchange.route, exchange.started, now), ..attempts.wire().clone() };
        let run = wire.run(other, attempt, hedge::marked(&exchange, &request, nth, "rescue"));
        let outcome = Outcome { pool: pool.clone(), began: now, result: LOST };
        Some(Going { wire, run, outcome })
    }

    /// A head came on the second connection, or none: the leg to go on with, if it has the rest.
    fn headed(&self, attempts: &Attempts, first: &Arc<Member>, going: &mut Option<Going>, head: Headed) -> Option<Leg> {
        let Going { wire, run, mut outcome } = going.take()?;
        let Run { member, mut attempt, .. } = run;
        match head {
            Err(failure) => attempts.fail(&mut attempt, failure),
            Ok(http) => {
                let mut leg = Leg { member, http, attempt };
                match attempts.judge(&mut leg) {
                    Ok(Judged::Interim) => {
                        let run = wire.go_on(leg);
                        *going = Some(Going { wire, run, outcome });
                        return None;
                    }
                    Ok(_) if self.is_rest(&leg) => {
                        outcome.result = SPLICED;
                        return Some(leg);
                    }
                    Ok(_) => {
                        let connections = wire.connections.clone();
                        tokio::spawn(async move { leg.drain(&connections).await });
                    }
                    Err(failure) => attempts.fail(&mut leg.attempt, failure),
                }
            }
        }
        outcome.result = FAILED;
        attempts.exchange().seen.lock().answered_by(first);
        None
    }

    fn is_rest(&self, leg: &Leg) -> bool {
        let head = leg.http.head();
        head.is_some_and(|head| self.whole.is_continued(self.got, head.status, &head.headers))
    }

    /// Learns from a read, and holds the body to its length.
    fn note(&mut self, read: Result<Option<Bytes>, Failure>, began: Tick) -> Result<Option<Bytes>, Failure> {
        let waited = clock::now().since(began);
        match &read {
            Ok(data) => {
                self.got += data.as_ref().map_or(0, |data| data.len() as u64);
                self.longest = self.longest.max(waited);
                self.stalls.came(waited);
            }
            Err(_) => self.stalls.given_up(waited),
        }
        match (&read, self.whole.length()) {
            (Ok(_), length) if self.got > length => Err(Failure::InvalidResponse),
            (Ok(None), length) if self.got < length => Err(Failure::ClosedEarly),
            _ => read,
        }
    }
}

/// The first backend goes on by itself.
fn give_up(attempts: &Attempts, first: &Arc<Member>, going: Option<Going>) {
    let Some(Going { run, .. }) = going else { return };
    attempts.give_up(Some(run), hedge::PATIENCE);
    attempts.exchange().seen.lock().answered_by(first);
}

/// Until when the second backend's head may take: as long as the first one's, within the exchange's whole time.
fn deadline(route: &Route, started: Tick, now: Tick) -> Deadline {
    let total = Deadline::new(started, route.pool.config().timeouts.total);
    Deadline::new(now, total.clamp(route.config.timeout, now))
}

async fn head(going: &mut Option<Going>) -> Headed {
    match going {
        Some(going) => going.run.head().await,
        None => std::future::pending().await,
    }
}

/// Returns when a read that began at `began` has waited for so long that the body has stalled.
async fn stall(stalls: &Stalls, longest: Duration, began: Tick) {
    loop {
        let left = stalls.after(longest).map_or(LOOK, |after| after.saturating_sub(clock::now().since(began)));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}
