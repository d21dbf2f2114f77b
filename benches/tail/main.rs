//! What clients see of sick backends: five backends on loopback that do as a script says, and in front of them in turn
//! nginx, HAProxy and Hedgerow's release binary, each a fresh process.
//!
//! The load is open-loop: 400 requests/s, evenly spaced, and latencies count from when a request was due. Service times and
//! faults are drawn from the seed, the request and the attempt, so that all proxies meet the same. `-- --help` tells the options.
//!
//! It measures and tells which targets are met; the exit code is 0 unless it could not run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]

#[path = "../common/answer.rs"]
mod answer;
mod arguments;
mod backends;
mod content;
mod fault;
#[path = "../common/figures.rs"]
mod figures;
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod measures;
mod page;
mod ports;
mod proxy;
mod record;
mod report;
mod run;
mod scenario;
mod timer;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use crate::arguments::{Arguments, USAGE};
use crate::measures::Measures;
use crate::page::Page;
use crate::proxy::{Kind, Program};
use crate::run::{Asked, run};
use crate::scenario::Scenario;
use crate::timer::Timer;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
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
            eprintln!("tail: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.list {
        arguments.scenarios.iter().for_each(|scenario| println!("{:16} {}", scenario.word, scenario.title));
        return ExitCode::SUCCESS;
    }
    match bench(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tail: the bench could not run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut programs = Vec::new();
    for kind in &arguments.proxies {
        match Program::find(*kind, &arguments.binary) {
            Ok(program) => programs.push(program),
            Err(problem) if *kind == Kind::Hedgerow => return Err(problem.into()),
            Err(problem) => eprintln!("tail: {problem}"),
        }
    }
    let timer = Timer::start();
    let mut page = Page::begin(arguments, &programs);
    for scenario in &arguments.scenarios {
        measure(scenario, arguments, &programs, &timer, &mut page)?;
    }
    page.summary();
    if arguments.record { page.write() } else { Ok(()) }
}

/// Runs a scenario before each proxy with each seed.
fn measure(
    scenario: &Scenario,
    arguments: &Arguments,
    programs: &[Program],
    timer: &Arc<Timer>,
    page: &mut Page,
) -> Result<(), Box<dyn Error>> {
    page.scenario(scenario);
    let mut notes = Vec::new();
    for seed in arguments.seeds.iter().copied() {
        if scenario.faults.is_empty() {
            page.drawn(scenario, arguments.phases, seed);
            let outcome = run(scenario, arguments.phases, seed, Asked::Backend, timer)?;
            page.line(&report::row("floor", seed, scenario, &Measures::of(&outcome)));
        }
        for program in programs {
            let outcome = run(scenario, arguments.phases, seed, Asked::Proxy(program), timer)?;
            let measures = Measures::of(&outcome);
            let name = program.kind.name();
            page.line(&report::row(name, seed, scenario, &measures));
            notes.push(report::notes(name, seed, &measures));
            if program.kind == Kind::Hedgerow {
                let verdicts = report::verdicts(scenario, &measures);
                notes.push(report::judged(seed, &verdicts) + "\n");
                page.judge(&verdicts);
            }
        }
    }
    page.line(&format!("\n{}", notes.concat()));
    Ok(())
}
