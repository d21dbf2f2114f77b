//! gRPC over HTTP/2: what is a call, and what its status means.
//!
//! A call ends with a status of its own, after the answer's body or in the place of one; that of HTTP is 200 as long as
//! anything that speaks gRPC answers. (gRPC's `doc/PROTOCOL-HTTP2.md` and `doc/statuscodes.md`; the meaning of a status in
//! terms of HTTP is Envoy's.)

pub mod health;

use std::fmt::Write as _;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};

/// The content type of an answer of our own.
pub const CONTENT: &str = "application/grpc";
/// The field that holds the status.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The field that says more of it.
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u8);

impl Status {
    /// It was answered.
    pub const OK: Status = Status(0);
    /// Nobody waits for it any longer.
    pub const CANCELLED: Status = Status(1);
    /// What went wrong is not known.
    pub const UNKNOWN: Status = Status(2);
    /// There was no time left for it.
    pub const DEADLINE_EXCEEDED: Status = Status(4);
    /// Its caller may not do that.
    pub const PERMISSION_DENIED: Status = Status(7);
    /// There is no room for it: over a quota, or too large.
    pub const RESOURCE_EXHAUSTED: Status = Status(8);
    /// Nobody has such a method.
    pub const UNIMPLEMENTED: Status = Status(12);
    /// Something is broken.
    pub const INTERNAL: Status = Status(13);
    /// Nobody is there at the moment.
    pub const UNAVAILABLE: Status = Status(14);
    /// It is not known who calls.
    pub const UNAUTHENTICATED: Status = Status(16);

    /// The status among these fields; one that cannot be read is [`Status::UNKNOWN`], and so is one of which nothing is known.
    pub fn read(fields: &HeaderMap) -> Option<Status> {
        let text = fields.get(STATUS)?.to_str().unwrap_or_default();
        let known = text.parse().ok().filter(|code| usize::from(*code) < NAMES.len());
        Some(known.map_or(Status::UNKNOWN, Status))
    }

    /// Its number.
    pub fn code(self) -> u8 {
        self.0
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("UNKNOWN")
    }

    /// The status of HTTP that says as much.
    pub fn as_http(self) -> u16 {
        match self.0 {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        }
    }

    /// The status of a call that the edge answers by itself, where it would answer another request with this one of HTTP.
    pub fn of_http(status: u16) -> Status {
        match status {
            401 => Status::UNAUTHENTICATED,
            403 => Status::PERMISSION_DENIED,
            404 | 405 | 501 => Status::UNIMPLEMENTED,
            408 => Status::CANCELLED,
            413 | 429 => Status::RESOURCE_EXHAUSTED,
            504 => Status::DEADLINE_EXCEEDED,
            502 | 503 => Status::UNAVAILABLE,
            _ => Status::INTERNAL,
        }
    }
}

/// The names of statuses, by their numbers.
pub const NAMES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Whether a request with these fields is a call. gRPC-Web, whose statuses stand in bodies, is none.
pub fn is_call(fields: &HeaderMap) -> bool {
    let kind = fields.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let Some((start, rest)) = kind.split_at_checked(CONTENT.len()) else { return false };
    start.eq_ignore_ascii_case(CONTENT.as_bytes()) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// A text as `grpc-message` holds it: everything but visible ASCII is percent-encoded.
pub fn message(text: &str) -> String {
    let mut message = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            message.push(char::from(byte));
        } else {
            // Writing to memory does not fail.
            let _infallible = write!(message, "%{byte:02X}");
        }
    }
    message
}

/// Which methods of a route are safe: to ask twice does no more than to ask once, and nobody minds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SafeMethods(Vec<String>);

impl SafeMethods {
    /// Whether a text names a method, `/package.Service/Method`, or all of a service, `/package.Service/*`.
    pub fn is_pattern(text: &str) -> bool {
        let part =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._".contains(&b));
        let mut parts = text.strip_prefix('/').unwrap_or_default().splitn(2, '/');
        parts.next().is_some_and(part) && parts.next().is_some_and(|method| method == "*" || part(method))
    }

    /// Those that these patterns name.
    pub fn new(patterns: Vec<String>) -> SafeMethods {
        SafeMethods(patterns)
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether the method with this path is one.
    pub fn has(&self, path: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(service) => path.strip_prefix(service).is_some_and(|method| !method.contains('/')),
            None => pattern == path,
        };
        self.0.iter().any(matches)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn field(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_call_is_known_by_its_content() {
        for kind in ["application/grpc", "Application/GRPC+proto", "application/grpc; charset=utf-8"] {
            assert!(is_call(&field(CONTENT_TYPE, kind)), "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto", "application/json", "application/grp", ""] {
            assert!(!is_call(&field(CONTENT_TYPE, kind)), "{kind}");
        }
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn a_status_is_read_and_named() {
        let read = |text| Status::read(&field(STATUS, text)).map(Status::as_str);
        assert_eq!([read("0"), read("14"), read("16")], [Some("OK"), Some("UNAVAILABLE"), Some("UNAUTHENTICATED")]);
        assert_eq!([read("17"), read("-1"), read("x"), read("")], [Some("UNKNOWN"); 4]);
        assert_eq!(Status::read(&HeaderMap::new()), None);
    }

    #[test]
    fn every_status_means_something_in_http() {
        let http: Vec<u16> = (0..17).map(|code| Status(code).as_http()).collect();
        let envoys = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
        assert_eq!(http, envoys);
    }

    #[test]
    fn a_message_is_encoded() {
        assert_eq!(message("100% of ü\n"), "100%25 of %C3%BC%0A");
    }

    #[test]
    fn methods_are_safe_by_name_or_by_service() {
        for pattern in ["/a.B/C", "/a.B/*", "/B/C_d"] {
            assert!(SafeMethods::is_pattern(pattern), "{pattern}");
        }
        for pattern in ["", "/", "a.B/C", "/a.B", "/a.B/", "/*/C", "/a.B/C/D", "/a.B/C*", "*"] {
            assert!(!SafeMethods::is_pattern(pattern), "{pattern}");
        }
        let safe = SafeMethods::new(vec!["/a.B/C".into(), "/d.E/*".into()]);
        assert!(safe.has("/a.B/C") && safe.has("/d.E/F"));
        assert!(!safe.has("/a.B/D") && !safe.has("/d.E/F/G") && !safe.has("/d.EF/G"));
    }
}
