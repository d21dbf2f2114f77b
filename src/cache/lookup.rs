//! May this request be answered from memory at all? (RFC 9111 §4)
//!
//! A key holds scheme, host, path and query. A request that says more than a key and its variant can hold must go to
//! the origin, or the answer to one is given to the other: a GET with a body, a change of protocol, a precondition
//! that only the origin can judge. Cookies and credentials are no reason: they decide what is stored, and a stored
//! response is for all.

use http::header::{CONTENT_LENGTH, IF_MATCH, IF_UNMODIFIED_SINCE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method};

use super::status::Fwd;

/// Why a request is sent upstream without looking into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// Neither GET nor HEAD.
    Method,
    /// It has a body: the origin may heed what the key does not hold.
    Body,
    /// It asks for another protocol.
    Upgrade,
    /// `If-Match` or `If-Unmodified-Since`: for the origin alone to judge (§4.3.2).
    Precondition,
}

impl Bypass {
    /// The word for logs, metrics and `detail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Bypass::Method => "method",
            Bypass::Body => "request-body",
            Bypass::Upgrade => "upgrade",
            Bypass::Precondition => "precondition",
        }
    }

    /// What `Cache-Status` calls it (RFC 9211 §2.2).
    pub const fn fwd(self) -> Fwd {
        match self {
            Bypass::Method => Fwd::Method,
            Bypass::Body | Bypass::Upgrade | Bypass::Precondition => Fwd::Bypass,
        }
    }
}

/// May this request be answered from memory? The first reason against it.
///
/// A body that no field announces, as HTTP/2 allows, is for the caller to see.
pub fn lookup_permitted(method: &Method, headers: &HeaderMap) -> Result<(), Bypass> {
    if method != Method::GET && method != Method::HEAD {
        Err(Bypass::Method)
    } else if headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
    {
        Err(Bypass::Body)
    } else if headers.contains_key(UPGRADE) {
        Err(Bypass::Upgrade)
    } else if headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
        Err(Bypass::Precondition)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_request_with_more_than_a_key_bypasses() {
        let ask = |method: Method, fields: &[(&'static str, &'static str)]| {
            let field =
                |(n, v): &(&'static str, &'static str)| (HeaderName::from_static(n), HeaderValue::from_static(v));
            lookup_permitted(&method, &fields.iter().map(field).collect())
        };
        assert_eq!(ask(Method::GET, &[("cookie", "a"), ("authorization", "b"), ("cache-control", "no-cache")]), Ok(()));
        assert_eq!(ask(Method::HEAD, &[("content-length", "0")]), Ok(()));
        assert_eq!(ask(Method::POST, &[]), Err(Bypass::Method));
        assert_eq!(ask(Method::GET, &[("content-length", "6")]), Err(Bypass::Body));
        assert_eq!(ask(Method::GET, &[("transfer-encoding", "chunked")]), Err(Bypass::Body));
        assert_eq!(ask(Method::GET, &[("upgrade", "websocket")]), Err(Bypass::Upgrade));
        assert_eq!(ask(Method::GET, &[("if-match", "\"a\"")]), Err(Bypass::Precondition));
        assert_eq!((Bypass::Method.fwd(), Bypass::Body.fwd()), (Fwd::Method, Fwd::Bypass));
    }
}
