//! A request as it goes on the wire.

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderValue, Method};
use pingora::http::RequestHeader;

use super::framing;
use crate::upstream::Failure;

/// The body of a request, as far as it is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// So many bytes.
    Length(u64),
    /// In chunks, until it ends.
    Chunked,
}

/// The head of a request but for its last line, so that fields can be added where it is sent.
#[derive(Clone, Debug)]
pub struct Request {
    head: Vec<u8>,
    pub(super) is_head: bool,
    pub(super) closes: bool,
    pub(super) body: Outgoing,
}

impl Request {
    /// `request` as HTTP/1.1, with what is told beside it.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`] for a target that is more than one word: it would end the request line early.
    pub fn of(request: &RequestHeader, told: &[(&'static str, HeaderValue)]) -> Result<Request, Failure> {
        let target = request.raw_path();
        if target.is_empty() || target.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r' | b' ')) {
            return Err(Failure::WriteFailed);
        }
        let headers = &request.headers;
        let mut head = Vec::with_capacity(1024);
        head.extend_from_slice(request.method.as_str().as_bytes());
        head.push(b' ');
        head.extend_from_slice(target);
        head.extend_from_slice(b" HTTP/1.1\r\n");
        request.header_to_h1_wire(&mut head);
        for (name, value) in told {
            line(&mut head, name, value.as_bytes());
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| framing::number(length.as_bytes()));
        let body = match headers.contains_key(TRANSFER_ENCODING) {
            true => Outgoing::Chunked,
            false => Outgoing::Length(length.unwrap_or_default()),
        };
        let options = headers.get(CONNECTION).map(|options| options.as_bytes()).unwrap_or_default();
        let closes = options.split(|&b| b == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        Ok(Request { head, is_head: request.method == Method::HEAD, closes, body })
    }

    /// Adds a field. Neither part of it may be a client's.
    pub fn add(&mut self, name: &str, value: &str) {
        add(&mut self.head, name, value);
    }

    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }
}

/// Adds a line to a head.
pub fn add(head: &mut Vec<u8>, name: &str, value: &str) {
    line(head, name, value.as_bytes());
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, b"/a?b", None).unwrap();
        fields.iter().for_each(|(name, value)| assert!(request.append_header(*name, *value).is_ok()));
        request
    }

    #[test]
    fn a_head_keeps_its_spelling_and_takes_more_fields() {
        let told = [("Via", HeaderValue::from_static("1.1 d"))];
        let mut sent = Request::of(&request("GET", &[("HOST", "a.example"), ("X-b", "c")]), &told).unwrap();
        sent.add("X-More", "2");
        assert_eq!(
            std::str::from_utf8(sent.head()).unwrap(),
            "GET /a?b HTTP/1.1\r\nHOST: a.example\r\nX-b: c\r\nVia: 1.1 d\r\nX-More: 2\r\n"
        );
        assert_eq!((sent.is_head, sent.closes, sent.body), (false, false, Outgoing::Length(0)));
    }

    #[test]
    fn its_body_and_its_end_are_known() {
        let sent = |fields: &[(&'static str, &str)]| Request::of(&request("POST", fields), &[]).unwrap();
        assert_eq!(sent(&[("Content-Length", "5")]).body, Outgoing::Length(5));
        assert_eq!(sent(&[("Transfer-Encoding", "chunked")]).body, Outgoing::Chunked);
        assert!(sent(&[("Connection", "close")]).closes);
        assert!(Request::of(&request("HEAD", &[]), &[]).unwrap().is_head);
    }

    #[test]
    fn a_target_that_would_split_the_line_is_not_sent() {
        let mut split = request("GET", &[]);
        if split.set_raw_path(b"/a HTTP/1.1\r\nX: y").is_ok() {
            assert_eq!(Request::of(&split, &[]).unwrap_err(), Failure::WriteFailed);
        }
    }
}
