//! The scenarios: load, faults, and what Hedgerow is to reach in each (the targets of the first table are absolute, those
//! of the others only bounds on what a tail control may cost).

use std::time::Duration;

use crate::fault::{Chance, Effect, Fault, When, Whom};

/// How many backends there are.
pub(crate) const BACKENDS: usize = 5;
/// The one that gets sick, where it is one.
pub(crate) const SICK: usize = 2;
/// Requests per second.
const RATE: u32 = 400;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// How long each phase of a run is.
#[derive(Clone, Copy)]
pub(crate) struct Phases {
    pub(crate) warm: Duration,
    pub(crate) fault: Duration,
    pub(crate) recovery: Duration,
}

#[derive(Clone)]
pub(crate) struct Scenario {
    /// What it is called on the command line.
    pub(crate) word: &'static str,
    pub(crate) title: &'static str,
    pub(crate) faults: Vec<Fault>,
    /// Requests per second.
    pub(crate) rate: u32,
    /// The fault phase is so many times as long as others'.
    pub(crate) longer: u32,
    pub(crate) traffic: Traffic,
    pub(crate) caching: Caching,
    /// Whether one backend is sick for the whole fault phase, so that load is to move away and back.
    pub(crate) one_sick: bool,
    pub(crate) target: Target,
}

impl Scenario {
    /// Whether one backend is worse off than the others, if only for a time.
    pub(crate) fn has_a_sick_one(&self) -> bool {
        self.faults.iter().any(|fault| fault.whom == Whom::Backend(SICK))
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Each request something else, which must not be stored.
    Uncached,
    /// One key that may be stored for a second, besides uncached requests: every second one while it gets warm, then every tenth.
    Hot,
    /// The same without uncached requests.
    HotAlone,
}

impl Traffic {
    /// Whether a request is for the hot key.
    pub(crate) fn is_hot(self, request: usize, warm: bool) -> bool {
        match self {
            Traffic::Uncached => false,
            Traffic::Hot => !request.is_multiple_of(if warm { 2 } else { 10 }),
            Traffic::HotAlone => true,
        }
    }
}

/// What the origin and the proxies' configurations allow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// Proxies without a cache, other than Hedgerow, which always has one.
    Off,
    /// A second, not longer.
    Fresh,
    /// A second, and a stale copy while it is fetched anew.
    Stale,
}

/// What Hedgerow is to reach in the fault phase; times in ms.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) p99: Option<f64>,
    pub(crate) p999: Option<f64>,
    /// Requests at backends per request of a client.
    pub(crate) amplification: f64,
    pub(crate) fetches_per_expiry: Option<f64>,
}

/// What holds in every scenario.
const BOUND: Target = Target { p99: None, p999: None, amplification: 1.065, fetches_per_expiry: None };
/// Requests at backends per request of a client, in any second of a run.
pub(crate) const ANY_SECOND: f64 = 1.10;

const fn target(p99: f64, p999: f64, amplification: f64) -> Target {
    Target { p99: Some(p99), p999: Some(p999), amplification, fetches_per_expiry: None }
}

/// All of them; the first table's come first.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = table();
    all.extend(shapes());
    all
}

/// Those with targets of their own.
fn table() -> Vec<Scenario> {
    let hot = |word, title, traffic, caching, target| Scenario {
        traffic,
        caching,
        longer: 2,
        target: Target { fetches_per_expiry: Some(1.2), ..target },
        ..new(word, title, vec![fault(When::Fault, Whom::Hot, Chance::OfAttempts(0.1), Effect::Stall(MS(1000)))])
    };
    let sick = |scenario| Scenario { one_sick: true, ..scenario };
    let aim = |target, scenario| Scenario { target, ..scenario };
    vec![
        aim(target(25.5, 36.0, 1.06), new("none", "No fault", vec![])),
        sick(aim(
            target(30.0, 45.0, 1.06),
            new("one-slow", "1 of 5 ten times slower", vec![one(Effect::Slower(10.0))]),
        )),
        aim(
            target(32.0, 48.0, 1.065),
            new(
                "stalls",
                "1 % of attempts stall for 1 s",
                vec![fault(When::Fault, Whom::All, Chance::OfAttempts(0.01), Effect::Stall(MS(1000)))],
            ),
        ),
        sick(aim(
            target(27.0, 42.0, 1.06),
            new("silent", "1 of 5 accepts and never answers", vec![one(Effect::Never)]),
        )),
        aim(
            target(29.0, 50.0, 1.06),
            new("pauses", "Each pauses 300 ms every 5 s, staggered", vec![pauses(Duration::from_secs(1))]),
        ),
        aim(
            target(127.0, 186.0, 1.05),
            new(
                "all-slow",
                "All five times slower",
                vec![fault(When::Fault, Whom::All, Chance::Certain, Effect::Slower(5.0))],
            ),
        ),
        hot(
            "hot",
            "One hot key, max-age=1, 10 % of its fetches stall 1 s, no stale copy allowed",
            Traffic::Hot,
            Caching::Fresh,
            target(25.0, 45.0, 1.065),
        ),
        hot(
            "hot-alone",
            "One hot key, no stale copy allowed, without uncached requests beside it",
            Traffic::HotAlone,
            Caching::Fresh,
            Target { p99: None, p999: None, ..BOUND },
        ),
        hot("hot-stale", "One hot key, stale copies allowed", Traffic::Hot, Caching::Stale, target(0.5, 2.0, 1.065)),
        hot(
            "hot-stale-alone",
            "One hot key, stale copies allowed, without uncached requests beside it",
            Traffic::HotAlone,
            Caching::Stale,
            Target { p99: None, p999: None, ..BOUND },
        ),
    ]
}

/// Those that only must not cost too much.
fn shapes() -> Vec<Scenario> {
    let third = |which: f64| When::Part(which / 3.0, (which + 1.0) / 3.0);
    let second_of_three = When::Every { period: MS(3000), lasts: MS(1000), stagger: Duration::ZERO };
    let sick = |when, effect| fault(when, Whom::Backend(SICK), Chance::Certain, effect);
    let stalls = fault(When::Fault, Whom::All, Chance::OfAttempts(0.01), Effect::Stall(MS(1000)));
    let dear = fault(When::Always, Whom::All, Chance::OfRequests(0.05), Effect::Takes(MS(300)));
    vec![
        Scenario { one_sick: true, ..new("slow-3", "1 of 5 three times slower", vec![one(Effect::Slower(3.0))]) },
        new(
            "flapping",
            "1 of 5 ten times slower for 1 s of every 3 s",
            vec![sick(second_of_three, Effect::Slower(10.0))],
        ),
        new("fast-failure", "1 of 5 answers 503 after 1 ms", vec![one(Effect::Fails(MS(1)))]),
        new("half-body", "1 of 5 stops for 2 s in the middle of each body", vec![one(Effect::Half(MS(2000)))]),
        new(
            "cold-recovery",
            "1 of 5 refuses connections for a third of the time, then is three times slower for a third",
            vec![sick(third(0.0), Effect::Refuses), sick(third(1.0), Effect::Slower(3.0))],
        ),
        new("mixed-costs", "5 % of requests cost 300 ms wherever they go, always", vec![dear.clone()]),
        new("all-pause", "All pause 300 ms every 5 s at once", vec![pauses(Duration::ZERO)]),
        Scenario {
            rate: 2,
            longer: 4,
            ..new("low-traffic", "2 requests/s, 1 % of attempts stall for 1 s", vec![stalls.clone()])
        },
        new(
            "slow-and-stalls",
            "1 of 5 ten times slower, 1 % of attempts stall for 1 s, 5 % of requests cost 300 ms",
            vec![dear, one(Effect::Slower(10.0)), stalls],
        ),
    ]
}

fn new(word: &'static str, title: &'static str, faults: Vec<Fault>) -> Scenario {
    Scenario {
        word,
        title,
        faults,
        rate: RATE,
        longer: 1,
        traffic: Traffic::Uncached,
        caching: Caching::Off,
        one_sick: false,
        target: BOUND,
    }
}

fn fault(when: When, whom: Whom, chance: Chance, effect: Effect) -> Fault {
    Fault { when, whom, chance, effect }
}

/// One backend, throughout the fault phase.
fn one(effect: Effect) -> Fault {
    fault(When::Fault, Whom::Backend(SICK), Chance::Certain, effect)
}

fn pauses(stagger: Duration) -> Fault {
    fault(When::Every { period: MS(5000), lasts: MS(300), stagger }, Whom::All, Chance::Certain, Effect::Pause)
}
