//! The request as it enters: one normal form, one route, within the route's limits.
//!
//! Target and host are normalised once, in place: what matches the route, what makes the key and what the backend
//! sees are the same bytes, so that no two parts of the way can disagree about what was asked for.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, HOST, UPGRADE};
use http::{Method, Uri};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::ctx::Ctx;
use super::{deadlines, fields, identity, priority, traced};
use crate::cache::{self, device};
use crate::caller::Client;
use crate::config;
use crate::telemetry::Termination;
use crate::uri::{self, BadTarget};

/// An answer we give ourselves.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Its status.
    pub status: u16,
    /// Why, for log and metric.
    pub reason: Termination,
    /// Why, for the client.
    pub sentence: Cow<'static, str>,
    /// The error type of `Proxy-Status` (RFC 9209 §2.3).
    pub proxy_error: &'static str,
    /// The word that says more of it.
    pub details: Option<&'static str>,
}

/// Normalises, routes and limits; after it `ctx` knows the client, host and route.
pub(super) fn enter(session: &mut Session, ctx: &mut Ctx) -> Result<(), Refusal> {
    let peer = session.client_addr().and_then(|a| a.as_inet()).map(|a| a.ip());
    let from = if session.subrequest_ctx.is_some() { From::Refresh { cause: peer } } else { From::Client(peer) };
    if session.req_header().version == http::Version::HTTP_10 {
        // RFC 9110 §15.2: such a client knows no interim responses.
        session.as_downstream_mut().set_ignore_info_resp(true);
    }
    ctx.version = session.req_header().version;
    if ctx.version == http::Version::HTTP_2 {
        authority(session.req_header_mut())?;
    }
    let secure = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    place(session.req_header_mut(), from, secure, ctx)?;
    let speaks_http2 = ctx.route.as_ref().is_some_and(|route| route.pool.config().http2.is_some());
    if speaks_http2 && session.is_upgrade_req() { Err(no_upgrade()) } else { Ok(()) }
}

/// HTTP/2 knows no upgrades (RFC 9113 §8.6).
fn no_upgrade() -> Refusal {
    Refusal {
        status: 501,
        reason: Termination::MethodRefused,
        sentence: "The backends of this route speak HTTP/2, which has no upgrades.".into(),
        proxy_error: "http_request_error",
        details: None,
    }
}

/// Gives a request of HTTP/2 the form of one of HTTP/1: `Host` for `:authority`, a target without it (RFC 9113 §8.3.1).
fn authority(request: &mut RequestHeader) -> Result<(), Refusal> {
    // Pingora makes a refresh of its bytes, which it reads as HTTP/1.
    request.set_version(http::Version::HTTP_11);
    let Some(authority) = request.uri.authority().map(|authority| authority.as_str().to_owned()) else { return Ok(()) };
    if request.headers.get_all(HOST).iter().any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(bad_request("host"));
    }
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    request.set_uri(Uri::try_from(path).map_err(|_| bad_request("target"))?);
    request.insert_header(HOST, authority).map_err(|_| bad_request("host"))
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// A client at this address.
    Client(Option<IpAddr>),
    /// A request of a client at this address caused it. It is made of the bytes of that request, not of what was left of its
    /// fields, so what these say is to be believed no more than there.
    Refresh {
        /// Who caused it.
        cause: Option<IpAddr>,
    },
}

/// The same without a connection: what the request is, for whom, and by which route. `secure` is whether it, or what caused it,
/// came by TLS.
pub(super) fn place(request: &mut RequestHeader, from: From, secure: bool, ctx: &mut Ctx) -> Result<(), Refusal> {
    let (From::Client(peer) | From::Refresh { cause: peer }) = from;
    ctx.client = identity::client(peer, &ctx.snapshot.config().server.trusted_proxies, &request.headers);
    ctx.client.secure = secure;
    if !fields::has(&request.headers, &UPGRADE) {
        super::upstream::strip_nominated(request);
    }
    identity::forget_lookalikes(request);
    if !ctx.client.trusted {
        identity::forget_told(request);
    }
    if matches!(from, From::Refresh { .. }) {
        // Nobody waits for it, and no backend is told that somebody does.
        ctx.client = Client { trusted: ctx.client.trusted, secure, ..Client::default() };
    }
    identity::note_scheme(&ctx.client, request);
    identity::tell_subject(ctx, request);
    ctx.patience = deadlines::take(request, ctx.started);
    ctx.request_id = Some(identity::request_id(&request.headers));
    ctx.trace = traced::enter(request, ctx);
    ctx.reveal = may_be_told(request, &ctx.client, &ctx.snapshot.config().cache.reveal);
    let (host, port) = host(request)?;
    let path = target(request)?;
    ctx.host = host;
    ctx.port = port;
    let Some(route) = ctx.snapshot.route(&ctx.host, &path).cloned() else { return Err(no_route()) };
    key_query(request, &route.config.cache.key.query);
    tell_device(request, &route.config.cache.key.devices);
    identity::forget_lookalikes_of(request, &route.config.cache.key.headers);
    if let Some(field) = &route.config.priority_header {
        identity::forget_lookalikes_of(request, std::slice::from_ref(field));
    }
    ctx.class = priority::class(request, &ctx.client, &route.config);
    let max_body = route.config.max_body;
    ctx.route = Some(route);
    let length = request.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if length.is_some_and(|n| n > max_body) { Err(body_too_large()) } else { Ok(()) }
}

/// The host asked for, and its port. The lane has seen to it that there is at most one `Host`.
fn host(request: &RequestHeader) -> Result<(String, Option<u16>), Refusal> {
    let Some(given) = request.headers.get(HOST) else { return Ok((String::new(), None)) };
    let given = given.to_str().map_err(|_| bad_request("host"))?;
    let (host, port) = uri::normalise_host(given).map_err(|e| bad_request(e.as_str()))?;
    Ok((host.into_owned(), port))
}

/// Rewrites the target into its normal form and returns the path.
fn target(request: &mut RequestHeader) -> Result<String, Refusal> {
    let raw = std::str::from_utf8(request.raw_path()).map_err(|_| bad_request("target"))?.to_owned();
    // The whole server can only be asked for its options (RFC 9112 §3.2.4).
    if raw == "*" && request.method != Method::OPTIONS {
        return Err(bad_request(BadTarget::Form.as_str()));
    }
    let target = uri::normalise(&raw).map_err(|e| bad_request(e.as_str()))?;
    let path = target.path.clone().into_owned();
    let whole = match &target.query {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => Cow::Borrowed(path.as_str()),
    };
    if *whole != raw {
        let uri = Uri::try_from(whole.as_ref()).map_err(|_| bad_request("target"))?;
        request.set_uri(uri);
    }
    Ok(path)
}

/// Drops and sorts query parameters as the route's key does, so that the backend sees what the key holds.
fn key_query(request: &mut RequestHeader, params: &cache::query::Params) {
    let Some(query) = request.uri.query() else { return };
    let applied = params.apply(Some(query));
    if applied.as_deref() == Some(query) {
        return;
    }
    let path = request.uri.path();
    let whole = match applied {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // A query made of parts of a valid query is valid; were it not, the key would be made of the query as it came.
    if let Ok(uri) = Uri::try_from(whole) {
        request.set_uri(uri);
    }
}

/// Tells the backend the class of device by which the key tells requests apart, and nothing else by that name.
fn tell_device(request: &mut RequestHeader, rules: &[device::Rule]) {
    fields::remove(request, |name| *name == device::FIELD);
    if !rules.is_empty() {
        let class = device::class(rules, &request.headers).to_owned();
        // Class names are checked when the configuration is read: a field can hold them.
        let _ = request.insert_header(device::FIELD, class);
    }
}

/// Whether the client is told the key and why: by its address, or by a secret, which goes no further.
fn may_be_told(request: &mut RequestHeader, client: &Client, reveal: &config::Reveal) -> bool {
    let is_listed = |ip| reveal.clients.iter().any(|net| net.contains(&ip));
    let knows = reveal.secret.as_ref().is_some_and(|(field, secret)| {
        let knows = request.headers.get(field).is_some_and(|given| secret.is(given.as_bytes()));
        fields::remove(request, |name| name == field);
        knows
    });
    knows || client.address.is_some_and(is_listed)
}

fn bad_request(what: &'static str) -> Refusal {
    Refusal {
        status: 400,
        reason: Termination::BadRequest,
        sentence: format!("The request is malformed: {what}.").into(),
        proxy_error: "http_request_error",
        details: None,
    }
}

fn no_route() -> Refusal {
    Refusal {
        status: 404,
        reason: Termination::NoRoute,
        sentence: "No route matches this host and path.".into(),
        proxy_error: "destination_not_found",
        details: None,
    }
}

/// The client wanted an answer from the cache alone (RFC 9111 §5.2.1.7).
pub(super) fn not_cached() -> Refusal {
    Refusal {
        status: 504,
        reason: Termination::Done,
        sentence: "Not in the cache, and nothing else was wanted.".into(),
        proxy_error: "http_response_timeout",
        details: None,
    }
}

/// The body is, or has grown, over the route's `max_body`.
pub(super) fn body_too_large() -> Refusal {
    Refusal {
        status: 413,
        reason: Termination::BodyTooLarge,
        sentence: "The request's body is too large.".into(),
        proxy_error: "http_request_error",
        details: None,
    }
}
