//! The trace of a request: what of its caller's context is believed, what backends are told, what is recorded.
//!
//! What is believed is decided once, where the request enters, and what is not is taken out there. Each attempt then names its
//! own span. A refresh is made of its cause's bytes: its trace is that of its cause's caller, if that is believed, or its own.

use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::RequestHeader;

use super::ctx::Ctx;
use super::handling::Sent;
use super::log::{self, Line, Request};
use crate::edge::Edge;
use crate::telemetry::tracing::record::Text;
use crate::telemetry::visits::Kind;
use crate::telemetry::{Entry, Phase, Recorded, Timeline, Trace};
use crate::trace::context::Parent;
use crate::trace::sampling::End;
use crate::trace::{baggage, state};
use crate::upstream::Fields;

// As text: pingora sends a field in the spelling it was given.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
const BAGGAGE: &str = "baggage";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The place of a request that enters, and in its fields the context that goes on. Without traces these pass as they came.
pub(super) fn enter(request: &mut RequestHeader, ctx: &Ctx) -> Option<Trace> {
    let config = ctx.snapshot.config().tracing.as_deref()?;
    let is_believed = config.trust.believes(ctx.client.trusted);
    let parent = if is_believed { Parent::read(values(request, TRACEPARENT)) } else { None };
    // It tells of a trace, and goes with it.
    let state = parent.and_then(|_| state::passed_on(values(request, TRACESTATE)));
    let passes = is_believed && baggage::check(values(request, BAGGAGE)).is_ok();
    request.remove_header(TRACESTATE);
    if let Some(state) = state.and_then(|state| HeaderValue::from_str(&state).ok()) {
        // A value that any field can hold.
        let _infallible = request.insert_header(TRACESTATE, state);
    }
    if !passes {
        request.remove_header(BAGGAGE);
    }
    // Each attempt says its own.
    request.remove_header(TRACEPARENT);
    Some(Trace::begin(config, parent, ctx.client.trusted))
}

fn values<'a>(request: &'a RequestHeader, name: &str) -> impl Iterator<Item = &'a [u8]> {
    request.headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

fn value_of(parent: &Parent) -> HeaderValue {
    HeaderValue::from_bytes(&parent.value()).unwrap_or(HeaderValue::from_static(""))
}

/// Names the attempt noted at `entry` in the request that it sends.
pub(super) fn tell(trace: Option<Trace>, entry: &Entry, request: &mut RequestHeader) -> Result<()> {
    match trace.zip(entry.place()) {
        Some((trace, nth)) => request.insert_header(TRACEPARENT, value_of(&trace.told(nth))),
        None => Ok(()),
    }
}

/// The same in a head that is sent now.
pub(super) fn tell_in(fields: &mut Fields<'_>, trace: Option<Trace>, entry: &Entry) {
    if let Some((trace, nth)) = trace.zip(entry.place()) {
        let parent = trace.told(nth);
        fields.add(TRACEPARENT, std::str::from_utf8(&parent.value()).unwrap_or_default());
    }
}

/// Hands the request in, if it is to be recorded, and says in which trace. `headers` are its own, where they are still there.
pub(super) fn end(
    edge: &Edge,
    ctx: &Ctx,
    request: &Request<'_>,
    line: &Line,
    headers: Option<&HeaderMap>,
    timeline: &Timeline,
) -> Option<u128> {
    let trace = ctx.trace?;
    let tracer = edge.tracer();
    let shed = log::shed(ctx);
    // A tunnel lasts as long as its ends like.
    let took = if line.status == 101 { Duration::ZERO } else { timeline.duration };
    let end = End {
        took: took.saturating_sub(timeline.phases.get(Phase::Client)),
        failed: line.reason.is_fault() || line.status >= 500,
        hedged: timeline.visits.iter().any(|visit| visit.kind == Kind::Hedge),
        shed: shed.is_some(),
    };
    let reason = tracer.judge(trace.sampled, &end)?;
    let field = |name: HeaderName| headers.and_then(|headers| headers.get(name));
    let is_https = field(FORWARDED_PROTO).is_some_and(|told| told.as_bytes().eq_ignore_ascii_case(b"https"));
    let sent = Sent::of(ctx);
    let route = ctx.route.as_deref();
    tracer.record(Recorded {
        is_refresh: ctx.client.peer.is_none(),
        trace,
        reason,
        wall: ctx.wall,
        started: ctx.started,
        duration: line.duration,
        method: Text::of(request.method.as_str()),
        scheme: if ctx.client.trusted && is_https { "https" } else { "http" },
        host: Text::of(&ctx.host),
        port: ctx.port,
        path: Text::of(request.uri.path()),
        query: request.uri.query().filter(|_| tracer.tells_query()).map(Text::of),
        version: request.protocol.strip_prefix("HTTP/").unwrap_or_default(),
        client: ctx.client.address,
        peer: ctx.client.peer,
        user_agent: field(USER_AGENT).map(|agent| Text::lossy(agent.as_bytes())),
        status: line.status,
        bytes: request.bytes,
        termination: line.reason,
        route: route.map(|route| (Text::of(&route.config.name), Text::of(&route.config.path.to_string()))),
        backend_scheme: if route.is_some_and(|route| route.pool.config().tls.is_some()) { "https" } else { "http" },
        pool: sent.backend.and(route).map(|route| Text::of(route.pool.name())),
        cache: line.cache,
        hedge: sent.hedge,
        priority: route.map(|_| ctx.class.as_str()),
        phases: timeline.phases,
        shed,
        stale: line.stale,
        request_id: ctx.request_id.as_ref().map(|id| Text::lossy(id.as_bytes())).unwrap_or_default(),
        generation: ctx.snapshot.generation(),
        visits: timeline.visits.clone(),
    });
    Some(trace.id.bits())
}
