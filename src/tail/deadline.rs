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

    /// The earlier of both.
    pub fn earlier(self, other: Deadline) -> Deadline {
        Deadline { end: self.end.min(other.end) }
    }

    /// The end itself.
    pub fn end(self) -> Tick {
        self.end
    }
}

/// Whole milliseconds in decimal, as in `X-Request-Timeout-Ms`; `None` if it is no such number. What no clock can hold is
/// as good as for ever.
pub fn read_millis(value: &[u8]) -> Option<Duration> {
    let digits = value.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    let millis = digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    })?;
    Some(Duration::from_millis(millis))
}

/// The value of gRPC's `grpc-timeout`: 1 to 8 digits and a unit (gRPC over HTTP/2, "Requests"); `None` if it is none.
pub fn read_grpc(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.trim_ascii().split_last()?;
    if !(1..=GRPC_DIGITS).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// `left` in whole milliseconds: rounded down, since who is told more than there is answers too late; but at least 1,
/// since 0 is read as no limit by some.
pub fn show_millis(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The same for `grpc-timeout`, in the finest unit from milliseconds upwards that its digits can hold.
pub fn show_grpc(left: Duration) -> String {
    let (millis, seconds) = (show_millis(left), left.as_secs());
    for (count, unit) in [(millis, 'm'), (seconds, 'S'), (seconds / 60, 'M')] {
        if count <= GRPC_MAX {
            return format!("{count}{unit}");
        }
    }
    format!("{}H", (seconds / 3600).min(GRPC_MAX))
}

/// The most digits of a `grpc-timeout`, and the largest number they make.
const GRPC_DIGITS: usize = 8;
const GRPC_MAX: u64 = 99_999_999;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn the_earlier_of_two_ends_counts() {
        let (short, long) =
            (Deadline::new(Tick::from_nanos(5), Duration::ZERO), Deadline::new(Tick::from_nanos(6), Duration::ZERO));
        assert_eq!((short.earlier(long), long.earlier(short)), (short, short));
    }

    #[test]
    fn milliseconds_are_read_as_they_are_written() {
        assert_eq!(read_millis(b"250"), Some(Duration::from_millis(250)));
        assert_eq!(read_millis(b" 0 "), Some(Duration::ZERO));
        assert_eq!(read_millis(b"99999999999999999999999"), Some(Duration::from_millis(u64::MAX)));
        for bad in ["", " ", "-1", "+1", "1.5", "1e3", "250ms", "0x10", "1 2", "1,2", "inf"] {
            assert_eq!(read_millis(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn grpc_timeouts_are_read_in_every_unit() {
        for (text, nanos) in [
            ("2H", 7_200_000_000_000),
            ("3M", 180_000_000_000),
            ("4S", 4_000_000_000),
            ("5m", 5_000_000),
            ("6u", 6_000),
            ("7n", 7),
            ("0m", 0),
            ("00000001S", 1_000_000_000),
        ] {
            assert_eq!(read_grpc(text.as_bytes()), Some(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(read_grpc(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "5", "5s", "5h", "-5S", "1.5S", "123456789m", "5 S", "5Sm", "\u{b2}S"] {
            assert_eq!(read_grpc(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_left_is_never_shown_as_nothing() {
        assert_eq!(show_millis(Duration::from_micros(1999)), 1);
        assert_eq!(show_millis(Duration::from_micros(20)), 1);
        assert_eq!(show_millis(Duration::MAX), u64::MAX);
        assert_eq!(show_grpc(Duration::from_micros(20)), "1m");
        assert_eq!(show_grpc(Duration::from_millis(99_999_999)), "99999999m");
        assert_eq!(show_grpc(Duration::from_millis(100_000_999)), "100000S");
        assert_eq!(show_grpc(Duration::MAX), "99999999H");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>) {
            let _ = (read_millis(&bytes), read_grpc(&bytes));
        }

        #[test]
        fn what_is_shown_is_read_back_as_no_more_than_there_is(micros in 1000u64..100_000_000_000_000_000) {
            let left = Duration::from_micros(micros);
            let shown = show_grpc(left);
            let read = read_grpc(shown.as_bytes());
            prop_assert!(read.is_some_and(|read| read <= left && read >= left / 2), "{shown} of {left:?}");
            let millis = read_millis(show_millis(left).to_string().as_bytes());
            prop_assert!(millis.is_some_and(|read| read <= left && left - read < Duration::from_millis(1)));
        }
    }
}
