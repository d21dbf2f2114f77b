//! What happened of late, for the operator: a backend changed its state, requests were shed, a configuration was taken or refused.
//!
//! The log has it too, but a page that is opened in the midst of an incident must say how it began. The list is bounded, and what is noted
//! is rare by nature: a state is left once in seconds, and everything else is an episode, noted when it begins and when it ends.

use std::collections::VecDeque;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::words::words;

/// Events that are kept.
pub const KEPT: usize = 200;

words! {
    /// What an event is about.
    Topic {
        /// The state of a backend.
        Backend = "backend",
        /// How many requests a pool's backends may have, and who waits.
        Limit = "limit",
        /// Requests that got no place.
        Shed = "shed",
        /// The budgets of copies and retries.
        Budget = "budget",
        /// The configuration.
        Reload = "reload",
    }
}

words! {
    /// Which way an event points.
    Turn {
        /// Something got worse.
        Worse = "worse",
        /// Something got better.
        Better = "better",
        /// Neither.
        Neutral = "neutral",
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// What it is about.
    pub topic: Topic,
    /// Which way it points.
    pub turn: Turn,
    /// The pool, where it is about one.
    pub pool: Option<String>,
    /// The backend's address, where it is about one.
    pub backend: Option<String>,
    /// What happened: for a backend its new state.
    pub what: &'static str,
    /// Why, or how much: a word or a sentence. May be empty.
    pub why: String,
}

/// The last [`KEPT`] events.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Events since the start.
    count: u64,
    events: VecDeque<Event>,
}

impl Journal {
    /// Notes an event.
    pub fn note(&self, event: Event) {
        let mut kept = self.0.lock();
        kept.count += 1;
        kept.events.push_back(event);
        if kept.events.len() > KEPT {
            kept.events.pop_front();
        }
    }

    /// Up to `most` events with their numbers, counted from 1; the newest first.
    pub fn latest(&self, most: usize) -> Vec<(u64, Event)> {
        let kept = self.0.lock();
        let numbers = (1..=kept.count).rev();
        numbers.zip(kept.events.iter().rev().cloned()).take(most).collect()
    }

    /// What was last noted of a backend, and when.
    pub fn last_of(&self, pool: &str, backend: &str) -> Option<(&'static str, SystemTime)> {
        let kept = self.0.lock();
        let is_it = |event: &&Event| {
            event.topic == Topic::Backend
                && event.pool.as_deref() == Some(pool)
                && event.backend.as_deref() == Some(backend)
        };
        kept.events.iter().rev().find(is_it).map(|event| (event.what, event.time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(backend: &str, what: &'static str) -> Event {
        Event {
            time: SystemTime::UNIX_EPOCH,
            topic: Topic::Backend,
            turn: Turn::Worse,
            pool: Some("web".to_owned()),
            backend: Some(backend.to_owned()),
            what,
            why: String::new(),
        }
    }

    #[test]
    fn the_newest_come_first_and_keep_their_numbers() {
        let journal = Journal::default();
        assert!(journal.latest(5).is_empty());
        for what in ["ejected", "recovering", "healthy"] {
            journal.note(event("a:1", what));
        }
        let shown: Vec<_> = journal.latest(2).into_iter().map(|(number, event)| (number, event.what)).collect();
        assert_eq!(shown, [(3, "healthy"), (2, "recovering")]);
    }

    #[test]
    fn no_more_than_so_many_are_kept() {
        let journal = Journal::default();
        (0..KEPT + 7).for_each(|_| journal.note(event("a:1", "ejected")));
        let all = journal.latest(usize::MAX);
        assert_eq!((all.len(), all[0].0, all[KEPT - 1].0), (KEPT, KEPT as u64 + 7, 8));
    }

    #[test]
    fn a_backend_is_told_from_another() {
        let journal = Journal::default();
        journal.note(event("a:1", "ejected"));
        journal.note(event("b:1", "probation"));
        assert_eq!(journal.last_of("web", "a:1"), Some(("ejected", SystemTime::UNIX_EPOCH)));
        assert_eq!(journal.last_of("web", "c:1"), None);
        assert_eq!(journal.last_of("other", "a:1"), None);
    }
}
