//! What was counted in each of the last seconds: rates and shares steady enough to be read.

use std::collections::VecDeque;

use crate::telemetry::{Counts, PoolCounts};
use crate::units::Tick;

/// Seconds that a rate covers.
const SPAN: usize = 10;

/// The last seconds; at least one moment is known once one was added.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The oldest first.
    moments: VecDeque<(Tick, Counts)>,
    /// Before the first moment.
    none: Counts,
}

impl Recent {
    /// Adds what was counted up to `now`.
    pub(super) fn add(&mut self, now: Tick, counts: Counts) {
        self.moments.push_back((now, counts));
        if self.moments.len() > SPAN + 1 {
            self.moments.pop_front();
        }
    }

    /// What had been counted when the span began.
    pub(super) fn oldest(&self) -> &Counts {
        self.moments.front().map_or(&self.none, |(_, counts)| counts)
    }

    /// What had been counted at the last moment.
    pub(super) fn newest(&self) -> &Counts {
        self.moments.back().map_or(&self.none, |(_, counts)| counts)
    }

    /// How many of something come in a second, whose sum `of` reads.
    pub(super) fn rate(&self, of: impl Fn(&Counts) -> f64) -> f64 {
        let ends = self.moments.front().zip(self.moments.back());
        let span = ends.map_or(0.0, |((first, _), (last, _))| last.since(*first).as_secs_f64());
        if span > 0.0 { (of(self.newest()) - of(self.oldest())).max(0.0) / span } else { 0.0 }
    }

    /// What a pool did in the span.
    pub(super) fn pool(&self, name: &str) -> PoolCounts {
        let of = |counts: &Counts| counts.pools.get(name).copied().unwrap_or_default();
        of(self.newest()).since(&of(self.oldest()))
    }

    /// Of a pool's attempts in the span those at this backend, 0 to 1; `None` without attempts.
    pub(super) fn share(&self, pool: &str, backend: &str) -> Option<f64> {
        let key = (pool.to_owned(), backend.to_owned());
        let of = |counts: &Counts| counts.backends.get(&key).copied().unwrap_or_default();
        let own = of(self.newest()).saturating_sub(of(self.oldest()));
        let all = self.pool(pool).attempts;
        (all > 0).then(|| own as f64 / all as f64)
    }

    /// How long the span is, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        let ends = self.moments.front().zip(self.moments.back());
        ends.map_or(0.0, |((first, _), (last, _))| last.since(*first).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(errors: u64, attempts: [u64; 2]) -> Counts {
        let mut counts = Counts { errors, ..Counts::default() };
        let pool = PoolCounts { attempts: attempts.iter().sum(), ..PoolCounts::default() };
        counts.pools.insert("web".to_owned(), pool);
        for (name, attempts) in ["a", "b"].into_iter().zip(attempts) {
            counts.backends.insert(("web".to_owned(), name.to_owned()), attempts);
        }
        counts
    }

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn rates_and_shares_are_those_of_the_span() {
        let mut recent = Recent::default();
        assert_eq!((recent.rate(|counts| counts.errors as f64), recent.share("web", "a")), (0.0, None));
        recent.add(at(1), counts(5, [100, 100]));
        assert_eq!((recent.rate(|counts| counts.errors as f64), recent.share("web", "a")), (0.0, None));
        recent.add(at(3), counts(9, [103, 101]));
        assert_eq!((recent.rate(|counts| counts.errors as f64), recent.share("web", "a")), (2.0, Some(0.75)));
        (4..40).for_each(|second| recent.add(at(second), counts(9, [103, 101])));
        assert_eq!((recent.rate(|counts| counts.errors as f64), recent.share("web", "a")), (0.0, None));
        assert_eq!(recent.seconds().round(), 10.0);
    }
}
