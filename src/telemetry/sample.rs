//! What the metrics page shows that no counter holds, as it is at the time of a scrape.

use std::time::Duration;

/// What a scrape needs to know that no counter holds.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// Every backend of every pool.
    pub backends: Vec<BackendSample>,
    /// Every pool.
    pub pools: Vec<PoolSample>,
    /// Every route.
    pub routes: Vec<RouteSample>,
    /// The store.
    pub cache: CacheSample,
}

/// One backend at the time of a scrape.
#[derive(Clone, Debug)]
pub struct BackendSample {
    /// The pool's name.
    pub pool: String,
    /// The backend's written name, `host:port`.
    pub backend: String,
    /// One of [`super::names::BACKEND_STATES`]; any other word counts as `other`.
    pub state: &'static str,
    /// Attempts under way.
    pub in_flight: u64,
    /// Peak EWMA of the time to first byte; `None` before the first sample.
    pub ewma: Option<Duration>,
    /// What it says of its load, if it says so: 0 is idle, 1 fully used.
    pub reported_load: Option<f64>,
    /// The share of what is meant for it that it is not sent, 0 to 0.8.
    pub throttle: f64,
    /// The share of its last primaries that were late, 0 to 1.
    pub late: f64,
    /// Times to first byte as they were waited for.
    pub with_hedging: Latencies,
    /// What they would have been, had every primary been waited for.
    pub without_hedging: Latencies,
}

/// One pool at the time of a scrape.
#[derive(Clone, Debug)]
pub struct PoolSample {
    /// Its name.
    pub pool: String,
    /// Retries and copies that may be made at once.
    pub ledger: f64,
    /// Attempts for each request; `None` while there are none.
    pub amplification: Option<f64>,
    /// Requests that may be at its backends; `None` where nothing limits them.
    pub limit: Option<u64>,
    /// Requests that have a place there.
    pub admitted: u64,
    /// Requests that wait for one.
    pub queued: u64,
}

/// One route at the time of a scrape.
#[derive(Clone, Debug)]
pub struct RouteSample {
    /// Its name.
    pub route: String,
    /// When its requests are late; `None` while too little is known.
    pub delay: Option<Duration>,
    /// How full its bucket of copies is, 0 to 1.
    pub level: f64,
    /// The governor's scale, 0.1 to 1.
    pub scale: f64,
    /// Times to first byte as clients waited for them.
    pub with_hedging: Latencies,
    /// What they would have been, had every primary been waited for.
    pub without_hedging: Latencies,
}

/// Quantiles of a sliding window of times to first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Samples in the window; with 0 the quantiles mean nothing and are left out.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// The 90th percentile.
    pub p90: Duration,
    /// The 95th percentile.
    pub p95: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The 99.9th percentile.
    pub p999: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Latencies {
    /// In the order of [`super::names::QUANTILES`].
    pub(super) fn quantiles(&self) -> [Duration; 6] {
        [self.p50, self.p90, self.p95, self.p99, self.p999, self.max]
    }
}

/// The store at the time of a scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheSample {
    /// Objects stored.
    pub objects: u64,
    /// Bytes stored: bodies, heads, keys.
    pub bytes: u64,
    /// Bytes that may be stored.
    pub capacity: u64,
    /// Objects stored since the start.
    pub stores: u64,
    /// Objects dropped to make room since the start.
    pub evictions: u64,
    /// Objects purged since the start.
    pub purged: u64,
    /// Tags left out since the start.
    pub tags_cut: u64,
    /// Purges that are kept.
    pub purges: u64,
    /// Objects refused at admission to the main part since the start.
    pub refusals: u64,
}
