//! From samples to the lines that are printed.

use std::fmt::Write;
use std::time::Duration;

use crate::Phase;
use crate::backends::{BACKENDS, SLOW};
use crate::figures::figures;
use crate::load::{RATE, Sample};

/// Windows begin every tenth of a second.
const STEP: usize = RATE / 10;

/// The head of the table that [`rows`] fills.
pub(crate) const HEAD: &str = "| run | phase | requests | errors | p50 | p95 | p99 | p99.9 | max | sent late, p99 | \
    shares of backends, % | slow one's of fair |\n|---|---|---|---|---|---|---|---|---|---|---|---|";

/// A line for each phase.
pub(crate) fn rows(run: &str, phases: &[Phase], samples: &[Sample]) -> String {
    let mut text = String::new();
    for phase in phases {
        let part = &samples[phase.requests.clone()];
        let errors = part.iter().filter(|sample| sample.outcome.is_err()).count();
        let [p50, p95, p99, p999, max] = figures(part.iter().map(|sample| sample.latency));
        let [.., late, _, _] = figures(part.iter().map(|sample| sample.late));
        let shares: Vec<String> = (0..BACKENDS).map(|b| format!("{:.1}", share(part, b) * 100.0)).collect();
        let (name, requests, shares, of_fair) = (phase.name, part.len(), shares.join(" "), of_fair(part));
        // Writing to a String cannot fail.
        let _infallible = writeln!(
            text,
            "| {run} | {name} | {requests} | {errors} | {p50:.1} | {p95:.1} | {p99:.1} | {p999:.1} | {max:.1} | \
             {late:.1} | {shares} | {of_fair:.3} |"
        );
    }
    text
}

/// The line of what was drawn for a phase: what a client would see if everything but the service took no time.
pub(crate) fn drawn(phase: &Phase, draws: &[Duration]) -> String {
    let [p50, p95, p99, p999, max] = figures(draws[phase.requests.clone()].iter().copied());
    let (name, requests) = (phase.name, phase.requests.len());
    format!("| drawn | {name} | {requests} | | {p50:.1} | {p95:.1} | {p99:.1} | {p999:.1} | {max:.1} | | | |\n")
}

/// When the slow backend was left, from the fault's begin, and when it was taken back, from its end.
pub(crate) fn turns(fault: &Phase, recovery: Option<&Phase>, samples: &[Sample]) -> String {
    let left = first_window(&samples[fault.requests.clone()], |of_fair| of_fair < 0.2);
    let mut text = format!("  share below a fifth of fair: {}\n", said(left));
    if let Some(recovery) = recovery {
        let back = first_window(&samples[recovery.requests.clone()], |of_fair| of_fair >= 0.5);
        let _infallible = writeln!(text, "  at least half of fair again: {}", said(back));
    }
    text
}

/// The slow backend's share of its fair share, second by second.
pub(crate) fn seconds(phase: &Phase, samples: &[Sample]) -> String {
    let parts: Vec<String> =
        samples[phase.requests.clone()].chunks(RATE).map(|part| format!("{:.2}", of_fair(part))).collect();
    format!("  of fair, each second of {}: {}\n", phase.name, parts.join(" "))
}

/// The start, in seconds, of the first window of one second whose share of fair is as wanted.
fn first_window(part: &[Sample], wanted: impl Fn(f64) -> bool) -> Option<f64> {
    let at = part.windows(RATE).step_by(STEP).position(|window| wanted(of_fair(window)))?;
    Some(at as f64 * STEP as f64 / RATE as f64)
}

fn said(window: Option<f64>) -> String {
    window.map_or("never".to_owned(), |begin| format!("in the second that begins {begin:.1} s after the change"))
}

/// The slow backend's share as a fraction of a fair one.
fn of_fair(part: &[Sample]) -> f64 {
    share(part, SLOW) * BACKENDS as f64
}

fn share(part: &[Sample], backend: usize) -> f64 {
    let answered = part.iter().filter_map(|sample| sample.outcome.as_ref().ok());
    let own = answered.clone().filter(|by| **by == backend).count();
    own as f64 / answered.count().max(1) as f64
}
