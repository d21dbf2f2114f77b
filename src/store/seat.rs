//! Whether an entry has its place on a shelf.
//!
//! moka tells of a newcomer that it refuses and of an entry that it evicts in the same way, and tells late. Only the
//! second leaves the store, and must be counted and forgotten exactly once.

use std::sync::atomic::{AtomicU8, Ordering};

const OUT: u8 = 0;
const OFFERED: u8 = 1;
const SEATED: u8 = 2;

/// One entry's state. All changes are atomic.
#[derive(Debug, Default)]
pub(super) struct Seat(AtomicU8);

impl Seat {
    /// It is given to moka, which may refuse it.
    pub(super) fn offer(&self) {
        self.0.store(OFFERED, Ordering::Release);
    }

    /// It was found admitted. False if it was put out in the meantime.
    pub(super) fn take(&self) -> bool {
        self.0.compare_exchange(OFFERED, SEATED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// It is put where nothing is refused.
    pub(super) fn sit(&self) {
        self.0.store(SEATED, Ordering::Release);
    }

    /// moka puts it out. Whether it had a place, and so leaves the store.
    pub(super) fn leave(&self) -> bool {
        self.0.swap(OUT, Ordering::AcqRel) == SEATED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_had_a_place_leaves() {
        let seat = Seat::default();
        seat.offer();
        assert!(!seat.leave(), "refused");
        assert!(!seat.take(), "too late");
        seat.sit();
        assert!(seat.leave());
        assert!(!seat.leave(), "once");
        seat.offer();
        assert!(seat.take());
        assert!(seat.leave());
    }
}
