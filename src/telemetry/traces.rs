//! How many requests were recorded as traces, and what became of those.

use super::tally::Tally;
use super::words::words;
use crate::trace::sampling::Reason;

words! {
    /// Why a trace did not reach the collector.
    Dropped {
        /// More are worth recording than may be kept.
        Rate = "rate",
        /// As many wait as may.
        Queue = "queue",
        /// The collector did not take its batch.
        Export = "export",
        /// It came after the edge had closed its books.
        Shutdown = "shutdown",
    }
}

/// What became of a batch, by its place in the list.
pub const EXPORTS: &[&str] = &["ok", "failed"];

/// The counters.
#[derive(Debug)]
pub struct TraceMetrics {
    pub(super) recorded: Tally,
    pub(super) dropped: Tally,
    pub(super) exports: Tally,
}

impl TraceMetrics {
    /// None yet.
    pub(super) fn new() -> TraceMetrics {
        TraceMetrics {
            recorded: Tally::new(Reason::WORDS),
            dropped: Tally::new(Dropped::WORDS),
            exports: Tally::new(EXPORTS),
        }
    }

    /// Counts a request that is recorded.
    pub fn recorded(&self, reason: Reason) {
        self.recorded.add_at(reason.index());
    }

    /// Counts traces that do not reach the collector.
    pub fn dropped(&self, why: Dropped, traces: usize) {
        self.dropped.add_many_at(why.index(), traces as u64);
    }

    /// Counts a batch that was sent.
    pub fn exported(&self, is_taken: bool) {
        self.exports.add_at(usize::from(!is_taken));
    }
}
