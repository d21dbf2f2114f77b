//! The attempts at one request, as they are remembered: whom it asked, when, and what came of it.
//!
//! An attempt is noted where it begins and then tells what becomes of it itself, also one that is given up and goes on
//! without its request. From this list a request's time is split into phases ([`super::timeline`]), and a span per attempt can be made.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::words::words;
use crate::units::Tick;

words! {
    /// Why a backend was asked.
    Kind {
        /// It was asked first.
        First = "first",
        /// An earlier attempt had failed, or its answer was about another response than the stored one.
        Retry = "retry",
        /// The request was late: a copy, whose answer is used if it is the first.
        Hedge = "hedge",
        /// To try a backend on probation; nobody waits for the answer.
        Probe = "probe",
        /// For the rest of a body that stalled or broke off elsewhere.
        Rescue = "rescue",
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Visit {
    /// The address of the backend asked.
    pub backend: Arc<str>,
    /// Why it was asked.
    pub kind: Kind,
    /// When it was asked.
    pub begun: Tick,
    /// What a new connection took; nothing where one was kept, or none was made.
    pub dial: Option<Dial>,
    /// When the head of its final response had come.
    pub headed: Option<Tick>,
    /// The status of that.
    pub status: Option<u16>,
    /// Why it failed: a word of the label `result` of `hedgerow_attempts_total`.
    pub failure: Option<&'static str>,
    /// Whether its answer was used.
    pub used: bool,
    /// Whether it was given up, since another had answered or nobody waited any longer.
    pub cancelled: bool,
    /// When it ended: with its last byte, its failure, or being given up. Nothing while it goes on.
    pub ended: Option<Tick>,
}

/// What a new connection took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dial {
    /// Until the transport stood.
    pub connect: Duration,
    /// The TLS handshake after it; zero without TLS.
    pub tls: Duration,
}

/// The attempts at one request, in the order in which they began.
#[derive(Debug, Default)]
pub struct Visits(Mutex<Vec<Visit>>);

impl Visits {
    /// Notes an attempt that begins at `now`.
    pub fn enter(self: &Arc<Visits>, backend: Arc<str>, kind: Kind, now: Tick) -> Entry {
        let mut visits = self.0.lock();
        visits.push(Visit {
            backend,
            kind,
            begun: now,
            dial: None,
            headed: None,
            status: None,
            failure: None,
            used: false,
            cancelled: false,
            ended: None,
        });
        Entry(Some((Arc::clone(self), visits.len() - 1)))
    }

    /// What is known of them now.
    pub fn list(&self) -> Vec<Visit> {
        self.0.lock().clone()
    }
}

/// The place of an attempt under way in the list of its request; by default in none. Clones are the same place.
#[derive(Clone, Debug, Default)]
pub struct Entry(Option<(Arc<Visits>, usize)>);

impl Entry {
    /// How many attempts of its request began before it.
    pub fn place(&self) -> Option<usize> {
        self.0.as_ref().map(|(_, place)| *place)
    }

    /// It is for the rest of a body.
    pub fn is_rescue(&self) {
        self.note(|visit| visit.kind = Kind::Rescue);
    }

    /// A connection was made for it.
    pub fn dialled(&self, dial: Dial) {
        self.note(|visit| visit.dial = Some(dial));
    }

    /// The head of its final response came.
    pub fn headed(&self, status: u16, now: Tick) {
        self.note(|visit| (visit.headed, visit.status) = (Some(now), Some(status)));
    }

    /// Its answer is used.
    pub fn used(&self) {
        self.note(|visit| visit.used = true);
    }

    /// It failed.
    pub fn failed(&self, word: &'static str, now: Tick) {
        self.note(|visit| (visit.failure, visit.ended) = (Some(word), Some(now)));
    }

    /// Nobody waits for it any longer.
    pub fn given_up(&self, now: Tick) {
        self.note(|visit| (visit.cancelled, visit.ended) = (true, Some(now)));
    }

    /// It is over; if it has neither answered nor failed, it was given up. What its new connection took, if one was made.
    pub fn ended(&self, now: Tick) -> Option<Dial> {
        self.note(|visit| {
            visit.cancelled = visit.headed.is_none();
            visit.ended = Some(now);
        });
        let (visits, place) = self.0.as_ref()?;
        visits.0.lock().get(*place)?.dial
    }

    /// What has ended is not changed any more.
    fn note(&self, change: impl FnOnce(&mut Visit)) {
        let Some((visits, place)) = &self.0 else { return };
        if let Some(visit) = visits.0.lock().get_mut(*place).filter(|visit| visit.ended.is_none()) {
            change(visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn enter(visits: &Arc<Visits>, kind: Kind, millis: u64) -> Entry {
        visits.enter(Arc::from("192.0.2.1:80"), kind, at(millis))
    }

    #[test]
    fn an_attempt_tells_what_becomes_of_it() {
        let visits = Arc::default();
        let first = enter(&visits, Kind::First, 0);
        let dial = Dial { connect: Duration::from_millis(1), tls: Duration::ZERO };
        first.dialled(dial);
        first.headed(200, at(5));
        first.used();
        assert_eq!(first.ended(at(9)), Some(dial));
        let [visit] = &visits.list()[..] else { panic!("there is one") };
        assert_eq!((visit.status, visit.headed, visit.ended), (Some(200), Some(at(5)), Some(at(9))));
        assert!(visit.used && !visit.cancelled && visit.failure.is_none());
    }

    #[test]
    fn what_was_given_up_stays_so_whatever_it_still_brings() {
        let visits = Arc::default();
        let (first, hedge) = (enter(&visits, Kind::First, 0), enter(&visits, Kind::Hedge, 40));
        first.given_up(at(50));
        first.headed(200, at(60));
        first.ended(at(61));
        hedge.ended(at(52));
        let [first, hedge] = &visits.list()[..] else { panic!("there are two") };
        assert_eq!((first.status, first.cancelled, first.ended), (None, true, Some(at(50))));
        assert_eq!((hedge.cancelled, hedge.ended), (true, Some(at(52))));
    }

    #[test]
    fn a_failure_is_no_cancellation() {
        let visits = Arc::default();
        let first = enter(&visits, Kind::First, 0);
        first.failed("connect-failed", at(2));
        first.ended(at(3));
        let [visit] = &visits.list()[..] else { panic!("there is one") };
        assert_eq!((visit.failure, visit.cancelled, visit.ended), (Some("connect-failed"), false, Some(at(2))));
    }

    #[test]
    fn what_is_noted_nowhere_may_be_told_all_the_same() {
        let nowhere = Entry::default();
        nowhere.used();
        assert_eq!(nowhere.ended(at(1)), None);
    }
}
