//! What connections cost in memory that are open and silent, after a hit on each.
//!
//! It is resident memory of the edge's processes, not the kernel's for its sockets, which is the same for all. In each round the
//! edge is a fresh process: what one gave back to its allocator would hide what the next takes.

use std::error::Error;
use std::fs;
use std::time::Duration;

use crate::Bench;
use crate::content;
use crate::edges::{Edge, Origin};
use crate::load::Load;
use crate::load::pace::Pace;
use crate::run::{Measured, told};
use crate::scenario::Scenario;

/// Of connections opened at once: less than what waits to be accepted.
const STEP: usize = 200;
/// Code, buffers and what else it has from the first requests on are there before connections are counted.
const BEFORE: usize = 10_000;
/// How long it has to tidy up.
const SETTLES: Duration = Duration::from_secs(1);

/// Bytes per connection of each entrant whose program is there, in every round.
pub(crate) fn run(scenario: &Scenario, bench: &Bench) -> Result<Measured<f64>, Box<dyn Error>> {
    let origin = Origin::start(scenario.backends, bench.cores)?;
    let entrants = scenario.entrants.iter().filter(|entrant| bench.program(entrant.kind).is_some());
    let mut measured: Measured<f64> = entrants.map(|entrant| (*entrant, Vec::new())).collect();
    for _ in 0..bench.arguments.rounds {
        for (entrant, rounds) in &mut measured {
            let Some(program) = bench.program(entrant.kind) else { continue };
            let edge = program.start(entrant, &origin.addresses, bench)?;
            let each = measure(&edge, scenario.connections);
            rounds.push(each.map_err(|error| told(&edge, scenario, &*error))?);
        }
    }
    Ok(measured)
}

fn measure(edge: &Edge, connections: usize) -> Result<f64, Box<dyn Error>> {
    content::store(edge)?;
    let ask = edge.entrant.ask;
    let (mut requests, expected) = (content::requests(ask), content::expected(edge, ask));
    let mut first = Load::new(expected)?;
    first.connect(edge.address, 1)?;
    first.run(&mut requests, Pace::Count(BEFORE))?;
    let before = resident(edge);
    let mut all = Vec::new();
    while all.len() * STEP < connections {
        let mut load = Load::new(expected)?;
        load.connect(edge.address, STEP)?;
        load.run(&mut requests, Pace::Count(STEP))?;
        all.push(load);
    }
    std::thread::park_timeout(SETTLES);
    let more = resident(edge).saturating_sub(before);
    Ok(more as f64 / (all.len() * STEP) as f64)
}

/// Bytes of all its processes.
fn resident(edge: &Edge) -> u64 {
    let of = |process: u32| {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    edge.server.processes().into_iter().filter_map(of).sum::<u64>() * 1024
}
