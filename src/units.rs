//! Values with a unit and a range: what cannot be written down wrongly need not be checked later.

use std::fmt;
use std::time::Duration;

/// A point on the process's monotonic clock, in nanoseconds since the process started.
///
/// Policy takes it as an argument (`now`); only `clock.rs` makes one from the real clock, simulators and tests
/// make their own. It fits an atomic, which `std::time::Instant` does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The tick `nanos` nanoseconds after the process's start.
    pub const fn from_nanos(nanos: u64) -> Tick {
        Tick(nanos)
    }

    /// Nanoseconds since the process's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point in time so long after it.
    pub const fn after(self, time: Duration) -> Tick {
        let nanos = time.as_nanos();
        Tick(self.0.saturating_add(if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }))
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Tick {
    type Output = Tick;

    /// Saturates at the end of the clock (584 years).
    fn add(self, d: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A share of a whole, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Ratio = Ratio(0.0);
    /// The whole.
    pub const ONE: Ratio = Ratio(1.0);

    /// A ratio from a fraction; `None` outside 0 to 1 or for NaN.
    pub fn new(fraction: f64) -> Option<Ratio> {
        (0.0..=1.0).contains(&fraction).then_some(Ratio(fraction))
    }

    /// A ratio from whole per cent, capped at 100.
    pub const fn percent(percent: u8) -> Ratio {
        let percent = if percent > 100 { 100 } else { percent };
        Ratio(percent as f64 / 100.0)
    }

    /// A ratio from whole thousandths; `None` above the whole.
    pub const fn permille(permille: u16) -> Option<Ratio> {
        if permille > 1000 { None } else { Some(Ratio(permille as f64 / 1000.0)) }
    }

    /// The fraction, 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0 * 100.0)
    }
}

/// A backend's share relative to its peers, 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// What a backend weighs when nothing is said.
    pub const DEFAULT: Weight = Weight(1);
    /// The largest weight.
    pub const MAX: u16 = 1000;

    /// A weight; `None` outside 1 to 1000.
    pub fn new(weight: u16) -> Option<Weight> {
        (1..=Weight::MAX).contains(&weight).then_some(Weight(weight))
    }

    /// The weight, 1 to 1000.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Weight::DEFAULT
    }
}
