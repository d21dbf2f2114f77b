//! Weights, taken as places: how many requests a backend carries beside its peers.
//!
//! Dividing the load by the weight is right with many requests in flight, and sends *everything* to the heaviest
//! backend while there are few: one request on a backend of weight five is always less than one on a backend of
//! weight one. So a weight of five is five places beside one, and the next request is drawn for one of the free
//! places. All places are then alike, and shares follow weights at any load. With equal weights only the least loaded
//! have a free place, so nothing is lost against comparing loads.

/// What the draw knows about a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests in flight.
    pub(super) in_flight: u32,
    /// Above zero and finite.
    pub(super) weight: f64,
}

/// Draws one of `loads`, by its position, as likely as it has free places. `loads` is not empty.
///
/// The lightest has one place, the others as many as they are heavier; while none has a place left, all get as many
/// again.
pub(super) fn draw_free(loads: &[Load], rng: &mut fastrand::Rng) -> usize {
    let free = Free::of(loads);
    let all = loads.iter().map(|load| free.places(load));
    draw(all.clone().enumerate(), all.sum(), rng)
}

/// Keeps the first of two that were drawn by their weights, or takes the second: by the share of their places that
/// is free, since their weights have had their say.
pub(super) fn draw_one_of_drawn(loads: [Load; 2], rng: &mut fastrand::Rng) -> usize {
    let free = Free::of(&loads);
    let [first, second] = loads.map(|load| free.places(&load) / load.weight);
    usize::from(rng.f64() * second >= first)
}

/// Draws one of `items`, each as likely as its share of `total`; the last one where rounding leaves a rest.
pub(super) fn draw(items: impl Iterator<Item = (usize, f64)>, total: f64, rng: &mut fastrand::Rng) -> usize {
    let mut left = rng.f64() * total;
    let mut drawn = 0;
    for (item, share) in items.filter(|(_, share)| *share > 0.0) {
        drawn = item;
        left -= share;
        if left < 0.0 {
            break;
        }
    }
    drawn
}

struct Free {
    lightest: f64,
    /// How many times all get their places: once more than the emptiest has them all taken.
    rounds: f64,
}

impl Free {
    fn of(loads: &[Load]) -> Free {
        let lightest = loads.iter().map(|load| load.weight).fold(f64::INFINITY, f64::min);
        // A hair more, or three places of a third each would not always be one.
        let taken = |load: &Load| (f64::from(load.in_flight) * lightest / load.weight + 1e-9).floor();
        Free { lightest, rounds: loads.iter().map(taken).fold(f64::INFINITY, f64::min) + 1.0 }
    }

    fn places(&self, load: &Load) -> f64 {
        (self.rounds * load.weight / self.lightest - f64::from(load.in_flight)).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(from: &[(u32, f64)]) -> Vec<Load> {
        from.iter().map(|&(in_flight, weight)| Load { in_flight, weight }).collect()
    }

    fn shares(from: &[(u32, f64)]) -> Vec<f64> {
        let mut rng = fastrand::Rng::with_seed(5);
        let (loads, mut counts) = (loads(from), vec![0.0; from.len()]);
        (0..20_000).for_each(|_| counts[draw_free(&loads, &mut rng)] += 1.0 / 20_000.0);
        counts
    }

    fn near(shares: &[f64], expected: &[f64]) -> bool {
        shares.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02)
    }

    #[test]
    fn idle_backends_are_drawn_by_weight() {
        assert!(near(&shares(&[(0, 1.0), (0, 2.0), (0, 5.0)]), &[0.125, 0.25, 0.625]));
    }

    #[test]
    fn with_equal_weights_only_the_least_loaded_are_drawn() {
        assert!(near(&shares(&[(3, 0.3), (4, 0.3), (3, 0.3), (9, 0.3)]), &[0.5, 0.0, 0.5, 0.0]));
    }

    #[test]
    fn taken_places_are_not_drawn() {
        assert!(near(&shares(&[(4, 5.0), (0, 1.0)]), &[0.5, 0.5]));
        assert!(near(&shares(&[(4, 5.0), (1, 1.0)]), &[1.0, 0.0]));
        assert!(near(&shares(&[(5, 5.0), (1, 1.0)]), &[5.0 / 6.0, 1.0 / 6.0]));
    }

    #[test]
    fn of_two_drawn_ones_the_first_stays_unless_it_is_fuller() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut second = |a, b| {
            let loads = [a, b].map(|(in_flight, weight)| Load { in_flight, weight });
            (0..1_000).filter(|_| draw_one_of_drawn(loads, &mut rng) == 1).count()
        };
        assert_eq!(second((0, 5.0), (0, 1.0)), 0);
        assert_eq!(second((2, 1.0), (1, 1.0)), 1_000);
        assert!((450..550).contains(&second((2, 4.0), (0, 1.0))));
    }

    #[test]
    fn extreme_weights_draw_somebody() {
        for from in [[(0, 1e-6), (u32::MAX, 1e6)], [(u32::MAX, 1e-6), (u32::MAX, 1e6)], [(7, 1e6), (0, 1e-6)]] {
            assert!((shares(&from).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
