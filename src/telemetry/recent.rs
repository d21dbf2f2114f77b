//! How long requests took of late: quantiles over a sliding minute, finer than a histogram that is scraped.
//!
//! A request adds one to one bucket of its thread's own histogram, which only grows. Once a second one task adds these
//! up, and takes from the sum what it was a minute ago: nothing is ever emptied, so nothing is lost between two tasks.

use std::collections::VecDeque;
use std::time::Duration;

use histogram::{AtomicHistogram, Bucket, Config, Histogram};
use parking_lot::Mutex;

use super::sample::Latencies;
use super::shards::Sharded;
use super::sparse::Sparse;
use crate::units::Tick;

/// The sum is remembered once in so long.
const SLOT: Duration = Duration::from_secs(5);

/// The window in slots: a minute; while the newest one fills, up to one slot less.
const SLOTS: u64 = 12;

/// As in `tail/window.rs`: microseconds up to 67 s in buckets at most 1/32 wide. 5.5 KiB each.
const BUCKETS: Config = match Config::new(5, 26) {
    Ok(config) => config,
    // Evaluated by the compiler, never at run time.
    Err(_) => panic!("the powers fit each other"),
};

const LONGEST: u64 = (1 << 26) - 1;

const ASKED: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 1.0];

/// Durations of the last minute.
#[derive(Debug)]
pub(super) struct Recent {
    counts: Sharded<AtomicHistogram>,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// What the sum was when each slot began, by the slot's number; the oldest first.
    marks: VecDeque<(u64, Sparse)>,
    latencies: Latencies,
}

impl Recent {
    /// Nothing known.
    pub(super) fn new() -> Recent {
        Recent { counts: Sharded::new(|| AtomicHistogram::with_config(&BUCKETS)), past: Mutex::default() }
    }

    /// Counts one duration, to the microsecond; what is longer than 67 s counts as that.
    pub(super) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        // `Err` would be a value out of range, and it is in range.
        let _ = self.counts.here().increment(micros);
    }

    /// Works out the quantiles, with `instant` more that have taken no time since the start. To be called once a second.
    pub(super) fn publish(&self, instant: u64, now: Tick) {
        let mut sum = Histogram::with_config(&BUCKETS);
        let mut part = Histogram::with_config(&BUCKETS);
        for counts in self.counts.all() {
            // Both fail only for another `Config`, or for 2^64 samples in one bucket.
            let _ = counts.load_into(&mut part).and_then(|()| sum.checked_add_assign(&part));
        }
        let _ = sum.add(0, instant);
        let slot = now.as_nanos() / SLOT.as_nanos() as u64;
        let mut past = self.past.lock();
        if past.marks.is_empty() {
            // Whatever came before is news.
            past.marks.push_back((slot, Sparse::default()));
        }
        // What came while nobody looked is older than it is known to be.
        if past.marks.back().is_some_and(|(newest, _)| *newest < slot) {
            past.marks.push_back((slot, Sparse::of(sum.as_slice())));
        }
        while past.marks.len() > 1 && past.marks.front().is_some_and(|(oldest, _)| oldest + SLOTS <= slot) {
            past.marks.pop_front();
        }
        let mut lately = sum;
        if let Some((_, before)) = past.marks.front() {
            before.take_from(lately.as_mut_slice());
        }
        let mut found: [Option<Bucket>; ASKED.len()] = Default::default();
        let _ = lately.quantile_buckets_into(&ASKED, &mut found);
        // The first bucket ends where it begins: what took no time is exact.
        let [p50, p90, p95, p99, p999, max] =
            found.map(|bucket| Duration::from_micros(bucket.map_or(0, |bucket| bucket.end())));
        let count = lately.as_slice().iter().sum();
        past.latencies = Latencies { count, p50, p90, p95, p99, p999, max };
    }

    /// What was last worked out.
    pub(super) fn latencies(&self) -> Latencies {
        self.past.lock().latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn published(recent: &Recent, instant: u64, seconds: u64) -> Latencies {
        recent.publish(instant, at(seconds));
        recent.latencies()
    }

    /// `shown` is `true_value`, or above it by no more than a bucket.
    fn shows(shown: Duration, true_value: Duration) -> bool {
        shown >= true_value && shown.as_secs_f64() <= true_value.as_secs_f64() * (1.0 + 1.0 / 32.0)
    }

    #[test]
    fn quantiles_are_right_to_a_bucket_and_never_low() {
        let recent = Recent::new();
        assert_eq!(published(&recent, 0, 1), Latencies::default());
        (1..=10_000).for_each(|i| recent.record(i * MS / 10));
        let q = published(&recent, 0, 2);
        assert_eq!(q.count, 10_000);
        for (shown, permille) in [(q.p50, 500), (q.p90, 900), (q.p95, 950), (q.p99, 990), (q.p999, 999), (q.max, 1_000)]
        {
            assert!(shows(shown, permille * MS), "{shown:?} {permille}");
        }
    }

    #[test]
    fn what_takes_no_time_weighs_as_much_as_what_does() {
        let recent = Recent::new();
        (0..10).for_each(|_| recent.record(20 * MS));
        let q = published(&recent, 990, 1);
        assert_eq!((q.count, q.p50, q.p95), (1_000, Duration::ZERO, Duration::ZERO));
        assert!(shows(q.p999, 20 * MS));
        // A minute on only the newer ones count.
        assert_eq!(published(&recent, 990, 100).count, 0);
        assert_eq!(published(&recent, 995, 101).count, 5);
    }

    #[test]
    fn a_steady_stream_fills_the_window_and_no_more() {
        let recent = Recent::new();
        for second in 0..300 {
            let q = published(&recent, 0, second);
            assert!(q.count <= 6_000 && (second < 60 || q.count >= 5_500), "{second}: {}", q.count);
            (0..100).for_each(|_| recent.record(10 * MS));
        }
    }

    #[test]
    fn an_idle_gap_empties_the_window_and_does_not_wedge_it() {
        for gap in [60, 61, 3_600, 365 * 86_400] {
            let recent = Recent::new();
            (0..50).for_each(|_| recent.record(900 * MS));
            assert_eq!(published(&recent, 0, 1).count, 50);
            assert_eq!(published(&recent, 0, 1 + gap), Latencies::default(), "{gap}");
            recent.record(10 * MS);
            let q = published(&recent, 0, 2 + gap);
            assert!(q.count == 1 && shows(q.p99, 10 * MS), "{gap}: {q:?}");
        }
    }

    #[test]
    fn a_clock_that_seems_to_step_back_changes_nothing() {
        let recent = Recent::new();
        published(&recent, 0, 100);
        recent.record(7 * MS);
        assert_eq!(published(&recent, 0, 50).count, 1);
        assert_eq!(published(&recent, 0, 101).count, 1);
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let recent = Recent::new();
        recent.record(Duration::MAX);
        assert_eq!(published(&recent, 0, 1).max, Duration::from_micros(LONGEST));
    }
}
