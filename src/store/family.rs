//! Which variants of a resource are stored.
//!
//! pingora keeps the first variant under the resource's own key and every further one under a key hashed from the
//! resource's and the variant's, so from the outside they are unrelated entries. Counting or purging them would need a
//! scan of the store. This index holds the further ones only: most resources have none and cost nothing here.

use std::collections::HashMap;

use parking_lot::Mutex;
use pingora::cache::key::HashBinary;

use super::entry::{Place, Stored};
use super::hashed::AsIs;
use super::meta::Serial;
use super::shard;

/// Secondary slots by resource.
#[derive(Debug)]
pub(super) struct Families {
    shards: Vec<Mutex<Shard>>,
}

type Shard = HashMap<HashBinary, Vec<Member>, AsIs>;

#[derive(Clone, Copy, Debug)]
struct Member {
    slot: HashBinary,
    serial: Serial,
    /// Whether the slot has parts, which are no variant of what is complete.
    parts: bool,
}

impl Default for Families {
    fn default() -> Self {
        Families { shards: (0..shard::COUNT).map(|_| Mutex::default()).collect() }
    }
}

impl Families {
    /// Notes an entry that is about to be stored.
    pub(super) fn note(&self, entry: &Stored) {
        if !entry.place.is_secondary() {
            return;
        }
        let member = Member { slot: entry.place.slot, serial: entry.serial, parts: entry.parts.is_some() };
        let mut shard = self.shard(&entry.place.primary).lock();
        let members = shard.entry(entry.place.primary).or_default();
        match members.iter_mut().find(|m| m.slot == member.slot) {
            Some(known) => *known = member,
            None => members.push(member),
        }
    }

    /// Forgets an entry that has left the store. One that has since been replaced by another in its slot stays noted:
    /// word of an eviction comes late.
    pub(super) fn forget(&self, place: &Place, serial: Serial) {
        if !place.is_secondary() {
            return;
        }
        let mut shard = self.shard(&place.primary).lock();
        if let Some(members) = shard.get_mut(&place.primary) {
            members.retain(|m| m.slot != place.slot || m.serial != serial);
            if members.is_empty() {
                shard.remove(&place.primary);
            }
        }
    }

    /// The slots noted for the resource.
    pub(super) fn slots(&self, primary: &HashBinary) -> Vec<HashBinary> {
        let shard = self.shard(primary).lock();
        shard.get(primary).map_or_else(Vec::new, |members| members.iter().map(|m| m.slot).collect())
    }

    /// How many slots with a complete entry are noted for the resource.
    pub(super) fn count(&self, primary: &HashBinary) -> usize {
        self.shard(primary).lock().get(primary).map_or(0, |members| members.iter().filter(|m| !m.parts).count())
    }

    /// How many slots with parts are noted for the resource.
    pub(super) fn parts(&self, primary: &HashBinary) -> usize {
        self.shard(primary).lock().get(primary).map_or(0, |members| members.iter().filter(|m| m.parts).count())
    }

    fn shard(&self, primary: &HashBinary) -> &Mutex<Shard> {
        &self.shards[shard::of(primary)]
    }
}
