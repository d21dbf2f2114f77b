//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::edges::Kind;
use crate::scenario::{self, Scenario};
use crate::server;

pub(crate) const USAGE: &str = "\
cargo bench --bench edge -- [OPTION]... [SCENARIO]...

  --quick           2 rounds of 1 s
  --rounds N        1 to 50; default 5
  --seconds N       of a round of an edge, 1 to 60; default 2
  --only LIST       of floor, hedgerow, nginx, haproxy and varnish, with commas; default all that are there
  --binary PATH     Hedgerow's release binary; default target/release/hedgerow
  --record          write docs/bench/edge.md, too
  --list            print the scenarios and end

Default are all scenarios. `idle` opens 10,000 connections: it needs `ulimit -Hn` of 12000.
`flat` takes up to 6 GB of memory.
";

pub(crate) struct Arguments {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: usize,
    /// Of a round of an edge.
    pub(crate) seconds: Duration,
    pub(crate) only: Vec<Kind>,
    pub(crate) binary: PathBuf,
    pub(crate) record: bool,
    pub(crate) list: bool,
}

impl Arguments {
    /// Reads them; the error says what is wrong with which.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut read = Arguments {
            scenarios: Vec::new(),
            rounds: 5,
            seconds: Duration::from_secs(2),
            only: Kind::ALL.to_vec(),
            binary: server::release_binary(&root()),
            record: false,
            list: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                // From cargo.
                "--bench" => {}
                "--quick" => (read.rounds, read.seconds) = (2, Duration::from_secs(1)),
                "--rounds" => read.rounds = number(&word, &value()?, 50)? as usize,
                "--seconds" => read.seconds = Duration::from_secs(number(&word, &value()?, 60)?),
                "--only" => read.only = value()?.split(',').map(program).collect::<Result<_, _>>()?,
                "--binary" => read.binary = PathBuf::from(value()?),
                "--record" => read.record = true,
                "--list" => read.list = true,
                _ => {
                    let found = scenario::all().into_iter().find(|scenario| scenario.word == word);
                    read.scenarios.push(found.ok_or_else(|| format!("no option or scenario is called {word:?}"))?);
                }
            }
        }
        if read.scenarios.is_empty() {
            read.scenarios = scenario::all();
        }
        Ok(read)
    }

    /// How long the load goes on before it counts.
    pub(crate) fn warm(&self) -> Duration {
        Duration::from_millis(200).max(self.seconds / 10)
    }
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn number(word: &str, value: &str, most: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(format!("{word} takes a whole number from 1 to {most}, not {value:?}")),
    }
}

fn program(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("no edge is called {name:?}"))
}
