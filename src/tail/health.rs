//! When a backend is taken out and let back in.

use std::time::Duration;

/// Passive ejection (from real requests).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Failures in a row that eject; 0 switches passive ejection off.
    pub consecutive: u32,
    /// Time of the first ejection; grows with each relapse.
    pub time: Duration,
    /// The longest ejection.
    pub max_time: Duration,
}
