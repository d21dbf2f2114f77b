//! A scenario's course: all edges are started, stored in what they are to hit, and measured in rounds.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::cores::Cores;
use crate::cpu;
use crate::edges::{Edge, Origin, Program};
use crate::load::Load;
use crate::load::expected::{Expected, Mark};
use crate::load::pace::Pace;
use crate::load::requests::Requests;
use crate::scenario::{Ask, Class, Scenario};

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

/// Measures each of the scenario's edges that is among `programs` in every round, and returns the rounds of each.
pub(crate) fn run(
    scenario: &Scenario,
    programs: &[Program],
    arguments: &Arguments,
    cores: Cores,
) -> Result<Vec<(Edge, Vec<Round>)>, Box<dyn Error>> {
    let origin = Origin::start(scenario.backends, cores)?;
    let mut edges = Vec::new();
    for kind in scenario.edges {
        let Some(program) = programs.iter().find(|program| program.kind == kind.program()) else { continue };
        let edge = program.start(*kind, scenario, &origin.addresses, cores)?;
        store(&edge, scenario.ask).map_err(|error| told(&edge, scenario, &*error))?;
        edges.push((edge, requests(scenario.ask), Vec::new()));
    }
    for round in 0..arguments.rounds {
        let mut turn: Vec<_> = edges.iter_mut().collect();
        // Every other round in the other order, so that drift of the machine favours nobody.
        if round % 2 == 1 {
            turn.reverse();
        }
        for (edge, requests, rounds) in turn {
            let measured = measure(edge, scenario, requests, arguments);
            rounds.push(measured.map_err(|error| told(edge, scenario, &*error))?);
        }
    }
    Ok(edges.into_iter().map(|(edge, _, rounds)| (edge, rounds)).collect())
}

fn told(edge: &Edge, scenario: &Scenario, error: &dyn Error) -> String {
    format!("{} in {}: {error}\n{}", edge.kind.name(), scenario.word, edge.server.said())
}

/// Puts everything that will be asked for into an edge's cache, and sees that it is there.
fn store(edge: &Edge, ask: Ask) -> Result<(), Box<dyn Error>> {
    if edge.kind.mark() == Mark::None || ask.class != Class::Hit {
        return Ok(());
    }
    let whole = Ask { conditional: false, ..ask };
    let mut load = Load::new(Expected { hit: false, ..expected(edge, whole) })?;
    // A request that comes while the same is being fetched would be a hit.
    load.connect(edge.address, if ask.keys == 1 { 1 } else { 16 })?;
    load.run(&mut Requests::each(&path(whole), ask.keys), Pace::Count(ask.keys as usize))?;
    load.expect(expected(edge, whole));
    load.run(&mut Requests::each(&path(whole), ask.keys), Pace::Count(ask.keys as usize))?;
    Ok(())
}

fn measure(
    edge: &Edge,
    scenario: &Scenario,
    requests: &mut Requests,
    arguments: &Arguments,
) -> Result<Round, Box<dyn Error>> {
    let mut load = Load::new(expected(edge, scenario.ask))?;
    load.connect(edge.address, scenario.connections)?;
    load.run(requests, Pace::closed(arguments.warm()))?;
    let before = used(&edge.server.processes());
    let own = || used(&[std::process::id()]).into_values().sum::<Duration>();
    let begin = own();
    let tally = load.run(requests, Pace::closed(arguments.seconds))?;
    let after = used(&edge.server.processes());
    let spent: Duration =
        after.iter().map(|(process, used)| used.saturating_sub(before.get(process).copied().unwrap_or_default())).sum();
    let seconds = tally.lasted.as_secs_f64();
    Ok(Round {
        cpu: spent.as_secs_f64() * 1e6 / tally.requests as f64,
        rate: tally.requests as f64 / seconds,
        latencies: [0.5, 0.99, 0.999].map(|quantile| tally.quantile(quantile)),
        load: (own() - begin).as_secs_f64() / seconds,
    })
}

/// Processor time that each has used so far. Those that have ended are not in it: of the edges that is nginx's loader of what
/// it finds stored, which finds nothing.
fn used(processes: &[u32]) -> BTreeMap<u32, Duration> {
    processes.iter().filter_map(|process| Some((*process, cpu::used(&[*process])?))).collect()
}

fn requests(ask: Ask) -> Requests {
    match ask.keys {
        1 if ask.conditional => Requests::one(&key(ask), "If-None-Match: \"bench\"\r\n"),
        1 => Requests::one(&key(ask), ""),
        keys => Requests::zipf(&path(ask), keys),
    }
}

/// Of all that is asked for, but for the key.
fn path(ask: Ask) -> String {
    format!("/{}/{}/", ask.class.name(), ask.body)
}

/// The path of the first.
fn key(ask: Ask) -> String {
    path(ask) + "0000000"
}

fn expected(edge: &Edge, ask: Ask) -> Expected {
    let (status, body) = if ask.conditional { (304, 0) } else { (200, ask.body) };
    Expected { status, body, mark: edge.kind.mark(), hit: ask.class == Class::Hit }
}
