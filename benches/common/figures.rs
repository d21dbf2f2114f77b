//! What times come to, and how they are drawn.

use std::time::Duration;

const MEDIAN: Duration = Duration::from_millis(10);
/// Of the logarithm: puts the 99th percentile two and a half times above the median.
const SIGMA: f64 = 0.394;

/// p50, p95, p99, p99.9 and the maximum, in milliseconds; a quantile is the least value that so many do not exceed.
pub(crate) fn figures(times: impl Iterator<Item = Duration>) -> [f64; 5] {
    let mut sorted: Vec<Duration> = times.collect();
    sorted.sort_unstable();
    [0.5, 0.95, 0.99, 0.999, 1.0].map(|q| {
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    })
}

/// A service time: lognormal, median 10 ms, 99th percentile 25 ms.
pub(crate) fn lognormal(rng: &mut fastrand::Rng) -> Duration {
    let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos();
    MEDIAN.mul_f64((SIGMA * normal).exp())
}
