//! Who asks, and what the backend is told about it.
//!
//! `X-Forwarded-*` and `Forwarded` (RFC 7239) are ours to say: a client's own are dropped, because a backend that
//! believes them would let anyone choose an address, and a cached answer to them would reach others. Only a peer in
//! `trusted_proxies` is appended to rather than replaced.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use pingora::Result;
use pingora::http::RequestHeader;

use super::ctx::Ctx;
use crate::caller::{Client, RequestId, X_REQUEST_ID};
use crate::upstream::{Introduction, Pool};

// As text: pingora sends a field in the spelling it was given.
const FORWARDED: &str = "Forwarded";
const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host";
const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";

/// Path or method by header, which some frameworks obey. No key holds them, so what may be cached goes without.
const OVERRIDES: [&str; 5] =
    ["x-original-url", "x-rewrite-url", "x-http-method-override", "x-http-method", "x-method-override"];
/// Other spellings of what we say ourselves.
const OTHER_FORWARDED: [&str; 5] =
    ["x-forwarded-port", "x-forwarded-scheme", "x-forwarded-server", "x-forwarded-prefix", "x-real-ip"];
/// What else a name with underscores may be taken for.
const LOOKALIKES: [&str; 12] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "forwarded",
    "grpc-timeout",
    "proxy-authorization",
    "transfer-encoding",
    "x-device-class",
    "x-real-ip",
    "x-request-id",
    "x-request-timeout-ms",
];

/// Who the peer is, and whom it speaks for if it is trusted.
pub(super) fn client(peer: Option<IpAddr>, trusted_proxies: &[IpNet], headers: &HeaderMap) -> Client {
    Client::new(peer, trusted_proxies, headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes))
}

/// Whom a connection to a backend speaks for, if the pool has that told by the PROXY protocol: the client, from its port if that
/// is known.
pub(super) fn introduction(ctx: &Ctx, pool: &Pool) -> Option<Introduction> {
    let version = pool.config().proxy_protocol?;
    let ends = ctx.link.as_ref().and_then(|link| link.ends);
    let Some((client, (peer, server))) = ctx.client.address.zip(ends) else {
        return Some(Introduction::of_nobody(version));
    };
    let port = if peer.ip().to_canonical() == client { peer.port() } else { 0 };
    Some(Introduction::of(version, SocketAddr::new(client, port), server))
}

/// The client's `X-Request-Id` if it is one, else 128 random bits.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    RequestId::of(headers.get(X_REQUEST_ID).map(HeaderValue::as_bytes)).value()
}

/// The scheme that a request was made with as far as it is not plain `http` for all we know: what a trusted proxy says, or what
/// [`note_scheme`] has noted.
pub(super) fn scheme<'a>(client: &Client, request: &'a RequestHeader) -> Option<&'a str> {
    request.headers.get(X_FORWARDED_PROTO).filter(|_| client.trusted || client.secure)?.to_str().ok()
}

/// Notes in the request that it came by TLS, for key, variants, refreshes and backend. A trusted proxy's word stands.
pub(super) fn note_scheme(client: &Client, request: &mut RequestHeader) {
    if client.secure && !request.headers.contains_key(X_FORWARDED_PROTO) {
        // A name and a value that a field can have.
        let _ = request.insert_header(X_FORWARDED_PROTO, "https");
    }
}

/// Tells the subject of the client's certificate, and nothing else by that name. A refresh is for everybody and tells none.
pub(super) fn tell_subject(ctx: &Ctx, request: &mut RequestHeader) {
    let fields = ctx.snapshot.subject_fields();
    if fields.is_empty() {
        return;
    }
    forget_lookalikes_of(request, fields);
    for field in fields {
        request.remove_header(field);
    }
    if let Some((field, subject)) = ctx.link.as_ref().and_then(|link| link.subject.as_ref()) {
        let _ = request.insert_header(field.clone(), subject.clone());
        request.extensions_mut().insert(HasSubject);
    }
}

/// Whether the backend is told the subject of a client's certificate.
pub(super) fn has_subject(request: &RequestHeader) -> bool {
    request.extensions.get::<HasSubject>().is_some()
}

/// Marks a request whose backend is told.
#[derive(Clone, Copy, Debug)]
struct HasSubject;

/// Removes what a peer that is not trusted says of the client: no variant, key or refresh may heed it.
pub(super) fn forget_told(request: &mut RequestHeader) {
    for name in [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO] {
        request.remove_header(name);
    }
}

/// Removes fields whose name, with `-` for `_`, is one that we set, strip or frame by: CGI and WSGI make one variable of
/// `X_Forwarded_For` and `X-Forwarded-For`, and a backend would believe the client's.
pub(super) fn forget_lookalikes(request: &mut RequestHeader) {
    let is_ours = |name: &str| {
        let meant = name.replace('_', "-");
        LOOKALIKES.contains(&meant.as_str()) || OVERRIDES.contains(&meant.as_str()) || meant.starts_with("x-forwarded-")
    };
    let lookalikes: Vec<HeaderName> =
        request.headers.keys().filter(|name| name.as_str().contains('_') && is_ours(name.as_str())).cloned().collect();
    for name in &lookalikes {
        request.remove_header(name);
    }
}

/// The same for the fields that a route's key holds: the backend would go by a value that the key does not have.
pub(super) fn forget_lookalikes_of(request: &mut RequestHeader, keyed: &[HeaderName]) {
    let is_keyed = |name: &str| name.contains('_') && keyed.iter().any(|keyed| *keyed != name && is_alike(keyed, name));
    let lookalikes: Vec<HeaderName> = request.headers.keys().filter(|name| is_keyed(name.as_str())).cloned().collect();
    for name in &lookalikes {
        request.remove_header(name);
    }
}

/// Whether CGI and WSGI make one variable of both.
fn is_alike(a: &HeaderName, b: &str) -> bool {
    a.as_str().replace('_', "-") == b.replace('_', "-")
}

/// Writes what the backend is told into the forwarded request.
///
/// # Errors
/// Only for a value that no header can hold, which the values here cannot be.
pub(super) fn forward(ctx: &Ctx, authority: Option<&HeaderValue>, request: &mut RequestHeader) -> Result<()> {
    let chain = if ctx.client.trusted { joined(&request.headers, X_FORWARDED_FOR) } else { None };
    let elements = if ctx.client.trusted { joined(&request.headers, FORWARDED) } else { None };
    let told = |name: &str| request.headers.get(name).filter(|_| ctx.client.trusted).cloned();
    // A route that asks under one host tells of no other: the key holds none.
    let has_alias = ctx.route.as_ref().is_some_and(|route| route.config.cache.key.host.is_some());
    let host = told(X_FORWARDED_HOST).filter(|_| !has_alias);
    let scheme = scheme(&ctx.client, request).and_then(|scheme| HeaderValue::from_str(scheme).ok());
    let is_safe = request.method.is_safe();
    let misleads = |name: &&HeaderName| {
        OTHER_FORWARDED.contains(&name.as_str()) || (is_safe && OVERRIDES.contains(&name.as_str()))
    };
    while let Some(name) = request.headers.keys().find(misleads).cloned() {
        request.remove_header(&name);
    }
    for name in [X_FORWARDED_FOR, FORWARDED] {
        request.remove_header(name);
    }
    if let Some(peer) = ctx.client.peer {
        request.insert_header(X_FORWARDED_FOR, append(chain, &peer.to_string()))?;
    }
    let proto = if ctx.client.secure { "https" } else { "http" };
    request.insert_header(FORWARDED, append(elements, &forwarded(ctx.client.peer, authority, proto)))?;
    match host.as_ref().or(authority) {
        Some(host) => request.insert_header(X_FORWARDED_HOST, host.clone())?,
        None => drop(request.remove_header(X_FORWARDED_HOST)),
    }
    request.insert_header(X_FORWARDED_PROTO, scheme.unwrap_or(HeaderValue::from_static("http")))?;
    if let Some(id) = &ctx.request_id {
        request.insert_header(X_REQUEST_ID, id.clone())?;
    }
    request.append_header(http::header::VIA, ctx.snapshot.via(ctx.version).clone()).map(|_| ())
}

/// An element of `Forwarded` (RFC 7239 §4).
fn forwarded(peer: Option<IpAddr>, authority: Option<&HeaderValue>, proto: &str) -> String {
    let mut element = match peer {
        Some(IpAddr::V6(ip)) => format!("for=\"[{ip}]\";"),
        Some(ip) => format!("for={ip};"),
        None => String::new(),
    };
    if let Some(host) = authority.and_then(|h| h.to_str().ok()) {
        // A host may hold a colon or brackets, so it is always quoted; it cannot hold a quote or a backslash.
        element += &format!("host=\"{host}\";");
    }
    element + "proto=" + proto
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn append(list: Option<String>, last: &str) -> String {
    match list {
        Some(list) => format!("{list}, {last}"),
        None => last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_quotes_what_needs_it() {
        let host = HeaderValue::from_static("a.example:8080");
        assert_eq!(
            forwarded("192.0.2.1".parse().ok(), Some(&host), "http"),
            "for=192.0.2.1;host=\"a.example:8080\";proto=http"
        );
        assert_eq!(forwarded("2001:db8::1".parse().ok(), None, "https"), "for=\"[2001:db8::1]\";proto=https");
    }

    #[test]
    fn a_name_that_a_backend_would_take_for_ours_is_removed() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in [
            "X_Forwarded_For",
            "X-Forwarded_Proto",
            "Content_Length",
            "X_Request_Id",
            "X-Request_Timeout_Ms",
            "api_key",
        ] {
            request.append_header(name, "1").unwrap();
        }
        forget_lookalikes(&mut request);
        assert_eq!(request.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["api_key"]);
    }
}
