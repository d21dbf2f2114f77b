//! Is this request plain enough for the lane? By its head alone, before route and key are known.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::framed::Rest;
use super::head::Request;
use super::names::Name;
use crate::telemetry::{AccessLog, Agent, Lane, Method};
use crate::uri::{self, Target};

/// A request in which nothing stands that the lane does not understand.
#[derive(Debug)]
pub(super) struct Plain<'a> {
    pub method: Method,
    pub target: Target<'a>,
    /// In normal form, without port.
    pub host: &'a str,
    pub port: Option<u16>,
    /// Its `X-Request-Id`.
    pub given_id: Option<&'a [u8]>,
    /// Whether it asks if its client's copy is still good.
    pub is_conditional: bool,
    /// Whether it says what it wants of the cache.
    pub has_wishes: bool,
    /// Whether the client closes after it.
    pub closes: bool,
    pub fields: &'a [httparse::Header<'a>],
}

impl<'a> Plain<'a> {
    /// Looks at a whole head.
    ///
    /// # Errors
    /// Why the request is not for the lane.
    pub(super) fn of(request: &'a Request<'a>, rest: Rest) -> Result<Plain<'a>, Lane> {
        let method = match request.method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => return Err(Lane::Method),
        };
        let Some((host, port)) = request.host.as_ref().filter(|_| request.http_11) else { return Err(Lane::Version) };
        match rest {
            Rest::Length(0) => {}
            Rest::Length(_) | Rest::Chunked(_) => return Err(Lane::Body),
            Rest::Upgraded => return Err(Lane::Upgrade),
        }
        if !request.target.starts_with('/') {
            return Err(Lane::Target);
        }
        let target = uri::normalise(request.target).map_err(|_| Lane::Target)?;
        let mut plain = Plain {
            method,
            target,
            host,
            port: *port,
            given_id: None,
            is_conditional: false,
            has_wishes: false,
            closes: false,
            fields: request.fields,
        };
        let mut has_connection = false;
        for field in request.fields {
            match Name::of(field.name) {
                Name::IfNoneMatch | Name::IfModifiedSince => plain.is_conditional = true,
                Name::CacheControl | Name::Pragma => plain.has_wishes = true,
                Name::XRequestId => plain.given_id = plain.given_id.or(Some(field.value)),
                Name::Connection => {
                    let is_repeated = std::mem::replace(&mut has_connection, true);
                    plain.closes = closes(field.value).filter(|_| !is_repeated).ok_or(Lane::Connection)?;
                }
                Name::Upgrade => return Err(Lane::Upgrade),
                Name::Expect => return Err(Lane::Expect),
                Name::Range => return Err(Lane::Range),
                Name::IfMatch | Name::IfUnmodifiedSince => return Err(Lane::Precondition),
                Name::XRequestTimeoutMs | Name::GrpcTimeout => return Err(Lane::Deadline),
                Name::Other if memchr::memchr(b'_', field.name.as_bytes()).is_some() => return Err(Lane::Underscore),
                Name::AcceptEncoding
                | Name::ContentLength
                | Name::Forwarded
                | Name::Host
                | Name::TransferEncoding
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedProto
                | Name::Other => {}
            }
        }
        Ok(plain)
    }

    /// The values of the fields known as `name`, in the order sent.
    pub(super) fn values(&self, name: Name) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| Name::of(field.name) == name).map(|field| field.value)
    }

    /// What the access log says of its client, if it does.
    pub(super) fn agent(&self, log: &AccessLog) -> Agent<'a> {
        if !log.tells_agent() {
            return Agent::default();
        }
        let find = |name: &str| self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        Agent::of(|name| find(name).map(|field| field.value))
    }

    /// Whether it has a field of this name.
    pub(super) fn has(&self, name: &HeaderName) -> bool {
        self.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name.as_str()))
    }

    /// The fields of these names, for the policies that read a map. Without what a client that is not `trusted` says of
    /// others. `None` if one cannot be put into a map.
    pub(super) fn selected(&self, names: &[HeaderName], trusted: bool) -> Option<HeaderMap> {
        let mut map = HeaderMap::new();
        for field in self.fields {
            let Some(name) = names.iter().find(|name| field.name.eq_ignore_ascii_case(name.as_str())) else { continue };
            if trusted || !is_told(field.name) {
                map.append(name, HeaderValue::from_bytes(field.value).ok()?);
            }
        }
        Some(map)
    }
}

/// What a client says of whom it speaks for.
fn is_told(name: &str) -> bool {
    matches!(Name::of(name), Name::Forwarded | Name::XForwardedFor | Name::XForwardedHost | Name::XForwardedProto)
}

/// Whether a `Connection` ends it; `None` if it says more than that.
fn closes(value: &[u8]) -> Option<bool> {
    let value = value.trim_ascii();
    if value.eq_ignore_ascii_case(b"keep-alive") {
        Some(false)
    } else {
        value.eq_ignore_ascii_case(b"close").then_some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{judge, space};
    use super::*;
    use crate::config::Limits;

    fn judged<T>(text: &str, look: impl FnOnce(Result<Plain<'_>, Lane>) -> T) -> T {
        let limits =
            Limits { head_size: 8192, headers: 64, uri_length: 4096, connections: 1, requests_per_connection: 1 };
        let mut space = space();
        let (head, request) = judge(text.as_bytes(), &limits, &mut space).unwrap().unwrap();
        look(Plain::of(&request, head.rest))
    }

    fn reason(line: &str, fields: &str) -> Option<Lane> {
        judged(&format!("{line}\r\nHost: a\r\n{fields}\r\n"), |plain| plain.err())
    }

    #[test]
    fn what_says_nothing_more_than_what_it_wants_is_plain() {
        for fields in [
            "",
            "Connection: keep-alive\r\n",
            "Connection: Close\r\n",
            "Cookie: a=b\r\nAuthorization: Basic x\r\n",
            "Content-Length: 0\r\n",
            "If-None-Match: \"a\"\r\n",
            "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=x\r\n",
        ] {
            assert_eq!(reason("GET /a?b HTTP/1.1", fields), None, "{fields}");
            assert_eq!(reason("HEAD /a?b HTTP/1.1", fields), None, "{fields}");
        }
    }

    #[test]
    fn everything_else_has_its_reason() {
        for (line, fields, expected) in [
            ("POST / HTTP/1.1", "", Lane::Method),
            ("get / HTTP/1.1", "", Lane::Method),
            ("GET / HTTP/1.0", "", Lane::Version),
            ("GET http://a/ HTTP/1.1", "", Lane::Target),
            ("GET /../a HTTP/1.1", "", Lane::Target),
            ("GET / HTTP/1.1", "Content-Length: 1\r\n", Lane::Body),
            ("GET / HTTP/1.1", "Transfer-Encoding: chunked\r\n", Lane::Body),
            ("GET / HTTP/1.1", "Upgrade: x\r\nConnection: upgrade\r\n", Lane::Upgrade),
            ("GET / HTTP/1.1", "Upgrade: x\r\n", Lane::Upgrade),
            ("GET / HTTP/1.1", "Connection: x-tenant\r\n", Lane::Connection),
            ("GET / HTTP/1.1", "Connection: keep-alive, close\r\n", Lane::Connection),
            ("GET / HTTP/1.1", "Connection: keep-alive\r\nConnection: keep-alive\r\n", Lane::Connection),
            ("GET / HTTP/1.1", "Expect: 100-continue\r\n", Lane::Expect),
            ("GET / HTTP/1.1", "Range: bytes=0-\r\n", Lane::Range),
            ("GET / HTTP/1.1", "If-Match: *\r\n", Lane::Precondition),
            ("GET / HTTP/1.1", "If-Unmodified-Since: x\r\n", Lane::Precondition),
            ("GET / HTTP/1.1", "X-Request-Timeout-Ms: 1\r\n", Lane::Deadline),
            ("GET / HTTP/1.1", "X_Forwarded_For: 1\r\n", Lane::Underscore),
        ] {
            assert_eq!(reason(line, fields), Some(expected), "{line} {fields}");
        }
    }

    #[test]
    fn what_it_says_is_noted() {
        judged("GET / HTTP/1.1\r\nHost: A:81\r\nPragma: x\r\nX-Request-Id: 1\r\nX-Request-Id: 2\r\n\r\n", |plain| {
            let plain = plain.unwrap();
            assert_eq!((plain.host, plain.port, plain.given_id), ("a", Some(81), Some(&b"1"[..])));
            assert!(plain.has_wishes && !plain.is_conditional && !plain.closes);
        });
    }

    #[test]
    fn a_stranger_selects_nothing_by_what_it_says_of_others() {
        let names = [HeaderName::from_static("x-forwarded-proto"), HeaderName::from_static("accept")];
        let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\naccept: b\r\nAccept: c\r\nX: d\r\n\r\n";
        judged(text, |plain| {
            let plain = plain.unwrap();
            let of = |trusted| plain.selected(&names, trusted).unwrap();
            assert_eq!((of(true).len(), of(false).len()), (3, 2));
            assert_eq!(of(false).get_all("accept").iter().collect::<Vec<_>>(), ["b", "c"]);
        });
    }
}
