//! What a scrape costs: the metrics page of an edge with 50 routes and 50 backends, every one of which has been busy.
//!
//! To be held against 5 ms, which is what a scrape may take at most; it is made on a thread that serves nothing else meanwhile.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use hedgerow::config;
use hedgerow::telemetry::{
    BackendSample, CacheResult, CacheSample, Course, Dial, Latencies, Method, Metrics, PoolSample, RouteSample, Scrape,
    Timeline,
};
use hedgerow::units::Tick;

const ROUTES: usize = 50;
const BACKENDS: usize = 50;
const POOL: &str = "web";
const SLOW: config::Slow = config::Slow { keep: 20, window: Duration::from_secs(600), query: false };

fn route_name(n: usize) -> String {
    format!("route-{n:02}")
}

fn backend_name(n: usize) -> String {
    format!("10.0.0.{n}:8001")
}

/// Counters in which every series of a busy site exists.
fn busy(traced: bool) -> Metrics {
    let metrics = Metrics::new();
    for n in 0..ROUTES {
        let route = metrics.route(&route_name(n));
        for method in [Method::Get, Method::Head, Method::Post] {
            for status in [200, 302, 404, 503] {
                for cache in [CacheResult::Hit, CacheResult::Miss, CacheResult::Expired, CacheResult::Bypass] {
                    let took = Duration::from_micros(300 * (1 + u64::from(status)));
                    route.record(method, status, cache, took);
                    route.sent(cache, 1000);
                    let course = Course { duration: took, client: took / 2, ..Course::default() };
                    route.phases(took, &Timeline::of(course).phases);
                    if traced {
                        route.sampled(u128::from(status), took, SystemTime::UNIX_EPOCH);
                    }
                }
            }
        }
        route.first_byte(Duration::from_millis(20));
        route.upstream(Duration::from_millis(20));
    }
    let pool = metrics.pool(POOL);
    pool.first_byte(Duration::from_millis(20));
    pool.dialled(Dial { connect: Duration::from_millis(1), tls: Duration::from_millis(2) });
    for n in 0..BACKENDS {
        metrics.backend(POOL, &backend_name(n)).attempt("ok");
    }
    metrics.tick(SLOW, Tick::from_nanos(1));
    metrics
}

fn scrape() -> Scrape {
    let ms = Duration::from_millis;
    let latencies =
        Latencies { count: 900, p50: ms(10), p90: ms(20), p95: ms(25), p99: ms(40), p999: ms(80), max: ms(90) };
    let backend = |n| BackendSample {
        pool: POOL.to_owned(),
        backend: backend_name(n),
        state: "healthy",
        in_flight: 3,
        ewma: Some(ms(11)),
        reported_load: Some(0.4),
        throttle: 0.0,
        late: 0.05,
        with_hedging: latencies,
        without_hedging: latencies,
    };
    let route = |n| RouteSample {
        route: route_name(n),
        delay: Some(ms(25)),
        level: 0.5,
        scale: 1.0,
        with_hedging: latencies,
        without_hedging: latencies,
    };
    let pool = PoolSample {
        pool: POOL.to_owned(),
        ledger: 9.5,
        amplification: Some(1.03),
        limit: Some(400),
        admitted: 120,
        queued: 0,
    };
    Scrape {
        backends: (0..BACKENDS).map(backend).collect(),
        pools: vec![pool],
        routes: (0..ROUTES).map(route).collect(),
        cache: CacheSample::default(),
    }
}

fn page(c: &mut Criterion) {
    for (name, traced) in [("scrape, 50 routes, 50 backends", false), ("the same, with exemplars", true)] {
        let metrics = busy(traced);
        let lines = metrics.render(scrape()).lines().filter(|line| !line.starts_with('#')).count();
        assert!(lines > 10_000, "a busy page has {lines} samples");
        c.bench_function(name, |b| b.iter(|| metrics.render(black_box(scrape())).len()));
    }
}

/// What the publishing task does once a second for all routes.
fn tick(c: &mut Criterion) {
    let metrics = busy(false);
    let mut now = 1;
    c.bench_function("quantiles of 50 routes", |b| {
        b.iter(|| {
            now += 1_000_000_000;
            metrics.tick(SLOW, Tick::from_nanos(now));
        });
    });
}

/// What a hit of the lane is counted by.
fn count(c: &mut Criterion) {
    let metrics = Metrics::new();
    let route = metrics.route("pages");
    c.bench_function("a hit counted", |b| b.iter(|| route.record_instant(black_box(Method::Get), 200, 1000)));
    c.bench_function("a request counted", |b| {
        b.iter(|| route.record(black_box(Method::Get), 200, CacheResult::Miss, Duration::from_millis(20)));
    });
}

criterion_group!(benches, page, tick, count);
criterion_main!(benches);
