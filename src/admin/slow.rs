//! The slowest requests as the operator sees them.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{milliseconds, thousandths};
use crate::config;
use crate::edge::Edge;
use crate::telemetry::slow::{Slow, SlowRequest};
use crate::telemetry::spectrum::Tail;
use crate::telemetry::{Phase, Phases, RouteMetrics, Visit, names};
use crate::units::Tick;

/// `/slow`: of every route its slowest requests, and what the slowest hundredth of all its requests waited for.
pub(super) fn page(edge: &Edge) -> Value {
    let snapshot = edge.snapshot();
    let config::Slow { keep, window, .. } = snapshot.config().slow;
    let routes = snapshot.routes().iter().map(|route| (route.config.name.as_str(), &route.metrics));
    let routes = routes.chain(std::iter::once((names::UNROUTED, edge.metrics().unrouted())));
    json!({
        "generation": snapshot.generation(),
        "keep": keep,
        "window_seconds": window.as_secs_f64(),
        "routes": routes.map(|(name, metrics)| route(name, &metrics.slow())).collect::<Vec<_>>(),
    })
}

/// The slowest requests of all routes, `most` of them.
pub(super) fn slowest(edge: &Edge, most: usize) -> Vec<Value> {
    let snapshot = edge.snapshot();
    let routes = snapshot.routes().iter().map(|route| (route.config.name.as_str(), &route.metrics));
    let routes = routes.chain(std::iter::once((names::UNROUTED, edge.metrics().unrouted())));
    let of_route = |(name, metrics): (&str, &std::sync::Arc<RouteMetrics>)| -> Vec<(String, SlowRequest)> {
        metrics.slow().slowest.into_iter().map(|request| (name.to_owned(), request)).collect()
    };
    let mut all: Vec<(String, SlowRequest)> = routes.flat_map(of_route).collect();
    all.sort_by_key(|(_, request)| std::cmp::Reverse(request.timeline.duration));
    all.truncate(most);
    let view = |(name, slow): &(String, SlowRequest)| {
        let mut view = request(slow);
        view["route"] = json!(name);
        view
    };
    all.iter().map(view).collect()
}

fn route(name: &str, slow: &Slow) -> Value {
    json!({
        "name": name,
        "tail": slow.tail.as_ref().map(tail),
        "slowest": slow.slowest.iter().map(request).collect::<Vec<_>>(),
    })
}

fn tail(tail: &Tail) -> Value {
    let shares = Phase::ALL.iter().zip(tail.shares);
    json!({
        "requests": tail.requests,
        "slowest": tail.slowest,
        "at_least_ms": milliseconds(tail.at_least),
        "shares": shares.map(|(phase, share)| (phase.as_str().to_owned(), thousandths(share).into())).collect::<Map<_, _>>(),
    })
}

fn request(request: &SlowRequest) -> Value {
    let timeline = &request.timeline;
    let of_origin = request.origin.iter().map(|said| {
        json!({ "name": said.name, "duration_ms": said.duration.map(milliseconds), "description": said.description })
    });
    json!({
        "time": humantime::format_rfc3339_millis(request.time).to_string(),
        "duration_ms": milliseconds(timeline.duration),
        "method": request.method,
        "host": request.host,
        "path": request.path,
        "status": request.status,
        "cache": request.cache.as_str(),
        "reason": request.reason.as_str(),
        "backend": request.backend.as_deref(),
        "request_id": Some(&request.request_id).filter(|id| !id.is_empty()),
        "trace_id": request.trace_id.map(|id| format!("{id:032x}")),
        "phases_ms": phases(&timeline.phases),
        "origin": of_origin.collect::<Vec<_>>(),
        "attempts": timeline.visits.iter().map(|visit| attempt(visit, timeline.started)).collect::<Vec<_>>(),
    })
}

/// Those that took time.
fn phases(phases: &Phases) -> Map<String, Value> {
    let some = phases.iter().filter(|(_, time)| !time.is_zero());
    some.map(|(phase, time)| (phase.as_str().to_owned(), milliseconds(time).into())).collect()
}

/// Times from the request's start.
fn attempt(visit: &Visit, started: Tick) -> Value {
    let at = |time: Tick| milliseconds(time.since(started));
    let dial = |time: Option<Duration>| time.filter(|time| !time.is_zero()).map(milliseconds);
    json!({
        "backend": *visit.backend,
        "kind": visit.kind.as_str(),
        "start_ms": at(visit.begun),
        "connect_ms": dial(visit.dial.map(|dial| dial.connect)),
        "tls_ms": dial(visit.dial.map(|dial| dial.tls)),
        "head_ms": visit.headed.map(at),
        "end_ms": visit.ended.map(at),
        "status": visit.status,
        "failure": visit.failure,
        "used": visit.used,
        "cancelled": visit.cancelled,
    })
}
