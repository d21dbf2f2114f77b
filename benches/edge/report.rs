//! The tables.

use crate::edges::{Edge, Kind};
use crate::run::Round;

/// The head of the table that [`rows`] fills.
pub(crate) const HEAD: &str = "| | CPU us/request | least to most | of the floor | hedgerow / it | requests/s | p50 us | \
    p99 us | load's core |\n|---|---|---|---|---|---|---|---|---|";

/// A line of figures for each edge; all are medians of the rounds.
pub(crate) fn rows(measured: &[(Edge, Vec<Round>)]) -> Vec<String> {
    let of = |kind: Kind| {
        let (_, rounds) = measured.iter().find(|(edge, _)| edge.kind == kind)?;
        Some(median(rounds, |round| round.cpu))
    };
    let (floor, hedgerow) = (of(Kind::Floor), of(Kind::Hedgerow));
    let ratio = |this: Option<f64>, that: Option<f64>| match (this, that) {
        (Some(this), Some(that)) => format!("{:.2}", this / that),
        _ => String::new(),
    };
    let row = |(edge, rounds): &(Edge, Vec<Round>)| {
        let cpu = median(rounds, |round| round.cpu);
        let least = rounds.iter().map(|round| round.cpu).fold(f64::INFINITY, f64::min);
        let most = rounds.iter().map(|round| round.cpu).fold(0.0, f64::max);
        format!(
            "| {} | {cpu:.2} | {least:.2} to {most:.2} | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} % |",
            edge.kind.name(),
            ratio(Some(cpu), floor),
            ratio(hedgerow, Some(cpu)),
            median(rounds, |round| round.rate),
            median(rounds, |round| round.latencies[0]),
            median(rounds, |round| round.latencies[1]),
            median(rounds, |round| round.load * 100.0),
        )
    };
    measured.iter().map(row).collect()
}

/// Of a figure of the rounds.
pub(crate) fn median(rounds: &[Round], figure: impl Fn(&Round) -> f64) -> f64 {
    let mut sorted: Vec<f64> = rounds.iter().map(figure).collect();
    sorted.sort_by(f64::total_cmp);
    let [low, high] = [(sorted.len() - 1) / 2, sorted.len() / 2].map(|place| sorted.get(place).copied());
    low.zip(high).map_or(f64::NAN, |(low, high)| (low + high) / 2.0)
}
