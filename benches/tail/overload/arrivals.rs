//! What arrives when: a Poisson process whose rate is the phase's, each request with a class, a client and a target. All of
//! it follows from the seed, so that all proxies meet the same.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use super::scenario::{Overload, USUAL};
use crate::content::Target;
use crate::load::Request;
use crate::scenario::Phases;

/// Of the benchmarking network 198.18.0.0/15.
const FIRST_CLIENT: u32 = u32::from_be_bytes([198, 18, 0, 1]);
const CLIENTS: u32 = 2000;
/// Keys that may be stored, where some may be.
const KEYS: usize = 300;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Critical,
    Default,
    Sheddable,
}

impl Class {
    pub(crate) const ALL: [Class; 3] = [Class::Critical, Class::Default, Class::Sheddable];

    /// As `X-Priority` tells it.
    fn name(self) -> &'static str {
        match self {
            Class::Critical => "critical",
            Class::Default => "default",
            Class::Sheddable => "sheddable",
        }
    }

    /// 20, 50 and 30 %.
    fn drawn(rng: &mut fastrand::Rng) -> Class {
        match rng.u32(..10) {
            0..2 => Class::Critical,
            2..7 => Class::Default,
            _ => Class::Sheddable,
        }
    }
}

struct Arrival {
    due: Duration,
    class: Class,
    client: Ipv4Addr,
    target: Target,
}

/// All arrivals of a run, in order.
pub(crate) struct Arrivals {
    all: Vec<Arrival>,
}

impl Arrivals {
    pub(crate) fn of(scenario: &Overload, phases: Phases, seed: u64) -> Arrivals {
        let Phases { warm, fault, recovery } = scenario.phases(phases);
        let spike = warm..warm + fault;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut all = Vec::new();
        let mut kept = 0;
        let parts =
            [(Duration::ZERO..warm, USUAL), (spike.clone(), scenario.spike), (spike.end..spike.end + recovery, USUAL)];
        for due in parts.into_iter().flat_map(|(part, rate)| poisson(part, rate, &mut rng)).collect::<Vec<_>>() {
            let class = Class::drawn(&mut rng);
            let client = Ipv4Addr::from(FIRST_CLIENT + rng.u32(..CLIENTS));
            let target = if scenario.kept && rng.bool() {
                // Each once, so that all are stored when the spike begins.
                let key = if kept < KEYS { kept } else { rng.usize(..KEYS) };
                kept += 1;
                Target::Kept(key)
            } else {
                Target::Own(all.len())
            };
            all.push(Arrival { due, class, client, target });
        }
        Arrivals { all }
    }

    /// As they are sent.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let request = |arrival: &Arrival| Request {
            due: arrival.due,
            target: arrival.target,
            fields: format!("X-Priority: {}\r\nX-Forwarded-For: {}\r\n", arrival.class.name(), arrival.client),
        };
        self.all.iter().map(request).collect()
    }

    /// Of a request by its number.
    pub(crate) fn class(&self, request: usize) -> Option<Class> {
        self.all.get(request).map(|arrival| arrival.class)
    }
}

/// The moments of a Poisson process in there, at so many per second.
fn poisson(part: Range<Duration>, rate: f64, rng: &mut fastrand::Rng) -> Vec<Duration> {
    let mut at = part.start;
    let mut all = Vec::new();
    loop {
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate);
        if at >= part.end {
            return all;
        }
        all.push(at);
    }
}
