//! What requests are counted in.
//!
//! A snapshot takes a handle per route, pool and backend when it is built; a request then adds to counters it
//! already holds. The exporter's `Family` would hash its labels and take a lock on every request. The counters
//! belong to the process, not to the snapshot: a reload that removes a route leaves its counts on the page, so that
//! no counter ever falls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::histogram::Histogram;
use super::journal::{Event, Journal, Topic, Turn};
use super::labels::ReloadResult;
use super::lane::Lane;
use super::names;
use super::recoding::RecodingMetrics;
use super::route::RouteMetrics;
use super::tally::Tally;
use super::termination::Termination;
use super::traces::TraceMetrics;
use super::visits::Dial;
use crate::coding::{Broken, Recoder};
use crate::units::Tick;
use crate::{clock, config};

/// All counters of the process; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Registered>);

/// Handles by label, and what has no label.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) routes: RwLock<BTreeMap<String, Arc<RouteMetrics>>>,
    pub(super) pools: RwLock<BTreeMap<String, Arc<PoolMetrics>>>,
    pub(super) backends: RwLock<BTreeMap<(String, String), Arc<BackendMetrics>>>,
    unrouted: Arc<RouteMetrics>,
    pub(super) terminations: Tally,
    pub(super) lane: Tally,
    /// Stale copies served, by why.
    pub(super) stale_served: Tally,
    pub(super) recoding: RecodingMetrics,
    pub(super) requests_in_flight: Gauge,
    pub(super) client_connections: Gauge,
    pub(super) generation: Gauge,
    pub(super) reloads: Tally,
    /// In the order of [`names::PURGE_CAUSES`].
    pub(super) purges: Vec<Tally>,
    pub(super) purges_refused: Tally,
    pub(super) last_reload: Gauge,
    pub(super) connections_refused: Counter,
    pub(super) connections_failed: Tally,
    pub(super) access_log_dropped: Counter,
    pub(super) traces: TraceMetrics,
    journal: Arc<Journal>,
}

impl Metrics {
    /// No request yet, generation 0.
    pub fn new() -> Metrics {
        let unrouted = Arc::new(RouteMetrics::new());
        let last_reload = Gauge::default();
        last_reload.set(1);
        Metrics(Arc::new(Registered {
            routes: RwLock::new(BTreeMap::from([(names::UNROUTED.to_owned(), unrouted.clone())])),
            pools: RwLock::default(),
            backends: RwLock::default(),
            unrouted,
            terminations: Tally::new(Termination::WORDS),
            lane: Tally::new(Lane::WORDS),
            stale_served: Tally::new(names::STALE_REASONS),
            recoding: RecodingMetrics::new(),
            requests_in_flight: Gauge::default(),
            client_connections: Gauge::default(),
            generation: Gauge::default(),
            reloads: Tally::new(ReloadResult::WORDS),
            purges: names::PURGE_CAUSES.iter().map(|_| Tally::new(names::PURGE_KINDS)).collect(),
            purges_refused: Tally::new(names::PURGE_REFUSALS),
            last_reload,
            connections_refused: Counter::default(),
            connections_failed: Tally::new(names::CONNECTION_FAILURES),
            access_log_dropped: Counter::default(),
            traces: TraceMetrics::new(),
            journal: Arc::default(),
        }))
    }

    /// The handle of the route `name`: the same for every snapshot that has it.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        self.0.routes.write().entry(name.to_owned()).or_insert_with(|| Arc::new(RouteMetrics::new())).clone()
    }

    /// A second passed: works out the quantiles of every route; `slow` says which requests are kept.
    pub fn tick(&self, slow: config::Slow, now: Tick) {
        self.0.routes.read().values().for_each(|route| route.publish(slow, now));
    }

    /// The handle for requests that end before they have a route: malformed, refused, unmatched.
    pub fn unrouted(&self) -> &Arc<RouteMetrics> {
        &self.0.unrouted
    }

    /// The handle of the pool `name`.
    pub fn pool(&self, name: &str) -> Arc<PoolMetrics> {
        self.0.pools.write().entry(name.to_owned()).or_insert_with(|| Arc::new(PoolMetrics::new())).clone()
    }

    /// The handle of one backend. `backend` is its written name, `host:port`: an address that DNS gave it today
    /// would make a new time series tomorrow.
    pub fn backend(&self, pool: &str, backend: &str) -> Arc<BackendMetrics> {
        let key = (pool.to_owned(), backend.to_owned());
        let new = || Arc::new(BackendMetrics::new(pool, backend, self.0.journal.clone()));
        self.0.backends.write().entry(key).or_insert_with(new).clone()
    }

    /// Attempts at backends of the pool `name` that have ended, since the start.
    pub fn attempts(&self, name: &str) -> u64 {
        let backends = self.0.backends.read();
        let of_pool = backends.iter().filter(|((pool, _), _)| pool == name);
        of_pool.flat_map(|(_, backend)| backend.attempts.counts()).map(|(_, count)| count).sum()
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn request(&self) -> InFlight {
        InFlight::enter(&self.0.requests_in_flight)
    }

    /// Counts a client connection as open until the guard is dropped.
    pub fn connection(&self) -> InFlight {
        InFlight::enter(&self.0.client_connections)
    }

    /// Counts a client connection that was closed because of the limit.
    pub fn connection_refused(&self) {
        self.0.connections_refused.inc();
    }

    /// Counts a client connection on which HTTP has not begun; `reason` is one of [`names::CONNECTION_FAILURES`].
    pub fn connection_failed(&self, reason: &str) {
        self.0.connections_failed.add(reason);
    }

    /// Counts why a request ended; once per request.
    pub fn terminated(&self, reason: Termination) {
        self.0.terminations.add_at(reason.index());
    }

    /// Counts what became of a request in the fast lane; once per request of HTTP/1 with a head that may enter.
    pub fn lane(&self, outcome: Lane) {
        self.0.lane.add_at(outcome.index());
    }

    /// Counts a stale copy served; `reason` is one of [`names::STALE_REASONS`].
    pub fn stale_served(&self, reason: &str) {
        self.0.stale_served.add(reason);
    }

    /// Counts what has gone through `recoder`, and why that could not go on, if so.
    pub fn recoded(&self, recoder: &Recoder, broken: Option<Broken>) {
        let recoding = &self.0.recoding;
        if let Some((coding, amount)) = recoder.decoded() {
            recoding.decoded(coding, amount);
            if let Some(broken) = broken {
                recoding.broken(coding, broken);
            }
        }
        if let Some((coding, amount)) = recoder.encoded() {
            recoding.compressed(coding, amount);
        }
    }

    /// Says which generation of the configuration is in use.
    pub fn set_generation(&self, generation: u64) {
        self.0.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
    }

    /// Counts a reload.
    pub fn reloaded(&self, result: ReloadResult) {
        self.0.reloads.add_at(result.index());
        self.0.last_reload.set(match result {
            ReloadResult::Applied => 1,
            ReloadResult::Rejected => 0,
        });
    }

    /// Counts a purge. `cause` is one of [`names::PURGE_CAUSES`], `kind` one of [`names::PURGE_KINDS`].
    pub fn purged(&self, cause: &str, kind: &str) {
        if let Some((_, tally)) = names::PURGE_CAUSES.iter().zip(&self.0.purges).find(|(word, _)| **word == cause) {
            tally.add(kind);
        }
    }

    /// Counts a refused purge; `reason` is one of [`names::PURGE_REFUSALS`].
    pub fn purge_refused(&self, reason: &str) {
        self.0.purges_refused.add(reason);
    }

    /// The counter that [`super::AccessLog`] adds lost lines to. It outlives the log, which a reload may replace.
    pub fn access_log_dropped(&self) -> Counter {
        self.0.access_log_dropped.clone()
    }

    /// What is counted of traces.
    pub fn traces(&self) -> &TraceMetrics {
        &self.0.traces
    }

    /// What happened of late.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    pub(super) fn registered(&self) -> &Arc<Registered> {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

/// Holds a gauge one higher while it lives, so that no way out of a request can forget to lower it.
#[derive(Debug)]
pub struct InFlight(Gauge);

impl InFlight {
    fn enter(gauge: &Gauge) -> InFlight {
        gauge.inc();
        InFlight(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What is counted for one pool.
#[derive(Debug)]
pub struct PoolMetrics {
    pub(super) first_byte: Histogram,
    pub(super) connect: Histogram,
    pub(super) tls: Histogram,
    pub(super) retries: Tally,
    pub(super) hedges_sent: Counter,
    pub(super) hedges: Tally,
    pub(super) hedges_denied: Tally,
    /// Microseconds.
    pub(super) wasted: AtomicU64,
    pub(super) probes: Counter,
    pub(super) rescues: Tally,
    pub(super) queued: Histogram,
    /// In the order of [`Class::ALL`].
    pub(super) shed: Vec<Tally>,
}

impl PoolMetrics {
    fn new() -> PoolMetrics {
        PoolMetrics {
            first_byte: Histogram::default(),
            connect: Histogram::default(),
            tls: Histogram::default(),
            retries: Tally::new(names::RETRY_REASONS),
            hedges_sent: Counter::default(),
            hedges: Tally::new(names::HEDGE_RESULTS),
            hedges_denied: Tally::new(names::HEDGE_DENIALS),
            wasted: AtomicU64::new(0),
            probes: Counter::default(),
            rescues: Tally::new(names::RESCUE_RESULTS),
            queued: Histogram::default(),
            shed: names::CLASSES.iter().map(|_| Tally::new(names::SHED_REASONS)).collect(),
        }
    }

    /// Counts a copy of a late request as sent.
    pub fn hedge_sent(&self) {
        self.hedges_sent.inc();
    }

    /// Counts a copy as ended: its answer was used, or the primary's was.
    pub fn hedge_ended(&self, won: bool) {
        self.hedges.add(if won { "won" } else { "lost" });
    }

    /// Counts a late request that was denied a copy at first; `reason` is one of [`names::HEDGE_DENIALS`].
    pub fn hedge_denied(&self, reason: &str) {
        self.hedges_denied.add(reason);
    }

    /// Counts the time a backend spent on an attempt whose answer was not used.
    pub fn wasted(&self, time: Duration) {
        self.wasted.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The same since the start, in seconds.
    pub(super) fn wasted_seconds(&self) -> f64 {
        self.wasted.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Retries, copies, probes and rescues since the start: attempts that are no client's first.
    pub fn extra(&self) -> u64 {
        let retries: u64 = self.retries.counts().map(|(_, count)| count).sum();
        let rescues: u64 = self.rescues.counts().filter(|(word, _)| *word != "denied").map(|(_, count)| count).sum();
        retries + self.hedges_sent.get() + self.probes.get() + rescues
    }

    /// Counts a copy that tries a backend on probation.
    pub fn probe_sent(&self) {
        self.probes.inc();
    }

    /// Counts what became of a body that stalled or broke off; `result` is one of [`names::RESCUE_RESULTS`].
    pub fn rescued(&self, result: &str) {
        self.rescues.add(result);
    }

    /// Counts how long a request waited for a place at the backends, whether or not it got one.
    pub fn queued(&self, time: Duration) {
        self.queued.observe(time);
    }

    /// Counts a request that was shed: `class` is one of [`names::CLASSES`], `reason` of [`names::SHED_REASONS`].
    pub fn shed(&self, class: &str, reason: &str) {
        if let Some((_, tally)) = names::CLASSES.iter().zip(&self.shed).find(|(word, _)| **word == class) {
            tally.add(reason);
        }
    }

    /// Counts the time from an attempt's start to the first byte of its response head.
    pub fn first_byte(&self, duration: Duration) {
        self.first_byte.observe(duration);
    }

    /// Counts a new connection to a backend, by what it took.
    pub fn dialled(&self, dial: Dial) {
        self.connect.observe(dial.connect);
        if !dial.tls.is_zero() {
            self.tls.observe(dial.tls);
        }
    }

    /// Counts a retry; `reason` is one of [`names::RETRY_REASONS`].
    pub fn retry(&self, reason: &str) {
        self.retries.add(reason);
    }
}

/// What is counted for one backend.
#[derive(Debug)]
pub struct BackendMetrics {
    pub(super) attempts: Tally,
    pub(super) ejections: Tally,
    pub(super) probations: Counter,
    pub(super) pushbacks: Counter,
    pub(super) health_checks: Tally,
    pool: String,
    backend: String,
    journal: Arc<Journal>,
}

impl BackendMetrics {
    fn new(pool: &str, backend: &str, journal: Arc<Journal>) -> BackendMetrics {
        BackendMetrics {
            pool: pool.to_owned(),
            backend: backend.to_owned(),
            journal,
            attempts: Tally::new(names::ATTEMPT_RESULTS),
            ejections: Tally::new(names::EJECTION_REASONS),
            probations: Counter::default(),
            pushbacks: Counter::default(),
            health_checks: Tally::new(names::HEALTH_CHECK_RESULTS),
        }
    }

    /// Counts an attempt that has ended; `result` is one of [`names::ATTEMPT_RESULTS`].
    pub fn attempt(&self, result: &str) {
        self.attempts.add(result);
    }

    /// Counts an answer by which it said "not now".
    pub fn pushed_back(&self) {
        self.pushbacks.inc();
    }

    /// Counts that it was put on probation.
    pub fn put_on_probation(&self) {
        self.probations.inc();
    }

    /// Counts an ejection; `reason` is one of [`names::EJECTION_REASONS`].
    pub fn ejected(&self, reason: &str) {
        self.ejections.add(reason);
    }

    /// Notes that it changed its state, one of [`names::BACKEND_STATES`], and why.
    pub fn turned(&self, state: &'static str, turn: Turn, why: &str) {
        self.journal.note(Event {
            time: clock::wall(),
            topic: Topic::Backend,
            turn,
            pool: Some(self.pool.clone()),
            backend: Some(self.backend.clone()),
            what: state,
            why: why.to_owned(),
        });
    }

    /// Counts an active health check; `result` is one of [`names::HEALTH_CHECK_RESULTS`].
    pub fn health_check(&self, result: &str) {
        self.health_checks.add(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{CacheResult, Method, StatusClass};

    #[test]
    fn two_snapshots_share_the_counters_of_a_route() {
        let metrics = Metrics::new();
        let old = metrics.route("pages");
        old.record(Method::Get, 200, CacheResult::Hit, Duration::ZERO);
        let new = metrics.route("pages");
        drop(old);
        new.record(Method::Get, 200, CacheResult::Hit, Duration::ZERO);
        assert_eq!(new.requests().next(), Some((Method::Get, StatusClass::Successful, CacheResult::Hit, 2)));
    }

    #[test]
    fn a_dropped_guard_lowers_its_gauge() {
        let metrics = Metrics::new();
        let first = metrics.request();
        let second = metrics.request();
        let connection = metrics.connection();
        drop(first);
        assert_eq!(metrics.registered().requests_in_flight.get(), 1);
        assert_eq!(metrics.registered().client_connections.get(), 1);
        drop((second, connection));
        assert_eq!(metrics.registered().requests_in_flight.get(), 0);
        assert_eq!(metrics.registered().client_connections.get(), 0);
    }
}
