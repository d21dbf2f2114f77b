//! The memory behind the cache: complete responses, parts of others, and those on their way in.
//!
//! pingora's own `MemCache` is a map without bound that ends an aborted fill like a complete one. This store keeps to
//! three promises instead.
//!
//! * *Bounded.* Bodies, heads, keys and a measured overhead are weighed. `memory` covers complete entries and what fills
//!   hold; see `room.rs` for the division. Beyond it go only what slow clients still read of entries evicted meanwhile,
//!   and what a fill that is not retained holds for its readers when there is no room left: about 2 MiB each, see
//!   `flow.rs`.
//! * *Everyone streams.* Whoever asks for a key that is being filled gets the bytes as they come.
//! * *Fails loudly.* A fill that ends early or with the wrong length is an error to every reader, and is not stored but, if
//!   the rest can be asked for, as a part.
//!
//! A response larger than `max_object` is streamed to those who have asked for it and not stored.
//!
//! A purge is noted (`rules.rs`) and applied to each response when it is next looked up, see `Store::get` and
//! `purge.rs`.

mod coming;
mod entry;
mod family;
mod fill;
mod flow;
mod form;
mod hashed;
mod head;
mod hit;
mod label;
mod meta;
mod miss;
mod moka;
mod open;
mod outcome;
mod parts;
mod purge;
mod ready;
mod refusals;
mod resize;
mod room;
mod rules;
mod seat;
mod shard;
mod shelf;
mod stats;
#[cfg(test)]
mod tests;
mod uses;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::HeaderName;
use parking_lot::Mutex;
use pingora::Result;
use pingora::cache::key::HashBinary;
use tokio::sync::Notify;

pub use coming::Coming;
use entry::{Place, Stored};
use family::Families;
use fill::Fill;
pub use form::ForAll;
pub use head::replace_fields;
pub use label::{Labelled, Named};
use meta::{Meta, Serial};
use open::Open;
use outcome::Broken;
pub use outcome::NotStored;
pub use parts::{Found, Partial};
pub use ready::{NotReady, Ready};
pub use refusals::{Refusal, Refusals};
use room::{Claim, Room, Shares};
pub use rules::Full;
use rules::{Rules, Verdict};
use shelf::{Shelf, Shelved};
use stats::Counts;
pub use stats::Stats;
use uses::Uses;
use wire::Hidden;
pub use wire::ORIGINAL_DATE;

use crate::config::Admission;

/// How large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// Bound in bytes for bodies, heads and keys, of entries and of what fills retain.
    pub memory: u64,
    /// Largest body stored, in bytes. No more than two fifths of `memory` and just below 4 GiB have effect.
    pub max_object: u64,
    /// What gets on a full shelf.
    pub admission: Admission,
}

/// Where entries are.
#[derive(Debug)]
struct Shelves {
    current: Arc<Shelf>,
    /// While entries are moved after a change of size: where they were.
    previous: Option<Arc<Shelf>>,
}

/// The store of one edge.
#[derive(Debug)]
pub struct Store {
    shelves: ArcSwap<Shelves>,
    open: Open,
    families: Arc<Families>,
    room: Arc<Room>,
    max_object: AtomicU64,
    next: AtomicU64,
    counts: Counts,
    rules: Rules,
    /// Told to the sweep: there are new purges.
    unswept: Notify,
    /// One of them may free much memory.
    wide: AtomicBool,
    /// The fields of stored heads that clients do not see.
    hidden: ArcSwap<Vec<HeaderName>>,
    uses: Uses,
    /// Held while the size changes, and while a sweep goes through what is stored.
    resizing: Mutex<()>,
}

impl Store {
    /// An empty store that lives as long as the process.
    ///
    /// It is leaked because pingora's `Storage` takes `&'static self`: readers and writers of a body outlive the
    /// request that looked it up. There is one per edge, and a reload changes it in place with [`Store::resize`].
    pub fn new(params: Params) -> &'static Store {
        let shares = Shares::of(params.memory, params.max_object, params.admission);
        let families = Arc::new(Families::default());
        let counts = Counts::default();
        let current = Arc::new(Shelf::new(shares, Arc::clone(&families), Arc::clone(&counts.evicted)));
        let room = Arc::new(Room::default());
        room.resize(shares.fills);
        Box::leak(Box::new(Store {
            shelves: ArcSwap::from_pointee(Shelves { current, previous: None }),
            open: Open::default(),
            families,
            room,
            max_object: AtomicU64::new(shares.object),
            next: AtomicU64::new(1),
            counts,
            rules: Rules::default(),
            unswept: Notify::new(),
            wide: AtomicBool::new(false),
            hidden: ArcSwap::default(),
            uses: Uses::default(),
            resizing: Mutex::new(()),
        }))
    }

    /// The largest body stored, in bytes.
    pub fn max_object(&self) -> u64 {
        self.max_object.load(Ordering::Relaxed)
    }

    /// How many variants of a resource are stored, by the hash of its key without variance. Does not scan; fills in
    /// progress are not counted.
    pub fn variants(&self, primary: HashBinary) -> usize {
        let shelves = self.shelves.load();
        let first =
            shelves.current.contains(&primary) || shelves.previous.as_ref().is_some_and(|p| p.contains(&primary));
        usize::from(first) + self.families.count(&primary)
    }

    /// Removes a resource with all its variants, by the hash of its key without variance. Fills in progress go on for
    /// those who read them and are not stored. The number of entries and fills concerned.
    pub fn invalidate(&self, primary: HashBinary) -> usize {
        self.remove(&Place { primary, slot: primary })
    }

    /// From now on stored heads are made ready to be sent without these fields.
    pub fn hide(&self, fields: &[HeaderName]) {
        if self.hidden.load().as_slice() != fields {
            self.hidden.store(Arc::new(fields.to_vec()));
        }
    }

    fn hidden(&self) -> Hidden {
        self.hidden.load_full()
    }

    /// Counts a client's request for a resource, by the hash of its key without variance. How often it was asked for
    /// recently, this time included: approximate, rarely too high; 255 means at least that.
    pub fn note_use(&self, primary: &HashBinary) -> u8 {
        self.uses.note(primary)
    }

    /// How often a resource was asked for recently, as far as [`Store::note_use`] was told.
    pub fn uses(&self, primary: &HashBinary) -> u8 {
        self.uses.of(primary)
    }

    /// The entry in `slot`, unless it is purged: then it is removed. No resource's lock may be held.
    fn get(&self, slot: &HashBinary) -> Option<Arc<Stored>> {
        let entry = self.raw(slot)?;
        if self.rules.judge(&entry.standing) == Verdict::Gone {
            self.discard(&entry);
            return None;
        }
        Some(entry)
    }

    /// The same for who holds the resource's lock: what is purged stays for the sweep.
    fn valid(&self, slot: &HashBinary) -> Option<Arc<Stored>> {
        self.raw(slot).filter(|entry| self.rules.judge(&entry.standing) != Verdict::Gone)
    }

    /// The entry in `slot`, purged or not.
    fn raw(&self, slot: &HashBinary) -> Option<Arc<Stored>> {
        let shelves = self.shelves.load();
        let found = shelves.current.get(slot);
        let Some(previous) = &shelves.previous else { return found };
        // A move inserts before it removes: what is in neither now has come to the current one in between.
        found.or_else(|| previous.get(slot)).or_else(|| shelves.current.get(slot))
    }

    fn next_serial(&self) -> Serial {
        Serial(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A fill for `place`, listed for others to find.
    fn begin(&self, place: Place, meta: Meta) -> Arc<Fill> {
        let serial = self.next_serial();
        let limit = self.max_object.load(Ordering::Relaxed);
        let fill =
            Arc::new(Fill::new(place, serial, meta, self.rules.newest(), limit, Claim::new(Arc::clone(&self.room))));
        self.open.add(Arc::clone(&fill));
        fill
    }

    /// The fill has come to its end: stores it, if it is to be stored, then lets its readers end.
    ///
    /// # Errors
    /// If its length belies its head. Then nothing has changed and [`Store::abandon`] is to follow.
    fn close(&self, fill: &Fill) -> Result<()> {
        if fill.is_belied() {
            fill.pass(NotStored::LengthMismatch);
            return Err(Broken::LengthMismatch.error());
        }
        let mut shard = self.open.lock(&fill.place.primary);
        self.may_retain(fill);
        match fill.body() {
            Ok(body) => {
                let mut meta = fill.meta.clone();
                meta.settle(body.len())?;
                let standing = fill.standing.clone();
                if self.put(Stored::new(fill.place, fill.serial, meta, body, standing, self.hidden()))
                    == Shelved::Refused
                {
                    self.counts.refused.fetch_add(1, Ordering::Relaxed);
                }
                self.counts.stored.fetch_add(1, Ordering::Relaxed);
            }
            Err(reason) => self.counts.count_not_stored(reason),
        }
        self.open.remove(&mut shard, fill);
        drop(shard);
        self.counts.cut.fetch_add(fill.end(true), Ordering::Relaxed);
        Ok(())
    }

    /// The fill will not come to its end. What has come is kept as a part if the rest can be asked for.
    fn abandon(&self, fill: &Fill) {
        let mut shard = self.open.lock(&fill.place.primary);
        self.open.remove(&mut shard, fill);
        let reason = match fill.body() {
            Ok(body) => {
                self.salvage(fill, &body);
                NotStored::Aborted
            }
            Err(reason) => reason,
        };
        drop(shard);
        self.counts.count_not_stored(reason);
        self.counts.cut.fetch_add(fill.end(false), Ordering::Relaxed);
    }

    /// Stores `entry`. The resource's lock must be held.
    fn put(&self, entry: Stored) -> Shelved {
        if !entry.place.is_secondary() {
            // pingora no longer takes variants from before the lineage of the primary slot; without this they would
            // count as variants until they are evicted. Of parts, those of the same variant have become useless.
            for slot in self.families.slots(&entry.place.primary) {
                let is_out = |sibling: Arc<Stored>| {
                    let is_meant = sibling.parts.is_none() || sibling.meta.variance() == entry.meta.variance();
                    is_meant && sibling.meta.provenance() < entry.meta.provenance()
                };
                if self.raw(&slot).is_some_and(is_out) {
                    self.take(&slot);
                }
            }
        }
        self.families.note(&entry);
        let slot = entry.place.slot;
        let shelves = self.shelves.load();
        let shelved = shelves.current.insert(Arc::new(entry));
        if let Some(previous) = &shelves.previous {
            previous.remove(&slot);
        }
        shelved
    }

    /// Removes what is in `slot`. The resource's lock must be held.
    fn take(&self, slot: &HashBinary) -> bool {
        let shelves = self.shelves.load();
        let previous = shelves.previous.as_ref().and_then(|previous| previous.remove(slot));
        let gone = [previous, shelves.current.remove(slot)];
        for entry in gone.iter().flatten() {
            self.families.forget(&entry.place, entry.serial);
        }
        gone.iter().any(Option::is_some)
    }

    /// The slots meant by `place`: the whole family for a resource, one for a variant.
    fn slots(&self, place: &Place) -> Vec<HashBinary> {
        let mut slots = if place.is_secondary() { Vec::new() } else { self.families.slots(&place.primary) };
        slots.push(place.slot);
        slots
    }

    /// Removes what is stored at `place`, and sees to it that what is coming in is not stored.
    fn remove(&self, place: &Place) -> usize {
        let shard = self.open.lock(&place.primary);
        self.open.note_purge(&place.primary);
        let fills = shard.get(&place.primary).map_or(&[][..], |fills| fills);
        let meant = fills.iter().filter(|fill| !place.is_secondary() || fill.place.slot == place.slot);
        let filling = meant.inspect(|fill| fill.pass(NotStored::Purged)).count();
        let gone = self.slots(place).iter().filter(|slot| self.take(slot)).count();
        self.counts.purged.fetch_add(gone as u64, Ordering::Relaxed);
        filling + gone
    }

    /// Makes what is stored at `place` stale.
    fn outdate(&self, place: &Place, now: SystemTime) -> usize {
        let _lock = self.open.lock(&place.primary);
        let entries = self.slots(place).into_iter().filter_map(|slot| self.valid(&slot));
        entries.inspect(|entry| entry.standing.expire(now)).count()
    }

    /// Puts `meta` over the body it was looked up with, if that is still there.
    fn replace_meta(&self, place: &Place, mut meta: Meta) -> Result<bool> {
        let _lock = self.open.lock(&place.primary);
        match self.valid(&place.slot) {
            Some(entry) if meta.serial() == Some(entry.serial) => {
                meta.settle(entry.body.len())?;
                self.put(entry.with_meta(meta, self.hidden()));
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
