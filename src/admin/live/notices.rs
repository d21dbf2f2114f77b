//! What happens to a pool over some time, noted in the journal when it begins and when it has ended: requests wait, requests
//! are shed, a budget is spent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::telemetry::{Event, Journal, Topic, Turn};
use crate::units::Tick;

/// So long without it, and it is over.
const QUIET: Duration = Duration::from_secs(10);
/// A limit below this share of what it was has fallen.
const FALL: f64 = 0.7;

/// What one second brought to a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Second {
    pub(super) shed: u64,
    /// Late requests that a budget denied a copy.
    pub(super) unpaid: u64,
    pub(super) queued: u32,
    pub(super) limit: Option<u32>,
}

/// The episodes of all pools.
#[derive(Debug, Default)]
pub(super) struct Notices(BTreeMap<String, Episodes>);

#[derive(Debug, Default)]
struct Episodes {
    shed: Option<Episode>,
    unpaid: Option<Episode>,
    queued: Option<Episode>,
    /// The limit that was last noted, or the highest since.
    limit: Option<u32>,
}

#[derive(Debug)]
struct Episode {
    began: Tick,
    last: Tick,
    sum: u64,
    most: u64,
}

/// A change of an episode.
enum Change {
    Began,
    Ended(Episode),
}

impl Notices {
    /// Takes in one second of a pool.
    pub(super) fn observe(&mut self, pool: &str, second: Second, journal: &Journal, time: SystemTime, now: Tick) {
        let episodes = self.0.entry(pool.to_owned()).or_default();
        let note = |topic, turn, what, why| {
            journal.note(Event { time, topic, turn, pool: Some(pool.to_owned()), backend: None, what, why });
        };
        match step(&mut episodes.queued, second.queued.into(), now) {
            Some(Change::Began) => {
                let limit = second.limit.map(|limit| format!("; {limit} may be at the backends"));
                let why = format!("{} wait{}", second.queued, limit.unwrap_or_default());
                note(Topic::Limit, Turn::Worse, "queueing", why);
            }
            Some(Change::Ended(e)) => {
                note(
                    Topic::Limit,
                    Turn::Better,
                    "queueing-ended",
                    format!("after {}, {} at most waited", e.lasted(), e.most),
                );
            }
            None => {}
        }
        match step(&mut episodes.shed, second.shed, now) {
            Some(Change::Began) => {
                note(Topic::Shed, Turn::Worse, "shedding", format!("{} in a second", second.shed));
            }
            Some(Change::Ended(e)) => {
                note(Topic::Shed, Turn::Better, "shedding-ended", format!("after {}, {} in all", e.lasted(), e.sum));
            }
            None => {}
        }
        match step(&mut episodes.unpaid, second.unpaid, now) {
            Some(Change::Began) => {
                note(Topic::Budget, Turn::Worse, "budget-spent", "late requests get no copy at once".to_owned());
            }
            Some(Change::Ended(e)) => {
                let why = format!("after {}, {} late requests got no copy at once", e.lasted(), e.sum);
                note(Topic::Budget, Turn::Better, "budget-refilled", why);
            }
            None => {}
        }
        // A limit that nobody meets may move as it likes.
        if episodes.queued.is_none() {
            episodes.limit = second.limit;
        } else if let (Some(before), Some(limit)) = (episodes.limit, second.limit) {
            if f64::from(limit) < FALL * f64::from(before) {
                note(Topic::Limit, Turn::Worse, "limit-fell", format!("from {before} to {limit}"));
                episodes.limit = second.limit;
            } else {
                episodes.limit = Some(before.max(limit));
            }
        }
    }

    /// Forgets the pools that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|pool, _| is_there(pool));
    }
}

impl Episode {
    /// In seconds.
    fn lasted(&self) -> String {
        format!("{} s", self.last.since(self.began).as_secs() + 1)
    }
}

fn step(episode: &mut Option<Episode>, amount: u64, now: Tick) -> Option<Change> {
    match episode {
        None if amount == 0 => None,
        None => {
            *episode = Some(Episode { began: now, last: now, sum: amount, most: amount });
            Some(Change::Began)
        }
        Some(running) if amount > 0 => {
            running.last = now;
            running.sum += amount;
            running.most = running.most.max(amount);
            None
        }
        Some(running) if now.since(running.last) < QUIET => None,
        Some(_) => episode.take().map(Change::Ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a second each; gives what was noted, the oldest first.
    fn noted(seconds: impl IntoIterator<Item = Second>) -> Vec<String> {
        let (journal, mut notices) = (Journal::default(), Notices::default());
        for (at, second) in (1..).zip(seconds) {
            notices.observe("web", second, &journal, SystemTime::UNIX_EPOCH, Tick::from_nanos(at * 1_000_000_000));
        }
        let mut events = journal.latest(usize::MAX);
        events.reverse();
        events.into_iter().map(|(_, event)| format!("{}: {}", event.what, event.why)).collect()
    }

    const QUIET_SECOND: Second = Second { shed: 0, unpaid: 0, queued: 0, limit: Some(40) };

    #[test]
    fn an_episode_is_told_when_it_begins_and_when_it_is_over() {
        let shed = Second { shed: 3, ..QUIET_SECOND };
        let seconds = [shed, QUIET_SECOND, shed].into_iter().chain([QUIET_SECOND; 12]);
        assert_eq!(noted(seconds), ["shedding: 3 in a second", "shedding-ended: after 3 s, 6 in all"]);
        let unpaid = Second { unpaid: 2, ..QUIET_SECOND };
        let told = [
            "budget-spent: late requests get no copy at once",
            "budget-refilled: after 1 s, 2 late requests got no copy at once",
        ];
        assert_eq!(noted([unpaid].into_iter().chain([QUIET_SECOND; 12])), told);
        assert!(noted([QUIET_SECOND; 30]).is_empty());
    }

    #[test]
    fn a_limit_that_falls_is_told_while_requests_wait() {
        let waiting = |limit| Second { queued: 5, limit: Some(limit), ..QUIET_SECOND };
        let told =
            ["queueing: 5 wait; 40 may be at the backends", "limit-fell: from 40 to 27", "limit-fell: from 27 to 9"];
        assert_eq!(noted([QUIET_SECOND, waiting(40), waiting(30), waiting(27), waiting(26), waiting(9)]), told);
        let calm = |limit| Second { limit: Some(limit), ..QUIET_SECOND };
        assert!(noted([calm(40), calm(9)]).is_empty());
    }
}
