//! What `/live.json` tells, as far as it is shown. What is missing is empty: another version may tell less.

use serde::Deserialize;

/// One picture of an edge.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    pub(super) version: String,
    /// Seconds since 1970.
    pub(super) time: f64,
    pub(super) uptime_seconds: u64,
    pub(super) phase: String,
    pub(super) generation: u64,
    pub(super) reload: Option<Reload>,
    pub(super) traffic: Traffic,
    pub(super) cache: Cache,
    pub(super) routes: Vec<Route>,
    pub(super) pools: Vec<Pool>,
    pub(super) incidents: Vec<Incident>,
    pub(super) slowest: Vec<Slow>,
    pub(super) events: Vec<Event>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reload {
    pub(super) time: f64,
    pub(super) result: String,
    pub(super) lines: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Traffic {
    pub(super) requests_per_second: f64,
    pub(super) errors_per_second: f64,
    pub(super) shed_per_second: f64,
    pub(super) hit_ratio: Option<f64>,
    pub(super) requests_in_flight: u64,
    pub(super) client_connections: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cache {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) capacity: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) pool: String,
    pub(super) requests_per_second: f64,
    pub(super) hedge_delay_ms: Option<f64>,
    pub(super) budget_level: f64,
    pub(super) first_byte_ms: Latency,
    pub(super) first_byte_without_hedging_ms: Latency,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) ledger: f64,
    pub(super) amplification: Option<f64>,
    pub(super) limit: Option<u32>,
    pub(super) admitted: u32,
    pub(super) queued: u32,
    pub(super) attempts_per_second: f64,
    pub(super) hedges_per_second: f64,
    pub(super) hedges_won_per_second: f64,
    pub(super) retries_per_second: f64,
    pub(super) shed_per_second: f64,
    pub(super) wasted_share: f64,
    pub(super) backends: Vec<Backend>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Backend {
    pub(super) address: String,
    pub(super) state: String,
    pub(super) trouble: Option<String>,
    pub(super) state_seconds: u64,
    pub(super) share: Option<f64>,
    pub(super) in_flight: u32,
    pub(super) limit: Option<f64>,
    pub(super) ewma_ms: Option<f64>,
    pub(super) late: f64,
    pub(super) latency_ms: Latency,
    pub(super) latency_without_hedging_ms: Latency,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Latency {
    /// With 0 the rest means nothing.
    count: u64,
    p50: f64,
    p99: f64,
    p999: f64,
}

impl Latency {
    pub(super) fn p50(&self) -> Option<f64> {
        self.known(self.p50)
    }

    pub(super) fn p99(&self) -> Option<f64> {
        self.known(self.p99)
    }

    pub(super) fn p999(&self) -> Option<f64> {
        self.known(self.p999)
    }

    fn known(&self, value: f64) -> Option<f64> {
        (self.count > 0).then_some(value)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Incident {
    pub(super) pool: String,
    pub(super) backend: String,
    pub(super) trouble: String,
    pub(super) now: Option<String>,
    pub(super) since: f64,
    pub(super) ended: Option<f64>,
    pub(super) lasts_seconds: u64,
    pub(super) what: String,
    pub(super) did: Vec<String>,
    pub(super) cost: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Slow {
    pub(super) time: String,
    pub(super) duration_ms: f64,
    pub(super) method: String,
    pub(super) host: Option<String>,
    pub(super) path: Option<String>,
    pub(super) status: u16,
    pub(super) cache: String,
    pub(super) backend: Option<String>,
    pub(super) phases_ms: std::collections::BTreeMap<String, f64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) time: f64,
    pub(super) topic: String,
    pub(super) turn: String,
    pub(super) pool: Option<String>,
    pub(super) backend: Option<String>,
    pub(super) what: String,
    pub(super) why: String,
}
