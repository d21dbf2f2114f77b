//! How answers were spread over the last half minute: sliding quantiles.
//!
//! Quantiles are not computed where a request waits for them. A request adds one to one bucket of a log-linear
//! histogram; once a second one task merges the slots of the window, and publishes a few numbers for everyone to
//! read. A sorted reservoir would need a lock, and a digest per request costs more than the request's own
//! bookkeeping; an average hides the tail that this is for.
//!
//! The window is a ring of six slots of five seconds. A new slot begins empty whatever happened in the meantime, so
//! an idle gap empties the window, and the first record after it is seen by the next publication. (tower's rotating
//! histogram reads only the *previous* period, and so is blind after two idle ones.)

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use histogram::{AtomicHistogram32, Bucket, Config, Histogram32};

use crate::units::Tick;

const SLOTS: usize = 6;

/// The time one slot covers.
const SLOT: Duration = Duration::from_secs(5);

/// How far back the window reaches; while its newest slot fills, up to one slot less.
pub const SPAN: Duration = Duration::from_secs(SLOT.as_secs() * SLOTS as u64);

/// Microseconds up to 2^26 (67 s) in buckets at most 1/32 wide: 704 buckets, 2.8 KiB a slot.
const BUCKETS: Config = match Config::new(5, 26) {
    Ok(config) => config,
    // Evaluated by the compiler, never at run time.
    Err(_) => panic!("the powers fit each other"),
};

/// The longest time told apart; longer ones count as this.
const LONGEST: u64 = (1 << 26) - 1;

const ASKED: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 1.0];

/// What the window held when it was last published. Each time is the upper end of its bucket: never below the true
/// value, and above it by at most 1/32 (3.1 %).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Samples in the window. When it is zero so are the times, and mean nothing.
    pub count: u64,
    /// Half of the samples took no longer.
    pub p50: Duration,
    /// 90 % took no longer.
    pub p90: Duration,
    /// 95 % took no longer.
    pub p95: Duration,
    /// 99 % took no longer.
    pub p99: Duration,
    /// 99.9 % took no longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

/// Sliding quantiles of durations, shared between threads without a lock. About 17 KiB.
#[derive(Debug)]
pub struct Window {
    slots: [AtomicHistogram32; SLOTS],
    /// Number of the slot that takes records, counted from the start of the clock; its place is this modulo `SLOTS`.
    current: AtomicU64,
    /// Two places for the published numbers. The one not shown is written, then shown, so that a reader gets the
    /// numbers of one publication unless it sleeps through two.
    published: [Published; 2],
    shown: AtomicUsize,
}

#[derive(Debug, Default)]
struct Published {
    count: AtomicU64,
    micros: [AtomicU64; ASKED.len()],
}

impl Window {
    /// An empty window.
    pub fn new() -> Window {
        Window {
            slots: std::array::from_fn(|_| AtomicHistogram32::with_config(&BUCKETS)),
            current: AtomicU64::new(0),
            published: Default::default(),
            shown: AtomicUsize::new(0),
        }
    }

    /// Counts one duration, to the microsecond. The next publication shows it.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(LONGEST).min(LONGEST);
        let place = self.current.load(Ordering::Relaxed) % SLOTS as u64;
        // `Err` would be a value out of range, and `micros` is in range.
        let _ = self.slots[place as usize].increment(micros);
    }

    /// Turns the ring to `now` and publishes what it holds. To be called once a second, by one task.
    ///
    /// Records since the last call count as made at its time: if that is more than a window ago they are dropped.
    pub fn publish(&self, now: Tick) {
        self.turn(now);
        let mut sum = Histogram32::with_config(&BUCKETS);
        let mut part = Histogram32::with_config(&BUCKETS);
        for slot in &self.slots {
            // Both fail only for another `Config`, or for 2^32 records in one bucket: then the slot is left out.
            let _ = slot.load_into(&mut part).and_then(|()| sum.checked_add_assign(&part));
        }
        let count: u64 = sum.as_slice().iter().map(|&bucket| u64::from(bucket)).sum();
        let mut found: [Option<Bucket>; ASKED.len()] = Default::default();
        let _ = sum.quantile_buckets_into(&ASKED, &mut found);

        let hidden = 1 - self.shown.load(Ordering::Relaxed) % 2;
        let next = &self.published[hidden];
        next.count.store(count, Ordering::Relaxed);
        for (to, bucket) in next.micros.iter().zip(found) {
            to.store(bucket.map_or(0, |bucket| bucket.end()), Ordering::Relaxed);
        }
        self.shown.store(hidden, Ordering::Release);
    }

    /// What was last published: seven loads.
    pub fn quantiles(&self) -> Quantiles {
        let shown = &self.published[self.shown.load(Ordering::Acquire) % 2];
        let [p50, p90, p95, p99, p999, max] =
            shown.micros.each_ref().map(|micros| Duration::from_micros(micros.load(Ordering::Relaxed)));
        Quantiles { count: shown.count.load(Ordering::Relaxed), p50, p90, p95, p99, p999, max }
    }

    /// Empties the slots that `now` leads into, however many were slept through. Time never runs backwards here.
    fn turn(&self, now: Tick) {
        let next = now.as_nanos() / SLOT.as_nanos() as u64;
        let current = self.current.load(Ordering::Relaxed);
        for number in (current + 1..=next).take(SLOTS) {
            drop(self.slots[(number % SLOTS as u64) as usize].drain());
        }
        self.current.fetch_max(next, Ordering::Relaxed);
    }
}

impl Default for Window {
    fn default() -> Window {
        Window::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn published(window: &Window, seconds: u64) -> Quantiles {
        window.publish(at(seconds));
        window.quantiles()
    }

    /// `shown` is `true_value`, or above it by no more than a bucket.
    fn shows(shown: Duration, true_value: Duration) -> bool {
        shown >= true_value && shown.as_secs_f64() <= true_value.as_secs_f64() * (1.0 + 1.0 / 32.0)
    }

    #[test]
    fn nothing_recorded_is_a_count_of_zero() {
        let window = Window::new();
        assert_eq!(window.quantiles(), Quantiles::default());
        assert_eq!(published(&window, 100), Quantiles::default());
    }

    #[test]
    fn quantiles_are_right_to_a_bucket_and_never_low() {
        let window = Window::new();
        (1..=10_000).for_each(|i| window.record(i * MS / 10));
        let q = published(&window, 1);
        assert_eq!(q.count, 10_000);
        for (shown, true_value) in
            [(q.p50, 500 * MS), (q.p90, 900 * MS), (q.p95, 950 * MS), (q.p99, 990 * MS), (q.p999, 999 * MS)]
        {
            assert!(shows(shown, true_value), "{shown:?} {true_value:?}");
        }
        assert!(shows(q.max, 1_000 * MS));
    }

    #[test]
    fn one_sample_is_every_quantile() {
        let window = Window::new();
        window.record(7 * MS);
        let q = published(&window, 3);
        assert_eq!((q.count, q.p50, q.max), (1, q.p999, q.p50));
        assert!(shows(q.p50, 7 * MS));
    }

    #[test]
    fn a_record_leaves_the_window_after_its_span() {
        let window = Window::new();
        window.publish(at(100));
        window.record(7 * MS);
        for second in 100..100 + SPAN.as_secs() - SLOT.as_secs() + 5 {
            assert_eq!(published(&window, second).count, 1, "{second}");
        }
        assert_eq!(published(&window, 100 + SPAN.as_secs()).count, 0);
    }

    #[test]
    fn a_steady_stream_fills_the_window_and_no_more() {
        let window = Window::new();
        for second in 0..600 {
            (0..100).for_each(|_| window.record(10 * MS));
            let count = published(&window, second).count;
            assert!(count <= 3_100 && (second < 30 || count >= 2_500), "{second}: {count}");
        }
    }

    #[test]
    fn an_idle_gap_empties_the_window_and_does_not_wedge_it() {
        for gap in [SPAN.as_secs(), 61, 3_600, 365 * 86_400, u64::MAX / 1_000_000_000 - 100] {
            let window = Window::new();
            (0..50).for_each(|_| window.record(900 * MS));
            assert_eq!(published(&window, 1).count, 50);
            assert_eq!(published(&window, 1 + gap), Quantiles::default(), "{gap}");
            window.record(10 * MS);
            let q = published(&window, 2 + gap);
            assert!(q.count == 1 && shows(q.p99, 10 * MS), "{gap}: {q:?}");
        }
    }

    #[test]
    fn a_clock_that_seems_to_step_back_changes_nothing() {
        let window = Window::new();
        window.publish(at(100));
        window.record(7 * MS);
        assert_eq!(published(&window, 50).count, 1);
        assert_eq!(published(&window, 101).count, 1);
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let window = Window::new();
        window.record(Duration::MAX);
        window.record(Duration::from_secs(3_600));
        let q = published(&window, 1);
        assert_eq!((q.count, q.max), (2, Duration::from_micros(LONGEST)));
        window.record(Duration::ZERO);
        assert_eq!(published(&window, 2).count, 3);
    }

    #[test]
    fn records_of_many_threads_are_all_counted() {
        let window = Window::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|i| window.record(i * MS / 100)));
            }
        });
        assert_eq!(published(&window, 4).count, 20_000);
    }
}
