//! The backends as the operator sees them.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::snapshot::Snapshot;
use crate::tail::health::State;
use crate::telemetry::{BackendSample, Latencies};
use crate::units::Tick;
use crate::upstream::backend::Standing;
use crate::upstream::{Member, Pool};

/// `/pools`: every pool with every backend.
pub(super) fn page(snapshot: &Snapshot, now: Tick) -> Value {
    let pools = snapshot.pools().iter().map(|pool| PoolView::of(pool, now)).collect();
    // Plain numbers and text: there is nothing in it that JSON cannot hold.
    serde_json::to_value(Page { generation: snapshot.generation(), pools }).unwrap_or_default()
}

#[derive(Serialize)]
struct Page {
    generation: u64,
    pools: Vec<PoolView>,
}

#[derive(Serialize)]
struct PoolView {
    name: String,
    /// Retries that may be made at once.
    retry_budget: f64,
    /// Names that have not resolved yet.
    unresolved: Vec<String>,
    backends: Vec<BackendView>,
}

#[derive(Serialize)]
struct BackendView {
    address: String,
    /// As written: the address, or the name that resolved to it.
    host: String,
    weight: u16,
    state: &'static str,
    /// Why it is ejected.
    reason: Option<&'static str>,
    /// Since it joined or was last let back in.
    in_rotation_seconds: u64,
    in_flight: u32,
    ewma_ms: Option<f64>,
    /// What it says of its load.
    reported_load: Option<f64>,
    latency_ms: LatencyView,
}

#[derive(Serialize)]
struct LatencyView {
    /// Answers in the window; with 0 the rest means nothing.
    count: u64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl PoolView {
    fn of(pool: &Pool, now: Tick) -> PoolView {
        PoolView {
            name: pool.name().to_owned(),
            retry_budget: pool.ledger().balance(now),
            unresolved: pool.unresolved(),
            backends: pool.members().iter().map(|member| BackendView::of(pool, member, now)).collect(),
        }
    }
}

impl BackendView {
    fn of(pool: &Pool, member: &Member, now: Tick) -> BackendView {
        let backend = &member.backend;
        let Standing { state, since, .. } = backend.standing(now);
        let signals = backend.signals();
        let latencies = latencies(member);
        BackendView {
            address: backend.name().to_owned(),
            host: member.host.clone(),
            weight: member.weight.get(),
            state: state.as_str(),
            reason: match state {
                State::Ejected(reason) => Some(reason.as_str()),
                _ => None,
            },
            in_rotation_seconds: now.since(since).as_secs(),
            in_flight: signals.in_flight.count(),
            ewma_ms: signals.ewma.cost(now).map(milliseconds),
            reported_load: pool.reported_load(member, now).map(|load| load.get()),
            latency_ms: LatencyView {
                count: latencies.count,
                p50: milliseconds(latencies.p50),
                p90: milliseconds(latencies.p90),
                p95: milliseconds(latencies.p95),
                p99: milliseconds(latencies.p99),
                max: milliseconds(latencies.max),
            },
        }
    }
}

/// The same for the metrics page.
pub(super) fn samples(snapshot: &Snapshot, now: Tick) -> Vec<BackendSample> {
    let of_pool = |pool: &Pool| {
        let members = pool.members();
        members.iter().map(|member| sample(pool, member, now)).collect::<Vec<_>>()
    };
    snapshot.pools().iter().flat_map(|pool| of_pool(pool)).collect()
}

fn sample(pool: &Pool, member: &Member, now: Tick) -> BackendSample {
    let backend = &member.backend;
    BackendSample {
        pool: pool.name().to_owned(),
        backend: backend.name().to_owned(),
        state: backend.state(now).as_str(),
        in_flight: backend.signals().in_flight.count().into(),
        ewma: backend.signals().ewma.cost(now),
        reported_load: pool.reported_load(member, now).map(|load| load.get()),
        latencies: latencies(member),
    }
}

fn latencies(member: &Member) -> Latencies {
    let quantiles = member.backend.signals().window.quantiles();
    Latencies {
        count: quantiles.count,
        p50: quantiles.p50,
        p90: quantiles.p90,
        p95: quantiles.p95,
        p99: quantiles.p99,
        max: quantiles.max,
    }
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}
