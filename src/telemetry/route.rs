//! What is counted for one route.
//!
//! A hit that the lane sends at once takes as good as no time, and is counted by one addition: whoever reads the
//! histograms adds it to the first bucket of each.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::exemplars::{Exemplar, Exemplars};
use super::histogram::{BUCKETS, Histogram, Reading};
use super::labels::{CacheResult, Method, StatusClass};
use super::names;
use super::recent::Recent;
use super::sample::Latencies;
use super::shards::Sharded;
use super::slow::{Slow, SlowRequest, Slowest};
use super::tally::Tally;
use super::timeline::{Phase, Phases};
use crate::config;
use crate::grpc;
use crate::units::Tick;

const CLASSES: usize = StatusClass::ALL.len();
const INSTANT_CELLS: usize = Method::ALL.len() * CLASSES;
const CELLS: usize = INSTANT_CELLS * CacheResult::ALL.len();

/// What is counted for one route: 16 KiB for each core, what it was at some times of late, and its slowest requests.
#[derive(Debug)]
pub struct RouteMetrics {
    requests: Sharded<Box<[AtomicU64]>>,
    /// Hits that took no time.
    instant: Sharded<Instant>,
    pub(super) rate_limited: Tally,
    /// gRPC calls by their status.
    pub(super) calls: Tally,
    /// Bytes of bodies sent, by what the cache did.
    bytes: Sharded<[AtomicU64; CacheResult::ALL.len()]>,
    pub(super) forwarded: Tally,
    pub(super) collapsed: Tally,
    duration: Histogram,
    first_byte: Histogram,
    pub(super) upstream: Histogram,
    exemplars: Exemplars,
    slowest: Slowest,
    recent: Recent,
    /// Microseconds.
    phases: Sharded<[AtomicU64; Phase::ALL.len()]>,
}

/// Hits that took no time, and the bytes of their bodies.
#[derive(Debug)]
struct Instant {
    requests: [AtomicU64; INSTANT_CELLS],
    bytes: AtomicU64,
}

impl RouteMetrics {
    pub(super) fn new() -> RouteMetrics {
        RouteMetrics {
            requests: Sharded::new(|| (0..CELLS).map(|_| AtomicU64::new(0)).collect()),
            instant: Sharded::new(|| Instant {
                requests: std::array::from_fn(|_| AtomicU64::new(0)),
                bytes: AtomicU64::new(0),
            }),
            bytes: Sharded::default(),
            forwarded: Tally::new(names::FORWARDS),
            collapsed: Tally::new(names::COLLAPSES),
            upstream: Histogram::default(),
            exemplars: Exemplars::default(),
            slowest: Slowest::new(),
            rate_limited: Tally::new(names::RATE_SCOPES),
            calls: Tally::new(grpc::NAMES),
            duration: Histogram::default(),
            first_byte: Histogram::default(),
            recent: Recent::new(),
            phases: Sharded::default(),
        }
    }

    /// Counts a request over a rate; `scope` is one of [`names::RATE_SCOPES`].
    pub fn rate_limited(&self, scope: &str) {
        self.rate_limited.add(scope);
    }

    /// Counts a gRPC call that came to this status.
    pub fn called(&self, status: grpc::Status) {
        self.calls.add(status.as_str());
    }

    /// Counts a request that has ended. `status` is what the client got, 0 if no response was begun; `duration` is
    /// from its head read to its last byte sent.
    pub fn record(&self, method: Method, status: u16, cache: CacheResult, duration: Duration) {
        let cell = cell(method, status) * CacheResult::ALL.len() + cache.index();
        if let Some(count) = self.requests.here().get(cell) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.duration.observe(duration);
        if status != 101 {
            self.recent.record(duration);
        }
    }

    /// Counts a fresh hit that was sent at once, with `bytes` of a body: both its times are zero.
    pub fn record_instant(&self, method: Method, status: u16, bytes: u64) {
        let here = self.instant.here();
        if let Some(count) = here.requests.get(cell(method, status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        here.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of a body sent to a client; `cache` is what the cache did.
    pub fn sent(&self, cache: CacheResult, bytes: u64) {
        if let Some(sum) = self.bytes.here().get(cache.index()) {
            sum.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts a request that the cache did not answer by itself; `why` is one of [`names::FORWARDS`].
    pub fn forwarded(&self, why: &str) {
        self.forwarded.add(why);
    }

    /// Counts a request that waited for another's fetch; `result` is one of [`names::COLLAPSES`].
    pub fn collapsed(&self, result: &str) {
        self.collapsed.add(result);
    }

    /// Counts the time from the first attempt at a backend to the last byte of the answer, or to giving up.
    pub fn upstream(&self, time: Duration) {
        self.upstream.observe(time);
    }

    /// A request that was recorded, and whose trace is kept: an example of its duration. `at` is when it ended.
    pub fn sampled(&self, trace_id: u128, duration: Duration, at: SystemTime) {
        self.exemplars.note(trace_id, duration, at);
    }

    /// Whether a request of this duration is among the slowest.
    pub fn is_slow(&self, duration: Duration) -> bool {
        self.slowest.takes(duration)
    }

    /// Keeps one that is.
    pub fn keep(&self, request: SlowRequest) {
        self.slowest.keep(request);
    }

    /// The slowest requests, and what the slowest hundredth waited for.
    pub fn slow(&self) -> Slow {
        self.slowest.read(self.instant())
    }

    /// Counts the time from a request's head read to its response's head sent.
    pub fn first_byte(&self, time: Duration) {
        self.first_byte.observe(time);
    }

    /// Counts where the time of a request of this duration went.
    pub fn phases(&self, duration: Duration, phases: &Phases) {
        self.slowest.add(duration, phases);
        for ((_, time), sum) in phases.iter().zip(self.phases.here()) {
            if !time.is_zero() {
                sum.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        }
    }

    /// Works out the quantiles of the last minute. To be called once a second.
    pub(super) fn publish(&self, slow: config::Slow, now: Tick) {
        let instant = self.instant();
        self.recent.publish(instant, now);
        self.slowest.turn(slow, instant, now);
    }

    /// Quantiles of durations over the last minute.
    pub fn latencies(&self) -> Latencies {
        self.recent.latencies()
    }

    /// How long requests took.
    pub(super) fn durations(&self) -> Reading {
        self.duration.read().and_instant(self.instant())
    }

    /// How long their first bytes took.
    pub(super) fn first_bytes(&self) -> Reading {
        self.first_byte.read().and_instant(self.instant())
    }

    /// Examples of durations, one for each bucket.
    pub(super) fn exemplars(&self) -> [Option<Exemplar>; BUCKETS] {
        self.exemplars.read()
    }

    /// Bytes of bodies sent, by what the cache did.
    pub(super) fn bytes(&self) -> impl Iterator<Item = (CacheResult, u64)> + '_ {
        CacheResult::ALL.iter().map(|cache| {
            let of = |sums: &[AtomicU64]| sums.get(cache.index()).map_or(0, |sum| sum.load(Ordering::Relaxed));
            let sent: u64 = self.bytes.all().map(|sums| of(sums)).sum();
            let is_hit = *cache == CacheResult::Hit;
            let instant = self.instant.all().filter(|_| is_hit).map(|here| here.bytes.load(Ordering::Relaxed));
            (*cache, sent + instant.sum::<u64>())
        })
    }

    /// Seconds spent in each phase.
    pub(super) fn phase_seconds(&self) -> impl Iterator<Item = (Phase, f64)> + '_ {
        Phase::ALL.iter().enumerate().map(|(place, phase)| {
            let of = |sums: &[AtomicU64]| sums.get(place).map_or(0, |sum| sum.load(Ordering::Relaxed));
            (*phase, self.phases.all().map(|sums| of(sums)).sum::<u64>() as f64 / 1e6)
        })
    }

    /// Every combination of labels that has occurred, with its count.
    pub(super) fn requests(&self) -> impl Iterator<Item = (Method, StatusClass, CacheResult, u64)> + '_ {
        let labels = Method::ALL.iter().flat_map(|method| {
            StatusClass::ALL
                .iter()
                .flat_map(move |class| CacheResult::ALL.iter().map(move |cache| (*method, *class, *cache)))
        });
        labels.enumerate().filter_map(|(cell, (method, class, cache))| {
            let sum = |counts: u64, count: Option<&AtomicU64>| counts + count.map_or(0, |n| n.load(Ordering::Relaxed));
            let mut count = self.requests.all().fold(0, |counts, here| sum(counts, here.get(cell)));
            if cache == CacheResult::Hit {
                let cell = cell / CacheResult::ALL.len();
                count = self.instant.all().fold(count, |counts, here| sum(counts, here.requests.get(cell)));
            }
            (count > 0).then_some((method, class, cache, count))
        })
    }

    fn instant(&self) -> u64 {
        self.instant.all().flat_map(|here| &here.requests).map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn cell(method: Method, status: u16) -> usize {
    method.index() * CLASSES + StatusClass::of(status).index()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_labels_has_its_own_counter() {
        let route = RouteMetrics::new();
        for method in Method::ALL {
            for status in [0, 100, 200, 300, 400, 500] {
                for cache in CacheResult::ALL {
                    route.record(*method, status, *cache, Duration::ZERO);
                }
            }
        }
        assert_eq!(route.requests().count(), CELLS);
        assert!(route.requests().all(|(.., n)| n == 1));
        assert_eq!(route.durations().count, CELLS as u64);
    }

    #[test]
    fn a_count_comes_back_under_the_labels_it_was_made_with() {
        let route = RouteMetrics::new();
        route.record(Method::Post, 503, CacheResult::Bypass, Duration::from_millis(3));
        assert_eq!(
            route.requests().collect::<Vec<_>>(),
            [(Method::Post, StatusClass::ServerError, CacheResult::Bypass, 1)]
        );
    }

    #[test]
    fn a_hit_without_a_time_is_in_every_histogram() {
        let route = RouteMetrics::new();
        route.record_instant(Method::Get, 200, 5);
        route.sent(CacheResult::Hit, 7);
        route.record(Method::Get, 200, CacheResult::Hit, Duration::from_millis(3));
        route.first_byte(Duration::from_millis(2));
        assert_eq!(route.requests().collect::<Vec<_>>(), [(Method::Get, StatusClass::Successful, CacheResult::Hit, 2)]);
        for (reading, sum) in [(route.durations(), 0.003), (route.first_bytes(), 0.002)] {
            assert_eq!((reading.count, reading.sum, reading.buckets[0].1), (2, sum, 1));
        }
        assert!(route.bytes().all(|(cache, bytes)| bytes == if cache == CacheResult::Hit { 12 } else { 0 }));
        let slow = config::Slow { keep: 1, window: Duration::from_secs(60), query: false };
        route.publish(slow, Tick::from_nanos(1));
        let latencies = route.latencies();
        assert_eq!((latencies.count, latencies.p50), (2, Duration::ZERO));
        assert!(latencies.max >= Duration::from_millis(3));
    }
}
