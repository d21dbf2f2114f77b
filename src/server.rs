//! A running edge: listeners, background work, signals, drain.
//!
//! Pingora's own `Server` sleeps out its whole grace period even when idle and cannot tell which port it got, so its
//! services are started here, on one runtime, over sockets that are bound before anything else can fail.

mod bind;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pingora::apps::HttpServerOptions;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin::{Admin, Live};
use crate::config::Config;
use crate::edge::Edge;
use crate::endpoint::Endpoint;
use crate::proxy::Proxy;
use crate::reload::Reloader;
use crate::{clock, health_check, lane};
use bind::{Bound, Listening, SocketFile};

/// Listeners, logs, idle connections to backends and the runtime's own files.
const FILES_BESIDE: u64 = 2048;
/// Every so many tasks a thread takes one of those for which its own queue, of 256, had no room. With 1,000 busy connections most
/// are such; by tokio's measure, every hundred or so, p99 of hits is 115 to 158 ms, by this one 19 to 22.
const FAIRNESS: u32 = 2;
/// How often quantiles are published.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);
/// How long the end waits for connections to notice that they are cut.
const CUT_PATIENCE: Duration = Duration::from_secs(1);
/// How long the end waits for the access log to be written.
const LOG_PATIENCE: Duration = Duration::from_secs(2);
/// How long the end waits for the collector to take the last traces.
const TRACE_PATIENCE: Duration = Duration::from_secs(2);
/// How long the start waits for names to resolve before it serves without them.
const RESOLVE_WAIT: Duration = Duration::from_secs(2);

/// Why an edge could not be started: sentences for the operator.
#[derive(Debug)]
pub struct StartError(pub Vec<String>);

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for StartError {}

/// An edge that serves.
pub struct Running {
    edge: Arc<Edge>,
    reloader: Arc<Reloader>,
    addresses: Vec<Endpoint>,
    /// Of Unix sockets; here so that they go with us.
    _files: Vec<SocketFile>,
    admin: Option<SocketAddr>,
    stop_proxy: watch::Sender<bool>,
    stop_admin: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Running {
    /// Starts an edge on the current runtime. It serves when this returns. `source` is where reloads read from.
    ///
    /// # Errors
    /// An address that cannot be bound, or what of the configuration cannot be had on this machine.
    pub async fn start(config: Config, source: Option<PathBuf>) -> Result<Running, StartError> {
        let listeners: Vec<Bound> =
            config.all_listeners().map(|l| Bound::new(&l.address, l.mode)).collect::<Result<_, _>>()?;
        let admin_listener = config.server.admin.map(|address| Bound::new(&address.into(), None)).transpose()?;
        let threads = config.server.threads;
        let edge = Arc::new(Edge::new(config).map_err(StartError)?);
        let reloader = Arc::new(Reloader::new(edge.clone(), source));
        resolve_first(&edge).await;

        let mut tasks = JoinSet::new();
        let (stop_proxy, proxy_stopped) = watch::channel(false);
        let (stop_admin, admin_stopped) = watch::channel(false);
        let conf = Arc::new(ServerConf { threads, ..ServerConf::default() });
        let mut options = HttpServerOptions::default();
        options.force_custom = true;
        let proxy = Proxy::new(edge.clone());
        let (connector, short) = (proxy.connector(), Arc::new(proxy.clone()));
        let (mut addresses, mut files) = (Vec::new(), Vec::new());
        // One service for each, so that a connection tells where it came in.
        for (place, listener) in listeners.into_iter().enumerate() {
            let mut service = ProxyServiceBuilder::new(&conf, proxy.clone())
                .custom(connector.clone(), lane::entrance(edge.clone(), place, short.clone()))
                .server_options(options.clone())
                .build();
            let Listening { endpoint, file, fds } = listener.hand_over(|config| service.add_listener(config))?;
            addresses.push(endpoint);
            files.extend(file);
            let stopped = proxy_stopped.clone();
            tasks.spawn(async move { service.start_service(Some(fds), stopped, 1).await });
        }

        let mut admin = None;
        if let Some(listener) = admin_listener {
            let live = Arc::new(Live::new(edge.clone(), reloader.clone()));
            let mut service =
                Service::new("admin".to_owned(), Admin::new(edge.clone(), reloader.clone(), live.clone()));
            tasks.spawn(live.run());
            let Listening { endpoint, fds, .. } = listener.hand_over(|config| service.add_listener(config))?;
            admin = endpoint.tcp();
            tasks.spawn(async move { service.start_service(Some(fds), admin_stopped, 1).await });
        }
        tasks.spawn(health_check::run(edge.clone()));
        tasks.spawn({
            let reloader = reloader.clone();
            async move { reloader.watch_certificates().await }
        });
        tasks.spawn(publish_quantiles(edge.clone()));
        tasks.spawn(sweep_purged(edge.clone()));
        Ok(Running {
            edge,
            reloader,
            addresses,
            _files: files,
            admin,
            stop_proxy,
            stop_admin,
            tasks: Mutex::new(tasks),
        })
    }

    /// Where clients connect, with the ports that were got for port 0.
    pub fn addresses(&self) -> &[Endpoint] {
        &self.addresses
    }

    /// Where the operator connects.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What the parts share.
    pub fn edge(&self) -> &Arc<Edge> {
        &self.edge
    }

    /// Reads the configuration anew.
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// Stops accepting, lets requests in flight finish for up to `grace`, and stops. Returns the number of
    /// connections that were cut.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.edge.drain();
        // Receivers are gone only if the services have ended by themselves.
        let _ = self.stop_proxy.send(true);
        let _ = tokio::time::timeout(grace, self.edge.connections().gone()).await;
        let cut = self.edge.connections().count();
        self.edge.cut_all();
        // What is cut still says so in the log.
        let _ = tokio::time::timeout(CUT_PATIENCE, self.edge.connections().gone()).await;
        let _ = self.stop_admin.send(true);
        self.tasks.lock().abort_all();
        let lost = self.edge.access_log().close(LOG_PATIENCE);
        if lost > 0 {
            log::warn!("{lost} lines of the access log could not be written");
        }
        let tracer = (**self.edge.tracer()).clone();
        let lost = tokio::task::spawn_blocking(move || tracer.close(TRACE_PATIENCE)).await;
        if let Ok(lost @ 1..) = lost {
            log::warn!("{lost} traces could not be sent");
        }
        cut
    }
}

/// Runs an edge in the foreground until a signal ends it. `started` is called once it serves.
///
/// # Errors
/// As for [`Running::start`].
pub fn run(config: Config, source: Option<PathBuf>, started: impl FnOnce(&Running)) -> Result<(), StartError> {
    raise_file_limit(config.server.limits.connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.server.threads)
        .global_queue_interval(FAIRNESS)
        .enable_all()
        .build()
        .map_err(|e| StartError(vec![format!("cannot start {} threads: {e}", config.server.threads)]))?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new().map_err(|e| StartError(vec![format!("cannot listen for signals: {e}")]))?;
        let running = Running::start(config, source).await?;
        started(&running);
        serve(running, &mut signals).await;
        Ok(())
    });
    // Whatever still runs was given its time in the drain.
    runtime.shutdown_background();
    result
}

/// A connection is a file, and each may need another to a backend. The soft limit is often 1024 for historical reasons;
/// up to the hard one it is ours to raise.
fn raise_file_limit(connections: usize) {
    let wanted = 2 * connections as u64 + FILES_BESIDE;
    match rlimit::increase_nofile_limit(wanted) {
        Ok(got) if got < wanted => log::warn!(
            "at most {got} files may be open: {connections} clients with a backend each may need {wanted} (ulimit -n)"
        ),
        Ok(_) => {}
        Err(e) => log::warn!("the limit of open files cannot be read: {e}"),
    }
}

async fn serve(running: Running, signals: &mut Signals) {
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => {
                // The outcome is in the log.
                let _ = running.reloader.reload();
            }
            _ = signals.reopen.recv() => {
                running.edge.access_log().reopen();
                log::info!("access log reopened");
            }
            _ = signals.interrupt.recv() => {
                log::info!("interrupted");
                running.drain(Duration::ZERO).await;
                return;
            }
            _ = signals.terminate.recv() => break,
        }
    }
    let grace = running.edge.peek().config().server.grace_period;
    log::info!(
        "draining: up to {} for {} connections",
        humantime::format_duration(grace),
        running.edge.connections().count()
    );
    tokio::select! {
        cut = running.drain(grace) => match cut {
            0 => log::info!("drained"),
            cut => log::warn!("the grace period is over: {cut} connections cut"),
        },
        _ = signals.interrupt.recv() => log::info!("interrupted while draining"),
        _ = signals.terminate.recv() => log::info!("terminated while draining"),
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    reopen: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }
}

/// Gives DNS a moment, so that the first requests find their backends.
async fn resolve_first(edge: &Edge) {
    let snapshot = edge.snapshot();
    let known = futures::future::join_all(snapshot.pools().iter().map(|pool| pool.populated()));
    if tokio::time::timeout(RESOLVE_WAIT, known).await.is_err() {
        log::warn!("some names have not resolved yet; their pools answer 503 until they do");
    }
}

/// Frees what is purged. Never on a thread that serves, and never for more than a tenth of the time.
async fn sweep_purged(edge: Arc<Edge>) {
    let store = edge.store();
    loop {
        store.sweep_due().await;
        let began = clock::now();
        if let Err(e) = tokio::task::spawn_blocking(move || store.sweep(clock::wall())).await {
            log::error!("a sweep of the cache failed: {e}");
        }
        tokio::time::sleep(9 * clock::now().since(began)).await;
    }
}

async fn publish_quantiles(edge: Arc<Edge>) {
    let mut ticks = tokio::time::interval(PUBLISH_EVERY);
    loop {
        ticks.tick().await;
        let now = clock::now();
        edge.peek().tick(now);
        edge.metrics().tick(edge.peek().config().slow, now);
    }
}
