//! The lines that are printed, which are also those of the page.

use std::fmt::Write;

use super::measures::{Fate, Measures};
use super::scenario::Overload;
use crate::scenario::ANY_SECOND;
use crate::verdict::Verdict;

/// The head of the table that [`row`] fills.
pub(crate) const HEAD: &str = "| | seed | goodput /s | critical, % | default, % | sheddable, % | critical p50 | critical p99 | \
    503s, % | failed otherwise | p99 before | back, s | failed after | any 1 s | hedges | CPU, us | of a 503 | in flight | late, p99 |\n\
    |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// A line of figures.
pub(crate) fn row(name: &str, seed: u64, measures: &Measures) -> String {
    let [critical, default, sheddable] = measures.classes.each_ref().map(|class| class.share(class.in_time));
    let [p50, p99] = measures.classes[0].latencies;
    let refused = measures.classes.each_ref().map(|class| format!("{:.1}", class.share(class.refused))).join(" / ");
    let failed: usize = measures.classes.iter().map(|class| class.failed).sum();
    let back = measures.back.map_or("never".to_owned(), |back| format!("{back:.1}"));
    let [cpu, shed_cpu] =
        [measures.cpu, measures.shed_cpu].map(|cpu| cpu.map_or(String::new(), |cpu| format!("{cpu:.0}")));
    let gauge = measures.gauge.map_or(String::new(), |gauge| format!(", gauges {gauge}"));
    format!(
        "| {name} | {seed} | {:.0} | {critical:.1} | {default:.1} | {sheddable:.1} | {p50:.1} | {p99:.1} | {refused} | \
         {failed} | {:.1} | {back} | {} | {:.3} | {} | {cpu} | {shed_cpu} | {}{gauge} | {:.2} |",
        measures.goodput,
        measures.before,
        measures.failed_after.len(),
        measures.amplification,
        measures.hedges,
        measures.open,
        measures.late
    )
}

/// What is not in the table: failures by kind, the recovery, and what became of requests for keys that may be stored.
pub(crate) fn notes(name: &str, seed: u64, scenario: &Overload, measures: &Measures) -> String {
    let mut text = String::new();
    let kinds: Vec<String> = measures.failures.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    // Writing to a String cannot fail.
    if !kinds.is_empty() {
        let _infallible = writeln!(text, "* {name}, seed {seed}: failed in the spike: {}", kinds.join(", "));
    }
    let slices: Vec<String> = measures.slices.iter().map(|p99| format!("{p99:.0}")).collect();
    let _infallible = write!(text, "* {name}, seed {seed}: p99 of each half second after it: {}", slices.join(" "));
    if let (Some(first), Some(last)) = (measures.failed_after.first(), measures.failed_after.last()) {
        let _infallible = write!(text, "; failed from {first:.1} s to {last:.1} s after it");
    }
    text.push('\n');
    if scenario.kept {
        let Fate { due, refused, failed, latencies: [p50, p99], .. } = measures.kept;
        let _infallible = writeln!(
            text,
            "* {name}, seed {seed}: of {due} requests for keys that may be stored {refused} were answered 503 and {failed} \
             failed otherwise; p50 {p50:.1}, p99 {p99:.1} of the others"
        );
    }
    text
}

/// What Hedgerow was to reach, and whether it did.
pub(crate) fn verdicts(scenario: &Overload, measures: &Measures) -> Vec<Verdict> {
    let aim = scenario.aim;
    let [critical, default, sheddable] = measures.classes.each_ref().map(|class| class.share(class.in_time));
    let mut verdicts = Vec::new();
    for (what, value, limit) in [
        ("goodput", measures.goodput, aim.goodput),
        ("critical in %", critical, aim.critical),
        ("default in %", default, aim.default),
    ] {
        verdicts.extend(limit.map(|limit| Verdict::at_least(what, value, limit, 1)));
    }
    if let Some(limit) = aim.critical_p99 {
        verdicts.push(Verdict::at_most("p99 of critical", measures.classes[0].latencies[1], limit, 1));
    }
    if let (Some(limit), Some(cpu)) = (aim.shed_cpu, measures.shed_cpu) {
        verdicts.push(Verdict::at_most("CPU of a 503 in us", cpu, limit, 0));
    }
    // Of no class so much is served that one above it is the worse for it; a little may be chance.
    let inverted = (default - critical).max(sheddable - default).max(0.0);
    verdicts.push(Verdict::at_most("points by which a class is before the one above", inverted, 1.0, 1));
    if scenario.kept {
        let failed = measures.kept.refused + measures.kept.failed;
        verdicts.push(Verdict::at_most("failed of keys that may be stored", failed as f64, 0.0, 0));
    }
    let back = measures.back.unwrap_or(f64::INFINITY);
    verdicts.push(Verdict::at_most("back after s", back, aim.back, 1));
    let late = measures.failed_after.iter().filter(|at| **at > aim.back).count();
    verdicts.push(Verdict::at_most("failed after that", late as f64, 0.0, 0));
    verdicts.push(Verdict::at_most("amplification in any second", measures.amplification, ANY_SECOND, 3));
    let open = measures.open as f64 + measures.gauge.unwrap_or_default() as f64;
    verdicts.push(Verdict::at_most("in flight", open, 0.0, 0));
    verdicts
}
