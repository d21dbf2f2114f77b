//! Every metric, once: name, kind, unit, labels, help.
//!
//! The page is written from these definitions and docs/metrics.md is held to them by a test, so a metric cannot
//! exist without its description, nor a label take a value that is not listed. Names follow Prometheus'
//! conventions: base units, the unit as suffix, `_total` for counters.
//!
//! To add one: define it here, add it to [`ALL`], write it in `page.rs`, describe it in docs/metrics.md.

use super::labels::{CacheResult, Method, ReloadResult, StatusClass};
use super::lane::Lane;
use super::termination::Termination;
use super::timeline::Phase;
use super::traces::{Dropped, EXPORTS};
use crate::grpc;
use crate::trace::sampling::Reason;

/// One metric.
#[derive(Debug, PartialEq)]
pub struct Definition {
    /// The name to query; a histogram's has `_bucket`, `_count` and `_sum` added to it.
    pub name: &'static str,
    /// What its values mean over time.
    pub kind: Kind,
    /// What is measured; `None` for plain counts.
    pub unit: Option<Unit>,
    /// In the order they are written.
    pub labels: &'static [Label],
    /// One line, without a full stop.
    pub help: &'static str,
}

/// The kinds of metric in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the process's start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
    /// Always 1; its labels are the message.
    Info,
}

impl Kind {
    /// The word in documents and `# TYPE` lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

/// The base units in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds of time.
    Seconds,
    /// Bytes of memory.
    Bytes,
}

impl Unit {
    /// The suffix in names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }
}

/// One label.
#[derive(Debug, PartialEq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What bounds its values.
    pub values: Values,
}

/// What bounds a label's values, and so the number of time series.
#[derive(Debug, PartialEq)]
pub enum Values {
    /// One of these.
    Words(&'static [&'static str]),
    /// As many as the configuration has.
    Configured,
    /// One.
    Constant,
}

impl Definition {
    /// The name as the encoder takes it: without the suffixes it adds for kind and unit.
    pub fn stem(&self) -> &'static str {
        let family = self.family();
        match self.unit {
            Some(unit) => strip(family, unit.as_str()),
            None => family,
        }
    }

    /// The name in `# TYPE` lines (OpenMetrics' metric family).
    pub fn family(&self) -> &'static str {
        match self.kind {
            Kind::Counter => strip(self.name, "total"),
            Kind::Info => strip(self.name, "info"),
            Kind::Gauge | Kind::Histogram => self.name,
        }
    }
}

fn strip(name: &'static str, suffix: &str) -> &'static str {
    name.strip_suffix(suffix).and_then(|n| n.strip_suffix('_')).unwrap_or(name)
}

/// The label `route` of requests that matched no route.
pub const UNROUTED: &str = "-";

/// States of a backend, the words of its life cycle.
pub const BACKEND_STATES: &[&str] = &["healthy", "probation", "recovering", "ejected", "other"];

/// What became of the copy of a late request.
pub const HEDGE_RESULTS: &[&str] = &["won", "lost"];

/// Whether quantiles are those with hedging, or what they would be without.
pub const HEDGING: &[&str] = &["with", "without"];

/// Why a late request was denied a copy at first: those words of `tail::race::NoHedge` that come up once it is late.
pub const HEDGE_DENIALS: &[&str] = &[
    "no-backend",
    "queueing",
    "all-slow",
    "budget-off",
    "budget-spent",
    "ledger-spent",
    "in-flight",
    "deadline",
    "other",
];

/// How important requests are: the words of `tail::class::Class`.
pub const CLASSES: &[&str] = &["critical", "default", "sheddable"];

/// Why a request was shed: the words of `tail::queue::Shed`, and `upstream::Failure::Throttled`.
pub const SHED_REASONS: &[&str] = &["queue-full", "queue-timeout", "deadline", "throttled", "other"];

/// Why a stale copy was served: the words of `cache::status::StaleUse`.
pub const STALE_REASONS: &[&str] =
    &["stale-while-revalidate", "stale-if-slow", "stale-if-overloaded", "stale-if-error", "max-stale", "other"];

/// Why a request went forward: the words of `cache::status::Fwd`, RFC 9211's tokens.
pub const FORWARDS: &[&str] =
    &["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial", "other"];

/// What came of waiting for another's fetch.
pub const COLLAPSES: &[&str] = &["answered", "in-vain"];

/// What became of a body that stalled or broke off on a route whose bodies are rescued.
pub const RESCUE_RESULTS: &[&str] = &["spliced", "lost", "failed", "denied", "other"];

/// Whose requests were over a rate: one client's, or all of the route's.
pub const RATE_SCOPES: &[&str] = &["client", "route"];

/// What became of an attempt.
pub const ATTEMPT_RESULTS: &[&str] = &[
    "ok",
    "server-error",
    "connect-failed",
    "connect-timeout",
    "upstream-timeout",
    "upstream-closed",
    "upstream-invalid",
    "deadline",
    "cancelled",
    "other",
];

/// Why a request was tried again.
pub const RETRY_REASONS: &[&str] = &[
    "connect-failed",
    "connect-timeout",
    "upstream-timeout",
    "upstream-closed",
    "upstream-invalid",
    "upstream-status",
    "other",
];

/// Why a backend was taken out.
pub const EJECTION_REASONS: &[&str] = &["consecutive-failures", "failure-rate", "relapse", "checks-failed", "other"];

/// What an active health check found.
pub const HEALTH_CHECK_RESULTS: &[&str] = &["passed", "status", "timeout", "connect-failed", "invalid", "other"];

/// What a purge named.
pub const PURGE_KINDS: &[&str] = &["url", "tag", "host", "prefix", "glob", "all", "other"];

/// How a purge came in: at the admin address, by the method `PURGE`, or because a request changed things.
pub const PURGE_CAUSES: &[&str] = &["admin", "method", "unsafe-request"];

/// Why HTTP did not begin on a client's connection.
pub const CONNECTION_FAILURES: &[&str] =
    &["not-listed", "proxy-header", "not-tls", "handshake", "timeout", "closed", "other"];

/// Why a purge was refused.
pub const PURGE_REFUSALS: &[&str] = &["forbidden", "unauthorized", "invalid", "full", "other"];

/// The quantiles of times to first byte; 1 is the maximum.
pub const QUANTILES: &[&str] = &["0.5", "0.9", "0.95", "0.99", "0.999", "1"];

const ROUTE: Label = Label { name: "route", values: Values::Configured };
const POOL: Label = Label { name: "pool", values: Values::Configured };
const BACKEND: Label = Label { name: "backend", values: Values::Configured };

const fn words(name: &'static str, words: &'static [&'static str]) -> Label {
    Label { name, values: Values::Words(words) }
}

/// Defines the metrics and [`ALL`], so that neither can lack one of the other.
macro_rules! definitions {
    ($($id:ident: $name:literal $kind:ident $unit:expr, $labels:expr, $help:literal;)+) => {
        $(#[doc = $help]
        pub const $id: Definition =
            Definition { name: $name, kind: Kind::$kind, unit: $unit, labels: $labels, help: $help };)+

        /// All metrics, in the order of the page.
        pub const ALL: &[Definition] = &[$($id,)+];
    };
}

definitions! {
    REQUESTS: "hedgerow_requests_total" Counter None,
        &[ROUTE, words("method", Method::WORDS), words("status", StatusClass::WORDS), words("cache", CacheResult::WORDS)],
        "Requests ended, by what the client got";
    REQUEST_DURATION: "hedgerow_request_duration_seconds" Histogram Some(Unit::Seconds), &[ROUTE],
        "Time from a request's head read to its last response byte sent";
    FIRST_BYTE: "hedgerow_request_first_byte_seconds" Histogram Some(Unit::Seconds), &[ROUTE],
        "Time from a request's head read to its response's head sent";
    ROUTE_DURATION: "hedgerow_route_duration_seconds" Gauge Some(Unit::Seconds), &[ROUTE, words("quantile", QUANTILES)],
        "Quantiles of request durations over the last minute";
    ROUTE_DURATION_WINDOW: "hedgerow_route_duration_requests" Gauge None, &[ROUTE],
        "Requests in the minute that the quantiles of durations are taken from";
    PHASES: "hedgerow_request_phase_seconds_total" Counter Some(Unit::Seconds), &[ROUTE, words("phase", Phase::WORDS)],
        "Time requests have spent, by what they waited for";
    UPSTREAM_TIME: "hedgerow_request_upstream_seconds" Histogram Some(Unit::Seconds), &[ROUTE],
        "Time from a request's first attempt at a backend to the last byte of its answer, or to giving up";
    RESPONSE_BYTES: "hedgerow_response_body_bytes_total" Counter Some(Unit::Bytes), &[ROUTE, words("cache", CacheResult::WORDS)],
        "Bytes of bodies sent to clients, by what the cache did";
    FORWARDED: "hedgerow_cache_forwarded_total" Counter None, &[ROUTE, words("fwd", FORWARDS)],
        "Requests that the cache did not answer by itself, by why";
    COLLAPSED: "hedgerow_cache_collapsed_total" Counter None, &[ROUTE, words("result", COLLAPSES)],
        "Requests that waited for what another was fetching, by whether that answered them";
    RATE_LIMITED: "hedgerow_rate_limited_total" Counter None, &[ROUTE, words("scope", RATE_SCOPES)],
        "Requests answered 429, by whose rate they were over";
    CALLS: "hedgerow_grpc_responses_total" Counter None, &[ROUTE, words("status", grpc::NAMES)],
        "gRPC calls that came to a status, by which";
    TERMINATIONS: "hedgerow_terminations_total" Counter None, &[words("reason", Termination::WORDS)],
        "Requests ended, by cause";
    LANE: "hedgerow_lane_requests_total" Counter None, &[words("outcome", Lane::WORDS)],
        "Requests at the fast lane: answered there, or why not";
    REQUESTS_IN_FLIGHT: "hedgerow_requests_in_flight" Gauge None, &[],
        "Requests being answered now";
    CLIENT_CONNECTIONS: "hedgerow_client_connections" Gauge None, &[],
        "Client connections open now";
    UPSTREAM_FIRST_BYTE: "hedgerow_upstream_first_byte_seconds" Histogram Some(Unit::Seconds), &[POOL],
        "Time from an attempt's start to the first byte of its response head";
    UPSTREAM_CONNECT: "hedgerow_upstream_connect_seconds" Histogram Some(Unit::Seconds), &[POOL],
        "How long new connections to backends took, without the TLS handshake";
    UPSTREAM_TLS: "hedgerow_upstream_tls_seconds" Histogram Some(Unit::Seconds), &[POOL],
        "How long TLS handshakes with backends took";
    ATTEMPTS: "hedgerow_attempts_total" Counter None, &[POOL, BACKEND, words("result", ATTEMPT_RESULTS)],
        "Requests sent to a backend, by what became of them";
    RETRIES: "hedgerow_retries_total" Counter None, &[POOL, words("reason", RETRY_REASONS)],
        "Attempts made because an earlier one failed";
    POOL_LIMIT: "hedgerow_pool_limit" Gauge None, &[POOL],
        "Requests that may be at a pool's backends at a time; absent where nothing limits them";
    POOL_ADMITTED: "hedgerow_pool_admitted" Gauge None, &[POOL],
        "Requests that have a place at a pool's backends now";
    POOL_QUEUED: "hedgerow_pool_queued" Gauge None, &[POOL],
        "Requests that wait for a place at a pool's backends now";
    QUEUE_TIME: "hedgerow_queue_seconds" Histogram Some(Unit::Seconds), &[POOL],
        "How long requests that had to wait for a place waited, whether or not they got one";
    SHED: "hedgerow_shed_total" Counter None, &[POOL, words("class", CLASSES), words("reason", SHED_REASONS)],
        "Requests that got no place at the backends, by class and reason";
    RESCUES: "hedgerow_rescues_total" Counter None, &[POOL, words("result", RESCUE_RESULTS)],
        "Rescues of bodies that stalled or broke off, by what became of them";
    EJECTIONS: "hedgerow_ejections_total" Counter None, &[POOL, BACKEND, words("reason", EJECTION_REASONS)],
        "Times a backend was taken out";
    PROBATIONS: "hedgerow_probations_total" Counter None, &[POOL, BACKEND],
        "Times a backend was put on probation";
    HEALTH_CHECKS: "hedgerow_health_checks_total" Counter None, &[POOL, BACKEND, words("result", HEALTH_CHECK_RESULTS)],
        "Active health checks, by result";
    BACKEND_PUSHBACKS: "hedgerow_backend_pushbacks_total" Counter None, &[POOL, BACKEND],
        "Answers by which a backend said that it does not want to be asked now: 429 or 503 with Retry-After";
    BACKEND_THROTTLE: "hedgerow_backend_throttle_ratio" Gauge None, &[POOL, BACKEND],
        "Share of the requests meant for a backend that are not sent there, since it says that it does not want them now";
    BACKEND_STATE: "hedgerow_backend_state" Gauge None, &[POOL, BACKEND, words("state", BACKEND_STATES)],
        "1 for the state a backend is in, 0 for the others";
    BACKEND_IN_FLIGHT: "hedgerow_backend_in_flight" Gauge None, &[POOL, BACKEND],
        "Attempts a backend is working on now";
    BACKEND_EWMA: "hedgerow_backend_ewma_seconds" Gauge Some(Unit::Seconds), &[POOL, BACKEND],
        "Peak EWMA of a backend's time to first byte, as the balancer sees it";
    BACKEND_REPORTED_LOAD: "hedgerow_backend_reported_load" Gauge None, &[POOL, BACKEND],
        "How loaded a backend says it is: 0 is idle, 1 fully used";
    BACKEND_LATENCY: "hedgerow_backend_latency_seconds" Gauge Some(Unit::Seconds), &[POOL, BACKEND, words("hedging", HEDGING), words("quantile", QUANTILES)],
        "Quantiles of a backend's time to first byte over the sliding window, with hedging and without";
    BACKEND_WINDOW: "hedgerow_backend_window_attempts" Gauge None, &[POOL, BACKEND, words("hedging", HEDGING)],
        "Attempts in the sliding window that the quantiles are taken from";
    BACKEND_LATE: "hedgerow_backend_late_ratio" Gauge None, &[POOL, BACKEND],
        "Share of a backend's last primaries that took longer than their route's delay";
    HEDGES_SENT: "hedgerow_hedges_sent_total" Counter None, &[POOL],
        "Copies of late requests sent";
    HEDGES: "hedgerow_hedges_total" Counter None, &[POOL, words("result", HEDGE_RESULTS)],
        "Copies whose race is over, by whose answer was used";
    HEDGES_DENIED: "hedgerow_hedges_denied_total" Counter None, &[POOL, words("reason", HEDGE_DENIALS)],
        "Late requests that were denied a copy when they first asked";
    HEDGE_WASTED: "hedgerow_hedge_wasted_seconds_total" Counter Some(Unit::Seconds), &[POOL],
        "Time backends spent on attempts that were given up because another answered";
    PROBES: "hedgerow_probes_total" Counter None, &[POOL],
        "Copies sent to backends on probation to try them";
    LEDGER: "hedgerow_ledger_tokens" Gauge None, &[POOL],
        "Retries and copies that may be made at once";
    AMPLIFICATION: "hedgerow_amplification_ratio" Gauge None, &[POOL],
        "Attempts begun for each request, over the last ten seconds";
    HEDGE_DELAY: "hedgerow_route_hedge_delay_seconds" Gauge Some(Unit::Seconds), &[ROUTE],
        "How long a request waits for its first byte before it asks for a copy";
    HEDGE_LEVEL: "hedgerow_route_hedge_budget_ratio" Gauge None, &[ROUTE],
        "How full a route's bucket of copies is";
    HEDGE_SCALE: "hedgerow_route_hedge_governor_ratio" Gauge None, &[ROUTE],
        "The share of its budget that a route's copies are worth";
    ROUTE_LATENCY: "hedgerow_route_first_byte_seconds" Gauge Some(Unit::Seconds), &[ROUTE, words("hedging", HEDGING), words("quantile", QUANTILES)],
        "Quantiles of the time to a route's first byte from a backend, with hedging and without";
    ROUTE_WINDOW: "hedgerow_route_window_requests" Gauge None, &[ROUTE, words("hedging", HEDGING)],
        "Requests in the sliding window that the route's quantiles are taken from";
    STALE_SERVED: "hedgerow_stale_served_total" Counter None, &[words("reason", STALE_REASONS)],
        "Stale copies served, by why";
    CACHE_OBJECTS: "hedgerow_cache_objects" Gauge None, &[],
        "Objects stored now";
    CACHE_BYTES: "hedgerow_cache_bytes" Gauge Some(Unit::Bytes), &[],
        "Bytes stored now: bodies, heads and keys";
    CACHE_CAPACITY: "hedgerow_cache_capacity_bytes" Gauge Some(Unit::Bytes), &[],
        "Bytes that may be stored";
    CACHE_STORES: "hedgerow_cache_stores_total" Counter None, &[],
        "Objects stored";
    CACHE_EVICTIONS: "hedgerow_cache_evictions_total" Counter None, &[],
        "Objects dropped to make room";
    CACHE_PURGED: "hedgerow_cache_purged_objects_total" Counter None, &[],
        "Objects dropped because they were purged";
    CACHE_TAGS_CUT: "hedgerow_cache_tags_cut_total" Counter None, &[],
        "Tags of stored responses left out because they were too many or too long";
    PURGES: "hedgerow_purges_total" Counter None, &[words("cause", PURGE_CAUSES), words("kind", PURGE_KINDS)],
        "Purges accepted, by how they came in and what they named";
    PURGES_REFUSED: "hedgerow_purges_refused_total" Counter None, &[words("reason", PURGE_REFUSALS)],
        "Purges refused, by reason";
    PURGES_PENDING: "hedgerow_purges_pending" Gauge None, &[],
        "Purges kept until everything has seen them";
    CACHE_REFUSALS: "hedgerow_cache_refusals_total" Counter None, &[],
        "Objects that were asked for too rarely for the main part of a full cache, stored in the rest";
    CONFIG_GENERATION: "hedgerow_config_generation" Gauge None, &[],
        "Generation of the snapshot in use; the first is 1";
    CONFIG_RELOADS: "hedgerow_config_reloads_total" Counter None, &[words("result", ReloadResult::WORDS)],
        "Reloads asked for, by result";
    CONFIG_LAST_RELOAD: "hedgerow_config_last_reload_successful" Gauge None, &[],
        "1 if the last reload was applied or none was asked for, 0 if it was rejected";
    CONNECTIONS_REFUSED: "hedgerow_client_connections_refused_total" Counter None, &[],
        "Client connections closed at once because as many were open as may be";
    CONNECTIONS_FAILED: "hedgerow_client_connections_failed_total" Counter None, &[words("reason", CONNECTION_FAILURES)],
        "Client connections that ended before HTTP began, by reason";
    ACCESS_LOG_DROPPED: "hedgerow_access_log_dropped_total" Counter None, &[],
        "Access log lines lost because the output was too slow or failed";
    TRACES: "hedgerow_traces_recorded_total" Counter None, &[words("reason", Reason::WORDS)],
        "Requests recorded as traces, by why";
    TRACES_DROPPED: "hedgerow_traces_dropped_total" Counter None, &[words("reason", Dropped::WORDS)],
        "Traces that did not reach the collector, by why";
    TRACE_EXPORTS: "hedgerow_trace_exports_total" Counter None, &[words("result", EXPORTS)],
        "Batches of traces sent to the collector, by whether it took them";
    BUILD: "hedgerow_build_info" Info None, &[Label { name: "version", values: Values::Constant }],
        "The version that is running";
    PROCESS_CPU: "process_cpu_seconds_total" Counter Some(Unit::Seconds), &[],
        "CPU time spent, user and system";
    PROCESS_MEMORY: "process_resident_memory_bytes" Gauge Some(Unit::Bytes), &[],
        "Resident memory";
    PROCESS_FDS: "process_open_fds" Gauge None, &[],
        "Open file descriptors";
    PROCESS_MAX_FDS: "process_max_fds" Gauge None, &[],
        "File descriptors that may be open";
    PROCESS_START: "process_start_time_seconds" Gauge Some(Unit::Seconds), &[],
        "Start of the process, since the Unix epoch";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in ALL {
            let name = metric.name;
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(name.starts_with("hedgerow_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_info"), metric.kind == Kind::Info, "{name}");
            if let Some(unit) = metric.unit {
                assert!(metric.family().ends_with(unit.as_str()), "{name}");
            }
            assert!(!metric.help.ends_with('.') && !metric.help.contains(['\\', '\n', '"']), "{name}");
        }
    }

    #[test]
    fn no_two_metrics_share_a_family() {
        for (i, metric) in ALL.iter().enumerate() {
            assert!(ALL[..i].iter().all(|m| m.family() != metric.family()), "{}", metric.name);
        }
    }

    #[test]
    fn the_stem_leaves_the_suffixes_to_the_encoder() {
        assert_eq!(REQUESTS.stem(), "hedgerow_requests");
        assert_eq!(PROCESS_CPU.stem(), "process_cpu");
        assert_eq!(PROCESS_CPU.family(), "process_cpu_seconds");
        assert_eq!(BUILD.stem(), "hedgerow_build");
        assert_eq!(CACHE_BYTES.stem(), "hedgerow_cache");
    }

    #[test]
    fn open_lists_of_reasons_end_with_other() {
        for list in [
            BACKEND_STATES,
            ATTEMPT_RESULTS,
            RETRY_REASONS,
            FORWARDS,
            RESCUE_RESULTS,
            EJECTION_REASONS,
            HEALTH_CHECK_RESULTS,
            PURGE_KINDS,
            PURGE_REFUSALS,
            CONNECTION_FAILURES,
        ] {
            assert_eq!(list.last(), Some(&"other"));
        }
    }
}
