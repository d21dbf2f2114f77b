//! How long a backend takes to answer, as one number: the peak-sensitive moving average.
//!
//! A sample above the average replaces it at once; a sample below pulls it down with a time constant, weighed by the
//! time since the last sample (Finagle's `PeakEwma`; tower's and Linkerd's follow it). A plain moving average takes
//! many slow answers to believe in one; here a backend that turns slow is left alone after its first slow answer, and
//! regains trust over seconds.
//!
//! It departs from Finagle in two figures, both found with `tests/balance_sim.rs`, where one of three backends turns
//! ten times slower and back. The time constant is half of Finagle's ten seconds; and each sample has a least weight
//! of 1/32, so that a run of fast answers convinces by its number too. With Finagle's figures a recovered backend had
//! half of its fair share after 8 to 15 s; with these after 4 to 8 s, and while it was slow its share was no higher,
//! since its peers' averages kept less of their own random peaks.
//!
//! Three rules keep the number honest where completed requests alone would not:
//! * It decays when *read*. A backend judged slow gets no requests, so nothing would ever prove it fast again.
//! * A failure never lowers it: [`PeakEwma::observe_failure`] counts at least a penalty, since otherwise the backend
//!   that fails fastest looks best and draws the load.
//! * A request that was cancelled, or is still open, proves only that the answer takes *at least* that long:
//!   [`PeakEwma::raise`] can lift the average and can never lower it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::units::Tick;

/// Time for the weight of what is known to fall to 1/e.
pub const TAU: Duration = Duration::from_secs(5);

/// The least weight of a sample below the average, however soon it follows the last.
pub const LEAST_WEIGHT: f64 = 1.0 / 32.0;

/// A peak-sensitive moving average, shared between threads without a lock.
///
/// Value and time of the last sample share one atomic word, so that no reader sees one without the other: the value
/// as `f32` microseconds (24 significant bits, better than one part in ten million; 1 ns to one hour), the time as
/// `u32` milliseconds. The time wraps after 49.7 days; an average left untouched for exactly that long, within a few
/// `TAU`, is read as if it were recent, and is put right by its next sample.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// An average without a sample.
    pub const fn new() -> PeakEwma {
        PeakEwma(AtomicU64::new(NEVER))
    }

    /// Counts an answer that took `rtt`, ended at `now`.
    pub fn observe(&self, rtt: Duration, now: Tick) {
        let (sample, stamp) = (micros(rtt), millis(now));
        self.update(|last| {
            let Some(last) = last else { return Some(Sample { value: sample, stamp }) };
            if sample >= last.value {
                return Some(Sample { value: sample, stamp });
            }
            let old = recency(last.age(stamp)).min(1.0 - LEAST_WEIGHT);
            let value = f64::from(last.value) * old + f64::from(sample) * (1.0 - old);
            Some(Sample { value: (value as f32).max(sample), stamp: last.later(stamp) })
        });
    }

    /// Counts a failure after `elapsed` as an answer that took at least `penalty`. It never lowers the average.
    ///
    /// A good penalty is several times the pool's p99: enough to send the load elsewhere, not for long if it ends.
    pub fn observe_failure(&self, elapsed: Duration, penalty: Duration, now: Tick) {
        self.raise(elapsed.max(penalty), now);
    }

    /// Lifts the average to `at_least` if it is lower now; else changes nothing.
    pub fn raise(&self, at_least: Duration, now: Tick) {
        let (sample, stamp) = (micros(at_least), millis(now));
        self.update(|last| match last {
            Some(last) if last.decayed(stamp) >= f64::from(sample) => None,
            Some(last) => Some(Sample { value: sample, stamp: last.later(stamp) }),
            None => Some(Sample { value: sample, stamp }),
        });
    }

    /// What an answer costs as far as is known at `now`; `None` when nothing was ever observed.
    ///
    /// Decays towards zero while there are no samples.
    pub fn cost(&self, now: Tick) -> Option<Duration> {
        let last = Sample::unpack(self.0.load(Ordering::Relaxed))?;
        Some(Duration::from_nanos((last.decayed(millis(now)) * 1e3) as u64))
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.0.store(NEVER, Ordering::Relaxed);
    }

    fn update(&self, next: impl Fn(Option<Sample>) -> Option<Sample>) {
        let step = |bits| next(Sample::unpack(bits)).map(Sample::pack);
        // `Err` means that `next` had nothing to change.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }
}

/// The word of an average without a sample; no sample packs to it, as its value is above zero.
const NEVER: u64 = 0;

/// The cheapest and the dearest answer that is told apart, in microseconds.
const LEAST: f32 = 1e-3;
const MOST: f32 = 3.6e9;

/// Threads read the clock before they reach the word, so a stamp may lie a little behind the stored one. A
/// difference in the last minute of the range is such a stamp; any other is time that has passed.
const BEHIND: u32 = u32::MAX - 60_000;

#[derive(Clone, Copy)]
struct Sample {
    value: f32,
    stamp: u32,
}

impl Sample {
    fn pack(self) -> u64 {
        u64::from(self.value.to_bits()) << 32 | u64::from(self.stamp)
    }

    fn unpack(bits: u64) -> Option<Sample> {
        (bits != NEVER).then_some(Sample { value: f32::from_bits((bits >> 32) as u32), stamp: bits as u32 })
    }

    fn age(self, stamp: u32) -> u32 {
        let age = stamp.wrapping_sub(self.stamp);
        if age > BEHIND { 0 } else { age }
    }

    fn later(self, stamp: u32) -> u32 {
        self.stamp.wrapping_add(self.age(stamp))
    }

    fn decayed(self, stamp: u32) -> f64 {
        f64::from(self.value) * recency(self.age(stamp))
    }
}

/// What is left of a weight of one after `millis`.
fn recency(millis: u32) -> f64 {
    (-f64::from(millis) / TAU.as_millis() as f64).exp()
}

fn micros(d: Duration) -> f32 {
    ((d.as_secs_f64() * 1e6) as f32).clamp(LEAST, MOST)
}

fn millis(now: Tick) -> u32 {
    // Truncation is the wrap described above.
    (now.as_nanos() / 1_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn cost(ewma: &PeakEwma, millis: u64) -> f64 {
        ewma.cost(at(millis)).unwrap().as_secs_f64() * 1e3
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= b * 1e-5
    }

    #[test]
    fn nothing_observed_has_no_cost() {
        let ewma = PeakEwma::new();
        assert_eq!(ewma.cost(at(0)), None);
        ewma.observe(MS, at(0));
        assert!(ewma.cost(at(0)).is_some());
        ewma.reset();
        assert_eq!(ewma.cost(at(0)), None);
    }

    #[test]
    fn a_higher_sample_replaces_the_average_at_once() {
        let ewma = PeakEwma::new();
        ewma.observe(10 * MS, at(0));
        ewma.observe(100 * MS, at(1));
        assert!(close(cost(&ewma, 1), 100.0));
    }

    #[test]
    fn a_lower_sample_counts_for_the_time_it_stands_for() {
        let ewma = PeakEwma::new();
        ewma.observe(100 * MS, at(0));
        ewma.observe(10 * MS, at(5_000));
        let e = (-1.0f64).exp();
        assert!(close(cost(&ewma, 5_000), 100.0 * e + 10.0 * (1.0 - e)));
    }

    #[test]
    fn a_run_of_lower_samples_convinces_by_number_and_by_time() {
        let run = |samples: u64, step: u64| {
            let ewma = PeakEwma::new();
            ewma.observe(100 * MS, at(0));
            (1..=samples).for_each(|i| ewma.observe(10 * MS, at(i * step)));
            cost(&ewma, samples * step)
        };
        assert!((run(32, 1) - (10.0 + 90.0 * (31.0f64 / 32.0).powi(32))).abs() < 0.1);
        assert!(close(run(2, 5_000), 10.0 + 90.0 * (-2.0f64).exp()));
    }

    #[test]
    fn an_idle_backend_gets_cheaper_as_it_is_read() {
        let ewma = PeakEwma::new();
        ewma.observe(100 * MS, at(0));
        assert!(close(cost(&ewma, 5_000), 100.0 * (-1.0f64).exp()));
        assert!(cost(&ewma, 30_000) < 0.3);
        assert!(close(cost(&ewma, 0), 100.0), "reading must not write");
    }

    #[test]
    fn a_fast_failure_costs_its_penalty_and_never_lowers() {
        let ewma = PeakEwma::new();
        ewma.observe_failure(MS, 200 * MS, at(0));
        assert!(close(cost(&ewma, 0), 200.0));
        ewma.observe_failure(MS, 50 * MS, at(10));
        assert!(cost(&ewma, 10) > 199.0);
        ewma.observe_failure(500 * MS, 50 * MS, at(20));
        assert!(close(cost(&ewma, 20), 500.0));
    }

    #[test]
    fn a_cancelled_request_only_raises() {
        let ewma = PeakEwma::new();
        ewma.observe(50 * MS, at(0));
        ewma.raise(20 * MS, at(2_500));
        assert!(close(cost(&ewma, 2_500), 50.0 * (-0.5f64).exp()));
        ewma.raise(40 * MS, at(2_500));
        assert!(close(cost(&ewma, 2_500), 40.0));
    }

    #[test]
    fn a_stamp_from_a_slower_thread_is_no_time_at_all() {
        let ewma = PeakEwma::new();
        ewma.observe(100 * MS, at(1_000));
        assert!(close(cost(&ewma, 990), 100.0));
        ewma.observe(10 * MS, at(990));
        assert!(close(cost(&ewma, 1_000), 10.0 + 90.0 * (1.0 - LEAST_WEIGHT)));
    }

    #[test]
    fn the_wrap_of_the_clock_is_passed_without_a_jump() {
        let ewma = PeakEwma::new();
        let wrap = 1u64 << 32;
        ewma.observe(100 * MS, at(wrap - 2_500));
        assert!(close(cost(&ewma, wrap + 2_500), 100.0 * (-1.0f64).exp()));
    }

    #[test]
    fn absurd_durations_are_held_in_range() {
        let ewma = PeakEwma::new();
        ewma.observe(Duration::MAX, at(0));
        assert_eq!(ewma.cost(at(0)).unwrap().as_secs(), 3_600);
        ewma.reset();
        ewma.observe(Duration::ZERO, at(0));
        assert_eq!(ewma.cost(at(0)), Some(Duration::from_nanos(1)));
        assert_eq!(ewma.cost(Tick::from_nanos(u64::MAX)).map(|c| c < MS), Some(true));
    }
}
