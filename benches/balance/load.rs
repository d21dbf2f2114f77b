//! An open-loop load: each request has the moment at which it is meant to start, and its latency counts from there.
//!
//! So a request that could not be sent in time, because all connections wait or the machine is busy, has waited, and
//! is seen to have (no coordinated omission).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests per second, evenly spaced.
pub(crate) const RATE: usize = 400;
/// Connections to each target. Round robin over a backend at 100 ms has about 18 requests in flight.
pub(crate) const CONNECTIONS: usize = 64;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The load begins a little later than it is started, when all its tasks run.
const LEAD: Duration = Duration::from_millis(100);
const HEADERS: usize = 32;

/// What became of one request.
pub(crate) struct Sample {
    /// The request's number; it was meant to start this many intervals after the load's begin.
    pub(crate) request: usize,
    /// From the intended start to the sending.
    pub(crate) late: Duration,
    /// From the intended start to the last byte.
    pub(crate) latency: Duration,
    /// The backend that answered, or what went wrong.
    pub(crate) outcome: Result<usize, String>,
}

/// Sends `requests` to `targets` in turn and returns what became of them, in order.
pub(crate) async fn run(targets: Vec<SocketAddr>, requests: usize) -> Vec<Sample> {
    let begin = Instant::now() + LEAD;
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(client(targets.clone(), requests, next.clone(), begin));
    }
    let mut samples: Vec<Sample> = clients.join_all().await.into_iter().flatten().collect();
    samples.sort_unstable_by_key(|sample| sample.request);
    samples
}

/// Takes the next number, waits for its moment, sends the request, and so on; one connection to each target.
async fn client(targets: Vec<SocketAddr>, requests: usize, next: Arc<AtomicUsize>, begin: Instant) -> Vec<Sample> {
    let mut connections: Vec<Option<TcpStream>> = targets.iter().map(|_| None).collect();
    let mut samples = Vec::new();
    loop {
        let request = next.fetch_add(1, Ordering::Relaxed);
        if request >= requests {
            return samples;
        }
        let due = begin + Duration::from_secs(1) * request as u32 / RATE as u32;
        tokio::time::sleep_until(due).await;
        let late = due.elapsed();
        let target = request % targets.len();
        let asked = tokio::time::timeout(PATIENCE, ask(&mut connections[target], targets[target], request)).await;
        let outcome = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let latency = due.elapsed();
        if outcome.is_err() {
            connections[target] = None;
        }
        samples.push(Sample { request, late, latency, outcome: outcome.map_err(|e| e.to_string()) });
    }
}

/// Sends one request, on the connection at hand if there is one, and reads its answer; returns the backend's number.
async fn ask(connection: &mut Option<TcpStream>, target: SocketAddr, request: usize) -> io::Result<usize> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            connection.insert(stream)
        }
    };
    stream.write_all(format!("GET /{request} HTTP/1.1\r\nHost: bench.test\r\n\r\n").as_bytes()).await?;
    let mut received = Vec::with_capacity(2048);
    let answer = loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = Answer::read(&received)? {
            break answer;
        }
    };
    while received.len() < answer.bytes {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if answer.last {
        *connection = None;
    }
    match answer.status {
        200 => answer.backend.ok_or_else(|| invalid("an answer without X-Backend")),
        status => Err(invalid(format!("status {status}"))),
    }
}

/// What the load wants to know of a response's head.
struct Answer {
    status: u16,
    backend: Option<usize>,
    /// Head and body together.
    bytes: usize,
    /// Whether the connection is closed after it.
    last: bool,
}

impl Answer {
    /// `None` while the head is incomplete.
    fn read(received: &[u8]) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = parsed.parse(received).map_err(invalid)? else { return Ok(None) };
        let header = |name: &str| {
            let found = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let length: Option<usize> = header("Content-Length").and_then(|value| value.parse().ok());
        Ok(Some(Answer {
            status: parsed.code.unwrap_or_default(),
            backend: header("X-Backend").and_then(|value| value.parse().ok()),
            bytes: head + length.ok_or_else(|| invalid("an answer without Content-Length"))?,
            last: header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        }))
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
