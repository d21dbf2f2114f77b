//! The fills in progress, and the locks under which what is stored for a resource changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::{RwLock, RwLockWriteGuard};
use pingora::cache::key::HashBinary;

use super::entry::Place;
use super::fill::Fill;
use super::hashed::AsIs;
use super::meta::Serial;
use super::shard;

/// Fills by resource.
///
/// Everything that changes what is stored for a resource (a fill's end, a purge, a new head, a move between shelves)
/// holds the resource's shard in writing, so that each sees the other's work whole: a fill that ends while its key is
/// purged is either purged or was told before not to be stored.
#[derive(Debug)]
pub(super) struct Open {
    shards: Vec<RwLock<Shard>>,
    /// Fills in all shards, so that a lookup takes no lock while there is none.
    count: AtomicUsize,
    /// Purges since the start, by shard: who takes in something that is not listed here must see them.
    purges: Vec<AtomicU64>,
}

/// The fills of the resources that share a lock.
pub(super) type Shard = HashMap<HashBinary, Vec<Arc<Fill>>, AsIs>;

impl Default for Open {
    fn default() -> Self {
        Open {
            shards: (0..shard::COUNT).map(|_| RwLock::default()).collect(),
            count: AtomicUsize::new(0),
            purges: (0..shard::COUNT).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Open {
    /// The resource's lock.
    pub(super) fn lock(&self, primary: &HashBinary) -> RwLockWriteGuard<'_, Shard> {
        self.shards[shard::of(primary)].write()
    }

    /// Every lock. Always taken in this order, and nobody else holds more than one.
    pub(super) fn lock_all(&self) -> Vec<RwLockWriteGuard<'_, Shard>> {
        self.shards.iter().map(RwLock::write).collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Arc<Fill>> {
        let fills_of = |shard: &RwLock<Shard>| shard.read().values().flatten().cloned().collect::<Vec<_>>();
        self.shards.iter().flat_map(fills_of).collect()
    }

    /// Adds a fill.
    pub(super) fn add(&self, fill: Arc<Fill>) {
        self.lock(&fill.place.primary).entry(fill.place.primary).or_default().push(fill);
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Takes a fill out of its locked `shard`.
    pub(super) fn remove(&self, shard: &mut Shard, fill: &Fill) {
        if let Some(fills) = shard.get_mut(&fill.place.primary) {
            let before = fills.len();
            fills.retain(|f| f.serial != fill.serial);
            self.count.fetch_sub(before - fills.len(), Ordering::Release);
            if fills.is_empty() {
                shard.remove(&fill.place.primary);
            }
        }
    }

    /// What `pick` makes of the latest fill for `place` that it wants.
    pub(super) fn latest<T>(&self, place: &Place, pick: impl Fn(&Arc<Fill>) -> Option<T>) -> Option<T> {
        if self.count() == 0 {
            return None;
        }
        let shard = self.shards[shard::of(&place.primary)].read();
        shard.get(&place.primary)?.iter().rev().filter(|fill| fill.place.slot == place.slot).find_map(pick)
    }

    /// Whether one of the resource's fills is such.
    pub(super) fn any(&self, primary: &HashBinary, such: impl Fn(&Fill) -> bool) -> bool {
        if self.count() == 0 {
            return false;
        }
        let shard = self.shards[shard::of(primary)].read();
        shard.get(primary).is_some_and(|fills| fills.iter().any(|fill| such(fill)))
    }

    /// Purges so far of resources that share this one's lock.
    pub(super) fn purges(&self, primary: &HashBinary) -> u64 {
        self.purges[shard::of(primary)].load(Ordering::Acquire)
    }

    /// Counts one more. The resource's lock must be held.
    pub(super) fn note_purge(&self, primary: &HashBinary) {
        self.purges[shard::of(primary)].fetch_add(1, Ordering::Release);
    }

    /// The fill `serial` for `place`.
    pub(super) fn find(&self, place: &Place, serial: Serial) -> Option<Arc<Fill>> {
        self.latest(place, |fill| (fill.serial == serial).then(|| Arc::clone(fill)))
    }
}
