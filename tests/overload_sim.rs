//! What the limit, the queue and the classes make of more than the backends can do, in virtual time.
//!
//! Five backends of four workers each, about 925 requests per second in all; 555 are asked for, then many more, then 555
//! again. Nobody tells the policy the capacity.
#![allow(clippy::unwrap_used, reason = "a test")]

mod spike;

use std::collections::BTreeMap;
use std::time::Duration;

use hedgerow::tail::class::Class;

use spike::{Ended, GOOD, Run};

const MS: Duration = Duration::from_millis(1);
const SEEDS: std::ops::RangeInclusive<u64> = 1..=4;

/// The requests sent from `from` to `to`, in seconds.
fn sent(ended: &[Ended], from: f64, to: f64) -> Vec<Ended> {
    let span = Duration::from_secs_f64(from)..Duration::from_secs_f64(to);
    ended.iter().filter(|end| span.contains(&end.sent)).copied().collect()
}

fn is_good(end: &Ended) -> bool {
    end.took.is_ok_and(|took| took <= GOOD)
}

fn goodput(ended: &[Ended], seconds: f64) -> f64 {
    ended.iter().filter(|end| is_good(end)).count() as f64 / seconds
}

/// The share of a class that is answered in time.
fn share(ended: &[Ended], class: Class) -> f64 {
    let all: Vec<_> = ended.iter().filter(|end| end.class == class).collect();
    all.iter().filter(|end| is_good(end)).count() as f64 / all.len() as f64
}

fn p99(ended: &[Ended], class: Option<Class>) -> Duration {
    let of_class = ended.iter().filter(|end| class.is_none_or(|class| class == end.class));
    let mut took: Vec<Duration> = of_class.filter_map(|end| end.took.ok()).collect();
    took.sort_unstable();
    took[took.len() * 99 / 100]
}

#[test]
fn at_twice_the_capacity_the_important_half_is_served_as_if_nothing_were() {
    for seed in SEEDS {
        let ended = Run::spike(2.0).ended(seed);
        let spike = sent(&ended, 10.0, 20.0);
        let good = goodput(&spike, 10.0);
        assert!(good > 900.0, "seed {seed}: goodput {good}");
        let [critical, default, sheddable] = Class::ALL.map(|class| share(&spike, class));
        assert!(critical > 0.995, "seed {seed}: critical {critical}");
        assert!((0.54..0.64).contains(&default), "seed {seed}: default {default}");
        assert!(sheddable < 0.03, "seed {seed}: sheddable {sheddable}");
        let critical = p99(&spike, Some(Class::Critical));
        assert!(critical < 63 * MS, "seed {seed}: p99 of critical {critical:?}");
    }
}

#[test]
fn when_it_is_over_it_is_over() {
    for times in [1.4, 2.0, 5.0, 10.0] {
        let ended = Run::spike(times).ended(1);
        let after = sent(&ended, 21.0, 26.0);
        assert!(after.iter().all(|end| end.took.is_ok()), "{times} x: nobody is shed");
        let (before, after) = (p99(&sent(&ended, 2.0, 10.0), None), p99(&after, None));
        assert!(after < before.mul_f64(1.25), "{times} x: p99 {before:?} before, {after:?} after");
    }
}

#[test]
fn a_spike_however_high_leaves_the_backends_at_their_capacity_and_the_classes_in_order() {
    for (times, critical) in [(5.0, 0.87), (10.0, 0.46)] {
        for seed in SEEDS {
            let spike = sent(&Run::spike(times).ended(seed), 10.0, 20.0);
            let good = goodput(&spike, 10.0);
            assert!(good > 895.0, "{times} x, seed {seed}: goodput {good}");
            let shares = Class::ALL.map(|class| share(&spike, class));
            assert!(
                shares[0] > critical && shares[0] > shares[1] && shares[1] > shares[2] - 0.002,
                "{times} x: {shares:?}"
            );
        }
    }
}

#[test]
fn a_spike_that_comes_first_thing_is_learned_from() {
    for seed in SEEDS {
        let run = Run { phases: [MS * 50, Duration::from_secs(10), Duration::from_secs(6)], ..Run::spike(2.0) };
        let ended = run.ended(seed);
        let late = sent(&ended, 2.0, 10.0);
        assert!(share(&late, Class::Critical) > 0.995 && goodput(&late, 8.0) > 890.0, "seed {seed}");
        assert!(p99(&late, Some(Class::Critical)) < 75 * MS, "seed {seed}: {:?}", p99(&late, Some(Class::Critical)));
    }
}

#[test]
fn backends_that_turn_five_times_slower_are_not_given_more_than_they_bear() {
    for seed in SEEDS {
        let run = Run { slower: 5.0, rate: [555.0; 2], ..Run::spike(1.0) };
        let spike = sent(&run.ended(seed), 10.0, 20.0);
        // They can do 185 then, each in 108 ms without any waiting.
        let good = goodput(&spike, 10.0);
        assert!(good > 120.0, "seed {seed}: goodput {good}");
        assert!(share(&spike, Class::Critical) > 0.75, "seed {seed}: {}", share(&spike, Class::Critical));
        let after = sent(&run.ended(seed), 21.5, 26.0);
        assert!(after.iter().all(|end| end.took.is_ok()) && p99(&after, None) < 66 * MS, "seed {seed}");
    }
}

#[test]
fn backends_without_workers_to_wait_for_are_not_limited() {
    let endless = |run: Run| Run { workers: usize::MAX, ..run };
    for seed in SEEDS {
        let spike = endless(Run::spike(2.0)).ended(seed);
        assert!(spike.iter().all(|end| end.took.is_ok()), "seed {seed}: none is shed in a spike");
        let slow = endless(Run { slower: 5.0, rate: [400.0; 2], ..Run::spike(1.0) }).ended(seed);
        let shed = slow.iter().filter(|end| end.took.is_err()).count();
        assert!(shed * 200 < slow.len(), "seed {seed}: {shed} of {} are shed where all turn slower", slow.len());
        let paused = endless(Run { pause: 300 * MS, rate: [400.0; 2], ..Run::spike(1.0) }).ended(seed);
        let shed = paused.iter().filter(|end| end.took.is_err()).count();
        assert!(shed * 200 < paused.len(), "seed {seed}: {shed} of {} are shed where all pause", paused.len());
    }
}

#[test]
fn pools_of_other_shapes_find_their_capacity_too() {
    let of =
        |backends, workers, rate: f64| Run { backends, workers, rate: [rate * 0.6, rate * 2.0], ..Run::spike(1.0) };
    for (run, capacity) in [(of(1, 16, 740.0), 740.0), (of(2, 2, 185.0), 185.0), (of(5, 16, 3700.0), 3700.0)] {
        let spike = sent(&run.ended(3), 10.0, 20.0);
        let (good, critical) = (goodput(&spike, 10.0), share(&spike, Class::Critical));
        assert!(good > 0.93 * capacity && critical > 0.95, "{} x {}: {good} {critical}", run.backends, run.workers);
    }
}

#[test]
fn a_user_is_served_or_not() {
    let spike = sent(&Run::spike(2.0).ended(1), 11.5, 20.0);
    let mut users: BTreeMap<u64, [u32; 2]> = BTreeMap::new();
    for end in spike.iter().filter(|end| end.class == Class::Default) {
        users.entry(end.user).or_default()[usize::from(is_good(end))] += 1;
    }
    let decided = users.values().filter(|[not, served]| *not * 9 <= *served || *served * 9 <= *not).count();
    // With 60 % of each user's requests served this would be one in seven or so.
    assert!(decided as f64 > 0.6 * users.len() as f64, "{decided} of {} users", users.len());
}
