//! What was recorded as spans: the server's, and one client's for each attempt at a backend.
//!
//! Names and attributes are those of OpenTelemetry's semantic conventions for HTTP; what these have no word for is under
//! `hedgerow.`.

use std::time::SystemTime;

use opentelemetry::trace::{self, SpanContext, SpanKind, Status, TraceFlags, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use opentelemetry_semantic_conventions::attribute as http;

use super::record::{Recorded, Text};
use crate::telemetry::visits::{Kind, Visit};
use crate::telemetry::{CacheResult, Method, Phase};
use crate::trace::context::SpanId;
use crate::units::Tick;

/// The spans of one request, the server's first.
pub(super) fn spans(recorded: Recorded) -> Vec<SpanData> {
    let scope = InstrumentationScope::builder("hedgerow").with_version(env!("CARGO_PKG_VERSION")).build();
    let method = MethodName::of(recorded.method.as_str());
    let mut spans = Vec::with_capacity(1 + recorded.visits.len());
    spans.push(server(&recorded, &method, &scope));
    let mut sent = 0;
    for (nth, visit) in recorded.visits.iter().enumerate() {
        // A probe is nobody's answer: neither sends it the request again.
        let is_probe = visit.kind == Kind::Probe;
        spans.push(attempt(&recorded, &method, visit, nth, if is_probe { 0 } else { sent }, &scope));
        sent += i64::from(!is_probe);
    }
    spans
}

/// The method by the conventions, which know some and no others.
struct MethodName<'a> {
    /// In names of spans.
    name: &'static str,
    /// In `http.request.method`.
    method: &'static str,
    /// In `http.request.method_original`.
    original: Option<&'a str>,
}

impl MethodName<'_> {
    fn of(method: &str) -> MethodName<'_> {
        match Method::of(method) {
            Method::Other => MethodName { name: "HTTP", method: "_OTHER", original: Some(method) },
            known => MethodName { name: known.as_str(), method: known.as_str(), original: None },
        }
    }

    fn write(&self, to: &mut Attributes) {
        to.add(http::HTTP_REQUEST_METHOD, self.method);
        to.some(http::HTTP_REQUEST_METHOD_ORIGINAL, self.original.map(str::to_owned));
    }
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(name, value));
    }

    fn some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

fn text(text: &Text) -> String {
    text.as_str().to_owned()
}

/// The name of what a phase took.
const fn time_in(phase: Phase) -> &'static str {
    match phase {
        Phase::Queue => "hedgerow.time.queue",
        Phase::Collapse => "hedgerow.time.collapse",
        Phase::Retry => "hedgerow.time.retry",
        Phase::Connect => "hedgerow.time.connect",
        Phase::Tls => "hedgerow.time.tls",
        Phase::FirstByte => "hedgerow.time.first_byte",
        Phase::Body => "hedgerow.time.body",
        Phase::Client => "hedgerow.time.client",
        Phase::Other => "hedgerow.time.other",
    }
}

fn server(recorded: &Recorded, method: &MethodName<'_>, scope: &InstrumentationScope) -> SpanData {
    let mut to = Attributes::default();
    method.write(&mut to);
    to.add(http::URL_SCHEME, recorded.scheme);
    to.add(http::URL_PATH, text(&recorded.path));
    to.some(http::URL_QUERY, recorded.query.as_ref().map(text));
    if !recorded.host.as_str().is_empty() {
        to.add(http::SERVER_ADDRESS, text(&recorded.host));
        to.some(http::SERVER_PORT, recorded.port.map(i64::from));
    }
    to.some(http::CLIENT_ADDRESS, recorded.client.map(|ip| ip.to_string()));
    to.some(http::NETWORK_PEER_ADDRESS, recorded.peer.map(|ip| ip.to_string()));
    if !recorded.version.is_empty() {
        to.add(http::NETWORK_PROTOCOL_NAME, "http");
        to.add(http::NETWORK_PROTOCOL_VERSION, recorded.version);
    }
    to.some(http::USER_AGENT_ORIGINAL, recorded.user_agent.as_ref().map(text));
    if recorded.status > 0 {
        to.add(http::HTTP_RESPONSE_STATUS_CODE, i64::from(recorded.status));
    }
    let error = error_of(recorded);
    to.some(http::ERROR_TYPE, error.clone());
    let mut name = method.name.to_owned();
    if let Some((route, path)) = &recorded.route {
        name = format!("{name} {}", path.as_str());
        to.add(http::HTTP_ROUTE, text(path));
        to.add("hedgerow.route", text(route));
    }
    to.some("hedgerow.pool", recorded.pool.as_ref().map(text));
    let answered = recorded.visits.iter().rev().find(|visit| visit.used);
    to.some("hedgerow.backend", answered.map(|visit| visit.backend.to_string()));
    if recorded.cache != CacheResult::None {
        to.add("hedgerow.cache", recorded.cache.as_str());
    }
    to.add("hedgerow.attempts", i64::try_from(recorded.visits.len()).unwrap_or(i64::MAX));
    to.some("hedgerow.hedge", recorded.hedge);
    to.some("hedgerow.priority", recorded.priority);
    for (phase, time) in recorded.phases.iter().filter(|(_, time)| !time.is_zero()) {
        to.add(time_in(phase), time.as_secs_f64());
    }
    to.some("hedgerow.shed", recorded.shed);
    to.some("hedgerow.stale", recorded.stale);
    to.add("hedgerow.reason", recorded.termination.as_str());
    to.add("hedgerow.sampled", recorded.reason.as_str());
    to.add("hedgerow.response.body.sent", i64::try_from(recorded.bytes).unwrap_or(i64::MAX));
    if !recorded.request_id.as_str().is_empty() {
        to.add("hedgerow.request_id", text(&recorded.request_id));
    }
    to.add("hedgerow.generation", i64::try_from(recorded.generation).unwrap_or(i64::MAX));
    if recorded.is_refresh {
        to.add("hedgerow.refresh", true);
    }
    let kind = if recorded.is_refresh { SpanKind::Internal } else { SpanKind::Server };
    let status = error.map_or(Status::Unset, Status::error);
    let end = recorded.wall + recorded.duration;
    let span = Span { own: recorded.trace.span, parent: recorded.trace.parent, is_remote: true, kind };
    span.data(recorded, name, (recorded.wall, end), to, status, scope)
}

/// What went wrong with a request, unless its client did it.
fn error_of(recorded: &Recorded) -> Option<String> {
    match recorded.termination {
        reason if reason.is_fault() => Some(reason.as_str().to_owned()),
        // By the conventions, what the client did wrong is no error of a server.
        _ => (recorded.status >= 500).then(|| recorded.status.to_string()),
    }
}

fn attempt(
    recorded: &Recorded,
    method: &MethodName<'_>,
    visit: &Visit,
    nth: usize,
    resent: i64,
    scope: &InstrumentationScope,
) -> SpanData {
    let mut to = Attributes::default();
    method.write(&mut to);
    let (host, port) = visit.backend.rsplit_once(':').unwrap_or((&visit.backend, ""));
    to.add(http::SERVER_ADDRESS, host.trim_matches(['[', ']']).to_owned());
    to.some(http::SERVER_PORT, port.parse::<i64>().ok());
    let query = recorded.query.as_ref().map(|query| format!("?{}", query.as_str())).unwrap_or_default();
    to.add(http::URL_FULL, format!("{}://{}{}{query}", recorded.backend_scheme, visit.backend, recorded.path.as_str()));
    if resent > 0 {
        to.add(http::HTTP_REQUEST_RESEND_COUNT, resent);
    }
    to.some(http::HTTP_RESPONSE_STATUS_CODE, visit.status.map(i64::from));
    let error = visit.failure.map(str::to_owned).or_else(|| {
        // For a client, by the conventions, what it did wrong is an error too.
        visit.status.filter(|status| *status >= 400).map(|status| status.to_string())
    });
    to.some(http::ERROR_TYPE, error.clone());
    to.add("hedgerow.attempt", visit.kind.as_str());
    to.add("hedgerow.attempt.used", visit.used);
    to.add("hedgerow.attempt.cancelled", visit.cancelled);
    if let Some(dial) = visit.dial {
        to.add(time_in(Phase::Connect), dial.connect.as_secs_f64());
        to.add(time_in(Phase::Tls), dial.tls.as_secs_f64());
    }
    to.some(time_in(Phase::FirstByte), visit.headed.map(|headed| headed.since(visit.begun).as_secs_f64()));
    let at = |tick: Tick| recorded.wall + tick.since(recorded.started);
    // What goes on after its request is told up to there.
    let end = visit.ended.map_or(recorded.wall + recorded.duration, at).max(at(visit.begun));
    let status = error.map_or(Status::Unset, Status::error);
    let own = recorded.trace.span.child(nth);
    let span = Span { own, parent: Some(recorded.trace.span), is_remote: false, kind: SpanKind::Client };
    span.data(recorded, method.name.to_owned(), (at(visit.begun), end), to, status, scope)
}

/// A span's place.
struct Span {
    own: SpanId,
    parent: Option<SpanId>,
    is_remote: bool,
    kind: SpanKind,
}

impl Span {
    fn data(
        self,
        recorded: &Recorded,
        name: String,
        (start_time, end_time): (SystemTime, SystemTime),
        attributes: Attributes,
        status: Status,
        scope: &InstrumentationScope,
    ) -> SpanData {
        let id = |id: SpanId| trace::SpanId::from_bytes(id.bytes());
        let trace = trace::TraceId::from_bytes(recorded.trace.id.bytes());
        SpanData {
            span_context: SpanContext::new(trace, id(self.own), TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: self.parent.map_or(trace::SpanId::INVALID, id),
            parent_span_is_remote: self.is_remote && self.parent.is_some(),
            span_kind: self.kind,
            name: name.into(),
            start_time,
            end_time,
            attributes: attributes.0,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: scope.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::record::tests::sample;
    use super::*;

    fn visit(kind: Kind, begun: u64, ended: Option<u64>) -> Visit {
        let at = |millis: u64| Tick::from_nanos(1_000 + millis * 1_000_000);
        Visit {
            backend: Arc::from("[2001:db8::1]:8001"),
            kind,
            begun: at(begun),
            dial: None,
            headed: None,
            status: None,
            failure: None,
            used: false,
            cancelled: false,
            ended: ended.map(at),
        }
    }

    fn get(span: &SpanData, name: &str) -> Option<String> {
        let mut found = span.attributes.iter().filter(|pair| pair.key.as_str() == name);
        found.next().map(|pair| pair.value.as_str().into_owned())
    }

    #[test]
    fn a_method_that_nobody_knows_makes_no_names() {
        let recorded = Recorded { method: Text::of("FROB"), ..sample(vec![visit(Kind::First, 0, Some(1))]) };
        for span in spans(recorded) {
            assert_eq!(span.name, "HTTP");
            assert_eq!(get(&span, http::HTTP_REQUEST_METHOD).as_deref(), Some("_OTHER"));
            assert_eq!(get(&span, http::HTTP_REQUEST_METHOD_ORIGINAL).as_deref(), Some("FROB"));
        }
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let spans = spans(sample(Vec::new()));
        let [server] = &spans[..] else { panic!("{spans:#?}") };
        for name in
            [http::HTTP_RESPONSE_STATUS_CODE, http::SERVER_ADDRESS, http::NETWORK_PROTOCOL_NAME, http::HTTP_ROUTE]
        {
            assert_eq!(get(server, name), None);
        }
        assert_eq!((server.parent_span_id, server.parent_span_is_remote), (trace::SpanId::INVALID, false));
        assert_eq!(server.status, Status::error("cut"));
    }

    #[test]
    fn a_probe_is_no_resend_and_what_goes_on_ends_with_its_request() {
        let visits =
            vec![visit(Kind::Probe, 0, None), visit(Kind::First, 1, Some(20)), visit(Kind::Retry, 80, Some(90))];
        let spans = spans(sample(visits));
        let resends: Vec<_> = spans.iter().map(|span| get(span, http::HTTP_REQUEST_RESEND_COUNT)).collect();
        assert_eq!(resends, [None, None, None, Some("1".to_owned())]);
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let times: Vec<_> = spans.iter().map(|span| (span.start_time, span.end_time)).collect();
        assert_eq!(times, [(at(0), at(60)), (at(0), at(60)), (at(1), at(20)), (at(80), at(90))]);
        assert_eq!(get(&spans[1], http::SERVER_ADDRESS).as_deref(), Some("2001:db8::1"));
        assert_eq!(get(&spans[1], http::URL_FULL).as_deref(), Some("https://[2001:db8::1]:8001/a"));
        let ids: std::collections::BTreeSet<_> =
            spans.iter().map(|span| span.span_context.span_id().to_bytes()).collect();
        assert_eq!(ids.len(), 4);
    }
}
