//! A response's head as pingora keeps it.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use pingora::http::ResponseHeader;

use crate::upstream::Failure;

/// The largest head, in bytes as HTTP/2 counts them (RFC 9113 §6.5.2).
pub(super) const MAX_HEAD: u32 = 1024 * 1024;
/// The most fields of one.
const MAX_FIELDS: usize = 256;
/// Room for the fields that are added on the way to the client.
const OURS: usize = 8;

/// The head of a response with this status and these fields.
///
/// # Errors
/// [`Failure::InvalidResponse`] for too many fields, or more than one length.
pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Result<Box<ResponseHeader>, Failure> {
    let is_clear = headers.get_all(CONTENT_LENGTH).iter().count() <= 1;
    if headers.len() > MAX_FIELDS || !is_clear {
        return Err(Failure::InvalidResponse);
    }
    let invalid = |_| Failure::InvalidResponse;
    let mut head = ResponseHeader::build(status, Some(headers.len() + OURS)).map_err(invalid)?;
    // What comes after this knows messages by their meaning, which all versions share.
    head.set_version(Version::HTTP_11);
    let mut values = copy(headers);
    for (name, value) in headers {
        let part = values.split_to(value.len());
        let value = HeaderValue::from_maybe_shared(part).map_err(|_| Failure::InvalidResponse)?;
        head.append_header(name, value).map_err(invalid)?;
    }
    Ok(Box::new(head))
}

/// A copy of just the values: what is stored of the head keeps no read buffer alive.
fn copy(headers: &HeaderMap) -> Bytes {
    let mut values = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| values.extend_from_slice(value.as_bytes()));
    values.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn fields_keep_their_order_and_values() {
        let headers = fields(&[("set-cookie", "a=b"), ("x-y", ""), ("set-cookie", "c=d"), ("content-length", "3")]);
        let head = of(StatusCode::OK, &headers).unwrap();
        assert_eq!(head.headers, headers);
        assert_eq!((head.status, head.version), (StatusCode::OK, Version::HTTP_11));
    }

    #[test]
    fn two_lengths_are_none() {
        for lengths in
            [&[("content-length", "3"), ("content-length", "3")], &[("content-length", "3"), ("content-length", "4")]]
        {
            assert_eq!(of(StatusCode::OK, &fields(lengths)).unwrap_err(), Failure::InvalidResponse);
        }
    }

    #[test]
    fn there_is_a_limit_to_fields() {
        let mut headers = HeaderMap::new();
        for _ in 0..=MAX_FIELDS {
            headers.append("x-y", HeaderValue::from_static("z"));
        }
        assert_eq!(of(StatusCode::OK, &headers).unwrap_err(), Failure::InvalidResponse);
    }
}
