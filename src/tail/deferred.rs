//! Late requests that were denied a copy: a denied hedge is not lost, it waits in order of age.
//!
//! Denied for good, a stalled request lasts its whole stall, though a token comes a few milliseconds later; that is
//! the difference between a p99.9 of a second and one of 45 ms (docs/tail.md). Since the price falls with age
//! (`copies.rs`), the oldest is the one with most right to the next token: whoever brings one wakes it.

use std::collections::BTreeMap;

use crate::units::Tick;

/// Requests that wait for a token, the oldest first. `T` is how one is woken.
#[derive(Debug)]
pub struct Deferred<T> {
    waiting: BTreeMap<(Tick, u64), T>,
    next: u64,
}

/// A place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Tick, u64);

impl<T> Deferred<T> {
    /// Nobody waits.
    pub const fn new() -> Deferred<T> {
        Deferred { waiting: BTreeMap::new(), next: 0 }
    }

    /// Takes a place for a request that began at `begun`.
    pub fn enter(&mut self, begun: Tick, wake: T) -> Place {
        self.next += 1;
        self.waiting.insert((begun, self.next), wake);
        Place(begun, self.next)
    }

    /// Gives the place up.
    pub fn leave(&mut self, place: Place) {
        self.waiting.remove(&(place.0, place.1));
    }

    /// How to wake the one that has waited longest. It keeps its place.
    pub fn oldest(&self) -> Option<&T> {
        self.waiting.first_key_value().map(|(_, wake)| wake)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl<T> Default for Deferred<T> {
    fn default() -> Deferred<T> {
        Deferred::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn the_oldest_is_first_whenever_it_came() {
        let mut deferred = Deferred::new();
        let b = deferred.enter(at(20), 'b');
        let a = deferred.enter(at(10), 'a');
        deferred.enter(at(10), 'c');
        assert_eq!((deferred.oldest(), deferred.len()), (Some(&'a'), 3));
        deferred.leave(a);
        assert_eq!(deferred.oldest(), Some(&'c'));
        deferred.leave(a);
        deferred.leave(b);
        assert_eq!((deferred.oldest(), deferred.is_empty()), (Some(&'c'), false));
    }
}
