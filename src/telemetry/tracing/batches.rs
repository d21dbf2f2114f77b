//! Traces on their way out: a bounded queue, and the thread that empties it.
//!
//! The exporter has a thread and a runtime of its own: turning requests into spans, and these into bytes, is no work for
//! threads that serve. A collector that is slow or not there fills the queue; what comes then is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::record::Recorded;
use super::{collector, span};
use crate::config::Tracing;
use crate::telemetry::{Dropped, Metrics};

/// Traces sent at once: with their attempts, and texts of any length, less than the 4 MiB that collectors take.
const BATCH: usize = 256;
/// How long the first of them waits for others.
const DELAY: Duration = Duration::from_secs(1);

/// The queue; its thread ends when it is dropped and empty.
#[derive(Debug)]
pub(super) struct Batches {
    queue: Sender<Recorded>,
    shared: Arc<Shared>,
}

/// What the two sides share.
#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    /// Traces handed in that have been neither sent nor dropped.
    pending: AtomicU64,
    closing: Notify,
    ended: Mutex<bool>,
    end: Condvar,
}

impl Batches {
    /// Starts the thread; returns once it has its exporter.
    pub(super) fn start(config: Arc<Tracing>, metrics: Metrics) -> Result<Batches, String> {
        let (queue, traces) = mpsc::channel(config.queue);
        let shared = Arc::new(Shared {
            metrics,
            pending: AtomicU64::new(0),
            closing: Notify::new(),
            ended: Mutex::new(false),
            end: Condvar::new(),
        });
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (theirs, text) = (shared.clone(), |e: std::io::Error| e.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
        let run = move || {
            runtime.block_on(async {
                let exporter = collector::exporter(&config);
                let is_made = exporter.as_ref().map(|_| ()).map_err(Clone::clone);
                // Who started it may be gone; then so is the queue.
                let _gone = ready.send(is_made);
                if let Ok(exporter) = exporter {
                    Outgoing { exporter, config, shared: theirs.clone(), fails: false }.run(traces).await;
                }
            });
            *theirs.ended.lock() = true;
            theirs.end.notify_all();
        };
        std::thread::Builder::new().name("tracing".to_owned()).spawn(run).map_err(text)?;
        is_ready.recv().map_err(|_| "the exporter's thread has ended".to_owned())??;
        Ok(Batches { queue, shared })
    }

    /// Queues a trace, or drops it.
    pub(super) fn push(&self, recorded: Recorded) {
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = self.queue.try_send(recorded) {
            let why = match e {
                TrySendError::Full(_) => Dropped::Queue,
                TrySendError::Closed(_) => Dropped::Shutdown,
            };
            self.shared.settle(1);
            self.shared.metrics.traces().dropped(why, 1);
        }
    }

    /// Has what is queued sent and takes no more; how many traces were not sent after at most `patience`.
    pub(super) fn close(&self, patience: Duration) -> u64 {
        self.shared.closing.notify_one();
        let mut ended = self.shared.ended.lock();
        self.shared.end.wait_while_for(&mut ended, |ended| !*ended, patience);
        self.shared.pending.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn settle(&self, traces: usize) {
        self.pending.fetch_sub(traces as u64, Ordering::Relaxed);
    }
}

/// The thread's side.
struct Outgoing {
    exporter: SpanExporter,
    config: Arc<Tracing>,
    shared: Arc<Shared>,
    /// Whether the last batch was not taken.
    fails: bool,
}

impl Outgoing {
    /// Sends batches until the queue is closed and empty.
    async fn run(&mut self, mut traces: Receiver<Recorded>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let received = tokio::select! {
                received = traces.recv_many(&mut batch, BATCH) => received,
                () = self.shared.closing.notified() => {
                    traces.close();
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            if !traces.is_closed() {
                self.fill(&mut traces, &mut batch).await;
            }
            self.send(&mut batch).await;
        }
    }

    /// Waits for more, since a request to the collector costs it more than the spans in it.
    async fn fill(&self, traces: &mut Receiver<Recorded>, batch: &mut Vec<Recorded>) {
        let delay = tokio::time::sleep(DELAY);
        tokio::pin!(delay);
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                received = traces.recv_many(batch, room) => if received == 0 { return },
                () = &mut delay => return,
                () = self.shared.closing.notified() => return traces.close(),
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<Recorded>) {
        let count = batch.len();
        let spans = batch.drain(..).flat_map(span::spans).collect();
        // It keeps this time itself; what it waits for besides is bounded all the same.
        let sent = tokio::time::timeout(self.config.timeout, self.exporter.export(spans)).await;
        let result = match sent {
            Ok(result) => result.map_err(|e| e.to_string()),
            Err(_) => Err("timed out".to_owned()),
        };
        let counters = self.shared.metrics.traces();
        counters.exported(result.is_ok());
        if result.is_err() {
            counters.dropped(Dropped::Export, count);
        }
        self.shared.settle(count);
        // Once for each change: a collector that is away for an hour is not worth a line per batch.
        match (&result, std::mem::replace(&mut self.fails, result.is_err())) {
            (Err(e), false) => log::warn!("the collector {} takes no traces: {e}", self.config.endpoint),
            (Ok(()), true) => log::info!("the collector {} takes traces again", self.config.endpoint),
            _ => {}
        }
    }
}
