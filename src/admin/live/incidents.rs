//! The troubles of backends, each as one story: since when, what was done about it, what it cost.
//!
//! The counters say what a pool does in all; a story takes what they said a moment before it began, since the copies that
//! found a slow backend out were sent before it was found out.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::story::Story;
use super::trouble::Trouble;
use crate::telemetry::PoolCounts;
use crate::units::Tick;

/// Stories that have ended and are kept.
const KEPT: usize = 20;
/// Seconds in a row in which a backend is slow or throttled before that is a story.
const PATIENCE: u32 = 3;
/// Seconds in a row without trouble that end a story.
const CALM: u32 = 5;

/// What is seen of a backend in one second.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) trouble: Option<Trouble>,
    /// Why it is in its state.
    pub(super) reason: Option<&'static str>,
    /// Since when it has been in its state, if that was noted.
    pub(super) since: Option<SystemTime>,
    /// Of its pool's attempts of late, 0 to 1.
    pub(super) share: Option<f64>,
    /// Milliseconds, had each answer been waited for.
    pub(super) p99: Option<f64>,
    /// The same of its peers.
    pub(super) peers_p99: Option<f64>,
    /// The p99 in milliseconds of the pool's busiest route as its clients waited.
    pub(super) clients_p99: Option<f64>,
    /// The same without hedging.
    pub(super) unhedged_p99: Option<f64>,
    /// What the pool has counted now.
    pub(super) counts: PoolCounts,
    /// What it had counted some seconds ago.
    pub(super) before: PoolCounts,
}

/// All stories.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    watched: BTreeMap<(String, String), Watched>,
    ended: VecDeque<Story>,
    count: u64,
}

#[derive(Debug, Default)]
struct Watched {
    /// Seconds in a row with trouble, or without.
    troubled: u32,
    calm: u32,
    /// Its share when it last had no trouble.
    usual_share: Option<f64>,
    story: Option<Story>,
}

impl Incidents {
    /// Takes in one second of every backend; who is not in it any more has no story any more.
    pub(super) fn observe(&mut self, seen: BTreeMap<(String, String), Seen>, time: SystemTime, now: Tick) {
        let gone: Vec<_> = self.watched.keys().filter(|key| !seen.contains_key(*key)).cloned().collect();
        for key in gone {
            let story = self.watched.remove(&key).and_then(|watched| watched.story);
            self.end(story, time, now);
        }
        for (key, seen) in seen {
            let watched = self.watched.entry(key.clone()).or_default();
            match seen.trouble {
                Some(_) => (watched.troubled, watched.calm) = (watched.troubled + 1, 0),
                None => (watched.troubled, watched.calm) = (0, watched.calm + 1),
            }
            if watched.story.is_none() && watched.calm >= CALM {
                watched.usual_share = seen.share;
            }
            let begins = match seen.trouble {
                Some(Trouble::Ejected | Trouble::Probation) => true,
                Some(Trouble::Slow | Trouble::Throttled) => watched.troubled >= PATIENCE,
                // The end of something that nobody saw begin.
                Some(Trouble::Recovering) | None => false,
            };
            if watched.story.is_none() && begins {
                self.count += 1;
                let ago = Duration::from_secs(u64::from(watched.troubled) - 1);
                let since = seen.since.or(time.checked_sub(ago)).unwrap_or(time);
                watched.story = Some(Story::begin(self.count, key, since, watched.usual_share, &seen, now));
            }
            if let Some(story) = &mut watched.story {
                story.go_on(&seen, now);
            }
            if watched.calm >= CALM {
                let story = watched.story.take();
                self.end(story, time, now);
            }
        }
    }

    fn end(&mut self, story: Option<Story>, time: SystemTime, now: Tick) {
        let Some(mut story) = story else { return };
        story.end(time, now);
        self.ended.push_front(story);
        self.ended.truncate(KEPT);
    }

    /// Those that go on, the newest first; then those that have ended.
    pub(super) fn stories(&self) -> impl Iterator<Item = &Story> {
        let mut open: Vec<&Story> = self.watched.values().filter_map(|watched| watched.story.as_ref()).collect();
        open.sort_by_key(|story| std::cmp::Reverse(story.number()));
        open.into_iter().chain(&self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(trouble: Option<Trouble>, hedges: u64) -> Seen {
        let counts =
            PoolCounts { attempts: 200 + hedges, hedges, hedges_won: hedges, extra: hedges, ..PoolCounts::default() };
        Seen {
            trouble,
            reason: trouble.map(|_| "slower-than-peers"),
            since: None,
            share: Some(if trouble.is_some() { 0.01 } else { 0.33 }),
            p99: Some(400.0),
            peers_p99: Some(20.0),
            clients_p99: Some(55.0),
            unhedged_p99: Some(300.0),
            counts,
            before: PoolCounts { attempts: 100, ..PoolCounts::default() },
        }
    }

    /// Plays a second for each trouble; gives how many stories there are, and how many of them go on.
    fn play(incidents: &mut Incidents, seconds: &[Option<Trouble>]) -> (usize, usize) {
        for trouble in seconds {
            let key = ("web".to_owned(), "a:1".to_owned());
            let one = BTreeMap::from([(key, seen(*trouble, 7))]);
            incidents.observe(one, SystemTime::UNIX_EPOCH, Tick::from_nanos(1));
        }
        (incidents.stories().count(), incidents.stories().filter(|story| !story.has_ended()).count())
    }

    #[test]
    fn probation_is_a_story_at_once_and_slowness_after_a_while() {
        assert_eq!(play(&mut Incidents::default(), &[Some(Trouble::Probation)]), (1, 1));
        assert_eq!(play(&mut Incidents::default(), &[Some(Trouble::Slow); 2]), (0, 0));
        assert_eq!(play(&mut Incidents::default(), &[Some(Trouble::Slow), None, Some(Trouble::Slow)]), (0, 0));
        assert_eq!(play(&mut Incidents::default(), &[Some(Trouble::Slow); 3]), (1, 1));
        assert_eq!(play(&mut Incidents::default(), &[Some(Trouble::Recovering); 9]), (0, 0));
    }

    #[test]
    fn a_story_goes_through_several_states_and_ends_when_it_has_been_calm() {
        let mut incidents = Incidents::default();
        let seconds = [Some(Trouble::Ejected), Some(Trouble::Recovering), None, None, Some(Trouble::Ejected), None];
        assert_eq!(play(&mut incidents, &seconds), (1, 1), "a relapse goes on with it");
        assert_eq!(play(&mut incidents, &[None; CALM as usize]), (1, 0));
        assert_eq!(play(&mut incidents, &[Some(Trouble::Ejected)]), (2, 1));
    }

    #[test]
    fn a_backend_that_is_no_more_ends_its_story() {
        let mut incidents = Incidents::default();
        play(&mut incidents, &[Some(Trouble::Ejected)]);
        incidents.observe(BTreeMap::new(), SystemTime::UNIX_EPOCH, Tick::from_nanos(2));
        assert!(incidents.stories().all(Story::has_ended));
    }

    #[test]
    fn ended_stories_are_bounded() {
        let mut incidents = Incidents::default();
        for _ in 0..KEPT + 5 {
            play(&mut incidents, &[Some(Trouble::Ejected)]);
            play(&mut incidents, &[None; CALM as usize]);
        }
        assert_eq!(play(&mut incidents, &[]), (KEPT, 0));
    }

    #[test]
    fn it_says_what_was_done_and_what_it_cost() {
        let mut incidents = Incidents::default();
        play(&mut incidents, &[None; 6]);
        play(&mut incidents, &[Some(Trouble::Probation)]);
        let told = incidents.stories().next().map(|story| story.view(Tick::from_nanos(1))).unwrap_or_default();
        let text = told.to_string();
        for part in [
            "is slower than its peers: its p99 is 400 ms, its peers' 20 ms",
            "gets 1.0 % of the pool's requests, 33.0 % before",
            "7 late requests copied to others, 7 answered by the copy",
            "clients' p99 55 ms at most, 300 ms without hedging",
            "7.0 % more attempts",
            "no request shed",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
