//! What is known of one request, from its head to its log line.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::deadlines::Patience;
use super::exchange::Exchange;
use super::parts::Part;
use super::recode::Coded;
use crate::cache::server_timing::Said;
use crate::cache::status::Fwd;
use crate::cache::storable::NotStorable;
use crate::caller::{Client, Link};
use crate::clock;
use crate::edge::Edge;
use crate::grpc;
use crate::last_word::LastWord;
use crate::pace::Pace;
use crate::snapshot::{Route, Snapshot};
use crate::tail::class::Class;
use crate::tail::queue::Shed;
use crate::tail::rate::Decision;
use crate::telemetry::metrics::InFlight;
use crate::telemetry::{Termination, Trace, Visits};
use crate::units::Tick;
use crate::upstream::gate::Permit;
use crate::upstream::{Attempt, Failure};

/// The context of one request.
pub struct Ctx {
    /// The generation this request lives in.
    pub snapshot: Arc<Snapshot>,
    /// When its head was read.
    pub started: Tick,
    /// The same, as a date.
    pub wall: SystemTime,
    /// Counted until dropped.
    pub in_flight: Option<InFlight>,
    /// How long the client says it waits.
    pub patience: Option<Patience>,
    /// What it is told at the end of its time, if its fetch is to go on after that.
    pub last_word: Option<LastWord>,
    /// Its route, once one matched.
    pub route: Option<Arc<Route>>,
    /// The version of HTTP that its client spoke; a request of HTTP/2 has the form of one of HTTP/1.1 from then on.
    pub version: Version,
    /// The connection it came by; `None` for a refresh.
    pub link: Option<Arc<Link>>,
    /// Who asks, and as what.
    pub client: Client,
    /// Whether the client may be told the key and the detail of `Cache-Status`.
    pub reveal: bool,
    /// The normalised host, without port; empty for HTTP/1.0 without one.
    pub host: String,
    /// The port of the authority asked for.
    pub port: Option<u16>,
    /// The value of `X-Request-Id`.
    pub request_id: Option<HeaderValue>,
    /// Its place in a trace, if there are traces.
    pub trace: Option<Trace>,
    /// How important it is.
    pub class: Class,
    /// Its place at the backends, until it is handed to what goes on there.
    pub permit: Option<Permit>,
    /// How long it waited for that, if it did.
    pub queued: Option<Duration>,
    /// Why it got none.
    pub shed: Option<Shed>,
    /// What its route's rate limit said, if it has one.
    pub rate: Option<Decision>,
    /// Body bytes received from the client.
    pub received: u64,
    /// The range it is for, if it is not answered from a complete response.
    pub part: Option<Part>,
    /// What the cache had to say.
    pub cache: CacheNotes,
    /// When the request went upstream, as a date: `Age` counts from here.
    pub asked: Option<SystemTime>,
    /// The newest purge when the request went upstream: later ones concern its response.
    pub newest_purge: u64,
    /// What went on upstream.
    pub exchange: Option<Arc<Exchange>>,
    /// The attempts, as they are remembered.
    pub visits: Arc<Visits>,
    /// How long it waited for what others were fetching, beside waiting for the cache's lock.
    pub collapsed: Duration,
    /// When its response's head was handed to the client's connection.
    pub headed: Option<Tick>,
    /// How long its client keeps it waiting.
    pub pace: Option<Pace>,
    /// What its origin said of its own time.
    pub origin: Vec<Said>,
    /// The trace it is part of, if that is kept.
    pub trace_id: Option<u128>,
    /// The attempt of an upgraded connection, which pingora carries natively.
    pub upgraded: Option<Attempt>,
    /// Why the connection for an upgrade failed.
    pub upgrade_failure: Option<Failure>,
    /// Whether the response was made a 304 on its way: its body is dropped.
    pub bodyless: bool,
    /// The connection ends with the answer.
    pub ends_connection: bool,
    /// In which coding the response goes out.
    pub coded: Coded,
    /// Whether a response of the backend or the cache was sent.
    pub answered: bool,
    /// The status with which the edge itself has answered a gRPC call.
    pub call: Option<grpc::Status>,
    /// What is logged if the request is dropped in its midst.
    pub unlogged: Option<Unlogged>,
    /// Why the request ended, once it is known not to be simply done.
    pub ended: Option<Termination>,
}

/// What came of waiting for a refresh of a stale copy (`stale.if_slow`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The copy is fresh.
    InTime,
    /// It took longer than the route waits, or failed: the stale copy is sent.
    TooLate,
    /// It is not waited for, since there is no place at the backends for who fetches it: the stale copy is sent.
    Overload,
}

/// What the phases note for `Cache-Status`.
#[derive(Debug, Default)]
pub struct CacheNotes {
    /// Why the request was forwarded.
    pub fwd: Option<Fwd>,
    /// Why it was not looked up, or not answered from the stored copy.
    pub detail: Option<&'static str>,
    /// Why the response was not stored.
    pub not_storable: Option<NotStorable>,
    /// The upstream response's status.
    pub fwd_status: Option<u16>,
    /// A stale copy is served because the client's `max-stale` allows it.
    pub client_allows_stale: bool,
    /// What came of waiting for a refresh of a stale copy.
    pub refreshed: Option<Refreshed>,
    /// The fields of a 304, for the merge into the stored response.
    pub not_modified: Option<HeaderMap>,
    /// The cache was asked.
    pub looked_up: bool,
    /// The request wants no answer but from the cache.
    pub only_if_cached: bool,
}

impl Ctx {
    /// A request that begins now.
    pub fn new(snapshot: Arc<Snapshot>) -> Ctx {
        Ctx {
            snapshot,
            started: clock::now(),
            wall: clock::wall(),
            in_flight: None,
            patience: None,
            last_word: None,
            route: None,
            version: Version::HTTP_11,
            link: Link::of_this_connection(),
            client: Client::default(),
            reveal: false,
            host: String::new(),
            port: None,
            request_id: None,
            trace: None,
            class: Class::default(),
            permit: None,
            queued: None,
            shed: None,
            rate: None,
            received: 0,
            part: None,
            cache: CacheNotes::default(),
            asked: None,
            newest_purge: 0,
            exchange: None,
            visits: Arc::default(),
            collapsed: Duration::ZERO,
            headed: None,
            pace: Pace::of_this_connection(),
            origin: Vec::new(),
            trace_id: None,
            upgraded: None,
            upgrade_failure: None,
            bodyless: false,
            ends_connection: false,
            coded: Coded::default(),
            answered: false,
            call: None,
            unlogged: None,
            ended: None,
        }
    }

    /// Notes why the request ended; the first cause stands.
    pub fn end(&mut self, reason: Termination) {
        self.ended.get_or_insert(reason);
    }
}

impl CacheNotes {
    /// The key is known and has variants: unless one of them is found, that is what was missed.
    pub fn note_variants(&mut self) {
        self.fwd.get_or_insert(Fwd::VaryMiss);
    }
}

/// What a dropped request must still be able to tell.
pub struct Unlogged {
    /// Where its line goes.
    pub edge: Arc<Edge>,
    /// Its method.
    pub method: Method,
    /// Its target.
    pub uri: Uri,
}

/// A request whose connection is cut when the edge ends never comes to its logging phase.
impl Drop for Ctx {
    fn drop(&mut self) {
        if let Some(unlogged) = self.unlogged.take() {
            super::log::cut(self, &unlogged);
        }
    }
}
