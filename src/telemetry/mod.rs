//! What an operator sees: the metrics page, the access log and traces.
//!
//! * [`names`] every metric, once; [`metrics`] the handles that requests record into; [`page`] the text Prometheus reads
//! * [`record`] one request as a line; [`access_log`] the lines on their way to a file or standard output
//! * [`timeline`] where a request's time went, [`visits`] the attempts at it; [`slow`] the slowest requests
//! * [`tracing`] one request as spans, on their way to a collector; [`traces`] how many
//! * [`journal`] what happened of late; [`counts`] all counters at a moment
//! * [`termination`] why a request ended: one word for log, metric and header
//!
//! Recording is on every request's path and reading is not, so all work that can wait waits for the reader: a
//! request adds to counters it was handed before it came, a scrape turns them into text.

pub mod access_log;
pub mod clf;
pub mod counts;
mod exemplars;
mod family;
pub mod histogram;
pub mod journal;
pub mod labels;
pub mod lane;
pub mod metrics;
pub mod names;
pub mod page;
pub mod process;
mod recent;
mod recoding;
pub mod record;
pub mod route;
mod sample;
mod shards;
mod sink;
pub mod slow;
mod sparse;
pub mod spectrum;
pub mod tally;
pub mod termination;
pub mod timeline;
pub mod traces;
pub mod tracing;
pub mod visits;
mod words;
mod writer;

pub use access_log::AccessLog;
pub use clf::Agent;
pub use counts::{Counts, PoolCounts};
pub use journal::{Event, Journal, Topic, Turn};
pub use labels::{CacheResult, Method, ReloadResult, StatusClass};
pub use lane::Lane;
pub use metrics::{BackendMetrics, InFlight, Metrics, PoolMetrics};
pub use record::Record;
pub use route::RouteMetrics;
pub use sample::{BackendSample, CacheSample, Latencies, PoolSample, RouteSample, Scrape};
pub use termination::Termination;
pub use timeline::{Course, Phase, Phases, Timeline};
pub use traces::{Dropped, TraceMetrics};
pub use tracing::{Recorded, Trace, Tracer};
pub use visits::{Dial, Entry, Visit, Visits};
