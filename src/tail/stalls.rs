//! When a body has stalled: learned from how long reads of bodies usually wait.
//!
//! Most reads find their bytes waiting and a few wait long, so the quantile alone says little of what is unusual;
//! ten times that is beyond what the usual pause does. A read that was not waited for to its end is a censored sample, as
//! in `delays.rs`; those that must be waited for, since there is no token for a rescue, keep the estimate honest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::delays::{Delays, WARM};
use crate::units::Tick;

/// How many times the 99th percentile is a stall.
const FACTOR: u32 = 10;

/// Below this a stall is not worth a second request: a lost packet costs as much.
const LEAST: Duration = Duration::from_millis(20);

/// Of the longest wait within the same response, how many times is a stall: a body that comes in steady steps is slow,
/// not stalled.
const OWN: u32 = 2;

/// The waits for the bodies of one route, shared between threads without a lock.
#[derive(Debug)]
pub struct Stalls {
    reads: Delays,
    least: Duration,
    /// Microseconds; zero while too little is known.
    after: AtomicU64,
}

impl Stalls {
    /// Nothing known. A stall is never shorter than `least`, nor than 20 ms.
    pub fn new(least: Duration) -> Stalls {
        Stalls { reads: Delays::new(), least: least.max(LEAST), after: AtomicU64::new(0) }
    }

    /// Bytes came, or the end, after a wait of `waited`.
    pub fn came(&self, waited: Duration) {
        self.reads.answered(waited);
    }

    /// Nothing came within `waited`, and nobody waited any longer.
    pub fn given_up(&self, waited: Duration) {
        self.reads.censored(waited);
    }

    /// Publishes what the last second brought. To be called once a second, by one task.
    pub fn publish(&self, now: Tick) {
        self.reads.publish([0.99; 2], now);
        let known = self.reads.distribution();
        let after = if known.count < WARM { Duration::ZERO } else { (known.p99 * FACTOR).max(self.least) };
        self.after.store(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long a read waits until its body has stalled, where the longest wait of this response so far was
    /// `longest`; `None` while fewer than a hundred reads are known.
    pub fn after(&self, longest: Duration) -> Option<Duration> {
        let after = Duration::from_micros(self.after.load(Ordering::Relaxed));
        (!after.is_zero()).then(|| after.max(longest * OWN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn learned(least: Duration, waits: impl IntoIterator<Item = Duration>) -> Stalls {
        let stalls = Stalls::new(least);
        waits.into_iter().for_each(|wait| stalls.came(wait));
        stalls.publish(at(1));
        stalls
    }

    #[test]
    fn nothing_is_a_stall_before_a_hundred_reads() {
        assert_eq!(learned(MS, vec![MS; 99]).after(Duration::ZERO), None);
        assert!(learned(MS, vec![MS; 100]).after(Duration::ZERO).is_some());
    }

    #[test]
    fn ten_times_the_99th_percentile_and_no_less_than_the_floors() {
        let after = |least, waits| learned(least, waits).after(Duration::ZERO).unwrap();
        assert_eq!(after(2 * MS, vec![Duration::ZERO; 1_000]), 20 * MS);
        assert_eq!(after(50 * MS, vec![Duration::ZERO; 1_000]), 50 * MS);
        let slow = after(2 * MS, vec![30 * MS; 1_000]);
        assert!(slow >= 300 * MS && slow <= 310 * MS, "{slow:?}");
    }

    #[test]
    fn a_body_in_steady_steps_is_not_stalled() {
        let fast = learned(MS, vec![Duration::ZERO; 1_000]);
        assert_eq!(fast.after(9 * MS), Some(20 * MS));
        assert_eq!(fast.after(100 * MS), Some(200 * MS));
    }

    #[test]
    fn stalls_that_were_given_up_do_not_pass_for_short_waits() {
        let stalls = Stalls::new(MS);
        (0..900).for_each(|_| stalls.came(5 * MS));
        // One in ten was rescued after 50 ms, a few had to be waited for.
        (0..90).for_each(|_| stalls.given_up(50 * MS));
        (0..10).for_each(|_| stalls.came(400 * MS));
        stalls.publish(at(1));
        assert!(stalls.after(Duration::ZERO).unwrap() >= 4_000 * MS);
        // Where none had to, only the steady ones are known.
        let rescued = learned(MS, vec![5 * MS; 900]);
        (0..90).for_each(|_| rescued.given_up(50 * MS));
        rescued.publish(at(2));
        assert!(rescued.after(Duration::ZERO).unwrap() <= 52 * MS);
    }

    #[test]
    fn what_was_learned_is_forgotten() {
        let stalls = learned(MS, vec![MS; 200]);
        (1..2_000).for_each(|second| stalls.publish(at(second)));
        assert_eq!(stalls.after(Duration::ZERO), None);
    }
}
