//! The shipped tail policy against scripted faults, in virtual time.
//!
//! `cargo test --test tail_sim -- --ignored --nocapture` prints the tables in docs/tail.md.

mod sim;

use std::time::Duration;

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

#[test]
#[ignore = "prints the table of docs/tail.md"]
fn figures() {
    println!(
        "| fault | p50 | p95 | p99 | p99.9 | max | amplification | worst second | first's share | from 1 s on | after | won | denied |"
    );
    for (name, fault) in SCENARIOS {
        for seed in 1..4 {
            let dear = if name == "mixed costs" { (0.05, 30.0) } else { (0.0, 1.0) };
            let pool = run(Load { dear, ..Load::by_default(400.0) }, fault, seed);
            let (from, to) = (FAULT.start, FAULT.end);
            let [p50, p95, p99, p999, max] =
                [0.5, 0.95, 0.99, 0.999, 1.0].map(|q| pool.quantile(q, from, to).as_secs_f64() * 1e3);
            let (all, worst) = (pool.amplification(from, to), pool.worst_second(2, 58));
            let shares = [(from, to), (from + 1, to), (to + 8, to + 12)].map(|(a, b)| pool.share(0, a, b) * 100.0);
            let lost = pool.sent(0, 60).filter(|outcome| !outcome.answered).count();
            let (won, denied) = pool.hedges();
            println!(
                "| {name} | {p50:.1} | {p95:.1} | {p99:.1} | {p999:.1} | {max:.0} | {all:.3} | {worst:.3} | {:.2} % | {:.2} % | {:.1} % | {won} | {denied:?} lost {lost} scale {:.2} delay {:?}",
                shares[0],
                shares[1],
                shares[2],
                pool.hedging().copies.scale(),
                pool.hedging().delay()
            );
        }
    }
}
