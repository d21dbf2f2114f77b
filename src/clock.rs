//! The only readers of the real clocks.
#![expect(clippy::disallowed_methods, reason = "this is the file the lint points to")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

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

/// The wall clock at a time that has just been: for who has read the monotonic clock and wants to save the other read. May
/// lag behind a wall clock that was set by up to 10 ms.
pub fn wall_at(now: Tick) -> SystemTime {
    /// How long what was read serves, in nanoseconds.
    const SERVES: u64 = 10_000_000;
    /// The wall clock less the monotonic one, in nanoseconds.
    static AHEAD: AtomicU64 = AtomicU64::new(0);
    /// Until when that serves, on the monotonic clock.
    static UNTIL: AtomicU64 = AtomicU64::new(0);
    if now.as_nanos() < UNTIL.load(Ordering::Acquire) {
        let nanos = AHEAD.load(Ordering::Relaxed).saturating_add(now.as_nanos());
        return SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
    }
    let wall = wall();
    let nanos = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let ahead = u64::try_from(nanos).unwrap_or(u64::MAX).saturating_sub(now.as_nanos());
    AHEAD.store(ahead, Ordering::Relaxed);
    UNTIL.store(now.as_nanos().saturating_add(SERVES), Ordering::Release);
    wall
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_the_wall_clock_agree() {
        for _ in 0..3 {
            let (before, at, after) = (wall(), wall_at(now()), wall());
            let slack = Duration::from_millis(20);
            assert!(before - slack <= at && at <= after + slack, "{before:?} {at:?} {after:?}");
        }
    }
}
