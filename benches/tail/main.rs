//! What clients see of sick backends, and of overload: five backends on loopback that do as a script says, and in front of
//! them in turn nginx, HAProxy and Hedgerow's release binary, each a fresh process.
//!
//! The load is open-loop: 400 requests/s, evenly spaced, or, in overload, a Poisson process; latencies count from when a
//! request was due. Service times and faults are drawn from the seed, the request and the attempt, so that all proxies meet the
//! same. `-- --help` tells the options.
//!
//! It measures and tells which targets are met; the exit code is 0 unless it could not run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]

#[path = "../common/answer.rs"]
mod answer;
mod arguments;
mod backends;
mod configs;
mod content;
mod course;
#[path = "../common/cpu.rs"]
mod cpu;
mod fault;
#[path = "../common/figures.rs"]
mod figures;
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod measures;
mod overload;
mod page;
#[path = "../common/ports.rs"]
mod ports;
mod proxy;
mod record;
mod report;
mod run;
mod scenario;
#[path = "../common/server.rs"]
mod server;
mod timer;
mod verdict;
mod workers;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use crate::arguments::{Arguments, USAGE};
use crate::measures::Measures;
use crate::overload::arrivals::Arrivals;
use crate::overload::scenario::Overload;
use crate::overload::{capacity, files};
use crate::page::{OVERLOAD, Page, SICK};
use crate::proxy::{Kind, Program};
use crate::run::{Asked, run};
use crate::scenario::Scenario;
use crate::timer::Timer;
use crate::verdict::judged;

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
        arguments.overloads.iter().for_each(|scenario| println!("{:16} {}", scenario.word, scenario.title));
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
    let of_sick: Vec<Program> = programs.iter().filter(|program| program.kind != Kind::NginxLimited).cloned().collect();
    if !arguments.scenarios.is_empty() {
        let mut page = Page::begin(SICK, arguments.phases, &of_sick);
        for scenario in &arguments.scenarios {
            measure(scenario, arguments, &of_sick, &timer, &mut page)?;
        }
        page.end(arguments.record)?;
    }
    if !arguments.overloads.is_empty() {
        files::allow()?;
        let mut page = Page::begin(OVERLOAD, arguments.overload_phases, &programs);
        for scenario in &arguments.overloads {
            overwhelm(scenario, arguments, &programs, &timer, &mut page)?;
        }
        page.end(arguments.record)?;
    }
    Ok(())
}

/// Runs a scenario before each proxy with each seed.
fn measure(
    scenario: &Scenario,
    arguments: &Arguments,
    programs: &[Program],
    timer: &Arc<Timer>,
    page: &mut Page,
) -> Result<(), Box<dyn Error>> {
    page.scenario(scenario.word, scenario.title, report::HEAD);
    let mut notes = Vec::new();
    for seed in arguments.seeds.iter().copied() {
        if scenario.faults.is_empty() {
            page.drawn(scenario, arguments.phases, seed);
            let outcome = run(scenario.course(arguments.phases, seed), Asked::Backend, timer)?;
            page.line(&report::row("floor", seed, scenario, &Measures::of(&outcome)));
        }
        for program in programs {
            let outcome = run(scenario.course(arguments.phases, seed), Asked::Proxy(program), timer)?;
            let measures = Measures::of(&outcome);
            let name = program.kind.name();
            page.line(&report::row(name, seed, scenario, &measures));
            notes.push(report::notes(name, seed, &measures));
            if program.kind == Kind::Hedgerow {
                let verdicts = report::verdicts(scenario, &measures);
                notes.push(judged(seed, &verdicts) + "\n");
                page.judge(&verdicts);
            }
        }
    }
    page.line(&format!("\n{}", notes.concat()));
    Ok(())
}

/// The same with more than the backends can do.
fn overwhelm(
    scenario: &Overload,
    arguments: &Arguments,
    programs: &[Program],
    timer: &Arc<Timer>,
    page: &mut Page,
) -> Result<(), Box<dyn Error>> {
    use crate::overload::{measures::Measures, report};

    page.scenario(scenario.word, scenario.title, report::HEAD);
    let phases = arguments.overload_phases;
    let mut notes = Vec::new();
    for seed in arguments.seeds.iter().copied() {
        let alone = capacity::measure(scenario, phases, seed, timer)?;
        notes.push(format!("* Backends alone, seed {seed}: {alone:.0} requests/s\n"));
        let arrivals = Arrivals::of(scenario, phases, seed);
        for program in programs {
            let outcome = run(scenario.course(phases, seed, &arrivals), Asked::Proxy(program), timer)?;
            let measures = Measures::of(&outcome, &arrivals, seed);
            let name = program.kind.name();
            page.line(&report::row(name, seed, &measures));
            notes.push(report::notes(name, seed, scenario, &measures));
            if program.kind == Kind::Hedgerow {
                let verdicts = report::verdicts(scenario, &measures);
                notes.push(judged(seed, &verdicts) + "\n");
                page.judge(&verdicts);
            }
        }
    }
    page.line(&format!("\n{}", notes.concat()));
    Ok(())
}
