//! How much of the memory fills may take, all together.
//!
//! An entry is weighed when it is stored, but its bytes take memory from the moment they come in. Were each fill
//! bounded only by `max_object`, the bound for all would be that times the number of misses in progress, which any
//! client can raise. So `[cache] memory` is divided: entries have the larger part, fills share the rest, and a fill
//! that finds it used up goes on without being retained.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Admission;

/// How `memory` is divided, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shares {
    /// For complete entries.
    pub(super) entries: u64,
    /// For what fills retain.
    pub(super) fills: u64,
    /// For the body of one object: the configured `max_object` if it fits.
    pub(super) object: u64,
    /// Of `entries`, for those that the main shelf refuses; see `shelf.rs`.
    pub(super) side: u64,
}

/// The fills' part of the memory: an eighth lets a 1 GiB cache take in two objects of the default largest size at
/// once, or 16 000 pages of 8 KiB, and costs little of what can be kept.
const FILLS: u64 = 8;
/// The side shelf's part of the entries. It keeps one-hit wonders and large objects for a while. In the bench half of it
/// or twice as much changes the hit ratio by less than half a point.
const SIDE: u64 = 8;
/// What an entry of the largest object may weigh beside its body, in bytes: its head and records.
const HEAD: u64 = 8 << 10;
/// An object's weight must fit 32 bits, the width of a weight in moka; its head and records need some of that.
const LARGEST: u64 = u32::MAX as u64 - (16 << 20);

impl Shares {
    /// The division of `memory` bytes where objects may have `max_object` bytes.
    ///
    /// At least one object of that size must be able to come in, but not at the cost of more than two fifths of the
    /// memory: while the next one comes in, the last must have its place in the rest, with what an allocator adds.
    pub(super) fn of(memory: u64, max_object: u64, admission: Admission) -> Shares {
        let fills = (memory / FILLS).max(max_object.min(memory / 5 * 2));
        let (entries, object) = (memory - fills, max_object.min(fills).min(LARGEST));
        let side = match admission {
            // An allocation takes up to a quarter more than was asked for.
            Admission::TinyLfu => (entries / SIDE).max(object + object / 4 + HEAD).min(entries),
            Admission::Lru => entries,
        };
        Shares { entries, fills, object, side }
    }

    /// Of `entries`, for those that TinyLFU chooses.
    pub(super) fn main(&self) -> u64 {
        self.entries - self.side
    }
}

/// What fills have claimed.
#[derive(Debug, Default)]
pub(super) struct Room {
    size: AtomicU64,
    used: AtomicU64,
}

impl Room {
    /// Changes how many bytes there are to share. Claims are not reduced.
    pub(super) fn resize(&self, size: u64) {
        self.size.store(size, Ordering::Relaxed);
    }

    /// Bytes claimed.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// One fill's claim. Given back on drop.
#[derive(Debug)]
pub(super) struct Claim {
    room: Arc<Room>,
    bytes: u64,
}

impl Claim {
    /// A claim to nothing yet.
    pub(super) fn new(room: Arc<Room>) -> Claim {
        Claim { room, bytes: 0 }
    }

    /// Adds `more` bytes in any case; whether all claims together are still within the room.
    pub(super) fn grow(&mut self, more: u64) -> bool {
        self.bytes += more;
        let used = self.room.used.fetch_add(more, Ordering::Relaxed) + more;
        used <= self.room.size.load(Ordering::Relaxed)
    }

    /// Reduces the claim to `bytes`; never raises it.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.room.used.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_is_for_fills_unless_one_object_needs_more() {
        let of = |memory, max_object| {
            let Shares { entries, fills, object, .. } = Shares::of(memory, max_object, Admission::TinyLfu);
            (entries, fills, object)
        };
        assert_eq!(of(1 << 30, 64 << 20), (7 << 27, 1 << 27, 64 << 20));
        assert_eq!(of(100, 40), (60, 40, 40));
        assert_eq!(of(100, 90), (60, 40, 40));
        assert_eq!(of(0, 90), (0, 0, 0));
        assert!(of(u64::MAX, u64::MAX).2 < u64::from(u32::MAX));
    }

    #[test]
    fn the_side_shelf_has_an_eighth_but_always_holds_the_largest_object() {
        let side = |memory, max_object| {
            let shares = Shares::of(memory, max_object, Admission::TinyLfu);
            assert_eq!(shares.main() + shares.side, shares.entries);
            (shares.main(), shares.side)
        };
        assert_eq!(side(1 << 30, 64 << 20), (49 << 24, 7 << 24));
        assert_eq!(side(1 << 30, 128 << 20).1, (160 << 20) + HEAD);
        // So small that all of it is the side shelf.
        assert_eq!(side(64 << 10, 32 << 10), (0, 39_322));
        let lru = Shares::of(1 << 30, 64 << 20, Admission::Lru);
        assert_eq!((lru.main(), lru.side), (0, lru.entries));
    }

    #[test]
    fn a_claim_counts_until_it_is_dropped() {
        let room = Arc::new(Room::default());
        room.resize(10);
        let mut one = Claim::new(Arc::clone(&room));
        let mut two = Claim::new(Arc::clone(&room));
        assert!(one.grow(6));
        assert!(two.grow(4));
        assert!(!two.grow(1));
        two.shrink_to(2);
        assert_eq!(room.used(), 8);
        two.shrink_to(5);
        drop(one);
        assert_eq!(room.used(), 2);
        drop(two);
        assert_eq!(room.used(), 0);
    }
}
