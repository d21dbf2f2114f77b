//! What is counted and logged of a request that the lane answers: the same as of one behind it (`proxy/log.rs`).

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::traced::SpanFacts;
use crate::clock;
use crate::edge::Edge;
use crate::snapshot::Route;
use crate::telemetry::slow::{self, SlowRequest};
use crate::telemetry::tracing::record::Text;
use crate::telemetry::{Agent, CacheResult, Course, Method, Record, Recorded, Termination, Timeline, Trace};
use crate::units::Tick;

/// One request's, to be closed when its reply has ended.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub started: Tick,
    pub method: Method,
    /// As the log names it.
    pub protocol: &'static str,
    pub status: u16,
    /// The length of the body to be sent.
    pub length: u64,
    /// Its line in the access log, if that is on or the request is recorded as a span.
    pub line: Option<Line<'a>>,
}

/// What only the access log and a span want to know.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub time: SystemTime,
    pub client: Option<IpAddr>,
    pub host: Cow<'a, str>,
    pub path: Cow<'a, str>,
    pub id: Cow<'a, [u8]>,
    pub generation: u64,
    /// The content coding of the body.
    pub coding: Option<&'static str>,
    pub trace: Option<Trace>,
    pub span: Option<SpanFacts<'a>>,
    /// What Combined says of the client.
    pub referer: Cow<'a, [u8]>,
    pub user_agent: Cow<'a, [u8]>,
}

impl Account<'_> {
    /// Counts and logs it: it has ended at `now`, and `at_once` if nobody had to be waited for. `sent` are bytes of the body.
    pub(super) fn close(&self, edge: &Edge, route: &Route, reason: Termination, sent: u64, now: Tick, at_once: bool) {
        let duration = now.since(self.started);
        // As behind the lane: what is cut has no status.
        let (status, cache) =
            if reason == Termination::Cut { (0, CacheResult::None) } else { (self.status, CacheResult::Hit) };
        // Some microseconds are nothing to histograms, and counting them would cost as many.
        if at_once {
            route.metrics.record_instant(self.method, status, sent);
        } else {
            self.took(edge, route, cache, reason, sent, duration);
        }
        edge.metrics().terminated(reason);
        let Some(line) = &self.line else { return };
        edge.access_log().log(&Record {
            time: line.time,
            client: line.client,
            method: self.method.as_str(),
            host: &line.host,
            path: &line.path,
            protocol: if reason == Termination::Cut { "" } else { self.protocol },
            status,
            grpc_status: None,
            bytes: sent,
            duration,
            upstream_time: None,
            route: Some(&route.config.name),
            pool: None,
            backend: None,
            cache,
            attempts: 0,
            hedge: None,
            priority: Some(route.config.priority.as_str()),
            queue_time: None,
            shed: None,
            stale: None,
            coding: line.coding,
            reason,
            request_id: std::str::from_utf8(&line.id).unwrap_or_default(),
            trace: line.trace.map(|trace| trace.id),
            generation: line.generation,
            agent: Agent { referer: &line.referer, user_agent: &line.user_agent },
        });
        self.record(edge, route, line, reason, sent, duration);
    }

    /// Hands it in as a span, if it is recorded.
    fn record(&self, edge: &Edge, route: &Route, line: &Line<'_>, reason: Termination, sent: u64, duration: Duration) {
        let Some((trace, span)) = line.trace.zip(line.span.as_ref()) else { return };
        let Some(why) = trace.sampled else { return };
        let tracer = edge.tracer();
        let (path, query) = line.path.split_once('?').map_or((&*line.path, None), |(path, query)| (path, Some(query)));
        let is_cut = reason == Termination::Cut;
        // All that takes time here is its client.
        let timeline = Timeline::of(Course { started: self.started, duration, client: duration, ..Course::default() });
        route.metrics.sampled(trace.id.bits(), duration, line.time + duration);
        tracer.record(Recorded {
            is_refresh: false,
            trace,
            reason: why,
            wall: line.time,
            started: self.started,
            duration,
            method: Text::of(self.method.as_str()),
            scheme: span.scheme,
            host: Text::of(&line.host),
            port: span.port,
            path: Text::of(path),
            query: query.filter(|_| tracer.tells_query()).map(Text::of),
            version: self.protocol.strip_prefix("HTTP/").unwrap_or_default(),
            client: line.client,
            peer: span.peer,
            user_agent: span.user_agent.as_deref().map(Text::lossy),
            status: if is_cut { 0 } else { self.status },
            bytes: sent,
            termination: reason,
            route: Some((Text::of(&route.config.name), Text::of(&route.config.path.to_string()))),
            pool: None,
            backend_scheme: "http",
            cache: if is_cut { CacheResult::None } else { CacheResult::Hit },
            hedge: None,
            priority: Some(route.config.priority.as_str()),
            phases: timeline.phases,
            shed: None,
            stale: None,
            request_id: Text::lossy(&line.id),
            generation: line.generation,
            visits: Vec::new(),
        });
    }

    /// Counts what took time, which only a client takes here.
    fn took(&self, edge: &Edge, route: &Route, cache: CacheResult, reason: Termination, sent: u64, duration: Duration) {
        let status = if reason == Termination::Cut { 0 } else { self.status };
        route.metrics.record(self.method, status, cache, duration);
        route.metrics.sent(cache, sent);
        if status != 0 {
            // Its head goes before anything can hold it up.
            route.metrics.first_byte(Duration::ZERO);
        }
        let timeline = Timeline::of(Course { started: self.started, duration, client: duration, ..Course::default() });
        route.metrics.phases(duration, &timeline.phases);
        if !route.metrics.is_slow(duration) {
            return;
        }
        let line = self.line.as_ref();
        let id = line.and_then(|line| std::str::from_utf8(&line.id).ok()).unwrap_or_default();
        route.metrics.keep(SlowRequest {
            time: line.map_or_else(clock::wall, |line| line.time),
            method: self.method.as_str().to_owned(),
            host: line.map(|line| slow::clipped(&line.host)),
            path: line.map(|line| slow::target(&line.path, edge.peek().config().slow)),
            status,
            cache,
            reason,
            backend: None,
            request_id: id.to_owned(),
            trace_id: line
                .and_then(|line| line.trace)
                .filter(|trace| trace.sampled.is_some())
                .map(|trace| trace.id.bits()),
            origin: Vec::new(),
            timeline,
        });
    }

    /// The same, for a reply that outlives its request's bytes.
    pub(super) fn into_owned(self) -> Account<'static> {
        let Account { started, method, protocol, status, length, line } = self;
        let line = line.map(|line| Line {
            time: line.time,
            client: line.client,
            host: Cow::Owned(line.host.into_owned()),
            path: Cow::Owned(line.path.into_owned()),
            id: Cow::Owned(line.id.into_owned()),
            generation: line.generation,
            coding: line.coding,
            trace: line.trace,
            span: line.span.map(SpanFacts::into_owned),
            referer: Cow::Owned(line.referer.into_owned()),
            user_agent: Cow::Owned(line.user_agent.into_owned()),
        });
        Account { started, method, protocol, status, length, line }
    }
}
