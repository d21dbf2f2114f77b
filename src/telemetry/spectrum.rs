//! What the slowest requests of a route wait for: the phases of requests, summed up by how long the requests took.
//!
//! Which requests are the slowest hundredth is known only afterwards. So times are added up in buckets of durations, and
//! whoever looks takes buckets from the slow end until it has a hundredth of all requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shards::Sharded;
use super::sparse::Sparse;
use super::timeline::{Phase, Phases};

/// Four buckets for each doubling, from 256 µs to 2^26 µs (67 s); what is shorter or longer is in the first or last.
const BUCKETS: usize = 4 * (LONGEST_POWER - SHORTEST_POWER) as usize;
const SHORTEST_POWER: u32 = 8;
const LONGEST_POWER: u32 = 26;
/// The requests of a bucket, and what they spent in each phase.
const WIDTH: usize = 1 + Phase::ALL.len();

/// Sums that only grow, apart for each core: 5.6 KiB each.
#[derive(Debug)]
pub(super) struct Spectrum(Sharded<Box<[AtomicU64]>>);

/// What had been summed up at some time; by default nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Mark {
    cells: Sparse,
    instant: u64,
}

/// What has been summed up until some time, or between two times.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sums {
    /// For each bucket its requests, and microseconds by phase.
    cells: Box<[u64]>,
    /// Requests that took no time.
    instant: u64,
}

/// What the slowest hundredth spent its time on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tail {
    /// All requests.
    pub requests: u64,
    /// Those that are the slowest hundredth of them: at least one.
    pub slowest: u64,
    /// What each of those took at least; exact to a fifth.
    pub at_least: Duration,
    /// Of their time, the share of each phase, in the order of [`Phase::ALL`].
    pub shares: [f64; Phase::ALL.len()],
}

impl Spectrum {
    pub(super) fn new() -> Spectrum {
        Spectrum(Sharded::new(|| (0..BUCKETS * WIDTH).map(|_| AtomicU64::new(0)).collect()))
    }

    /// Adds a request.
    pub(super) fn add(&self, duration: Duration, phases: &Phases) {
        let here = self.0.here();
        let Some(row) = here.get(bucket(duration) * WIDTH..).and_then(|rows| rows.get(..WIDTH)) else { return };
        let times = phases.iter().map(|(_, time)| micros(time));
        for (cell, more) in row.iter().zip(std::iter::once(1).chain(times)).filter(|(_, more)| *more > 0) {
            cell.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// What there is by now, `instant` among it.
    pub(super) fn sums(&self, instant: u64) -> Sums {
        let of = |place: usize| self.0.all().filter_map(move |cells| cells.get(place));
        let cells =
            (0..BUCKETS * WIDTH).map(|place| of(place).map(|cell| cell.load(Ordering::Relaxed)).sum()).collect();
        Sums { cells, instant }
    }
}

impl Sums {
    /// The same, to be kept.
    pub(super) fn mark(&self) -> Mark {
        Mark { cells: Sparse::of(&self.cells), instant: self.instant }
    }

    /// What came after `earlier`.
    pub(super) fn since(mut self, earlier: &Mark) -> Sums {
        earlier.cells.take_from(&mut self.cells);
        Sums { instant: self.instant.saturating_sub(earlier.instant), ..self }
    }

    /// The slowest hundredth; nothing where there was no request that took time.
    pub(super) fn tail(&self) -> Option<Tail> {
        let rows = || self.cells.chunks_exact(WIDTH);
        let timed: u64 = rows().filter_map(|row| row.first()).sum();
        let requests = timed + self.instant;
        let slowest = requests.div_ceil(100).min(timed);
        let (mut left, mut sums, mut at_least) = (slowest, [0.0; Phase::ALL.len()], Duration::ZERO);
        for (place, row) in rows().enumerate().rev() {
            let [count, times @ ..] = row else { continue };
            if left == 0 {
                break;
            }
            let taken = left.min(*count);
            if taken > 0 {
                // Of a bucket that is taken in part, each request stands for the others.
                let part = taken as f64 / *count as f64;
                sums.iter_mut().zip(times).for_each(|(sum, time)| *sum += *time as f64 * part);
                at_least = floor(place);
            }
            left -= taken;
        }
        let total: f64 = sums.iter().sum();
        (total > 0.0).then(|| Tail { requests, slowest, at_least, shares: sums.map(|sum| sum / total) })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Where a duration is summed up.
fn bucket(duration: Duration) -> usize {
    let micros = micros(duration).clamp(1 << SHORTEST_POWER, (1 << LONGEST_POWER) - 1);
    let power = micros.ilog2();
    let quarter = (micros >> (power - 2)) & 3;
    (power - SHORTEST_POWER) as usize * 4 + quarter as usize
}

/// The shortest duration of a bucket; of the first, zero.
fn floor(bucket: usize) -> Duration {
    let (power, quarter) = (SHORTEST_POWER + (bucket / 4) as u32, (bucket % 4) as u64);
    if bucket == 0 { Duration::ZERO } else { Duration::from_micros((4 + quarter) << (power - 2)) }
}

#[cfg(test)]
mod tests {
    use super::super::timeline::{Course, Timeline};
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A request that waited so long for its client, and otherwise for nothing.
    fn add(spectrum: &Spectrum, duration: u64, client: u64) {
        let course = Course { duration: ms(duration), client: ms(client), ..Course::default() };
        spectrum.add(ms(duration), &Timeline::of(course).phases);
    }

    fn share(tail: &Tail, phase: Phase) -> f64 {
        tail.shares[phase.index()]
    }

    #[test]
    fn every_duration_is_in_the_bucket_that_begins_below_it() {
        for micros in (0..200_000).chain([1 << 25, (1 << 26) - 1, 1 << 26, u64::MAX / 2]) {
            let place = bucket(Duration::from_micros(micros));
            assert!(place < BUCKETS && floor(place) <= Duration::from_micros(micros), "{micros}");
            let is_below_next = Duration::from_micros(micros) < floor(place + 1);
            assert!(is_below_next || place == BUCKETS - 1, "{micros}");
        }
    }

    #[test]
    fn only_the_slowest_hundredth_counts() {
        let spectrum = Spectrum::new();
        (0..990).for_each(|_| add(&spectrum, 10, 0));
        (0..10).for_each(|_| add(&spectrum, 1_000, 600));
        let tail = spectrum.sums(0).tail().unwrap();
        assert_eq!((tail.requests, tail.slowest), (1_000, 10));
        assert!(tail.at_least <= ms(1_000) && tail.at_least > ms(790), "{:?}", tail.at_least);
        assert!((share(&tail, Phase::Client) - 0.6).abs() < 1e-9 && (share(&tail, Phase::Other) - 0.4).abs() < 1e-9);
        // With as many hits the hundredth has twice as many requests.
        let tail = spectrum.sums(1_000).tail().unwrap();
        assert_eq!((tail.requests, tail.slowest), (2_000, 20));
        assert!((share(&tail, Phase::Client) - 6.0 / 10.1).abs() < 1e-9, "{tail:?}");
    }

    #[test]
    fn a_single_request_is_the_slowest_hundredth() {
        let spectrum = Spectrum::new();
        assert_eq!(spectrum.sums(7).tail(), None);
        add(&spectrum, 3, 3);
        let tail = spectrum.sums(0).tail().unwrap();
        assert_eq!((tail.slowest, share(&tail, Phase::Client)), (1, 1.0));
    }

    #[test]
    fn what_came_before_does_not_count() {
        let spectrum = Spectrum::new();
        add(&spectrum, 1_000, 0);
        let before = spectrum.sums(0).mark();
        add(&spectrum, 10, 10);
        let tail = spectrum.sums(0).since(&before).tail().unwrap();
        assert_eq!((tail.requests, share(&tail, Phase::Client)), (1, 1.0));
        let now = spectrum.sums(0);
        assert_eq!(now.clone().since(&now.mark()).tail(), None);
    }
}
