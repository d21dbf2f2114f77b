//! What goes wrong, as a value: a list of faults tells for each attempt what the backend does with it.
//!
//! It is a pure function of the time, the backend and the attempt. All chance is drawn from the seed, the request and the
//! attempt, so that every proxy meets the same.

use std::ops::Range;
use std::time::Duration;

use crate::figures::lognormal;

/// One thing that goes wrong. Faults compose: each is applied to what those before it left.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) when: When,
    pub(crate) whom: Whom,
    pub(crate) chance: Chance,
    pub(crate) effect: Effect,
}

#[derive(Clone, Copy)]
pub(crate) enum When {
    Always,
    /// The whole fault phase.
    Fault,
    /// From one to another share of the fault phase.
    Part(f64, f64),
    /// In the fault phase, for `lasts` of every `period`; each backend `stagger` later than the one before it.
    Every {
        period: Duration,
        lasts: Duration,
        stagger: Duration,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    All,
    /// This backend.
    Backend(usize),
    /// Whoever fetches the hot key.
    Hot,
}

/// The share that is hit.
#[derive(Clone, Copy)]
pub(crate) enum Chance {
    Certain,
    /// Of attempts, each for itself.
    OfAttempts(f64),
    /// Of requests: all attempts of one share its fate.
    OfRequests(f64),
}

#[derive(Clone, Copy)]
pub(crate) enum Effect {
    /// Takes so many times as long.
    Slower(f64),
    /// Takes longer by so much.
    Stall(Duration),
    /// Takes exactly so long.
    Takes(Duration),
    /// Is never answered.
    Never,
    /// Is answered 503 after so long.
    Fails(Duration),
    /// Half of the body comes, and the rest so much later.
    Half(Duration),
    /// What would be answered meanwhile is answered at the end.
    Pause,
    /// The backend drops its connections and listens no more.
    Refuses,
}

/// An attempt as a backend sees it.
pub(crate) struct Attempt {
    /// Since the load's begin.
    pub(crate) at: Duration,
    pub(crate) backend: usize,
    /// The request's number, or that of a fetch of the hot key.
    pub(crate) request: u64,
    pub(crate) hot: bool,
    /// How many of the same request came before it.
    pub(crate) before: u32,
}

/// What a backend does with an attempt.
pub(crate) struct Service {
    /// When it answers, since the load's begin; `None`: never.
    pub(crate) answer: Option<Duration>,
    pub(crate) fails: bool,
    /// How long it waits in the middle of the body.
    pub(crate) rest_after: Option<Duration>,
}

/// All faults of a run.
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
    /// The fault phase, since the load's begin.
    pub(crate) phase: Range<Duration>,
}

impl Script {
    /// What becomes of an attempt.
    pub(crate) fn service(&self, attempt: &Attempt) -> Service {
        let mut time = self.drawn(attempt.request, attempt.before);
        let mut service = Service { answer: None, fails: false, rest_after: None };
        let mut never = false;
        for (number, fault) in self.faults.iter().enumerate() {
            let meant = match fault.whom {
                Whom::All => true,
                Whom::Backend(backend) => backend == attempt.backend,
                Whom::Hot => attempt.hot,
            };
            let now = self.window(fault.when, attempt.backend, attempt.at).is_some();
            if !meant || !now || !self.hit(number, fault.chance, attempt) {
                continue;
            }
            match fault.effect {
                Effect::Slower(times) => time = time.mul_f64(times),
                Effect::Stall(longer) => time += longer,
                Effect::Takes(exactly) => time = exactly,
                Effect::Never => never = true,
                Effect::Fails(after) => (time, service.fails) = (after, true),
                Effect::Half(pause) => service.rest_after = Some(pause),
                // Not of the attempt's arrival, but below of its answer; and of connections.
                Effect::Pause | Effect::Refuses => {}
            }
        }
        service.answer = (!never).then(|| self.released(attempt, attempt.at + time));
        service
    }

    /// When a backend refuses connections, in order.
    pub(crate) fn refusals(&self, backend: usize) -> Vec<Range<Duration>> {
        let refuses = |fault: &&Fault| {
            matches!(fault.effect, Effect::Refuses) && [Whom::All, Whom::Backend(backend)].contains(&fault.whom)
        };
        let part = |fault: &Fault| match fault.when {
            When::Part(from, to) => self.part(from, to),
            _ => self.phase.clone(),
        };
        self.faults.iter().filter(refuses).map(part).collect()
    }

    /// The service time of a request's attempt when nothing is wrong.
    pub(crate) fn drawn(&self, request: u64, before: u32) -> Duration {
        lognormal(&mut self.rng(0, request, before))
    }

    /// An answer that falls into a pause comes at the pause's end.
    fn released(&self, attempt: &Attempt, answer: Duration) -> Duration {
        let pauses = self.faults.iter().filter(|fault| {
            matches!(fault.effect, Effect::Pause) && [Whom::All, Whom::Backend(attempt.backend)].contains(&fault.whom)
        });
        pauses.fold(answer, |answer, fault| self.window(fault.when, attempt.backend, answer).unwrap_or(answer))
    }

    /// If a fault is on at that time: until when.
    fn window(&self, when: When, backend: usize, at: Duration) -> Option<Duration> {
        match when {
            When::Always => Some(Duration::MAX),
            When::Fault => self.phase.contains(&at).then_some(self.phase.end),
            When::Part(from, to) => {
                let part = self.part(from, to);
                part.contains(&at).then_some(part.end)
            }
            When::Every { period, lasts, stagger } => {
                let first = self.phase.start + stagger * backend as u32;
                let since = at.checked_sub(first).filter(|_| at < self.phase.end)?;
                let begin = period * (since.as_nanos() / period.as_nanos()) as u32;
                (since - begin < lasts).then_some(first + begin + lasts)
            }
        }
    }

    fn part(&self, from: f64, to: f64) -> Range<Duration> {
        let length = self.phase.end - self.phase.start;
        self.phase.start + length.mul_f64(from)..self.phase.start + length.mul_f64(to)
    }

    fn hit(&self, fault: usize, chance: Chance, attempt: &Attempt) -> bool {
        let (share, before) = match chance {
            Chance::Certain => return true,
            Chance::OfAttempts(share) => (share, attempt.before),
            Chance::OfRequests(share) => (share, 0),
        };
        self.rng(1 + fault as u64, attempt.request, before).f64() < share
    }

    /// Chance of its own for each purpose and attempt.
    fn rng(&self, purpose: u64, request: u64, before: u32) -> fastrand::Rng {
        let parts = [self.seed, purpose, request, u64::from(before)];
        fastrand::Rng::with_seed(parts.into_iter().fold(0, |mixed, part| mix(mixed ^ mix(part))))
    }
}

/// Splitmix64: neighbours get far apart.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
