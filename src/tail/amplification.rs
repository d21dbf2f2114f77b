//! How much more backends are asked than clients ask: attempts for each request, over the last seconds.
//!
//! Both are counted already, since the process began. Once a second the counts are read, and the ratio is that of
//! their growth since ten seconds before; so it costs nothing where requests pass.

use std::collections::VecDeque;

/// Readings of which the oldest and the newest are compared: ten seconds apart.
const READINGS: usize = 11;

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts begun, of every kind.
    pub attempts: u64,
    /// Retries, copies, probes and rescues among them.
    pub extra: u64,
}

/// The counts of the last ten seconds.
#[derive(Debug, Default)]
pub struct Amplification(VecDeque<Counts>);

impl Amplification {
    /// Takes the counts as they are now. To be called once a second.
    pub fn observe(&mut self, counts: Counts) {
        if self.0.len() == READINGS {
            self.0.pop_front();
        }
        self.0.push_back(counts);
    }

    /// Attempts for each request; `None` while there were no requests.
    pub fn ratio(&self) -> Option<f64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let attempts = last.attempts.saturating_sub(first.attempts);
        // A copy may be counted a moment before its attempt.
        let requests = attempts.saturating_sub(last.extra.saturating_sub(first.extra));
        (requests > 0).then(|| attempts as f64 / requests as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_requests_there_is_no_ratio() {
        let mut amplification = Amplification::default();
        assert_eq!(amplification.ratio(), None);
        amplification.observe(Counts { attempts: 100, extra: 5 });
        assert_eq!(amplification.ratio(), None, "one reading tells no growth");
        amplification.observe(Counts { attempts: 100, extra: 5 });
        assert_eq!(amplification.ratio(), None);
        amplification.observe(Counts { attempts: 101, extra: 9 });
        assert_eq!(amplification.ratio(), None, "extra work alone is no request");
    }

    #[test]
    fn it_is_of_the_last_ten_seconds() {
        let mut amplification = Amplification::default();
        // A minute of 100 requests and 50 retries a second, then one without retries.
        let mut counts = Counts::default();
        let mut second = |amplification: &mut Amplification, extra| {
            counts.attempts += 100 + extra;
            counts.extra += extra;
            amplification.observe(counts);
        };
        (0..60).for_each(|_| second(&mut amplification, 50));
        assert_eq!(amplification.ratio(), Some(1.5));
        (0..5).for_each(|_| second(&mut amplification, 0));
        assert_eq!(amplification.ratio(), Some(1.25));
        (0..5).for_each(|_| second(&mut amplification, 0));
        assert_eq!(amplification.ratio(), Some(1.0));
    }
}
