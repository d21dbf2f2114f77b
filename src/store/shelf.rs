//! Entries in a moka cache, bounded by weight.
//!
//! * *Evicts the least recently used.* moka's default, TinyLFU, admits a newcomer to a full cache only if it was asked
//!   for more often than all that it would displace *together*, and counts no further than 15: once the cache is full of
//!   pages nobody could ever get a 1 MiB bundle in.
//! * *Eviction is asked for after each insert.* On its own moka evicts once 64 writes have come together or 0.3 s have
//!   passed, and until then may be 64 of the largest objects above the bound.
//! * *moka's clocks are not used*; what is fresh is decided with the entry's own dates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use pingora::cache::key::HashBinary;

use super::entry::Stored;
use super::family::Families;

/// A bounded set of entries by slot.
#[derive(Debug)]
pub(super) struct Shelf {
    cache: Cache<HashBinary, Arc<Stored>>,
    capacity: u64,
    /// Set when its entries are moved elsewhere: leaving this shelf then no longer means leaving the store.
    retired: Arc<AtomicBool>,
}

impl Shelf {
    /// An empty shelf for `capacity` bytes. Entries that leave it are forgotten by `families`; those that had to make
    /// room for others are counted in `evicted`.
    pub(super) fn new(capacity: u64, families: Arc<Families>, evicted: Arc<AtomicU64>) -> Shelf {
        let retired = Arc::new(AtomicBool::new(false));
        let is_retired = Arc::clone(&retired);
        let cache = Cache::builder()
            .max_capacity(capacity)
            .weigher(|_, entry: &Arc<Stored>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(move |_, entry: Arc<Stored>, cause| {
                if cause == RemovalCause::Replaced || is_retired.load(Ordering::Acquire) {
                    return;
                }
                families.forget(&entry.place, entry.serial);
                if cause == RemovalCause::Size {
                    evicted.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        Shelf { cache, capacity, retired }
    }

    pub(super) fn get(&self, slot: &HashBinary) -> Option<Arc<Stored>> {
        self.cache.get(slot)
    }

    pub(super) fn contains(&self, slot: &HashBinary) -> bool {
        self.cache.contains_key(slot)
    }

    pub(super) fn insert(&self, entry: Arc<Stored>) {
        self.cache.insert(entry.place.slot, entry);
    }

    pub(super) fn remove(&self, slot: &HashBinary) -> Option<Arc<Stored>> {
        self.cache.remove(slot)
    }

    /// Evicts what is above the bound.
    pub(super) fn settle(&self) {
        self.cache.run_pending_tasks();
    }

    /// From now on entries may leave it without being forgotten.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Its entries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<Stored>> + '_ {
        self.cache.iter().map(|(_, entry)| entry)
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn objects(&self) -> u64 {
        self.cache.entry_count()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weighted_size()
    }
}
