//! An open-loop load: each request has the moment at which it is meant to start, and its latency counts from there.
//!
//! So a request that could not be sent in time, because all connections wait or the machine is busy, has waited, and
//! is seen to have (no coordinated omission).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::answer;
use crate::backends::{BODY_BYTES, FILL};

/// Requests per second, evenly spaced.
pub(crate) const RATE: usize = 400;
/// Connections to each target. Round robin over a backend at 100 ms has about 18 requests in flight.
pub(crate) const CONNECTIONS: usize = 64;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The load begins a little later than it is started, when all its tasks run.
const LEAD: Duration = Duration::from_millis(100);

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

/// Sends one request and reads its answer; returns the backend's number.
async fn ask(connection: &mut Option<TcpStream>, target: SocketAddr, request: usize) -> io::Result<usize> {
    let answer = answer::get(connection, target, &format!("/{request}"), "X-Backend").await?;
    if answer.status != 200 {
        return Err(io::Error::other(format!("status {}", answer.status)));
    }
    if answer.body() != [FILL; BODY_BYTES] {
        return Err(io::Error::other("another body than was sent"));
    }
    let backend = answer.field.and_then(|value| value.parse().ok());
    backend.ok_or_else(|| io::Error::other("an answer without X-Backend"))
}
