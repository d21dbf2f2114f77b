//! What goes to the backend and what comes back, before the cache sees it.

use std::sync::Arc;

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, TE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;

use super::caching::{self, Shared};
use super::ctx::Ctx;
use super::exchange::{Call, Condition, Exchange, ExchangeRef};
use super::resume::{self, Resume};
use super::{deadlines, fields, identity, reported, rescue, traced};
use crate::cache::server_timing;
use crate::cache::status::Fwd;
use crate::cache::vary::{REDUCIBLE, Reduced};
use crate::clock;
use crate::config::Hedge;
use crate::grpc;
use crate::postscript::Postscript;
use crate::snapshot::Route;
use crate::tail::race::NoHedge;
use crate::tail::signals::Kind;
use crate::telemetry::visits;
use crate::trailers;
use crate::upstream::{Failure, introduced};

/// Fields of one connection (RFC 9110 §7.6.1), and credentials meant for us.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authorization"),
    TE,
    TRANSFER_ENCODING,
    http::header::UPGRADE,
];
/// The same in responses.
const OF_THE_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    http::header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    http::header::UPGRADE,
];
/// What a client must not have removed by naming it in `Connection`: it would hide where a request comes from.
const PROTECTED: [&str; 7] =
    ["host", "content-length", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"];

/// What a backend must not have removed by naming it in `Connection`: without its framing a response cannot be read,
/// without the others a stored copy would answer the wrong variant, for too long, or be misread.
const NEEDED: [HeaderName; 6] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    http::header::VARY,
    CACHE_CONTROL,
    http::header::CONTENT_TYPE,
    http::header::CONTENT_ENCODING,
];

/// The request as the backend gets it.
pub(super) fn prepare(
    shared: &Shared,
    session: &mut Session,
    request: &mut RequestHeader,
    ctx: &mut Ctx,
) -> Result<()> {
    let Some(route) = ctx.route.clone() else { return Err(super::forward::error(Failure::NoBackend)) };
    let upgrade = session.is_upgrade_req();
    let authority = authority(session, request, ctx);
    let reads_trailers = request.headers.get_all(TE).iter().any(|te| trailers::are_accepted(te.as_bytes()));
    if !upgrade {
        strip(request);
        if !session.as_mut().is_body_empty() && !request.headers.contains_key(CONTENT_LENGTH) {
            request.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
    }
    if let Some(authority) = authority.as_ref().filter(|authority| request.headers.get(HOST) != Some(*authority)) {
        request.insert_header(HOST, authority.clone())?;
    }
    if ctx.cache.looked_up {
        reduce(&route, request)?;
    }
    let told = identity::tell(ctx, authority.as_ref(), request);
    if let Some(attempt) = &ctx.upgraded {
        traced::tell(ctx.trace, attempt.entry(), request)?;
    }
    ctx.asked = Some(clock::wall());
    // A body that pingora sends again is counted again.
    ctx.received = 0;
    if upgrade {
        for (name, value) in told {
            request.append_header(name, value)?;
        }
    } else {
        let options = match (route.pool.config().keepalive, reads_trailers) {
            (true, true) => Some("TE"),
            (false, true) => Some("close, TE"),
            (false, false) => Some("close"),
            (true, false) => None,
        };
        if let Some(options) = options {
            request.insert_header(CONNECTION, options)?;
        }
        if reads_trailers {
            // Who says so to us is told what is said to us (RFC 9110 §10.1.4).
            request.insert_header(TE, "trailers")?;
            if let Some(postscript) = Postscript::of_this_connection() {
                postscript.want();
            }
        }
        let is_call = grpc::is_call(&request.headers);
        let call = is_call.then(|| Call { is_safe: route.config.safe_methods.has(request.uri.path()) });
        let idempotent = request.method.is_idempotent() || call.is_some_and(|call| call.is_safe);
        let started = ctx.started;
        if let Some(range) = ctx.part.as_ref().and_then(|part| part.ask().field()) {
            request.insert_header(RANGE, range)?;
        }
        let resume = resume::plan(shared.store, session, request, ctx);
        let asks_if_it_holds = resume.as_ref().and_then(Resume::condition).cloned();
        if resume.is_some() && asks_if_it_holds.is_none() {
            ctx.cache.fwd = Some(Fwd::Partial);
        }
        let mut condition = asks_if_it_holds.map_or_else(|| condition(session, request), Condition::Stored);
        let stored =
            session.cache.maybe_cache_meta().filter(|stored| stored.response_header().status == StatusCode::OK);
        let stored = stored.filter(|_| session.req_header().method == Method::HEAD && session.cache.enabled());
        let by_head = stored.is_some();
        if let Some(stored) = stored {
            // Pingora asks for all of it, but the client wants to know no more than whether it still holds.
            request.set_method(Method::HEAD);
            condition = Condition::Stored(stored.headers().clone());
        }
        let copying = may_copy(session, &route, call);
        let has_fallback = caching::has_fallback(session, ctx);
        // Pingora panics when it is asked for the lock of a cache that was switched off after the key was made.
        let leads = session.cache.enabled() && session.cache.is_cache_lock_writer();
        let key = session.cache.maybe_cache_key().filter(|_| leads);
        let waiters = key.and_then(|key| shared.lock.of(key));
        let (patience, for_all) = (ctx.patience, session.cache.enabled() || ctx.part.is_some());
        let rescue = rescue::terms(session, request, ctx);
        let opening = identity::introduction(ctx, &route.pool);
        let (permit, visits, trace) = (ctx.permit.take(), ctx.visits.clone(), ctx.trace);
        // A request with a body comes here again for each attempt that pingora repeats.
        let exchange = ctx.exchange.get_or_insert_with(|| {
            let mut exchange = Exchange::new(route, idempotent, condition, started);
            exchange.call = call;
            exchange.by_head = by_head;
            exchange.resume = resume;
            (exchange.copying, exchange.has_fallback) = (copying, has_fallback);
            exchange.waiters = waiters;
            (exchange.patience, exchange.for_all) = (patience, for_all);
            exchange.rescue = rescue;
            exchange.admit(permit);
            (exchange.visits, exchange.trace) = (visits, trace);
            exchange.opening = opening;
            exchange.told = told;
            Arc::new(exchange)
        });
        let exchange = exchange.clone();
        deadlines::leave_last_word(session, ctx, &exchange);
        request.extensions_mut().insert(ExchangeRef(exchange));
    }
    Ok(())
}

/// Whether the request may be copied: it is safe (RFC 9110 §9.2.1) and has nothing to be copied but its head, or is a call
/// whose method the route says to be.
fn may_copy(session: &mut Session, route: &Route, call: Option<Call>) -> std::result::Result<(), NoHedge> {
    let is_safe = matches!(session.req_header().method, Method::GET | Method::HEAD);
    match route.config.hedge {
        Hedge::Off => Err(NoHedge::Off),
        Hedge::On if call.is_some() => call.filter(|call| call.is_safe).map(drop).ok_or(NoHedge::Unsafe),
        Hedge::On if is_safe && session.as_mut().is_body_empty() => Ok(()),
        Hedge::On => Err(NoHedge::Unsafe),
    }
}

/// What a 304 would be about. Pingora has put the stored response's conditions in the place of the client's.
fn condition(session: &Session, request: &RequestHeader) -> Condition {
    if !request.headers.contains_key(IF_NONE_MATCH) && !request.headers.contains_key(IF_MODIFIED_SINCE) {
        return Condition::None;
    }
    match session.cache.maybe_cache_meta().filter(|_| session.cache.enabled()) {
        Some(stored) => Condition::Stored(stored.headers().clone()),
        None => Condition::Clients,
    }
}

/// Reduces what selects a variant to what it comes to, as the cache does.
fn reduce(route: &Route, request: &mut RequestHeader) -> Result<()> {
    for name in REDUCIBLE {
        match route.config.cache.vary.reduced(&name, &request.headers) {
            Reduced::To(value) => {
                let value = value.to_owned();
                request.insert_header(name, value)?;
            }
            Reduced::Absent => drop(request.remove_header(&name)),
            Reduced::AsIs => {}
        }
    }
    Ok(())
}

/// The authority the client asked for, or that the route asks for in its place; for HTTP/1.0 without one, the address
/// it connected to.
fn authority(session: &Session, request: &RequestHeader, ctx: &Ctx) -> Option<HeaderValue> {
    if let Some(host) = ctx.route.as_ref().and_then(|route| route.config.cache.key.host.as_deref()) {
        return HeaderValue::from_str(host).ok();
    }
    if ctx.host.is_empty() {
        let ours = session.server_addr().and_then(|a| a.as_inet()).map(ToString::to_string)?;
        return HeaderValue::from_str(&ours).ok();
    }
    let port = ctx.port.map(|port| itoa::Buffer::new().format(port).to_owned());
    let same = request.headers.get(HOST).filter(|given| {
        let rest = given.as_bytes().strip_prefix(ctx.host.as_bytes());
        match &port {
            Some(port) => rest.and_then(|rest| rest.strip_prefix(b":")) == Some(port.as_bytes()),
            None => rest == Some(b""),
        }
    });
    let made = || match &port {
        Some(port) => HeaderValue::from_str(&format!("{}:{port}", ctx.host)).ok(),
        None => HeaderValue::from_str(&ctx.host).ok(),
    };
    same.cloned().or_else(made)
}

/// Removes what belongs to the client's connection.
fn strip(request: &mut RequestHeader) {
    fields::remove(request, |name| HOP_BY_HOP.contains(name));
}

/// Removes what the client names in `Connection`: before the variant is chosen, so that it is chosen by what the
/// backend sees.
pub(super) fn strip_nominated(request: &mut RequestHeader) {
    let nominated = nominated(&request.headers);
    let stays = |name: &HeaderName| PROTECTED.contains(&name.as_str()) || HOP_BY_HOP.contains(name);
    fields::remove(request, |name| nominated.contains(name) && !stays(name));
}

/// The fields that `Connection` names as its own (RFC 9110 §7.6.1).
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let tokens = headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|&b| b == b','));
    tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok()).collect()
}

/// Removes from a response what belongs to the backend's connection.
fn leave_connection(response: &mut ResponseHeader) {
    let nominated = nominated(&response.headers);
    fields::remove_from(response, |name| nominated.contains(name) && !NEEDED.contains(name));
    fields::remove_from(response, |name| OF_THE_CONNECTION.contains(name));
}

/// The response before the cache: what belongs to the backend's connection goes, and a 304 is kept for the merge.
pub(super) fn receive(session: &Session, response: &mut ResponseHeader, ctx: &mut Ctx) {
    let pool = ctx.route.as_ref().map(|route| &route.pool);
    if let (Some(pool), Some(attempt)) = (pool, &ctx.upgraded) {
        reported::hear(pool, attempt.backend(), &response.headers);
    }
    if let Some(pool) = pool {
        reported::strip(pool, response);
    }
    if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
        return leave_connection(response);
    }
    if let Some(attempt) = &mut ctx.upgraded {
        attempt.answered(response, clock::now());
        attempt.entry().used();
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            attempt.tunnelled();
            ctx.permit = None;
        }
    }
    ctx.origin = server_timing::read(&response.headers);
    if response.status != StatusCode::SWITCHING_PROTOCOLS {
        leave_connection(response);
    }
    if response.status == StatusCode::NO_CONTENT {
        fields::remove_from(response, |name| *name == CONTENT_LENGTH);
    }
    let mut lengths = response.headers.get_all(CONTENT_LENGTH).iter().cloned();
    if let (Some(length), Some(_)) = (lengths.next(), lengths.next()) {
        // Pingora accepts repetitions of one length; the next hop need not.
        drop(lengths);
        let _same_name_fits = response.insert_header(CONTENT_LENGTH, length);
    }
    let spliced = ctx.exchange.as_ref().and_then(|exchange| exchange.seen.lock().spliced);
    ctx.cache.fwd_status = Some(spliced.unwrap_or(response.status).as_u16());
    if response.status == StatusCode::NOT_MODIFIED && session.cache.maybe_cache_meta().is_some() {
        ctx.cache.not_modified = Some(response.headers.clone());
    }
    if let Some(mismatch) = ctx.exchange.as_ref().and_then(|exchange| exchange.seen.lock().mismatch) {
        ctx.cache.detail = Some(mismatch.as_str());
    }
}

/// The peer of an upgraded connection: pingora's native path, one attempt.
pub(super) fn upgraded_peer(ctx: &mut Ctx) -> std::result::Result<Box<HttpPeer>, Failure> {
    let route = ctx.route.clone().ok_or(Failure::NoBackend)?;
    let now = clock::now();
    let picked = route.pool.pick(&[], Kind::Primary, now, &mut fastrand::Rng::new());
    let member = picked.inspect_err(|failure| ctx.upgrade_failure = Some(*failure))?;
    let mut attempt = route.pool.begin(&member, Kind::Primary, &route.hedging, now);
    attempt.tell(ctx.visits.enter(member.backend.shared_name(), visits::Kind::First, now));
    ctx.upgraded = Some(attempt);
    let mut peer = match identity::introduction(ctx, &route.pool) {
        Some(opening) => introduced(&member.peer, opening),
        None => (*member.peer).clone(),
    };
    peer.options.read_timeout = Some(route.pool.config().timeouts.idle);
    Ok(Box::new(peer))
}

/// Notes that the connection for an upgrade could not be made.
pub(super) fn upgrade_failed(ctx: &mut Ctx, failure: Failure) {
    if let Some(mut attempt) = ctx.upgraded.take() {
        attempt.failed(failure, clock::now());
    }
    ctx.upgrade_failure = Some(failure);
}
