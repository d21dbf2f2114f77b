//! What one backend's attempts tell: the same for the proxy and the simulator.
//!
//! An attempt is begun, perhaps found late, answered or failed or neither, and ended, in that order. What it says
//! depends on what it is: a primary's time is a sample of how long answers take, a copy's is not (it was sent where
//! and when another was late); a cancelled attempt proves only that it would have taken longer.

use std::time::Duration;

use super::ages::{InFlight, Token};
use super::delays::Delays;
use super::ewma::PeakEwma;
use super::exceedance::Exceedance;
use super::heard::Heard;
use super::probation::ProbeGate;
use super::window::Window;
use crate::units::Tick;

/// A failure counts as an answer that took this many times the pool's usual one.
const PENALTY_FACTOR: u32 = 5;
/// The least penalty: what the simulator was tuned with.
const PENALTY_FLOOR: Duration = Duration::from_secs(1);

/// Times are made comparable between routes by at most this factor.
const MOST_SCALE: f64 = 1_000.0;

/// What an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request, or its retry.
    Primary,
    /// The copy of a late request.
    Copy,
    /// A copy that tries a backend on probation; nobody waits for it.
    Probe,
}

/// What is expected of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// When it is late; `None` while too little is known.
    pub delay: Option<Duration>,
    /// The route's median.
    pub usual: Option<Duration>,
    /// The pool's median.
    pub pool_usual: Option<Duration>,
}

impl Expect {
    /// A time as it would have been on a route as fast as the pool's usual one: else a backend that happens to have a
    /// dear request looks slow to the cheap ones.
    fn scaled(&self, took: Duration) -> Duration {
        let (Some(usual), Some(pool)) = (self.usual, self.pool_usual) else { return took };
        let factor = (pool.as_secs_f64() / usual.as_secs_f64().max(1e-6)).clamp(1.0 / MOST_SCALE, MOST_SCALE);
        took.mul_f64(factor)
    }

    /// When an attempt that starts at `now` would have had to start to be as old as it seems: a request that usually
    /// takes 300 ms is not yet old at 100.
    fn seeming_start(&self, now: Tick) -> Tick {
        let (Some(usual), Some(pool)) = (self.usual, self.pool_usual) else { return now };
        if usual >= pool {
            return now + (usual - pool);
        }
        let earlier = u64::try_from((pool - usual).as_nanos()).unwrap_or(u64::MAX);
        Tick::from_nanos(now.as_nanos().saturating_sub(earlier))
    }
}

/// One backend's signals, shared between threads without a lock.
#[derive(Debug, Default)]
pub struct Signals {
    /// Requests sent and not ended.
    pub in_flight: InFlight,
    /// The average time to first byte.
    pub ewma: PeakEwma,
    /// The times to first byte of what was answered, by whatever kind of attempt.
    pub window: Window,
    /// The times to first byte of primaries, those that were not waited for too.
    pub delays: Delays,
    /// The share of primaries later than the delay.
    pub late: Exceedance,
    /// The share of attempts that failed or were answered by an error.
    pub failing: Exceedance,
    /// Its run of late answers.
    pub late_run: Heard,
    /// Its run of errors.
    pub error_run: Heard,
    /// Copies that try it while it is on probation.
    pub probes: ProbeGate,
}

/// One attempt. To be given back to [`Signals::end`].
#[derive(Debug)]
#[must_use = "an attempt that is dropped stays in flight; give it back with `end`"]
pub struct Trial {
    token: Token,
    started: Tick,
    kind: Kind,
    expect: Expect,
    progress: Progress,
    /// Whether it is known to have been late, or in time.
    judged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Open,
    Answered,
    Failed,
}

impl Trial {
    /// When it began.
    pub fn started(&self) -> Tick {
        self.started
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// A time as it would have been on a route as fast as the pool's usual one.
    pub fn scaled(&self, took: Duration) -> Duration {
        self.expect.scaled(took)
    }

    /// Whether it is later than expected after so long.
    pub fn is_late(&self, elapsed: Duration) -> bool {
        self.expect.delay.is_some_and(|delay| elapsed >= delay)
    }

    /// Whether a final head has come.
    pub fn has_answered(&self) -> bool {
        self.progress == Progress::Answered
    }

    /// Whether it was late, the first time that this is known: evidence for or against the backend.
    fn judge(&mut self, elapsed: Duration, answered: bool) -> Option<bool> {
        let delay = self.expect.delay?;
        let known = answered || elapsed >= delay;
        // A copy's time says as much about the request as about the backend.
        if self.judged || !known || self.kind == Kind::Copy {
            return None;
        }
        self.judged = true;
        // Without an answer it is late at the delay itself.
        Some(!answered || elapsed > delay)
    }
}

impl Signals {
    /// An attempt begins.
    pub fn begin(&self, kind: Kind, expect: Expect, now: Tick) -> Trial {
        let token = self.in_flight.begin(expect.seeming_start(now));
        Trial { token, started: now, kind, expect, progress: Progress::Open, judged: false }
    }

    /// The delay has passed without an answer.
    pub fn late(&self, trial: &mut Trial, now: Tick) -> Option<bool> {
        let elapsed = now.since(trial.started);
        self.judged(trial, elapsed, false, now)
    }

    /// The head of a final response came; returns the time it took, and whether it was late, if that is news. `route`
    /// and `pool` take the sample too if it is one.
    pub fn answered(
        &self,
        trial: &mut Trial,
        learning: &[&Delays],
        error: bool,
        now: Tick,
    ) -> (Duration, Option<bool>) {
        let took = now.since(trial.started);
        trial.progress = Progress::Answered;
        self.in_flight.answered(&mut trial.token);
        self.window.record(took);
        self.failing.observe(error, now);
        let scaled = trial.expect.scaled(took);
        if error {
            // Errors come fast; they must not make a backend look so.
            self.ewma.raise(scaled, now);
            return (took, None);
        }
        self.ewma.observe(scaled, now);
        if trial.kind == Kind::Primary {
            self.delays.answered(took);
            learning.iter().for_each(|delays| delays.answered(took));
        }
        (took, self.judged(trial, took, true, now))
    }

    /// The backend said "not now"; returns the time that took. It is no sample of how long answers take and no error: it only
    /// keeps the backend, which says so fast, from looking faster than what is usual.
    pub fn pushed_back(&self, trial: &mut Trial, now: Tick) -> Duration {
        let took = now.since(trial.started);
        trial.progress = Progress::Answered;
        self.in_flight.answered(&mut trial.token);
        let usual = trial.expect.pool_usual.unwrap_or_default();
        self.ewma.raise(trial.expect.scaled(took).max(usual), now);
        took
    }

    /// The attempt failed; `usual` is the 99th percentile of the pool's best backend.
    pub fn failed(&self, trial: &mut Trial, usual: Option<Duration>, now: Tick) {
        trial.progress = Progress::Failed;
        self.failing.observe(true, now);
        self.penalise(now.since(trial.started), usual, now);
    }

    /// Counts what fails fast as slow: else it would draw all of the load.
    pub fn penalise(&self, elapsed: Duration, usual: Option<Duration>, now: Tick) {
        let penalty = usual.unwrap_or_default().saturating_mul(PENALTY_FACTOR).max(PENALTY_FLOOR);
        self.ewma.observe_failure(elapsed, penalty, now);
    }

    /// The attempt is over. One that has neither answered nor failed was cancelled: returns whether it was late, if
    /// that is news.
    pub fn end(&self, mut trial: Trial, learning: &[&Delays], now: Tick) -> Option<bool> {
        let mut late = None;
        if trial.progress == Progress::Open {
            let elapsed = now.since(trial.started);
            self.ewma.raise(trial.expect.scaled(elapsed), now);
            if trial.kind == Kind::Primary {
                self.delays.censored(elapsed);
                learning.iter().for_each(|delays| delays.censored(elapsed));
            }
            if trial.is_late(elapsed) {
                self.in_flight.abandon(&mut trial.token, now);
            }
            late = self.judged(&mut trial, elapsed, false, now);
        }
        if trial.kind == Kind::Probe {
            self.probes.done();
        }
        self.in_flight.end(trial.token);
        late
    }

    fn judged(&self, trial: &mut Trial, elapsed: Duration, answered: bool, now: Tick) -> Option<bool> {
        let late = trial.judge(elapsed, answered)?;
        self.late.observe(late, now);
        Some(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn expect(delay: u32) -> Expect {
        Expect { delay: Some(delay * MS), ..Expect::default() }
    }

    #[test]
    fn a_primary_is_late_once_whatever_comes_of_it() {
        let signals = Signals::default();
        let mut trial = signals.begin(Kind::Primary, expect(20), at(0));
        assert_eq!(signals.late(&mut trial, at(10)), None, "not yet");
        assert_eq!(signals.late(&mut trial, at(20)), Some(true));
        assert_eq!(signals.late(&mut trial, at(21)), None, "no news");
        assert_eq!(signals.answered(&mut trial, &[], false, at(30)), (30 * MS, None));
        let mut in_time = signals.begin(Kind::Primary, expect(20), at(0));
        assert_eq!(signals.answered(&mut in_time, &[], false, at(20)), (20 * MS, Some(false)));
        assert_eq!((signals.end(trial, &[], at(40)), signals.end(in_time, &[], at(40))), (None, None));
        assert_eq!(signals.in_flight.count(), 0);
    }

    #[test]
    fn a_cancelled_primary_is_censored_and_a_copy_teaches_nothing_of_the_route() {
        let (signals, route) = (Signals::default(), Delays::new());
        let primary = signals.begin(Kind::Primary, expect(20), at(0));
        let mut copy = signals.begin(Kind::Copy, expect(20), at(20));
        assert_eq!(signals.answered(&mut copy, &[&route], false, at(25)).1, None);
        assert_eq!(signals.end(primary, &[&route], at(25)), Some(true));
        assert_eq!(signals.end(copy, &[&route], at(26)), None);
        route.publish([0.95; 2], at(1_000));
        assert_eq!(route.distribution().count, 1);
        assert_eq!(signals.in_flight.count(), 0);
    }

    #[test]
    fn an_attempt_cancelled_before_the_delay_is_no_evidence() {
        let signals = Signals::default();
        let trial = signals.begin(Kind::Primary, expect(20), at(0));
        assert_eq!(signals.end(trial, &[], at(5)), None);
        assert_eq!(signals.late.share(at(5)), 0.0);
    }

    #[test]
    fn a_fast_error_does_not_make_a_backend_look_fast() {
        let signals = Signals::default();
        let mut slow = signals.begin(Kind::Primary, expect(200), at(0));
        signals.answered(&mut slow, &[], false, at(100));
        let before = signals.ewma.cost(at(100));
        let mut error = signals.begin(Kind::Primary, expect(200), at(100));
        assert_eq!(signals.answered(&mut error, &[], true, at(100)), (Duration::ZERO, None));
        assert_eq!(signals.ewma.cost(at(100)), before);
        let mut failed = signals.begin(Kind::Primary, expect(200), at(100));
        signals.failed(&mut failed, None, at(101));
        assert!(signals.ewma.cost(at(101)) >= Some(999 * MS));
        [slow, error, failed].into_iter().for_each(|trial| assert_eq!(signals.end(trial, &[], at(101)), None));
    }

    #[test]
    fn what_is_pushed_back_is_no_error_and_no_sample_and_looks_no_faster_than_usual() {
        let (signals, route) = (Signals::default(), Delays::new());
        let usual = Expect { delay: Some(20 * MS), usual: Some(10 * MS), pool_usual: Some(10 * MS) };
        let mut trial = signals.begin(Kind::Primary, usual, at(0));
        assert_eq!(signals.pushed_back(&mut trial, at(1)), MS);
        assert_eq!(signals.ewma.cost(at(1)), Some(10 * MS), "what is usual");
        assert_eq!(signals.end(trial, &[&route], at(50)), None, "a long body is not lateness");
        assert_eq!((signals.failing.share(at(50)), signals.late.share(at(50))), (0.0, 0.0));
        signals.window.publish(at(1_000));
        route.publish([0.95; 2], at(1_000));
        assert_eq!((signals.window.quantiles().count, route.distribution().count), (0, 0));
        assert_eq!(signals.in_flight.count(), 0);
        let mut slow = signals.begin(Kind::Primary, usual, at(1_000));
        signals.pushed_back(&mut slow, at(1_100));
        assert!(signals.ewma.cost(at(1_100)) >= Some(99 * MS), "and no faster than it was");
        signals.end(slow, &[], at(1_100));
    }

    #[test]
    fn a_dear_route_does_not_make_its_backend_look_slow_or_hung() {
        let signals = Signals::default();
        let dear = Expect { delay: None, usual: Some(300 * MS), pool_usual: Some(10 * MS) };
        let mut trial = signals.begin(Kind::Primary, dear, at(1_000));
        assert_eq!(signals.in_flight.oldest(at(2_000)), Some(at(1_290)));
        signals.answered(&mut trial, &[], false, at(1_300));
        let cost = signals.ewma.cost(at(1_300)).unwrap();
        assert!(cost > 9 * MS && cost < 11 * MS, "{cost:?}");
        signals.end(trial, &[], at(1_300));
        let cheap = Expect { delay: None, usual: Some(MS), pool_usual: Some(10 * MS) };
        let trial = signals.begin(Kind::Primary, cheap, at(2_000));
        assert_eq!(signals.in_flight.oldest(at(2_000)), Some(at(1_991)));
        signals.end(trial, &[], at(2_001));
    }
}
