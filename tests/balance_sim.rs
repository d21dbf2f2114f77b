//! The shipped balancing policy against scripted backends, in virtual time.
//!
//! `cargo test --test balance_sim -- --ignored --nocapture` prints the table in docs/balancing.md.

mod sim;

use std::time::Duration;

use sim::{Answer, Load, Outcome, Pool, Script, lognormal, steady};

const SEEDS: std::ops::Range<u64> = 1..4;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Ten times slower until second 60, then as fast as the others.
fn slow_for_a_minute() -> Script {
    Box::new(|at, rng| Answer::After(lognormal(ms(if at < secs(60) { 100 } else { 10 }), rng)))
}

/// As fast as the others until second 10, then silent.
fn hangs_after_ten_seconds() -> Script {
    Box::new(|at, rng| if at < secs(10) { Answer::After(lognormal(ms(10), rng)) } else { Answer::Never })
}

fn never_answers() -> Script {
    Box::new(|_, _| Answer::Never)
}

fn fails_fast() -> Script {
    Box::new(|_, _| Answer::Fails(ms(1)))
}

fn errors_fast() -> Script {
    Box::new(|_, _| Answer::Errors(ms(1)))
}

fn stalls_at_times() -> Script {
    Box::new(|_, rng| Answer::After(if rng.f64() < 0.02 { secs(1) } else { lognormal(ms(10), rng) }))
}

/// Two steady backends and one that follows `third`, run for `seconds` and drained.
fn three(per_second: f64, seed: u64, third: Script, seconds: u64) -> Pool {
    let scripts = vec![(steady(10), 1.0), (steady(10), 1.0), (third, 1.0)];
    let mut pool = Pool::new(Load::per_second(per_second), seed, scripts);
    pool.run(secs(seconds));
    assert_eq!(pool.drain(), 0, "in flight at the end");
    pool
}

fn requests_to_third(pool: &Pool, from: u64, to: u64) -> usize {
    pool.sent(from, to).filter(|outcome| outcome.backend == 2).count()
}

#[test]
fn equal_backends_get_equal_shares() {
    for seed in SEEDS {
        let pool = three(400.0, seed, steady(10), 60);
        for backend in 0..3 {
            let share = pool.share(backend, 0, 60);
            assert!((0.30..0.37).contains(&share), "{seed}: {backend} {share:.4}");
        }
    }
}

#[test]
fn a_backend_ten_times_slower_gets_less_than_a_fifth_of_its_share() {
    for (per_second, seed) in [20.0, 100.0, 400.0].into_iter().flat_map(|rate| SEEDS.map(move |s| (rate, s))) {
        let pool = three(per_second, seed, slow_for_a_minute(), 60);
        let share = pool.share(2, 2, 60);
        assert!(share < 1.0 / 15.0, "{per_second} {seed}: {share:.4}");
    }
}

#[test]
fn a_recovered_backend_has_half_of_its_share_again_within_ten_seconds() {
    for per_second in [100.0, 400.0] {
        // In two seconds at the lower rate there are few requests: the runs are taken together.
        let shares = SEEDS.map(|seed| three(per_second, seed, slow_for_a_minute(), 70).share(2, 68, 70));
        let mean = shares.sum::<f64>() / SEEDS.count() as f64;
        assert!(mean > 1.0 / 6.0, "{per_second}: {mean:.4}");
    }
}

#[test]
fn a_backend_that_never_answers_gets_a_few_requests() {
    for (per_second, seed) in [50.0, 400.0].into_iter().flat_map(|rate| SEEDS.map(move |s| (rate, s))) {
        let pool = three(per_second, seed, never_answers(), 60);
        assert!(requests_to_third(&pool, 0, 60) <= 8, "{per_second} {seed}");
    }
}

#[test]
fn a_backend_that_falls_silent_is_left_at_once() {
    for (per_second, seed) in [50.0, 400.0].into_iter().flat_map(|rate| SEEDS.map(move |s| (rate, s))) {
        let pool = three(per_second, seed, hangs_after_ten_seconds(), 60);
        let lost = pool.sent(0, 60).filter(|outcome| !outcome.answered).count();
        assert!((1..=10).contains(&lost), "{per_second} {seed}: {lost}");
    }
}

#[test]
fn a_backend_that_fails_fast_draws_no_herd() {
    for (per_second, seed) in [50.0, 400.0].into_iter().flat_map(|rate| SEEDS.map(move |s| (rate, s))) {
        let pool = three(per_second, seed, fails_fast(), 60);
        let requests = requests_to_third(&pool, 0, 60);
        assert!(requests <= 20, "{per_second} {seed}: {requests} without any ejection");
    }
}

#[test]
fn rare_stalls_of_one_backend_are_mostly_avoided() {
    for seed in SEEDS {
        let pool = three(400.0, seed, stalls_at_times(), 60);
        assert!(pool.quantile(0.99, 5, 60) < ms(35), "{seed}: {:?}", pool.quantile(0.99, 5, 60));
    }
}

#[test]
fn a_backend_that_joins_warms_up_slowly_and_then_takes_its_share() {
    for seed in SEEDS {
        let mut pool = Pool::new(Load::per_second(400.0), seed, vec![(steady(10), 1.0), (steady(10), 1.0)]);
        pool.run(secs(20));
        pool.join(steady(10), 1.0);
        pool.run(secs(40));
        assert_eq!(pool.drain(), 0);
        let fair = |from, to| pool.share(2, from, to) * 3.0;
        assert!((0.05..0.3).contains(&fair(20, 22)), "{seed}: {}", fair(20, 22));
        assert!((0.3..0.8).contains(&fair(29, 31)), "{seed}: {}", fair(29, 31));
        assert!((0.8..1.2).contains(&fair(45, 60)), "{seed}: {}", fair(45, 60));
    }
}

#[test]
fn shares_follow_weights() {
    for seed in SEEDS {
        let weights = [1.0, 2.0, 4.0];
        let mut pool =
            Pool::new(Load::per_second(400.0), seed, weights.map(|weight| (steady(10), weight)).into_iter().collect());
        pool.run(secs(60));
        for (backend, weight) in weights.into_iter().enumerate() {
            let share = pool.share(backend, 0, 60) * 7.0 / weight;
            assert!((0.9..1.1).contains(&share), "{seed}: {backend} {share:.3}");
        }
    }
}

#[test]
fn in_a_pool_of_twenty_the_two_slow_ones_are_found() {
    for seed in SEEDS {
        let script = |index: u64| (steady(if index < 2 { 100 } else { 10 }), 1.0);
        let mut pool = Pool::new(Load::per_second(2_000.0), seed, (0..20).map(script).collect());
        pool.run(secs(12));
        assert_eq!(pool.drain(), 0);
        for backend in 0..2 {
            let share = pool.share(backend, 2, 12);
            assert!(share < 0.05 / 5.0, "{seed}: {backend} {share:.4}");
        }
    }
}

#[test]
fn a_backend_of_errors_gets_nothing_and_where_all_are_none_is_ejected() {
    let mut load = Load::per_second(200.0);
    load.ejection.consecutive = 5;
    let run = |failing: usize| {
        let script = |index| (if index < failing { errors_fast() } else { steady(10) }, 1.0);
        let mut pool = Pool::new(
            Load { ejection: load.ejection.clone(), ..Load::per_second(200.0) },
            1,
            (0..3).map(script).collect(),
        );
        pool.run(secs(9));
        let ejected = (0..3).filter(|&backend| pool.is_ejected(backend)).count();
        assert_eq!(pool.drain(), 0);
        (pool.sent(2, 9).filter(|outcome| outcome.backend == 0).count(), ejected)
    };
    assert_eq!(run(1).0, 0);
    // One may be avoided for what it did before the others did so too, but none is out.
    assert_eq!(run(3).1, 0);
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| three(200.0, seed, stalls_at_times(), 20).outcomes().to_vec();
    let one: Vec<Outcome> = run(1);
    assert_eq!(one, run(1));
    assert_ne!(one, run(2));
}

#[test]
#[ignore = "prints the table of docs/balancing.md"]
fn figures() {
    type Row = (&'static str, fn() -> Script);
    let rows: [Row; 6] = [
        ("all alike", || steady(10)),
        ("third 10x slower", slow_for_a_minute),
        ("third never answers", never_answers),
        ("third falls silent at 10 s", hangs_after_ten_seconds),
        ("third fails within 1 ms", fails_fast),
        ("third stalls 1 s, 2 % of requests", stalls_at_times),
    ];
    println!("| case | share of the third | p50 ms | p99 ms | p99.9 ms | not answered |");
    for (name, script) in rows {
        let pool = three(400.0, 1, script(), 60);
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| pool.quantile(q, 0, 60).as_secs_f64() * 1e3);
        let lost = pool.sent(0, 60).filter(|outcome| !outcome.answered).count();
        let (share, all) = (pool.share(2, 0, 60) * 100.0, pool.sent(0, 60).count());
        println!("| {name} | {share:.2} % | {p50:.1} | {p99:.1} | {p999:.1} | {lost} of {all} |");
    }
    let pool = three(400.0, 1, slow_for_a_minute(), 80);
    let back: Vec<String> = (60..76).step_by(2).map(|s| format!("{:.2}", pool.share(2, s, s + 2) * 3.0)).collect();
    println!("back at its speed at 60 s, its share of the fair one, every 2 s: {}", back.join(", "));
}
