//! The backends as the operator sees them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::snapshot::Snapshot;
use crate::tail::health::State;
use crate::telemetry::{BackendSample, Latencies};
use crate::units::Tick;
use crate::upstream::{Member, Pool};

/// `/pools`: every pool with every backend.
pub(super) fn page(snapshot: &Snapshot, now: Tick) -> Value {
    let pools: Vec<Value> = snapshot.pools().iter().map(|pool| one_pool(pool, now)).collect();
    json!({ "generation": snapshot.generation(), "pools": pools })
}

fn one_pool(pool: &Pool, now: Tick) -> Value {
    let backends: Vec<Value> = pool.members().iter().map(|member| one_backend(member, now)).collect();
    json!({
        "name": pool.name(),
        "retry_budget": pool.budget().balance(now),
        "backends": backends,
        "unresolved": pool.unresolved(),
    })
}

fn one_backend(member: &Member, now: Tick) -> Value {
    let backend = &member.backend;
    let (state, since) = backend.standing(now);
    let reason = match state {
        State::Ejected(reason) => Some(reason.as_str()),
        _ => None,
    };
    let quantiles = backend.window().quantiles();
    json!({
        "address": backend.name(),
        "host": member.host,
        "weight": member.weight.get(),
        "state": state.as_str(),
        "reason": reason,
        "in_rotation_seconds": now.since(since).as_secs(),
        "in_flight": backend.in_flight().count(),
        "ewma_ms": backend.ewma().cost(now).map(milliseconds),
        "latency_ms": {
            "count": quantiles.count,
            "p50": milliseconds(quantiles.p50),
            "p90": milliseconds(quantiles.p90),
            "p95": milliseconds(quantiles.p95),
            "p99": milliseconds(quantiles.p99),
            "max": milliseconds(quantiles.max),
        },
    })
}

/// The same for the metrics page.
pub(super) fn samples(snapshot: &Snapshot, now: Tick) -> Vec<BackendSample> {
    let mut samples = Vec::new();
    for pool in snapshot.pools() {
        for member in pool.members().iter() {
            let backend = &member.backend;
            let quantiles = backend.window().quantiles();
            samples.push(BackendSample {
                pool: pool.name().to_owned(),
                backend: backend.name().to_owned(),
                state: backend.state(now).as_str(),
                in_flight: backend.in_flight().count().into(),
                ewma: backend.ewma().cost(now),
                latencies: Latencies {
                    count: quantiles.count,
                    p50: quantiles.p50,
                    p90: quantiles.p90,
                    p95: quantiles.p95,
                    p99: quantiles.p99,
                    max: quantiles.max,
                },
            });
        }
    }
    samples
}

/// Milliseconds with microseconds behind the point.
fn milliseconds(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}
