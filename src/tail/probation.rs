//! Whether one backend is slower than its peers: a sequential test, to be decided by as few requests as will do.
//!
//! Each primary either exceeds the delay or does not. Two hypotheses: the backend does so as often as its peers (a
//! share of p0), or it is sick ([`Params::late`]). Every sample adds the logarithm of how much more likely it is under the
//! second; below zero the sum starts anew, at [`ALARM`] the backend goes on probation (Page's cumulative sum test,
//! 1954; the optimal one for the time to detection at a given rate of false alarms). With peers late one time in
//! twenty, four late answers in a row convict, or six of nine; by chance that happens to a healthy backend less than once in
//! a hundred thousand requests. When all backends are late p0 rises with them, and nobody is convicted.
//!
//! On probation no client waits for the backend. It gets copies of requests that others answer ([`ProbeGate`]), and
//! the same sum runs backwards: ten answers in time take it down to zero, and the backend back into the pool.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::units::{Ratio, Tick};

/// Probation of backends that are slower than their peers.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Whether there is any.
    pub enabled: bool,
    /// The share of late answers of a backend that is sick. Between this and the peers' share lies the slowness that is
    /// left to balancing: a backend a third slower than its peers is only used less.
    pub late: Ratio,
    /// The share of a pool that may be out, on probation or ejected.
    pub share: Ratio,
    /// The share of a pool's requests that may be copied to one of its backends on probation.
    pub probes: Ratio,
    /// How long a backend that leaves probation takes to its full weight. It is warm, other than one that was away.
    pub ramp: Duration,
    /// The longest that relapses make it last.
    pub max_time: Duration,
}

impl Default for Params {
    /// Late 70 % of the time, a third of the pool, a probe for each hundred requests, three seconds, a minute.
    fn default() -> Params {
        Params {
            enabled: true,
            late: Ratio::percent(70),
            share: THIRD,
            probes: Ratio::percent(1),
            ramp: Duration::from_secs(3),
            max_time: Duration::from_secs(60),
        }
    }
}

const THIRD: Ratio = match Ratio::permille(334) {
    Some(third) => third,
    None => Ratio::ZERO,
};

/// The sum that convicts.
const ALARM: f32 = 10.5;

/// The peers' share as it enters the test: below it four samples would be three. At [`Params::late`] the hypotheses are one.
const PEERS_LEAST: f32 = 0.05;

/// How long the second probation lasts at least; the third lasts four times as long, the fourth nine times.
const RELAPSE: Duration = Duration::from_secs(1);
/// Without a probation for this long relapses are forgotten.
const FORGIVEN: Duration = Duration::from_secs(60);
/// A backend of which there is no evidence is let back in after this long, times its relapses.
const UNPROVEN: Duration = Duration::from_secs(30);

/// Whether there is room on probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Others can take its load.
    Yes,
    /// Too much of the pool is out already.
    None,
}

impl Room {
    /// What holds in a pool of `backends`, of which `out` are ejected or on probation: this share may be. Of two
    /// backends that is none: in a burst that makes both slow one of them would be late first, and half of the pool
    /// be gone.
    pub fn of(backends: usize, out: usize, share: Ratio) -> Room {
        let most = (backends as f64 * share.get()) as usize;
        if out < most { Room::Yes } else { Room::None }
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on probation.
    Convicted,
    /// It leaves it, by evidence.
    Acquitted,
    /// It leaves it, since there is no evidence to be had.
    Unproven,
}

/// The test of one backend.
#[derive(Clone, Debug)]
pub struct Probation {
    params: Params,
    sum: f32,
    /// Since when it is on probation.
    since: Option<Tick>,
    /// Probations without a quiet time between them, this one too.
    relapses: u32,
    /// When the last one ended.
    ended: Option<Tick>,
    /// When it last was late while on probation.
    late: Option<Tick>,
}

impl Probation {
    /// Nothing held against it.
    pub fn new(params: Params) -> Probation {
        Probation { params, sum: 0.0, since: None, relapses: 0, ended: None, late: None }
    }

    /// Takes new parameters, for a reload that keeps the backend.
    pub fn set_params(&mut self, params: Params, now: Tick) {
        if !params.enabled {
            self.reset(now);
        }
        self.params = params;
    }

    /// The share of its weight that a backend has at `now` whose probation has ended.
    pub fn ramp(&self, now: Tick) -> f64 {
        const LEAST: f64 = 0.1;
        match self.ended {
            Some(ended) if !self.params.ramp.is_zero() => {
                (now.since(ended).as_secs_f64() / self.params.ramp.as_secs_f64()).clamp(LEAST, 1.0)
            }
            _ => 1.0,
        }
    }

    /// Whether it is on probation.
    pub fn is_on(&self) -> bool {
        self.since.is_some()
    }

    /// Whether there is something held against it.
    pub fn is_suspected(&self) -> bool {
        self.sum > 0.0 || self.is_on()
    }

    /// When the last probation ended.
    pub fn ended(&self) -> Option<Tick> {
        self.ended
    }

    /// A primary, or a copy sent to try it, exceeded the delay or was answered in time. `peers` is the mean share of
    /// the others.
    pub fn observe(&mut self, exceeded: bool, peers: f32, room: Room, now: Tick) -> Option<Verdict> {
        if !self.params.enabled {
            return None;
        }
        let sick = (self.params.late.get() as f32).clamp(2.0 * PEERS_LEAST, 0.99);
        let p0 = peers.clamp(PEERS_LEAST, sick);
        let step = if exceeded { (sick / p0).ln() } else { ((1.0 - sick) / (1.0 - p0)).ln() };
        self.sum = (self.sum + step).clamp(0.0, ALARM);
        match self.since {
            None if self.sum >= ALARM && room == Room::Yes => {
                self.enter(now);
                Some(Verdict::Convicted)
            }
            None => None,
            Some(since) => {
                if exceeded {
                    self.late = Some(now);
                }
                let served = now.since(since) >= self.least_stay();
                if self.sum > 0.0 || !served {
                    return None;
                }
                self.leave(now);
                Some(Verdict::Acquitted)
            }
        }
    }

    /// Time passed. To be called now and then: a backend that gets no copies is not kept out for ever.
    pub fn pass(&mut self, now: Tick) -> Option<Verdict> {
        let since = self.since?;
        let stay = UNPROVEN.saturating_mul(self.relapses.max(1)).min(10 * UNPROVEN);
        let last = self.late.map_or(since, |late| late.max(since));
        if now.since(last) < stay {
            return None;
        }
        self.leave(now);
        Some(Verdict::Unproven)
    }

    /// Forgets all but the relapses, for a backend that was ejected.
    pub fn reset(&mut self, now: Tick) {
        if self.since.is_some() {
            self.leave(now);
        }
        self.sum = 0.0;
    }

    fn enter(&mut self, now: Tick) {
        let quiet = self.ended.is_none_or(|ended| now.since(ended) >= FORGIVEN);
        self.relapses = if quiet { 1 } else { self.relapses.saturating_add(1) };
        self.since = Some(now);
        self.late = None;
    }

    fn leave(&mut self, now: Tick) {
        self.since = None;
        self.ended = Some(now);
        self.sum = 0.0;
    }

    /// None for the first, which is as likely a false alarm as not; then it grows as the square.
    fn least_stay(&self) -> Duration {
        let again = self.relapses.saturating_sub(1);
        RELAPSE.saturating_mul(again.saturating_mul(again)).min(self.params.max_time)
    }
}

/// When a backend on probation may be tried with a copy: one at a time, and no more than a share of the requests.
#[derive(Debug, Default)]
pub struct ProbeGate {
    /// Millionths of a probe at hand.
    credit: AtomicU64,
    busy: AtomicBool,
}

const PROBE: u64 = 1_000_000;

impl ProbeGate {
    /// A request came that might be copied, as this share may be; whether it is to be. Whoever gets a yes calls
    /// [`ProbeGate::done`] when the copy has ended.
    pub fn admit(&self, share: Ratio) -> bool {
        let gift = (share.get() * PROBE as f64) as u64;
        let saved = self.credit.fetch_add(gift, Ordering::Relaxed) + gift;
        if saved < PROBE || self.busy.swap(true, Ordering::Relaxed) {
            // It must not save up while one is under way.
            if saved > PROBE {
                self.credit.store(PROBE, Ordering::Relaxed);
            }
            return false;
        }
        self.credit.store(0, Ordering::Relaxed);
        true
    }

    /// The copy has ended.
    pub fn done(&self) {
        self.busy.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn feed(probation: &mut Probation, samples: &[bool], peers: f32, seconds: u64) -> Vec<Verdict> {
        let observe = |&exceeded: &bool| probation.observe(exceeded, peers, Room::Yes, at(seconds));
        samples.iter().filter_map(observe).collect()
    }

    fn convicted() -> Probation {
        let mut probation = Probation::new(Params::default());
        assert_eq!(feed(&mut probation, &[true; 4], 0.05, 100), [Verdict::Convicted]);
        probation
    }

    #[test]
    fn four_late_answers_in_a_row_convict_and_three_do_not() {
        let mut probation = Probation::new(Params::default());
        assert_eq!(feed(&mut probation, &[true; 3], 0.05, 1), []);
        assert!(!probation.is_on());
        assert_eq!(feed(&mut probation, &[true], 0.05, 1), [Verdict::Convicted]);
        assert!(probation.is_on());
    }

    #[test]
    fn a_backend_late_as_often_as_its_peers_is_convicted_once_in_a_hundred_thousand_requests() {
        let mut rng = fastrand::Rng::with_seed(7);
        for peers in [0.02, 0.05, 0.1, 0.3, 0.6] {
            let mut probation = Probation::new(Params::default());
            let mut observe = |_: &u32| probation.observe(rng.f32() < peers, peers, Room::Yes, at(1));
            let false_alarms = (0..2_000_000).filter(|i| observe(i) == Some(Verdict::Convicted)).count();
            assert!(false_alarms <= 20, "{peers}: {false_alarms}");
        }
    }

    #[test]
    fn when_all_are_late_nobody_is_convicted() {
        let mut probation = Probation::new(Params::default());
        assert_eq!(feed(&mut probation, &[true; 10], 0.95, 1), []);
    }

    #[test]
    fn a_backend_late_half_of_the_time_is_convicted_soon() {
        let mut rng = fastrand::Rng::with_seed(3);
        for seed in 0..50 {
            rng.seed(seed);
            let mut probation = Probation::new(Params::default());
            let tried = (0..).find(|_| probation.observe(rng.f32() < 0.5, 0.05, Room::Yes, at(1)).is_some());
            assert!(tried.is_some_and(|n| n < 150), "{seed}: {tried:?}");
        }
    }

    #[test]
    fn without_room_it_waits_for_room() {
        let mut probation = Probation::new(Params::default());
        assert!((0..10).all(|_| probation.observe(true, 0.05, Room::None, at(1)).is_none()));
        assert_eq!(probation.observe(true, 0.05, Room::Yes, at(1)), Some(Verdict::Convicted));
    }

    #[test]
    fn room_is_a_third_of_the_pool() {
        let room = |backends| (0..backends).take_while(|&out| Room::of(backends, out, THIRD) == Room::Yes).count();
        assert_eq!([1, 2, 3, 5, 6, 10].map(room), [0, 0, 1, 1, 2, 3]);
    }

    #[test]
    fn ten_answers_in_time_acquit_and_a_late_one_among_them_does_not() {
        let mut probation = convicted();
        assert_eq!(feed(&mut probation, &[false; 9], 0.05, 101), []);
        assert_eq!(feed(&mut probation, &[true], 0.05, 101), []);
        assert_eq!(feed(&mut probation, &[false, false], 0.05, 101), []);
        assert_eq!(feed(&mut probation, &[false], 0.05, 101), [Verdict::Acquitted]);
        assert_eq!((probation.is_on(), probation.ended()), (false, Some(at(101))));
    }

    #[test]
    fn relapses_lengthen_it_until_they_are_forgiven() {
        let mut probation = convicted();
        let mut now = 100;
        let mut stays = vec![];
        for _ in 0..4 {
            let begun = now;
            while feed(&mut probation, &[false; 10], 0.05, now).is_empty() {
                now += 1;
            }
            stays.push(now - begun);
            feed(&mut probation, &[true; 4], 0.05, now);
        }
        assert_eq!(stays, [0, 1, 4, 9]);
        let mut forgiven = convicted();
        feed(&mut forgiven, &[false; 10], 0.05, 100);
        feed(&mut forgiven, &[true; 4], 0.05, 160);
        assert_eq!(feed(&mut forgiven, &[false; 10], 0.05, 160), [Verdict::Acquitted]);
    }

    #[test]
    fn without_evidence_it_ends_by_time_and_late_answers_are_evidence() {
        let mut probation = convicted();
        assert_eq!(probation.pass(at(129)), None);
        feed(&mut probation, &[true], 0.05, 120);
        assert_eq!(probation.pass(at(149)), None);
        assert_eq!(probation.pass(at(150)), Some(Verdict::Unproven));
        assert_eq!(probation.pass(at(1_000)), None);
    }

    #[test]
    fn one_request_in_a_hundred_is_copied_and_one_at_a_time() {
        let gate = ProbeGate::default();
        let tried = (0..10_000).filter(|_| gate.admit(Ratio::percent(1)).then(|| gate.done()).is_some()).count();
        assert!((99..=101).contains(&tried), "{tried}");
        while !gate.admit(Ratio::percent(1)) {}
        assert!((0..1_000).all(|_| !gate.admit(Ratio::percent(1))), "one is under way");
        gate.done();
        assert!(gate.admit(Ratio::percent(1)));
    }
}
