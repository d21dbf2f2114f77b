//! When a backend is taken out and let back in: one backend's state.
//!
//! Two kinds of evidence meet here. Requests that fail are quick to come and carry the real fault, and stop the moment
//! the backend is out; checks go on, and cost nobody a request. So failures *eject for a time*, after which the
//! backend is tried again, and checks hold it out *until they pass*. Either alone is enough to keep it out.
//!
//! Let back in, a backend is Recovering: it gets the small weight of `balance::slow_start`, its first success makes
//! it Healthy, its first failure ejects it again, for longer. A fixed time would let a backend that fails under load
//! flap forever; the growth ends at a maximum and is forgotten after as long a time without a relapse.
//!
//! A backend that is slow but does not fail is neither: it goes on probation (`probation.rs`), where no client waits for
//! it, and comes back by evidence.
//!
//! Failures never eject the last usable backend of a pool: an origin that answers every request with an error is
//! still the one that knows what to say, and ejecting all turns its errors into our own outage. (nginx's `max_fails`
//! has ejected whole pools under one per cent of stalls.)

use std::time::Duration;

use super::probation::{self, Probation, Room, Verdict};
use crate::units::Tick;

/// Failures that eject when they are half of this many attempts within [`RATE_SPAN`], though not in a row.
const RATE_LEAST: u32 = 10;
/// How long attempts are counted together.
const RATE_SPAN: Duration = Duration::from_secs(10);

/// Passive ejection (from real requests).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Failures in a row that eject; 0 switches passive ejection off.
    pub consecutive: u32,
    /// Time of the first ejection; grows with each relapse.
    pub time: Duration,
    /// The longest ejection.
    pub max_time: Duration,
}

impl Default for Params {
    /// Five failures (Envoy, Finagle); ten seconds; five minutes.
    fn default() -> Params {
        Params { consecutive: 5, time: Duration::from_secs(10), max_time: Duration::from_secs(300) }
    }
}

/// Whether and how a backend takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes its share.
    Healthy,
    /// It gets no requests.
    Ejected(Reason),
    /// It is slower than its peers: no client waits for it.
    Probation,
    /// It was let back in and has not yet answered a request: slow-start weight.
    Recovering,
}

impl State {
    /// The word for log, metric and the admin's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Healthy => "healthy",
            State::Ejected(_) => "ejected",
            State::Probation => "probation",
            State::Recovering => "recovering",
        }
    }
}

/// Why a backend changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// That many requests in a row failed.
    ConsecutiveFailures,
    /// Half of its last attempts failed.
    FailureRate,
    /// It failed before its first success after an ejection.
    Relapse,
    /// That many checks in a row failed.
    ChecksFailed,
    /// That many checks in a row passed.
    ChecksPassed,
    /// It answered a request.
    Answered,
    /// Its answers exceed the delay far more often than its peers'.
    SlowerThanPeers,
    /// They no longer do.
    AsFastAsPeers,
    /// Nothing could be learned of it for a while.
    Unproven,
}

impl Reason {
    /// The word for log, metric and the admin's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::ConsecutiveFailures => "consecutive-failures",
            Reason::FailureRate => "failure-rate",
            Reason::Relapse => "relapse",
            Reason::ChecksFailed => "checks-failed",
            Reason::ChecksPassed => "checks-passed",
            Reason::Answered => "answered",
            Reason::SlowerThanPeers => "slower-than-peers",
            Reason::AsFastAsPeers => "as-fast-as-peers",
            Reason::Unproven => "unproven",
        }
    }
}

/// A change worth a log line and a counter. The end of an ejection is not one: it comes by time alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// What caused it.
    pub reason: Reason,
}

/// Whether failures may take a backend out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayEject {
    /// Others are usable.
    Yes,
    /// No: it is the last usable backend of its pool.
    LastUsable,
    /// No: its peers fail as well, or have not been heard since it began to fail, so the fault may not be its own.
    PeersFail,
}

/// Above this share of failures at its peers a failing backend is one of many.
const PEERS_FAIL: f32 = 0.3;

impl MayEject {
    /// What holds when `usable` other backends of the pool are neither ejected nor held out by checks, and fail in
    /// the mean `failing` of their last attempts.
    pub fn others(usable: usize, failing: f32) -> MayEject {
        match usable {
            0 => MayEject::LastUsable,
            _ if failing > PEERS_FAIL => MayEject::PeersFail,
            _ => MayEject::Yes,
        }
    }
}

/// The state of one backend. It starts Healthy.
#[derive(Clone, Debug)]
pub struct Health {
    params: Params,
    /// Failed requests in a row.
    failures: u32,
    /// The running or the last ejection by failures.
    ejection: Option<Ejection>,
    /// Out, or let back in without a success since.
    recovering: bool,
    /// When it was last let back in by checks.
    risen: Option<Tick>,
    checks: Checks,
    probation: Probation,
    rate: Rate,
}

/// Attempts and failures since `began`.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    began: Tick,
    attempts: u32,
    failures: u32,
}

impl Rate {
    fn count(&mut self, failed: bool, now: Tick) {
        if now.since(self.began) >= RATE_SPAN {
            *self = Rate { began: now, ..Rate::default() };
        }
        self.attempts = self.attempts.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
    }

    fn is_high(&self) -> bool {
        self.attempts >= RATE_LEAST && 2 * self.failures >= self.attempts
    }
}

#[derive(Clone, Copy, Debug)]
struct Ejection {
    until: Tick,
    reason: Reason,
    /// Counted from one, without a quiet time between this and the one before.
    relapse: u32,
}

/// What the active checks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checks {
    /// Used; this many checks in a row have failed.
    Up(u32),
    /// Not used; this many checks in a row have passed.
    Down(u32),
}

impl Health {
    /// A backend of which nothing bad is known.
    pub fn new(params: Params, probation: probation::Params) -> Health {
        let checks = Checks::Up(0);
        let (probation, rate) = (Probation::new(probation), Rate::default());
        Health { params, failures: 0, ejection: None, recovering: false, risen: None, checks, probation, rate }
    }

    /// Takes new parameters, for a reload that keeps the backend. A running ejection keeps its end.
    pub fn set_params(&mut self, params: Params, probation: probation::Params, now: Tick) {
        self.params = params;
        self.probation.set_params(probation, now);
    }

    /// Forgets what checks have said, for a reload that ends them: no check would let the backend in again.
    pub fn forget_checks(&mut self) {
        self.checks = Checks::Up(0);
    }

    /// The state at `now`.
    pub fn state(&self, now: Tick) -> State {
        if let Checks::Down(_) = self.checks {
            return State::Ejected(Reason::ChecksFailed);
        }
        match self.ejection {
            Some(ejection) if now < ejection.until => State::Ejected(ejection.reason),
            _ if self.probation.is_on() => State::Probation,
            _ if self.recovering => State::Recovering,
            _ => State::Healthy,
        }
    }

    /// When it was last let back in, as seen at `now`: where its slow start begins. `None` if it never was out.
    pub fn recovered(&self, now: Tick) -> Option<Tick> {
        self.ejection.map(|ejection| ejection.until).filter(|&until| until <= now).max(self.risen)
    }

    /// When the running ejection by failures ends; `None` when none runs at `now`.
    pub fn ejected_until(&self, now: Tick) -> Option<Tick> {
        self.ejection.map(|ejection| ejection.until).filter(|&until| now < until)
    }

    /// The share of its weight that it has at `now`, on its way back from probation.
    pub fn ramp(&self, now: Tick) -> f64 {
        self.probation.ramp(now)
    }

    /// Whether an attempt in time would change anything: there is something held against it.
    pub fn is_suspected(&self) -> bool {
        self.probation.is_suspected()
    }

    /// An attempt was late, or was not. `peers` is the mean share of late ones at the others.
    pub fn on_time(&mut self, late: bool, peers: f32, room: Room, now: Tick) -> Option<Transition> {
        let from = self.state(now);
        // Out already, or not yet warm: what it does now is no measure.
        if !matches!(from, State::Healthy | State::Probation) {
            return None;
        }
        let verdict = self.probation.observe(late, peers, room, now)?;
        Some(self.judged(from, verdict, now))
    }

    /// Time passed. To be called about once a second.
    pub fn on_tick(&mut self, now: Tick) -> Option<Transition> {
        let from = self.state(now);
        let verdict = self.probation.pass(now)?;
        Some(self.judged(from, verdict, now))
    }

    fn judged(&self, from: State, verdict: Verdict, now: Tick) -> Transition {
        let reason = match verdict {
            Verdict::Convicted => Reason::SlowerThanPeers,
            Verdict::Acquitted => Reason::AsFastAsPeers,
            Verdict::Unproven => Reason::Unproven,
        };
        Transition { from, to: self.state(now), reason }
    }

    /// A request was answered.
    pub fn on_success(&mut self, now: Tick) -> Option<Transition> {
        self.failures = 0;
        self.rate.count(false, now);
        let from = self.state(now);
        // A request sent before the ejection says nothing about the backend after it.
        if from != State::Recovering {
            return None;
        }
        self.recovering = false;
        Some(Transition { from, to: State::Healthy, reason: Reason::Answered })
    }

    /// A request failed by the backend's fault. A cancelled request is no failure.
    pub fn on_failure(&mut self, now: Tick, may_eject: MayEject) -> Option<Transition> {
        self.failures = self.failures.saturating_add(1);
        self.rate.count(true, now);
        let from = self.state(now);
        let reason = match from {
            _ if self.params.consecutive == 0 => return None,
            State::Recovering => Reason::Relapse,
            State::Healthy | State::Probation if self.failures >= self.params.consecutive => {
                Reason::ConsecutiveFailures
            }
            State::Healthy | State::Probation if self.rate.is_high() => Reason::FailureRate,
            // Requests sent before the ejection do not prolong it.
            State::Healthy | State::Probation | State::Ejected(_) => return None,
        };
        match may_eject {
            MayEject::LastUsable | MayEject::PeersFail => None,
            MayEject::Yes => Some(self.eject(from, reason, now)),
        }
    }

    /// An active check ended. `rise` passes in a row let a backend in that checks hold out, `fall` failures in a row
    /// take it out, even if it is the last: where nothing listens there is nobody to ask. Zero counts as one.
    pub fn on_check(&mut self, passed: bool, rise: u32, fall: u32, now: Tick) -> Option<Transition> {
        let from = self.state(now);
        self.checks = match (self.checks, passed) {
            (Checks::Up(_), true) => Checks::Up(0),
            (Checks::Up(failed), false) if failed.saturating_add(1) < fall => Checks::Up(failed + 1),
            (Checks::Up(_), false) => Checks::Down(0),
            (Checks::Down(_), false) => Checks::Down(0),
            (Checks::Down(passes), true) if passes.saturating_add(1) < rise => Checks::Down(passes + 1),
            (Checks::Down(_), true) => {
                self.failures = 0;
                self.recovering = true;
                self.risen = Some(now);
                Checks::Up(0)
            }
        };
        let to = self.state(now);
        let reason = if passed { Reason::ChecksPassed } else { Reason::ChecksFailed };
        (from != to).then_some(Transition { from, to, reason })
    }

    fn eject(&mut self, from: State, reason: Reason, now: Tick) -> Transition {
        let last = self.ejection.filter(|last| now.since(last.until) < self.params.max_time);
        let relapse = last.map_or(1, |last| last.relapse.saturating_add(1));
        let grown = self.params.time.saturating_mul(relapse).min(self.params.max_time);
        self.ejection = Some(Ejection { until: now + grown, reason, relapse });
        self.failures = 0;
        self.rate = Rate { began: now, ..Rate::default() };
        self.probation.reset(now);
        self.recovering = true;
        Transition { from, to: State::Ejected(reason), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: Params = Params { consecutive: 3, time: Duration::from_secs(10), max_time: Duration::from_secs(35) };

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn fail(health: &mut Health, times: u32, seconds: u64) -> Option<Transition> {
        (0..times).filter_map(|_| health.on_failure(at(seconds), MayEject::Yes)).last()
    }

    fn ejected() -> Health {
        let mut health = Health::new(PARAMS, probation::Params::default());
        assert!(fail(&mut health, 3, 100).is_some());
        health
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_saves() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        assert_eq!(fail(&mut health, 2, 1), None);
        assert_eq!(health.on_success(at(1)), None);
        assert_eq!(fail(&mut health, 2, 1), None);
        let to = State::Ejected(Reason::ConsecutiveFailures);
        let reason = Reason::ConsecutiveFailures;
        assert_eq!(fail(&mut health, 1, 1), Some(Transition { from: State::Healthy, to, reason }));
        assert_eq!(health.state(at(1)), to);
        assert_eq!(health.ejected_until(at(1)), Some(at(11)));
    }

    #[test]
    fn after_its_time_an_ejected_backend_recovers_until_a_success() {
        let mut health = ejected();
        assert!(matches!(health.state(at(109)), State::Ejected(_)));
        assert_eq!((health.state(at(110)), health.recovered(at(110))), (State::Recovering, Some(at(110))));
        let change = health.on_success(at(111)).unwrap();
        assert_eq!((change.from, change.to), (State::Recovering, State::Healthy));
        assert_eq!((health.state(at(111)), health.recovered(at(111))), (State::Healthy, Some(at(110))));
    }

    #[test]
    fn one_failure_while_recovering_ejects_for_longer_each_time_up_to_the_maximum() {
        let mut health = ejected();
        let (mut now, mut times) = (110, vec![]);
        for _ in 0..5 {
            assert_eq!(fail(&mut health, 1, now).map(|change| change.reason), Some(Reason::Relapse));
            let until = health.ejected_until(at(now)).unwrap();
            times.push(until.since(at(now)).as_secs());
            now = until.as_nanos() / 1_000_000_000;
        }
        assert_eq!(times, [20, 30, 35, 35, 35]);
    }

    #[test]
    fn a_relapse_after_a_success_grows_too_until_a_quiet_time_has_passed() {
        for (seconds, expected) in [(110, 20), (110 + 34, 20), (110 + 35, 10)] {
            let mut health = ejected();
            health.on_success(at(110));
            let change = fail(&mut health, 3, seconds).unwrap();
            assert_eq!(change.reason, Reason::ConsecutiveFailures);
            assert_eq!(health.ejected_until(at(seconds)), Some(at(seconds + expected)));
        }
    }

    #[test]
    fn the_last_usable_backend_is_never_ejected_by_failures() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        for _ in 0..100 {
            assert_eq!(health.on_failure(at(1), MayEject::others(0, 0.0)), None);
        }
        assert_eq!(health.state(at(1)), State::Healthy);
        assert!(health.on_failure(at(2), MayEject::others(1, 0.0)).is_some(), "as soon as another is usable");
    }

    #[test]
    fn the_last_usable_backend_keeps_recovering_when_it_fails() {
        let mut health = ejected();
        assert_eq!(health.on_failure(at(120), MayEject::LastUsable), None);
        assert_eq!(health.state(at(120)), State::Recovering);
    }

    #[test]
    fn requests_sent_before_the_ejection_change_nothing() {
        let mut health = ejected();
        assert_eq!(fail(&mut health, 50, 105), None);
        assert_eq!(health.on_success(at(106)), None);
        assert_eq!(health.ejected_until(at(106)), Some(at(110)));
    }

    #[test]
    fn no_number_of_failures_ejects_when_it_is_switched_off() {
        let mut health = Health::new(Params { consecutive: 0, ..PARAMS }, probation::Params::default());
        assert_eq!(fail(&mut health, 1_000, 1), None);
        assert_eq!(health.state(at(1)), State::Healthy);
    }

    #[test]
    fn checks_take_out_after_fall_and_let_in_after_rise_in_a_row() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        let mut changes = vec![];
        for (second, passed) in [false, true, false, false, false, true, false, true, true].into_iter().enumerate() {
            if let Some(change) = health.on_check(passed, 2, 3, at(second as u64)) {
                changes.push((second, change.to, change.reason));
            }
        }
        let down = State::Ejected(Reason::ChecksFailed);
        assert_eq!(changes, [(4, down, Reason::ChecksFailed), (8, State::Recovering, Reason::ChecksPassed)]);
        assert_eq!(health.recovered(at(8)), Some(at(8)));
    }

    #[test]
    fn a_backend_down_by_checks_stays_down_whatever_requests_say() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        health.on_check(false, 2, 1, at(0));
        assert_eq!(health.on_success(at(1)), None);
        assert_eq!(fail(&mut health, 10, 2), None);
        assert_eq!(health.state(at(1_000_000)), State::Ejected(Reason::ChecksFailed));
    }

    #[test]
    fn passing_checks_do_not_shorten_an_ejection_by_failures() {
        let mut health = ejected();
        health.on_check(false, 1, 1, at(101));
        let change = health.on_check(true, 1, 1, at(102)).unwrap();
        assert_eq!(change.to, State::Ejected(Reason::ConsecutiveFailures));
        assert_eq!(health.state(at(110)), State::Recovering);
        assert_eq!(health.recovered(at(110)), Some(at(110)));
    }

    #[test]
    fn rise_and_fall_of_zero_count_as_one() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        assert!(health.on_check(false, 0, 0, at(0)).is_some());
        assert!(health.on_check(true, 0, 0, at(1)).is_some());
    }

    #[test]
    fn half_of_ten_failures_eject_though_never_in_a_row() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        for second in 0..4 {
            health.on_success(at(second));
            assert_eq!(fail(&mut health, 1, second), None);
        }
        health.on_success(at(4));
        assert_eq!(fail(&mut health, 1, 5).map(|change| change.reason), Some(Reason::FailureRate));
    }

    #[test]
    fn failures_spread_over_minutes_do_not_add_up() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        for second in 0..100 {
            health.on_success(at(second * 6));
            assert_eq!(fail(&mut health, 1, second * 6), None, "{second}");
        }
    }

    #[test]
    fn a_backend_whose_peers_fail_too_is_not_ejected() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        for _ in 0..100 {
            assert_eq!(health.on_failure(at(1), MayEject::others(4, 0.5)), None);
        }
        assert!(health.on_failure(at(1), MayEject::others(4, 0.1)).is_some());
    }

    #[test]
    fn a_late_backend_goes_on_probation_and_comes_back_by_evidence() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        let late = |health: &mut Health, late, times: u32| {
            (0..times).filter_map(|_| health.on_time(late, 0.0, Room::Yes, at(1))).last()
        };
        let change = late(&mut health, true, 4).unwrap();
        assert_eq!((change.to, change.reason), (State::Probation, Reason::SlowerThanPeers));
        assert_eq!(health.state(at(1)), State::Probation);
        let change = late(&mut health, false, 10).unwrap();
        assert_eq!((change.to, change.reason), (State::Healthy, Reason::AsFastAsPeers));
        assert_eq!((health.ramp(at(1)), health.ramp(at(4))), (0.1, 1.0));
    }

    #[test]
    fn an_ejected_backend_is_no_longer_on_probation() {
        let mut health = Health::new(PARAMS, probation::Params::default());
        assert_eq!((0..4).filter_map(|_| health.on_time(true, 0.0, Room::Yes, at(1))).count(), 1);
        assert!(fail(&mut health, 3, 2).is_some());
        assert_eq!(health.state(at(13)), State::Recovering);
        assert_eq!(health.on_time(true, 0.0, Room::Yes, at(13)), None);
    }

    #[test]
    fn a_reload_keeps_the_ejection_and_takes_the_new_limits() {
        let mut health = ejected();
        health.set_params(Params { consecutive: 1, ..PARAMS }, probation::Params::default(), at(100));
        assert_eq!(health.ejected_until(at(101)), Some(at(110)));
        health.on_success(at(111));
        assert!(fail(&mut health, 1, 200).is_some());
    }
}
