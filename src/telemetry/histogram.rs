//! A histogram of durations that is recorded into without a lock.
//!
//! The exporter's own `Histogram` holds a mutex while it searches its buckets, which all threads would share on
//! every request. Here an observation is two relaxed additions. A scrape may fall between the two, so count and sum
//! can differ by the requests of that instant; the count is made from the buckets and always agrees with them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shards::Sharded;

/// Upper bounds of the buckets, inclusive, in nanoseconds. From half a millisecond, which separates answers from
/// memory from answers from a backend, to a minute; three steps a decade keep the error of an interpolated
/// quantile near a factor of two at worst while a route costs 19 time series.
const BOUNDS_NANOS: [u64; BUCKETS - 1] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    60_000_000_000,
];

/// The bounds and one bucket for what is longer.
pub(super) const BUCKETS: usize = 17;

/// Counts of durations by bucket, and their sum.
#[derive(Debug, Default)]
pub struct Histogram(Sharded<Counts>);

#[derive(Debug, Default)]
struct Counts {
    buckets: [AtomicU64; BUCKETS],
    /// Nanoseconds; wraps after 584 years of waiting.
    sum: AtomicU64,
}

/// What a histogram held at one time, in the form the encoder takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Seconds.
    pub sum: f64,
    /// Observations.
    pub count: u64,
    /// Upper bound in seconds and observations in that bucket alone; the last bound is infinite.
    pub buckets: [(f64, u64); BUCKETS],
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let counts = self.0.here();
        counts.buckets[bucket(duration)].fetch_add(1, Ordering::Relaxed);
        counts.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn read(&self) -> Reading {
        let buckets: [(f64, u64); BUCKETS] = std::array::from_fn(|i| {
            let bound = BOUNDS_NANOS.get(i).map_or(f64::INFINITY, |nanos| *nanos as f64 / 1e9);
            (bound, self.0.all().map(|counts| counts.buckets[i].load(Ordering::Relaxed)).sum())
        });
        let sum = self.0.all().fold(0u64, |sum, counts| sum.wrapping_add(counts.sum.load(Ordering::Relaxed)));
        let count = buckets.iter().map(|(_, n)| n).sum();
        Reading { sum: sum as f64 / 1e9, count, buckets }
    }
}

/// The place of the bucket that a duration is counted in.
pub(super) fn bucket(duration: Duration) -> usize {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    BOUNDS_NANOS.partition_point(|bound| *bound < nanos)
}

impl Reading {
    /// The same with `count` more that took no time.
    pub fn and_instant(mut self, count: u64) -> Reading {
        self.buckets[0].1 += count;
        self.count += count;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket_of(duration: Duration) -> f64 {
        let histogram = Histogram::default();
        histogram.observe(duration);
        let reading = histogram.read();
        assert_eq!(reading.count, 1);
        reading.buckets.iter().find(|(_, n)| *n == 1).unwrap().0
    }

    #[test]
    fn a_duration_equal_to_a_bound_falls_below_it() {
        assert_eq!(bucket_of(Duration::ZERO), 0.0005);
        assert_eq!(bucket_of(Duration::from_millis(1)), 0.001);
        assert_eq!(bucket_of(Duration::from_nanos(1_000_001)), 0.0025);
        assert_eq!(bucket_of(Duration::from_secs(60)), 60.0);
        assert_eq!(bucket_of(Duration::from_secs(61)), f64::INFINITY);
        assert_eq!(bucket_of(Duration::MAX), f64::INFINITY);
    }

    #[test]
    fn bounds_ascend() {
        assert!(BOUNDS_NANOS.is_sorted());
    }

    #[test]
    fn the_sum_is_in_seconds() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(250));
        histogram.observe(Duration::from_millis(1250));
        assert_eq!(histogram.read().sum, 1.5);
    }
}
