//! When requests are due.

use std::time::Duration;

use hedgerow::clock;
use hedgerow::units::Tick;

/// When the next request is due.
pub(crate) enum Due {
    /// Now. From then on its latency counts, which may be earlier.
    Since(Tick),
    /// After so long.
    In(Duration),
    /// There will be none.
    Never,
}

pub(crate) enum Pace {
    /// As soon as a connection is free, until then.
    Closed { until: Tick },
    /// So many, as soon as a connection is free.
    Count(usize),
    /// By a Poisson process, whether the server keeps up or not: what comes late has waited.
    Open(Open),
}

pub(crate) struct Open {
    /// Requests per second.
    rate: f64,
    next: Tick,
    until: Tick,
    rng: fastrand::Rng,
}

impl Pace {
    /// All are asked the same moments for the same seed.
    pub(crate) fn open(rate: f64, lasts: Duration, seed: u64) -> Pace {
        let now = clock::now();
        Pace::Open(Open { rate, next: now, until: now + lasts, rng: fastrand::Rng::with_seed(seed) })
    }

    /// What the next free connection is to do; the request is then taken as sent.
    pub(crate) fn due(&mut self, now: Tick) -> Due {
        match self {
            Pace::Closed { until } if now < *until => Due::Since(now),
            Pace::Closed { .. } | Pace::Count(0) => Due::Never,
            Pace::Count(left) => {
                *left -= 1;
                Due::Since(now)
            }
            Pace::Open(open) if open.next >= open.until => Due::Never,
            Pace::Open(open) if open.next > now => Due::In(open.next.since(now)),
            Pace::Open(open) => {
                let since = open.next;
                open.next = since + Duration::from_secs_f64(-(1.0 - open.rng.f64()).ln() / open.rate);
                Due::Since(since)
            }
        }
    }
}
