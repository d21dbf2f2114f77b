//! A head that holds on to nothing but itself.
//!
//! pingora parses a head without copying: each value is a slice of the connection's read buffer and keeps all of it
//! alive, 4 KiB at least and the beginning of the body with it. Kept for hours, that is memory no weight accounts for.
//! A stored head is therefore a copy, with the text of all its fields in one allocation.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::Result;
use pingora::http::{HeaderNameVariant, ResponseHeader};

/// A copy of `header` that shares no memory with it. Spelling and order of the fields are kept.
///
/// # Errors
/// If pingora refuses a part of what it has itself accepted before.
pub(super) fn compact(header: &ResponseHeader) -> Result<ResponseHeader> {
    let mut text = BytesMut::new();
    let mut ends = Vec::with_capacity(header.headers.len());
    header.map(|name, value| {
        text.extend_from_slice(match &name {
            HeaderNameVariant::Case(name) => name.as_slice(),
            HeaderNameVariant::Titled(name) => name.as_bytes(),
        });
        let name = text.len();
        text.extend_from_slice(value.as_bytes());
        ends.push((name, text.len()));
        Ok(())
    })?;
    // Exactly as large as its content, which a buffer that grew is not.
    let text = Bytes::copy_from_slice(&text);
    let build = if header.has_case() { ResponseHeader::build } else { ResponseHeader::build_no_case };
    let mut copy = build(header.status, Some(ends.len()))?;
    copy.set_version(header.version);
    let reason = header.get_reason_phrase();
    if reason != header.status.canonical_reason() {
        copy.set_reason_phrase(reason)?;
    }
    let mut start = 0;
    for ((name, end), original) in ends.into_iter().zip(header.headers.values()) {
        let value = HeaderValue::from_maybe_shared(text.slice(name..end)).unwrap_or_else(|_| original.clone());
        copy.append_header(text.slice(start..name), value)?;
        start = end;
    }
    Ok(copy)
}

/// Makes the header's fields those of `fields`, through pingora's own type, which keeps their spelling.
pub fn replace_fields(header: &mut ResponseHeader, fields: &HeaderMap) {
    let same = |name: &HeaderName| header.headers.get_all(name).iter().eq(fields.get_all(name).iter());
    let added = fields.keys().filter(|name| !header.headers.contains_key(*name));
    let changed: Vec<HeaderName> = header.headers.keys().chain(added).filter(|name| !same(name)).cloned().collect();
    for name in &changed {
        header.remove_header(name);
    }
    for name in changed {
        for value in fields.get_all(&name) {
            // Fails only for more fields than a map can hold, of which the response would have had to have as many.
            let _ = header.append_header(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(header: &ResponseHeader) -> Vec<u8> {
        let mut wire = Vec::new();
        header.header_to_h1_wire(&mut wire);
        wire
    }

    #[test]
    fn the_copy_reads_the_same_on_the_wire() {
        let mut header = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [("ETag", "\"a\""), ("X-oDD", ""), ("Set-Cookie", "a=1"), ("SET-cookie", "b=2")] {
            header.append_header(name, value).unwrap();
        }
        header.append_header("X-Bytes", HeaderValue::from_bytes(b"\xff\tx").unwrap()).unwrap();
        header.set_reason_phrase(Some("Fine")).unwrap();
        let copy = compact(&header).unwrap();
        assert_eq!(wire(&copy), wire(&header));
        assert_eq!(
            (copy.status, copy.version, copy.get_reason_phrase()),
            (header.status, header.version, Some("Fine"))
        );
    }

    #[test]
    fn a_head_without_original_spelling_stays_without() {
        let mut header = ResponseHeader::build_no_case(404, None).unwrap();
        header.append_header("x-a", "1").unwrap();
        let copy = compact(&header).unwrap();
        assert!(!copy.has_case());
        assert_eq!(wire(&copy), wire(&header));
    }

    #[test]
    fn the_copy_does_not_keep_the_read_buffer() {
        let buffer = Bytes::from(vec![b'v'; 4096]);
        let mut header = ResponseHeader::build(200, None).unwrap();
        header.append_header("x-a", HeaderValue::from_maybe_shared(buffer.slice(..10)).unwrap()).unwrap();
        let copy = compact(&header).unwrap();
        drop(header);
        assert!(buffer.is_unique());
        assert_eq!(copy.headers["x-a"], "vvvvvvvvvv");
    }
}
