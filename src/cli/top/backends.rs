//! A pool and its backends as lines.

use super::line::{Line, Look, amount, duration, millis, percent};
use super::told::{Backend, Pool};

/// What a pool's backends are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As they are written.
    #[default]
    Written,
    Trouble,
    Share,
    P99,
    InFlight,
}

impl Sort {
    /// The next one.
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Written => Sort::Trouble,
            Sort::Trouble => Sort::Share,
            Sort::Share => Sort::P99,
            Sort::P99 => Sort::InFlight,
            Sort::InFlight => Sort::Written,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Sort::Written => "as written",
            Sort::Trouble => "trouble",
            Sort::Share => "share",
            Sort::P99 => "p99",
            Sort::InFlight => "in flight",
        }
    }

    /// Greater comes first.
    fn key(self, backend: &Backend) -> f64 {
        match self {
            Sort::Written => 0.0,
            Sort::Trouble => f64::from(u8::from(backend.trouble.is_some())),
            Sort::Share => backend.share.unwrap_or(-1.0),
            Sort::P99 => backend.latency_without_hedging_ms.p99().or(backend.latency_ms.p99()).unwrap_or(-1.0),
            Sort::InFlight => backend.in_flight.into(),
        }
    }
}

/// How a trouble looks, and the mark before its word.
pub(super) fn look(trouble: Option<&str>) -> (Look, &'static str) {
    match trouble {
        None => (Look::Good, "●"),
        Some("ejected" | "probation") => (Look::Bad, "✕"),
        Some(_) => (Look::Warn, "▲"),
    }
}

/// The pool's numbers, and a line for each backend.
pub(super) fn lines(pool: &Pool, sort: Sort) -> Vec<Line> {
    let alert = |is_so: bool| if is_so { Look::Bad } else { Look::Plain };
    let limit = pool.limit.map_or(String::new(), |limit| format!(" of {limit}"));
    let mut head = Line::new().with(Look::Bold, format!("POOL {}", pool.name));
    for (look, name, value) in [
        (Look::Plain, "attempts/s", amount(pool.attempts_per_second)),
        (Look::Plain, "per request", pool.amplification.map_or("-".to_owned(), |ratio| format!("{ratio:.3}"))),
        (Look::Plain, "admitted", format!("{}{limit}", pool.admitted)),
        (alert(pool.queued > 0), "queued", pool.queued.to_string()),
        (
            Look::Plain,
            "copies/s",
            format!("{} ({} won)", amount(pool.hedges_per_second), amount(pool.hedges_won_per_second)),
        ),
        (alert(pool.ledger < 1.0), "budget", format!("{:.0}", pool.ledger.floor())),
        (Look::Plain, "retries/s", amount(pool.retries_per_second)),
        (alert(pool.shed_per_second > 0.0), "shed/s", amount(pool.shed_per_second)),
        (Look::Plain, "wasted", format!("{:.2} s/s", pool.wasted_share)),
    ] {
        head = head.with(Look::Dim, format!("  {name} ")).with(look, value);
    }
    let titles = Line::new()
        .left(Look::Dim, "  BACKEND", 26)
        .left(Look::Dim, "STATE", 13)
        .right(Look::Dim, "FOR", 7)
        .right(Look::Dim, "SHARE", 8)
        .right(Look::Dim, "IN FLIGHT", 11)
        .right(Look::Dim, "EWMA ms", 8)
        .right(Look::Dim, "P99 ms", 8)
        .right(Look::Dim, "UNHEDGED", 8)
        .right(Look::Dim, "LATE", 7);
    let mut backends: Vec<&Backend> = pool.backends.iter().collect();
    backends.sort_by(|a, b| sort.key(b).total_cmp(&sort.key(a)));
    [head, titles].into_iter().chain(backends.into_iter().map(line)).collect()
}

fn line(backend: &Backend) -> Line {
    let trouble = backend.trouble.as_deref();
    let (look, mark) = look(trouble);
    let name_look = if trouble.is_some() { look } else { Look::Plain };
    let limit = backend.limit.map_or(String::new(), |limit| format!(" / {limit:.0}"));
    Line::new()
        .left(name_look, format!("  {}", backend.address), 26)
        .left(look, format!("{mark} {}", trouble.unwrap_or(&backend.state)), 13)
        .right(Look::Plain, duration(backend.state_seconds), 7)
        .right(Look::Plain, percent(backend.share), 8)
        .right(Look::Plain, format!("{}{limit}", backend.in_flight), 11)
        .right(Look::Plain, millis(backend.ewma_ms), 8)
        .right(Look::Plain, millis(backend.latency_ms.p99()), 8)
        .right(Look::Plain, millis(backend.latency_without_hedging_ms.p99()), 8)
        .right(Look::Plain, percent(Some(backend.late)), 7)
}
