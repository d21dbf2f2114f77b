//! One live backend: what is in flight to it, how fast it answers, whether it may be used.
//!
//! It outlives reloads: snapshots share it as long as its pool keeps naming its address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::failure::Failure;
use crate::tail::ages::{InFlight, Token};
use crate::tail::ewma::PeakEwma;
use crate::tail::health::{self, Health, MayEject, State, Transition};
use crate::tail::window::Window;
use crate::telemetry::BackendMetrics;
use crate::units::Tick;

/// A fast failure counts as this many times the pool's usual answer, so that failing fast attracts nothing.
const PENALTY_FACTOR: u32 = 5;
/// The least penalty: what the simulator in tests/balance_sim.rs was tuned with.
const PENALTY_FLOOR: Duration = Duration::from_secs(1);

/// A live backend.
#[derive(Debug)]
pub struct Backend {
    address: SocketAddr,
    name: String,
    counters: Arc<BackendMetrics>,
    /// When it joined the pool; slow start counts from here or from its last recovery.
    joined: Tick,
    in_flight: InFlight,
    ewma: PeakEwma,
    window: Window,
    health: Mutex<Health>,
}

impl Backend {
    /// A backend that joins at `now`.
    pub fn new(address: SocketAddr, counters: Arc<BackendMetrics>, ejection: health::Params, now: Tick) -> Backend {
        Backend {
            address,
            name: address.to_string(),
            counters,
            joined: now,
            in_flight: InFlight::new(),
            ewma: PeakEwma::new(),
            window: Window::new(),
            health: Mutex::new(Health::new(ejection)),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its attempts are counted.
    pub fn counters(&self) -> &BackendMetrics {
        &self.counters
    }

    /// When it joined.
    pub fn joined(&self) -> Tick {
        self.joined
    }

    /// Requests sent and not ended.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The average of its time to first byte.
    pub fn ewma(&self) -> &PeakEwma {
        &self.ewma
    }

    /// The distribution of its time to first byte.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Whether it may be used.
    pub fn state(&self, now: Tick) -> State {
        self.health.lock().state(now)
    }

    /// Its state, and since when it has been taking part: its last recovery or, if it never was out, its joining.
    pub fn standing(&self, now: Tick) -> (State, Tick) {
        let health = self.health.lock();
        (health.state(now), health.recovered(now).unwrap_or(self.joined).max(self.joined))
    }

    /// Its state machine, for health checks and reloads.
    pub fn health(&self) -> &Mutex<Health> {
        &self.health
    }

    /// Logs and counts a change of state.
    pub fn changed(&self, t: Transition) {
        if let State::Ejected(reason) = t.to {
            // What it answered before says nothing about how it will come back: it starts as a newcomer.
            self.ewma.reset();
            self.counters.ejected(reason.as_str());
            log::warn!("backend {} is ejected: {}", self.name, t.reason.as_str());
        } else {
            log::info!("backend {} is {}: {}", self.name, t.to.as_str(), t.reason.as_str());
        }
    }

    /// Counts a request in flight from `now` until the attempt is dropped.
    pub fn begin(self: &Arc<Self>, now: Tick) -> Attempt {
        Attempt { token: Some(self.in_flight.begin(now)), backend: self.clone(), started: now, outcome: Outcome::Open }
    }
}

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
    backend: Arc<Backend>,
    token: Option<Token>,
    started: Tick,
    outcome: Outcome,
}

impl Attempt {
    /// The backend asked.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// When it was asked.
    pub fn started(&self) -> Tick {
        self.started
    }

    /// Whether a final response's head has come.
    pub fn has_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Answered { .. })
    }

    /// The head of a final response came at `now`; returns the time it took. An answer is an answer: a 500 comes from
    /// a backend that is there.
    pub fn answered(&mut self, status: u16, now: Tick) -> Duration {
        let took = now.since(self.started);
        self.outcome = Outcome::Answered { status };
        if let Some(token) = &mut self.token {
            self.backend.in_flight.answered(token);
        }
        self.backend.ewma.observe(took, now);
        self.backend.window.record(took);
        let transition = self.backend.health.lock().on_success(now);
        if let Some(t) = transition {
            self.backend.changed(t);
        }
        took
    }

    /// The attempt failed at `now`. `usual` is the pool's usual time to first byte.
    pub fn failed(&mut self, failure: Failure, usual: Option<Duration>, may: MayEject, now: Tick) {
        self.outcome = Outcome::Failed(failure);
        let penalty = usual.unwrap_or_default().saturating_mul(PENALTY_FACTOR).max(PENALTY_FLOOR);
        self.backend.ewma.observe_failure(now.since(self.started), penalty, now);
        let transition = self.backend.health.lock().on_failure(now, may);
        if let Some(t) = transition {
            self.backend.changed(t);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let result = match self.outcome {
            Outcome::Answered { status: 500.. } => "server-error",
            Outcome::Answered { .. } => "ok",
            Outcome::Failed(failure) => failure.termination().as_str(),
            Outcome::Open => {
                // Nobody waited for the answer: all that is known is that it would have taken longer.
                let now = crate::clock::now();
                self.backend.ewma.raise(now.since(self.started), now);
                "cancelled"
            }
        };
        self.backend.counters.attempt(result);
        if let Some(token) = self.token.take() {
            self.backend.in_flight.end(token);
        }
    }
}
