//! The requests in flight at one backend: how many, and since when the oldest has been waiting.
//!
//! Averages learn from answers, and a backend that hangs gives none: to an average it looks as good as its last
//! answer. The age of the oldest request that still waits is known without any answer. A request stops ageing at
//! the first byte of its response ([`InFlight::answered`]), since a long download is no sign of a slow backend, and
//! counts until it ends.
//!
//! A late request whose copy was answered elsewhere is cancelled, and with it the only sign of a backend that hangs. So
//! it goes on ageing for [`REMEMBERED`] times as long as it was waited for, or until the backend answers anything.
//! (Else a backend that pauses for 300 ms is sent one request after the other, each cancelled after 30.)
//!
//! A queue or map of starts would need a lock. Here each waiting request owns one word of a small slab; what finds the slab
//! full is counted without an age, which loses nothing as long as the slab holds some that are older.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::units::Tick;

/// How much longer a cancelled late request ages, in times of what it was waited for.
pub const REMEMBERED: u32 = 8;

/// Requests whose age is known at one time.
const SLOTS: usize = 64;

/// The word of a slot that nobody owns. A request begun at tick zero is held as begun one nanosecond later.
const FREE: u64 = 0;

/// Requests in flight at one backend, shared between threads without a lock.
#[derive(Debug)]
pub struct InFlight {
    count: AtomicU32,
    starts: [AtomicU64; SLOTS],
    /// The start of a late request that was cancelled, or `FREE`; and until when it ages.
    abandoned: AtomicU64,
    until: AtomicU64,
}

/// One request in flight. It cannot be copied, so it ends once; dropped without [`InFlight::end`] it would count
/// forever, so hold it in a guard that ends it on drop.
#[derive(Debug)]
#[must_use = "a token that is dropped counts forever; give it back with `end`"]
pub struct Token {
    slot: Option<usize>,
}

impl InFlight {
    /// Nothing in flight.
    pub const fn new() -> InFlight {
        InFlight {
            count: AtomicU32::new(0),
            starts: [const { AtomicU64::new(FREE) }; SLOTS],
            abandoned: AtomicU64::new(FREE),
            until: AtomicU64::new(0),
        }
    }

    /// A request was sent at `now`.
    pub fn begin(&self, now: Tick) -> Token {
        self.count.fetch_add(1, Ordering::Relaxed);
        let start = now.as_nanos().max(FREE + 1);
        // First fit keeps the slots in use together, at the front, where `oldest` finds them soon.
        let slot = self.starts.iter().position(|slot| {
            slot.load(Ordering::Relaxed) == FREE
                && slot.compare_exchange(FREE, start, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        Token { slot }
    }

    /// The first byte of the response came: the request no longer ages, and still counts. Later calls do nothing.
    pub fn answered(&self, token: &mut Token) {
        self.release(token);
        if self.abandoned.load(Ordering::Relaxed) != FREE {
            self.abandoned.store(FREE, Ordering::Relaxed);
        }
    }

    /// The request is late and will be ended without an answer: it goes on ageing for a while. Of several the first
    /// counts.
    pub fn abandon(&self, token: &mut Token, now: Tick) {
        let Some(slot) = token.slot.and_then(|slot| self.starts.get(slot)) else { return };
        let start = slot.load(Ordering::Relaxed);
        let forgotten =
            self.abandoned.load(Ordering::Relaxed) == FREE || self.until.load(Ordering::Relaxed) <= now.as_nanos();
        if forgotten {
            let waited = now.since(Tick::from_nanos(start));
            self.until.store((now + waited.saturating_mul(REMEMBERED)).as_nanos(), Ordering::Relaxed);
            self.abandoned.store(start, Ordering::Relaxed);
        }
    }

    fn release(&self, token: &mut Token) {
        if let Some(slot) = token.slot.take().and_then(|slot| self.starts.get(slot)) {
            slot.store(FREE, Ordering::Relaxed);
        }
    }

    /// The request ended, however it did. The token must be one of this backend's.
    pub fn end(&self, mut token: Token) {
        self.release(&mut token);
        // A token of another backend must not wrap the count; `Err` says it was zero already.
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
    }

    /// Requests in flight, waiting or answered.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// When the oldest request was sent that still waits for its first byte, or was not waited for, as seen at `now`;
    /// `None` when there is none.
    pub fn oldest(&self, now: Tick) -> Option<Tick> {
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        let remembered = abandoned != FREE && now.as_nanos() < self.until.load(Ordering::Relaxed);
        let waiting = self.oldest_waiting();
        if !remembered {
            return waiting;
        }
        let abandoned = Tick::from_nanos(abandoned);
        Some(waiting.map_or(abandoned, |waiting| waiting.min(abandoned)))
    }

    fn oldest_waiting(&self) -> Option<Tick> {
        // No more slots than requests are in use, and an idle backend costs no scan at all.
        let count = self.count() as usize;
        self.starts
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|&start| start != FREE)
            .take(count)
            .min()
            .map(Tick::from_nanos)
    }
}

impl Default for InFlight {
    fn default() -> InFlight {
        InFlight::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn at(nanos: u64) -> Tick {
        Tick::from_nanos(nanos)
    }

    #[test]
    fn the_oldest_is_the_one_begun_first_whatever_the_order_of_ends() {
        let flight = InFlight::new();
        let (a, b, c) = (flight.begin(at(10)), flight.begin(at(20)), flight.begin(at(30)));
        assert_eq!((flight.count(), flight.oldest(at(1_000))), (3, Some(at(10))));
        flight.end(a);
        assert_eq!(flight.oldest(at(1_000)), Some(at(20)));
        let d = flight.begin(at(40));
        flight.end(b);
        assert_eq!(flight.oldest(at(1_000)), Some(at(30)));
        flight.end(c);
        flight.end(d);
        assert_eq!((flight.count(), flight.oldest(at(1_000))), (0, None));
    }

    #[test]
    fn an_answered_request_counts_and_no_longer_ages() {
        let flight = InFlight::new();
        let mut download = flight.begin(at(10));
        let waiting = flight.begin(at(20));
        flight.answered(&mut download);
        flight.answered(&mut download);
        assert_eq!((flight.count(), flight.oldest(at(1_000))), (2, Some(at(20))));
        flight.end(waiting);
        assert_eq!((flight.count(), flight.oldest(at(1_000))), (1, None));
        flight.end(download);
        assert_eq!(flight.count(), 0);
    }

    #[test]
    fn more_requests_than_slots_are_counted() {
        let flight = InFlight::new();
        let tokens: Vec<Token> = (0..200).map(|i| flight.begin(at(i))).collect();
        assert_eq!((flight.count(), flight.oldest(at(1_000))), (200, Some(at(1))));
        tokens.into_iter().for_each(|token| flight.end(token));
        assert_eq!((flight.count(), flight.oldest(at(1_000))), (0, None));
    }

    #[test]
    fn a_foreign_token_does_not_wrap_the_count() {
        let (mine, other) = (InFlight::new(), InFlight::new());
        other.end(mine.begin(at(1)));
        assert_eq!((mine.count(), other.count()), (1, 0));
    }

    #[test]
    fn threads_leave_nothing_behind() {
        let flight = InFlight::new();
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (flight, start) = (&flight, &start);
                scope.spawn(move || {
                    start.wait();
                    for round in 0..500 {
                        let mut tokens: Vec<Token> = (0..40).map(|i| flight.begin(at(thread + i))).collect();
                        tokens.iter_mut().step_by(2).for_each(|token| flight.answered(token));
                        if round % 2 == 0 {
                            tokens.reverse();
                        }
                        tokens.into_iter().for_each(|token| flight.end(token));
                    }
                });
            }
        });
        assert_eq!((flight.count(), flight.oldest(at(1_000))), (0, None));
        assert!(flight.starts.iter().all(|slot| slot.load(Ordering::Relaxed) == FREE));
    }

    #[test]
    fn an_abandoned_request_ages_eight_times_as_long_or_until_an_answer() {
        let flight = InFlight::new();
        let mut late = flight.begin(at(100));
        flight.abandon(&mut late, at(130));
        flight.end(late);
        assert_eq!((flight.count(), flight.oldest(at(369)), flight.oldest(at(370))), (0, Some(at(100)), None));
        let mut again = flight.begin(at(400));
        let mut other = flight.begin(at(410));
        flight.abandon(&mut again, at(430));
        flight.end(again);
        assert_eq!(flight.oldest(at(440)), Some(at(400)));
        flight.answered(&mut other);
        flight.end(other);
        assert_eq!(flight.oldest(at(441)), None);
    }
}
