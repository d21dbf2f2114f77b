//! A request's head over HTTP/2: what of it may not enter, and what HTTP/1.1 says otherwise.

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use pingora::http::authority::{RawTargetAuthority, raw_target_authority};

use super::super::head::Refusal;
use crate::config::Limits;

/// What is wrong with a head that may not enter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A stream error of the kind PROTOCOL_ERROR (RFC 9113 §8.1.1).
    Stream,
    /// What the client is told by an answer.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault::Refused(refusal)
    }
}

/// Looks at a head. What h2 refuses by itself does not come here.
///
/// # Errors
/// Why it may not enter.
pub(super) fn judge<T>(request: &Request<T>, limits: &Limits) -> Result<(), Fault> {
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let found = Found::of(request.headers());
    // Where the next reader would see a line's end.
    if target.bytes().any(|byte| matches!(byte, 0 | b'\n' | b'\r' | b' ')) || !found.is_one_length {
        return Err(Fault::Stream);
    }
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method.into());
    }
    if !found.is_one_host(request.uri()) {
        return Err(Refusal::Malformed("host").into());
    }
    if target.len() > limits.uri_length {
        return Err(Refusal::UriTooLong.into());
    }
    if request.headers().len() > limits.headers {
        return Err(Refusal::TooManyHeaders.into());
    }
    // RFC 9113 §8.3.1: a path, or what stands for the whole server. With a host in it, it would be another's to say whose it is.
    let is_whole_server = target == "*" && request.method() == Method::OPTIONS;
    let is_path = target != "*" && matches!(raw_target_authority(target.as_bytes()), RawTargetAuthority::None);
    if !is_path && !is_whole_server {
        return Err(Refusal::Malformed("target").into());
    }
    if request.uri().scheme_str() == Some("") {
        return Err(Refusal::Malformed("scheme").into());
    }
    if found.has_padded {
        return Err(Refusal::Malformed("header-value").into());
    }
    Ok(())
}

/// What one look at all fields finds.
#[derive(Default)]
struct Found<'a> {
    host: Option<&'a [u8]>,
    has_hosts: bool,
    length: Option<u64>,
    /// Whether the length of the body is told in one way, if at all (RFC 9110 §8.6).
    is_one_length: bool,
    has_padded: bool,
}

impl<'a> Found<'a> {
    fn of(fields: &'a HeaderMap) -> Found<'a> {
        let mut found = Found { is_one_length: true, ..Found::default() };
        for (name, value) in fields {
            found.has_padded |= is_padded(value);
            if *name == HOST {
                found.has_hosts |= found.host.replace(value.as_bytes()).is_some();
            } else if *name == CONTENT_LENGTH {
                value.as_bytes().split(|&byte| byte == b',').for_each(|text| found.take_length(text));
            }
        }
        found
    }

    fn take_length(&mut self, text: &[u8]) {
        let text = std::str::from_utf8(text.trim_ascii()).unwrap_or_default();
        let length = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let before = std::mem::replace(&mut self.length, length);
        self.is_one_length &= length.is_some() && (before.is_none() || before == length);
    }

    /// Whether one host is asked, by the name that is also in `Host`, if that is there (RFC 9113 §8.3.1), and by nobody's name.
    fn is_one_host(&self, uri: &Uri) -> bool {
        let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = authority.or(self.host);
        !self.has_hosts
            && host.is_some_and(|host| !host.contains(&b'@'))
            && self.host.is_none_or(|field| host == Some(field))
    }
}

/// The host that is asked, with its port, as the client has written it.
pub(super) fn host<T>(request: &Request<T>) -> Option<&str> {
    let authority = request.uri().authority().map(|authority| authority.as_str());
    authority.or_else(|| request.headers().get(HOST)?.to_str().ok())
}

/// RFC 9113 §8.2.1: it must not begin or end with whitespace. Over HTTP/1.1 that is no part of a value, so that the two
/// would be told apart by nobody but a cache's key.
fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    is_space(bytes.first()) || is_space(bytes.last())
}

/// Puts the crumbs of `Cookie` together, which HTTP/2 clients send as fields of their own (RFC 9113 §8.2.3).
pub(super) fn join_crumbs(fields: &mut HeaderMap) {
    let mut crumbs = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let crumbs: Vec<&[u8]> = [first, second].into_iter().chain(crumbs).collect();
    // Of values that are whole, the whole is one.
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        fields.insert(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { head_size: 8192, headers: 4, uri_length: 64, connections: 1, requests_per_connection: 1 };

    fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().method(method).uri(uri);
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    #[test]
    fn crumbs_become_one_field_and_others_stay() {
        let crumbs = [("cookie", "a=b"), ("x-test", "1"), ("cookie", "c=d"), ("x-test", "2")];
        let mut fields = request("GET", "/", &crumbs).headers().clone();
        join_crumbs(&mut fields);
        let all = |name| fields.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("cookie"), all("x-test")), (vec!["a=b; c=d"], vec!["1", "2"]));
    }

    #[test]
    fn what_can_be_read_in_two_ways_may_not_enter() {
        let host = Fault::Refused(Refusal::Malformed("host"));
        for (uri, fields, expected) in [
            ("http://a/", &[][..], Ok(())),
            ("http://a/", &[("host", "a")], Ok(())),
            ("/", &[("host", "a")], Ok(())),
            ("http://a/", &[("content-length", "3"), ("content-length", "3, 3")], Ok(())),
            ("http://a/", &[("content-length", "3"), ("content-length", "4")], Err(Fault::Stream)),
            ("http://a/", &[("content-length", "3,4")], Err(Fault::Stream)),
            ("http://a/", &[("content-length", "+3")], Err(Fault::Stream)),
            ("http://a/", &[("content-length", "")], Err(Fault::Stream)),
            ("/", &[], Err(host)),
            ("http://a/", &[("host", "b")], Err(Fault::Refused(Refusal::Malformed("host")))),
            ("http://a/", &[("host", "a"), ("host", "a")], Err(Fault::Refused(Refusal::Malformed("host")))),
            ("http://b@a/", &[], Err(Fault::Refused(Refusal::Malformed("host")))),
            ("/", &[("host", "b@a")], Err(Fault::Refused(Refusal::Malformed("host")))),
            ("http://a/", &[("x", " b")], Err(Fault::Refused(Refusal::Malformed("header-value")))),
        ] {
            assert_eq!(judge(&request("GET", uri, fields), &LIMITS), expected, "{uri} {fields:?}");
        }
    }

    #[test]
    fn what_is_too_much_or_not_served_is_told() {
        let long = format!("http://a/{}", "a".repeat(64));
        let many = [("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")];
        for (method, uri, fields, expected) in [
            ("TRACE", "http://a/", &[][..], Refusal::Method),
            ("GET", &long, &[], Refusal::UriTooLong),
            ("GET", "http://a/", &many, Refusal::TooManyHeaders),
        ] {
            assert_eq!(judge(&request(method, uri, fields), &LIMITS), Err(expected.into()), "{method} {uri}");
        }
    }

    #[test]
    fn only_the_ends_of_a_value_must_not_be_spaces() {
        for (value, expected) in [("", false), ("a\t b", false), (" ", true), ("\ta", true), ("a ", true)] {
            assert_eq!(is_padded(&HeaderValue::from_static(value)), expected, "{value:?}");
        }
    }
}
