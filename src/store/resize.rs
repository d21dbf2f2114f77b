//! Another size while running.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::room::Shares;
use super::shelf::Shelf;
use super::{Params, Shelves, Store};

impl Store {
    /// Takes on a new size.
    ///
    /// A new `max_object` holds for fills that begin from now on. For a new `memory` entries are moved, because moka
    /// cannot change a capacity; nothing is lost when the store grows. When it shrinks, what was on the main shelf goes
    /// first, but without further regard to use, since moka does not tell. Lookups look in both places meanwhile. Walks
    /// over all entries: not for a runtime's thread.
    pub fn resize(&self, params: Params) {
        let _one_at_a_time = self.resizing.lock();
        let shares = Shares::of(params.memory, params.max_object, params.admission);
        self.room.resize(shares.fills);
        self.max_object.store(shares.object, Ordering::Relaxed);
        let old = Arc::clone(&self.shelves.load().current);
        if (old.shares().main(), old.shares().side) == (shares.main(), shares.side) {
            return;
        }
        let new = Arc::new(Shelf::new(shares, Arc::clone(&self.families), Arc::clone(&self.counts.evicted)));
        {
            let _all = self.open.lock_all();
            old.settle();
            old.retire();
            let shelves = Shelves { current: Arc::clone(&new), previous: Some(Arc::clone(&old)) };
            self.shelves.store(Arc::new(shelves));
        }
        for entry in old.entries() {
            let _lock = self.open.lock(&entry.place.primary);
            // Purged or replaced since the iterator came to it?
            let Some(entry) = old.get(&entry.place.slot) else { continue };
            new.insert(Arc::clone(&entry));
            old.remove(&entry.place.slot);
        }
        self.shelves.store(Arc::new(Shelves { current: Arc::clone(&new), previous: None }));
    }
}
