//! What the store tells of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::shelf::Shelf;
use super::{NotStored, Store};

/// What is in the store and what has happened to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries: complete responses, and the parts of one body together; each variant counted.
    pub objects: u64,
    /// What they weigh, in bytes.
    pub bytes: u64,
    /// What they may weigh.
    pub capacity: u64,
    /// Fills in progress.
    pub fills: u64,
    /// Bytes that fills hold.
    pub filling: u64,
    /// Responses stored since the start.
    pub stored: u64,
    /// Entries that had to make room since the start.
    pub evicted: u64,
    /// Responses that TinyLFU kept off the main shelf since the start; stored on the side shelf.
    pub refused: u64,
    /// Entries purged since the start.
    pub purged: u64,
    /// Tags left out since the start because they were too many or too long.
    pub tags_cut: u64,
    /// Purges that are not yet applied to everything, or not long enough ago.
    pub rules: usize,
    /// Responses that were not stored since the start, in the order of [`NotStored::ALL`].
    pub not_stored: [u64; NotStored::ALL.len()],
    /// Readers cut off since the start because they held up a response too large to store.
    pub cut: u64,
}

/// Counted since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) stored: AtomicU64,
    pub(super) evicted: Arc<AtomicU64>,
    pub(super) refused: AtomicU64,
    pub(super) purged: AtomicU64,
    pub(super) tags_cut: AtomicU64,
    not_stored: [AtomicU64; NotStored::ALL.len()],
    pub(super) cut: AtomicU64,
}

impl Counts {
    pub(super) fn count_not_stored(&self, reason: NotStored) {
        self.not_stored[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Store {
    /// What is in the store and what has happened to it. Reads counters only.
    pub fn stats(&self) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shelves = self.shelves.load();
        let both = |of: fn(&Shelf) -> u64| of(&shelves.current) + shelves.previous.as_deref().map_or(0, of);
        Stats {
            objects: both(Shelf::objects),
            bytes: both(Shelf::bytes),
            capacity: shelves.current.shares().entries,
            fills: self.open.count() as u64,
            filling: self.room.used(),
            stored: count(&self.counts.stored),
            evicted: count(&self.counts.evicted),
            refused: count(&self.counts.refused),
            purged: count(&self.counts.purged),
            tags_cut: count(&self.counts.tags_cut),
            rules: self.rules.count(),
            not_stored: self.counts.not_stored.each_ref().map(count),
            cut: count(&self.counts.cut),
        }
    }
}
