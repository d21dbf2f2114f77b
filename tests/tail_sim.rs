//! The shipped tail policy against scripted faults, in virtual time.
//!
//! `cargo test --test tail_sim -- --ignored --nocapture` prints the tables in docs/tail.md.

mod sim;

use std::time::Duration;

use hedgerow::tail::signals::Kind;
use hedgerow::tail::{copies, hedging};
use hedgerow::units::Ratio;
use sim::{Answer, Load, Pool, Script, lognormal, pausing, sometimes, steady};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The fault lasts from second 20 to second 40.
const FAULT: std::ops::Range<u64> = 20..40;

fn faulty(at: Duration) -> bool {
    (secs(FAULT.start)..secs(FAULT.end)).contains(&at)
}

/// Five backends, the first of which has this fault, or all of them.
type Fault = fn(usize) -> Script;

fn healthy(_: usize) -> Script {
    steady(10)
}

fn one_slow(index: usize) -> Script {
    if index == 0 { sometimes(faulty, steady(100), steady(10)) } else { steady(10) }
}

fn one_slow_by_three(index: usize) -> Script {
    if index == 0 { sometimes(faulty, steady(30), steady(10)) } else { steady(10) }
}

fn stalls(_: usize) -> Script {
    let stalling: Script =
        Box::new(|_, rng| Answer::After(if rng.f64() < 0.01 { secs(1) } else { lognormal(ms(10), rng) }));
    sometimes(faulty, stalling, steady(10))
}

fn stalls_always(_: usize) -> Script {
    Box::new(|_, rng| Answer::After(if rng.f64() < 0.02 { secs(1) } else { lognormal(ms(10), rng) }))
}

fn one_silent(index: usize) -> Script {
    if index == 0 { sometimes(faulty, Box::new(|_, _| Answer::Never), steady(10)) } else { steady(10) }
}

fn staggered_pauses(index: usize) -> Script {
    pausing(faulty, [secs(5), ms(300), secs(index as u64)], steady(10))
}

fn common_pauses(_: usize) -> Script {
    pausing(faulty, [secs(5), ms(300), secs(1)], steady(10))
}

fn all_slow(_: usize) -> Script {
    sometimes(faulty, steady(50), steady(10))
}

fn flapping(index: usize) -> Script {
    let slow = |at: Duration| faulty(at) && at.as_millis() % 3_000 < 1_000;
    if index == 0 { sometimes(slow, steady(100), steady(10)) } else { steady(10) }
}

fn fails_fast(index: usize) -> Script {
    if index == 0 { sometimes(faulty, Box::new(|_, _| Answer::Fails(ms(1))), steady(10)) } else { steady(10) }
}

fn errors_fast(index: usize) -> Script {
    if index == 0 { sometimes(faulty, Box::new(|_, _| Answer::Errors(ms(1))), steady(10)) } else { steady(10) }
}

const SCENARIOS: [(&str, Fault); 12] = [
    ("none", healthy),
    ("1 of 5 slow x10", one_slow),
    ("1 % stalls of 1 s", stalls),
    ("1 of 5 never answers", one_silent),
    ("staggered pauses of 300 ms", staggered_pauses),
    ("all slow x5", all_slow),
    ("1 of 5 slow x3", one_slow_by_three),
    ("flapping", flapping),
    ("common pauses", common_pauses),
    ("1 of 5 fails fast", fails_fast),
    ("1 of 5 errors fast", errors_fast),
    ("mixed costs", healthy),
];

fn run(load: Load, fault: Fault, seed: u64) -> Pool {
    let mut pool = Pool::new(load, seed, (0..5).map(|index| (fault(index), 1.0)).collect());
    pool.run(secs(60));
    assert_eq!(pool.drain(), 0, "in flight at the end");
    pool
}

const SEEDS: std::ops::Range<u64> = 1..4;

fn by_default(fault: Fault, seed: u64) -> Pool {
    run(Load::by_default(400.0), fault, seed)
}

fn without_hedges(fault: Fault, seed: u64) -> Pool {
    let none = hedging::Params {
        copies: copies::Params { budget: Ratio::ZERO, ..hedging::Params::default().copies },
        ..hedging::Params::default()
    };
    run(Load { hedge: Some(none), ..Load::by_default(400.0) }, fault, seed)
}

fn during(pool: &Pool, q: f64) -> Duration {
    pool.quantile(q, FAULT.start, FAULT.end)
}

#[test]
fn extra_load_keeps_to_its_ceilings_in_every_scenario() {
    for (name, fault) in SCENARIOS {
        for seed in SEEDS {
            let pool = by_default(fault, seed);
            let (all, worst) = (pool.amplification(0, 60), pool.worst_second(0, 58));
            assert!(all <= 1.065, "{name} {seed}: {all:.3}");
            assert!(worst <= 1.10, "{name} {seed}: {worst:.3} in one second");
        }
    }
}

#[test]
fn dear_requests_are_hardly_ever_copied() {
    for seed in SEEDS {
        let load = Load { dear: (0.05, 30.0), ..Load::by_default(400.0) };
        let all = run(load, healthy, seed).amplification(10, 60);
        assert!(all <= 1.01, "{seed}: {all:.3}");
    }
}

#[test]
fn hedging_cuts_the_tail_of_stalls() {
    for seed in SEEDS {
        let (with, without) = (during(&by_default(stalls, seed), 0.999), during(&without_hedges(stalls, seed), 0.999));
        // A few requests are held out; the limit is a little above one in a thousand of them.
        assert!(with < ms(60) && without > ms(900), "{seed}: {with:?} {without:?}");
    }
}

#[test]
fn a_slow_backend_is_left_to_copies_and_the_tail_is_as_if_it_were_not_there() {
    for (fault, seed) in
        [one_slow, one_slow_by_three, one_silent].into_iter().flat_map(|f: Fault| SEEDS.map(move |s| (f, s)))
    {
        let pool = by_default(fault, seed);
        assert!(during(&pool, 0.99) < ms(28), "{seed}: {:?}", during(&pool, 0.99));
        assert!(during(&pool, 0.999) < ms(42), "{seed}: {:?}", during(&pool, 0.999));
        let share = pool.share(0, FAULT.start + 1, FAULT.end);
        assert!(share < 0.015, "{seed}: {share:.4}");
        let primaries = pool.attempts(FAULT.start + 1, FAULT.end).filter(|s| s.backend == 0 && s.kind == Kind::Primary);
        assert!(primaries.count() < 20, "{seed}: clients were sent to it");
    }
}

#[test]
fn a_backend_that_recovers_has_its_share_again_within_ten_seconds_and_keeps_it() {
    for (fault, seed) in [one_slow, one_silent, flapping].into_iter().flat_map(|f: Fault| SEEDS.map(move |s| (f, s))) {
        let pool = by_default(fault, seed);
        for second in [FAULT.end + 9, FAULT.end + 12, FAULT.end + 15] {
            let share = pool.share(0, second, second + 3);
            assert!((0.14..0.27).contains(&share), "{seed} at {second}: {share:.3}");
        }
    }
}

#[test]
fn where_all_are_slow_there_are_hardly_any_hedges_and_they_come_back() {
    for seed in SEEDS {
        let pool = by_default(all_slow, seed);
        let early = pool.amplification(FAULT.start, FAULT.start + 2);
        assert!(early < 1.03, "{seed}: {early:.3} before it is known what is usual now");
        let copies = |from, to| pool.attempts(from, to).filter(|sent| sent.kind == Kind::Copy).count();
        assert!(copies(FAULT.end + 15, 60) > 0, "{seed}");
        // Nobody is blamed for what all do.
        let fair = (0..5).map(|backend| pool.share(backend, FAULT.start, FAULT.end)).fold(1.0, f64::min);
        assert!(fair > 0.1, "{seed}: {fair:.3}");
    }
}

#[test]
fn pauses_one_after_the_other_are_hardly_noticed() {
    for seed in SEEDS {
        let (with, without) = (by_default(staggered_pauses, seed), without_hedges(staggered_pauses, seed));
        assert!(during(&with, 0.999) < ms(60), "{seed}: {:?}", during(&with, 0.999));
        assert!(during(&without, 0.999) > ms(200), "{seed}: {:?}", during(&without, 0.999));
    }
}

#[test]
fn with_limited_workers_hedges_do_not_feed_an_overload() {
    for seed in SEEDS {
        // Five backends of two workers at 11 ms a request do 900 a second; for 20 s they are five times slower.
        let load = || Load { workers: 2, ..Load::by_default(100.0) };
        let pool = run(load(), all_slow, seed);
        assert!(pool.worst_second(0, 58) <= 1.2, "{seed}: {:.3}", pool.worst_second(0, 58));
        assert!(pool.amplification(0, 60) <= 1.065, "{seed}: {:.3}", pool.amplification(0, 60));
        assert!(pool.quantile(0.99, FAULT.end + 5, 60) < ms(40), "{seed}: normal again after five seconds");
    }
}

#[test]
fn a_quiet_pool_hedges_once_it_knows_enough_and_within_its_budget() {
    for seed in SEEDS {
        let mut pool =
            Pool::new(Load::by_default(2.0), seed, (0..5).map(|index| (stalls_always(index), 1.0)).collect());
        pool.run(secs(50));
        assert!(pool.attempts(0, 45).all(|sent| sent.kind == Kind::Primary), "{seed}: a hundred answers are not known");
        pool.run(secs(2_000));
        assert_eq!(pool.drain(), 0);
        let (copies, requests) =
            (pool.attempts(0, 2_050).filter(|sent| sent.kind == Kind::Copy).count(), pool.sent(0, 2_050).count());
        assert!(copies > 0 && copies * 100 <= requests * 5 + 100, "{seed}: {copies} of {requests}");
    }
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| by_default(stalls, seed).outcomes().to_vec();
    let one = run(1);
    assert!(one == run(1) && one != run(2));
}

#[test]
#[ignore = "prints the tables of docs/tail.md"]
fn figures() {
    println!(
        "| fault | balancing alone: p99 / p99.9 | as shipped: p50 | p99 / p99.9 | amplification | in the worst second | copies won |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, fault) in SCENARIOS {
        let dear = if name == "mixed costs" { (0.05, 30.0) } else { (0.0, 1.0) };
        let with = SEEDS.map(|seed| run(Load { dear, ..Load::by_default(400.0) }, fault, seed)).collect::<Vec<_>>();
        let alone = SEEDS.map(|seed| run(Load { dear, ..Load::per_second(400.0) }, fault, seed)).collect::<Vec<_>>();
        let millis = |pools: &[Pool], q| mean(pools, |pool| during(pool, q).as_secs_f64() * 1e3);
        println!(
            "| {name} | {:.0} / {:.0} | {:.1} | {:.1} / {:.1} | {:.3} | {:.3} | {:.0} % |",
            millis(&alone, 0.99),
            millis(&alone, 0.999),
            millis(&with, 0.5),
            millis(&with, 0.99),
            millis(&with, 0.999),
            mean(&with, |pool| pool.amplification(FAULT.start, FAULT.end)),
            with.iter().map(|pool| pool.worst_second(2, 58)).fold(0.0, f64::max),
            mean(&with, |pool| {
                let copies = pool.attempts(0, 60).filter(|sent| sent.kind == Kind::Copy).count();
                f64::from(pool.hedges().0) / copies.max(1) as f64 * 100.0
            }),
        );
    }
    println!("\n| fault | share in the first second | from then on | 8 to 12 s after its end |\n|---|---|---|---|");
    for (name, fault) in
        [("slow x10", one_slow as Fault), ("slow x3", one_slow_by_three), ("never answers", one_silent)]
    {
        let pools = SEEDS.map(|seed| by_default(fault, seed)).collect::<Vec<_>>();
        let share = |from, to| mean(&pools, |pool| pool.share(0, from, to) * 100.0);
        let (from, to) = (FAULT.start, FAULT.end);
        println!(
            "| {name} | {:.1} % | {:.2} % | {:.1} % |",
            share(from, from + 1),
            share(from + 1, to),
            share(to + 8, to + 12)
        );
    }
}

fn mean(pools: &[Pool], of: impl Fn(&Pool) -> f64) -> f64 {
    pools.iter().map(of).sum::<f64>() / pools.len() as f64
}
