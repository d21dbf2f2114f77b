//! One request at one backend, from its start to its end: a guard that records what it saw when it is dropped.

use std::sync::Arc;
use std::time::Duration;

use pingora::http::ResponseHeader;

use super::backend::Backend;
use super::failure::Failure;
use super::pool::Pool;
use super::verdict::{Asked, Verdict};
use crate::clock;
use crate::grpc;
use crate::tail::hedging::Hedging;
use crate::tail::signals::{Kind, Trial};
use crate::telemetry::Entry;
use crate::units::Tick;

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Open,
    Answered { status: u16 },
    Failed(Failure),
}

/// One request at one backend. It records on drop, so an attempt that is cancelled is still a sample.
#[derive(Debug)]
pub struct Attempt {
    pool: Arc<Pool>,
    backend: Arc<Backend>,
    route: Arc<Hedging>,
    /// Taken when it is dropped.
    trial: Option<Trial>,
    started: Tick,
    kind: Kind,
    /// How many were with the backend when it was sent, it among them.
    nth: u32,
    is_tunnel: bool,
    asked: Asked,
    outcome: Outcome,
    /// Where its request remembers it.
    entry: Entry,
}

impl Attempt {
    /// An attempt that starts at `now`.
    pub(super) fn new(
        pool: Arc<Pool>,
        backend: Arc<Backend>,
        route: Arc<Hedging>,
        trial: Trial,
        kind: Kind,
        now: Tick,
    ) -> Attempt {
        let nth = backend.sent();
        let (trial, outcome, entry) = (Some(trial), Outcome::Open, Entry::default());
        Attempt {
            pool,
            backend,
            route,
            trial,
            started: now,
            kind,
            nth,
            is_tunnel: false,
            asked: Asked::Plainly,
            outcome,
            entry,
        }
    }

    /// The backend asked.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// What is asked is a gRPC call; `is_timed` if the client says how long it waits.
    pub fn is_call(&mut self, is_timed: bool) {
        self.asked = Asked::ByCall { is_timed };
    }

    /// What becomes of it is told there from now on.
    pub fn tell(&mut self, entry: Entry) {
        self.entry = entry;
    }

    /// Where its request remembers it.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// When it was asked.
    pub fn started(&self) -> Tick {
        self.started
    }

    /// Whether a final response's head has come.
    pub fn has_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Answered { .. })
    }

    /// The route's delay has passed without an answer.
    pub fn late(&mut self, now: Tick) {
        let late = self.trial.as_mut().and_then(|trial| self.backend.signals().late(trial, now));
        self.pool.judge(&self.backend, late, now);
    }

    /// The head of a final response came at `now`; returns the time it took. What says that the backend cannot (5xx)
    /// counts against it, unless its peers say so too; what says that it cannot now, only in how much it is sent.
    pub fn answered(&mut self, head: &ResponseHeader, now: Tick) -> Duration {
        let (status, verdict) = Verdict::of(head, self.asked);
        self.outcome = Outcome::Answered { status };
        self.entry.headed(head.status.as_u16(), now);
        if verdict == Verdict::Pushback {
            self.backend.accepted(false, now);
            // A backend that says so works: to eject it would put its load on those that may soon say so too.
            let trial = self.trial.as_mut();
            return trial
                .map_or_else(|| now.since(self.started), |trial| self.backend.signals().pushed_back(trial, now));
        }
        let learning = [&self.route.delays, self.pool.delays()];
        let Some(trial) = &mut self.trial else {
            self.backend.accepted(true, now);
            return now.since(self.started);
        };
        let error = verdict == Verdict::Error;
        let (took, late) = self.backend.signals().answered(trial, &learning, error, now);
        if !error && self.kind == Kind::Primary {
            self.backend.answered(self.nth, trial.scaled(took));
        }
        self.judged(verdict, now);
        self.pool.judge(&self.backend, late, now);
        took
    }

    /// The status of a call came after the body of its answer.
    pub fn ended_with(&mut self, status: grpc::Status, now: Tick) {
        let Asked::ByCall { is_timed } = self.asked else { return };
        self.outcome = Outcome::Answered { status: status.as_http() };
        self.judged(Verdict::of_call(status, is_timed), now);
    }

    fn judged(&self, verdict: Verdict, now: Tick) {
        match verdict {
            Verdict::Good => self.pool.succeeded(&self.backend, now),
            Verdict::Error => self.pool.errored(&self.backend, now),
            Verdict::Pushback => return self.backend.accepted(false, now),
            Verdict::Open => return,
        }
        self.backend.accepted(true, now);
    }

    /// The connection has become a tunnel: it is no longer a request that the backend works on.
    pub fn tunnelled(&mut self) {
        if !std::mem::replace(&mut self.is_tunnel, true) {
            self.backend.tunnel(true);
        }
    }

    /// The attempt failed at `now`.
    pub fn failed(&mut self, failure: Failure, now: Tick) {
        self.outcome = Outcome::Failed(failure);
        self.entry.failed(failure.termination().as_str(), now);
        if let Some(trial) = &mut self.trial {
            self.backend.signals().failed(trial, self.pool.usual(), now);
        }
        self.pool.failed(&self.backend, now);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let result = match self.outcome {
            Outcome::Answered { status: 500.. } => "server-error",
            Outcome::Answered { .. } => "ok",
            Outcome::Failed(failure) => failure.termination().as_str(),
            Outcome::Open => "cancelled",
        };
        self.backend.counters().attempt(result);
        let now = clock::now();
        if let Some(dial) = self.entry.ended(now) {
            self.pool.counters().dialled(dial);
        }
        if let Some(trial) = self.trial.take() {
            let elapsed = now.since(self.started);
            // Cancelled after it was late, it would have taken longer; cancelled before, nothing is known.
            if self.outcome == Outcome::Open && self.kind == Kind::Primary && trial.is_late(elapsed) {
                self.backend.answered(self.nth, trial.scaled(elapsed));
            }
            let late = self.backend.signals().end(trial, &[&self.route.delays, self.pool.delays()], now);
            self.pool.judge(&self.backend, late, now);
        }
        if self.is_tunnel {
            self.backend.tunnel(false);
        }
        if self.kind == Kind::Copy {
            self.pool.copy_ended();
        }
    }
}
