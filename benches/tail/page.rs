//! docs/bench/tail.md: what is printed, with what it was taken on and how to take it again. Nothing in it is typed.

use std::error::Error;
use std::fs;

use hedgerow::clock;

use crate::arguments::{Arguments, root};
use crate::fault::Script;
use crate::load;
use crate::machine::{load_average, machine};
use crate::proxy::Program;
use crate::report::{self, Verdict};
use crate::scenario::{Phases, Scenario};

/// The page's text, where `@FIGURES@` stands for what is measured.
const FRAME: &str = include_str!("page.md");

/// Prints lines and keeps them.
pub(crate) struct Page {
    conditions: String,
    figures: String,
    met: usize,
    missed: usize,
}

impl Page {
    pub(crate) fn begin(arguments: &Arguments, programs: &[Program]) -> Page {
        let Phases { warm, fault, recovery } = arguments.phases;
        let versions: Vec<&str> = programs.iter().map(|program| program.version.as_str()).collect();
        let day: String = humantime::format_rfc3339_seconds(clock::wall()).to_string().chars().take(10).collect();
        let conditions = format!(
            "{day}; {}; {}; load average at the start {}. Warm {} s, fault {} s, recovery {} s.",
            machine(),
            versions.join(", "),
            load_average(),
            warm.as_secs(),
            fault.as_secs(),
            recovery.as_secs()
        );
        println!("tail: {conditions}");
        Page { conditions, figures: String::new(), met: 0, missed: 0 }
    }

    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        self.figures += line;
        self.figures.push('\n');
    }

    pub(crate) fn scenario(&mut self, scenario: &Scenario) {
        self.line(&format!("### {} (`{}`)\n\n{}", scenario.title, scenario.word, report::HEAD));
    }

    /// The line of what is drawn for the fault phase.
    pub(crate) fn drawn(&mut self, scenario: &Scenario, phases: Phases, seed: u64) {
        let phase = phases.warm..phases.warm + phases.fault;
        let script = Script { seed, faults: Vec::new(), phase: phase.clone() };
        let requests = (0..).skip_while(|request| load::due(*request, scenario.rate) < phase.start);
        let requests = requests.take_while(|request| load::due(*request, scenario.rate) < phase.end);
        self.line(&report::drawn(seed, requests.map(|request| script.drawn(request as u64, 0))));
    }

    /// Counts what was reached.
    pub(crate) fn judge(&mut self, verdicts: &[Verdict]) {
        let met = verdicts.iter().filter(|verdict| verdict.met).count();
        self.met += met;
        self.missed += verdicts.len() - met;
    }

    pub(crate) fn summary(&mut self) {
        self.conditions += &format!(" Load average at the end {}.", load_average());
        let (met, missed) = (self.met, self.missed);
        self.line(&format!(
            "Hedgerow's targets: {met} met, {missed} missed. Load average at the end {}.",
            load_average()
        ));
    }

    /// Writes the page.
    pub(crate) fn write(&self) -> Result<(), Box<dyn Error>> {
        let text = FRAME.replace("@CONDITIONS@", &self.conditions).replace("@FIGURES@", self.figures.trim_end());
        Ok(fs::write(root().join("docs/bench/tail.md"), text + "\n")?)
    }
}
