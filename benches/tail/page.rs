//! docs/bench/tail.md and overload.md: what is printed, with what it was taken on and how to take it again. Nothing in it is typed.

use std::error::Error;
use std::fs;

use hedgerow::clock;

use crate::arguments::root;
use crate::fault::Script;
use crate::load;
use crate::machine::{load_average, machine};
use crate::proxy::Program;
use crate::report;
use crate::scenario::{Phases, Scenario};
use crate::verdict::Verdict;

/// A page's text, where `@FIGURES@` stands for what is measured, and its place.
pub(crate) struct Frame {
    text: &'static str,
    file: &'static str,
}

pub(crate) const SICK: Frame = Frame { text: include_str!("page.md"), file: "docs/bench/tail.md" };
pub(crate) const OVERLOAD: Frame = Frame { text: include_str!("overload/page.md"), file: "docs/bench/overload.md" };

/// Prints lines and keeps them.
pub(crate) struct Page {
    frame: Frame,
    conditions: String,
    figures: String,
    met: usize,
    missed: usize,
}

impl Page {
    pub(crate) fn begin(frame: Frame, phases: Phases, programs: &[Program]) -> Page {
        let Phases { warm, fault, recovery } = phases;
        let mut versions: Vec<&str> = programs.iter().map(|program| program.version.as_str()).collect();
        versions.dedup();
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
        Page { frame, conditions, figures: String::new(), met: 0, missed: 0 }
    }

    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        self.figures += line;
        self.figures.push('\n');
    }

    /// `head` is that of the scenario's table.
    pub(crate) fn scenario(&mut self, word: &str, title: &str, head: &str) {
        self.line(&format!("### {title} (`{word}`)\n\n{head}"));
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

    /// Ends it with a summary, and writes it where that is asked for.
    pub(crate) fn end(mut self, record: bool) -> Result<(), Box<dyn Error>> {
        let load = format!("Load average at the end {}.", load_average());
        let (met, missed) = (self.met, self.missed);
        self.line(&format!("Hedgerow's targets: {met} met, {missed} missed. {load}"));
        if !record {
            return Ok(());
        }
        let conditions = format!("{} {load}", self.conditions);
        let text = self.frame.text.replace("@CONDITIONS@", &conditions).replace("@FIGURES@", self.figures.trim_end());
        Ok(fs::write(root().join(self.frame.file), text + "\n")?)
    }
}
