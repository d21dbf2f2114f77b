//! One connection of a demo backend: just enough HTTP/1.1 to stand behind a proxy.
//!
//! Keep-alive, pipelining, HEAD and bodies with a length. A body in chunks is refused, not misread.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::script::{Answer, Backend, Request};
use crate::clock;
use crate::units::Tick;

/// Largest head read; more ends the connection.
const HEAD_BYTES: usize = 32 * 1024;
const HEADERS: usize = 128;

/// Answers the requests of one connection until it ends. `started` is the demo's start.
///
/// # Errors
/// The connection broke, or what came over it is not a request this server can frame.
pub(super) async fn serve<S>(mut stream: S, backend: Backend, started: Tick) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut rng = fastrand::Rng::new();
    let mut received = Vec::with_capacity(1024);
    loop {
        let Some(exchange) =
            next(&mut stream, &mut received, |request| backend.answer(request, clock::now().since(started), &mut rng))
                .await?
        else {
            return Ok(());
        };
        if exchange.answer.delay > Duration::ZERO {
            tokio::time::sleep(exchange.answer.delay).await;
        }
        stream.write_all(&exchange.bytes(backend)).await?;
        if exchange.last {
            return stream.shutdown().await;
        }
    }
}

/// A request read to its end, and its answer.
struct Exchange {
    answer: Answer,
    is_head: bool,
    last: bool,
}

/// Reads one request, its body included; `None` at the connection's end. The answer is made while the head is at
/// hand, since it borrows from the bytes received.
async fn next(
    stream: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
    answer: impl FnOnce(&Request<'_>) -> Answer,
) -> io::Result<Option<Exchange>> {
    let (exchange, head, body) = loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) = parsed.parse(received).map_err(invalid)? {
            let (exchange, body) = understand(&parsed, answer)?;
            break (exchange, head, body);
        }
        if received.len() > HEAD_BYTES {
            return Err(invalid("the head is too large"));
        }
        if stream.read_buf(received).await? == 0 {
            return if received.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    };
    received.drain(..head);
    skip(stream, received, body).await?;
    Ok(Some(exchange))
}

fn understand(
    parsed: &httparse::Request<'_, '_>,
    answer: impl FnOnce(&Request<'_>) -> Answer,
) -> io::Result<(Exchange, u64)> {
    let header = |name: &str| {
        let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    if header("Transfer-Encoding").is_some() {
        let refusal = Answer {
            status: 411,
            headers: vec![("Content-Type", "text/plain")],
            body: "a body needs a length\n".to_owned(),
            delay: Duration::ZERO,
        };
        return Ok((Exchange { answer: refusal, is_head: false, last: true }, 0));
    }
    let body = header("Content-Length").map_or(Ok(0), |length| length.trim().parse()).map_err(invalid)?;
    let method = parsed.method.unwrap_or_default();
    let request = Request {
        method,
        target: parsed.path.unwrap_or_default(),
        if_none_match: header("If-None-Match"),
        accept_language: header("Accept-Language"),
    };
    let options = header("Connection").unwrap_or_default();
    let says = |option: &str| options.split(',').any(|o| o.trim().eq_ignore_ascii_case(option));
    let last = if parsed.version == Some(0) { !says("keep-alive") } else { says("close") };
    Ok((Exchange { answer: answer(&request), is_head: method == "HEAD", last }, body))
}

/// Takes `body` bytes off the connection; what was received after them stays.
async fn skip(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>, body: u64) -> io::Result<()> {
    let at_hand = received.len().min(usize::try_from(body).unwrap_or(usize::MAX));
    received.drain(..at_hand);
    let missing = body - at_hand as u64;
    let skipped = tokio::io::copy(&mut stream.take(missing), &mut tokio::io::sink()).await?;
    if skipped < missing { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

impl Exchange {
    fn bytes(&self, backend: Backend) -> Vec<u8> {
        let Answer { status, headers, body, .. } = &self.answer;
        let reason = http::StatusCode::from_u16(*status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
        let date = httpdate::fmt_http_date(clock::wall());
        let mut head = format!("HTTP/1.1 {status} {reason}\r\nDate: {date}\r\nX-Backend: {}\r\n", backend.name);
        for (name, value) in headers {
            // Writing to a String cannot fail.
            let _infallible = write!(head, "{name}: {value}\r\n");
        }
        if *status != 304 {
            let _infallible = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str(if self.last { "Connection: close\r\n\r\n" } else { "\r\n" });
        if !self.is_head {
            head.push_str(body);
        }
        head.into_bytes()
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::super::script::BACKENDS;
    use super::*;

    /// What the first backend sends for `requests`, until it closes.
    async fn exchange(requests: &str) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(requests.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let _refused = serve(server, BACKENDS[0], clock::now()).await;
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    fn statuses(text: &str) -> Vec<&str> {
        text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
    }

    #[tokio::test]
    async fn pipelined_requests_are_answered_in_order() {
        let text = exchange("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(statuses(&text), ["200", "404"]);
        assert!(text.contains("X-Backend: one\r\n"));
        assert!(text.contains("Content-Length: 3\r\n\r\nok\n"));
    }

    #[tokio::test]
    async fn a_body_is_not_taken_for_the_next_request() {
        let body = "GET /healthz HTTP/1.1\r\n\r\n";
        let post = format!("POST /healthz HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        assert_eq!(statuses(&exchange(&format!("{post}GET /healthz HTTP/1.1\r\n\r\n")).await), ["405", "200"]);
    }

    #[tokio::test]
    async fn a_chunked_body_is_refused_and_the_connection_closed() {
        let text =
            exchange("POST /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n")
                .await;
        assert_eq!(statuses(&text), ["411"]);
        assert!(text.contains("Connection: close\r\n"));
    }

    #[tokio::test]
    async fn a_head_request_gets_the_length_without_the_body() {
        let text = exchange("HEAD /healthz HTTP/1.1\r\n\r\n").await;
        assert!(text.ends_with("Content-Length: 3\r\n\r\n"), "{text}");
    }

    #[tokio::test]
    async fn a_304_has_no_length() {
        let text = exchange("GET /hit HTTP/1.1\r\nIf-None-Match: \"hit-1\"\r\n\r\n").await;
        assert_eq!(statuses(&text), ["304"]);
        assert!(!text.contains("Content-Length") && text.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn close_and_http_1_0_end_the_connection() {
        let next = "GET /healthz HTTP/1.1\r\n\r\n";
        let closing = format!("GET /healthz HTTP/1.1\r\nConnection: Close\r\n\r\n{next}");
        assert_eq!(statuses(&exchange(&closing).await), ["200"]);
        assert_eq!(statuses(&exchange(&format!("GET /healthz HTTP/1.0\r\n\r\n{next}")).await), ["200"]);
    }

    #[tokio::test]
    async fn what_is_not_http_gets_no_answer() {
        assert_eq!(exchange("\x16\x03\x01\x02").await, "");
        assert_eq!(exchange("GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n").await, "");
        assert_eq!(exchange("GET /healthz HTTP/1.1\r\n").await, "");
    }
}
