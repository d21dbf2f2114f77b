//! Where a request's time went: its duration, split into phases that add up to it.
//!
//! Every instant belongs to one phase. Where two things were waited for at once it goes to the one that more haste
//! elsewhere would not have helped: what a slow client holds up is the client's, also while a backend still sends.
//! What is left is [`Phase::Other`]: the proxy's own work, and the machine's.

use std::time::Duration;

use super::visits::{Dial, Kind, Visit};
use super::words::words;
use crate::units::Tick;

words! {
    /// A part of a request's time.
    Phase {
        /// For a place at the pool's backends.
        Queue = "queue",
        /// For what another request, or a refresh in the background, was fetching already.
        Collapse = "collapse",
        /// Until the attempt whose answer was used began: attempts that failed, pauses between them, the wait before a copy.
        Retry = "retry",
        /// For a new connection to that backend.
        Connect = "connect",
        /// For the TLS handshake on it.
        Tls = "tls",
        /// From the request sent to the head of the response: the backend's own time.
        FirstByte = "first-byte",
        /// For the rest of the response from the backend.
        Body = "body",
        /// For the client: the rest of its request, or its taking the response.
        Client = "client",
        /// None of these.
        Other = "other",
    }
}

/// How long each phase took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases([Duration; Phase::ALL.len()]);

impl Phases {
    /// The time in one.
    pub fn get(&self, phase: Phase) -> Duration {
        self.0.get(phase.index()).copied().unwrap_or_default()
    }

    /// Each with its time, in the order of [`Phase::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> + '_ {
        Phase::ALL.iter().map(|phase| (*phase, self.get(*phase)))
    }

    /// Adds those of another request.
    pub fn add(&mut self, other: &Phases) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }

    /// Gives time to a phase: no more than is `left`.
    fn give(&mut self, phase: Phase, time: Duration, left: &mut Duration) {
        let given = time.min(*left);
        *left -= given;
        if let Some(sum) = self.0.get_mut(phase.index()) {
            *sum += given;
        }
    }
}

/// What is known of a request that has ended, or of one under way.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// When its head was read.
    pub started: Tick,
    /// From there to the last byte sent, or to now.
    pub duration: Duration,
    /// How long it waited for a place at the backends.
    pub queued: Duration,
    /// How long it waited for what others were fetching.
    pub collapsed: Duration,
    /// When the whole of its body had been sent to a backend, if it had one.
    pub uploaded: Option<Tick>,
    /// How long the response's body was waited for, after its head.
    pub body: Duration,
    /// How long the client kept writes waiting.
    pub client: Duration,
    /// Whom it asked.
    pub visits: Vec<Visit>,
}

/// A request's time in phases, and its attempts.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// When its head was read: what all offsets count from.
    pub started: Tick,
    /// From there to the last byte sent: the sum of the phases.
    pub duration: Duration,
    /// The split.
    pub phases: Phases,
    /// The attempts, in the order in which they began. One that goes on after its request has no end.
    pub visits: Vec<Visit>,
}

impl Timeline {
    /// The split of what is known.
    pub fn of(course: Course) -> Timeline {
        let Course { started, duration, queued, collapsed, uploaded, body, client, visits } = course;
        let (mut phases, mut left) = (Phases::default(), duration);
        phases.give(Phase::Queue, queued, &mut left);
        phases.give(Phase::Collapse, collapsed, &mut left);
        if let Some((first, main)) = decisive(&visits) {
            let end = started + duration;
            let headed = main.headed.or(main.ended).unwrap_or(end).min(end);
            let dial = match main.dial {
                Some(dial) => dial,
                // It died of its connection.
                None if is_of_connect(main) => Dial { connect: headed.since(main.begun), tls: Duration::ZERO },
                None => Dial::default(),
            };
            let asked = main.begun + dial.connect + dial.tls;
            // The backend cannot answer what the client has not yet sent.
            let sent = uploaded.map_or(asked, |uploaded| uploaded.max(asked)).min(headed.max(asked));
            phases.give(Phase::Retry, main.begun.since(first.begun), &mut left);
            phases.give(Phase::Connect, dial.connect, &mut left);
            phases.give(Phase::Tls, dial.tls, &mut left);
            phases.give(Phase::FirstByte, headed.since(sent), &mut left);
            phases.give(Phase::Client, sent.since(asked), &mut left);
        }
        phases.give(Phase::Client, client, &mut left);
        phases.give(Phase::Body, body, &mut left);
        let rest = left;
        phases.give(Phase::Other, rest, &mut left);
        Timeline { started, duration, phases, visits }
    }
}

/// The first attempt, and the one that the time was spent on: whose answer was used, else the last one.
fn decisive(visits: &[Visit]) -> Option<(&Visit, &Visit)> {
    let waited_for = || visits.iter().filter(|visit| visit.kind != Kind::Probe);
    let first = waited_for().next()?;
    let used = waited_for().find(|visit| visit.used);
    Some((first, used.or_else(|| waited_for().rfind(|visit| visit.kind != Kind::Hedge))?))
}

fn is_of_connect(visit: &Visit) -> bool {
    visit.failure.is_some_and(|word| word.starts_with("connect"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn visit(kind: Kind, begun: u64, headed: Option<u64>, ended: u64) -> Visit {
        Visit {
            backend: Arc::from("192.0.2.1:80"),
            kind,
            begun: at(begun),
            dial: None,
            headed: headed.map(at),
            status: headed.map(|_| 200),
            failure: None,
            used: headed.is_some(),
            cancelled: headed.is_none(),
            ended: Some(at(ended)),
        }
    }

    fn split(course: Course) -> Vec<(&'static str, u64)> {
        let timeline = Timeline::of(course);
        assert_eq!(timeline.phases.iter().map(|(_, time)| time).sum::<Duration>(), timeline.duration);
        let some = timeline.phases.iter().filter(|(_, time)| !time.is_zero());
        some.map(|(phase, time)| (phase.as_str(), time.as_millis() as u64)).collect()
    }

    #[test]
    fn a_hit_is_all_its_own_and_the_clients() {
        let course = Course { started: at(5), duration: ms(10), client: ms(7), ..Course::default() };
        assert_eq!(split(course), [("client", 7), ("other", 3)]);
    }

    #[test]
    fn a_miss_is_its_backends() {
        let mut asked = visit(Kind::First, 111, Some(160), 190);
        asked.dial = Some(Dial { connect: ms(2), tls: ms(3) });
        let course = Course {
            started: at(100),
            duration: ms(100),
            queued: ms(10),
            body: ms(25),
            client: ms(8),
            visits: vec![asked],
            ..Course::default()
        };
        let expected =
            [("queue", 10), ("connect", 2), ("tls", 3), ("first-byte", 44), ("body", 25), ("client", 8), ("other", 8)];
        assert_eq!(split(course), expected);
    }

    #[test]
    fn what_came_before_the_attempt_that_answered_was_lost() {
        let mut failed = visit(Kind::First, 0, None, 3);
        (failed.failure, failed.cancelled) = (Some("upstream-closed"), false);
        let visits = vec![failed, visit(Kind::Retry, 8, Some(30), 30)];
        let course = Course { duration: ms(30), visits, ..Course::default() };
        assert_eq!(split(course), [("retry", 8), ("first-byte", 22)]);
        let visits = vec![visit(Kind::First, 0, None, 55), visit(Kind::Hedge, 40, Some(55), 55)];
        let course = Course { duration: ms(55), visits, ..Course::default() };
        assert_eq!(split(course), [("retry", 40), ("first-byte", 15)]);
    }

    #[test]
    fn a_copy_that_lost_and_a_probe_take_nothing() {
        let visits = vec![
            visit(Kind::Probe, 0, None, 50),
            visit(Kind::First, 1, Some(60), 60),
            visit(Kind::Hedge, 40, None, 60),
        ];
        let course = Course { duration: ms(60), visits, ..Course::default() };
        assert_eq!(split(course), [("first-byte", 59), ("other", 1)]);
    }

    #[test]
    fn where_none_answered_the_last_attempt_is_to_blame() {
        let mut refused = visit(Kind::First, 0, None, 20);
        refused.failure = Some("connect-timeout");
        let course = Course { duration: ms(20), visits: vec![refused], ..Course::default() };
        assert_eq!(split(course), [("connect", 20)]);
        let mut silent = visit(Kind::First, 0, None, 20);
        silent.failure = Some("upstream-timeout");
        let course = Course { duration: ms(20), visits: vec![silent], ..Course::default() };
        assert_eq!(split(course), [("first-byte", 20)]);
    }

    #[test]
    fn an_upload_is_the_clients_time() {
        let visits = vec![visit(Kind::First, 0, Some(90), 90)];
        let course = Course { duration: ms(90), uploaded: Some(at(70)), visits, ..Course::default() };
        assert_eq!(split(course), [("first-byte", 20), ("client", 70)]);
    }

    #[test]
    fn who_is_answered_before_its_fetch_ends_has_only_its_own_time() {
        let mut open = visit(Kind::First, 2, None, 0);
        open.ended = None;
        let course = Course { duration: ms(50), visits: vec![open], ..Course::default() };
        assert_eq!(split(course), [("first-byte", 48), ("other", 2)]);
    }

    proptest! {
        #[test]
        fn phases_always_add_up(
            duration in 0u64..100, queued in 0u64..100, collapsed in 0u64..100, body in 0u64..100, client in 0u64..100,
            uploaded in proptest::option::of(0u64..200),
            times in proptest::collection::vec((0u64..150, proptest::option::of(0u64..150), 0u64..150, 0u64..9), 0..4),
        ) {
            let visits = times.into_iter().map(|(begun, headed, ended, dial)| Visit {
                dial: (dial > 0).then(|| Dial { connect: ms(dial), tls: ms(dial / 2) }),
                ..visit(Kind::First, begun, headed, ended)
            });
            split(Course {
                started: at(20), duration: ms(duration), queued: ms(queued), collapsed: ms(collapsed),
                uploaded: uploaded.map(at), body: ms(body), client: ms(client), visits: visits.collect(),
            });
        }
    }
}
