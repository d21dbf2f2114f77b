//! How long answers take where some of them were not waited for: the distribution that hedging itself cuts off.
//!
//! A hedged primary that loses is cancelled, and all that is known of it is that it would have taken longer. To leave
//! such attempts out, or to count them as ended when they were cancelled, makes answers look faster than they are;
//! the delay falls, more is hedged, more is cut off. (tower's and other hedges drift so.) Here they are *censored*
//! samples, and quantiles come from the product-limit estimate (Kaplan and Meier, 1958): it is exact below the delay,
//! since nothing is cancelled before it, and beyond it speaks through the few requests that are never hedged
//! (`hedging::Params::held_out`) and stand for all those that were.
//!
//! The window is a ring of five slots of three seconds. A slot lasts longer where there is little traffic, until it
//! holds enough to speak: at one request in two seconds a window of fifteen seconds would know nothing, ever.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use histogram::{AtomicHistogram32, Config, Histogram32};

use crate::units::Tick;

const SLOTS: usize = 5;
/// The least time one slot covers.
const SLOT: Duration = Duration::from_secs(3);
/// The most time one slot covers, however little it holds: older news is none.
const SLOT_MOST: Duration = Duration::from_secs(180);
/// The samples a slot holds at least before the next begins.
const SLOT_LEAST: u32 = 40;

/// Samples below which a quantile is a guess: the fifth largest of a hundred is the 95th percentile.
pub const WARM: u32 = 100;

/// As in `window.rs`: microseconds up to 67 s in buckets at most 1/32 wide.
const BUCKETS: Config = match Config::new(5, 26) {
    Ok(config) => config,
    // Evaluated by the compiler, never at run time.
    Err(_) => panic!("the powers fit each other"),
};

const LONGEST: u64 = (1 << 26) - 1;

/// The quantiles that are published.
const ASKED: [f64; 7] = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0];

/// The distribution as last published. Each time is the upper end of its bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Samples in the window, censored ones too.
    pub count: u32,
    /// Half of the answers take no longer.
    pub p50: Duration,
    /// 75 % take no longer.
    pub p75: Duration,
    /// 90 % take no longer.
    pub p90: Duration,
    /// 95 % take no longer.
    pub p95: Duration,
    /// 99 % take no longer.
    pub p99: Duration,
    /// 99.9 % take no longer.
    pub p999: Duration,
    /// The longest that was waited for.
    pub max: Duration,
    /// The quantiles that were asked for beside these.
    pub asked: [Duration; 2],
}

/// A sliding distribution with censored samples, shared between threads without a lock. About 28 KiB.
#[derive(Debug)]
pub struct Delays {
    slots: [Slot; SLOTS],
    /// The number of the slot that takes samples; its place is this modulo `SLOTS`.
    current: AtomicU64,
    /// When that slot began, in nanoseconds.
    began: AtomicU64,
    count: AtomicU32,
    micros: [AtomicU32; ASKED.len() + 2],
}

#[derive(Debug)]
struct Slot {
    answered: AtomicHistogram32,
    censored: AtomicHistogram32,
    count: AtomicU32,
}

impl Slot {
    fn new() -> Slot {
        Slot {
            answered: AtomicHistogram32::with_config(&BUCKETS),
            censored: AtomicHistogram32::with_config(&BUCKETS),
            count: AtomicU32::new(0),
        }
    }
}

impl Delays {
    /// Nothing known.
    pub fn new() -> Delays {
        Delays {
            slots: std::array::from_fn(|_| Slot::new()),
            current: AtomicU64::new(0),
            began: AtomicU64::new(0),
            count: AtomicU32::new(0),
            micros: Default::default(),
        }
    }

    /// An answer came after `took`.
    pub fn answered(&self, took: Duration) {
        let slot = self.slot();
        // `Err` would be a value out of range, and it is in range.
        let _ = slot.answered.increment(micros(took));
        slot.count.fetch_add(1, Ordering::Relaxed);
    }

    /// After `elapsed` there was no answer, and nobody waited any longer.
    pub fn censored(&self, elapsed: Duration) {
        let slot = self.slot();
        let _ = slot.censored.increment(micros(elapsed));
        slot.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Turns the ring to `now` and publishes what it holds, with these `quantiles` beside the fixed ones. To be called
    /// once a second, by one task.
    pub fn publish(&self, quantiles: [f64; 2], now: Tick) {
        self.turn(now);
        let mut answered = Histogram32::with_config(&BUCKETS);
        let mut censored = Histogram32::with_config(&BUCKETS);
        let mut part = Histogram32::with_config(&BUCKETS);
        for slot in &self.slots {
            // Both fail only for another `Config`, or for 2^32 samples in one bucket: then the slot is left out.
            let _ = slot.answered.load_into(&mut part).and_then(|()| answered.checked_add_assign(&part));
            let _ = slot.censored.load_into(&mut part).and_then(|()| censored.checked_add_assign(&part));
        }
        let wanted = ASKED.iter().copied().chain(quantiles);
        for (to, found) in self.micros.iter().zip(product_limit(&answered, &censored, wanted)) {
            to.store(found, Ordering::Relaxed);
        }
        let total = self.slots.iter().map(|slot| slot.count.load(Ordering::Relaxed)).fold(0u32, u32::saturating_add);
        self.count.store(total, Ordering::Relaxed);
    }

    /// What was last published.
    pub fn distribution(&self) -> Distribution {
        let read = self.micros.each_ref().map(|micros| Duration::from_micros(micros.load(Ordering::Relaxed).into()));
        let [p50, p75, p90, p95, p99, p999, max, one, other] = read;
        Distribution {
            count: self.count.load(Ordering::Relaxed),
            p50,
            p75,
            p90,
            p95,
            p99,
            p999,
            max,
            asked: [one, other],
        }
    }

    fn slot(&self) -> &Slot {
        &self.slots[(self.current.load(Ordering::Relaxed) % SLOTS as u64) as usize]
    }

    fn turn(&self, now: Tick) {
        let began = self.began.load(Ordering::Relaxed);
        let age = now.since(Tick::from_nanos(began));
        let full = self.slot().count.load(Ordering::Relaxed) >= SLOT_LEAST;
        if age < SLOT || (!full && age < SLOT_MOST) {
            return;
        }
        let next = self.current.load(Ordering::Relaxed) + 1;
        let slot = &self.slots[(next % SLOTS as u64) as usize];
        drop(slot.answered.drain());
        drop(slot.censored.drain());
        slot.count.store(0, Ordering::Relaxed);
        self.current.store(next, Ordering::Relaxed);
        self.began.store(now.as_nanos(), Ordering::Relaxed);
    }
}

impl Default for Delays {
    fn default() -> Delays {
        Delays::new()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(LONGEST).min(LONGEST)
}

/// The upper ends, in microseconds, of the buckets where the product-limit estimate reaches each of `quantiles`. Where it
/// never does, since too many were not waited for: of the last bucket with an answer.
fn product_limit(
    answered: &Histogram32,
    censored: &Histogram32,
    quantiles: impl Iterator<Item = f64>,
) -> impl Iterator<Item = u32> {
    let sum = |counts: &[u32]| counts.iter().map(|&count| u64::from(count)).sum::<u64>();
    let mut at_risk = sum(answered.as_slice()) + sum(censored.as_slice());
    let mut surviving = 1.0;
    // The distribution's steps: what share has been answered by the end of which bucket.
    let mut steps: Vec<(f64, u32)> = Vec::new();
    for (bucket, &censored) in answered.iter().zip(censored.as_slice()) {
        if bucket.count() > 0 {
            surviving *= 1.0 - bucket.count() as f64 / at_risk as f64;
            steps.push((1.0 - surviving, u32::try_from(bucket.end()).unwrap_or(u32::MAX)));
        }
        at_risk -= bucket.count() + u64::from(censored);
    }
    quantiles.map(move |quantile| {
        // A hair less, or the half of two would not be reached by the first.
        let reached = steps.iter().find(|(share, _)| *share >= quantile - 1e-9).or(steps.last());
        reached.map_or(0, |(_, end)| *end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn published(delays: &Delays, seconds: u64) -> Distribution {
        delays.publish([0.98, 0.5], at(seconds));
        delays.distribution()
    }

    /// `shown` is `true_value`, or above it by no more than a bucket.
    fn shows(shown: Duration, true_value: Duration) -> bool {
        shown >= true_value && shown.as_secs_f64() <= true_value.as_secs_f64() * (1.0 + 1.0 / 32.0)
    }

    #[test]
    fn nothing_recorded_is_a_count_of_zero() {
        assert_eq!(published(&Delays::new(), 100), Distribution::default());
    }

    #[test]
    fn without_censoring_quantiles_are_those_of_the_samples() {
        let delays = Delays::new();
        (1..=10_000).for_each(|i| delays.answered(i * MS / 100));
        let d = published(&delays, 1);
        assert_eq!(d.count, 10_000);
        for (shown, percent) in
            [(d.p50, 50), (d.p75, 75), (d.p90, 90), (d.p95, 95), (d.p99, 99), (d.asked[0], 98), (d.max, 100)]
        {
            assert!(shows(shown, percent * MS), "{shown:?} {percent}");
        }
    }

    #[test]
    fn cutting_off_what_exceeds_the_delay_does_not_move_the_delay() {
        let (cut, whole) = (Delays::new(), Delays::new());
        for i in 1..=10_000 {
            whole.answered(i * MS / 100);
            // Hedged at 95 ms, lost and cancelled some time later.
            if i > 9_500 { cut.censored(95 * MS + i % 7 * MS) } else { cut.answered(i * MS / 100) }
        }
        assert_eq!(published(&cut, 1).p95, published(&whole, 1).p95);
        assert_eq!(published(&cut, 1).p90, published(&whole, 1).p90);
    }

    #[test]
    fn the_held_out_speak_for_all_that_were_cut_off() {
        let delays = Delays::new();
        (1..=9_000).for_each(|i| delays.answered(i * MS / 100));
        (0..990).for_each(|_| delays.censored(100 * MS));
        // Ten of the thousand slow ones were waited for: half took 300 ms, half a second.
        (0..5).for_each(|_| delays.answered(300 * MS));
        (0..5).for_each(|_| delays.answered(1_000 * MS));
        let d = published(&delays, 1);
        assert!(shows(d.p95, 300 * MS), "{:?}", d.p95);
        assert!(shows(d.p99, 1_000 * MS), "{:?}", d.p99);
    }

    #[test]
    fn where_nobody_waited_the_last_answer_is_all_that_is_known() {
        let delays = Delays::new();
        (0..80).for_each(|_| delays.answered(10 * MS));
        (0..20).for_each(|_| delays.censored(30 * MS));
        assert!(shows(published(&delays, 1).p95, 10 * MS));
    }

    #[test]
    fn old_samples_go_and_a_quiet_window_keeps_a_hundred() {
        let busy = Delays::new();
        for second in 0..60 {
            (0..100).for_each(|_| busy.answered(if second < 30 { 50 * MS } else { 10 * MS }));
            busy.publish([0.98, 0.5], at(second));
        }
        assert!(shows(busy.distribution().p99, 10 * MS));
        let quiet = Delays::new();
        for second in 0..1_000 {
            if second % 2 == 0 {
                quiet.answered(10 * MS);
            }
            quiet.publish([0.98, 0.5], at(second));
        }
        assert!((100..=220).contains(&quiet.distribution().count), "{}", quiet.distribution().count);
    }

    #[test]
    fn samples_of_many_threads_are_all_counted() {
        let delays = Delays::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5_000).for_each(|i| delays.answered(i * MS / 100)));
            }
        });
        assert_eq!(published(&delays, 1).count, 20_000);
    }
}
