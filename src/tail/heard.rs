//! Whether a backend's peers have been heard since it began to do badly.
//!
//! Where all do badly from one moment on, one of them is found out first, and by then its peers' shares speak of before.
//! So a backend is judged against them only once they have done well [`LEAST`] times *since its own bad run began*: where
//! the fault is its own that is a matter of milliseconds, and where it is everybody's it never comes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Good answers of others that make a bad run one's own: as many as the late ones that put a backend on probation.
const LEAST: u64 = 4;

/// No bad run.
const NONE: u64 = u64::MAX;

/// One backend's bad run, shared between threads without a lock.
#[derive(Debug)]
pub struct Heard(AtomicU64);

impl Heard {
    /// No bad run.
    pub const fn new() -> Heard {
        Heard(AtomicU64::new(NONE))
    }

    /// It did badly, when the pool's good answers so far were `good`. Of a run the first counts.
    pub fn bad(&self, good: u64) {
        let _ = self.0.compare_exchange(NONE, good, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The run is over.
    pub fn over(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }

    /// Whether its peers have done well often enough since, when the pool's good answers are `good`.
    pub fn is_enough(&self, good: u64) -> bool {
        let begun = self.0.load(Ordering::Relaxed);
        begun != NONE && good.saturating_sub(begun) >= LEAST
    }
}

impl Default for Heard {
    fn default() -> Heard {
        Heard::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_did_since_the_run_began_counts() {
        let heard = Heard::new();
        assert!(!heard.is_enough(1_000), "no run");
        heard.bad(1_000);
        heard.bad(1_003);
        assert_eq!((heard.is_enough(1_003), heard.is_enough(1_004)), (false, true));
        heard.over();
        heard.bad(1_004);
        assert!(!heard.is_enough(1_007));
    }
}
