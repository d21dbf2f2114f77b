//! How long to wait before another attempt: exponential backoff with full jitter.
//!
//! Clients that fail together and wait equally long come back together. Full jitter draws each wait evenly from
//! zero to an upper end that doubles, which spreads them best for the work it saves (Brooker, "Exponential Backoff
//! And Jitter", 2015).

use std::time::Duration;

/// Exponential backoff with full jitter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Upper end of the first wait.
    pub base: Duration,
    /// Upper end of any wait.
    pub max: Duration,
}

impl Params {
    /// The wait before retry number `attempt`, counted from zero: drawn evenly from zero to
    /// `base` doubled `attempt` times, at most `max`.
    pub fn delay(&self, attempt: u32, rng: &mut fastrand::Rng) -> Duration {
        // A doubling that overflows is beyond any `max`.
        let doubled = 2u32.checked_pow(attempt).and_then(|factor| self.base.checked_mul(factor));
        let end = doubled.unwrap_or(Duration::MAX).min(self.max);
        let nanos = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.u64(0..=nanos))
    }
}

impl Default for Params {
    fn default() -> Params {
        Params { base: BASE, max: MAX }
    }
}

/// Envoy's default base interval: longer than a healthy answer, short beside a client's patience.
const BASE: Duration = Duration::from_millis(25);

/// Ten times the base: beyond it a wait helps the backend little and costs the client much.
const MAX: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn longest(params: &Params, attempt: u32) -> Duration {
        let mut rng = fastrand::Rng::with_seed(7);
        (0..2_000).map(|_| params.delay(attempt, &mut rng)).max().unwrap()
    }

    #[test]
    fn the_upper_end_doubles_up_to_its_maximum() {
        let params = Params::default();
        for (attempt, end) in [(0, 25), (1, 50), (2, 100), (3, 200), (4, 250), (40, 250), (u32::MAX, 250)] {
            let end = Duration::from_millis(end);
            let longest = longest(&params, attempt);
            assert!(longest <= end && longest > end.mul_f64(0.98), "{attempt}: {longest:?}");
        }
    }

    #[test]
    fn waits_are_spread_from_zero() {
        let mut rng = fastrand::Rng::with_seed(7);
        let params = Params::default();
        let waits: Vec<f64> = (0..10_000).map(|_| params.delay(0, &mut rng).as_secs_f64() * 1e3).collect();
        let mean = waits.iter().sum::<f64>() / waits.len() as f64;
        assert!((mean - 12.5).abs() < 0.3, "{mean}");
        assert!(waits.iter().any(|&w| w < 0.1));
    }

    #[test]
    fn a_zero_or_endless_range_is_no_trap() {
        let mut rng = fastrand::Rng::with_seed(7);
        let zero = Params { base: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(zero.delay(3, &mut rng), Duration::ZERO);
        let endless = Params { base: Duration::MAX, max: Duration::MAX };
        let _ = endless.delay(u32::MAX, &mut rng);
    }
}
