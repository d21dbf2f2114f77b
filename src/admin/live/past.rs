//! The last ten minutes, a point a second, so that a page that is opened after an incident shows it.
//!
//! It is kept whether or not anybody looks: 64 bytes a second, 40 for each route that has traffic and 12 for each backend.
//! Both are bounded in number; those beyond are shown as they are now, without a past.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::telemetry::{CacheResult, names};

/// Points that are kept: ten minutes.
pub(super) const KEPT: usize = 600;
/// Routes with a past.
const ROUTES: usize = 50;
/// Backends with a past.
const BACKENDS: usize = 200;

/// What one second brought.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Point {
    /// When it ended, in milliseconds since 1970.
    pub(super) time: u64,
    /// Requests in the order of [`CacheResult::ALL`].
    pub(super) by_cache: [u32; CacheResult::ALL.len()],
    pub(super) errors: u32,
    pub(super) shed: u32,
    pub(super) hedges: u32,
    pub(super) hedges_won: u32,
    pub(super) probes: u32,
    pub(super) retries: u32,
}

/// A route's p50, p90, p99 and p99.9 in milliseconds, as clients waited, and without hedging.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RoutePoint {
    pub(super) with: Option<[f32; QUANTILES.len()]>,
    pub(super) without: Option<[f32; QUANTILES.len()]>,
}

/// A backend's p99 in milliseconds, and its state as a place in [`names::BACKEND_STATES`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct BackendPoint {
    pub(super) p99: Option<f32>,
    pub(super) state: u8,
}

/// The quantiles that have a past.
pub(super) const QUANTILES: [&str; 4] = ["p50", "p90", "p99", "p999"];

/// The past of everything.
#[derive(Debug, Default)]
pub(super) struct Past {
    points: VecDeque<Point>,
    routes: BTreeMap<String, VecDeque<RoutePoint>>,
    backends: BTreeMap<(String, String), VecDeque<BackendPoint>>,
}

impl Past {
    /// Adds a second: who is not in it any more is forgotten.
    pub(super) fn add(
        &mut self,
        point: Point,
        routes: BTreeMap<String, RoutePoint>,
        backends: BTreeMap<(String, String), BackendPoint>,
    ) {
        push(&mut self.points, point);
        extend(&mut self.routes, routes, ROUTES, |point| *point != RoutePoint::default());
        extend(&mut self.backends, backends, BACKENDS, |_| true);
    }

    /// The newest point.
    pub(super) fn newest(&self) -> Option<&Point> {
        self.points.back()
    }

    /// All of it, a column for each series, which all end now; those that began later are shorter.
    pub(super) fn view(&self) -> Value {
        let column = |of: fn(&Point) -> u64| -> Value { self.points.iter().map(of).collect() };
        let by_cache = CacheResult::ALL.iter().map(|result| {
            let counts: Value =
                self.points.iter().filter_map(|point| point.by_cache.get(result.index())).copied().collect();
            (result.as_str().to_owned(), counts)
        });
        json!({
            "time_ms": column(|point| point.time),
            "cache": by_cache.collect::<Map<_, _>>(),
            "errors": column(|point| point.errors.into()),
            "shed": column(|point| point.shed.into()),
            "hedges": column(|point| point.hedges.into()),
            "hedges_won": column(|point| point.hedges_won.into()),
            "probes": column(|point| point.probes.into()),
            "retries": column(|point| point.retries.into()),
            "routes": self.routes.iter().map(|(name, past)| route(name, past)).collect::<Vec<_>>(),
            "backends": self.backends.iter().map(|((pool, backend), past)| json!({
                "pool": pool,
                "address": backend,
                "p99_ms": past.iter().map(|point| point.p99.map(rounded)).collect::<Vec<_>>(),
                "states": past.iter().map(|point| names::BACKEND_STATES.get(usize::from(point.state))).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }
}

impl Point {
    /// The same as a value of its own.
    pub(super) fn view(&self) -> Value {
        let by_cache = CacheResult::ALL.iter().zip(self.by_cache);
        json!({
            "time_ms": self.time,
            "cache": by_cache.map(|(result, count)| (result.as_str().to_owned(), count.into())).collect::<Map<_, _>>(),
            "errors": self.errors,
            "shed": self.shed,
            "hedges": self.hedges,
            "hedges_won": self.hedges_won,
            "probes": self.probes,
            "retries": self.retries,
        })
    }
}

fn route(name: &str, past: &VecDeque<RoutePoint>) -> Value {
    let columns = |of: fn(&RoutePoint) -> Option<[f32; QUANTILES.len()]>| -> Map<String, Value> {
        let column = |place: usize| -> Vec<_> {
            past.iter().map(|point| of(point).and_then(|q| q.get(place).copied()).map(rounded)).collect()
        };
        QUANTILES.iter().enumerate().map(|(place, name)| ((*name).to_owned(), column(place).into())).collect()
    };
    json!({ "name": name, "with": columns(|point| point.with), "without": columns(|point| point.without) })
}

fn rounded(millis: f32) -> f64 {
    (f64::from(millis) * 100.0).round() / 100.0
}

fn push<T>(past: &mut VecDeque<T>, point: T) {
    past.push_back(point);
    if past.len() > KEPT {
        past.pop_front();
    }
}

/// Adds to each past its point. Nobody begins a past without something `worth` it, or beyond `most`.
fn extend<K: Ord, T>(pasts: &mut BTreeMap<K, VecDeque<T>>, points: BTreeMap<K, T>, most: usize, worth: fn(&T) -> bool) {
    pasts.retain(|key, past| points.contains_key(key) && past.iter().any(worth));
    for (key, point) in points {
        let is_new = !pasts.contains_key(&key);
        if is_new && (pasts.len() >= most || !worth(&point)) {
            continue;
        }
        push(pasts.entry(key).or_default(), point);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(p99: f32) -> RoutePoint {
        RoutePoint { with: Some([1.0, 2.0, p99, 99.125]), without: None }
    }

    fn second(past: &mut Past, time: u64, routes: &[(&str, RoutePoint)]) {
        let routes = routes.iter().map(|(name, point)| ((*name).to_owned(), *point)).collect();
        let key = ("web".to_owned(), "a:1".to_owned());
        let backends = BTreeMap::from([(key, BackendPoint { p99: Some(3.5), state: 0 })]);
        past.add(Point { time, errors: 2, ..Point::default() }, routes, backends);
    }

    #[test]
    fn columns_have_a_value_for_each_second() {
        let mut past = Past::default();
        second(&mut past, 1_000, &[]);
        second(&mut past, 2_000, &[("pages", with(7.0))]);
        let shown = past.view();
        assert_eq!(shown["time_ms"], json!([1_000, 2_000]));
        assert_eq!(shown["errors"], json!([2, 2]));
        assert_eq!(shown["cache"]["hit"], json!([0, 0]));
        assert_eq!(shown["routes"][0]["with"]["p99"], json!([7.0]));
        assert_eq!(shown["routes"][0]["with"]["p999"], json!([99.13]));
        assert_eq!(shown["routes"][0]["without"]["p99"], json!([null]));
        assert_eq!(shown["backends"][0]["p99_ms"], json!([3.5, 3.5]));
        assert_eq!(shown["backends"][0]["states"], json!(["healthy", "healthy"]));
        assert_eq!(past.newest().map(|point| point.view()["errors"].clone()), Some(json!(2)));
    }

    #[test]
    fn nothing_grows_without_end() {
        let mut past = Past::default();
        let many: Vec<String> = (0..ROUTES + 9).map(|n| format!("route-{n}")).collect();
        let many: Vec<(&str, RoutePoint)> = many.iter().map(|name| (name.as_str(), with(1.0))).collect();
        (0..KEPT as u64 + 9).for_each(|time| second(&mut past, time, &many));
        let shown = past.view();
        assert_eq!(shown["time_ms"].as_array().map(Vec::len), Some(KEPT));
        assert_eq!(shown["routes"].as_array().map(Vec::len), Some(ROUTES));
        assert_eq!(shown["routes"][0]["with"]["p50"].as_array().map(Vec::len), Some(KEPT));
    }

    #[test]
    fn a_route_without_traffic_for_all_that_time_is_forgotten() {
        let mut past = Past::default();
        second(&mut past, 0, &[("pages", with(1.0)), ("idle", RoutePoint::default())]);
        (0..KEPT as u64).for_each(|time| second(&mut past, time, &[("pages", RoutePoint::default())]));
        second(&mut past, 9, &[("pages", RoutePoint::default())]);
        assert_eq!(past.view()["routes"], json!([]));
    }
}
