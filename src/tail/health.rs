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

impl Default for Params {
    /// Five failures in a row are no accident; ten seconds outlast a restart; five minutes bound the growth.
    fn default() -> Params {
        Params { consecutive: 5, time: Duration::from_secs(10), max_time: Duration::from_secs(300) }
    }
}
