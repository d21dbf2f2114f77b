//! Three backends on loopback whose service time is a script: a pure function of the request's number and the backend.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::figures::lognormal;

/// How many there are.
pub(crate) const BACKENDS: usize = 3;
/// The one that gets slow.
pub(crate) const SLOW: usize = 2;
/// How many times slower.
const SLOWDOWN: u32 = 10;

/// What a body consists of.
pub(crate) const FILL: u8 = b' ';
pub(crate) const BODY_BYTES: usize = 1024;

/// What the backends do with each request.
pub(crate) struct Script {
    /// Service times by request.
    pub(crate) draws: Vec<Duration>,
    /// The requests that find the slow backend slow.
    pub(crate) fault: Range<usize>,
    /// Requests that reached a backend.
    pub(crate) served: AtomicU64,
}

impl Script {
    /// Draws the service times of `requests`; the same seed draws the same ones.
    pub(crate) fn new(requests: usize, fault: Range<usize>, seed: u64) -> Script {
        let mut rng = fastrand::Rng::with_seed(seed);
        let draws = (0..requests).map(|_| lognormal(&mut rng)).collect();
        Script { draws, fault, served: AtomicU64::new(0) }
    }

    fn service_time(&self, backend: usize, request: usize) -> Option<Duration> {
        let drawn = *self.draws.get(request)?;
        Some(if backend == SLOW && self.fault.contains(&request) { drawn * SLOWDOWN } else { drawn })
    }
}

/// Starts the backends on the current runtime, which ends them.
pub(crate) async fn start(script: &Arc<Script>) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for backend in 0..BACKENDS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        let script = script.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, backend, script.clone()));
            }
        });
    }
    Ok(addresses)
}

/// Answers `GET /NUMBER` until the connection ends. There is no limit of workers: nothing queues here.
async fn serve(mut stream: TcpStream, backend: usize, script: Arc<Script>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(1024);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: {BODY_BYTES}\r\n\
         X-Backend: {backend}\r\n\r\n"
    );
    let answer = [answer.as_bytes(), &[FILL; BODY_BYTES]].concat();
    loop {
        while !received.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let time = number(&received).and_then(|request| script.service_time(backend, request));
        let time = time.ok_or(io::ErrorKind::InvalidData)?;
        script.served.fetch_add(1, Ordering::Relaxed);
        received.clear();
        tokio::time::sleep(time).await;
        stream.write_all(&answer).await?;
    }
}

/// The number in a request line.
fn number(head: &[u8]) -> Option<usize> {
    let digits = head.strip_prefix(b"GET /")?.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
