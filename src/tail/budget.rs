//! Extra work as a share of useful work: a token bucket that requests fill and retries drain.

use crate::units::Ratio;

/// A budget's size.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Extra attempts allowed per request.
    pub ratio: Ratio,
    /// Extra attempts per second allowed however few requests come.
    pub min_per_second: f64,
}

impl Default for Params {
    /// A fifth more load at worst, and one a second on a quiet site.
    fn default() -> Params {
        Params { ratio: Ratio::percent(20), min_per_second: 1.0 }
    }
}
