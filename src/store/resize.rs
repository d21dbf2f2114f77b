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
    /// cannot change a capacity; nothing is lost when the store grows. When it shrinks, what is kept is chosen without
    /// regard to use, since moka does not tell. Lookups look in both places meanwhile. Walks over all entries: not for a
    /// runtime's thread.
    pub fn resize(&self, params: Params) {
        let _one_at_a_time = self.resizing.lock();
        let shares = Shares::of(params.memory, params.max_object);
        self.room.resize(shares.fills);
        self.max_object.store(shares.object, Ordering::Relaxed);
        let old = Arc::clone(&self.shelves.load().current);
        if old.capacity() == shares.entries {
            return;
        }
        let new = Shelf::new(shares.entries, Arc::clone(&self.families), Arc::clone(&self.counts.evicted));
        let new = Arc::new(new);
        {
            let _all = self.open.lock_all();
            old.settle();
            old.retire();
            let shelves = Shelves { current: Arc::clone(&new), previous: Some(Arc::clone(&old)) };
            self.shelves.store(Arc::new(shelves));
        }
        let mut moved = 0;
        for entry in old.entries() {
            let _lock = self.open.lock(&entry.place.primary);
            // Purged or replaced since the iterator came to it?
            let Some(entry) = old.get(&entry.place.slot) else { continue };
            moved += entry.weight();
            if moved <= shares.entries {
                new.insert(Arc::clone(&entry));
            } else {
                self.families.forget(&entry.place, entry.serial);
                self.counts.evicted.fetch_add(1, Ordering::Relaxed);
            }
            old.remove(&entry.place.slot);
        }
        self.shelves.store(Arc::new(Shelves { current: Arc::clone(&new), previous: None }));
        new.settle();
    }
}
