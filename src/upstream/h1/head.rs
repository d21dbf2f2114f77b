//! The head of a response, read strictly: a folded line, a space before a colon or a byte that no field may hold make it
//! none. The spelling of names is kept.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Version};
use pingora::http::ResponseHeader;

use super::Broken;
use super::framing::Said;

/// The largest head, in bytes.
pub(super) const MAX_HEAD: usize = 1024 * 1024;
/// The most fields of one.
const MAX_FIELDS: usize = 256;

/// Room for the fields that are added on the way to the client.
const OURS: usize = 8;

/// A head.
#[derive(Debug)]
pub(super) struct Head {
    /// As pingora keeps it.
    pub response: Box<ResponseHeader>,
    /// What it says of its message.
    pub said: Said,
    /// Its length, in bytes.
    pub length: usize,
}

/// The head at the front of `bytes`, if all of it is there.
///
/// # Errors
/// When it is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    // Httparse passes over empty lines, however many, and would do so anew with each of them.
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(Broken);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Broken),
    };
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else { return Err(Broken) };
    let mut response = ResponseHeader::build(code, Some(parsed.headers.len() + OURS)).map_err(|_| Broken)?;
    response.set_version(if version == 1 { Version::HTTP_11 } else { Version::HTTP_10 });
    response.set_reason_phrase(parsed.reason).map_err(|_| Broken)?;
    // A copy of just the head: what is stored of it keeps no read buffer alive.
    let kept = Bytes::copy_from_slice(bytes.get(..length).ok_or(Broken)?);
    let part = |part: &[u8]| {
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        kept.slice(start..start + part.len())
    };
    let mut said = Said::default();
    for field in parsed.headers.iter() {
        said.field(field.name, field.value)?;
        let value = HeaderValue::from_maybe_shared(part(field.value)).map_err(|_| Broken)?;
        response.append_header(part(field.name.as_bytes()), value).map_err(|_| Broken)?;
    }
    if let (true, Some(length)) = (said.repeats_length, said.length) {
        response.insert_header(CONTENT_LENGTH, length).map_err(|_| Broken)?;
    }
    Ok(Some(Head { response: Box::new(response), said, length }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(text: &str) -> Head {
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let text = "HTTP/1.1 404 Not Here\r\nX-ODD: a b \r\nx-odd: c\r\n\r\n";
        let head = head(&format!("{text}body"));
        assert_eq!((head.response.status.as_u16(), head.response.get_reason_phrase()), (404, Some("Not Here")));
        let values: Vec<_> = head.response.headers.get_all("x-odd").iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!((values, head.length), (vec!["a b", "c"], text.len()));
        let mut wire = Vec::new();
        head.response.header_to_h1_wire(&mut wire);
        assert_eq!(String::from_utf8(wire).unwrap(), "X-ODD: a b\r\nx-odd: c\r\n");
        assert_eq!(head.response.version, Version::HTTP_11);
    }

    #[test]
    fn a_repeated_length_is_made_one() {
        for text in ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5, 5"] {
            let head = head(&format!("HTTP/1.0 200 OK\r\n{text}\r\n\r\n"));
            let lengths: Vec<_> =
                head.response.headers.get_all(CONTENT_LENGTH).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!((lengths, head.response.version), (vec![&b"5"[..]], Version::HTTP_10));
        }
    }

    #[test]
    fn half_a_head_is_waited_for() {
        let whole = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        for end in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..end]).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        for text in [
            "hello there\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "\n",
            "HTTP/1.1 99 Low\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\rA: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            &many,
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(parse(format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS)).as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _either = parse(&[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat());
        }
    }
}
