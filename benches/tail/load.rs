//! An open-loop load: a request is sent when it is due, on a free connection or a new one, whatever became of those before
//! it, and its latency counts from the moment at which it was due.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::answer;
use crate::content::{self, Target};
use crate::timer::Timer;

/// How long one request may take unless a scenario says less; one that fails counts as having taken as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one request.
pub(crate) struct Sample {
    /// The request's number.
    pub(crate) request: usize,
    /// When it was due, since the load's begin.
    pub(crate) due: Duration,
    pub(crate) target: Target,
    /// From the moment it was due to the sending.
    pub(crate) late: Duration,
    /// From the moment it was due to the last byte.
    pub(crate) latency: Duration,
    pub(crate) failure: Option<Failure>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    Status(u16),
    /// Another body or validator than the backends send.
    Wrong,
    /// The connection ended, or what came is not HTTP.
    Broken,
    TimedOut,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(status) => write!(f, "status {status}"),
            Failure::Wrong => f.write_str("wrong body"),
            Failure::Broken => f.write_str("broken"),
            Failure::TimedOut => f.write_str("timeout"),
        }
    }
}

/// What to send, and when.
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) begin: Instant,
    /// How long a client waits for one.
    pub(crate) patience: Duration,
    /// In the order in which they are due.
    pub(crate) requests: Vec<Request>,
}

/// One request.
pub(crate) struct Request {
    /// Since the load's begin.
    pub(crate) due: Duration,
    pub(crate) target: Target,
    /// Lines of fields besides `Host`, each with its end.
    pub(crate) fields: String,
}

/// Sends all of a plan and returns what became of it, in order.
pub(crate) async fn run(plan: Plan, timer: Arc<Timer>) -> Vec<Sample> {
    let free = Arc::new(Mutex::new(Vec::new()));
    let mut open = JoinSet::new();
    let mut samples = Vec::with_capacity(plan.requests.len());
    for (number, request) in plan.requests.into_iter().enumerate() {
        timer.until(plan.begin + request.due).await;
        open.spawn(one(number, request, plan.begin, plan.patience, plan.to, free.clone()));
        while let Some(done) = open.try_join_next() {
            samples.extend(done);
        }
    }
    samples.extend(open.join_all().await);
    samples.sort_unstable_by_key(|sample: &Sample| sample.request);
    samples
}

/// When a request is due, since the load's begin, if requests are evenly spaced.
pub(crate) fn due(request: usize, rate: u32) -> Duration {
    Duration::from_secs(1) * request as u32 / rate
}

async fn one(
    number: usize,
    request: Request,
    begin: Instant,
    patience: Duration,
    to: SocketAddr,
    free: Arc<Mutex<Vec<TcpStream>>>,
) -> Sample {
    let due = begin + request.due;
    let late = since(due);
    let mut connection = free.lock().pop();
    let path = request.target.path();
    let asking = answer::ask(&mut connection, to, &path, &request.fields, "ETag");
    let asked = tokio::time::timeout(patience, asking).await;
    let latency = since(due);
    let failure = match asked {
        Err(_) => Some(Failure::TimedOut),
        Ok(Err(_)) => Some(Failure::Broken),
        Ok(Ok(answer)) if answer.status != 200 => Some(Failure::Status(answer.status)),
        Ok(Ok(answer)) => {
            let right = answer.field.as_deref() == Some(&content::etag(&path)) && answer.body() == content::body(&path);
            (!right).then_some(Failure::Wrong)
        }
    };
    if !matches!(failure, Some(Failure::TimedOut | Failure::Broken)) {
        free.lock().extend(connection);
    }
    Sample { request: number, due: request.due, target: request.target, late, latency, failure }
}

fn since(moment: Instant) -> Duration {
    tokio::time::Instant::now().into_std().saturating_duration_since(moment)
}
