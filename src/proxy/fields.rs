//! Taking fields out of a message.
//!
//! Most messages have few fields and none of those that are to go, which is cheaper to see by comparing the names that are
//! there than by looking up each that might be.

use http::HeaderName;
use pingora::http::{RequestHeader, ResponseHeader};

/// Removes the fields of a request whose names are meant.
pub(super) fn remove(request: &mut RequestHeader, is_meant: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = request.headers.keys().find(|name| is_meant(name)).cloned() {
        request.remove_header(&name);
    }
}

/// The same of a response.
pub(super) fn remove_from(response: &mut ResponseHeader, is_meant: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = response.headers.keys().find(|name| is_meant(name)).cloned() {
        response.remove_header(&name);
    }
}

/// Whether the message has a field of that name.
pub(super) fn has(headers: &http::HeaderMap, name: &HeaderName) -> bool {
    headers.keys().any(|there| there == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_removed_and_nothing_else() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [("A", "1"), ("X-B", "2"), ("a", "3"), ("C", "4")] {
            request.append_header(name, value).unwrap();
        }
        let (a, x_b) = (HeaderName::from_static("a"), HeaderName::from_static("x-b"));
        assert!(has(&request.headers, &a) && has(&request.headers, &x_b));
        remove(&mut request, |name| *name == a || *name == x_b);
        assert_eq!(request.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["c"]);
        assert!(!has(&request.headers, &a));
    }
}
