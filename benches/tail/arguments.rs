//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::overload::scenario::{self as overload, Overload};
use crate::proxy::Kind;
use crate::scenario::{self, Phases, Scenario};
use crate::server;

pub(crate) const USAGE: &str = "\
cargo bench --bench tail -- [OPTION]... [SCENARIO]...

  --quick             shorter phases: 4 s warm, 6 s fault, 5 s recovery; of overload 3 s, 4 s, 6 s
  --warm SECONDS      default 6
  --fault SECONDS     default 15, of overload 10; some scenarios take a multiple, or a time of their own
  --recovery SECONDS  default 12, of overload 8
  --seed N            may come several times; default 1
  --proxy NAME        nginx, nginx-limited (in overload alone), haproxy or hedgerow; may come several times; default all that
                      are there
  --binary PATH       Hedgerow's release binary; default target/release/hedgerow
  --record            write docs/bench/tail.md, too; of overload docs/bench/overload.md
  --list              print the scenarios and end

Default are all scenarios; `sick` stands for those with sick backends, `overload` for those with more than the backends can do.
Overload opens thousands of connections: it needs `ulimit -Hn` of 20000.
";

const FULL: Phases =
    Phases { warm: Duration::from_secs(6), fault: Duration::from_secs(15), recovery: Duration::from_secs(12) };
const QUICK: Phases =
    Phases { warm: Duration::from_secs(4), fault: Duration::from_secs(6), recovery: Duration::from_secs(5) };
const OVERLOAD: Phases =
    Phases { warm: Duration::from_secs(6), fault: Duration::from_secs(10), recovery: Duration::from_secs(8) };
/// Its recovery is long enough to show one of 5 s.
const OVERLOAD_QUICK: Phases =
    Phases { warm: Duration::from_secs(3), fault: Duration::from_secs(4), recovery: Duration::from_secs(6) };

pub(crate) struct Arguments {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) phases: Phases,
    pub(crate) overloads: Vec<Overload>,
    /// Of overload.
    pub(crate) overload_phases: Phases,
    pub(crate) seeds: Vec<u64>,
    pub(crate) proxies: Vec<Kind>,
    pub(crate) binary: PathBuf,
    pub(crate) record: bool,
    pub(crate) list: bool,
}

impl Arguments {
    /// Reads them; the error says what is wrong with which.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
        let mut read = Arguments {
            scenarios: Vec::new(),
            phases: FULL,
            overloads: Vec::new(),
            overload_phases: OVERLOAD,
            seeds: Vec::new(),
            proxies: Vec::new(),
            binary: server::release_binary(&root()),
            record: false,
            list: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                // From cargo.
                "--bench" => {}
                "--quick" => (read.phases, read.overload_phases) = (QUICK, OVERLOAD_QUICK),
                "--warm" => read.both(|phases| &mut phases.warm, seconds(&word, &value()?)?),
                "--fault" => read.both(|phases| &mut phases.fault, seconds(&word, &value()?)?),
                "--recovery" => read.both(|phases| &mut phases.recovery, seconds(&word, &value()?)?),
                "--seed" => read.seeds.push(value()?.parse().map_err(|error| format!("--seed: {error}"))?),
                "--proxy" => read.proxies.push(proxy(&value()?)?),
                "--binary" => read.binary = PathBuf::from(value()?),
                "--record" => read.record = true,
                "--list" => read.list = true,
                "sick" => read.scenarios.extend(scenario::all()),
                "overload" => read.overloads.extend(overload::all()),
                _ => read.named(&word)?,
            }
        }
        if read.scenarios.is_empty() && read.overloads.is_empty() {
            read.scenarios = scenario::all();
            read.overloads = overload::all();
        }
        if read.seeds.is_empty() {
            read.seeds.push(1);
        }
        if read.proxies.is_empty() {
            read.proxies.extend(Kind::ALL);
        }
        Ok(read)
    }

    /// Sets a phase's length, whatever the scenario.
    fn both(&mut self, phase: fn(&mut Phases) -> &mut Duration, lasts: Duration) {
        *phase(&mut self.phases) = lasts;
        *phase(&mut self.overload_phases) = lasts;
    }

    /// Adds a scenario.
    fn named(&mut self, word: &str) -> Result<(), String> {
        let sick = scenario::all().into_iter().find(|scenario| scenario.word == word);
        let overload = overload::all().into_iter().find(|scenario| scenario.word == word);
        if sick.is_none() && overload.is_none() {
            return Err(format!("no option or scenario is called {word:?}"));
        }
        self.scenarios.extend(sick);
        self.overloads.extend(overload);
        Ok(())
    }
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn seconds(word: &str, value: &str) -> Result<Duration, String> {
    match value.parse() {
        Ok(seconds @ 2..=600) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{word} takes whole seconds from 2 to 600, not {value:?}")),
    }
}

fn proxy(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("no proxy is called {name:?}"))
}
