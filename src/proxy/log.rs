//! How a request ended: one cause, one line, one count.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use super::admission;
use super::ctx::{Ctx, Unlogged};
use super::handling::Sent;
use super::notes;
use super::request::{Refusal, body_too_large};
use super::{timeline, traced};
use crate::cache::compression;
use crate::cache::status::{Path, StaleUse};
use crate::clock;
use crate::edge::Edge;
use crate::grpc;
use crate::last_word::LastWord;
use crate::tail::queue::Shed;
use crate::telemetry::slow::{self, SlowRequest};
use crate::telemetry::{Agent, CacheResult, Method, Record, RouteMetrics, Termination, Timeline};
use crate::upstream::Failure;

/// The answer to a fault; `None` when nobody is left to read one. Notes the cause.
pub(super) fn fault(e: &Error, session: &Session, ctx: &mut Ctx) -> Option<Refusal> {
    if ctx.last_word.as_ref().is_some_and(|word| word.said().is_some()) {
        // The client has its answer, and the connection looked as if it had left.
        ctx.end(Termination::Deadline);
        return None;
    }
    match e.esource() {
        ErrorSource::Downstream => client_fault(e, ctx),
        ErrorSource::Upstream => Some(upstream_fault(upstream_failure(e, ctx), session, ctx)),
        // Pingora leaves the source of a failed write to the client open.
        ErrorSource::Unset if matches!(e.etype(), ErrorType::WriteError | ErrorType::WriteTimedout) => {
            client_fault(e, ctx)
        }
        ErrorSource::Internal | ErrorSource::Unset => Some(internal_fault(e, session, ctx)),
    }
}

fn client_fault(e: &Error, ctx: &mut Ctx) -> Option<Refusal> {
    match e.etype() {
        ErrorType::HTTPStatus(413) => Some(body_too_large()),
        ErrorType::ReadTimedout => Some(Refusal {
            status: 408,
            reason: Termination::ClientTimeout,
            sentence: "The request's body took too long.".into(),
            proxy_error: "http_request_error",
            details: None,
        }),
        ErrorType::WriteTimedout => {
            ctx.end(Termination::ClientTimeout);
            None
        }
        // The lane's clock for writes speaks through the error of the stream.
        ErrorType::WriteError if is_timeout(e) => {
            ctx.end(Termination::ClientTimeout);
            None
        }
        ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed | ErrorType::ConnectError => {
            ctx.end(Termination::ClientClosed);
            None
        }
        _ => Some(Refusal {
            status: 400,
            reason: Termination::BadRequest,
            sentence: "The request is malformed: body.".into(),
            proxy_error: "http_request_error",
            details: None,
        }),
    }
}

fn is_timeout(e: &Error) -> bool {
    e.root_cause().downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::TimedOut)
}

fn upstream_failure(e: &Error, ctx: &Ctx) -> Failure {
    if ctx.shed.is_some() {
        return Failure::Shed;
    }
    let seen = ctx.exchange.as_ref().and_then(|x| x.seen.lock().failure);
    seen.or(ctx.upgrade_failure).unwrap_or_else(|| Failure::of_read(e, Failure::FirstByteTimeout))
}

/// The word for a request that no backend was asked for, as they do not want to be asked now; that is known only at the end.
fn throttled(ctx: &Ctx) -> Option<&'static str> {
    let seen = ctx.exchange.as_ref().and_then(|x| x.seen.lock().failure);
    seen.or(ctx.upgrade_failure).filter(|failure| *failure == Failure::Throttled).map(Failure::as_str)
}

/// Why the request got no place at the backends, if that is so.
pub(super) fn shed(ctx: &Ctx) -> Option<&'static str> {
    ctx.shed.map(Shed::as_str).or_else(|| throttled(ctx))
}

fn upstream_fault(failure: Failure, session: &Session, ctx: &Ctx) -> Refusal {
    if failure == Failure::BodyRefused {
        return body_too_large();
    }
    if let Some(shed) = ctx.shed {
        return admission::refusal(shed);
    }
    if failure == Failure::Throttled {
        return admission::busy(failure.as_str());
    }
    let pool = ctx.route.as_ref().map_or("", |r| r.pool.name());
    let backend = ctx.exchange.as_ref().and_then(|x| x.seen.lock().tried.last().cloned());
    let backend = backend.as_ref().map_or("none", |m| m.backend.name());
    ::log::warn!("{}: pool {pool}, backend {backend}: {}", session.request_summary(), failure.as_str());
    let sentence = match failure {
        Failure::NoBackend | Failure::DnsError => "No backend is available for this request.",
        Failure::NotHttp2 => "The backend does not speak HTTP/2.",
        _ if failure.status() == 504 => "The backend did not answer in time.",
        _ => "The backend did not give a valid answer.",
    };
    Refusal {
        status: failure.status(),
        reason: failure.termination(),
        sentence: sentence.into(),
        proxy_error: failure.proxy_error(),
        details: None,
    }
}

fn internal_fault(e: &Error, session: &Session, _ctx: &Ctx) -> Refusal {
    ::log::error!("{}: {e}", session.request_summary());
    Refusal {
        status: 500,
        reason: Termination::Internal,
        sentence: "The proxy failed.".into(),
        proxy_error: "proxy_internal_error",
        details: None,
    }
}

/// Writes the access log's line and counts.
pub(super) fn request(edge: &Edge, session: &Session, e: Option<&Error>, ctx: &mut Ctx) {
    if ctx.unlogged.take().is_none() {
        // A refresh is nobody's request, but part of a trace.
        return refreshed(edge, session, ctx);
    }
    if let Some(e) = e {
        // A body that broke off after its head was sent ends here without an answer of ours.
        if let Some(refusal) = ctx.ended.is_none().then(|| fault(e, session, ctx)).flatten() {
            ctx.end(refusal.reason);
        }
    }
    if let (Some(route), Some(word)) = (&ctx.route, throttled(ctx)) {
        route.pool.counters().shed(ctx.class.as_str(), word);
    }
    let reason = ctx.ended.unwrap_or(Termination::Done);
    let last_word = ctx.last_word.as_ref().and_then(LastWord::said);
    let status = match last_word {
        Some(_) => Failure::Deadline.status(),
        None => session.response_written().map_or(0, |r| r.status.as_u16()),
    };
    let outcome = match &ctx.route {
        Some(_) if ctx.answered && last_word.is_none() => Some(notes::outcome(session, ctx, status)),
        _ => None,
    };
    let cache = outcome.as_ref().map_or(CacheResult::None, |outcome| CacheResult::of(outcome.word().as_str()));
    let stale = outcome.as_ref().and_then(|outcome| outcome.stale).map(StaleUse::as_str);
    if let Some(stale) = stale {
        edge.metrics().stale_served(stale);
    }
    let duration = last_word.map_or_else(clock::now, |said| said.at).since(ctx.started);
    let method = &session.req_header().method;
    let counters = ctx.route.as_ref().map_or(edge.metrics().unrouted(), |r| &r.metrics);
    counters.record(Method::from(method), status, cache, duration);
    if let Some(status) = call(ctx) {
        counters.called(status);
    }
    if let Some(headed) = ctx.headed {
        counters.first_byte(headed.since(ctx.started));
    }
    if let Some(Path::Forward { why, collapsed, .. }) = outcome.map(|outcome| outcome.path) {
        counters.forwarded(why.as_str());
        if let Some(answered) = collapsed {
            counters.collapsed(if answered { "answered" } else { "in-vain" });
        }
    }
    edge.metrics().terminated(reason);
    let request = session.req_header();
    let request = Request {
        method: &request.method,
        uri: &request.uri,
        protocol: version(ctx.version),
        bytes: last_word.map_or(session.body_bytes_sent() as u64, |said| said.body),
    };
    let sent = session.response_written().filter(|_| last_word.is_none());
    let coding = sent.and_then(|sent| compression::word(&sent.headers));
    let line = Line { reason, status, cache, stale, coding, duration };
    let timeline = timeline::of(session, ctx, duration);
    ctx.trace_id = traced::end(edge, ctx, &request, &line, Some(&session.req_header().headers), &timeline);
    time(counters, ctx, &request, &line, timeline);
    write(edge, ctx, &request, &line, Some(&session.req_header().headers));
}

/// The status of a gRPC call, if it was one: the edge's, or the backend's.
fn call(ctx: &Ctx) -> Option<grpc::Status> {
    ctx.call.or_else(|| ctx.exchange.as_ref()?.seen.lock().call)
}

/// A refresh has ended.
fn refreshed(edge: &Edge, session: &Session, ctx: &Ctx) {
    let duration = clock::now().since(ctx.started);
    let request = session.req_header();
    let request = Request { method: &request.method, uri: &request.uri, protocol: "", bytes: 0 };
    let status = session.response_written().map_or(0, |r| r.status.as_u16());
    let reason = ctx.ended.unwrap_or(Termination::Done);
    let line = Line { reason, status, cache: CacheResult::None, stale: None, coding: None, duration };
    // No page has a place for it.
    let _trace = traced::end(
        edge,
        ctx,
        &request,
        &line,
        Some(&session.req_header().headers),
        &timeline::of(session, ctx, duration),
    );
}

/// Counts where the time of a request went, and keeps it if it is among the slowest.
fn time(counters: &RouteMetrics, ctx: &Ctx, request: &Request<'_>, line: &Line, timeline: Timeline) {
    let duration = line.duration;
    counters.sent(line.cache, request.bytes);
    if line.status == 101 {
        // Its time was that of a tunnel.
        return;
    }
    counters.phases(duration, &timeline.phases);
    if let Some(took) = ctx.exchange.as_ref().and_then(|exchange| exchange.seen.lock().took) {
        counters.upstream(took);
    }
    if let Some(trace_id) = ctx.trace_id {
        counters.sampled(trace_id, duration, clock::wall());
    }
    if !counters.is_slow(duration) {
        return;
    }
    let target = request.uri.path_and_query().map_or("", |target| target.as_str());
    counters.keep(SlowRequest {
        time: ctx.wall,
        method: slow::clipped(request.method.as_str()),
        host: Some(slow::clipped(&ctx.host)),
        path: Some(slow::target(target, ctx.snapshot.config().slow)),
        status: line.status,
        cache: line.cache,
        reason: line.reason,
        backend: Sent::of(ctx).backend.map(|backend| backend.shared_name()),
        request_id: ctx.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned(),
        trace_id: ctx.trace_id,
        origin: ctx.origin.clone(),
        timeline,
    });
}

/// Writes the line of a request that was dropped in its midst, and counts it.
pub(super) fn cut(ctx: &mut Ctx, unlogged: &Unlogged) {
    let edge = &unlogged.edge;
    let duration = clock::now().since(ctx.started);
    let counters = ctx.route.as_ref().map_or(edge.metrics().unrouted(), |r| &r.metrics);
    counters.record(Method::from(&unlogged.method), 0, CacheResult::None, duration);
    edge.metrics().terminated(Termination::Cut);
    let line =
        Line { reason: Termination::Cut, status: 0, cache: CacheResult::None, stale: None, coding: None, duration };
    let request = Request { method: &unlogged.method, uri: &unlogged.uri, protocol: "", bytes: 0 };
    let timeline = timeline::of_dropped(ctx, duration);
    ctx.trace_id = traced::end(edge, ctx, &request, &line, None, &timeline);
    time(counters, ctx, &request, &line, timeline);
    write(edge, ctx, &request, &line, None);
}

/// What of the request's head is logged.
pub(super) struct Request<'a> {
    pub method: &'a http::Method,
    pub uri: &'a http::Uri,
    pub protocol: &'static str,
    pub bytes: u64,
}

/// What of its end is.
pub(super) struct Line {
    pub reason: Termination,
    pub status: u16,
    pub cache: CacheResult,
    pub stale: Option<&'static str>,
    pub coding: Option<&'static str>,
    pub duration: Duration,
}

fn write(edge: &Edge, ctx: &Ctx, request: &Request<'_>, line: &Line, headers: Option<&HeaderMap>) {
    let sent = Sent::of(ctx);
    let backend = sent.backend.as_deref();
    let upstream_time = ctx.exchange.as_ref().and_then(|exchange| exchange.seen.lock().took);
    let path = request.uri.path_and_query().map_or("", |p| p.as_str());
    let log = edge.access_log();
    let headers = headers.filter(|_| log.tells_agent());
    log.log(&Record {
        time: ctx.wall,
        client: ctx.client.address,
        method: request.method.as_str(),
        host: &ctx.host,
        path,
        protocol: request.protocol,
        status: line.status,
        grpc_status: call(ctx).map(grpc::Status::as_str),
        bytes: request.bytes,
        duration: line.duration,
        upstream_time,
        route: ctx.route.as_ref().map(|r| r.config.name.as_str()),
        pool: backend.and(ctx.route.as_ref()).map(|r| r.pool.name()),
        backend: backend.map(|b| b.name()),
        cache: line.cache,
        attempts: sent.attempts,
        hedge: sent.hedge,
        priority: ctx.route.as_ref().map(|_| ctx.class.as_str()),
        queue_time: ctx.queued,
        shed: shed(ctx),
        stale: line.stale,
        coding: line.coding,
        reason: line.reason,
        request_id: ctx.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default(),
        trace: ctx.trace.map(|trace| trace.id),
        generation: ctx.snapshot.generation(),
        agent: Agent::of(|name| headers?.get(name).map(HeaderValue::as_bytes)),
    });
}

fn version(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
