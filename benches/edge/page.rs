//! docs/bench/edge.md: what is printed, with what it was taken on and how to take it again. Nothing in it is typed.

use std::error::Error;
use std::fs;
use std::path::Path;

use hedgerow::clock;

use crate::Bench;
use crate::arguments::root;
use crate::machine::load_average;
use crate::report::Figure;
use crate::scenario::Scenario;
use crate::targets;

const FILE: &str = "docs/bench/edge.md";

/// Prints lines and keeps them.
pub(crate) struct Page {
    conditions: String,
    lines: String,
    pub(crate) figures: Vec<Figure>,
}

/// Which build it is, by where it is.
fn build(binary: &Path) -> &'static str {
    match binary.parent().and_then(Path::file_name).and_then(|folder| folder.to_str()) {
        Some("release") => "that of `make build`",
        _ => "a build of its own",
    }
}

impl Page {
    pub(crate) fn begin(bench: &Bench) -> Page {
        let versions = bench.programs.iter().map(|program| program.version.as_str()).filter(|said| !said.is_empty());
        let day: String = humantime::format_rfc3339_seconds(clock::wall()).to_string().chars().take(10).collect();
        let mut conditions = format!(
            "{day}; {}; {}; hedgerow is {}. {} rounds of {} s each.",
            bench.machine,
            versions.collect::<Vec<_>>().join(", "),
            build(&bench.arguments.binary),
            bench.arguments.rounds,
            bench.arguments.seconds.as_secs(),
        );
        for missing in &bench.missing {
            conditions += &format!(" Left out: {missing}.");
        }
        conditions += &format!(" Load average at the start {}", load_average());
        println!("edge: {conditions}\n");
        Page { conditions, lines: String::new(), figures: Vec::new() }
    }

    pub(crate) fn scenario(&mut self, scenario: &Scenario) {
        self.line(&format!("### {} (`{}`)\n", scenario.title, scenario.word));
    }

    pub(crate) fn line(&mut self, line: &str) {
        println!("{line}");
        self.lines += line;
        self.lines.push('\n');
    }

    /// Ends it with the targets, and writes it where that is asked for.
    pub(crate) fn end(self, record: bool) -> Result<(), Box<dyn Error>> {
        let targets = targets::table(&self.figures).join("\n");
        println!("### Targets\n\n{targets}\n");
        if !record {
            return Ok(());
        }
        let conditions = format!("{}, at the end {}.", self.conditions, load_average());
        let text = include_str!("page.md").replace("@CONDITIONS@", &conditions).replace("@TARGETS@", &targets);
        Ok(fs::write(root().join(FILE), text.replace("@SCENARIOS@", self.lines.trim_end()) + "\n")?)
    }
}
