//! Which backend gets a request: the one where it will be answered soonest, as far as is known.
//!
//! The number of requests in flight is known at once but blind to speed: a backend ten times slower keeps its few
//! requests in flight, and with them a few per cent of the traffic, which is the p99. Latency tells the fast from
//! the slow but follows late: everyone herds to the backend that was best a moment ago. So the two are multiplied, as
//! in Finagle, and a backend with far more in flight than its peers ("hot", Prequal, NSDI 2024) is passed over
//! whatever its latency. Up to four backends are all compared; of more, two drawn at random, which herds less and
//! costs less, and is nearly as good (Mitzenmacher, "The power of two choices").
//!
//! Among backends that may be equally good the choice is a draw by weight and free places (`places.rs`).

use std::time::Duration;

use super::exclude::Exclude;
use super::places::{self, Load};
use crate::units::Tick;

/// What is known about one backend at the moment of choice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Requests in flight: `InFlight::count`.
    pub in_flight: u32,
    /// What an answer costs: `PeakEwma::cost`; `None` if it was never asked.
    pub cost: Option<Duration>,
    /// When the oldest request was sent that still waits: `InFlight::oldest`.
    pub oldest: Option<Tick>,
    /// Its weight times its slow start; what is not above zero counts as next to nothing.
    pub weight: f64,
}

/// There is no backend to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBackend(pub Reason);

/// Why there is no backend to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The pool has no backends at all: its names resolved to nothing.
    PoolEmpty,
    /// Every backend is ejected, or was tried already.
    AllExcluded,
}

impl Reason {
    /// The word for log, metric and header.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::PoolEmpty => "pool-empty",
            Reason::AllExcluded => "all-excluded",
        }
    }
}

/// Up to this many usable backends are all compared.
const SCAN: usize = 4;

/// A backend with no more requests in flight than this is never hot: among so few the difference is chance.
const COOL: u32 = 2;

/// A backend is hot above this quantile of the pool's loads (Prequal's default).
const HOT: f64 = 0.84;

/// What an answer costs while no backend of the pool was ever asked. Any value does: it is the same for all.
const UNKNOWN: Duration = Duration::from_millis(1);

/// The cheapest an answer may seem: after minutes without traffic the averages have decayed to nothing, and nothing
/// times any number in flight would be the best of all.
const CHEAPEST: Duration = Duration::from_micros(10);

/// The bounds of a weight, far beyond those of `units::Weight` and any slow start.
const LIGHTEST: f64 = 1e-6;
const HEAVIEST: f64 = 1e6;

/// Chooses the index of a backend of `candidates` that is not in `exclude`. Allocates nothing.
pub fn pick(
    candidates: &[Candidate],
    exclude: &Exclude,
    now: Tick,
    rng: &mut fastrand::Rng,
) -> Result<usize, NoBackend> {
    if candidates.is_empty() {
        return Err(NoBackend(Reason::PoolEmpty));
    }
    let mut pool = Pool { candidates, exclude, now, usable: 0, weight: 0.0 };
    for index in pool.indices() {
        pool.usable += 1;
        pool.weight += pool.weight(index);
    }
    let mut contenders = [0; SCAN];
    let mut count = 0;
    if pool.usable <= SCAN {
        for index in pool.indices() {
            contenders[count] = index;
            count += 1;
        }
    } else {
        for index in pool.draw_two(rng) {
            contenders[count] = index;
            count += 1;
        }
    }
    pool.choose(&contenders[..count], rng).ok_or(NoBackend(Reason::AllExcluded))
}

struct Pool<'a> {
    candidates: &'a [Candidate],
    exclude: &'a Exclude,
    now: Tick,
    usable: usize,
    weight: f64,
}

impl<'a> Pool<'a> {
    fn indices(&self) -> impl Iterator<Item = usize> + use<'a> {
        let exclude = self.exclude;
        (0..self.candidates.len()).filter(move |&index| !exclude.contains(index))
    }

    fn weight(&self, index: usize) -> f64 {
        // Of a NaN and a number `max` is the number.
        f64::max(self.candidates[index].weight, LIGHTEST).min(HEAVIEST)
    }

    /// Draws two usable backends, each as likely as its share of the weight left.
    fn draw_two(&self, rng: &mut fastrand::Rng) -> [usize; 2] {
        let weight = |index| self.weight(index);
        let first = places::draw(self.indices().map(|index| (index, weight(index))), self.weight, rng);
        let others = self.indices().filter(|&index| index != first).map(|index| (index, weight(index)));
        [first, places::draw(others, self.weight - weight(first), rng)]
    }

    /// The best of the `contenders`: all usable backends, or two that were drawn.
    fn choose(&self, contenders: &[usize], rng: &mut fastrand::Rng) -> Option<usize> {
        let heaviest = contenders.iter().map(|&index| self.weight(index)).fold(LIGHTEST, f64::max);
        // Where all are hot latency is no longer asked: what matters then is to spread the queues.
        let all_hot = contenders.iter().all(|&index| self.is_hot(index));
        let mut ranges = [[f64::INFINITY; 2]; SCAN];
        for (range, &index) in ranges.iter_mut().zip(contenders) {
            let cost = match self.is_hot(index) {
                true if all_hot => 1.0,
                true => f64::INFINITY,
                false => self.cost(index),
            };
            *range = self.load(index, heaviest).map(|load| load * cost);
        }
        // Equals are settled by where the search begins.
        let begin = rng.usize(0..contenders.len().max(1));
        let around = (begin..contenders.len()).chain(0..begin);
        let best = around.min_by(|&a, &b| ranges[a][1].total_cmp(&ranges[b][1]))?;
        let mut loads = [Load { in_flight: 0, weight: 1.0 }; SCAN];
        for (load, &index) in loads.iter_mut().zip(contenders) {
            *load = Load { in_flight: self.candidates[index].in_flight, weight: self.weight(index) };
        }
        let drawn = match contenders {
            [_, _] if self.usable > SCAN => places::draw_one_of_drawn([loads[0], loads[1]], rng),
            _ => places::draw_free(&loads[..contenders.len()], rng),
        };
        let place = if ranges[drawn][0] <= ranges[best][1] { drawn } else { best };
        Some(contenders[place])
    }

    /// The load of a backend once it has one request more, in requests of the `heaviest` backend: at least, if the
    /// request weighs one of those, and at most, if it weighs a whole one of its own.
    fn load(&self, index: usize, heaviest: f64) -> [f64; 2] {
        let share = self.weight(index) / heaviest;
        let in_flight = f64::from(self.candidates[index].in_flight);
        [in_flight / share + 1.0, (in_flight + 1.0) / share]
    }

    /// Whether the backend's load is above the pool's quantile `HOT`: that share of the pool has less. (Counting
    /// them is exact for a pool of any size and needs no sorted copy.)
    fn is_hot(&self, index: usize) -> bool {
        let load = |index: usize| f64::from(self.candidates[index].in_flight) / self.weight(index);
        let enough = (HOT * self.usable as f64).ceil() as usize;
        let own = load(index);
        self.candidates[index].in_flight > COOL && self.indices().filter(|&other| load(other) < own).count() >= enough
    }

    /// Seconds that an answer takes: the average, or how long the oldest request has waited if that is longer.
    fn cost(&self, index: usize) -> f64 {
        let candidate = &self.candidates[index];
        let age = candidate.oldest.map_or(Duration::ZERO, |oldest| self.now.since(oldest));
        let average = candidate.cost.unwrap_or_else(|| self.least_cost());
        average.max(CHEAPEST).max(age).as_secs_f64()
    }

    /// The cost of a backend that was never asked: the least of the pool's. Zero would send it everything at once; with
    /// the median it would never be asked while requests come one at a time, since another is always better.
    fn least_cost(&self) -> Duration {
        self.indices().filter_map(|index| self.candidates[index].cost).min().unwrap_or(UNKNOWN)
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_nanos(1_000_000_000_000);

    fn idle(millis: u64) -> Candidate {
        Candidate { in_flight: 0, cost: Some(Duration::from_millis(millis)), oldest: None, weight: 1.0 }
    }

    fn loaded(in_flight: u32) -> Candidate {
        Candidate { in_flight, ..idle(10) }
    }

    /// How often each is chosen in `rounds` choices that change nothing.
    fn shares(candidates: &[Candidate], exclude: &Exclude, rounds: usize) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(42);
        let mut counts = vec![0.0; candidates.len()];
        for _ in 0..rounds {
            counts[pick(candidates, exclude, NOW, &mut rng).unwrap()] += 1.0 / rounds as f64;
        }
        counts
    }

    fn chosen(candidates: &[Candidate]) -> Vec<usize> {
        let shares = shares(candidates, &Exclude::none(), 300);
        (0..candidates.len()).filter(|&index| shares[index] > 0.0).collect()
    }

    /// Keeps `busy` requests in flight, each replaced by another when it ends; returns the shares.
    fn closed_loop(weights: &[f64], busy: usize, rounds: usize) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(42);
        let mut pool: Vec<Candidate> = weights.iter().map(|&weight| Candidate { weight, ..idle(10) }).collect();
        let (mut flight, mut counts) = (Vec::<usize>::new(), vec![0.0; weights.len()]);
        for _ in 0..rounds {
            while flight.len() >= busy {
                pool[flight.swap_remove(rng.usize(0..flight.len()))].in_flight -= 1;
            }
            let index = pick(&pool, &Exclude::none(), NOW, &mut rng).unwrap();
            pool[index].in_flight += 1;
            flight.push(index);
            counts[index] += 1.0 / rounds as f64;
        }
        counts
    }

    #[test]
    fn a_pool_without_backends_says_so() {
        let mut rng = fastrand::Rng::with_seed(1);
        let none = pick(&[], &Exclude::none(), NOW, &mut rng);
        assert_eq!(none, Err(NoBackend(Reason::PoolEmpty)));
        for size in [1, 4, 5, 70] {
            let all = pick(&vec![idle(1); size], &(0..size).collect(), NOW, &mut rng);
            assert_eq!(all, Err(NoBackend(Reason::AllExcluded)));
        }
        assert_eq!(Reason::AllExcluded.as_str(), "all-excluded");
    }

    #[test]
    fn the_excluded_are_never_chosen_and_the_others_all_are() {
        for size in [2usize, 4, 5, 20, 130] {
            let exclude: Exclude = (0..size).step_by(2).collect();
            let shares = shares(&vec![idle(10); size], &exclude, 200 * size);
            for (index, share) in shares.iter().enumerate() {
                assert_eq!(*share > 0.0, index % 2 == 1, "{index} of {size}");
            }
        }
    }

    #[test]
    fn one_usable_backend_is_chosen_however_bad_it_is() {
        let bad = Candidate { in_flight: 9_000, cost: Some(Duration::MAX), oldest: Some(NOW), weight: f64::NAN };
        assert_eq!(shares(&[idle(1), bad], &[0].into_iter().collect(), 10), [0.0, 0.9999999999999999]);
    }

    #[test]
    fn among_few_the_least_product_of_cost_and_load_wins() {
        assert_eq!(chosen(&[idle(10), idle(11), idle(100)]), [0]);
        assert_eq!(chosen(&[loaded(2), idle(25), idle(100)]), [1]);
        assert_eq!(chosen(&[loaded(3), loaded(2), loaded(4), loaded(2)]), [1, 3]);
    }

    #[test]
    fn a_slow_backend_is_tried_when_the_fast_ones_are_that_much_busier() {
        assert_eq!(chosen(&[loaded(8), loaded(8), idle(100)]), [0, 1]);
        assert_eq!(chosen(&[loaded(10), loaded(10), idle(100)]), [2]);
    }

    #[test]
    fn a_backend_never_asked_stands_with_the_best() {
        let new = Candidate { cost: None, ..idle(0) };
        assert_eq!(chosen(&[idle(10), idle(20), new, idle(30)]), [0, 2]);
        assert_eq!(chosen(&[loaded(3), loaded(3), new]), [2]);
        assert_eq!(chosen(&[new, new, new]), [0, 1, 2]);
    }

    #[test]
    fn the_age_of_a_waiting_request_counts_once_it_exceeds_the_average() {
        let waiting = |ago: u64| Candidate {
            in_flight: 1,
            oldest: Some(Tick::from_nanos(NOW.as_nanos() - ago * 1_000_000)),
            ..idle(10)
        };
        assert_eq!(chosen(&[waiting(9), idle(25)]), [0]);
        assert_eq!(chosen(&[waiting(500), idle(25)]), [1]);
    }

    #[test]
    fn averages_that_decayed_to_nothing_do_not_draw_a_herd() {
        let forgotten = |in_flight| Candidate { in_flight, cost: Some(Duration::ZERO), ..idle(0) };
        assert_eq!(chosen(&[forgotten(7), forgotten(1), forgotten(3)]), [1]);
    }

    #[test]
    fn a_hot_backend_is_passed_over_although_it_is_fast() {
        let mut pool = vec![loaded(1); 9];
        pool[0] = Candidate { in_flight: 40, ..idle(0) };
        assert_eq!(chosen(&pool), (1..9).collect::<Vec<_>>());
    }

    #[test]
    fn a_heavy_backend_is_not_hot_for_carrying_its_share() {
        let mut pool = vec![loaded(3); 9];
        pool[0] = Candidate { in_flight: 30, weight: 10.0, ..idle(1) };
        assert!(shares(&pool, &Exclude::none(), 1_000)[0] > 0.5);
    }

    #[test]
    fn of_two_hot_ones_the_one_with_less_in_flight_is_chosen() {
        let pool = [40, 30, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1].map(loaded);
        let mut exclude = Exclude::none();
        let pool_of = |pool: &[Candidate]| {
            Pool { candidates: pool, exclude: &Exclude::none(), now: NOW, usable: 14, weight: 14.0 }
                .choose(&[0, 1], &mut fastrand::Rng::with_seed(1))
        };
        assert_eq!(pool_of(&pool), Some(1));
        (1..14).for_each(|index| exclude.add(index));
        assert_eq!(shares(&pool, &exclude, 8)[0], 1.0);
    }

    #[test]
    fn with_equal_costs_shares_follow_weights_at_any_load() {
        let pools = [&[1.0, 1.0, 2.0][..], &[5.0, 1.0], &[5.0, 1.0, 5.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0; 20]];
        for weights in pools {
            let total: f64 = weights.iter().sum();
            for busy in [1, 2, 5, 20, 100] {
                let shares = closed_loop(weights, busy, 40_000);
                for (index, share) in shares.iter().enumerate() {
                    let fair = weights[index] / total;
                    assert!((share / fair - 1.0).abs() < 0.1, "{weights:?} {busy}: {index} {share:.4} {fair:.4}");
                }
            }
        }
    }

    #[test]
    fn a_backend_in_slow_start_gets_its_tenth_and_no_more() {
        for others in [2usize, 9] {
            for busy in [1, 5, 20, 100] {
                let mut weights = vec![1.0; others + 1];
                weights[0] = 0.1;
                let share = closed_loop(&weights, busy, 40_000)[0];
                let fair = 0.1 / (others as f64 + 0.1);
                assert!((0.85..1.15).contains(&(share / fair)), "{others} {busy}: {share:.4} {fair:.4}");
            }
        }
    }

    #[test]
    fn weights_that_make_no_sense_are_next_to_nothing() {
        for weight in [0.0, -1.0, f64::NAN] {
            let odd = Candidate { weight, ..idle(10) };
            assert_eq!(chosen(&[odd, idle(10), idle(10)]), [1, 2]);
            assert_eq!(chosen(&[odd, odd]), [0, 1]);
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_choices() {
        let choices = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let pool = vec![idle(10); 20];
            (0..100).map(|_| pick(&pool, &Exclude::none(), NOW, &mut rng).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(choices(3), choices(3));
        assert_ne!(choices(3), choices(4));
    }
}
