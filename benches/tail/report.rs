//! The lines that are printed, which are also those of the page.

use std::fmt::Write;
use std::time::Duration;

use crate::figures::figures;
use crate::measures::{AWAY, Measures};
use crate::scenario::{ANY_SECOND, Scenario, Traffic};
use crate::verdict::Verdict;

/// The head of the table that [`row`] fills.
pub(crate) const HEAD: &str = "| | seed | p50 | p95 | p99 | p99.9 | max | errors | amplification | of the run | any 1 s | \
    hedges | sick's share, % | away, s | back, s | connections | in flight | late, p99 |\n\
    |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// A line of figures.
pub(crate) fn row(name: &str, seed: u64, scenario: &Scenario, measures: &Measures) -> String {
    let [p50, p95, p99, p999, max] = measures.latencies;
    let [fault, whole, second] = measures.amplification;
    let share = if scenario.has_a_sick_one() { format!("{:.2}", measures.share * 100.0) } else { String::new() };
    let seconds = |at: Option<f64>| match at {
        _ if !scenario.one_sick => String::new(),
        Some(at) => format!("{at:.1}"),
        None => "never".to_owned(),
    };
    let (away, back) = (seconds(measures.away), seconds(measures.back));
    let [connections, all] = measures.connections;
    let gauge = measures.gauge.map_or(String::new(), |gauge| format!(", gauges {gauge}"));
    format!(
        "| {name} | {seed} | {p50:.1} | {p95:.1} | {p99:.1} | {p999:.1} | {max:.1} | {} | {fault:.3} | {whole:.3} | \
         {second:.3} | {} | {share} | {away} | {back} | {connections} of {all} | {}{gauge} | {:.2} |",
        measures.errors, measures.hedges, measures.open, measures.late
    )
}

/// The line of what was drawn: what a client would see if all but the service took no time.
pub(crate) fn drawn(seed: u64, times: impl Iterator<Item = Duration>) -> String {
    let [p50, p95, p99, p999, max] = figures(times);
    let empty = "| ".repeat(12);
    format!("| drawn | {seed} | {p50:.1} | {p95:.1} | {p99:.1} | {p999:.1} | {max:.1} {empty}|")
}

/// What is not in the table: failures by kind, and fetches of the hot key.
pub(crate) fn notes(name: &str, seed: u64, measures: &Measures) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if !measures.failures.is_empty() {
        let kinds: Vec<String> = measures.failures.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let _infallible = writeln!(text, "* {name}, seed {seed}: failed in the whole run: {}", kinds.join(", "));
    }
    if let Some(each) = measures.fetches_per_expiry() {
        let [fetches, expiries] = measures.fetches;
        let _infallible = writeln!(
            text,
            "* {name}, seed {seed}: {fetches} fetches of the hot key for {expiries} expiries, {each:.2} each"
        );
    }
    text
}

/// What Hedgerow was to reach, and whether it did.
pub(crate) fn verdicts(scenario: &Scenario, measures: &Measures) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut at_most = |what: &str, value: f64, limit: f64, digits: usize| {
        verdicts.push(Verdict::at_most(what, value, limit, digits));
    };
    let target = scenario.target;
    let [_, _, p99, p999, _] = measures.latencies;
    let [fault, whole, second] = measures.amplification;
    if let Some(limit) = target.p99 {
        at_most("p99", p99, limit, 1);
    }
    if let Some(limit) = target.p999 {
        at_most("p99.9", p999, limit, 1);
    }
    if scenario.traffic == Traffic::Uncached {
        at_most("amplification", fault, target.amplification, 3);
        at_most("of the run", whole, 1.065, 3);
        // Of so few requests any one copy is more than that.
        if scenario.rate >= 100 {
            at_most("in any second", second, ANY_SECOND, 3);
        }
    }
    if let (Some(limit), Some(each)) = (target.fetches_per_expiry, measures.fetches_per_expiry()) {
        at_most("fetches per expiry", each, limit, 2);
    }
    if scenario.one_sick {
        at_most("sick's share in %", measures.share * 100.0, AWAY * 100.0, 2);
        at_most("away after s", measures.away.unwrap_or(f64::INFINITY), 1.0, 1);
        // A shorter recovery could not show it.
        if measures.recovery > Duration::from_secs(10) {
            at_most("back after s", measures.back.unwrap_or(f64::INFINITY), 10.0, 1);
        }
    }
    at_most("failed", measures.failures.values().sum::<usize>() as f64, 0.0, 0);
    at_most("in flight", measures.open as f64 + measures.gauge.unwrap_or_default() as f64, 0.0, 0);
    verdicts
}
