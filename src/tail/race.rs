//! One request and its copy: which answer is taken, and what becomes of the other.
//!
//! A value without time, chance or sockets: whoever drives it (the proxy over connections, the simulator over events)
//! tells what happened and is told what to do. A race has a primary and at most one copy, which is asked for when the
//! primary is late. The first acceptable head wins. An error from one leg waits for the other, as the other may do
//! better; a leg that fails while it is alone is a matter for retries, not for the race.

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// The request itself.
    Primary,
    /// Its copy, at another backend.
    Copy,
}

impl Leg {
    fn other(self) -> Leg {
        match self {
            Leg::Primary => Leg::Copy,
            Leg::Copy => Leg::Primary,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The delay has passed, or a token has come for one that was denied.
    Late,
    /// The copy that was asked for is on its way.
    Copied,
    /// It is not to be had: no backend, no token, no time.
    Denied(NoHedge),
    /// A final head came that answers the request.
    Answered(Leg),
    /// A final head came that says the backend failed (5xx). It is kept until the other leg has spoken.
    Errored(Leg),
    /// A leg ended without a head.
    Failed(Leg),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait for what comes next.
    Await,
    /// Try to get a copy under way, and tell.
    Copy,
    /// This leg's head is the answer. The other, if it is open, is cancelled.
    Commit(Leg),
    /// No leg is left, and this one's failure was the last: there may be a retry.
    Lose(Leg),
}

/// Why a request has no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoHedge {
    /// The route says so.
    Off,
    /// To repeat it might do harm, or it has a body.
    Unsafe,
    /// Too little is known of how long answers take.
    Cold,
    /// It is one of the few that are never hedged, as ground truth.
    HeldOut,
    /// There is no other backend worth asking.
    NoBackend,
    /// Requests wait for a place at the backends.
    Queueing,
    /// All backends are slow: a copy would only add to it.
    AllSlow,
    /// The route's budget allows none at all.
    BudgetOff,
    /// The route's budget is spent.
    BudgetSpent,
    /// What the pool allows of retries and copies together is spent.
    LedgerSpent,
    /// As many copies are in flight as may be.
    InFlight,
    /// What is left of the request's time would not do.
    Deadline,
}

impl NoHedge {
    /// The words, in the order of [`NoHedge::index`].
    pub const WORDS: &'static [&'static str] = &[
        "off",
        "unsafe",
        "cold",
        "held-out",
        "no-backend",
        "queueing",
        "all-slow",
        "budget-off",
        "budget-spent",
        "ledger-spent",
        "in-flight",
        "deadline",
    ];

    /// The word for log, metric and header.
    pub fn as_str(self) -> &'static str {
        Self::WORDS[self.index()]
    }

    /// Its place in [`NoHedge::WORDS`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// What became of the copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hedge {
    /// The primary was not late.
    #[default]
    None,
    /// The copy's head was taken.
    Won,
    /// The primary's was.
    Lost,
    /// There was none, though the primary was late.
    Denied(NoHedge),
}

impl Hedge {
    /// The value of `hedge` in `Proxy-Status`; nothing when the primary was not late, or nobody knows what late is.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Hedge::None | Hedge::Denied(NoHedge::Cold) => None,
            Hedge::Won => Some("won"),
            Hedge::Lost => Some("lost"),
            Hedge::Denied(_) => Some("denied"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not begun.
    Idle,
    /// No final head yet.
    Open,
    /// Answered by an error, which is kept.
    Errored,
    /// Ended without a head.
    Failed,
}

/// A race. Its primary is open.
#[derive(Clone, Debug)]
pub struct Race {
    primary: State,
    copy: State,
    denied: Option<NoHedge>,
    winner: Option<Leg>,
    /// Whether something better than an error is at hand without waiting: a stale copy.
    fallback: bool,
}

impl Race {
    /// A race whose primary has just begun. With a `fallback` an error is not waited out.
    pub fn new(fallback: bool) -> Race {
        Race { primary: State::Open, copy: State::Idle, denied: None, winner: None, fallback }
    }

    /// Takes what happened.
    pub fn on(&mut self, event: Event) -> Action {
        if let Some(winner) = self.winner {
            // Decided: the loser's end changes nothing.
            return Action::Commit(winner);
        }
        match event {
            Event::Late if self.primary == State::Open && self.copy == State::Idle => Action::Copy,
            Event::Late => Action::Await,
            Event::Copied => {
                self.copy = State::Open;
                Action::Await
            }
            Event::Denied(reason) => {
                self.denied = Some(reason);
                Action::Await
            }
            Event::Answered(leg) => self.commit(leg),
            Event::Errored(leg) => self.ended(leg, State::Errored),
            Event::Failed(leg) => self.ended(leg, State::Failed),
        }
    }

    /// Whether a copy may still be asked for.
    pub fn may_copy(&self) -> bool {
        self.primary == State::Open && self.copy == State::Idle && self.winner.is_none()
    }

    /// Whether the leg is open, so that it is to be cancelled when the race ends.
    pub fn is_open(&self, leg: Leg) -> bool {
        self.winner != Some(leg) && self.state(leg) == State::Open
    }

    /// What became of the copy.
    pub fn hedge(&self) -> Hedge {
        match (self.copy, self.winner, self.denied) {
            (State::Idle, _, Some(reason)) => Hedge::Denied(reason),
            (State::Idle, _, None) => Hedge::None,
            (_, Some(Leg::Copy), _) => Hedge::Won,
            _ => Hedge::Lost,
        }
    }

    fn state(&self, leg: Leg) -> State {
        match leg {
            Leg::Primary => self.primary,
            Leg::Copy => self.copy,
        }
    }

    fn commit(&mut self, leg: Leg) -> Action {
        self.winner = Some(leg);
        Action::Commit(leg)
    }

    fn ended(&mut self, leg: Leg, how: State) -> Action {
        match leg {
            Leg::Primary => self.primary = how,
            Leg::Copy => self.copy = how,
        }
        let other = leg.other();
        match (how, self.state(other)) {
            (State::Errored, _) if self.fallback => self.commit(leg),
            (_, State::Open) => Action::Await,
            // The first error is as good as the second, and was there first; an error beats no answer.
            (_, State::Errored) => self.commit(other),
            (State::Errored, _) => self.commit(leg),
            _ => Action::Lose(leg),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(events: &[Event]) -> (Action, Hedge) {
        let mut race = Race::new(false);
        let last = events.iter().map(|&event| race.on(event)).last();
        (last.unwrap_or(Action::Await), race.hedge())
    }

    use Event::{Answered, Copied, Errored, Failed, Late};
    use Leg::{Copy, Primary};

    #[test]
    fn an_answer_in_time_ends_it_without_a_copy() {
        assert_eq!(run(&[Answered(Primary)]), (Action::Commit(Primary), Hedge::None));
    }

    #[test]
    fn where_nobody_knows_what_late_is_nothing_was_denied() {
        assert_eq!(Hedge::Denied(NoHedge::AllSlow).as_str(), Some("denied"));
        assert_eq!(Hedge::Denied(NoHedge::Cold).as_str(), None);
    }

    #[test]
    fn a_late_primary_gets_one_copy_and_no_second() {
        assert_eq!(run(&[Late]).0, Action::Copy);
        assert_eq!(run(&[Late, Copied, Late]), (Action::Await, Hedge::Lost));
    }

    #[test]
    fn the_first_answer_wins_whoever_gives_it() {
        assert_eq!(run(&[Late, Copied, Answered(Copy)]), (Action::Commit(Copy), Hedge::Won));
        assert_eq!(run(&[Late, Copied, Answered(Primary)]), (Action::Commit(Primary), Hedge::Lost));
        assert_eq!(run(&[Late, Copied, Answered(Copy), Answered(Primary)]).0, Action::Commit(Copy));
    }

    #[test]
    fn an_error_waits_for_the_other_leg() {
        assert_eq!(run(&[Late, Copied, Errored(Copy)]).0, Action::Await);
        assert_eq!(run(&[Late, Copied, Errored(Copy), Answered(Primary)]).0, Action::Commit(Primary));
        assert_eq!(run(&[Late, Copied, Errored(Primary), Answered(Copy)]), (Action::Commit(Copy), Hedge::Won));
        assert_eq!(run(&[Late, Copied, Errored(Copy), Errored(Primary)]).0, Action::Commit(Copy));
        assert_eq!(run(&[Late, Copied, Errored(Copy), Failed(Primary)]).0, Action::Commit(Copy));
        assert_eq!(run(&[Late, Copied, Failed(Copy), Errored(Primary)]).0, Action::Commit(Primary));
    }

    #[test]
    fn an_error_of_a_lone_primary_is_the_answer() {
        assert_eq!(run(&[Errored(Primary)]), (Action::Commit(Primary), Hedge::None));
    }

    #[test]
    fn with_a_stale_copy_at_hand_no_error_is_waited_out() {
        let mut race = Race::new(true);
        race.on(Late);
        race.on(Copied);
        assert_eq!(race.on(Errored(Copy)), Action::Commit(Copy));
        assert!(race.is_open(Primary), "to be cancelled");
    }

    #[test]
    fn a_failure_leaves_the_other_leg_alone_and_the_last_one_loses() {
        assert_eq!(run(&[Failed(Primary)]), (Action::Lose(Primary), Hedge::None));
        assert_eq!(run(&[Late, Copied, Failed(Primary)]).0, Action::Await);
        assert_eq!(run(&[Late, Copied, Failed(Primary), Answered(Copy)]), (Action::Commit(Copy), Hedge::Won));
        assert_eq!(run(&[Late, Copied, Failed(Primary), Failed(Copy)]), (Action::Lose(Copy), Hedge::Lost));
        assert_eq!(run(&[Late, Copied, Failed(Copy), Failed(Primary)]).0, Action::Lose(Primary));
    }

    #[test]
    fn a_denied_copy_may_be_asked_for_again() {
        let denied = Event::Denied(NoHedge::BudgetSpent);
        assert_eq!(run(&[Late, denied]), (Action::Await, Hedge::Denied(NoHedge::BudgetSpent)));
        assert_eq!(run(&[Late, denied, Late]).0, Action::Copy);
        assert_eq!(run(&[Late, denied, Late, Copied, Answered(Copy)]).1, Hedge::Won);
    }

    #[test]
    fn every_reason_has_its_own_word() {
        let mut words = NoHedge::WORDS.to_vec();
        assert_eq!(NoHedge::Deadline.as_str(), "deadline");
        assert_eq!(NoHedge::Deadline.index() + 1, words.len());
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), NoHedge::WORDS.len());
    }
}
