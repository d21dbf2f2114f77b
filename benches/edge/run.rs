//! A scenario's course under load: all edges are started, filled, and measured in rounds, one at a time.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use hedgerow::clock;

use crate::Bench;
use crate::content;
use crate::cpu;
use crate::edges::{Edge, Kind, Origin};
use crate::load::pace::Pace;
use crate::load::requests::Requests;
use crate::load::{Load, Tally, secure};
use crate::report::median;
use crate::scenario::{Class, Entrant, Measure, Scenario, Speaks};

/// What one round of an edge came to.
pub(crate) struct Round {
    /// Processor time per request, in microseconds.
    pub(crate) cpu: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// p50, p99 and p99.9, in microseconds.
    pub(crate) latencies: [f64; 3],
    /// How much of its core the load used, 0 to 1.
    pub(crate) load: f64,
}

/// What each entrant came to in all rounds.
pub(crate) type Measured<T> = Vec<(Entrant, Vec<T>)>;

/// What an open load asks for: requests per second, and the seed of the moments at which they are due.
type Open = Option<(f64, u64)>;

/// How often a round of misses is tried: one that sheds load because the machine was busy with something else fails it.
const TRIES: usize = 3;

/// Measures each entrant whose program is there in every round. `note` is told of what the table does not say.
pub(crate) fn run(
    scenario: &Scenario,
    bench: &Bench,
    mut note: impl FnMut(&str),
) -> Result<Measured<Round>, Box<dyn Error>> {
    let origin = Origin::start(scenario.backends, bench.cores)?;
    let mut edges = Vec::new();
    for entrant in &scenario.entrants {
        let Some(program) = bench.program(entrant.kind) else { continue };
        let edge = program.start(entrant, &origin.addresses, bench)?;
        content::store(&edge).map_err(|error| told(&edge, scenario, &*error))?;
        edges.push((edge, content::requests(entrant.ask), Vec::new()));
    }
    let rate = match scenario.measure {
        Measure::Open => Some(half(scenario, &mut edges, bench)?),
        Measure::Closed | Measure::Idle => None,
    };
    if let Some(rate) = rate {
        note(&format!("{rate:.0} requests/s are due.\n"));
    }
    for round in 0..bench.arguments.rounds {
        let mut turn: Vec<_> = edges.iter_mut().collect();
        // Every other round in the other order, so that drift of the machine favours nobody.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (edge, requests, rounds) in turn {
            let open = rate.map(|rate| (rate, round as u64));
            let mut tries = if edge.entrant.ask.class == Class::Hit { TRIES } else { 1 };
            rounds.push(loop {
                match measure(edge, scenario, requests, open, bench) {
                    Ok(measured) => break measured,
                    Err(error) if tries == TRIES => return Err(told(edge, scenario, &*error).into()),
                    Err(error) => note(&again(edge, &error.to_string())),
                }
                tries += 1;
            });
        }
    }
    Ok(edges.into_iter().map(|(edge, _, rounds)| (edge.entrant, rounds)).collect())
}

/// What went wrong, with the edge's own words.
pub(crate) fn told(edge: &Edge, scenario: &Scenario, error: &dyn Error) -> String {
    format!("{} in {}: {error}\n{}", edge.entrant.name(), scenario.word, edge.server.said())
}

/// Why a round is measured again, in a line.
fn again(edge: &Edge, problem: &str) -> String {
    let fields = ["HTTP/", "Proxy-Status:"];
    let (first, rest) = problem.split_once('\n').unwrap_or((problem, ""));
    let told: Vec<&str> = rest.lines().filter(|line| fields.iter().any(|field| line.starts_with(field))).collect();
    format!("A round of {} is measured again: {first} {}\n", edge.entrant.name(), told.join(", "))
}

/// Half of what nginx can do in a closed loop; without nginx, of what the slowest can.
fn half(scenario: &Scenario, edges: &mut [(Edge, Requests, Vec<Round>)], bench: &Bench) -> Result<f64, Box<dyn Error>> {
    let is_nginx = |edge: &Edge| edge.entrant.kind == Kind::Nginx;
    let alone = edges.iter().any(|(edge, ..)| is_nginx(edge));
    let mut slowest = f64::INFINITY;
    for (edge, requests, _) in edges.iter_mut().filter(|(edge, ..)| !alone || is_nginx(edge)) {
        let rounds: Result<Vec<Round>, _> = (0..3).map(|_| measure(edge, scenario, requests, None, bench)).collect();
        slowest = slowest.min(median(&rounds?, |round| round.rate));
    }
    Ok(slowest / 2.0)
}

fn measure(
    edge: &Edge,
    scenario: &Scenario,
    requests: &mut Requests,
    open: Open,
    bench: &Bench,
) -> Result<Round, Box<dyn Error>> {
    let pace = |lasts: Duration| match open {
        Some((rate, seed)) => Pace::open(rate, lasts, seed),
        None => Pace::Closed { until: clock::now() + lasts },
    };
    let mut load = Either::connect(edge, scenario, bench)?;
    load.run(requests, pace(bench.arguments.warm()))?;
    let own = || used(&[std::process::id()]).into_values().sum::<Duration>();
    let (before, own_before) = (used(&edge.server.processes()), own());
    let tally = load.run(requests, pace(bench.arguments.seconds))?;
    let (after, own_after) = (used(&edge.server.processes()), own());
    let spent: Duration =
        after.iter().map(|(process, used)| used.saturating_sub(before.get(process).copied().unwrap_or_default())).sum();
    let seconds = tally.lasted.as_secs_f64();
    Ok(Round {
        cpu: spent.as_secs_f64() * 1e6 / tally.requests as f64,
        rate: tally.requests as f64 / seconds,
        latencies: [0.5, 0.99, 0.999].map(|quantile| tally.quantile(quantile)),
        load: (own_after - own_before).as_secs_f64() / seconds,
    })
}

/// A load in clear text or under TLS.
enum Either {
    Plain(Load),
    Secure(secure::Load),
}

impl Either {
    fn connect(edge: &Edge, scenario: &Scenario, bench: &Bench) -> Result<Either, Box<dyn Error>> {
        let (ask, number) = (edge.entrant.ask, scenario.connections);
        let expected = content::expected(edge, ask);
        if scenario.speaks != Speaks::Plain {
            let (path, authority) = (content::key(ask), bench.certificate.der());
            let load = secure::Load::connect(edge.secure, authority, scenario.speaks, number, &path, expected)?;
            return Ok(Either::Secure(load));
        }
        let mut load = Load::new(expected)?;
        load.connect(edge.address, number)?;
        Ok(Either::Plain(load))
    }

    fn run(&mut self, requests: &mut Requests, pace: Pace) -> Result<Tally, Box<dyn Error>> {
        match self {
            Either::Plain(load) => load.run(requests, pace),
            Either::Secure(load) => load.run(pace),
        }
    }
}

/// Processor time that each has used so far. Those that have ended are not in it: of the edges that is nginx's loader of what
/// it finds stored, which finds nothing.
fn used(processes: &[u32]) -> BTreeMap<u32, Duration> {
    processes.iter().filter_map(|process| Some((*process, cpu::used(&[*process])?))).collect()
}
