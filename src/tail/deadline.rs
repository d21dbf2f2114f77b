//! Until when a request may take, whatever is tried for it.
//!
//! One end for the whole request, set when its head was read: attempts, waits and retries each get what is left of
//! it. A fresh timeout for each attempt would let three attempts take three times the promised time.

use std::time::Duration;

use crate::units::Tick;

/// The end of a request's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    end: Tick,
}

impl Deadline {
    /// The deadline `timeout` after `start`.
    pub fn new(start: Tick, timeout: Duration) -> Deadline {
        Deadline { end: start + timeout }
    }

    /// What is left at `now`; `None` once it has passed.
    pub fn left(self, now: Tick) -> Option<Duration> {
        let left = self.end.since(now);
        (!left.is_zero()).then_some(left)
    }

    /// `d`, or what is left at `now` if that is less; zero once the deadline has passed.
    pub fn clamp(self, d: Duration, now: Tick) -> Duration {
        d.min(self.end.since(now))
    }

    /// The end itself.
    pub fn end(self) -> Tick {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_shrinks_to_none() {
        let (start, second) = (Tick::from_nanos(5), Duration::from_secs(1));
        let deadline = Deadline::new(start, second);
        assert_eq!(deadline.left(start), Some(second));
        assert_eq!(deadline.left(start + second / 4), Some(second * 3 / 4));
        assert_eq!(deadline.left(start + second), None);
        assert_eq!(deadline.left(start + 2 * second), None);
    }

    #[test]
    fn a_clock_of_an_attempt_ends_with_the_deadline() {
        let (start, second) = (Tick::from_nanos(5), Duration::from_secs(1));
        let deadline = Deadline::new(start, second);
        assert_eq!(deadline.clamp(second / 10, start), second / 10);
        assert_eq!(deadline.clamp(5 * second, start + second / 2), second / 2);
        assert_eq!(deadline.clamp(second, start + 2 * second), Duration::ZERO);
    }

    #[test]
    fn an_endless_timeout_ends_with_the_clock() {
        let deadline = Deadline::new(Tick::from_nanos(5), Duration::MAX);
        assert_eq!(deadline.end(), Tick::from_nanos(u64::MAX));
        assert!(deadline.left(Tick::from_nanos(7)).is_some());
    }
}
