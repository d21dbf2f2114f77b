//! The load of what is under TLS: HTTP/1.1, HTTP/2, and handshakes. One thread, by libraries; every response is looked at.
//!
//! It costs more than the load in clear text, which is why figures of throughput say little here and those of the edge's processor
//! time say as much as there.

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use hedgerow::clock;
use hedgerow::units::Tick;
use histogram::Histogram;
use http::{Request, Version};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Tally;
use super::expected::Expected;
use super::pace::{Due, Pace};
use crate::scenario::Speaks;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Below it the load does not sleep: timers may be so late.
const SPIN: Duration = Duration::from_millis(2);
/// Requests at a time on a connection of HTTP/2.
const STREAMS: usize = 8;
/// Read at once.
const BUFFER: usize = 128 * 1024;
/// The name that the certificate is for.
pub(crate) const NAME: &str = "bench.test";

/// Who asks one request after the other.
pub(crate) struct Load {
    runtime: Runtime,
    local: LocalSet,
    workers: Vec<Worker>,
    target: Target,
}

/// Whom, and for what.
#[derive(Clone)]
struct Target {
    address: SocketAddr,
    tls: TlsConnector,
    path: Rc<str>,
    expected: Expected,
}

enum Worker {
    Http1(Box<TlsStream<TcpStream>>, Vec<u8>),
    Http2(SendRequest<Bytes>),
    /// A connection for each request.
    Handshakes,
}

/// What the workers share in a run.
struct Run {
    /// Locked by who waits for the next request, so that all others wait for no timer.
    pace: Mutex<Pace>,
    tally: RefCell<Tally>,
    begin: Tick,
}

impl Load {
    /// Connects to `address`, whose certificate is `authority`'s: `concurrency` requests may then be under way.
    pub(crate) fn connect(
        address: SocketAddr,
        authority: &CertificateDer<'static>,
        speaks: Speaks,
        concurrency: usize,
        path: &str,
        expected: Expected,
    ) -> Result<Load, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let target = Target { address, tls: tls(authority, speaks)?, path: path.into(), expected };
        let local = LocalSet::new();
        let workers = local.block_on(&runtime, async {
            // `https` is another resource than what was stored by `http`; in later rounds it is there.
            let unstored = Target { expected: Expected { hit: false, ..expected }, ..target.clone() };
            if let (true, Some(mut first)) = (expected.hit, unstored.workers(speaks, 1).await?.pop()) {
                let _stored_before = first.ask(&unstored).await;
            }
            target.workers(speaks, concurrency).await
        })?;
        Ok(Load { runtime, local, workers, target })
    }

    /// Asks until the pace ends and all have been answered. An error is whatever was not as expected.
    pub(crate) fn run(&mut self, pace: Pace) -> Result<Tally, Box<dyn Error>> {
        let tally = Tally { requests: 0, lasted: Duration::ZERO, latencies: Histogram::new(7, 36)? };
        let run = Rc::new(Run { pace: Mutex::new(pace), tally: RefCell::new(tally), begin: clock::now() });
        let (target, workers) = (&self.target, std::mem::take(&mut self.workers));
        self.workers = self.local.block_on(&self.runtime, async {
            let tasks: Vec<_> = workers
                .into_iter()
                .map(|worker| tokio::task::spawn_local(worker.work(target.clone(), run.clone())))
                .collect();
            let mut back = Vec::new();
            for task in tasks {
                back.push(task.await??);
            }
            Ok::<_, Box<dyn Error>>(back)
        })?;
        let run = Rc::into_inner(run).ok_or("a worker is left")?;
        Ok(run.tally.into_inner())
    }
}

/// Offers one protocol and one cipher, the same to all edges; new sessions each time unless `speaks` resumes them.
fn tls(authority: &CertificateDer<'static>, speaks: Speaks) -> Result<TlsConnector, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if speaks == Speaks::Http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config.resumption = match speaks {
        Speaks::Resumed => Resumption::in_memory_sessions(64),
        _ => Resumption::disabled(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Target {
    async fn workers(&self, speaks: Speaks, concurrency: usize) -> Result<Vec<Worker>, Box<dyn Error>> {
        let mut workers = Vec::new();
        while workers.len() < concurrency {
            match speaks {
                Speaks::Http2 => {
                    let stream = self.handshake().await?;
                    let mut builder = h2::client::Builder::new();
                    builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
                    let (requests, connection) = builder.handshake(stream).await?;
                    // It ends with its requests; what went wrong they say.
                    tokio::task::spawn_local(async move { connection.await.ok() });
                    workers.extend((0..STREAMS).map(|_| Worker::Http2(requests.clone())));
                }
                Speaks::Tls => workers.push(Worker::Http1(Box::new(self.handshake().await?), vec![0; BUFFER])),
                Speaks::New | Speaks::Resumed | Speaks::Plain => workers.push(Worker::Handshakes),
            }
        }
        workers.truncate(concurrency);
        Ok(workers)
    }

    async fn handshake(&self) -> Result<TlsStream<TcpStream>, Box<dyn Error>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(self.tls.connect(ServerName::try_from(NAME)?, stream).await?)
    }

    fn text(&self, fields: &str) -> Vec<u8> {
        format!("GET {} HTTP/1.1\r\nHost: {NAME}\r\n{fields}\r\n", self.path).into_bytes()
    }

    fn request(&self) -> Result<Request<()>, http::Error> {
        let uri = format!("https://{NAME}{}", self.path);
        Request::get(uri).version(Version::HTTP_2).body(())
    }
}

impl Worker {
    async fn work(mut self, target: Target, run: Rc<Run>) -> Result<Worker, Box<dyn Error>> {
        while let Some(since) = run.next().await {
            let asked = tokio::time::timeout(PATIENCE, self.ask(&target));
            asked.await.map_err(|_| "no answer for 5 s")??;
            let now = clock::now();
            let mut tally = run.tally.borrow_mut();
            tally.requests += 1;
            tally.lasted = now.since(run.begin);
            tally.latencies.increment(u64::try_from(now.since(since).as_nanos())?)?;
        }
        Ok(self)
    }

    async fn ask(&mut self, target: &Target) -> Result<(), Box<dyn Error>> {
        match self {
            Worker::Http1(stream, buffer) => ask(stream, buffer, &target.text(""), &target.expected).await,
            Worker::Http2(requests) => {
                let (answer, _) = requests.clone().ready().await?.send_request(target.request()?, true)?;
                let (head, mut body) = answer.await?.into_parts();
                target.expected.check_parts(head.status.as_u16(), &head.headers)?;
                let mut length = 0;
                while let Some(data) = body.data().await.transpose()? {
                    length += data.len();
                    body.flow_control().release_capacity(data.len())?;
                }
                if length == target.expected.body { Ok(()) } else { Err(format!("{length} bytes of body").into()) }
            }
            Worker::Handshakes => {
                let mut stream = target.handshake().await?;
                let mut buffer = vec![0; 16 * 1024];
                ask(&mut stream, &mut buffer, &target.text(""), &target.expected).await?;
                // By then the tickets have been read. The edge need not wait for more.
                Ok(stream.shutdown().await?)
            }
        }
    }
}

/// Sends a request of HTTP/1.1 and reads its answer.
async fn ask(
    stream: &mut TlsStream<TcpStream>,
    buffer: &mut [u8],
    request: &[u8],
    expected: &Expected,
) -> Result<(), Box<dyn Error>> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let (mut have, mut whole) = (0, None);
    loop {
        // Of a body only the length is of interest; a head fits.
        let place = if whole.is_some() { 0 } else { have };
        let read = stream.read(&mut buffer[place..]).await?;
        if read == 0 {
            return Err("a connection was closed".into());
        }
        have += read;
        if whole.is_none() {
            whole = expected.check(&buffer[..have])?.map(|head| head + expected.body);
        }
        match whole {
            Some(whole) if have == whole => return Ok(()),
            Some(whole) if have > whole => return Err("more bytes than a response has".into()),
            _ => {}
        }
    }
}

impl Run {
    /// Waits for the next request to be due; since when its latency counts.
    async fn next(&self) -> Option<Tick> {
        let mut pace = self.pace.lock().await;
        loop {
            match pace.due(clock::now()) {
                Due::Since(since) => return Some(since),
                Due::Never => return None,
                Due::In(wait) if wait < SPIN => tokio::task::yield_now().await,
                Due::In(wait) => tokio::time::sleep(wait - SPIN).await,
            }
        }
    }
}
