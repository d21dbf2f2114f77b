//! A request's head as HTTP/2 has it (RFC 9113 §8.2, §8.3).

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use pingora::http::RequestHeader;

use crate::upstream::Failure;

/// Fields of a connection, which HTTP/2 has none of (RFC 9113 §8.2.2), and the one that has become a pseudo-header.
const NOT_OURS: [HeaderName; 6] = [
    CONNECTION,
    HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What is never put into the table that all requests of a connection share: its size would tell one client's secret to
/// another (RFC 7541 §7.1.3).
const SECRET: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

/// A head.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    /// The length of the body; `None` for one that is as long as it is.
    pub(super) length: Option<u64>,
}

impl Request {
    /// `request` as HTTP/2, with what is told beside it; the scheme is `https` if `is_secure`.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`] for a target or an authority that is none.
    pub fn of(
        request: &RequestHeader,
        told: &[(&'static str, HeaderValue)],
        is_secure: bool,
    ) -> Result<Request, Failure> {
        let authority = request.headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        let parts = (Authority::try_from(authority), PathAndQuery::try_from(request.raw_path()));
        let (Ok(authority), Ok(target)) = parts else { return Err(Failure::WriteFailed) };
        let scheme = if is_secure { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
        let said = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length = match request.headers.contains_key(TRANSFER_ENCODING) {
            true => None,
            false => Some(said.unwrap_or_default()),
        };
        let mut headers = HeaderMap::with_capacity(request.headers.len() + told.len() + ROOM);
        for (name, value) in request.headers.iter().filter(|(name, value)| passes(name, value)) {
            let mut value = value.clone();
            if SECRET.contains(name) {
                value.set_sensitive(true);
            }
            headers.append(name, value);
        }
        for (name, value) in told {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                headers.append(name, value.clone());
            }
        }
        let uri = uri.map_err(|_| Failure::WriteFailed)?;
        Ok(Request { method: request.method.clone(), uri, headers, length })
    }

    /// Adds a field in the place of any other. Neither part of it may be a client's.
    pub fn add(&mut self, name: &str, value: &str) {
        add(&mut self.headers, name, value);
    }

    /// Whether the body is to come.
    pub(super) fn has_body(&self) -> bool {
        self.length != Some(0)
    }

    /// The head with `more` fields, as it is sent.
    pub(super) fn with(&self, more: &HeaderMap) -> http::Request<()> {
        let mut request = http::Request::new(());
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        for (name, value) in more {
            request.headers_mut().insert(name, value.clone());
        }
        request
    }
}

/// Room for the fields that are added where the request is sent.
const ROOM: usize = 4;

/// Adds a field. One that cannot be written is left out.
pub fn add(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = HeaderName::from_bytes(name.as_bytes());
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn passes(name: &HeaderName, value: &HeaderValue) -> bool {
    // Of `TE` HTTP/2 knows but one word (RFC 9113 §8.2.2).
    !NOT_OURS.contains(name) && (name != TE || value.as_bytes().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, fields: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
        fields.iter().for_each(|(name, value)| assert!(request.append_header(*name, *value).is_ok()));
        request
    }

    #[test]
    fn the_host_becomes_the_authority_and_the_connections_fields_go() {
        let fields = [
            ("Host", "a.example:81"),
            ("Connection", "close"),
            ("Transfer-Encoding", "chunked"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "websocket"),
            ("TE", "trailers"),
            ("X-B", "c"),
        ];
        let sent = Request::of(&request("POST", "/a?b=c", &fields), &[], true).unwrap();
        assert_eq!(sent.uri.to_string(), "https://a.example:81/a?b=c");
        let names: Vec<_> = sent.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["te", "x-b"]);
        assert_eq!((sent.length, sent.has_body()), (None, true));
    }

    #[test]
    fn a_coding_that_is_asked_for_in_te_is_not() {
        let sent = Request::of(&request("GET", "/", &[("Host", "a"), ("TE", "gzip")]), &[], false).unwrap();
        assert_eq!((sent.headers.len(), sent.uri.scheme_str(), sent.has_body()), (0, Some("http"), false));
    }

    #[test]
    fn secrets_are_not_put_into_the_table_of_all() {
        let sent = Request::of(&request("GET", "/", &[("Host", "a"), ("Cookie", "a=b")]), &[], false).unwrap();
        assert!(sent.headers[COOKIE].is_sensitive());
    }

    #[test]
    fn the_length_is_what_is_said() {
        let sent =
            |fields: &[(&'static str, &str)]| Request::of(&request("PUT", "/", fields), &[], false).unwrap().length;
        assert_eq!(sent(&[("Host", "a"), ("Content-Length", "5")]), Some(5));
        assert_eq!(sent(&[("Host", "a")]), Some(0));
    }

    #[test]
    fn what_is_sent_now_takes_the_place_of_what_was_there() {
        let mut sent = Request::of(&request("GET", "/", &[("Host", "a")]), &[], false).unwrap();
        sent.add("X-More", "1");
        let mut more = HeaderMap::new();
        add(&mut more, "X-More", "2");
        assert_eq!(sent.with(&more).headers()["x-more"], "2");
        assert_eq!(sent.headers["x-more"], "1");
    }

    #[test]
    fn what_has_no_authority_is_not_sent() {
        assert_eq!(Request::of(&request("GET", "/", &[]), &[], false).unwrap_err(), Failure::WriteFailed);
        assert_eq!(
            Request::of(&request("GET", "/", &[("Host", "a b")]), &[], false).unwrap_err(),
            Failure::WriteFailed
        );
    }
}
