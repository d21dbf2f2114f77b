//! What a request costs: Hedgerow's release binary beside nginx, HAProxy, Varnish and the floor, one at a time on the same core,
//! while the load and the origin have another one.
//!
//! The figure is processor time per request: it holds on a machine that is not quiet, where throughput and latency do not.
//! `-- --help` tells the options.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]

#[path = "../common/answer.rs"]
mod answer;
mod arguments;
mod certificate;
mod configs;
mod content;
mod cores;
#[path = "../common/cpu.rs"]
mod cpu;
mod edges;
mod idle;
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod page;
#[path = "../common/ports.rs"]
mod ports;
mod report;
mod run;
mod scenario;
mod serve;
#[path = "../common/server.rs"]
mod server;
mod targets;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::arguments::{Arguments, USAGE};
use crate::certificate::Certificate;
use crate::cores::Cores;
use crate::edges::{Kind, Program};
use crate::page::Page;
use crate::scenario::{Measure, Scenario};

/// Open files that `idle` takes, in this process and in each edge, with room.
const FILES: u64 = 12_000;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--serve", words)) = words.split_first().map(|(first, words)| (first.as_str(), words)) {
        return told(serve(words));
    }
    // `cargo test --all-targets` runs benches, too, and without this word.
    if !words.iter().any(|word| word == "--bench") {
        return ExitCode::SUCCESS;
    }
    if words.iter().any(|word| word == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::read(words.into_iter()) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("edge: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        arguments.scenarios.iter().for_each(|scenario| println!("{:16} {}", scenario.word, scenario.title));
        return ExitCode::SUCCESS;
    }
    told(Bench::new(arguments).and_then(|bench| bench.run()))
}

fn told(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edge: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs as a server that the bench started.
fn serve(words: &[String]) -> Result<(), Box<dyn Error>> {
    match words {
        [kind, address, status, body] if kind == "floor" => {
            serve::floor::serve(address.parse()?, status.parse()?, body.parse()?)?;
        }
        [kind, addresses @ ..] if kind == "origin" => {
            let addresses = addresses.iter().map(|address| address.parse()).collect::<Result<Vec<SocketAddr>, _>>()?;
            serve::origin::serve(&addresses)?;
        }
        _ => return Err("--serve takes `floor ADDRESS STATUS SIZE` or `origin ADDRESS...`".into()),
    }
    Ok(())
}

/// What all scenarios are run with.
struct Bench {
    arguments: Arguments,
    cores: Cores,
    certificate: Certificate,
    programs: Vec<Program>,
    /// What is said of those that are not there.
    missing: Vec<String>,
    machine: String,
    /// How many files may be open.
    files: u64,
}

impl Bench {
    /// Finds out what there is.
    fn new(arguments: Arguments) -> Result<Bench, Box<dyn Error>> {
        let (mut programs, mut missing) = (Vec::new(), Vec::new());
        for kind in &arguments.only {
            match Program::find(*kind, &arguments.binary) {
                Ok(program) => programs.push(program),
                Err(problem) if *kind == Kind::Hedgerow => return Err(problem.into()),
                Err(problem) => missing.push(problem),
            }
        }
        // Before this process is bound to one core, or it would count no other; edges inherit the limit.
        let (machine, files) = (machine::machine(), rlimit::increase_nofile_limit(FILES)?);
        Ok(Bench {
            cores: Cores::take()?,
            certificate: Certificate::new()?,
            arguments,
            programs,
            missing,
            machine,
            files,
        })
    }

    fn program(&self, kind: Kind) -> Option<&Program> {
        self.programs.iter().find(|program| program.kind == kind)
    }

    /// Runs all scenarios. One that fails does not keep the others from being run, but the page from being written.
    fn run(&self) -> Result<(), Box<dyn Error>> {
        let mut page = Page::begin(self);
        let mut failed = Vec::new();
        for scenario in &self.arguments.scenarios {
            page.scenario(scenario);
            match self.measure(scenario, &mut page) {
                Ok(table) => table.iter().for_each(|line| page.line(line)),
                Err(error) => {
                    eprintln!("edge: {error}");
                    failed.push(scenario.word);
                }
            }
            page.line("");
        }
        page.end(self.arguments.record && failed.is_empty())?;
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
    }

    /// Runs a scenario; returns its table.
    fn measure(&self, scenario: &Scenario, page: &mut Page) -> Result<Vec<String>, Box<dyn Error>> {
        if scenario.measure == Measure::Idle {
            if self.files < FILES {
                return Ok(vec![format!("Left out: `ulimit -Hn` is {}, and {FILES} are needed.", self.files)]);
            }
            let measured = idle::run(scenario, self)?;
            page.figures.extend(report::memory(scenario, &measured));
            return Ok(report::idle(&measured));
        }
        let measured = run::run(scenario, self, |line| page.line(line))?;
        page.figures.extend(report::figures(scenario, &measured));
        Ok(report::loaded(&measured))
    }
}
