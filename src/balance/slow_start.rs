//! How much of its weight a backend has that is new or was let back in.
//!
//! It has an empty cache, cold connections and nothing in flight: to a balancer that counts requests in flight it is
//! the best of all, and a whole pool's traffic would meet it in its first second. Its weight grows evenly over a
//! time instead. (HAProxy and Envoy do so too; nginx sells it. None of them starts from zero: a backend that gets no
//! requests never warms up.)

use std::time::Duration;

use crate::units::Tick;

/// The share of its weight a backend starts with, as in Envoy.
pub const LEAST: f64 = 0.1;

/// The share of its weight, [`LEAST`] to 1, that a backend has at `now` which joined or recovered at `since`, and
/// warms up for `over`. A `since` of `None` is long ago; an `over` of zero switches slow start off.
pub fn factor(since: Option<Tick>, over: Duration, now: Tick) -> f64 {
    match since {
        Some(since) if !over.is_zero() => (now.since(since).as_secs_f64() / over.as_secs_f64()).clamp(LEAST, 1.0),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: Duration = Duration::from_secs(20);

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_weight_grows_from_a_tenth_to_all() {
        let factors = [100, 101, 102, 105, 110, 119, 120, 1_000].map(|s| factor(Some(at(100)), OVER, at(s)));
        assert_eq!(factors, [0.1, 0.1, 0.1, 0.25, 0.5, 0.95, 1.0, 1.0]);
    }

    #[test]
    fn a_backend_that_was_always_there_has_its_whole_weight() {
        assert_eq!(factor(None, OVER, at(0)), 1.0);
    }

    #[test]
    fn no_time_to_warm_up_is_no_slow_start() {
        assert_eq!(factor(Some(at(100)), Duration::ZERO, at(100)), 1.0);
    }

    #[test]
    fn a_start_in_the_future_has_just_begun() {
        assert_eq!(factor(Some(at(100)), OVER, at(50)), LEAST);
    }
}
