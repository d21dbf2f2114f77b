//! Whose answers exceed the delay: one backend's share, its peers', and whether it is all of them.
//!
//! Hedging hides a slow backend: its losers are cancelled a little after the delay, so its answers never look worse
//! than that. What cancelling cannot hide is *that* the delay was exceeded: it is known of every primary, at that
//! moment, whatever becomes of it.

use std::sync::atomic::{AtomicU32, Ordering};

/// The weight of one primary among all before it.
const WEIGHT: f32 = 1.0 / 5.0;

/// Above this share of primaries late at the middle one of its backends a pool is slow as a whole.
pub const ALL_SLOW: f32 = 0.3;

/// The share of one backend's last primaries that exceeded the delay, shared between threads without a lock.
#[derive(Debug)]
pub struct Exceedance(AtomicU32);

impl Exceedance {
    /// None has.
    pub const fn new() -> Exceedance {
        Exceedance(AtomicU32::new(0))
    }

    /// A primary exceeded the delay, or was answered within it.
    pub fn observe(&self, exceeded: bool) {
        let sample = if exceeded { 1.0 } else { 0.0 };
        let next = |bits| {
            let share = f32::from_bits(bits);
            Some((share + (sample - share) * WEIGHT).to_bits())
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The share, 0 to 1.
    pub fn share(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Default for Exceedance {
    fn default() -> Exceedance {
        Exceedance::new()
    }
}

/// The mean of the peers' shares; nothing without peers.
pub fn mean(shares: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = shares.fold((0.0, 0u16), |(sum, count), share| (sum + share, count.saturating_add(1)));
    if count == 0 { 0.0 } else { sum / f32::from(count) }
}

/// Whether more than half of the backends, by their shares, are slow. One slow backend of three is that backend's
/// fault and the others' business; two are nobody's to help.
pub fn all_slow(shares: impl Iterator<Item = f32>) -> bool {
    let (slow, all) = shares.fold((0u32, 0u32), |(slow, all), share| (slow + u32::from(share > ALL_SLOW), all + 1));
    2 * slow > all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: &[bool]) -> f32 {
        let exceedance = Exceedance::new();
        samples.iter().for_each(|&exceeded| exceedance.observe(exceeded));
        exceedance.share()
    }

    #[test]
    fn the_share_follows_the_last_few() {
        assert_eq!(after(&[]), 0.0);
        assert!(after(&[true; 2]) > ALL_SLOW, "two in a row");
        assert!(after(&[true, true, false]) < ALL_SLOW);
        assert!(after(&[true; 40]) > 0.99);
        assert!(after(&[&[true; 40][..], &[false; 20][..]].concat()) < 0.1);
    }

    #[test]
    fn one_slow_backend_of_three_is_not_all_of_them() {
        assert!(!all_slow([0.9, 0.0, 0.0].into_iter()));
        assert!(all_slow([0.9, 0.8, 0.0].into_iter()));
        assert!(!all_slow([0.9, 0.0].into_iter()));
        assert!(all_slow([0.9].into_iter()));
        assert!(!all_slow([].into_iter()));
    }

    #[test]
    fn the_mean_of_nobody_is_nothing() {
        assert_eq!(mean([].into_iter()), 0.0);
        assert_eq!(mean([0.2, 0.4].into_iter()), 0.3);
    }
}
