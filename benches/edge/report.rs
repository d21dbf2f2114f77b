//! The tables, and the figures in them that targets are about.

use crate::run::{Measured, Round};
use crate::scenario::{Entrant, Scenario};

/// What the rounds came to.
pub(crate) struct Figure {
    pub(crate) scenario: &'static str,
    pub(crate) entrant: String,
    pub(crate) what: What,
    pub(crate) median: f64,
    /// Of the round that was disturbed least.
    pub(crate) least: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// Processor time per request, in microseconds.
    Cpu,
    /// In microseconds.
    P99,
    /// KiB per idle connection.
    Memory,
}

/// A line for each entrant under load.
pub(crate) fn loaded(measured: &Measured<Round>) -> Vec<String> {
    let cpu = |name: &str| {
        let (_, rounds) = measured.iter().find(|(entrant, _)| entrant.name().split(',').next() == Some(name))?;
        Some(median(rounds, |round| round.cpu))
    };
    let (floor, hedgerow) = (cpu("floor"), cpu("hedgerow"));
    let ratio = |this: Option<f64>, that: Option<f64>| {
        this.zip(that).map_or(String::new(), |(this, that)| format!("{:.2}", this / that))
    };
    let row = |(entrant, rounds): &(Entrant, Vec<Round>)| {
        let own = median(rounds, |round| round.cpu);
        let rate = median(rounds, |round| round.rate);
        let load = median(rounds, |round| round.load * 100.0);
        let [p50, p99, p999] = [0, 1, 2].map(|which| median(rounds, |round| round.latencies[which]));
        format!(
            "| {} | {own:.2} | {} | {} | {} | {rate:.0} | {p50:.0} | {p99:.0} | {p999:.0} | {load:.0} |",
            entrant.name(),
            range(rounds.iter().map(|round| round.cpu)),
            ratio(Some(own), floor),
            ratio(hedgerow, Some(own)),
        )
    };
    let head = "| | CPU us/request | least to most | of the floor | hedgerow / it | requests/s | p50 us | p99 us | \
        p99.9 us | load's core, % |\n|---|---|---|---|---|---|---|---|---|---|";
    std::iter::once(head.to_owned()).chain(measured.iter().map(row)).collect()
}

/// A line for each entrant with idle connections.
pub(crate) fn idle(measured: &Measured<f64>) -> Vec<String> {
    let row = |(entrant, rounds): &(Entrant, Vec<f64>)| {
        let each = median(rounds, kib);
        format!("| {} | {each:.2} | {} |", entrant.name(), range(rounds.iter().map(kib)))
    };
    let head = "| | KiB per connection | least to most |\n|---|---|---|";
    std::iter::once(head.to_owned()).chain(measured.iter().map(row)).collect()
}

/// What targets may be about, of entrants under load.
pub(crate) fn figures(scenario: &Scenario, measured: &Measured<Round>) -> Vec<Figure> {
    let of = |(entrant, rounds): &(Entrant, Vec<Round>)| {
        [
            figure(scenario, entrant, What::Cpu, rounds, |round| round.cpu),
            figure(scenario, entrant, What::P99, rounds, |round| round.latencies[1]),
        ]
    };
    measured.iter().flat_map(of).collect()
}

/// The same of those with idle connections.
pub(crate) fn memory(scenario: &Scenario, measured: &Measured<f64>) -> Vec<Figure> {
    measured.iter().map(|(entrant, rounds)| figure(scenario, entrant, What::Memory, rounds, kib)).collect()
}

fn figure<T>(scenario: &Scenario, entrant: &Entrant, what: What, rounds: &[T], of: impl Fn(&T) -> f64) -> Figure {
    let least = rounds.iter().map(&of).fold(f64::INFINITY, f64::min);
    Figure { scenario: scenario.word, entrant: entrant.name(), what, median: median(rounds, of), least }
}

/// Of a figure of the rounds.
pub(crate) fn median<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut sorted: Vec<f64> = rounds.iter().map(figure).collect();
    sorted.sort_by(f64::total_cmp);
    let [low, high] = [sorted.len().saturating_sub(1) / 2, sorted.len() / 2].map(|place| sorted.get(place).copied());
    low.zip(high).map_or(f64::NAN, |(low, high)| (low + high) / 2.0)
}

fn kib(bytes: &f64) -> f64 {
    bytes / 1024.0
}

fn range(values: impl Iterator<Item = f64> + Clone) -> String {
    let (least, most) = (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    format!("{least:.2} to {most:.2}")
}
