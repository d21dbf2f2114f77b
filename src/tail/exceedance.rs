//! Whose answers exceed the delay: one backend's share, its peers', and whether it is the whole pool.
//!
//! Hedging hides a slow backend: its losers are cancelled a little after the delay, so its answers never look worse
//! than that. What cancelling cannot hide is *that* the delay was exceeded: it is known of every primary, at that
//! moment, whatever becomes of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::units::Tick;

/// The weight of one primary among all of a backend's before it.
const OF_ONE: f32 = 1.0 / 5.0;
/// The weight of one primary among all of a pool's before it.
const OF_ALL: f32 = 1.0 / 16.0;

/// A share that no primary has confirmed for this long counts half: who is avoided is not known to be slow still.
const HALF_LIFE: Duration = Duration::from_secs(1);

/// Above this share of late primaries a pool is slow as a whole. One slow backend cannot bring that about, as its share
/// of the requests falls with its first late ones.
const ALL_SLOW: f32 = 0.5;

/// The share of the last primaries that exceeded the delay, shared between threads without a lock: an `f32`, and the
/// time of the last one in milliseconds, which wraps after 49 days, in one word.
#[derive(Debug)]
pub struct Exceedance {
    word: AtomicU64,
    weight: f32,
}

impl Exceedance {
    /// None of one backend's has.
    pub const fn new() -> Exceedance {
        Exceedance { word: AtomicU64::new(0), weight: OF_ONE }
    }

    /// None of a pool's has.
    pub const fn of_all() -> Exceedance {
        Exceedance { word: AtomicU64::new(0), weight: OF_ALL }
    }

    /// A primary exceeded the delay, or was answered within it.
    pub fn observe(&self, exceeded: bool, now: Tick) {
        let sample = if exceeded { 1.0 } else { 0.0 };
        let next = |word| {
            let share = decayed(word, now);
            Some(pack(share + (sample - share) * self.weight, now))
        };
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The share at `now`, 0 to 1.
    pub fn share(&self, now: Tick) -> f32 {
        decayed(self.word.load(Ordering::Relaxed), now)
    }

    /// Whether the share is that of a pool that is slow as a whole.
    pub fn is_all_slow(&self, now: Tick) -> bool {
        self.share(now) > ALL_SLOW
    }
}

impl Default for Exceedance {
    fn default() -> Exceedance {
        Exceedance::new()
    }
}

fn millis(now: Tick) -> u32 {
    (now.as_nanos() / 1_000_000) as u32
}

fn pack(share: f32, now: Tick) -> u64 {
    u64::from(share.to_bits()) << 32 | u64::from(millis(now))
}

fn decayed(word: u64, now: Tick) -> f32 {
    let share = f32::from_bits((word >> 32) as u32);
    let age = millis(now).wrapping_sub(word as u32);
    // Threads read the clock before they come here: what seems long ago may be a moment ahead.
    if age > u32::MAX / 2 { share } else { share * (-(age as f32) / HALF_LIFE.as_millis() as f32).exp2() }
}

/// The mean of the peers' shares; nothing without peers.
pub fn mean(shares: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = shares.fold((0.0, 0u16), |(sum, count), share| (sum + share, count.saturating_add(1)));
    if count == 0 { 0.0 } else { sum / f32::from(count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn after(exceedance: Exceedance, samples: &[bool]) -> f32 {
        samples.iter().for_each(|&exceeded| exceedance.observe(exceeded, at(5)));
        exceedance.share(at(5))
    }

    #[test]
    fn the_share_follows_the_last_few() {
        assert_eq!(after(Exceedance::new(), &[]), 0.0);
        assert!(after(Exceedance::new(), &[true; 2]) > 0.3);
        assert!(after(Exceedance::new(), &[true; 40]) > 0.99);
        assert!(after(Exceedance::new(), &[&[true; 40][..], &[false; 20][..]].concat()) < 0.1);
    }

    #[test]
    fn a_pool_is_slow_when_most_of_its_primaries_are_late() {
        let of_all = |samples: &[bool]| after(Exceedance::of_all(), samples) > ALL_SLOW;
        assert!(of_all(&[true; 11]));
        assert!(!of_all(&[true; 10]));
        let one_in_five: Vec<bool> = (0..100).map(|i| i % 5 == 0).collect();
        assert!(!of_all(&one_in_five));
    }

    #[test]
    fn what_nothing_confirms_fades() {
        let exceedance = Exceedance::new();
        (0..40).for_each(|_| exceedance.observe(true, at(1_000)));
        let [now, second, ten] = [1_000, 2_000, 11_000].map(|millis| exceedance.share(at(millis)));
        assert!(now > 0.99 && (0.49..0.51).contains(&second) && ten < 0.01, "{now} {second} {ten}");
        assert!(exceedance.share(at(999)) > 0.99, "a clock a moment behind");
    }

    #[test]
    fn the_mean_of_nobody_is_nothing() {
        assert_eq!(mean([].into_iter()), 0.0);
        assert_eq!(mean([0.2, 0.4].into_iter()), 0.3);
    }
}
