//! How loaded a backend says it is, and what that takes from its share.
//!
//! It knows of work that did not come through here, which neither latency nor requests in flight show until it hurts. But
//! it is a claim: a backend can lie, or have its numbers wrong by a factor. So the claim only scales the weight, and between
//! bounds: whatever it says, a backend has no more than its weight and no less than a fifth of it, and what is measured
//! (latency, requests in flight, ejection) decides as ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::units::Tick;

/// How long a report holds. A backend that is asked reports with every answer; after so long without one its load has
/// changed, not least for want of our requests.
pub const FORGET: Duration = Duration::from_secs(10);

/// A load beyond this counts as this: it leaves a fifth of the weight, enough to hear when the load is gone.
pub const MOST: f64 = 4.0;

/// A load in thousandths: 0 is idle, 1000 is fully used, above is overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load(u16);

impl Load {
    /// A load of `fraction`, in thousandths up to 65.535; `None` if it is negative or no number.
    pub fn new(fraction: f64) -> Option<Load> {
        // The cast saturates.
        (fraction >= 0.0).then_some(Load((fraction * 1e3).round() as u16))
    }

    /// The fraction: 0 is idle, 1 is fully used.
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1e3
    }
}

/// The share of its weight, 1/(1 + [`MOST`]) to 1, that a backend of this load has: `1 / (1 + load)`. With equal latency
/// that is as if its answers cost `1 + load` times as much. Where no backend reports, all have all of it.
pub fn share(load: Option<Load>) -> f64 {
    1.0 / (1.0 + load.map_or(0.0, Load::get).min(MOST))
}

/// What a backend counts with that reports nothing among others that do: zero would draw all to it. Of two in the middle
/// the greater. Allocates only where something is reported.
pub fn median(reports: impl Iterator<Item = Load>) -> Option<Load> {
    let mut reports: Vec<Load> = reports.collect();
    reports.sort_unstable();
    reports.get(reports.len() / 2).copied()
}

/// The last report of a backend and its time, in one word: nobody sees the load of one report with the time of another.
#[derive(Debug, Default)]
pub struct LastLoad(AtomicU64);

/// Bits of the load; above them stand the milliseconds of its time plus one, and 0 is no report.
const LOAD_BITS: u32 = 16;

impl LastLoad {
    /// Notes a report that came at `now`.
    pub fn report(&self, load: Load, now: Tick) {
        let millis = now.as_nanos() / 1_000_000 + 1;
        // Even all nanoseconds of a `Tick` are fewer milliseconds than there are bits.
        self.0.store(millis << LOAD_BITS | u64::from(load.0), Ordering::Relaxed);
    }

    /// The last report, if it still holds at `now`.
    pub fn at(&self, now: Tick) -> Option<Load> {
        let word = self.0.load(Ordering::Relaxed);
        let reported = Tick::from_nanos((word >> LOAD_BITS).checked_sub(1)?.saturating_mul(1_000_000));
        (now.since(reported) < FORGET).then_some(Load((word & u64::from(u16::MAX)) as u16))
    }

    /// Forgets what was reported.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn load(fraction: f64) -> Load {
        Load::new(fraction).unwrap()
    }

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn what_is_no_load_is_none() {
        for bad in [-0.1, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(Load::new(bad), None, "{bad}");
        }
        assert_eq!(load(f64::INFINITY).get(), 65.535);
        assert_eq!([0.0, 0.3, 1.0, 1.7].map(|l| load(l).get()), [0.0, 0.3, 1.0, 1.7]);
    }

    #[test]
    fn the_more_loaded_has_the_smaller_share() {
        assert_eq!([0.0, 1.0, 3.0, 4.0, 60.0].map(|l| share(Some(load(l)))), [1.0, 0.5, 0.25, 0.2, 0.2]);
        assert_eq!(share(None), 1.0);
    }

    #[test]
    fn who_says_nothing_is_like_the_others() {
        let of = |loads: &[f64]| median(loads.iter().map(|&l| load(l))).map(Load::get);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0.9]), Some(0.9));
        assert_eq!(of(&[0.9, 0.1]), Some(0.9));
        assert_eq!(of(&[0.9, 0.1, 0.3]), Some(0.3));
    }

    #[test]
    fn a_report_holds_for_ten_seconds() {
        let last = LastLoad::default();
        assert_eq!(last.at(at(0)), None);
        last.report(load(0.7), at(0));
        assert_eq!(last.at(at(0)), Some(load(0.7)));
        last.report(load(0.5), at(100));
        assert_eq!(last.at(at(10_099)), Some(load(0.5)));
        assert_eq!(last.at(at(10_100)), None);
        last.report(load(0.0), at(20_000));
        assert_eq!(last.at(at(20_001)), Some(load(0.0)));
        last.reset();
        assert_eq!(last.at(at(20_001)), None);
    }

    #[test]
    fn the_end_of_the_clock_is_a_time_like_any_other() {
        let last = LastLoad::default();
        let end = Tick::from_nanos(u64::MAX);
        last.report(load(99.0), end);
        assert_eq!(last.at(end), Some(load(99.0)));
    }

    proptest! {
        #[test]
        fn no_report_draws_all_or_starves(fraction: f64) {
            let share = share(Load::new(fraction));
            prop_assert!((0.2..=1.0).contains(&share), "{share}");
        }
    }
}
