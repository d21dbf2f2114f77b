//! The answer to a head that may not enter: short, closed gently, counted and logged like any other.

use std::net::{IpAddr, SocketAddr};

use super::framed::Framed;
use super::head::Refusal;
use crate::clock;
use crate::edge::Edge;
use crate::telemetry::{CacheResult, Method, Record, Termination};

impl Refusal {
    /// The status line's code and phrase.
    fn status(self) -> (u16, &'static str) {
        match self {
            Refusal::Malformed(_) => (400, "Bad Request"),
            Refusal::Method => (405, "Method Not Allowed"),
            Refusal::Timeout => (408, "Request Timeout"),
            Refusal::UriTooLong => (414, "URI Too Long"),
            Refusal::HeadTooLarge | Refusal::TooManyHeaders => (431, "Request Header Fields Too Large"),
            Refusal::TransferCoding => (501, "Not Implemented"),
            Refusal::Version => (505, "HTTP Version Not Supported"),
        }
    }

    /// What the client did wrong, in a sentence for its developer.
    fn sentence(self) -> String {
        match self {
            Refusal::Malformed(what) => format!("The request is malformed: {what}."),
            Refusal::Method => "This method is not served here.".to_owned(),
            Refusal::Timeout => "The request's head took too long.".to_owned(),
            Refusal::UriTooLong => "The request's target is too long.".to_owned(),
            Refusal::HeadTooLarge => "The request's head is too large.".to_owned(),
            Refusal::TooManyHeaders => "The request has too many header fields.".to_owned(),
            Refusal::TransferCoding => "The only transfer coding served here is chunked.".to_owned(),
            Refusal::Version => "Only HTTP/1.0 and HTTP/1.1 are served here.".to_owned(),
        }
    }

    /// Whether it could be read in two ways.
    pub(super) fn is_malformed(self) -> bool {
        matches!(self, Refusal::Malformed(_))
    }

    fn termination(self) -> Termination {
        match self {
            Refusal::Malformed(_) | Refusal::TransferCoding | Refusal::Version => Termination::BadRequest,
            Refusal::Method => Termination::MethodRefused,
            Refusal::Timeout => Termination::ClientTimeout,
            Refusal::UriTooLong => Termination::UriTooLong,
            Refusal::HeadTooLarge | Refusal::TooManyHeaders => Termination::HeadTooLarge,
        }
    }
}

/// What is served, as `Allow` has it.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The status and the sentence of the answer to a head that may not enter.
pub(super) fn said(refusal: Refusal) -> (u16, String) {
    (refusal.status().0, refusal.sentence() + "\n")
}

/// Answers, closes, counts and logs.
pub(super) async fn answer(edge: &Edge, mut framed: Framed, refusal: Refusal, client: Option<SocketAddr>) {
    let (_, phrase) = refusal.status();
    let (status, body) = said(refusal);
    let date = httpdate::fmt_http_date(clock::wall());
    let allow = if status == 405 { format!("Allow: {METHODS}\r\n") } else { String::new() };
    // RFC 9110 §9.3.2: no content follows the answer to a HEAD, even one that is refused.
    let sent = if request_line(framed.ahead()).starts_with(b"HEAD ") { "" } else { &body };
    let reply = format!(
        "HTTP/1.1 {status} {phrase}\r\nDate: {date}\r\nContent-Type: text/plain; charset=utf-8\r\n{allow}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{sent}",
        body.len()
    );
    // What can be told of the request line; a line that makes no sense is left out.
    let mut words = std::str::from_utf8(request_line(framed.ahead())).unwrap_or_default().split(' ');
    let line = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    log(edge, refusal, client.map(|client| client.ip()), line, sent.len());
    framed.refuse(reply.as_bytes()).await;
}

/// Counts and logs; of the request `line` method and path.
pub(super) fn log(edge: &Edge, refusal: Refusal, client: Option<IpAddr>, line: (&str, &str), bytes: usize) {
    let (status, _) = refusal.status();
    let reason = refusal.termination();
    let (method, path) = line;
    edge.metrics().unrouted().record(Method::of(method), status, CacheResult::None, std::time::Duration::ZERO);
    edge.metrics().terminated(reason);
    edge.access_log().log(&Record {
        client,
        method: clip(method, 16),
        path: clip(path, 256),
        bytes: bytes as u64,
        ..Record::unrouted(clock::wall(), status, reason, edge.peek().generation())
    });
}

/// The first line of what was read, or what there is of it. Empty lines before it are passed over (RFC 9112 §2.2).
fn request_line(read: &[u8]) -> &[u8] {
    read.split(|b| matches!(b, b'\r' | b'\n')).find(|line| !line.is_empty()).unwrap_or_default()
}

fn clip(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
