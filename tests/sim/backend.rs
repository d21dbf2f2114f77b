//! A scripted backend: what it does with a request, and how many it works on at a time.

use std::collections::VecDeque;
use std::time::Duration;

use hedgerow::balance::least_loaded::Candidate;
use hedgerow::balance::slow_start;
use hedgerow::tail::health::{Health, State};
use hedgerow::tail::signals::Signals;
use hedgerow::units::Tick;

use super::Load;

/// What a backend does with one request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Answers after this long.
    After(Duration),
    /// Answers after this long that it cannot (a 503).
    Errors(Duration),
    /// Ends the connection after this long.
    Fails(Duration),
    /// Never says anything; a timeout ends it.
    Never,
}

/// How a backend behaves: what it does with a request that it begins to work on at a time.
pub(crate) type Script = Box<dyn Fn(Duration, &mut fastrand::Rng) -> Answer>;

/// Service time with this median and a 99th percentile two and a half times above (a lognormal, sigma 0.394).
pub(crate) fn lognormal(median: Duration, rng: &mut fastrand::Rng) -> Duration {
    let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
    median.mul_f64((0.394 * normal).exp())
}

/// A backend that always answers with this median.
pub(crate) fn steady(millis: u64) -> Script {
    Box::new(move |_, rng| Answer::After(lognormal(Duration::from_millis(millis), rng)))
}

/// One while `during`, else the other.
pub(crate) fn sometimes(during: impl Fn(Duration) -> bool + 'static, then: Script, or_else: Script) -> Script {
    Box::new(move |at, rng| if during(at) { then(at, rng) } else { or_else(at, rng) })
}

/// Stops for `length` every `period`, first at `offset`; what is in service stops too. While `during`.
pub(crate) fn pausing(
    during: impl Fn(Duration) -> bool + 'static,
    [period, length, offset]: [Duration; 3],
    inner: Script,
) -> Script {
    Box::new(move |at, rng| {
        let Answer::After(mut left) = inner(at, rng) else { return inner(at, rng) };
        let (mut now, mut waited) = (at, Duration::ZERO);
        loop {
            let since =
                Duration::from_nanos(((now + period).saturating_sub(offset).as_nanos() % period.as_nanos()) as u64);
            let step = if since < length && during(now) {
                length - since
            } else {
                let until_next = period - since;
                let step = left.min(until_next);
                left -= step;
                step
            };
            waited += step;
            now += step;
            if left.is_zero() {
                return Answer::After(waited);
            }
        }
    })
}

/// One backend of the pool, with the signals that the edge keeps of it.
pub(super) struct Backend {
    pub(super) script: Script,
    pub(super) weight: f64,
    pub(super) joined: Option<Tick>,
    pub(super) signals: Signals,
    pub(super) health: Health,
    /// Requests it works on at a time.
    pub(super) workers: usize,
    pub(super) busy: usize,
    pub(super) queue: VecDeque<u64>,
}

impl Backend {
    pub(super) fn candidate(&self, load: &Load, now: Tick) -> Candidate {
        let since = self.health.recovered(now).max(self.joined);
        Candidate {
            in_flight: self.signals.in_flight.count(),
            cost: self.signals.ewma.cost(now),
            oldest: self.signals.in_flight.oldest(now),
            weight: self.weight * slow_start::factor(since, load.slow_start, now) * self.health.ramp(now),
        }
    }

    pub(super) fn is_ejected(&self, now: Tick) -> bool {
        matches!(self.health.state(now), State::Ejected(_))
    }

    pub(super) fn is_on_probation(&self, now: Tick) -> bool {
        self.health.state(now) == State::Probation
    }
}
