//! A request's head over HTTP/2: what of it may not enter, and what HTTP/1.1 says otherwise.

use http::HeaderValue;
use http::header::COOKIE;
use pingora::http::RequestHeader;

use super::head::Refusal;
use crate::config::Limits;

/// Why it may not enter, if it may not. What h2 and pingora refuse by themselves does not come here.
pub(super) fn refusal(request: &RequestHeader, limits: &Limits) -> Option<Refusal> {
    if matches!(request.method, http::Method::CONNECT | http::Method::TRACE) {
        Some(Refusal::Method)
    } else if request.raw_path().len() > limits.uri_length {
        Some(Refusal::UriTooLong)
    } else if request.headers.len() > limits.headers {
        Some(Refusal::TooManyHeaders)
    } else if request.raw_path() == b"*" && request.method != http::Method::OPTIONS {
        // RFC 9113 §8.3.1, as what comes next.
        Some(Refusal::Malformed("target"))
    } else if request.uri.scheme_str() == Some("") {
        Some(Refusal::Malformed("scheme"))
    } else if request.headers.values().any(is_padded) {
        Some(Refusal::Malformed("header-value"))
    } else {
        None
    }
}

/// RFC 9113 §8.2.1: it must not begin or end with whitespace. Over HTTP/1.1 that is no part of a value, so that the two
/// would be told apart by nobody but a cache's key.
fn is_padded(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    is_space(bytes.first()) || is_space(bytes.last())
}

/// Puts the crumbs of `Cookie` together, which HTTP/2 clients send as fields of their own (RFC 9113 §8.2.3).
pub(super) fn join_crumbs(request: &mut RequestHeader) {
    let crumbs: Vec<&[u8]> = request.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    // Of values that are whole, the whole is one.
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        let _ = request.insert_header(COOKIE, whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&'static str, &'static str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn crumbs_become_one_field_and_others_stay() {
        let mut crumbled = request(&[("cookie", "a=b"), ("x-test", "1"), ("cookie", "c=d"), ("x-test", "2")]);
        join_crumbs(&mut crumbled);
        let all = |name| crumbled.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("cookie"), all("x-test")), (vec!["a=b; c=d"], vec!["1", "2"]));
    }

    #[test]
    fn only_the_ends_of_a_value_must_not_be_spaces() {
        for (value, expected) in [("", false), ("a\t b", false), (" ", true), ("\ta", true), ("a ", true)] {
            assert_eq!(is_padded(&HeaderValue::from_static(value)), expected, "{value:?}");
        }
    }
}
