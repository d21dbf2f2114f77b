//! What happens now, and what happened in the last ten minutes: one picture a second, for the live page and `hedgerow top`.
//!
//! * `past` the last ten minutes; `recent` rates over ten seconds
//! * `trouble` what is wrong with a backend; `incidents` and `story` its troubles from beginning to end
//! * `notices` what happens to pools, for the journal
//! * `frame` all of that as JSON; `stream` as server-sent events
//!
//! The past is kept whether or not anybody looks, since one looks after something has happened. It costs as much as a scrape
//! a second, on a task of its own; the JSON is made only for who looks, once for all of them.

mod frame;
mod incidents;
mod notices;
mod past;
mod recent;
mod story;
pub(super) mod stream;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;

use self::incidents::{Incidents, Seen};
use self::notices::{Notices, Second};
use self::past::{BackendPoint, Past, Point, RoutePoint};
use self::recent::Recent;
use self::trouble::Trouble;
use super::pools::{LatencyView, PoolView, RouteView};
use crate::clock;
use crate::edge::Edge;
use crate::reload::Reloader;
use crate::telemetry::{Counts, Event, Journal, Topic, Turn, names};
use crate::units::Tick;

/// How often a picture is taken.
const EVERY: Duration = Duration::from_secs(1);
/// How many may look at a time.
pub const VIEWERS: usize = 16;

/// What happens at one edge.
pub struct Live {
    edge: Arc<Edge>,
    reloader: Arc<Reloader>,
    state: Mutex<State>,
    /// The newest picture as JSON; empty until somebody looks.
    frames: watch::Sender<Arc<str>>,
    seats: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    past: Past,
    recent: Recent,
    incidents: Incidents,
    notices: Notices,
}

impl Live {
    /// Nothing seen yet.
    pub fn new(edge: Arc<Edge>, reloader: Arc<Reloader>) -> Live {
        let (frames, seats) = (watch::Sender::new(Arc::from("")), Arc::new(Semaphore::new(VIEWERS)));
        let mut state = State::default();
        state.recent.add(clock::now(), edge.metrics().counts());
        Live { edge, reloader, state: Mutex::new(state), frames, seats }
    }

    /// Takes a picture a second; never returns.
    pub async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // The first is at once.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            self.observe(clock::now(), clock::wall());
            if self.frames.receiver_count() > 0 {
                self.frames.send_replace(self.frame().to_string().into());
            }
        }
    }

    /// How it is now.
    pub(super) fn frame(&self) -> Value {
        frame::view(self, &self.state.lock(), clock::now(), clock::wall())
    }

    /// How it has been.
    pub(super) fn past(&self) -> Value {
        self.state.lock().past.view()
    }

    fn observe(&self, now: Tick, time: SystemTime) {
        let snapshot = self.edge.snapshot();
        let counts = self.edge.metrics().counts();
        let pools: Vec<PoolView> = snapshot.pools().iter().map(|pool| PoolView::of(pool, now)).collect();
        let routes: Vec<RouteView> = snapshot.routes().iter().map(|route| RouteView::of(route)).collect();
        let journal = self.edge.metrics().journal();
        let mut state = self.state.lock();
        let state = &mut *state;
        let point = point(state.recent.newest(), &counts, time);
        for pool in &pools {
            let (before, after) = (state.recent.newest().pools.get(&pool.name), counts.pools.get(&pool.name));
            let brought = after.map(|after| after.since(before.unwrap_or(after))).unwrap_or_default();
            let second =
                Second { shed: brought.shed, unpaid: brought.hedges_unpaid, queued: pool.queued, limit: pool.limit };
            state.notices.observe(&pool.name, second, journal, time, now);
        }
        state.notices.retain(|name| pools.iter().any(|pool| pool.name == name));
        state.recent.add(now, counts);
        let (seen, backends) = (seen(&pools, &routes, &state.recent, journal), backend_points(&pools));
        for ((pool, backend), seen) in &seen {
            // The end of an ejection is told by nothing but time.
            let is_noted = || journal.last_of(pool, backend).is_none_or(|(noted, _)| noted != "ejected");
            if seen.trouble == Some(Trouble::Recovering) && !is_noted() {
                journal.note(Event {
                    time,
                    topic: Topic::Backend,
                    turn: Turn::Better,
                    pool: Some(pool.clone()),
                    backend: Some(backend.clone()),
                    what: "recovering",
                    why: "time-served".to_owned(),
                });
            }
        }
        state.incidents.observe(seen, time, now);
        state.past.add(point, route_points(&routes), backends);
    }
}

/// What has come since `before`.
fn point(before: &Counts, after: &Counts, time: SystemTime) -> Point {
    let brought = |after: u64, before: u64| u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut point = Point { time: u64::try_from(time).unwrap_or(u64::MAX), ..Point::default() };
    let by_cache = after.by_cache.iter().zip(before.by_cache);
    for (sum, (after, before)) in point.by_cache.iter_mut().zip(by_cache) {
        *sum = brought(*after, before);
    }
    point.errors = brought(after.errors, before.errors);
    for (name, after) in &after.pools {
        let one = after.since(&before.pools.get(name).copied().unwrap_or_default());
        let add = |sum: &mut u32, more: u64| *sum = sum.saturating_add(brought(more, 0));
        add(&mut point.shed, one.shed);
        add(&mut point.hedges, one.hedges);
        add(&mut point.hedges_won, one.hedges_won);
        add(&mut point.probes, one.probes);
        add(&mut point.retries, one.retries);
    }
    point
}

fn route_points(routes: &[RouteView]) -> BTreeMap<String, RoutePoint> {
    let of = |latency: &LatencyView| {
        let all = [latency.p50, latency.p90, latency.p99, latency.p999];
        (latency.count > 0).then(|| all.map(|millis| millis as f32))
    };
    let point = |route: &RouteView| RoutePoint {
        with: of(&route.first_byte_ms),
        without: of(&route.first_byte_without_hedging_ms),
    };
    routes.iter().map(|route| (route.name.clone(), point(route))).collect()
}

fn backend_points(pools: &[PoolView]) -> BTreeMap<(String, String), BackendPoint> {
    let mut points = BTreeMap::new();
    for pool in pools {
        for backend in &pool.backends {
            let place = names::BACKEND_STATES.iter().position(|word| *word == backend.state).unwrap_or_default();
            let p99 = trouble::p99(backend).map(|millis| millis as f32);
            let point = BackendPoint { p99, state: u8::try_from(place).unwrap_or_default() };
            points.insert((pool.name.clone(), backend.address.clone()), point);
        }
    }
    points
}

fn seen(
    pools: &[PoolView],
    routes: &[RouteView],
    recent: &Recent,
    journal: &Journal,
) -> BTreeMap<(String, String), Seen> {
    let mut all = BTreeMap::new();
    for pool in pools {
        let of_pool = routes.iter().filter(|route| route.pool == pool.name && route.first_byte_ms.count > 0);
        let busiest = of_pool.max_by_key(|route| route.first_byte_ms.count);
        let unhedged = busiest.map(|route| &route.first_byte_without_hedging_ms);
        for (place, backend) in pool.backends.iter().enumerate() {
            let noted = journal.last_of(&pool.name, &backend.address).filter(|_| backend.state != "healthy");
            let seen = Seen {
                trouble: Trouble::of(pool, place),
                reason: recent_reason(backend.state, backend.reason),
                since: noted.filter(|(state, _)| *state == backend.state).map(|(_, since)| since),
                share: recent.share(&pool.name, &backend.address),
                p99: trouble::p99(backend),
                peers_p99: trouble::peers_p99(pool, place),
                clients_p99: busiest.map(|route| route.first_byte_ms.p99),
                unhedged_p99: unhedged.filter(|latency| latency.count > 0).map(|latency| latency.p99),
                counts: recent.newest().pools.get(&pool.name).copied().unwrap_or_default(),
                before: recent.oldest().pools.get(&pool.name).copied().unwrap_or_default(),
            };
            all.insert((pool.name.clone(), backend.address.clone()), seen);
        }
    }
    all
}

/// `/pools` has the reason of an ejection; there is but one of a probation.
fn recent_reason(state: &str, reason: Option<&'static str>) -> Option<&'static str> {
    if state == "probation" { Some("slower-than-peers") } else { reason }
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> f64 {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    millis as f64 / 1e3
}
