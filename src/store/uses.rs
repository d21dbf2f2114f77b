//! How often keys were asked for recently, approximately and in bounded memory: what `min_uses` goes by.
//!
//! A count-min sketch with conservative update: each key has four counters in one table, shared with other keys, and the
//! least of them is its count. So a count is never too low (but for the ageing) and rarely too high. Each request also
//! halves a few counters, one after the other, so that the whole table has been halved once every [`AGE`] requests:
//! what is not asked for is forgotten, and no request pays for a sweep.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use pingora::cache::key::HashBinary;

/// Counters of one byte each. Sixteen to each request between two halvings: then fewer than one in a hundred keys that
/// were asked for once share all four counters with others.
const COUNTERS: usize = 1 << 22;
/// Counters halved with each request.
const HALVED: usize = 16;
/// Requests within which every counter is halved once.
#[cfg(test)]
const AGE: usize = COUNTERS / HALVED;

/// The counts. The table is made with the first request that is counted.
#[derive(Debug, Default)]
pub(super) struct Uses {
    table: OnceLock<Box<[AtomicU8]>>,
    /// The next counter to be halved.
    hand: AtomicUsize,
}

impl Uses {
    /// Counts a request for `key`. How often it was asked for recently, this time included; 255 means at least that.
    pub(super) fn note(&self, key: &HashBinary) -> u8 {
        let table = self.table.get_or_init(|| (0..COUNTERS).map(|_| AtomicU8::new(0)).collect());
        let hand = self.hand.fetch_add(HALVED, Ordering::Relaxed);
        for at in hand..hand + HALVED {
            let counter = &table[at % COUNTERS];
            counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
        }
        let count = least(table, key).saturating_add(1);
        for at in positions(key) {
            table[at].fetch_max(count, Ordering::Relaxed);
        }
        count
    }

    /// How often `key` was asked for recently.
    pub(super) fn of(&self, key: &HashBinary) -> u8 {
        self.table.get().map_or(0, |table| least(table, key))
    }
}

fn least(table: &[AtomicU8], key: &HashBinary) -> u8 {
    positions(key).map(|at| table[at].load(Ordering::Relaxed)).min().unwrap_or(0)
}

/// A key is a hash already: each quarter of it is a position.
fn positions(key: &HashBinary) -> impl Iterator<Item = usize> + '_ {
    let (quarters, _) = key.as_chunks::<4>();
    quarters.iter().map(|quarter| u32::from_le_bytes(*quarter) as usize % COUNTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key as a hash would give it.
    fn key(n: u64) -> HashBinary {
        let mut rng = fastrand::Rng::with_seed(n);
        std::array::from_fn(|_| rng.u8(..))
    }

    #[test]
    fn a_key_is_counted_by_itself() {
        let uses = Uses::default();
        assert_eq!(uses.of(&key(1)), 0);
        for n in 1..=3 {
            assert_eq!(uses.note(&key(1)), n);
        }
        assert_eq!(uses.note(&key(2)), 1);
        assert_eq!((uses.of(&key(1)), uses.of(&key(3))), (3, 0));
    }

    #[test]
    fn a_count_ends_at_its_width() {
        let uses = Uses::default();
        let last = (0..300).map(|_| uses.note(&key(1))).last();
        assert_eq!(last, Some(255));
    }

    #[test]
    fn what_is_not_asked_for_is_forgotten_and_a_scan_seldom_counts_twice() {
        let uses = Uses::default();
        for _ in 0..4 {
            uses.note(&key(0));
        }
        // Three times as long as it takes to halve every counter, with keys that are asked for once.
        let twice = (1..3 * AGE as u64).filter(|n| uses.note(&key(*n)) > 1).count();
        assert!(twice < 3 * AGE / 100, "{twice} of {} keys taken for known", 3 * AGE);
        assert!(uses.of(&key(0)) < 4);
    }
}
