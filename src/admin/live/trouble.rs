//! What is wrong with a backend at a moment, seen beside its peers.
//!
//! A state other than healthy is one answer. But where probation is off, or has no room in a small pool, a slow backend stays
//! healthy and hedging bears it: the operator is to see that too.

use crate::admin::pools::{BackendView, PoolView};

/// Of its primaries the share that must be late, where one in twenty is usual.
const LATE: f64 = 0.25;
/// How many times its peers' share that must be.
const TIMES: f64 = 3.0;
/// Answers in its window below which nothing is said of its pace.
const WARM: u64 = 20;
/// The share it is not sent from which on it counts as throttled.
const THROTTLED: f64 = 0.05;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// It was let back in and has to prove itself.
    Recovering,
    /// It is late far more often than its peers.
    Slow,
    /// It says "not now", and is sent less.
    Throttled,
    /// It is slower than its peers: no client waits for it.
    Probation,
    /// It gets no requests.
    Ejected,
}

impl Trouble {
    /// What is wrong with the backend at `place` of its pool, if anything is.
    pub(super) fn of(pool: &PoolView, place: usize) -> Option<Trouble> {
        let backend = pool.backends.get(place)?;
        match backend.state {
            "ejected" => return Some(Trouble::Ejected),
            "probation" => return Some(Trouble::Probation),
            "recovering" => return Some(Trouble::Recovering),
            _ => {}
        }
        if backend.throttle >= THROTTLED {
            return Some(Trouble::Throttled);
        }
        let peers = || pool.backends.iter().enumerate().filter(|(at, _)| *at != place).map(|(_, peer)| peer);
        let peers_late = mean(peers().map(|peer| peer.late))?;
        let is_slow = answers(backend) >= WARM && backend.late >= LATE && backend.late >= TIMES * peers_late;
        is_slow.then_some(Trouble::Slow)
    }

    /// The word on the page.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Trouble::Recovering => "recovering",
            Trouble::Slow => "slow",
            Trouble::Throttled => "throttled",
            Trouble::Probation => "probation",
            Trouble::Ejected => "ejected",
        }
    }
}

/// Answers of late, whether or not they were waited for.
fn answers(backend: &BackendView) -> u64 {
    backend.latency_ms.count.max(backend.latency_without_hedging_ms.count)
}

/// The p99 of a backend's answers in milliseconds, had each been waited for; as they were where that is not known.
pub(super) fn p99(backend: &BackendView) -> Option<f64> {
    let both = [&backend.latency_without_hedging_ms, &backend.latency_ms];
    both.into_iter().find(|latency| latency.count > 0).map(|latency| latency.p99)
}

/// The median of the p99s of the other backends, in milliseconds.
pub(super) fn peers_p99(pool: &PoolView, place: usize) -> Option<f64> {
    let others = pool.backends.iter().enumerate().filter(|(at, _)| *at != place);
    let mut known: Vec<f64> = others.filter_map(|(_, backend)| p99(backend)).collect();
    known.sort_unstable_by(f64::total_cmp);
    known.get(known.len() / 2).copied()
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}
