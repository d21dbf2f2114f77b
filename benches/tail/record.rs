//! What backends received, and when.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Filled by the backends while a run is on.
#[derive(Default)]
pub(crate) struct Record {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    received: Vec<Received>,
    /// Attempts so far, by request.
    attempts: HashMap<u64, u32>,
    fetches: u64,
    connections: Vec<Duration>,
}

/// An attempt that reached a backend.
#[derive(Clone)]
pub(crate) struct Received {
    /// Since the load's begin.
    pub(crate) at: Duration,
    pub(crate) backend: usize,
    /// `None` for the hot key.
    pub(crate) request: Option<usize>,
    /// Whether the proxy marked it as a hedge.
    pub(crate) hedge: bool,
    pub(crate) end: Option<(Duration, End)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    /// The proxy closed the connection before that.
    Left,
}

/// An attempt's place in the record.
#[derive(Clone, Copy)]
pub(crate) struct Entry(usize);

impl Record {
    /// Notes an attempt; returns its place, the number by which its chance is drawn, and how many came before it.
    pub(crate) fn receive(
        &self,
        at: Duration,
        backend: usize,
        request: Option<usize>,
        hedge: bool,
    ) -> (Entry, u64, u32) {
        let mut inner = self.inner.lock();
        inner.received.push(Received { at, backend, request, hedge, end: None });
        let entry = Entry(inner.received.len() - 1);
        let Some(request) = request else {
            inner.fetches += 1;
            return (entry, HOT + inner.fetches, 0);
        };
        let attempts = inner.attempts.entry(request as u64).or_default();
        *attempts += 1;
        (entry, request as u64, *attempts - 1)
    }

    pub(crate) fn end(&self, entry: Entry, at: Duration, end: End) {
        self.inner.lock().received[entry.0].end = Some((at, end));
    }

    pub(crate) fn connected(&self, at: Duration) {
        self.inner.lock().connections.push(at);
    }

    /// Attempts that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.inner.lock().received.iter().filter(|received| received.end.is_none()).count()
    }

    /// All that was received, in order, and when connections were accepted.
    pub(crate) fn taken(&self) -> (Vec<Received>, Vec<Duration>) {
        let inner = self.inner.lock();
        (inner.received.clone(), inner.connections.clone())
    }
}

/// Fetches of the hot key are numbered from here.
const HOT: u64 = 1 << 32;
