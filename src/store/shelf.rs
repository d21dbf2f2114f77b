//! Entries in two moka caches, bounded by weight: a main shelf that is hard to get on, and a side shelf for the rest.
//!
//! * *The main shelf admits by TinyLFU*, moka's default: a newcomer gets on a full shelf only if it was asked for more
//!   often than all that it would displace *together*. A crawl that asks for every page once displaces nothing there.
//! * *The side shelf takes what the main one refuses* and evicts the least recently used. TinyLFU counts no further than
//!   15, so with the main shelf alone a cache full of pages would never let a 1 MiB bundle in. Here it comes in beside
//!   them, and stays as long as it is asked for before as much else was refused as the side shelf holds. What is
//!   fetched again tries the main shelf again, and knows by then how often it was asked for.
//! * *No memory is set aside for a kind of entry.* While either shelf has room nothing is refused, whatever the size.
//!
//! An entry is on one of the two. Every lookup asks the main shelf first, since it is there that moka counts, also when
//! it has nothing.
//!
//! Eviction is asked for with each insert: on its own moka evicts once 64 writes have come together or 0.3 s have passed,
//! and until then may be 64 of the largest objects above the bound. moka's clocks are not used; what is fresh is decided
//! with the entry's own dates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use pingora::cache::key::HashBinary;

use super::entry::Stored;
use super::family::Families;
use super::hashed::AsIs;
use super::room::Shares;

type Entries = Cache<HashBinary, Arc<Stored>, AsIs>;

/// Where an entry was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shelved {
    /// Where there was room, or TinyLFU made some.
    Admitted,
    /// On the side shelf, because TinyLFU refused it.
    Refused,
}

/// Where entries leave the store.
#[derive(Clone, Debug)]
struct Exit {
    families: Arc<Families>,
    evicted: Arc<AtomicU64>,
    /// Set when entries are moved elsewhere: leaving the shelf then no longer means leaving the store.
    retired: Arc<AtomicBool>,
}

impl Exit {
    /// moka has put the entry out.
    fn take(&self, entry: &Stored) {
        if !self.retired.load(Ordering::Acquire) && entry.seat.leave() {
            self.families.forget(&entry.place, entry.serial);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A bounded set of entries by slot.
#[derive(Debug)]
pub(super) struct Shelf {
    /// `None` where all of the memory is under LRU.
    main: Option<Entries>,
    side: Entries,
    shares: Shares,
    exit: Exit,
}

impl Shelf {
    /// An empty shelf. Entries that have to make room for others are forgotten by `families` and counted in `evicted`.
    pub(super) fn new(shares: Shares, families: Arc<Families>, evicted: Arc<AtomicU64>) -> Shelf {
        let exit = Exit { families, evicted, retired: Arc::default() };
        let build = |capacity: u64, policy: EvictionPolicy| -> Entries {
            let exit = exit.clone();
            Cache::builder()
                .max_capacity(capacity)
                .weigher(|_, entry: &Arc<Stored>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
                .eviction_policy(policy)
                .eviction_listener(move |_, entry: Arc<Stored>, cause| {
                    // Who removes or replaces an entry does what goes with it.
                    if cause == RemovalCause::Size {
                        exit.take(&entry);
                    }
                })
                .build_with_hasher(AsIs::default())
        };
        let main = (shares.main() > 0).then(|| build(shares.main(), EvictionPolicy::tiny_lfu()));
        let side = build(shares.side, EvictionPolicy::lru());
        Shelf { main, side, shares, exit }
    }

    /// The entry in `slot`. Counts as one use of it, found or not.
    pub(super) fn get(&self, slot: &HashBinary) -> Option<Arc<Stored>> {
        self.main.as_ref().and_then(|main| main.get(slot)).or_else(|| self.side.get(slot))
    }

    pub(super) fn contains(&self, slot: &HashBinary) -> bool {
        self.main.as_ref().is_some_and(|main| main.contains_key(slot)) || self.side.contains_key(slot)
    }

    /// Puts the entry in its slot and evicts what is then above the bound. Not to be called twice at once for one slot.
    pub(super) fn insert(&self, entry: Arc<Stored>) -> Shelved {
        let (slot, weight) = (entry.place.slot, entry.weight());
        let fits = |cache: &Entries, capacity: u64| cache.weighted_size().saturating_add(weight) <= capacity;
        let judge = self.main.as_ref().filter(|main| {
            main.contains_key(&slot) || fits(main, self.shares.main()) || !fits(&self.side, self.shares.side)
        });
        if let Some(main) = judge {
            entry.seat.offer();
            main.insert(slot, Arc::clone(&entry));
            // moka judges here, or has judged on another thread by the time this returns.
            main.run_pending_tasks();
            if main.contains_key(&slot) && entry.seat.take() {
                self.side.invalidate(&slot);
                return Shelved::Admitted;
            }
        }
        entry.seat.sit();
        self.side.insert(slot, Arc::clone(&entry));
        self.side.run_pending_tasks();
        if !self.side.contains_key(&slot) {
            // moka says nothing of what a cache without capacity refuses.
            self.exit.take(&entry);
        }
        if judge.is_some() { Shelved::Refused } else { Shelved::Admitted }
    }

    pub(super) fn remove(&self, slot: &HashBinary) -> Option<Arc<Stored>> {
        let main = self.main.as_ref().and_then(|main| main.remove(slot));
        let side = self.side.remove(slot);
        main.or(side)
    }

    /// Evicts what is above the bound.
    pub(super) fn settle(&self) {
        self.both().for_each(Entries::run_pending_tasks);
    }

    /// From now on entries may leave it without being forgotten.
    pub(super) fn retire(&self) {
        self.exit.retired.store(true, Ordering::Release);
    }

    /// Its entries: those of the main shelf, then those of the side shelf, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<Stored>> + '_ {
        self.both().flat_map(|cache| cache.iter().map(|(_, entry)| entry))
    }

    pub(super) fn shares(&self) -> Shares {
        self.shares
    }

    pub(super) fn objects(&self) -> u64 {
        self.both().map(Entries::entry_count).sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.both().map(Entries::weighted_size).sum()
    }

    fn both(&self) -> impl Iterator<Item = &Entries> {
        self.main.iter().chain([&self.side])
    }
}
