//! How long to wait before another attempt.

use std::time::Duration;

/// Exponential backoff with full jitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Upper end of the first wait.
    pub base: Duration,
    /// Upper end of any wait.
    pub max: Duration,
}

impl Default for Params {
    /// A first wait below what a user notices, a last one well inside any timeout.
    fn default() -> Params {
        Params { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}
