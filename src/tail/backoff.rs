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
