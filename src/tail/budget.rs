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
