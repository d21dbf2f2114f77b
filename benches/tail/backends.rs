//! Backends on loopback that do as the script says.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::content::{self, READY, Target};
use crate::fault::{Attempt, Script};
use crate::ports;
use crate::record::{End, Record};
use crate::scenario::Caching;
use crate::timer::Timer;
use crate::workers::{Turn, Workers};

/// What all backends of a run share.
pub(crate) struct Backends {
    pub(crate) script: Script,
    pub(crate) caching: Caching,
    pub(crate) record: Record,
    pub(crate) timer: Arc<Timer>,
    /// Of each backend; none where their number is not limited.
    pub(crate) workers: Vec<Arc<Workers>>,
    /// When the load begins; until then time stands still.
    pub(crate) begin: OnceLock<Instant>,
}

impl Backends {
    /// Since the load's begin.
    fn now(&self) -> Duration {
        self.begin.get().map_or(Duration::ZERO, |begin| tokio::time::Instant::now().into_std() - *begin)
    }

    /// Waits until then, since the load's begin.
    async fn until(&self, at: Duration) {
        match self.begin.get() {
            Some(begin) => self.timer.until(*begin + at).await,
            None => std::future::pending().await,
        }
    }
}

/// Starts so many on the current runtime, which ends them.
pub(crate) async fn start(number: usize, shared: &Arc<Backends>) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    for backend in 0..number {
        // Not any port: while one refuses, nobody may be given its place.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let listener = TcpListener::bind(address).await?;
        addresses.push(address);
        tokio::spawn(run(listener, address, backend, shared.clone()));
    }
    Ok(addresses)
}

/// Listens, but for the times of refusal.
async fn run(listener: TcpListener, address: SocketAddr, backend: usize, shared: Arc<Backends>) -> io::Result<()> {
    let mut refusals = shared.script.refusals(backend).into_iter();
    let mut listener = listener;
    loop {
        let mut connections = JoinSet::new();
        let refusal = refusals.next();
        let up = async {
            loop {
                let (stream, _) = listener.accept().await?;
                shared.record.connected(shared.now());
                connections.spawn(serve(stream, backend, shared.clone()));
                while connections.try_join_next().is_some() {}
            }
        };
        let down = async {
            match &refusal {
                Some(refusal) => {
                    begun(&shared).await;
                    shared.until(refusal.start).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            failed = up => return failed,
            () = down => {}
        }
        drop(listener);
        connections.shutdown().await;
        if let Some(refusal) = refusal {
            shared.until(refusal.end).await;
        }
        listener = TcpListener::bind(address).await?;
    }
}

/// Waits for the load's begin, roughly.
async fn begun(shared: &Backends) {
    while shared.begin.get().is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Answers until the connection ends. Without a limit of workers nothing queues here.
async fn serve(mut stream: TcpStream, backend: usize, shared: Arc<Backends>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::with_capacity(1024);
    loop {
        while !received.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&received).into_owned();
        received.clear();
        let path = head.split(' ').nth(1).ok_or(io::ErrorKind::InvalidData)?;
        let Some(target) = Target::read(path) else {
            let status = if path == READY { "200 OK" } else { "404 Not Found" };
            let answer = format!("HTTP/1.1 {status}\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
            continue;
        };
        let hedge = head.lines().any(|line| {
            let line = line.to_ascii_lowercase();
            line.starts_with("x-hedgerow-attempt:") && line.contains("hedge")
        });
        let place = shared.record.receive(shared.now(), backend, target.request(), hedge);
        let mut open = Open { shared: &shared, entry: place.0, end: End::Left };
        let worker = match shared.workers.get(backend) {
            Some(workers) => Some(unless_left(&mut stream, &mut received, workers.turn(shared.now())).await?),
            None => None,
        };
        let at = worker.as_ref().map_or_else(|| shared.now(), |turn| turn.from);
        let attempt = Attempt { at, backend, request: place.1, hot: target.request().is_none(), before: place.2 };
        answer(&mut stream, &mut received, path, target, &attempt, worker, &shared).await?;
        open.end = End::Answered;
    }
}

/// Does with one attempt what the script says; an error if the proxy leaves before the end.
async fn answer(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    path: &str,
    target: Target,
    attempt: &Attempt,
    worker: Option<Turn>,
    shared: &Backends,
) -> io::Result<()> {
    let service = shared.script.service(attempt);
    let ready = async {
        match service.answer {
            Some(at) => shared.until(at).await,
            None => std::future::pending().await,
        }
    };
    let stayed = unless_left(stream, received, ready).await;
    if let (Some(turn), Some(end)) = (worker, service.answer) {
        // A worker ends what it has begun, whether anybody waits for it or not.
        if stayed.is_err() {
            shared.until(end).await;
        }
        turn.end(end);
    }
    stayed?;
    if service.fails {
        let refusal = b"HTTP/1.1 503 Service Unavailable\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\r\n";
        return stream.write_all(refusal).await;
    }
    let body = content::body(path);
    let mut whole = content::head(path, target, shared.caching).into_bytes();
    let half = whole.len() + body.len() / 2;
    whole.extend_from_slice(&body);
    match service.rest_after {
        None => stream.write_all(&whole).await,
        Some(pause) => {
            stream.write_all(&whole[..half]).await?;
            unless_left(stream, received, shared.until(shared.now() + pause)).await?;
            stream.write_all(&whole[half..]).await
        }
    }
}

/// Waits for something while the proxy stays; what it sends meanwhile is kept.
async fn unless_left<T>(
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
    something: impl Future<Output = T>,
) -> io::Result<T> {
    tokio::pin!(something);
    loop {
        tokio::select! {
            done = &mut something => return Ok(done),
            read = stream.read_buf(received) => if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            },
        }
    }
}

/// Notes an attempt's end, however it comes.
struct Open<'a> {
    shared: &'a Backends,
    entry: crate::record::Entry,
    end: End,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.shared.record.end(self.entry, self.shared.now(), self.end);
    }
}
