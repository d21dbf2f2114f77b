//! A stored head as it is sent: so that a hit costs a copy and not a walk through a map.
//!
//! What a hit adds (`Age` and the like) and what it must not pass on is left out, and the empty line that ends a head: the
//! rest is for who sends it.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderName;
use http::header::{AGE, CONNECTION};
use pingora::http::ResponseHeader;

/// Fields that a hit says itself, whatever the origin said by these names.
pub(super) const SAID_BY_US: [&str; 3] = ["x-cache-status", "x-request-id", ORIGINAL_DATE];

/// The field in which a response's own `Date` passes through pingora, which writes another over it; the lane puts it
/// back. It never leaves the process, and one that an origin sends does not come in.
pub const ORIGINAL_DATE: &str = "!date";

/// Names of fields that clients do not see.
pub(super) type Hidden = Arc<Vec<HeaderName>>;

/// The status line and the fields, each with its line end.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    head: Box<[u8]>,
    hidden: Hidden,
}

impl Wire {
    /// That of `header` without the `hidden` fields.
    pub(super) fn new(header: &ResponseHeader, hidden: Hidden) -> Wire {
        Wire { head: write(header, &hidden).into(), hidden }
    }

    /// The bytes, without the fields of `hidden`. `header` is what it was made of: if other fields were hidden then, it is
    /// written anew.
    pub(super) fn head(&self, header: &ResponseHeader, hidden: &[HeaderName]) -> Cow<'_, [u8]> {
        if self.hidden.as_slice() == hidden { Cow::Borrowed(&self.head) } else { Cow::Owned(write(header, hidden)) }
    }

    /// Bytes of memory it takes beyond its own size.
    pub(super) fn len(&self) -> usize {
        self.head.len()
    }
}

fn write(header: &ResponseHeader, hidden: &[HeaderName]) -> Vec<u8> {
    let mut sent = header.clone();
    for name in hidden.iter().chain([&AGE, &CONNECTION]) {
        sent.remove_header(name);
    }
    for name in SAID_BY_US {
        sent.remove_header(name);
    }
    let mut wire = Vec::with_capacity(512);
    wire.extend_from_slice(b"HTTP/1.1 ");
    wire.extend_from_slice(sent.status.as_str().as_bytes());
    wire.push(b' ');
    wire.extend_from_slice(sent.get_reason_phrase().unwrap_or_default().as_bytes());
    wire.extend_from_slice(b"\r\n");
    sent.header_to_h1_wire(&mut wire);
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ResponseHeader {
        let mut header = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("Content-Type", "text/plain"),
            ("Age", "7"),
            ("x-cache-status", "HIT"),
            ("X-Request-Id", "theirs"),
            ("Cache-Tag", "a"),
            ("Connection", "x"),
            ("eTag", "\"a\""),
        ] {
            header.append_header(name, value).unwrap();
        }
        header.append_header(ORIGINAL_DATE, "then").unwrap();
        header
    }

    #[test]
    fn it_is_the_head_without_what_a_hit_says_itself() {
        let header = header();
        let hidden = vec![HeaderName::from_static("cache-tag")];
        let wire = Wire::new(&header, Arc::new(hidden.clone()));
        let expected: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\neTag: \"a\"\r\n";
        assert_eq!(*wire.head(&header, &hidden), *expected);
        assert!(matches!(wire.head(&header, &hidden), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_hidden_now_counts() {
        let header = header();
        let wire = Wire::new(&header, Arc::default());
        let expected: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Tag: a\r\n";
        assert_eq!(*wire.head(&header, &[http::header::ETAG]), *expected);
    }

    #[test]
    fn a_reason_of_the_origins_own_is_kept() {
        let mut header = ResponseHeader::build(404, None).unwrap();
        header.set_reason_phrase(Some("Gone Fishing")).unwrap();
        assert_eq!(*Wire::new(&header, Arc::default()).head(&header, &[]), *b"HTTP/1.1 404 Gone Fishing\r\n");
    }
}
