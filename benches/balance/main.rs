//! Balancing as clients see it: three backends on loopback, one of which is ten times slower for a while.
//!
//! Three runs, one after the other, with the same load and the same drawn service times:
//! * `hedgerow`: through an edge with default settings, before, during and after the fault;
//! * `control`: the same without the fault, for what the edge itself costs;
//! * `round robin`: the client asks the backends directly in turn, for what a balancer blind to load would give.
//!
//! It measures and judges nothing: the exit code is 0. About 75 s. `-- SEED` draws other service times.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../common/answer.rs"]
mod answer;
mod backends;
#[path = "../common/figures.rs"]
mod figures;
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod report;

use std::error::Error;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hedgerow::config;
use hedgerow::endpoint::Endpoint;
use hedgerow::server::Running;
use tokio::runtime::{Builder, Runtime};

use crate::backends::Script;
use crate::load::{CONNECTIONS, RATE, Sample};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WARM: usize = 5 * RATE;
const FAULT: usize = 15 * RATE;
const RECOVERY: usize = 15 * RATE;
const SEED: u64 = 1;

/// How long the edge has to finish after the last answer.
const SETTLE: Duration = Duration::from_millis(200);

/// A part of a run: the requests meant to start in it.
struct Phase {
    name: &'static str,
    requests: Range<usize>,
}

/// Phases one after the other, by their number of requests.
fn phases(parts: &[(&'static str, usize)]) -> Vec<Phase> {
    let mut begin = 0;
    let mut next = |&(name, requests): &(&'static str, usize)| {
        begin += requests;
        Phase { name, requests: begin - requests..begin }
    };
    parts.iter().map(&mut next).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benches, too, and without this word.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let seed = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(SEED);
    println!("balance: {}, load average {}", machine::machine(), machine::load_average());
    println!("{RATE} requests/s, {CONNECTIONS} connections, seed {seed}; times in ms\n");
    match bench(seed) {
        Ok(()) => println!("\nload average at the end: {}", machine::load_average()),
        Err(error) => println!("the bench could not run: {error}"),
    }
}

fn bench(seed: u64) -> Result<(), Box<dyn Error>> {
    let faulty = phases(&[("warm", WARM), ("fault", FAULT), ("recovery", RECOVERY)]);
    let [_, fault, recovery] = &faulty[..] else { return Err("three phases".into()) };
    let healthy = phases(&[("warm", WARM), ("no fault", FAULT)]);
    let direct = phases(&[("warm", WARM), ("fault", FAULT)]);

    let drawn = Script::new(WARM + FAULT + RECOVERY, 0..0, seed).draws;
    println!("{}", report::HEAD);
    faulty.iter().for_each(|phase| print!("{}", report::drawn(phase, &drawn)));

    let main = run(&faulty, fault.requests.clone(), seed, Path::Edge)?;
    print!("{}", report::rows("hedgerow", &faulty, &main.samples));
    let control = run(&healthy, 0..0, seed, Path::Edge)?;
    print!("{}", report::rows("control", &healthy, &control.samples));
    let blind = run(&direct, fault.requests.clone(), seed, Path::RoundRobin)?;
    print!("{}", report::rows("round robin", &direct, &blind.samples));

    print!("\nhedgerow:\n{}{}", report::turns(fault, Some(recovery), &main.samples), main.account());
    print!("{}{}", report::seconds(fault, &main.samples), report::seconds(recovery, &main.samples));
    print!("control:\n{}", control.account());
    print!("round robin:\n{}{}", report::turns(fault, None, &blind.samples), blind.account());
    Ok(())
}

/// How requests reach the backends.
#[derive(Clone, Copy)]
enum Path {
    Edge,
    RoundRobin,
}

/// What a run left behind.
struct Outcome {
    samples: Vec<Sample>,
    /// Requests that reached a backend.
    served: u64,
    /// What the edge counts as in flight to its backends when all clients have their answers.
    in_flight: Option<u32>,
}

impl Outcome {
    fn account(&self) -> String {
        let (sent, served) = (self.samples.len(), self.served);
        let left = self.in_flight.map_or(String::new(), |count| format!("; in flight at the end: {count}"));
        let first = self.samples.iter().find_map(|sample| sample.outcome.as_ref().err());
        let error = first.map_or(String::new(), |error| format!("; the first error: {error}"));
        format!("  {served} requests at the backends for {sent} of clients{left}{error}\n")
    }
}

/// Runs all `phases`; backends, edge and load have threads of their own, as if they were elsewhere.
fn run(phases: &[Phase], fault: Range<usize>, seed: u64, path: Path) -> Result<Outcome, Box<dyn Error>> {
    let requests = phases.last().map_or(0, |phase| phase.requests.end);
    let script = Arc::new(Script::new(requests, fault, seed));
    let backends_own = runtime(1)?;
    let backends = backends_own.block_on(backends::start(&script))?;
    let load_own = runtime(1)?;

    let (samples, in_flight) = match path {
        Path::RoundRobin => (load_own.block_on(load::run(backends, requests)), None),
        Path::Edge => {
            let config = edge_config(&backends)?;
            let edge_own = runtime(config.server.threads)?;
            let edge = edge_own.block_on(Running::start(config, None))?;
            let samples =
                load_own.block_on(load::run(edge.addresses().iter().filter_map(Endpoint::tcp).collect(), requests));
            edge_own.block_on(async { tokio::time::sleep(SETTLE).await });
            let left = in_flight(&edge);
            edge_own.block_on(edge.drain(Duration::ZERO));
            edge_own.shutdown_background();
            (samples, Some(left))
        }
    };
    backends_own.shutdown_background();
    Ok(Outcome { samples, served: script.served.load(Ordering::Relaxed), in_flight })
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// The defaults, but for the ports and the access log.
fn edge_config(backends: &[SocketAddr]) -> Result<config::Config, String> {
    let backends: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"off\"\n[access_log]\nformat = \"off\"\n\
         [[pool]]\nname = \"web\"\nbackends = [{}]\n",
        backends.join(", ")
    );
    let loaded = config::parse_str("bench.toml", &text);
    loaded.map(|loaded| loaded.config).map_err(|problems| problems.iter().map(|p| format!("{p}\n")).collect())
}

fn in_flight(edge: &Running) -> u32 {
    let snapshot = edge.edge().snapshot();
    let members = snapshot.pools().iter().map(|pool| pool.members());
    members.map(|members| members.iter().map(|member| member.backend.signals().in_flight.count()).sum::<u32>()).sum()
}
