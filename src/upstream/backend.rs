//! One live backend: what is in flight to it, how fast it answers, whether it may be used.
//!
//! It outlives reloads: snapshots share it as long as its pool keeps naming its address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::balance::load::LastLoad;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::tail::health::{self, Health, MayEject, State, Transition};
use crate::tail::limit::{Lack, Limiter};
use crate::tail::probation::{self, Room};
use crate::tail::signals::{Kind, Signals};
use crate::tail::throttle::Throttle;
use crate::telemetry::{BackendMetrics, Turn};
use crate::units::Tick;

/// A live backend.
#[derive(Debug)]
pub struct Backend {
    address: Endpoint,
    name: Arc<str>,
    counters: Arc<BackendMetrics>,
    /// When it joined the pool; slow start counts from here or from its last recovery.
    joined: Tick,
    signals: Signals,
    load: LastLoad,
    health: Mutex<Health>,
    limiter: Mutex<Limiter>,
    throttle: Mutex<Throttle>,
    /// The most that should be here, where others have room.
    room: AtomicU32,
    /// Connections that are no longer requests.
    tunnels: AtomicU32,
    /// When it last changed its state by what it did, in nanoseconds.
    turned: AtomicU64,
}

/// How a backend takes part at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Its state.
    pub state: State,
    /// Since when it has been taking part: its last recovery or, if it never was out, its joining.
    pub since: Tick,
    /// Since when it has been in its state.
    pub entered: Tick,
    /// The share of its weight that it has on its way back from probation.
    pub ramp: f64,
}

impl Backend {
    /// A backend that joins at `now`.
    pub fn new(
        address: Endpoint,
        counters: Arc<BackendMetrics>,
        ejection: health::Params,
        probation: probation::Params,
        now: Tick,
    ) -> Backend {
        Backend {
            name: address.to_string().into(),
            address,
            counters,
            joined: now,
            signals: Signals::default(),
            load: LastLoad::default(),
            health: Mutex::new(Health::new(ejection, probation)),
            limiter: Mutex::default(),
            throttle: Mutex::default(),
            room: AtomicU32::new(u32::MAX),
            tunnels: AtomicU32::new(0),
            turned: AtomicU64::new(now.as_nanos()),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// The address as text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, to be kept.
    pub fn shared_name(&self) -> Arc<str> {
        self.name.clone()
    }

    /// Where its attempts are counted.
    pub fn counters(&self) -> &BackendMetrics {
        &self.counters
    }

    /// When it joined.
    pub fn joined(&self) -> Tick {
        self.joined
    }

    /// What its attempts tell.
    pub fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Requests that it works on, or that wait there: those in flight, but for connections that became tunnels.
    pub fn working(&self) -> u32 {
        self.signals.in_flight.count().saturating_sub(self.tunnels.load(Ordering::Relaxed))
    }

    /// A request was sent; returns how many are here now.
    pub(super) fn sent(&self) -> u32 {
        let working = self.working();
        self.limiter.lock().sent(working);
        working
    }

    /// A primary that was sent as the `nth` was answered without an error.
    pub(super) fn answered(&self, nth: u32, took: Duration) {
        self.limiter.lock().answered(nth, took);
    }

    /// It took a request, or said "not now".
    pub(super) fn accepted(&self, accepted: bool, now: Tick) {
        self.throttle.lock().answered(accepted, now);
        if !accepted {
            self.counters.pushed_back();
        }
    }

    /// Whether an attempt of this kind may be made here, for all that it said "not now"; asked where it else would be.
    pub(super) fn admits(&self, kind: Kind, chance: f64, now: Tick) -> bool {
        self.throttle.lock().admits(kind, chance, now)
    }

    /// The probability that a request meant for it is not sent there, 0 to 0.8.
    pub fn throttle(&self, now: Tick) -> f64 {
        self.throttle.lock().ratio(now)
    }

    /// A connection became a tunnel, or ended as one.
    pub(super) fn tunnel(&self, is_open: bool) {
        match is_open {
            true => self.tunnels.fetch_add(1, Ordering::Relaxed),
            false => self.tunnels.fetch_sub(1, Ordering::Relaxed),
        };
    }

    /// How many requests it bears, as far as is known; infinite while nothing is.
    pub fn limit(&self) -> f32 {
        self.limiter.lock().limit()
    }

    /// What its answers take of late, typically.
    pub fn usual(&self) -> Option<Duration> {
        self.limiter.lock().usual()
    }

    /// Whether it has as much to do as it should.
    pub fn is_full(&self) -> bool {
        self.working() >= self.room.load(Ordering::Relaxed)
    }

    /// The number of requests from which on its answers wait, if that is known.
    pub(super) fn knee(&self) -> Option<f32> {
        self.limiter.lock().knee()
    }

    pub(super) fn review_limit(&self, peers: Option<f32>, now: Tick) {
        let working = self.working();
        let mut limiter = self.limiter.lock();
        limiter.review(working, peers, now);
        self.store_room(&limiter);
    }

    pub(super) fn lacks_contrast(&self, now: Tick) -> Option<Lack> {
        self.limiter.lock().lacks_contrast(now)
    }

    pub(super) fn dip_limit(&self, now: Tick) {
        let mut limiter = self.limiter.lock();
        limiter.dip(now);
        self.store_room(&limiter);
    }

    fn store_room(&self, limiter: &Limiter) {
        self.room.store(limiter.room(), Ordering::Relaxed);
    }

    /// What it says of its own load.
    pub fn load(&self) -> &LastLoad {
        &self.load
    }

    /// Whether it may be used.
    pub fn state(&self, now: Tick) -> State {
        self.health.lock().state(now)
    }

    /// How it takes part.
    pub fn standing(&self, now: Tick) -> Standing {
        let health = self.health.lock();
        let since = health.recovered(now).unwrap_or(self.joined).max(self.joined);
        // An ejection ends by time alone.
        let entered = since.max(Tick::from_nanos(self.turned.load(Ordering::Relaxed)));
        Standing { state: health.state(now), since, entered, ramp: health.ramp(now) }
    }

    /// An attempt was answered.
    pub fn succeeded(&self, now: Tick) {
        let transition = self.health.lock().on_success(now);
        self.log(transition);
    }

    /// An attempt failed.
    pub fn failed(&self, may: MayEject, now: Tick) {
        let transition = self.health.lock().on_failure(now, may);
        self.log(transition);
    }

    /// Whether what is known of its lateness can change its state: a backend in good standing that answers in time
    /// stays where it is.
    pub fn is_suspected(&self) -> bool {
        self.health.lock().is_suspected()
    }

    /// An attempt was late or in time; `peers` is the mean share of late ones at the others.
    pub fn timed(&self, late: bool, peers: f32, room: Room, now: Tick) {
        let transition = self.health.lock().on_time(late, peers, room, now);
        self.log(transition);
    }

    /// A second passed.
    pub fn tick(&self, now: Tick) {
        self.signals.window.publish(now);
        self.signals.delays.publish([0.95; 2], now);
        let transition = self.health.lock().on_tick(now);
        self.log(transition);
    }

    fn log(&self, transition: Option<Transition>) {
        if let Some(transition) = transition {
            self.changed(transition);
        }
    }

    /// Its state machine, for health checks and reloads.
    pub fn health(&self) -> &Mutex<Health> {
        &self.health
    }

    /// Logs and counts a change of state.
    pub fn changed(&self, t: Transition) {
        self.turned.store(clock::now().as_nanos(), Ordering::Relaxed);
        match (t.from, t.to) {
            // What it answered before says nothing about how it will come back: it starts as a newcomer.
            (_, State::Ejected(reason)) => {
                self.signals.ewma.reset();
                self.load.reset();
                self.counters.ejected(reason.as_str());
            }
            (_, State::Probation) => self.counters.put_on_probation(),
            // It is as fast as its peers, or nothing is known: what it took before it was tried is not the measure.
            (State::Probation, _) => self.signals.ewma.reset(),
            _ => {}
        }
        let (level, turn) = match t.to {
            State::Ejected(_) | State::Probation => (log::Level::Warn, Turn::Worse),
            State::Healthy | State::Recovering => (log::Level::Info, Turn::Better),
        };
        self.counters.turned(t.to.as_str(), turn, t.reason.as_str());
        log::log!(level, "backend {} is {}: {}", self.name, t.to.as_str(), t.reason.as_str());
    }
}
