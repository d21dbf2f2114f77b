//! The only readers of the real clocks.
#![expect(clippy::disallowed_methods, reason = "this is the file the lint points to")]

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use crate::units::Tick;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The monotonic clock now.
pub fn now() -> Tick {
    Tick::from_nanos(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// The wall clock now: for dates in headers and logs, never for durations.
pub fn wall() -> SystemTime {
    SystemTime::now()
}
