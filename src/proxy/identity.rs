//! Who asks, and what the backend is told about it.
//!
//! `X-Forwarded-*` and `Forwarded` (RFC 7239) are ours to say: a client's own are dropped, because a backend that
//! believes them would let anyone choose an address, and a cached answer to them would reach others. Only a peer in
//! `trusted_proxies` is appended to rather than replaced.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use pingora::http::RequestHeader;

use super::ctx::Ctx;
use super::fields;
use crate::caller::{Client, RequestId, X_REQUEST_ID};
use crate::text::Address;
use crate::upstream::{Introduction, Pool};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

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
    RequestId::of(headers.get(REQUEST_ID).map(HeaderValue::as_bytes)).value()
}

/// The scheme that a request was made with as far as it is not plain `http` for all we know: what a trusted proxy says, or what
/// [`note_scheme`] has noted.
pub(super) fn scheme<'a>(client: &Client, request: &'a RequestHeader) -> Option<&'a str> {
    if !client.trusted && !client.secure {
        return None;
    }
    request.headers.get(X_FORWARDED_PROTO)?.to_str().ok()
}

/// The host that a trusted proxy says was asked for.
pub(super) fn told_host<'a>(client: &Client, request: &'a RequestHeader) -> Option<&'a str> {
    if !client.trusted {
        return None;
    }
    request.headers.get(X_FORWARDED_HOST)?.to_str().ok()
}

/// Notes in the request that it came by TLS, for key, variants, refreshes and backend. A trusted proxy's word stands.
pub(super) fn note_scheme(client: &Client, request: &mut RequestHeader) {
    if client.secure && !fields::has(&request.headers, &X_FORWARDED_PROTO) {
        // A name and a value that a field can have.
        let _ = request.insert_header("X-Forwarded-Proto", "https");
    }
}

/// Tells the subject of the client's certificate, and nothing else by that name. A refresh is for everybody and tells none.
pub(super) fn tell_subject(ctx: &Ctx, request: &mut RequestHeader) {
    let subjects = ctx.snapshot.subject_fields();
    if subjects.is_empty() {
        return;
    }
    forget_lookalikes_of(request, subjects);
    fields::remove(request, |name| subjects.contains(name));
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
    const TOLD: [HeaderName; 4] = [FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO];
    fields::remove(request, |name| TOLD.contains(name));
}

/// Removes fields whose name, with `-` for `_`, is one that we set, strip or frame by: CGI and WSGI make one variable of
/// `X_Forwarded_For` and `X-Forwarded-For`, and a backend would believe the client's.
pub(super) fn forget_lookalikes(request: &mut RequestHeader) {
    let is_ours = |name: &str| {
        let meant = name.replace('_', "-");
        LOOKALIKES.contains(&meant.as_str()) || OVERRIDES.contains(&meant.as_str()) || meant.starts_with("x-forwarded-")
    };
    fields::remove(request, |name| has_underscore(name) && is_ours(name.as_str()));
}

/// The same for the fields that a route's key holds: the backend would go by a value that the key does not have.
pub(super) fn forget_lookalikes_of(request: &mut RequestHeader, keyed: &[HeaderName]) {
    let is_keyed = |name: &HeaderName| keyed.iter().any(|keyed| keyed != name && is_alike(keyed, name.as_str()));
    fields::remove(request, |name| has_underscore(name) && is_keyed(name));
}

fn has_underscore(name: &HeaderName) -> bool {
    memchr::memchr(b'_', name.as_str().as_bytes()).is_some()
}

/// Whether CGI and WSGI make one variable of both.
fn is_alike(a: &HeaderName, b: &str) -> bool {
    a.as_str().replace('_', "-") == b.replace('_', "-")
}

/// What the backend is told of a request; what the client says of that is taken out of it. In HTTP/1.1's spelling.
pub(super) fn tell(ctx: &Ctx, authority: Option<&HeaderValue>, request: &mut RequestHeader) -> Told {
    let chain = if ctx.client.trusted { joined(&request.headers, &X_FORWARDED_FOR) } else { None };
    let elements = if ctx.client.trusted { joined(&request.headers, &FORWARDED) } else { None };
    // A route that asks under one host tells of no other: the key holds none.
    let has_alias = ctx.route.as_ref().is_some_and(|route| route.config.cache.key.host.is_some());
    let host = request.headers.get(X_FORWARDED_HOST).filter(|_| ctx.client.trusted && !has_alias).cloned();
    let scheme = scheme(&ctx.client, request).and_then(|scheme| HeaderValue::from_str(scheme).ok());
    let is_safe = request.method.is_safe();
    fields::remove(request, |name| {
        let name = name.as_str();
        SAID_BY_US.contains(&name) || OTHER_FORWARDED.contains(&name) || (is_safe && OVERRIDES.contains(&name))
    });
    let mut told = Told::with_capacity(6);
    let mut say = |name, value| told.push((name, value));
    let peer = ctx.client.peer.map(Address::of);
    let peer = peer.as_ref().map(Address::as_str);
    if let Some(chain) = peer.and_then(|peer| value_of(append(chain, peer))) {
        say("X-Forwarded-For", chain);
    }
    let proto = if ctx.client.secure { "https" } else { "http" };
    let is_v6 = matches!(ctx.client.peer, Some(IpAddr::V6(_)));
    if let Some(elements) = value_of(append(elements, &forwarded(peer, is_v6, authority, proto))) {
        say("Forwarded", elements);
    }
    if let Some(host) = host.as_ref().or(authority) {
        say("X-Forwarded-Host", host.clone());
    }
    say("X-Forwarded-Proto", scheme.unwrap_or(HeaderValue::from_static("http")));
    if let Some(id) = &ctx.request_id {
        say(X_REQUEST_ID, id.clone());
    }
    say("Via", ctx.snapshot.via(ctx.version).clone());
    told
}

/// Fields that are added to a request, with their spelling. The client's own of that name are no longer there, but for `Via`.
pub(super) type Told = Vec<(&'static str, HeaderValue)>;

/// The names of what we say, here and where an attempt is sent: a client must not choose who is served first.
const SAID_BY_US: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-hedgerow-attempt", "x-request-id"];

fn value_of(text: String) -> Option<HeaderValue> {
    HeaderValue::try_from(text).ok()
}

/// An element of `Forwarded` (RFC 7239 §4).
fn forwarded(peer: Option<&str>, is_v6: bool, authority: Option<&HeaderValue>, proto: &str) -> String {
    let mut element = String::with_capacity(64);
    let mut say = |parts: &[&str]| parts.iter().for_each(|part| element.push_str(part));
    match peer {
        Some(ip) if is_v6 => say(&["for=\"[", ip, "]\";"]),
        Some(ip) => say(&["for=", ip, ";"]),
        None => {}
    }
    if let Some(host) = authority.and_then(|h| h.to_str().ok()) {
        // A host may hold a colon or brackets, so it is always quoted; it cannot hold a quote or a backslash.
        say(&["host=\"", host, "\";"]);
    }
    say(&["proto=", proto]);
    element
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

fn append(list: Option<String>, last: &str) -> String {
    match list {
        Some(list) => list + ", " + last,
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
            forwarded(Some("192.0.2.1"), false, Some(&host), "http"),
            "for=192.0.2.1;host=\"a.example:8080\";proto=http"
        );
        assert_eq!(forwarded(Some("2001:db8::1"), true, None, "https"), "for=\"[2001:db8::1]\";proto=https");
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
