//! What the parts of a running edge share: the current snapshot, the store, the counters, the logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use tokio::sync::watch;

use crate::config::Config;
use crate::connections::Connections;
use crate::snapshot::Snapshot;
use crate::store::{self, Refusals, Store};
use crate::telemetry::{AccessLog, Metrics, Tracer};
use crate::upstream::resolve::{self, Resolver};
use crate::{clock, config};

/// A running edge.
pub struct Edge {
    snapshot: ArcSwap<Snapshot>,
    store: &'static Store,
    refusals: Arc<Refusals>,
    /// How large the store is to be.
    size: Arc<Mutex<store::Params>>,
    metrics: Metrics,
    access_log: ArcSwap<AccessLog>,
    tracer: ArcSwap<Tracer>,
    resolver: Arc<dyn Resolver>,
    connections: Connections,
    generations: watch::Sender<u64>,
    phases: watch::Sender<Phase>,
    /// The same, for a glance.
    phase: AtomicU8,
}

/// How far the edge is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It finishes what it has and keeps no connection.
    Draining,
    /// The grace period is over: what is still open is cut.
    Cut,
}

impl Edge {
    /// An edge with its first snapshot.
    ///
    /// # Errors
    /// Sentences for the operator: what of the configuration cannot be had on this machine.
    pub fn new(config: Config) -> Result<Edge, Vec<String>> {
        let metrics = Metrics::new();
        let resolver: Arc<dyn Resolver> = Arc::new(resolve::System::new());
        let access_log = open_log(&config.access_log, &metrics).map_err(|e| vec![e])?;
        let tracer = Tracer::start(config.tracing.as_ref(), &metrics).map_err(|e| vec![e])?;
        let size = store_params(&config.cache);
        let store = Store::new(size);
        store.hide(&config.cache.tags);
        let snapshot = Snapshot::build(config, None, &resolver, &metrics, clock::now())?;
        snapshot.take_effect(clock::now());
        metrics.set_generation(snapshot.generation());
        Ok(Edge {
            snapshot: ArcSwap::from_pointee(snapshot),
            store,
            refusals: Arc::default(),
            size: Arc::new(Mutex::new(size)),
            metrics,
            access_log: ArcSwap::from_pointee(access_log),
            tracer: ArcSwap::from_pointee(tracer),
            resolver,
            connections: Connections::default(),
            generations: watch::Sender::new(1),
            phases: watch::Sender::new(Phase::Serving),
            phase: AtomicU8::new(Phase::Serving as u8),
        })
    }

    /// The snapshot in use, to be kept for the length of a request.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The snapshot in use, for a glance.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Puts the next generation in use, all of it or nothing.
    ///
    /// # Errors
    /// As for [`Edge::new`]; the old snapshot stays.
    pub fn publish(&self, config: Config) -> Result<Arc<Snapshot>, Vec<String>> {
        let before = self.snapshot();
        let log_changed = before.config().access_log != config.access_log;
        let access_log = match log_changed {
            true => Some(open_log(&config.access_log, &self.metrics).map_err(|e| vec![e])?),
            false => None,
        };
        let tracer = match before.config().tracing != config.tracing {
            true => Some(Tracer::start(config.tracing.as_ref(), &self.metrics).map_err(|e| vec![e])?),
            false => None,
        };
        let cache = store_params(&config.cache);
        let next = Snapshot::build(config, Some(&before), &self.resolver, &self.metrics, clock::now())?;
        let next = Arc::new(next);
        self.resize(cache);
        self.store.hide(&next.config().cache.tags);
        if let Some(log) = access_log {
            self.access_log.store(Arc::new(log));
        }
        if let Some(tracer) = tracer {
            // The one before sends what it has.
            self.tracer.store(Arc::new(tracer));
        }
        self.metrics.set_generation(next.generation());
        self.snapshot.store(next.clone());
        next.take_effect(clock::now());
        self.generations.send_replace(next.generation());
        Ok(next)
    }

    /// Moving entries takes a microsecond each: not on a thread that serves. However such moves overtake each other,
    /// each makes for the size that is wanted last.
    fn resize(&self, to: store::Params) {
        if std::mem::replace(&mut *self.size.lock(), to) == to {
            return;
        }
        let (store, size) = (self.store, self.size.clone());
        tokio::task::spawn_blocking(move || {
            loop {
                let wanted = *size.lock();
                store.resize(wanted);
                if *size.lock() == wanted {
                    return;
                }
            }
        });
    }

    /// Tells of every new generation.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    /// The store behind the cache.
    pub fn store(&self) -> &'static Store {
        self.store
    }

    /// Why responses were not stored.
    pub fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The access log.
    pub fn access_log(&self) -> Guard<Arc<AccessLog>> {
        self.access_log.load()
    }

    /// Where recorded requests go.
    pub fn tracer(&self) -> Guard<Arc<Tracer>> {
        self.tracer.load()
    }

    /// The client connections that are open.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }

    /// How far it is on its way to the end.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Cut,
        }
    }

    /// Whether the edge is on its way out: it finishes what it has and keeps no connection.
    pub fn is_draining(&self) -> bool {
        self.phase() != Phase::Serving
    }

    /// Returns when the phase is another than `seen`.
    pub fn phase_after(&self, seen: Phase) -> impl Future<Output = ()> + Send + use<> {
        self.until(move |phase| phase != seen)
    }

    /// Returns when the grace period is over and what is still open is to be cut.
    pub fn cut(&self) -> impl Future<Output = ()> + Send + use<> {
        self.until(|phase| phase == Phase::Cut)
    }

    fn until<F: Fn(Phase) -> bool + Send + Sync>(&self, such: F) -> impl Future<Output = ()> + Send + use<F> {
        let mut phases = self.phases.subscribe();
        async move {
            if phases.wait_for(|phase| such(*phase)).await.is_err() {
                // The edge is gone without a word: nothing to do.
                std::future::pending().await
            }
        }
    }

    /// Cuts what is still open.
    pub fn cut_all(&self) {
        self.enter(Phase::Cut);
    }

    /// Begins to drain.
    pub fn drain(&self) {
        self.enter(Phase::Draining);
    }

    fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::Relaxed);
        self.phases.send_if_modified(|now| std::mem::replace(now, (*now).max(phase)) < phase);
    }
}

fn store_params(cache: &config::Cache) -> store::Params {
    store::Params { memory: cache.memory, max_object: cache.max_object, admission: cache.admission }
}

fn open_log(log: &config::AccessLog, metrics: &Metrics) -> Result<AccessLog, String> {
    AccessLog::start(log, metrics.access_log_dropped()).map_err(|e| match &log.output {
        config::LogOutput::File(path) => format!("cannot open the access log {}: {e}", path.display()),
        config::LogOutput::Stdout => format!("cannot start the access log: {e}"),
    })
}
