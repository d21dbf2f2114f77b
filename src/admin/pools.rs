//! Pools, their backends and the routes to them as the operator sees them.

use serde::Serialize;
use serde_json::Value;

use super::{milliseconds, thousandths};
use crate::snapshot::{Route, Snapshot};
use crate::tail::delays::Distribution;
use crate::tail::health::State;
use crate::tail::window::Quantiles;
use crate::telemetry::{BackendSample, Latencies, PoolSample, RouteSample};
use crate::units::Tick;
use crate::upstream::backend::Standing;
use crate::upstream::{Member, Pool};

/// `/pools`: every pool with every backend, and every route.
pub(super) fn page(snapshot: &Snapshot, now: Tick) -> Value {
    let pools = snapshot.pools().iter().map(|pool| PoolView::of(pool, now)).collect();
    let routes = snapshot.routes().iter().map(|route| RouteView::of(route)).collect();
    // Plain numbers and text: there is nothing in it that JSON cannot hold.
    serde_json::to_value(Page { generation: snapshot.generation(), pools, routes }).unwrap_or_default()
}

#[derive(Serialize)]
struct Page {
    generation: u64,
    pools: Vec<PoolView>,
    routes: Vec<RouteView>,
}

#[derive(Serialize)]
pub(super) struct PoolView {
    pub(super) name: String,
    /// Retries and copies that may be made at once.
    ledger: f64,
    /// Attempts for each request; null while there are none.
    amplification: Option<f64>,
    /// Requests that may be at its backends; null where nothing limits them.
    pub(super) limit: Option<u32>,
    /// Requests that have a place there.
    admitted: u32,
    /// Requests that wait for one.
    pub(super) queued: u32,
    /// Names that have not resolved yet.
    unresolved: Vec<String>,
    pub(super) backends: Vec<BackendView>,
}

#[derive(Serialize)]
pub(super) struct BackendView {
    pub(super) address: String,
    /// As written: the address, or the name that resolved to it.
    host: String,
    weight: u16,
    pub(super) state: &'static str,
    /// Why it is ejected.
    pub(super) reason: Option<&'static str>,
    /// Since it has been in this state.
    pub(super) state_seconds: u64,
    /// Since it joined or was last let back in.
    in_rotation_seconds: u64,
    in_flight: u32,
    /// What it bears, as far as is known; null while nothing is.
    limit: Option<f64>,
    ewma_ms: Option<f64>,
    /// What it says of its load.
    reported_load: Option<f64>,
    /// Of what is meant for it, the share that it is not sent, as it says "not now".
    pub(super) throttle: f64,
    /// Of its last primaries, the share that was late.
    pub(super) late: f64,
    pub(super) latency_ms: LatencyView,
    /// Had every primary been waited for.
    pub(super) latency_without_hedging_ms: LatencyView,
}

#[derive(Serialize)]
pub(super) struct RouteView {
    pub(super) name: String,
    pub(super) pool: String,
    /// Null while too little is known.
    hedge_delay_ms: Option<f64>,
    /// How full the bucket of copies is, 0 to 1.
    budget_level: f64,
    /// 0.1 to 1.
    governor_scale: f64,
    /// Of whole requests, hits too.
    duration_ms: LatencyView,
    pub(super) first_byte_ms: LatencyView,
    pub(super) first_byte_without_hedging_ms: LatencyView,
}

#[derive(Serialize)]
pub(super) struct LatencyView {
    /// Samples in the window; with 0 the rest means nothing.
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    p95: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    max: f64,
}

impl LatencyView {
    fn of(latencies: &Latencies) -> LatencyView {
        LatencyView {
            count: latencies.count,
            p50: milliseconds(latencies.p50),
            p90: milliseconds(latencies.p90),
            p95: milliseconds(latencies.p95),
            p99: milliseconds(latencies.p99),
            p999: milliseconds(latencies.p999),
            max: milliseconds(latencies.max),
        }
    }
}

impl PoolView {
    pub(super) fn of(pool: &Pool, now: Tick) -> PoolView {
        PoolView {
            name: pool.name().to_owned(),
            ledger: pool.ledger().balance(now),
            amplification: pool.amplification().map(thousandths),
            limit: pool.gate().limit(),
            admitted: pool.gate().admitted(),
            queued: pool.gate().waiting(),
            unresolved: pool.unresolved(),
            backends: pool.members().iter().map(|member| BackendView::of(pool, member, now)).collect(),
        }
    }
}

impl BackendView {
    fn of(pool: &Pool, member: &Member, now: Tick) -> BackendView {
        let backend = &member.backend;
        let Standing { state, since, entered, .. } = backend.standing(now);
        let signals = backend.signals();
        BackendView {
            address: backend.name().to_owned(),
            host: member.host.clone(),
            weight: member.weight.get(),
            state: state.as_str(),
            reason: match state {
                State::Ejected(reason) => Some(reason.as_str()),
                _ => None,
            },
            state_seconds: now.since(entered).as_secs(),
            in_rotation_seconds: now.since(since).as_secs(),
            in_flight: signals.in_flight.count(),
            limit: Some(f64::from(backend.limit())).filter(|limit| limit.is_finite()).map(thousandths),
            ewma_ms: signals.ewma.cost(now).map(milliseconds),
            reported_load: pool.reported_load(member, now).map(|load| load.get()),
            throttle: thousandths(backend.throttle(now)),
            late: thousandths(signals.late.share(now).into()),
            latency_ms: LatencyView::of(&measured(&signals.window.quantiles())),
            latency_without_hedging_ms: LatencyView::of(&estimated(&signals.delays.distribution())),
        }
    }
}

impl RouteView {
    pub(super) fn of(route: &Route) -> RouteView {
        let sample = route_sample(route);
        RouteView {
            name: sample.route,
            pool: route.pool.name().to_owned(),
            hedge_delay_ms: sample.delay.map(milliseconds),
            budget_level: thousandths(sample.level),
            governor_scale: thousandths(sample.scale),
            duration_ms: LatencyView::of(&route.metrics.latencies()),
            first_byte_ms: LatencyView::of(&sample.with_hedging),
            first_byte_without_hedging_ms: LatencyView::of(&sample.without_hedging),
        }
    }
}

/// The backends for the metrics page.
pub(super) fn backend_samples(snapshot: &Snapshot, now: Tick) -> Vec<BackendSample> {
    let of_pool = |pool: &Pool| {
        let members = pool.members();
        members.iter().map(|member| sample(pool, member, now)).collect::<Vec<_>>()
    };
    snapshot.pools().iter().flat_map(|pool| of_pool(pool)).collect()
}

/// The pools.
pub(super) fn pool_samples(snapshot: &Snapshot, now: Tick) -> Vec<PoolSample> {
    let sample = |pool: &Pool| PoolSample {
        pool: pool.name().to_owned(),
        ledger: pool.ledger().balance(now),
        amplification: pool.amplification(),
        limit: pool.gate().limit().map(u64::from),
        admitted: pool.gate().admitted().into(),
        queued: pool.gate().waiting().into(),
    };
    snapshot.pools().iter().map(|pool| sample(pool)).collect()
}

/// The routes.
pub(super) fn route_samples(snapshot: &Snapshot) -> Vec<RouteSample> {
    snapshot.routes().iter().map(|route| route_sample(route)).collect()
}

fn route_sample(route: &Route) -> RouteSample {
    let hedging = &route.hedging;
    RouteSample {
        route: route.config.name.clone(),
        delay: hedging.delay(),
        level: hedging.copies.level(),
        scale: hedging.copies.scale().into(),
        with_hedging: measured(&hedging.served.quantiles()),
        without_hedging: estimated(&hedging.delays.distribution()),
    }
}

fn sample(pool: &Pool, member: &Member, now: Tick) -> BackendSample {
    let (backend, signals) = (&member.backend, member.backend.signals());
    BackendSample {
        pool: pool.name().to_owned(),
        backend: backend.name().to_owned(),
        state: backend.state(now).as_str(),
        reported_load: pool.reported_load(member, now).map(|load| load.get()),
        in_flight: signals.in_flight.count().into(),
        ewma: signals.ewma.cost(now),
        throttle: backend.throttle(now),
        late: signals.late.share(now).into(),
        with_hedging: measured(&signals.window.quantiles()),
        without_hedging: estimated(&signals.delays.distribution()),
    }
}

/// What was waited for.
fn measured(quantiles: &Quantiles) -> Latencies {
    let Quantiles { count, p50, p90, p95, p99, p999, max } = *quantiles;
    Latencies { count, p50, p90, p95, p99, p999, max }
}

/// What would have been waited for without hedging.
fn estimated(distribution: &Distribution) -> Latencies {
    let Distribution { count, p50, p90, p95, p99, p999, max, .. } = *distribution;
    Latencies { count: count.into(), p50, p90, p95, p99, p999, max }
}
