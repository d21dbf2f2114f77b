//! A token bucket as one number, the time at which it will be full again: the generic cell rate algorithm (ITU-T I.371,
//! where that time is the theoretical arrival time). A token is an interval of time; to take one is to put that time off
//! by an interval, and what lies between now and then is what is missing. Nothing has to be refilled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::units::Tick;

/// So many requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests, 1 to [`Rate::MAX`].
    pub count: u32,
    /// The time for so many.
    pub per: Per,
}

/// The times that rates are given for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

/// A rate, and how much of it may be saved up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How fast tokens come.
    pub rate: Rate,
    /// The most there may be: requests that are admitted at once after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    /// The most requests that a rate can name.
    pub const MAX: u32 = 1_000_000;

    /// One second's worth of requests, rounded up.
    pub const fn in_a_second(self) -> u32 {
        self.count.div_ceil(self.per.seconds())
    }
}

impl Per {
    /// Its length in seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3600,
        }
    }
}

/// The arithmetic of buckets of one quota. All is in nanoseconds on the clock of [`Tick`], and a bucket that was never
/// used is 0: it has been full since then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gcra {
    /// From one token to the next.
    interval: u64,
    /// From empty to full.
    depth: u64,
}

impl Gcra {
    pub(super) fn new(quota: Quota) -> Gcra {
        let interval = u64::from(quota.rate.per.seconds()) * 1_000_000_000 / u64::from(quota.rate.count.max(1));
        let interval = interval.max(1);
        Gcra { interval, depth: interval.saturating_mul(quota.burst.max(1).into()) }
    }

    /// The bucket after one token was taken at `now`, or how long it takes until there is one.
    pub(super) fn take(self, full_at: u64, now: Tick) -> Result<u64, Duration> {
        let now = now.as_nanos();
        let after = full_at.max(now).saturating_add(self.interval);
        match (after - now).checked_sub(self.depth) {
            None | Some(0) => Ok(after),
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }

    /// Whole tokens in the bucket at `now`, and how long it takes until there is one more; zero when it is full.
    pub(super) fn left(self, full_at: u64, now: Tick) -> (u64, Duration) {
        let missing = full_at.saturating_sub(now.as_nanos());
        let there = self.depth.saturating_sub(missing);
        let left = there / self.interval;
        let next = missing.saturating_sub(self.depth.saturating_sub((left + 1).saturating_mul(self.interval)));
        (left, Duration::from_nanos(next))
    }
}

/// One bucket, shared between threads without a lock.
#[derive(Debug, Default)]
pub(super) struct TokenBucket(AtomicU64);

impl TokenBucket {
    /// Takes a token; gives the bucket as it then is, or the wait for the next one.
    pub(super) fn take(&self, gcra: Gcra, now: Tick) -> Result<u64, Duration> {
        let mut full_at = self.0.load(Ordering::Relaxed);
        loop {
            let after = gcra.take(full_at, now)?;
            match self.0.compare_exchange_weak(full_at, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(after),
                Err(other) => full_at = other,
            }
        }
    }

    /// Puts a token back that was taken for nothing.
    pub(super) fn give_back(&self, gcra: Gcra) {
        // Each was taken before, so that there is no less than this.
        self.0.fetch_sub(gcra.interval, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn quota(count: u32, per: Per, burst: u32) -> Quota {
        Quota { rate: Rate { count, per }, burst }
    }

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(nanos)
    }

    #[test]
    fn a_burst_is_admitted_and_then_the_rate() {
        let (bucket, gcra) = (TokenBucket::default(), Gcra::new(quota(20, Per::Second, 40)));
        for n in 0..40 {
            let full_at = bucket.take(gcra, at(0)).unwrap();
            assert_eq!(gcra.left(full_at, at(0)), (39 - n, Duration::from_millis(50)));
        }
        assert_eq!(bucket.take(gcra, at(0)), Err(Duration::from_millis(50)));
        assert_eq!(bucket.take(gcra, at(SECOND / 20 - 1)), Err(Duration::from_nanos(1)));
        let admitted = (1..=20_000).filter(|ms| bucket.take(gcra, at(ms * SECOND / 1000)).is_ok()).count();
        assert_eq!(admitted, 400, "20 seconds of 20 a second, however many were refused");
    }

    #[test]
    fn a_steady_client_at_its_rate_is_never_refused() {
        for (count, per) in [(1, Per::Second), (7, Per::Second), (1_000_000, Per::Second), (100, Per::Minute)] {
            let (bucket, gcra) = (TokenBucket::default(), Gcra::new(quota(count, per, 1)));
            let apart = (u64::from(per.seconds()) * SECOND).div_ceil(count.into());
            for n in 0..1000 {
                assert!(bucket.take(gcra, at(5 + n * apart)).is_ok(), "{count} per {per:?}, request {n}");
            }
        }
    }

    #[test]
    fn a_second_holds_at_least_one() {
        let worth = |count, per| Rate { count, per }.in_a_second();
        assert_eq!((worth(20, Per::Second), worth(100, Per::Minute), worth(5000, Per::Hour)), (20, 2, 2));
        assert_eq!((worth(60, Per::Minute), worth(1, Per::Hour)), (1, 1));
    }

    #[test]
    fn what_is_left_says_when_there_is_more() {
        let gcra = Gcra::new(quota(60, Per::Minute, 3));
        assert_eq!(gcra.left(0, at(9)), (3, Duration::ZERO));
        let once = gcra.take(0, at(SECOND)).unwrap();
        assert_eq!(gcra.left(once, at(SECOND)), (2, Duration::from_secs(1)));
        assert_eq!(gcra.left(once, at(SECOND + SECOND / 4)), (2, Duration::from_millis(750)));
        assert_eq!(gcra.left(once, at(2 * SECOND)), (3, Duration::ZERO));
    }

    #[test]
    fn what_is_given_back_was_never_taken() {
        let (bucket, gcra) = (TokenBucket::default(), Gcra::new(quota(2, Per::Second, 2)));
        for _ in 0..5 {
            bucket.take(gcra, at(7)).unwrap();
            bucket.give_back(gcra);
        }
        assert_eq!(gcra.left(bucket.0.into_inner(), at(7)), (2, Duration::ZERO));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away() {
        let (bucket, gcra) = (TokenBucket::default(), Gcra::new(quota(10, Per::Second, 2)));
        let now = 10 * SECOND;
        assert!(bucket.take(gcra, at(now)).is_ok());
        assert!(bucket.take(gcra, at(now)).is_ok());
        assert_eq!(bucket.take(gcra, at(now - 5)), Err(Duration::from_nanos(SECOND / 10 + 5)));
        assert!(bucket.take(gcra, at(now + SECOND / 10)).is_ok());
    }

    proptest! {
        #[test]
        fn no_number_overflows_and_a_wait_is_exact(
            count in 1..=Rate::MAX, burst in 1..=Rate::MAX, hours in any::<bool>(), full_at: u64, now: u64,
        ) {
            let gcra = Gcra::new(quota(count, if hours { Per::Hour } else { Per::Second }, burst));
            let (left, next) = gcra.left(full_at, at(now));
            match gcra.take(full_at, at(now)) {
                Ok(after) => {
                    prop_assert!(left > 0 || after == u64::MAX);
                    prop_assert!(after > full_at || after == u64::MAX);
                }
                Err(wait) => {
                    prop_assert!(left == 0 && !wait.is_zero() && next == wait || full_at.max(now) > u64::MAX - gcra.interval);
                    let then = at(now) + wait;
                    prop_assert!(gcra.take(full_at, then).is_ok() || then == at(u64::MAX));
                }
            }
        }

        #[test]
        fn no_span_admits_more_than_its_rate_and_a_burst(
            count in 1..2000u32, burst in 1..100u32, gaps in prop::collection::vec(0..20_000_000u64, 1..400),
        ) {
            let (bucket, gcra) = (TokenBucket::default(), Gcra::new(quota(count, Per::Second, burst)));
            let (mut now, mut admitted) = (0, 0u64);
            for gap in gaps {
                now += gap;
                admitted += u64::from(bucket.take(gcra, at(now)).is_ok());
                prop_assert!(admitted <= u64::from(burst) + now / gcra.interval);
            }
        }
    }
}
