//! What a request costs: Hedgerow's release binary beside nginx, HAProxy, Varnish and the floor, one at a time on the same core,
//! while the load and the origin have another one.
//!
//! The figure is processor time per request: it holds on a machine that is not quiet, where throughput and latency do not.
//! `-- --help` tells the options.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its figures")]

mod arguments;
mod configs;
mod cores;
#[path = "../common/cpu.rs"]
mod cpu;
mod edges;
mod load;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/ports.rs"]
mod ports;
mod report;
mod run;
mod scenario;
mod serve;
#[path = "../common/server.rs"]
mod server;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use crate::arguments::{Arguments, USAGE};
use crate::cores::Cores;
use crate::edges::{Kind, Program};

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
    told(bench(&arguments))
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

fn bench(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut programs = Vec::new();
    for kind in &arguments.only {
        match Program::find(*kind, &arguments.binary) {
            Ok(program) => programs.push(program),
            Err(problem) if *kind == Kind::Hedgerow => return Err(problem.into()),
            Err(problem) => eprintln!("edge: {problem}"),
        }
    }
    let cores = Cores::take()?;
    println!("edge: {}; load average {}", machine::machine(), machine::load_average());
    for scenario in &arguments.scenarios {
        println!("### {} (`{}`)\n\n{}", scenario.title, scenario.word, report::HEAD);
        report::rows(&run::run(scenario, &programs, arguments, cores)?).iter().for_each(|row| println!("{row}"));
        println!();
    }
    Ok(())
}
