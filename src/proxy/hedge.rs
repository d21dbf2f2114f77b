//! Drives `tail::race` over connections: a request, and its copy once it is late.

use std::sync::Arc;
use std::time::Duration;

use pingora::http::RequestHeader;

use super::attempts::{Attempts, Judged};
use super::exchange::Exchange;
use super::leg::{Headed, Leg, Run};
use crate::clock;
use crate::tail::race::{self, Action, Event, NoHedge, Race};
use crate::tail::signals::Kind;
use crate::telemetry::visits;
use crate::units::Tick;
use crate::upstream::deferrals::Deferral;
use crate::upstream::{Attempt, Connection, Failure, Request};

/// Tells a backend which attempt at a request this is, and that it may serve a copy after what somebody waits for.
const ATTEMPT: &str = "X-Hedgerow-Attempt";

/// How long the answer of a loser is waited for, so that its connection need not be closed.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// A race that was lost: the last attempt, and what it died of.
pub(super) struct Lost {
    /// The attempt; `None` if there was no backend to ask.
    pub attempt: Option<Attempt>,
    /// Its end.
    pub failure: Failure,
}

/// One race while it is run.
struct Running {
    race: Race,
    primary: Option<Run>,
    copy: Option<Run>,
    /// The answer of a leg that says the backend failed, until the other has spoken.
    kept: Option<(race::Leg, Leg)>,
    /// What hedging this request takes; nothing if it is not to be hedged.
    terms: Option<Terms>,
    deferral: Option<Deferral>,
    copied: Option<Tick>,
}

/// When a request is late, and what its copy would cost.
#[derive(Clone, Copy)]
struct Terms {
    begun: Tick,
    /// The route's delay.
    delay: Duration,
    /// When the primary is looked at next.
    due: Tick,
}

/// What a race waited for.
enum Next {
    Head(race::Leg, Headed),
    Late,
}

/// Sends the request, and its copy if it is late; returns the answer to be used.
pub(super) async fn race(attempts: &mut Attempts, request: &RequestHeader) -> Result<Leg, Box<Lost>> {
    let begun = clock::now();
    let exchange = attempts.exchange().clone();
    let (member, attempt) =
        attempts.begin_admitted().await.map_err(|failure| Box::new(Lost { attempt: None, failure }))?;
    let primary = attempts.wire().run(member, attempt, attempts.numbered(request, Kind::Primary));
    let mut running = Running {
        race: Race::new(exchange.has_fallback),
        primary: Some(primary),
        copy: None,
        kept: None,
        terms: terms(&exchange, begun),
        deferral: None,
        copied: None,
    };
    let result = running.run(attempts, request).await;
    running.finish(attempts, &exchange);
    if let Ok(leg) = &result {
        // It may be the first of two errors, and not the last head that came.
        exchange.seen.lock().answered_by(&leg.member);
    }
    result
}

/// The terms on which this request is hedged.
fn terms(exchange: &Exchange, begun: Tick) -> Option<Terms> {
    exchange.copying.ok()?;
    let hedging = &exchange.route.hedging;
    let Some(delay) = hedging.delay() else {
        exchange.seen.lock().hedge = race::Hedge::Denied(NoHedge::Cold);
        return None;
    };
    let held_out = fastrand::f64() < hedging.params().held_out.get() && exchange.waiting() == 1;
    let first = if held_out { hedging.params().max_delay.max(delay) } else { delay };
    Some(Terms { begun, delay, due: begun + first })
}

impl Running {
    async fn run(&mut self, attempts: &mut Attempts, request: &RequestHeader) -> Result<Leg, Box<Lost>> {
        loop {
            match self.next().await {
                Next::Late => self.late(attempts, request),
                Next::Head(leg, Ok(http)) => {
                    if let Some(answer) = self.headed(attempts, leg, http)? {
                        return Ok(answer);
                    }
                }
                Next::Head(leg, Err(failure)) => {
                    if let Some(answer) = self.failed(attempts, leg, failure)? {
                        return Ok(answer);
                    }
                }
            }
        }
    }

    /// Waits for a head of either leg, or for the time or the token that a copy waits for.
    async fn next(&mut self) -> Next {
        let may_copy = self.race.may_copy() && self.terms.is_some();
        let due = self.terms.map_or(Duration::ZERO, |terms| terms.due.since(clock::now()));
        tokio::select! {
            biased;
            head = head(&mut self.primary) => Next::Head(race::Leg::Primary, head),
            head = head(&mut self.copy) => Next::Head(race::Leg::Copy, head),
            () = woken(self.deferral.as_ref()), if may_copy => Next::Late,
            () = tokio::time::sleep(due), if may_copy => Next::Late,
        }
    }

    /// The primary is late: tries to get a copy under way.
    fn late(&mut self, attempts: &mut Attempts, request: &RequestHeader) {
        let now = clock::now();
        if let Some(primary) = &mut self.primary {
            primary.attempt.late(now);
        }
        let Some(terms) = &mut self.terms else { return };
        if self.race.on(Event::Late) != Action::Copy {
            return;
        }
        let exchange = attempts.exchange().clone();
        let hedging = &exchange.route.hedging;
        match copy(attempts, request, *terms, now) {
            Ok(copy) => {
                self.race.on(Event::Copied);
                self.copy = Some(copy);
                self.copied = Some(now);
                self.deferral = None;
                exchange.seen.lock().hedge_delay = Some(now.since(terms.begun));
                exchange.route.pool.counters().hedge_sent();
            }
            Err(reason) => {
                if self.deferral.is_none() {
                    exchange.route.pool.counters().hedge_denied(reason.as_str());
                    self.deferral = Some(exchange.route.deferrals.enter(terms.begun));
                }
                self.race.on(Event::Denied(reason));
                // When it is old enough for what is in the bucket; if that is not what is missing, in a while.
                let ripe = terms.begun + hedging.copies.ripe_at(terms.delay);
                terms.due = if ripe > now { ripe } else { now + terms.delay.max(now.since(terms.begun) / 4) };
            }
        }
    }

    /// A head came on one leg.
    fn headed(
        &mut self,
        attempts: &mut Attempts,
        which: race::Leg,
        http: Connection,
    ) -> Result<Option<Leg>, Box<Lost>> {
        let Some(run) = self.take(which) else { return Ok(None) };
        let mut leg = Leg { member: run.member, http, attempt: run.attempt };
        match attempts.judge(&mut leg) {
            Ok(Judged::Interim) if self.copy.is_none() && which == race::Leg::Primary => {
                // The client begins to read this backend's answer.
                Ok(Some(leg))
            }
            Ok(Judged::Interim) => {
                let run = attempts.wire().go_on(leg);
                match which {
                    race::Leg::Primary => self.primary = Some(run),
                    race::Leg::Copy => self.copy = Some(run),
                }
                Ok(None)
            }
            Ok(judged) => {
                let event = match judged {
                    Judged::Error => Event::Errored(which),
                    _ => Event::Answered(which),
                };
                let action = self.race.on(event);
                let kept = self.kept.replace((which, leg));
                Ok(self.settle(action, kept))
            }
            Err(failure) => self.lost(attempts, which, leg.attempt, failure),
        }
    }

    /// A leg ended without a head.
    fn failed(
        &mut self,
        attempts: &mut Attempts,
        which: race::Leg,
        failure: Failure,
    ) -> Result<Option<Leg>, Box<Lost>> {
        let Some(run) = self.take(which) else { return Ok(None) };
        self.lost(attempts, which, run.attempt, failure)
    }

    fn lost(
        &mut self,
        attempts: &mut Attempts,
        which: race::Leg,
        mut attempt: Attempt,
        failure: Failure,
    ) -> Result<Option<Leg>, Box<Lost>> {
        match self.race.on(Event::Failed(which)) {
            Action::Lose(_) => Err(Box::new(Lost { attempt: Some(attempt), failure })),
            action => {
                attempts.fail(&mut attempt, failure);
                Ok(self.settle(action, None))
            }
        }
    }

    /// The answer to be used, if that is now known; `earlier` was kept before the one that is kept now.
    fn settle(&mut self, action: Action, earlier: Option<(race::Leg, Leg)>) -> Option<Leg> {
        let Action::Commit(winner) = action else { return None };
        [self.kept.take(), earlier].into_iter().flatten().find(|(which, _)| *which == winner).map(|(_, leg)| leg)
    }

    fn take(&mut self, which: race::Leg) -> Option<Run> {
        match which {
            race::Leg::Primary => self.primary.take(),
            race::Leg::Copy => self.copy.take(),
        }
    }

    /// Gives up what is still open, and takes down what came of the copy.
    fn finish(&mut self, attempts: &Attempts, exchange: &Exchange) {
        let now = clock::now();
        let hedge = self.race.hedge();
        let hedging = &exchange.route.hedging;
        if let Some(copied) = self.copied {
            let won = hedge == race::Hedge::Won;
            hedging.copies.settle(won, now.since(copied), hedging.usual());
            exchange.route.pool.counters().hedge_ended(won);
        }
        let loser = self.primary.take().or_else(|| self.copy.take());
        if let Some(loser) = &loser {
            exchange.route.pool.counters().wasted(now.since(loser.attempt.started()));
        }
        attempts.give_up(loser, PATIENCE);
        if hedge != race::Hedge::None {
            exchange.seen.lock().hedge = hedge;
        }
    }
}

/// Gets a copy under way.
fn copy(attempts: &mut Attempts, request: &RequestHeader, terms: Terms, now: Tick) -> Result<Run, NoHedge> {
    let exchange = attempts.exchange().clone();
    let (pool, hedging) = (&exchange.route.pool, &exchange.route.hedging);
    // What is left must do for an answer that takes its usual time.
    let left = attempts.wire().deadline.left(now);
    if left.is_none_or(|left| left < hedging.usual().unwrap_or_default()) {
        return Err(NoHedge::Deadline);
    }
    // Before anything is paid: where there is nobody to ask, a token would be lost each time one is.
    let member = attempts.pick(Kind::Copy, now).map_err(|_| NoHedge::NoBackend)?;
    let asked = pool.asked(now.since(terms.begun), terms.delay, exchange.waiting(), now);
    hedging.admit(&asked, pool.ledger(), now)?;
    let attempt = attempts.begin_at(&member, Kind::Copy, now);
    Ok(attempts.wire().run(member, attempt, attempts.numbered(request, Kind::Copy)))
}

async fn head(run: &mut Option<Run>) -> Headed {
    match run {
        Some(run) => run.head().await,
        None => std::future::pending().await,
    }
}

async fn woken(deferral: Option<&Deferral>) {
    match deferral {
        Some(deferral) => deferral.woken().await,
        None => std::future::pending().await,
    }
}

/// The request as it is sent for the `nth` time.
pub(super) fn numbered(
    exchange: &Exchange,
    request: &RequestHeader,
    nth: usize,
    kind: Kind,
) -> Result<Request, Failure> {
    let word = match kind {
        Kind::Primary => "retry",
        Kind::Copy => "hedge",
        Kind::Probe => "probe",
    };
    marked(exchange, request, nth, word)
}

/// The same, sent for what `word` says.
pub(super) fn marked(exchange: &Exchange, request: &RequestHeader, nth: usize, word: &str) -> Result<Request, Failure> {
    let mut request = Request::of(request, &exchange.told, exchange.route.pool.config())?;
    if nth > 1 {
        request.add(ATTEMPT, &format!("{nth}; {word}"));
    }
    Ok(request)
}

/// Sends a copy of the request to a backend on probation, to see whether it is still slow; nobody waits for it.
pub(super) fn probe(attempts: &Attempts, request: &RequestHeader, now: Tick) {
    let exchange = attempts.exchange();
    let (pool, hedging) = (&exchange.route.pool, &exchange.route.hedging);
    let Some(delay) = hedging.delay().filter(|_| exchange.copying.is_ok()) else { return };
    let Some(member) = pool.probed(now) else { return };
    let mut attempt = pool.begin(&member, Kind::Probe, hedging, now);
    attempt.tell(exchange.visits.enter(member.backend.shared_name(), visits::Kind::Probe, now));
    pool.counters().probe_sent();
    let run = attempts.wire().run(member, attempt, numbered(exchange, request, 2, Kind::Probe));
    let connections = Arc::clone(&attempts.wire().connections);
    // Once it is late it has said what it was asked for.
    tokio::spawn(async move { run.drain(&connections, delay + Duration::from_millis(1)).await });
}
