//! One HTTP/1.1 exchange of a load generator: ask, and read the whole answer.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEADERS: usize = 32;

/// A response with a known length.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The value of the field that was asked for.
    pub(crate) field: Option<String>,
    received: Vec<u8>,
    /// Where the body begins.
    head: usize,
    /// Head and body together.
    bytes: usize,
    /// Whether the connection is closed after it.
    last: bool,
}

impl Answer {
    pub(crate) fn body(&self) -> &[u8] {
        &self.received[self.head..self.bytes]
    }

    /// Takes over what has been `received`, of which the body is still incomplete; `None` while the head is.
    fn begin(received: &mut Vec<u8>, field: &str) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = parsed.parse(received).map_err(invalid)? else { return Ok(None) };
        let header = |name: &str| {
            let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let length: Option<usize> = header("Content-Length").and_then(|value| value.parse().ok());
        let bytes = head + length.ok_or_else(|| invalid("an answer without Content-Length"))?;
        let last = header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let (status, field) = (parsed.code.unwrap_or_default(), header(field).map(str::to_owned));
        Ok(Some(Answer { status, field, received: std::mem::take(received), head, bytes, last }))
    }
}

/// As [`ask`] does, with no fields but `Host`.
pub(crate) async fn get(
    connection: &mut Option<TcpStream>,
    target: SocketAddr,
    path: &str,
    field: &str,
) -> io::Result<Answer> {
    ask(connection, target, path, "", field).await
}

/// Asks `target` for `path`, on the connection at hand if there is one, and notes the value of `field`. `more` are lines of
/// fields to send, each with its end.
///
/// Afterwards there is a connection at hand if it can be used again. It must be thrown away after an error.
pub(crate) async fn ask(
    connection: &mut Option<TcpStream>,
    target: SocketAddr,
    path: &str,
    more: &str,
    field: &str,
) -> io::Result<Answer> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            connection.insert(stream)
        }
    };
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n{more}\r\n").as_bytes()).await?;
    let mut received = Vec::with_capacity(4096);
    let mut answer = loop {
        read(stream, &mut received).await?;
        if let Some(answer) = Answer::begin(&mut received, field)? {
            break answer;
        }
    };
    while answer.received.len() < answer.bytes {
        read(stream, &mut answer.received).await?;
    }
    if answer.received.len() > answer.bytes {
        return Err(invalid("bytes after the answer's end"));
    }
    if answer.last {
        *connection = None;
    }
    Ok(answer)
}

/// Reads at least one byte; the end is an error.
async fn read(stream: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(received).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn invalid(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
