//! One question to the admin address of a running edge, for containers whose image has no HTTP client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long each step may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read.
const MOST: u64 = 16 << 20;

/// What the edge answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Sends a request with `body` as JSON, if there is one, and reads the answer.
///
/// # Errors
/// If there is no connection, no answer in time, or no HTTP in it.
pub fn ask(admin: SocketAddr, method: &str, target: &str, body: Option<&str>) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n");
    if let Some(body) = body {
        request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    request += body.unwrap_or_default();
    stream.write_all(request.as_bytes())?;
    read(&mut stream.take(MOST))
}

fn read(stream: &mut impl Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let (head, length) = match head(&bytes)? {
            Some((status, start, length)) => (Some((status, start)), length),
            None => (None, None),
        };
        let got = match (head, length) {
            (Some((_, start)), Some(length)) if bytes.len() >= start.saturating_add(length) => 0,
            _ => stream.read(&mut buffer)?,
        };
        bytes.extend_from_slice(&buffer[..got]);
        if got > 0 {
            continue;
        }
        let Some((status, start)) = head else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let end = length.map_or(bytes.len(), |length| start.saturating_add(length));
        let body = bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        return Ok(Answer { status, body: String::from_utf8_lossy(body).into_owned() });
    }
}

/// Status, where the body begins, and its length if that is told; `None` while the head is not complete.
fn head(bytes: &[u8]) -> io::Result<Option<(u16, usize, Option<usize>)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP");
    match response.parse(bytes).map_err(|_| invalid())? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(start) => {
            let length = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
            let length = length.map(|field| std::str::from_utf8(field.value).ok().and_then(|n| n.trim().parse().ok()));
            let length = length.map(|length| length.ok_or_else(invalid)).transpose()?;
            Ok(Some((response.code.ok_or_else(invalid)?, start, length)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<(u16, String)> {
        read(&mut text.as_bytes()).ok().map(|answer| (answer.status, answer.body))
    }

    #[test]
    fn an_answer_ends_with_its_length_or_the_connection() {
        assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore"), Some((200, "ok".into())));
        assert_eq!(answer("HTTP/1.1 503 No\r\n\r\nall of it"), Some((503, "all of it".into())));
    }

    #[test]
    fn what_breaks_off_or_is_no_http_is_an_error() {
        for text in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "SSH-2.0-x\r\n\r\n"] {
            assert_eq!(answer(text), None, "{text}");
        }
        assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok"), None);
    }
}
