//! Fields after a body (RFC 9110 §6.5): which of them may stand there, and how HTTP/1.1 writes them.

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, DATE, EXPECT, EXPIRES, HOST, LOCATION, MAX_FORWARDS, PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY, WARNING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// The most that they may come to, in bytes of their names and values.
pub const MAX: usize = 64 * 1024;
/// The most of them.
const MAX_FIELDS: usize = 100;

/// What is of use only before the body: framing, routing, conditions, authentication, and what says how the content is to be
/// understood or kept (RFC 9110 §6.5.1). Read by one and passed over by another, such a field would mean two things.
const NOT_HERE: [HeaderName; 30] = [
    AGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    HOST,
    HeaderName::from_static("keep-alive"),
    LOCATION,
    MAX_FORWARDS,
    PRAGMA,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VARY,
    WARNING,
    WWW_AUTHENTICATE,
];

/// They cannot be read, or are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Bytes of their names and values.
pub fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Those that may pass; `None` if there are none.
pub fn passing(mut fields: HeaderMap) -> Option<HeaderMap> {
    NOT_HERE.iter().for_each(|name| drop(fields.remove(name)));
    Some(fields).filter(|fields| !fields.is_empty())
}

/// Whether a list of transfer codings names `trailers`: its sender reads them (RFC 9110 §10.1.4).
pub fn are_accepted(te: &[u8]) -> bool {
    te.split(|&b| b == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Reads the lines of a trailer section, without the empty one at its end.
///
/// # Errors
/// When they are not fields, or more than there may be.
pub fn parse(lines: &[u8]) -> Result<HeaderMap, Malformed> {
    if lines.len() > MAX {
        return Err(Malformed);
    }
    let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let whole = [lines, b"\r\n"].concat();
    let Ok(httparse::Status::Complete((_, read))) = httparse::parse_headers(&whole, &mut room) else {
        return Err(Malformed);
    };
    let mut fields = HeaderMap::with_capacity(read.len());
    for field in read {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        fields.append(name, HeaderValue::from_bytes(field.value).map_err(|_| Malformed)?);
    }
    Ok(fields)
}

/// Writes them as lines.
pub fn write(fields: &HeaderMap, lines: &mut Vec<u8>) {
    for (name, value) in fields {
        lines.extend_from_slice(name.as_str().as_bytes());
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(value.as_bytes());
        lines.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        let lines = b"grpc-status: 0\r\nx-sum: a\r\nx-sum: b\r\n";
        let fields = parse(lines).unwrap();
        let mut written = Vec::new();
        write(&fields, &mut written);
        assert_eq!(written, lines);
        assert_eq!(size(&fields), 11 + 1 + 2 * (5 + 1));
    }

    #[test]
    fn what_belongs_before_a_body_does_not_pass() {
        let fields = parse(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n").unwrap();
        assert_eq!(passing(fields), None);
        let fields = parse(b"X-Sum: a\r\nHost: b\r\n").unwrap();
        assert_eq!(passing(fields).map(|fields| fields.len()), Some(1));
    }

    #[test]
    fn what_are_no_fields_is_refused() {
        let many = "a: b\r\n".repeat(MAX_FIELDS + 1);
        let large = format!("a: {}\r\n", "b".repeat(MAX));
        for lines in ["a\r\n", "a b: c\r\n", "a: b\r\n c\r\n", "a: b\r\n\r\nc: d\r\n", "a: b", &many, &large] {
            let read = parse(lines.as_bytes());
            assert!(read == Err(Malformed) || lines.contains("\r\n\r\n"), "{lines:?}");
        }
    }

    #[test]
    fn they_are_accepted_by_name() {
        assert!(are_accepted(b"trailers") && are_accepted(b"gzip;q=1, Trailers"));
        assert!(!are_accepted(b"") && !are_accepted(b"trailers2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(lines in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either = parse(&lines);
        }
    }
}
