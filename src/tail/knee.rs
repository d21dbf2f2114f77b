//! How many requests a backend works on at a time, told by how its answers' times grow with what is in flight there.
//!
//! A backend with `k` workers answers in its own time while no more than `k` requests are with it; from there on each
//! waits, and the time grows as the number does. So the logarithm of the time over the logarithm of the number is flat
//! up to a knee at `k` and rises with slope 1 beyond (Little's law with the throughput at its most). The same holds where
//! requests share a processor. A backend without such a bound has no knee.
//!
//! Times are compared between requests that met *more* and requests that met *fewer* of their like, in the same while:
//! a gradient over the number in flight, not over time. So no minimum round trip has to be pinned, measured at rest or
//! kept: a backend all of whose answers turn slower has the knee where it was. What is learned is said with caution:
//! the knee is the largest number that what was seen does not speak against.

use std::time::Duration;

use crate::units::Tick;

/// Up to this number in flight each has a bucket of its own; beyond, buckets grow by [`GROWTH`].
const SINGLE: u16 = 16;
/// In logarithms, so 16 %.
const GROWTH: f32 = 0.15;
/// The last bucket takes all above about 16,000.
const BUCKETS: usize = 64;

/// How long a time counts: after this its weight is 1/e.
const MEMORY: Duration = Duration::from_secs(10);
/// Of one bucket, the most samples that count.
const MOST: f32 = 128.0;
/// Of a bucket and its neighbours together, the first samples of each number are no evidence: a single stall would be.
const FIRST: f32 = 3.0;
/// How much of a surprise in one bucket all others take over: what makes all answers slower does not make a knee.
const COMMON: f32 = 1.0 / 32.0;
/// The most that one answer surprises, in logarithms: a stall is one sample, however long.
const WILD: f32 = 1.5;
/// When known numbers in flight see times that differ by so much (42 %) from what they saw before, on the average of the
/// last eight or so, the backend has changed, and what was learned about it is forgotten.
const SHIFT: f32 = 0.35;
/// What speaks against a knee, in squares of the standard error: a little less than two and a half.
const DOUBT: f32 = 6.0;
/// From so many samples on a bucket's time is known.
const KNOWN: f32 = 4.0;
/// Samples below which nothing is said.
const ENOUGH: f32 = 10.0;

/// What is known of where the knee is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Knee {
    /// Times grow from here on.
    At(f32),
    /// They do not grow up to the largest number seen, which is this one.
    Beyond(u32),
    /// Too little was seen.
    Unknown,
}

/// The times of one backend's answers by what was in flight there when they were asked for.
#[derive(Clone, Debug)]
pub struct Curve {
    /// By bucket, the mean of the logarithms of microseconds.
    mean: [f32; BUCKETS],
    /// Samples, as far as they still count.
    weight: [f32; BUCKETS],
    variance: f32,
    /// The mean surprise of late.
    drift: f32,
    faded: Tick,
}

impl Curve {
    /// Nothing seen.
    pub const fn new() -> Curve {
        Curve { mean: [0.0; BUCKETS], weight: [0.0; BUCKETS], variance: 0.15, drift: 0.0, faded: Tick::from_nanos(0) }
    }

    /// An answer took so long, where `in_flight` were with the backend when it was asked, this one among them.
    pub fn observe(&mut self, in_flight: u32, took: Duration) {
        let place = bucket(in_flight);
        let sample = (took.as_secs_f32() * 1e6).max(1.0).ln();
        let Some(weight) = self.weight.get(place) else { return };
        if *weight < KNOWN {
            let surprise = self.beyond_queueing(place, sample);
            if surprise > 0.0 {
                self.drifted(surprise);
            }
        }
        let (Some(weight), Some(mean)) = (self.weight.get_mut(place), self.mean.get_mut(place)) else { return };
        if *weight < 0.5 {
            (*weight, *mean) = (1.0, sample);
            return;
        }
        let surprise = (sample - *mean).clamp(-WILD, WILD);
        let is_known = *weight >= KNOWN;
        *weight = (*weight + 1.0).min(MOST);
        *mean += surprise * (1.0 - COMMON) / *weight;
        self.mean.iter_mut().for_each(|mean| *mean += COMMON * surprise);
        self.variance += (surprise * surprise - self.variance) / 256.0;
        if is_known {
            self.drifted(surprise);
        }
    }

    /// By how much a time is more than the longest queue would explain: that of a single worker, by the least number in
    /// flight of which the time is known. Such a time is another sort of request, or a stall.
    fn beyond_queueing(&self, place: usize, sample: f32) -> f32 {
        let known = self.weight.iter().zip(&self.mean).enumerate().find(|(_, (weight, _))| **weight >= KNOWN);
        let Some((least, (_, mean))) = known.filter(|(least, _)| *least < place) else { return 0.0 };
        (sample - mean - (log_of(place) - log_of(least))).clamp(0.0, WILD)
    }

    /// Forgets what was learned once surprises are many.
    fn drifted(&mut self, surprise: f32) {
        self.drift += (surprise - self.drift) / 8.0;
        if self.drift.abs() > SHIFT {
            self.drift = 0.0;
            self.weight = [0.0; BUCKETS];
        }
    }

    /// Lets what was seen fade. To be called now and then, more often than [`MEMORY`].
    pub fn fade(&mut self, now: Tick) {
        let keep = (-now.since(self.faded).as_secs_f32() / MEMORY.as_secs_f32()).exp();
        self.faded = now;
        self.weight.iter_mut().for_each(|weight| *weight *= keep);
    }

    /// Where the knee is, by all that was seen.
    pub fn knee(&self) -> Knee {
        let seen = self.evidence().map(|(place, ..)| log_of(place)).fold(0.0, f32::max);
        if self.evidence().map(|(_, weight, _)| weight).sum::<f32>() < ENOUGH {
            return Knee::Unknown;
        }
        let flat = self.misfit(f32::INFINITY);
        let below = |top: f32| (0u8..).map(|step| f32::from(step) * 0.05).take_while(move |knee| *knee < top);
        let best = below(seen).map(|knee| self.misfit(knee)).fold(flat, f32::min);
        if flat > best + DOUBT {
            let mut knee = seen;
            while knee > 0.0 && self.misfit(knee) > best + DOUBT {
                knee -= 0.03;
            }
            return Knee::At(knee.max(0.0).exp());
        }
        let is_refuted = below(seen - 0.2).all(|knee| self.misfit(knee) > flat + DOUBT);
        if is_refuted && seen > 0.2 { Knee::Beyond(seen.exp().round() as u32) } else { Knee::Unknown }
    }

    /// Samples, as far as they still count, of answers that met fewer than this many.
    pub fn seen_below(&self, number: f32) -> f32 {
        let below = number.max(1.0).ln();
        self.evidence().filter(|(place, ..)| log_of(*place) < below).map(|(_, weight, _)| weight).sum()
    }

    /// The buckets that say something: place, weight, mean.
    fn evidence(&self) -> impl Iterator<Item = (usize, f32, f32)> + '_ {
        let all = self.weight.iter().zip(&self.mean).enumerate();
        all.filter(|(_, (weight, _))| **weight >= 0.5).filter_map(|(place, (weight, mean))| {
            let near = self.weight.iter().enumerate().take(place + 2).skip(place.saturating_sub(1));
            // One that is well known vouches for nobody beside it.
            let near: f32 = near.map(|(near, other)| other.min(*weight) / width(near)).sum();
            (near > FIRST).then(|| (place, weight * (1.0 - FIRST / near), *mean))
        })
    }

    /// How badly a knee at this logarithm fits, in squares of the standard error.
    fn misfit(&self, knee: f32) -> f32 {
        let rest = |place, mean: f32| mean - (log_of(place) - knee).max(0.0);
        let (sum, total) = self
            .evidence()
            .fold((0.0, 0.0), |(sum, total), (place, weight, mean)| (sum + weight * rest(place, mean), total + weight));
        let base = sum / total;
        let squares = self.evidence().map(|(place, weight, mean)| weight * (rest(place, mean) - base).powi(2));
        squares.sum::<f32>() / self.variance.max(0.01)
    }
}

impl Default for Curve {
    fn default() -> Curve {
        Curve::new()
    }
}

fn bucket(in_flight: u32) -> usize {
    let in_flight = in_flight.max(1);
    if in_flight <= u32::from(SINGLE) {
        return in_flight as usize - 1;
    }
    let beyond = (in_flight as f32 / f32::from(SINGLE)).ln() / GROWTH;
    (usize::from(SINGLE) + beyond as usize).min(BUCKETS - 1)
}

/// How many numbers a bucket is for.
fn width(place: usize) -> f32 {
    if place < usize::from(SINGLE) { 1.0 } else { log_of(place).exp() * GROWTH }
}

/// The logarithm of the number that a bucket is for.
fn log_of(place: usize) -> f32 {
    let single = usize::from(SINGLE);
    match place < single {
        true => (place as f32 + 1.0).ln(),
        false => f32::from(SINGLE).ln() + GROWTH * ((place - single) as f32 + 0.5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend's answers: its own time, about 10 ms, times the share of a worker that each gets.
    fn seen(numbers: impl Fn(&mut fastrand::Rng) -> u32, workers: f32, samples: usize) -> Curve {
        let (mut curve, mut rng) = (Curve::new(), fastrand::Rng::with_seed(7));
        (0..samples).for_each(|_| {
            let number = numbers(&mut rng);
            answer(&mut curve, &mut rng, number, workers, 10.0);
        });
        curve
    }

    fn answer(curve: &mut Curve, rng: &mut fastrand::Rng, number: u32, workers: f32, own: f32) {
        let noise = 0.4 * ((0..12).map(|_| rng.f32()).sum::<f32>() - 6.0);
        let millis = own * noise.exp() * (number as f32 / workers).max(1.0);
        curve.observe(number, Duration::from_secs_f32(millis / 1e3));
    }

    fn at(knee: Knee) -> f32 {
        match knee {
            Knee::At(knee) => knee,
            other => panic!("{other:?} is no knee"),
        }
    }

    #[test]
    fn the_knee_is_where_times_begin_to_grow() {
        for workers in [1.0, 2.0, 4.0, 8.0, 40.0] {
            let most = workers as u32 * 3;
            let knee = at(seen(|rng| rng.u32(1..=most), workers, 3_000).knee());
            assert!((workers * 0.85..workers * 1.35).contains(&knee), "{workers} workers: {knee}");
        }
    }

    #[test]
    fn it_is_found_from_either_side_of_it_alone() {
        let knee = at(seen(|rng| rng.u32(4..=5), 4.0, 1_000).knee());
        assert!((3.5..5.0).contains(&knee), "{knee}");
        // Where all wait, any knee below is as good; the largest is said.
        let knee = at(seen(|rng| rng.u32(8..=12), 4.0, 1_000).knee());
        assert!((7.0..9.5).contains(&knee), "{knee}");
    }

    #[test]
    fn where_times_do_not_grow_there_is_none_up_to_what_was_seen() {
        let knee = seen(|rng| rng.u32(1..=12), f32::INFINITY, 1_000).knee();
        assert!(matches!(knee, Knee::Beyond(10..=12)), "{knee:?}");
    }

    #[test]
    fn little_says_nothing() {
        assert_eq!(Curve::new().knee(), Knee::Unknown);
        assert_eq!(seen(|rng| rng.u32(1..=12), 4.0, 8).knee(), Knee::Unknown);
        assert_eq!(seen(|_| 5, 4.0, 10_000).knee(), Knee::Unknown);
    }

    #[test]
    fn a_backend_that_turns_slower_as_a_whole_gets_no_knee_for_it() {
        let mut curve = seen(|rng| rng.u32(1..=3), f32::INFINITY, 500);
        let mut rng = fastrand::Rng::with_seed(1);
        // Slower answers raise what is in flight: that is not what makes them slow.
        for answers in 0..200 {
            let number = rng.u32(2..=14);
            answer(&mut curve, &mut rng, number, f32::INFINITY, 50.0);
            assert!(answers < 20 || !matches!(curve.knee(), Knee::At(_)), "{answers}: {:?}", curve.knee());
        }
    }

    #[test]
    fn one_with_workers_that_turns_slower_keeps_its_knee() {
        let mut curve = seen(|rng| rng.u32(1..=6), 4.0, 1_000);
        let mut rng = fastrand::Rng::with_seed(1);
        (0..300).for_each(|_| {
            let number = rng.u32(3..=6);
            answer(&mut curve, &mut rng, number, 4.0, 50.0);
        });
        let knee = at(curve.knee());
        assert!((3.4..5.4).contains(&knee), "{knee}");
    }

    #[test]
    fn a_few_stalls_are_not_taken_for_a_queue() {
        let mut curve = seen(|rng| rng.u32(1..=3), f32::INFINITY, 500);
        let stall = Duration::from_millis(300);
        (4..24).for_each(|number| curve.observe(number, stall));
        assert!(!matches!(curve.knee(), Knee::At(_)), "{:?}", curve.knee());
    }

    #[test]
    fn dear_requests_that_come_many_at_a_time_after_cheap_ones_are_not_taken_for_a_queue() {
        let (mut curve, mut rng) = (Curve::new(), fastrand::Rng::with_seed(3));
        (0..300).for_each(|_| answer(&mut curve, &mut fastrand::Rng::new(), 1, f32::INFINITY, 2.0));
        for answers in 0..100 {
            let number = rng.u32(1..=8);
            answer(&mut curve, &mut rng, number, f32::INFINITY, 50.0);
            assert!(answers < 10 || !matches!(curve.knee(), Knee::At(_)), "{answers}: {:?}", curve.knee());
        }
    }

    #[test]
    fn what_was_seen_fades() {
        let mut curve = seen(|rng| rng.u32(1..=8), 4.0, 1_000);
        curve.fade(Tick::from_nanos(60_000_000_000));
        assert_eq!(curve.knee(), Knee::Unknown);
    }

    #[test]
    fn absurd_values_are_held_in_range() {
        let mut curve = Curve::new();
        for number in [0, 1, 16, 17, u32::MAX] {
            (0..20).for_each(|_| curve.observe(number, Duration::MAX));
            (0..20).for_each(|_| curve.observe(number, Duration::ZERO));
        }
        curve.fade(Tick::from_nanos(u64::MAX));
        assert_eq!(curve.knee(), Knee::Unknown);
    }
}
