//! What had been counted at a moment, for who compares two moments: the live page's rates.

use std::collections::BTreeMap;

use super::labels::{CacheResult, StatusClass};
use super::metrics::{Metrics, PoolMetrics};

/// The budgets' words among [`super::names::HEDGE_DENIALS`].
const SPENT: [&str; 2] = ["budget-spent", "ledger-spent"];

/// Counts since the start.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests by what the cache did, in the order of [`CacheResult::ALL`].
    pub by_cache: [u64; CacheResult::ALL.len()],
    /// Requests whose client got a 5xx.
    pub errors: u64,
    /// Requests by route.
    pub routes: BTreeMap<String, u64>,
    /// By pool.
    pub pools: BTreeMap<String, PoolCounts>,
    /// Attempts that have ended, by pool and backend.
    pub backends: BTreeMap<(String, String), u64>,
}

/// What had been counted for one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PoolCounts {
    /// Attempts that have ended.
    pub attempts: u64,
    /// Copies of late requests.
    pub hedges: u64,
    /// Copies whose answer was used.
    pub hedges_won: u64,
    /// Late requests that got no copy when they first asked, as a budget was spent.
    pub hedges_unpaid: u64,
    /// Copies that try a backend on probation.
    pub probes: u64,
    /// Attempts after a failure.
    pub retries: u64,
    /// All attempts that are no client's first.
    pub extra: u64,
    /// Requests that got no place.
    pub shed: u64,
    /// Seconds that backends spent on answers that were not used.
    pub wasted: f64,
}

impl PoolCounts {
    /// What has come since `before`.
    #[must_use]
    pub fn since(&self, before: &PoolCounts) -> PoolCounts {
        PoolCounts {
            attempts: self.attempts.saturating_sub(before.attempts),
            hedges: self.hedges.saturating_sub(before.hedges),
            hedges_won: self.hedges_won.saturating_sub(before.hedges_won),
            hedges_unpaid: self.hedges_unpaid.saturating_sub(before.hedges_unpaid),
            probes: self.probes.saturating_sub(before.probes),
            retries: self.retries.saturating_sub(before.retries),
            extra: self.extra.saturating_sub(before.extra),
            shed: self.shed.saturating_sub(before.shed),
            wasted: (self.wasted - before.wasted).max(0.0),
        }
    }
}

impl PoolMetrics {
    fn counts(&self) -> PoolCounts {
        let of = |counts: &mut dyn Iterator<Item = (&'static str, u64)>, words: &[&str]| -> u64 {
            counts.filter(|(word, _)| words.contains(word)).map(|(_, count)| count).sum()
        };
        PoolCounts {
            attempts: 0,
            hedges: self.hedges_sent.get(),
            hedges_won: of(&mut self.hedges.counts(), &["won"]),
            hedges_unpaid: of(&mut self.hedges_denied.counts(), &SPENT),
            probes: self.probes.get(),
            retries: self.retries.counts().map(|(_, count)| count).sum(),
            extra: self.extra(),
            shed: self.shed.iter().flat_map(|tally| tally.counts()).map(|(_, count)| count).sum(),
            wasted: self.wasted_seconds(),
        }
    }
}

impl Metrics {
    /// What has been counted up to now.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (name, route) in self.registered().routes.read().iter() {
            let mut all = 0;
            for (_, class, cache, count) in route.requests() {
                all += count;
                counts.errors += if class == StatusClass::ServerError { count } else { 0 };
                if let Some(sum) = counts.by_cache.get_mut(cache.index()) {
                    *sum += count;
                }
            }
            counts.routes.insert(name.clone(), all);
        }
        for (name, pool) in self.registered().pools.read().iter() {
            counts.pools.insert(name.clone(), pool.counts());
        }
        for (key, backend) in self.registered().backends.read().iter() {
            let attempts = backend.attempts.counts().map(|(_, count)| count).sum();
            if let Some(pool) = counts.pools.get_mut(&key.0) {
                pool.attempts += attempts;
            }
            counts.backends.insert(key.clone(), attempts);
        }
        counts
    }

    /// Requests under way.
    pub fn requests_in_flight(&self) -> u64 {
        u64::try_from(self.registered().requests_in_flight.get()).unwrap_or_default()
    }

    /// Client connections that are open.
    pub fn client_connections(&self) -> u64 {
        u64::try_from(self.registered().client_connections.get()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::Method;

    #[test]
    fn what_is_counted_anywhere_is_found() {
        let metrics = Metrics::new();
        let (route, pool, backend) = (metrics.route("pages"), metrics.pool("web"), metrics.backend("web", "a:1"));
        route.record(Method::Get, 200, CacheResult::Hit, Duration::ZERO);
        route.record(Method::Get, 502, CacheResult::Miss, Duration::ZERO);
        backend.attempt("ok");
        pool.hedge_sent();
        pool.hedge_ended(true);
        pool.hedge_ended(false);
        pool.hedge_denied("budget-spent");
        pool.hedge_denied("all-slow");
        pool.probe_sent();
        pool.retry("connect-failed");
        pool.shed("default", "queue-full");
        pool.wasted(Duration::from_millis(1500));
        let counts = metrics.counts();
        assert_eq!(counts.by_cache[CacheResult::Hit.index()], 1);
        assert_eq!(counts.by_cache.iter().sum::<u64>(), 2);
        assert_eq!((counts.errors, counts.routes["pages"]), (1, 2));
        assert_eq!(counts.backends[&("web".to_owned(), "a:1".to_owned())], 1);
        let expected = PoolCounts {
            attempts: 1,
            hedges: 1,
            hedges_won: 1,
            hedges_unpaid: 1,
            probes: 1,
            retries: 1,
            extra: 3,
            shed: 1,
            wasted: 1.5,
        };
        assert_eq!(counts.pools["web"], expected);
        assert_eq!(counts.pools["web"].since(&expected), PoolCounts::default());
    }
}
