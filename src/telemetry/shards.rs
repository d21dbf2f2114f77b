//! Counters that threads do not share.
//!
//! Two cores that add to one counter hand its cache line to and fro, which costs each more than all else a hit is counted
//! by. So each thread adds to a copy of its own, and who reads adds the copies up.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More copies than this are not made, whatever the number of cores: they are memory.
const MOST: usize = 16;

static COUNT: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from).next_power_of_two().min(MOST));

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// As many copies of something as there are cores, each on cache lines of its own.
#[derive(Debug)]
pub(super) struct Sharded<T>(Box<[Padded<T>]>);

/// Two lines, since some processors fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Sharded<T> {
    /// Copies made by `make`.
    pub(super) fn new(make: impl Fn() -> T) -> Sharded<T> {
        Sharded((0..*COUNT).map(|_| Padded(make())).collect())
    }

    /// This thread's.
    pub(super) fn here(&self) -> &T {
        let place = PLACE.get().unwrap_or_else(|| {
            let place = NEXT.fetch_add(1, Ordering::Relaxed);
            PLACE.set(Some(place));
            place
        });
        // Their number is a power of two.
        &self.0[place & (self.0.len() - 1)].0
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Sharded<T> {
        Sharded::new(T::default)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn nothing_that_any_thread_adds_is_lost() {
        let counter: Arc<Sharded<AtomicU64>> = Arc::default();
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let counter = counter.clone();
                std::thread::spawn(move || {
                    for _ in 0..100 {
                        counter.here().fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(counter.all().map(|n| n.load(Ordering::Relaxed)).sum::<u64>(), 2000);
    }

    #[test]
    fn a_thread_keeps_its_copy() {
        let counter: Sharded<AtomicU64> = Sharded::default();
        assert!(std::ptr::eq(counter.here(), counter.here()));
    }
}
