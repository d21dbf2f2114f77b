//! One picture as JSON: the same for the page, for `/live.json` and for `hedgerow top`.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

use super::trouble::Trouble;
use super::{Live, State, seconds};
use crate::admin::pools::{BackendView, PoolView, RouteView};
use crate::admin::{slow, thousandths};
use crate::edge::{Edge, Phase};
use crate::reload::Last;
use crate::telemetry::{CacheResult, Event, PoolCounts};
use crate::units::Tick;

/// Slowest requests that are shown.
const SLOWEST: usize = 10;
/// Events that are shown.
const EVENTS: usize = 50;

/// A pool, and what it did in the last ten seconds.
#[derive(Serialize)]
struct LivePool<'v> {
    #[serde(flatten)]
    pool: &'v PoolView,
    attempts_per_second: f64,
    hedges_per_second: f64,
    hedges_won_per_second: f64,
    hedges_unpaid_per_second: f64,
    probes_per_second: f64,
    retries_per_second: f64,
    shed_per_second: f64,
    /// Of each second, those that backends spent on answers that were not used.
    wasted_share: f64,
    backends: Vec<LiveBackend<'v>>,
}

#[derive(Serialize)]
struct LiveBackend<'v> {
    #[serde(flatten)]
    backend: &'v BackendView,
    /// What is wrong with it; null where nothing is.
    trouble: Option<&'static str>,
    /// Of its pool's attempts, 0 to 1; null without attempts.
    share: Option<f64>,
}

#[derive(Serialize)]
struct LiveRoute {
    #[serde(flatten)]
    route: RouteView,
    requests_per_second: f64,
}

pub(super) fn view(live: &Live, state: &State, now: Tick, time: SystemTime) -> Value {
    let Live { edge, reloader, .. } = live;
    let snapshot = edge.snapshot();
    let recent = &state.recent;
    let pools: Vec<PoolView> = snapshot.pools().iter().map(|pool| PoolView::of(pool, now)).collect();
    let routes = snapshot.routes().iter().map(|route| LiveRoute {
        requests_per_second: thousandths(
            recent.rate(|c| c.routes.get(&route.config.name).copied().unwrap_or_default() as f64),
        ),
        route: RouteView::of(route),
    });
    let stats = edge.store().stats();
    let events = edge.metrics().journal().latest(EVENTS);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "time": seconds(time),
        "uptime_seconds": now.since(Tick::from_nanos(0)).as_secs(),
        "phase": if edge.phase() == Phase::Serving { "serving" } else { "draining" },
        "generation": snapshot.generation(),
        "reload": reloader.last().map(reload),
        "span_seconds": recent.seconds().round(),
        "traffic": traffic(edge, state),
        "second": state.past.newest().map(|point| point.view()),
        "cache": { "objects": stats.objects, "bytes": stats.bytes, "capacity": edge.peek().config().cache.memory },
        "routes": routes.collect::<Vec<_>>(),
        "pools": pools.iter().map(|pool| live_pool(pool, state)).collect::<Vec<_>>(),
        "incidents": state.incidents.stories().map(|story| story.view(now)).collect::<Vec<_>>(),
        "slowest": slow::slowest(edge, SLOWEST),
        "events": events.into_iter().map(|(number, told)| event(number, &told)).collect::<Vec<_>>(),
    })
}

fn traffic(edge: &Edge, state: &State) -> Value {
    let recent = &state.recent;
    let all = recent.rate(|counts| counts.by_cache.iter().sum::<u64>() as f64);
    let hits = recent.rate(|counts| counts.by_cache.get(CacheResult::Hit.index()).copied().unwrap_or_default() as f64);
    json!({
        "requests_per_second": thousandths(all),
        "errors_per_second": thousandths(recent.rate(|counts| counts.errors as f64)),
        "shed_per_second": thousandths(recent.rate(|counts| counts.pools.values().map(|pool| pool.shed).sum::<u64>() as f64)),
        "hit_ratio": (all > 0.0).then(|| thousandths(hits / all)),
        "requests_in_flight": edge.metrics().requests_in_flight(),
        "client_connections": edge.metrics().client_connections(),
    })
}

fn live_pool<'v>(pool: &'v PoolView, state: &State) -> Value {
    let PoolCounts { attempts, hedges, hedges_won, hedges_unpaid, probes, retries, shed, wasted, .. } =
        state.recent.pool(&pool.name);
    let span = state.recent.seconds();
    let rate = |n: f64| if span > 0.0 { thousandths(n / span) } else { 0.0 };
    let live = |(place, backend): (usize, &'v BackendView)| LiveBackend {
        trouble: Trouble::of(pool, place).map(Trouble::as_str),
        share: state.recent.share(&pool.name, &backend.address).map(thousandths),
        backend,
    };
    let live = LivePool {
        attempts_per_second: rate(attempts as f64),
        hedges_per_second: rate(hedges as f64),
        hedges_won_per_second: rate(hedges_won as f64),
        hedges_unpaid_per_second: rate(hedges_unpaid as f64),
        probes_per_second: rate(probes as f64),
        retries_per_second: rate(retries as f64),
        shed_per_second: rate(shed as f64),
        wasted_share: rate(wasted),
        backends: pool.backends.iter().enumerate().map(live).collect(),
        pool,
    };
    // Plain numbers and text: there is nothing in it that JSON cannot hold.
    serde_json::to_value(live).unwrap_or_default()
}

fn reload(last: Last) -> Value {
    json!({ "time": seconds(last.time), "result": last.result.as_str(), "lines": last.lines })
}

fn event(number: u64, event: &Event) -> Value {
    json!({
        "number": number,
        "time": seconds(event.time),
        "topic": event.topic.as_str(),
        "turn": event.turn.as_str(),
        "pool": event.pool,
        "backend": event.backend,
        "what": event.what,
        "why": event.why,
    })
}
