//! The scenarios of overload, and what Hedgerow is to reach in each.

use std::time::Duration;

use super::arrivals::Arrivals;
use crate::configs::Setup;
use crate::course::Course;
use crate::fault::{Chance, Effect, Fault, Script, When, Whom};
use crate::scenario::{Caching, Phases};

/// Workers of each backend.
pub(crate) const WORKERS: usize = 4;
/// What the backends can do together: 20 workers at 21.6 ms a request, in requests per second.
const CAPACITY: f64 = 925.0;
/// Requests per second before and after the spike: 60 % of the capacity.
pub(crate) const USUAL: f64 = 555.0;
/// How long a client waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// A service time is so many times what [`crate::figures::lognormal`] draws: its median is 20 ms.
const SLOWER: f64 = 2.0;

#[derive(Clone)]
pub(crate) struct Overload {
    /// What it is called on the command line.
    pub(crate) word: &'static str,
    pub(crate) title: &'static str,
    /// Requests per second in the spike.
    pub(crate) spike: f64,
    /// How long the spike is, if not as long as others'.
    pub(crate) lasts: Option<Duration>,
    /// In the spike the backends take so many times as long.
    pub(crate) slower: f64,
    /// Half of the requests are for keys that may be stored, and used stale.
    pub(crate) kept: bool,
    pub(crate) aim: Aim,
}

/// What Hedgerow is to reach.
#[derive(Clone, Copy)]
pub(crate) struct Aim {
    /// Answers in time per second of the spike.
    pub(crate) goodput: Option<f64>,
    /// Of the critical requests of the spike, the share answered in time, in %.
    pub(crate) critical: Option<f64>,
    /// The same of those of default class.
    pub(crate) default: Option<f64>,
    /// Of the critical ones that were answered, ms.
    pub(crate) critical_p99: Option<f64>,
    /// Processor time of the proxy for an answer of 503, microseconds.
    pub(crate) shed_cpu: Option<f64>,
    /// Until latency is what it was before the spike, seconds after its end.
    pub(crate) back: f64,
}

impl Overload {
    pub(crate) fn phases(&self, phases: Phases) -> Phases {
        Phases { fault: self.lasts.unwrap_or(phases.fault), ..phases }
    }

    /// What happens in a run of it, given what arrives.
    pub(crate) fn course(&self, phases: Phases, seed: u64, arrivals: &Arrivals) -> Course {
        let slower =
            |when, times| Fault { when, whom: Whom::All, chance: Chance::Certain, effect: Effect::Slower(times) };
        Course {
            seed,
            phases: self.phases(phases),
            faults: vec![slower(When::Always, SLOWER), slower(When::Fault, self.slower)],
            setup: Setup { caching: if self.kept { Caching::Stale } else { Caching::Off }, workers: Some(WORKERS) },
            requests: arrivals.requests(),
            patience: PATIENCE,
        }
    }
}

/// The service time of a request's first attempt when nothing is wrong.
pub(crate) fn service(seed: u64, request: usize) -> Duration {
    let script = Script { seed, faults: Vec::new(), phase: Duration::ZERO..Duration::ZERO };
    script.drawn(request as u64, 0).mul_f64(SLOWER)
}

/// All of them.
pub(crate) fn all() -> Vec<Overload> {
    let back = |back| Aim { goodput: None, critical: None, default: None, critical_p99: None, shed_cpu: None, back };
    let at_capacity = Aim { goodput: Some(CAPACITY), shed_cpu: Some(20.0), ..back(5.0) };
    let twice = Aim {
        goodput: Some(950.0),
        critical: Some(99.5),
        default: Some(65.0),
        critical_p99: Some(60.0),
        shed_cpu: None,
        back: 5.0,
    };
    let new = |word, title, times: f64, aim| Overload {
        word,
        title,
        spike: CAPACITY * times,
        lasts: None,
        slower: 1.0,
        kept: false,
        aim,
    };
    vec![
        new("overload-2x", "Twice the capacity", 2.0, twice),
        new("overload-5x", "Five times the capacity", 5.0, at_capacity),
        new("overload-10x", "Ten times the capacity", 10.0, at_capacity),
        Overload {
            lasts: Some(Duration::from_secs(2)),
            ..new("overload-1.4x", "1.4 times the capacity for 2 s", 1.4, back(0.5))
        },
        Overload {
            spike: USUAL,
            slower: 5.0,
            ..new("overload-slowed", "All backends five times slower, the load as before", 1.0, back(5.0))
        },
        Overload {
            kept: true,
            ..new(
                "overload-stale",
                "Twice the capacity, half of it for 300 keys of which stale copies may be used",
                2.0,
                back(5.0),
            )
        },
    ]
}
