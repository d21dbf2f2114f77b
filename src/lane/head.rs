//! Is this the head of a request that may enter, and how long is the request?
//!
//! Strict on purpose: whatever two parsers could read differently (two lengths, a length beside a transfer coding,
//! a bare line feed, two hosts) is refused here, before routing, key or backend see it (RFC 9112 §2.2, §5.1, §6.3, §11.2).
//! Pingora's parser tolerates more and is therefore never the first to look.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use super::chunks::Chunks;
use super::framed::Rest;
use super::names::Name;
use crate::config::Limits;
use crate::uri;

/// More fields than any configuration allows; pingora's parser stops there too.
const MAX_HEADERS: usize = 256;
/// Room for the method, the version and two spaces around the target in an unfinished request line.
const LINE_SLACK: usize = 64;

/// A head that may enter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the head, with its empty line.
    pub len: usize,
    /// What of the request follows it.
    pub rest: Rest,
}

/// What such a head says.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub method: &'a str,
    pub target: &'a str,
    /// Whether it is HTTP/1.1 rather than 1.0.
    pub http_11: bool,
    /// The host in normal form, and its port; only a request of HTTP/1.0 may have none.
    pub host: Option<Host<'a>>,
    pub fields: &'a [httparse::Header<'a>],
}

/// A host in normal form, and its port.
pub(super) type Host<'a> = (Cow<'a, str>, Option<u16>);

/// Where a head's fields are put down while it is looked at.
pub(super) type Space<'a> = [MaybeUninit<httparse::Header<'a>>; MAX_HEADERS];

/// Room for a head's fields.
pub(super) const fn space<'a>() -> Space<'a> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// Why a head is refused; the connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 400: not HTTP/1, or ambiguous; the word says what.
    Malformed(&'static str),
    /// 405: CONNECT or TRACE.
    Method,
    /// 408: the head took too long.
    Timeout,
    /// 414: the target is longer than `uri_length`.
    UriTooLong,
    /// 431: the head is larger than `head_size`.
    HeadTooLarge,
    /// 431: more fields than `headers`.
    TooManyHeaders,
    /// 501: a transfer coding other than chunked.
    TransferCoding,
    /// 505: neither HTTP/1.0 nor HTTP/1.1.
    Version,
}

/// Looks at what has been read of a request: a whole head, or nothing wrong so far but no end of it yet.
///
/// # Errors
/// Why it is not to be served.
pub(super) fn judge<'a>(
    buf: &'a [u8],
    limits: &Limits,
    space: &'a mut Space<'a>,
) -> Result<Option<(Head, Request<'a>)>, Refusal> {
    check_line(buf, limits)?;
    let mut request = httparse::Request::new(&mut []);
    let allowed = &mut space[..limits.headers.min(MAX_HEADERS)];
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, buf, allowed);
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) if len > limits.head_size => return Err(Refusal::HeadTooLarge),
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if buf.len() > limits.head_size => return Err(Refusal::HeadTooLarge),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyHeaders),
        Err(httparse::Error::Version) if names_a_version(buf) => return Err(Refusal::Version),
        Err(httparse::Error::HeaderName) => return Err(Refusal::Malformed("header-name")),
        Err(httparse::Error::HeaderValue) => return Err(Refusal::Malformed("header-value")),
        Err(_) => return Err(Refusal::Malformed("request-line")),
    };
    if bare_line_feed(&buf[..len]) {
        return Err(Refusal::Malformed("bare-line-feed"));
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    if memchr::memchr(b'#', target.as_bytes()).is_some() || is_unreadable(target) {
        // Pingora would drop the fragment; another parser might not (RFC 9112 §3.2).
        return Err(Refusal::Malformed("target"));
    }
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(Refusal::Method);
    }
    let (http_11, fields) = (request.version == Some(1), &*request.headers);
    let (rest, host) = framing(fields, http_11)?;
    Ok(Some((Head { len, rest }, Request { method, target, http_11, host, fields })))
}

/// Whether the target holds what no URI may hold unescaped (RFC 3986 §2) and pingora's parser stumbles over. It would refuse
/// the request without a word in our log, and only where the lane has no answer.
fn is_unreadable(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    path.bytes().any(|b| matches!(b, b'<' | b'>' | b'`')) || query.bytes().any(|b| matches!(b, b'<' | b'>' | b'"'))
}

/// Refuses a request line that has no end in sight, or a target over its limit.
fn check_line(buf: &[u8], limits: &Limits) -> Result<(), Refusal> {
    let start = buf.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(buf.len());
    let line = &buf[start..];
    let target = match memchr::memchr(b'\n', line) {
        Some(end) => line[..end].splitn(3, |&b| b == b' ').nth(1).map_or(0, <[u8]>::len),
        None => line.len().saturating_sub(LINE_SLACK),
    };
    if target > limits.uri_length { Err(Refusal::UriTooLong) } else { Ok(()) }
}

fn bare_line_feed(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at == 0 || head[at - 1] != b'\r')
}

/// The request's length (RFC 9112 §6.3), and its host by the rules of §3.2.
fn framing<'a>(fields: &'a [httparse::Header<'a>], http_11: bool) -> Result<(Rest, Option<Host<'a>>), Refusal> {
    let (mut host, mut length, mut chunked, mut upgrade, mut connection_upgrade) = (None, None, false, false, false);
    for field in fields {
        match Name::of(field.name) {
            Name::Host => {
                if host.is_some() {
                    return Err(Refusal::Malformed("host"));
                }
                // Pingora would refuse some hosts too, without a word in our log.
                let given = std::str::from_utf8(field.value).map_err(|_| Refusal::Malformed("host"))?;
                host = Some(uri::normalise_host(given).map_err(|_| Refusal::Malformed("host"))?);
            }
            Name::ContentLength => {
                if length.is_some() {
                    return Err(Refusal::Malformed("content-length"));
                }
                length = Some(digits(field.value).ok_or(Refusal::Malformed("content-length"))?);
            }
            Name::TransferEncoding => {
                if chunked || !http_11 {
                    return Err(Refusal::Malformed("transfer-encoding"));
                }
                chunked = only_chunked(field.value)?;
            }
            Name::Upgrade => upgrade = true,
            Name::Connection => {
                connection_upgrade |=
                    field.value.split(|&b| b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
            }
            _ => {}
        }
    }
    if host.is_none() && http_11 {
        return Err(Refusal::Malformed("host"));
    }
    let rest = match (chunked, length) {
        (true, Some(_)) => return Err(Refusal::Malformed("content-length-with-transfer-encoding")),
        (true, None) => Rest::Chunked(Chunks::START),
        (false, Some(n)) if n > 0 => Rest::Length(n),
        _ if upgrade && connection_upgrade => Rest::Upgraded,
        _ => Rest::Length(0),
    };
    Ok((rest, host))
}

/// The codings of a `Transfer-Encoding`: chunked last, or the body has no end (RFC 9112 §6.3), and no other before it.
fn only_chunked(value: &[u8]) -> Result<bool, Refusal> {
    let codings: Vec<&[u8]> = value.split(|&b| b == b',').map(<[u8]>::trim_ascii).collect();
    match codings.as_slice() {
        [only] if only.eq_ignore_ascii_case(b"chunked") => Ok(true),
        [before @ .., last]
            if last.eq_ignore_ascii_case(b"chunked") && !before.iter().any(|c| c.eq_ignore_ascii_case(b"chunked")) =>
        {
            Err(Refusal::TransferCoding)
        }
        _ => Err(Refusal::Malformed("transfer-encoding")),
    }
}

/// Whether the request line has three parts, the last of which looks like another version of HTTP.
fn names_a_version(buf: &[u8]) -> bool {
    let line = buf.split(|b| matches!(b, b'\r' | b'\n')).find(|line| !line.is_empty()).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    matches!(words.as_slice(), [_, _, version] if version.starts_with(b"HTTP/"))
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        Limits { head_size: 1024, headers: 5, uri_length: 100, connections: 1, requests_per_connection: 1 }
    }

    fn verdict(text: &[u8]) -> Result<Option<Head>, Refusal> {
        judge(text, &limits(), &mut space()).map(|seen| seen.map(|(head, _)| head))
    }

    fn refused(text: &str) -> Refusal {
        verdict(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn a_plain_get_has_no_rest() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(verdict(text.as_bytes()), Ok(Some(Head { len: text.len(), rest: Rest::Length(0) })));
        assert_eq!(verdict(&text.as_bytes()[..text.len() - 1]), Ok(None));
    }

    #[test]
    fn a_body_is_announced_by_length_or_chunks() {
        let rest = |t: &str| verdict(t.as_bytes()).unwrap().unwrap().rest;
        assert_eq!(rest("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"), Rest::Length(12));
        assert_eq!(
            rest("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"),
            Rest::Chunked(Chunks::START)
        );
        assert_eq!(
            rest("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: x, Upgrade\r\n\r\n"),
            Rest::Upgraded
        );
        assert_eq!(rest("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n"), Rest::Length(0));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for (text, word) in [
            ("GET / HTTP/1.1\r\n\r\n", "host"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "host"),
            ("GET / HTTP/1.1\nHost: a\n\n", "bare-line-feed"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "header-name"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "header-name"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", "header-value"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "content-length"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "content-length"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "content-length"),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", "content-length"),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "content-length-with-transfer-encoding",
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding"),
            ("GET /a<b HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
            ("GET /?a=\"b\" HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "request-line"),
        ] {
            assert_eq!(refused(text), Refusal::Malformed(word), "{text:?}");
        }
        let coded = |te: &str| refused(&format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {te}\r\n\r\n"));
        assert_eq!(coded("gzip, chunked"), Refusal::TransferCoding);
        for te in ["gzip", "chunked, gzip", "chunked, chunked", "", "chunked;q=1"] {
            assert_eq!(coded(te), Refusal::Malformed("transfer-encoding"), "{te}");
        }
        assert_eq!(refused("GET / /b HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::Malformed("request-line"));
        assert_eq!(refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Refusal::Version);
        assert_eq!(refused("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), Refusal::Method);
    }

    #[test]
    fn limits_hold_before_the_head_is_complete() {
        let long = "a".repeat(101);
        assert_eq!(refused(&format!("GET /{long} HTTP/1.1\r\n")), Refusal::UriTooLong);
        assert_eq!(refused(&format!("GET /{long}{long}")), Refusal::UriTooLong);
        let many: String = (0..6).map(|i| format!("H{i}: v\r\n")).collect();
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{many}\r\n")), Refusal::TooManyHeaders);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(2000))), Refusal::HeadTooLarge);
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "a".repeat(2000))), Refusal::HeadTooLarge);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _any = verdict(&bytes);
        }

        #[test]
        fn a_complete_head_is_found_at_the_same_place_however_much_follows(tail in prop::collection::vec(any::<u8>(), 0..100)) {
            let head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
            let mut bytes = head.to_vec();
            bytes.extend(tail);
            prop_assert_eq!(verdict(&bytes), Ok(Some(Head { len: head.len(), rest: Rest::Length(3) })));
        }
    }
}
