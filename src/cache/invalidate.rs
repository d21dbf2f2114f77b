//! What a request that changes things makes invalid (RFC 9111 §4.4, RFC 9875 §3).
//!
//! The target itself, what `Location` and `Content-Location` name, and the groups of `Cache-Group-Invalidation`; the
//! latter three only within the target's origin, or one site could empty another's cache.

use std::borrow::Cow;

use http::header::{CONTENT_LOCATION, HeaderName, LOCATION};
use http::{HeaderMap, Method, StatusCode};

use super::tags;
use crate::uri::{self, Scheme};

/// The request, in normal form.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The scheme it was made with; `None` if nobody who is to be believed has told.
    pub scheme: Option<Scheme>,
    /// The host and port asked for.
    pub authority: &'a str,
    /// Another by which the backend knows the same origin.
    pub alias: Option<&'a str>,
    /// The path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
}

/// What is made invalid.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Targets {
    /// Paths, with their queries, of the request's own origin; the request's own comes first.
    pub uris: Vec<(String, Option<String>)>,
    /// Groups of the request's own origin.
    pub groups: Vec<String>,
}

/// Why nothing is made invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NothingInvalid {
    /// The method is safe (RFC 9110 §9.2.1).
    SafeMethod,
    /// The answer is interim.
    Interim,
    /// The answer is an error: nothing has changed.
    Error,
}

impl NothingInvalid {
    /// The word for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            NothingInvalid::SafeMethod => "safe-method",
            NothingInvalid::Interim => "interim",
            NothingInvalid::Error => "error",
        }
    }
}

/// What the answer to `request` makes invalid. A method that is not known to be safe is taken to be unsafe.
///
/// # Errors
/// Why it makes nothing invalid.
pub fn judge(request: &Request<'_>, status: StatusCode, headers: &HeaderMap) -> Result<Targets, NothingInvalid> {
    if request.method.is_safe() {
        return Err(NothingInvalid::SafeMethod);
    }
    match status.as_u16() {
        100..=199 => return Err(NothingInvalid::Interim),
        200..=399 => {}
        _ => return Err(NothingInvalid::Error),
    }
    let mut targets = Targets::default();
    targets.uris.push((request.path.to_owned(), request.query.map(str::to_owned)));
    for name in [&LOCATION, &CONTENT_LOCATION] {
        if let Some(uri) = same_origin(request, headers, name).filter(|uri| !targets.uris.contains(uri)) {
            targets.uris.push(uri);
        }
    }
    (targets.groups, _) = tags::groups(headers, &tags::CACHE_GROUP_INVALIDATION);
    Ok(targets)
}

/// Where a field points to, if that is within the request's origin.
fn same_origin(request: &Request<'_>, headers: &HeaderMap, name: &HeaderName) -> Option<(String, Option<String>)> {
    let reference = headers.get(name)?.to_str().ok()?.trim();
    // A fragment belongs to the client (RFC 9110 §10.2.2).
    let reference = reference.split_once('#').map_or(reference, |(uri, _)| uri);
    let absolute = resolve(request, reference);
    let target = uri::normalise(&absolute).ok()?;
    if let Some(scheme) = target.scheme {
        let told = target.authority.and_then(|authority| origin(scheme, authority));
        // Whoever terminates TLS before us and does not say so leaves the scheme open; then the host has to do.
        let assumed = request.scheme.unwrap_or(scheme);
        let is_ours = |authority: &str| told.is_some() && told == origin(assumed, authority);
        if assumed != scheme || !(is_ours(request.authority) || request.alias.is_some_and(is_ours)) {
            return None;
        }
    }
    Some((target.path.into_owned(), target.query.map(Cow::into_owned)))
}

fn origin(scheme: Scheme, authority: &str) -> Option<(String, u16)> {
    let (host, port) = uri::normalise_host(authority).ok()?;
    Some((host.into_owned(), port.unwrap_or(scheme.port())))
}

/// A reference as an absolute one, or one that starts with a slash (RFC 3986 §5.2.2); dot segments are left in it.
fn resolve<'a>(request: &Request<'_>, reference: &'a str) -> Cow<'a, str> {
    if let Some(rest) = reference.strip_prefix("//") {
        let scheme = request.scheme.unwrap_or(Scheme::Http).as_str();
        return Cow::Owned(format!("{scheme}://{rest}"));
    }
    if reference.starts_with('/') || has_scheme(reference) {
        return Cow::Borrowed(reference);
    }
    if reference.is_empty() {
        let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
        return Cow::Owned(format!("{}{query}", request.path));
    }
    if reference.starts_with('?') {
        return Cow::Owned(format!("{}{reference}", request.path));
    }
    let folder = request.path.rfind('/').map_or("/", |end| &request.path[..=end]);
    Cow::Owned(format!("{folder}{reference}"))
}

/// Whether a reference begins with a scheme (RFC 3986 §3.1): a colon before any slash, query or space.
fn has_scheme(reference: &str) -> bool {
    let Some((before, _)) = reference.split_once(':') else { return false };
    before.starts_with(|c: char| c.is_ascii_alphabetic())
        && before.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn request(method: &Method) -> Request<'_> {
        Request {
            method,
            scheme: None,
            authority: "shop.example",
            alias: None,
            path: "/cart/items",
            query: Some("a=1"),
        }
    }

    fn after(method: &str, status: u16) -> Result<Targets, NothingInvalid> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        judge(&request(&method), StatusCode::from_u16(status).unwrap(), &HeaderMap::new())
    }

    fn location(request: &Request<'_>, value: &str) -> Option<String> {
        let headers = [(LOCATION, HeaderValue::from_str(value).unwrap())].into_iter().collect();
        let mut uris = judge(request, StatusCode::CREATED, &headers).unwrap().uris;
        let (path, query) = uris.pop().filter(|_| !uris.is_empty())?;
        Some(query.map(|query| format!("{path}?{query}")).unwrap_or(path))
    }

    #[test]
    fn unsafe_and_unknown_methods_invalidate_unless_they_fail_rfc9111_4_4() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"] {
            for status in [200, 204, 302, 304] {
                let uris = after(method, status).unwrap().uris;
                assert_eq!(uris, [("/cart/items".to_owned(), Some("a=1".to_owned()))], "{method} {status}");
            }
            for status in [400, 404, 500, 503, 999] {
                assert_eq!(after(method, status), Err(NothingInvalid::Error), "{method} {status}");
            }
            assert_eq!(after(method, 103), Err(NothingInvalid::Interim));
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert_eq!(after(method, 200), Err(NothingInvalid::SafeMethod), "{method}");
        }
    }

    #[test]
    fn a_location_is_resolved_and_brought_into_normal_form() {
        let post = request(&Method::POST);
        for (reference, target) in [
            ("/a", "/a"),
            ("/a?b#c", "/a?b"),
            ("b", "/cart/b"),
            ("../b?c", "/b?c"),
            ("?z", "/cart/items?z"),
            ("http://shop.example/x", "/x"),
            ("https://SHOP.example:443/x", "/x"),
            ("//shop.example/%7ex", "/~x"),
            ("http://shop.example:80", "/"),
            ("b:c/d", ""),
        ] {
            assert_eq!(location(&post, reference).unwrap_or_default(), target, "{reference}");
        }
        // The request's own URI is not listed twice.
        for own in ["", "/cart/items?a=1", "items?a=1#x"] {
            assert_eq!(location(&post, own), None, "{own}");
        }
    }

    #[test]
    fn another_origin_is_not_touched_rfc9111_4_4() {
        let post = request(&Method::POST);
        for foreign in [
            "http://other.example/a",
            "//other.example/a",
            "http://shop.example:8080/a",
            "https://shop.example:80/a",
            "http://shop.example@other.example/a",
            "http://user@shop.example/a",
            "ftp://shop.example/a",
            "mailto:a@shop.example",
            "/../a",
            "http:///a",
        ] {
            assert_eq!(location(&post, foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_scheme_that_is_known_belongs_to_the_origin() {
        let post = Request { scheme: Some(Scheme::Https), ..request(&Method::POST) };
        assert_eq!(location(&post, "https://shop.example/a").as_deref(), Some("/a"));
        assert_eq!(location(&post, "//shop.example/a").as_deref(), Some("/a"));
        assert_eq!(location(&post, "http://shop.example/a"), None);
    }

    #[test]
    fn the_backend_may_know_the_origin_by_another_name() {
        let post = Request { alias: Some("www.shop.example"), ..request(&Method::POST) };
        for same in ["http://www.shop.example/a", "http://shop.example/a"] {
            assert_eq!(location(&post, same).as_deref(), Some("/a"), "{same}");
        }
        assert_eq!(location(&post, "http://www.shop.example:81/a"), None);
    }

    #[test]
    fn both_fields_and_the_groups_count_rfc9875_3() {
        let headers = [
            (LOCATION, HeaderValue::from_static("/a")),
            (CONTENT_LOCATION, HeaderValue::from_static("/b")),
            (tags::CACHE_GROUP_INVALIDATION, HeaderValue::from_static("\"g\", \"h\"")),
        ];
        let headers = headers.into_iter().collect();
        let targets = judge(&request(&Method::PUT), StatusCode::OK, &headers).unwrap();
        assert_eq!(targets.uris[1..], [("/a".to_owned(), None), ("/b".to_owned(), None)]);
        assert_eq!(targets.groups, ["g", "h"]);
        assert_eq!(judge(&request(&Method::GET), StatusCode::OK, &headers), Err(NothingInvalid::SafeMethod));
    }

    proptest! {
        /// Whatever the field says, what it hits lies below this origin and in normal form.
        #[test]
        fn no_reference_is_too_odd(reference in "[\\x20-\\x7e]{0,60}") {
            if let Some(target) = location(&request(&Method::POST), &reference) {
                prop_assert!(target.starts_with('/'));
                let normal = uri::normalise(&target).unwrap();
                let whole = normal.query.map(|q| format!("{}?{q}", normal.path)).unwrap_or(normal.path.into_owned());
                prop_assert_eq!(whole, target);
            }
        }
    }
}
