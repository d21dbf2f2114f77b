//! A response's head as bytes, and how its body is framed, on a connection of HTTP/1.1.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use pingora::http::ResponseHeader;

use crate::clock;

/// What of a response's body is still to come (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    Done,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Whatever comes until the connection ends.
    UntilClose,
}

impl Body {
    /// What follows this final head, in answer to HEAD or to another method.
    pub(super) fn of(head: &ResponseHeader, is_head: bool) -> Body {
        if is_head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Body::Done;
        }
        if head.headers.get(TRANSFER_ENCODING).is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        {
            return Body::Chunked;
        }
        let length = head.headers.get(CONTENT_LENGTH).map(|length| length.to_str().ok()?.parse().ok());
        match length {
            Some(Some(0)) => Body::Done,
            Some(Some(length)) => Body::Length(length),
            Some(None) | None => Body::UntilClose,
        }
    }

    /// What of the next bytes belongs to it.
    pub(super) fn cut<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        match self {
            Body::Done => &[],
            Body::Chunked | Body::UntilClose => data,
            Body::Length(left) => {
                let room = usize::try_from(*left).unwrap_or(usize::MAX);
                let data = &data[..data.len().min(room)];
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Body::Done;
                }
                data
            }
        }
    }
}

/// Whether a head says that the connection ends with this exchange (RFC 9112 §9.6).
pub(super) fn closes(fields: &HeaderMap) -> bool {
    let options = fields.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|&b| b == b','));
    options.into_iter().any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Appends a head. A final one says whether the connection `keeps`, on which nobody but us decides, and when it was made: as the
/// origin has said, or else now (RFC 9110 §6.6.1).
pub(super) fn write(head: &ResponseHeader, keeps: Option<bool>, out: &mut Vec<u8>) {
    out.reserve(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let mut has_date = false;
    for (name, value) in head.case_header_iter() {
        let name = name.as_slice();
        if name.eq_ignore_ascii_case(CONNECTION.as_str().as_bytes()) {
            continue;
        }
        has_date |= name.eq_ignore_ascii_case(DATE.as_str().as_bytes());
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let Some(keeps) = keeps else { return out.extend_from_slice(b"\r\n") };
    if !has_date {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(httpdate::fmt_http_date(clock::wall()).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(if keeps { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn written(head: &ResponseHeader, keeps: Option<bool>) -> String {
        let mut out = Vec::new();
        write(head, keeps, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_origins_date_and_spellings_stay_and_the_connection_is_ours() {
        let head = head(200, &[("DATE", "then"), ("X-a", "1"), ("Connection", "close"), ("x-A", "2")]);
        assert_eq!(
            written(&head, Some(true)),
            "HTTP/1.1 200 OK\r\nDATE: then\r\nX-a: 1\r\nx-A: 2\r\nConnection: keep-alive\r\n\r\n"
        );
        assert!(closes(&head.headers));
    }

    #[test]
    fn a_head_without_a_date_gets_one_and_an_interim_one_does_not() {
        let lines = written(&head(404, &[]), Some(false));
        let (first, rest) = lines.split_once("\r\nDate: ").unwrap();
        assert_eq!(first, "HTTP/1.1 404 Not Found");
        assert!(rest.ends_with(" GMT\r\nConnection: close\r\n\r\n"), "{rest}");
        assert_eq!(written(&head(103, &[("Link", "a")]), None), "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let sized = head(200, &[("Content-Length", "3")]);
        assert_eq!(Body::of(&sized, true), Body::Done);
        assert_eq!(Body::of(&head(304, &[("Content-Length", "3")]), false), Body::Done);
        assert_eq!(Body::of(&head(200, &[("Content-Length", "0")]), false), Body::Done);
        assert_eq!(Body::of(&head(200, &[("Transfer-Encoding", "chunked")]), false), Body::Chunked);
        assert_eq!(Body::of(&head(200, &[]), false), Body::UntilClose);
        let mut body = Body::of(&sized, false);
        assert_eq!(body.cut(b"ab"), b"ab");
        assert_eq!(body, Body::Length(1));
        assert_eq!(body.cut(b"cd"), b"c");
        assert_eq!((body.cut(b"e"), body), (&b""[..], Body::Done));
    }
}
