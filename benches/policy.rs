//! What the policy costs where a request waits for it: a choice of backend, and each signal's update.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use hedgerow::balance::exclude::Exclude;
use hedgerow::balance::least_loaded::{Candidate, pick};
use hedgerow::tail::ages::InFlight;
use hedgerow::tail::budget::{Budget, Params};
use hedgerow::tail::ewma::PeakEwma;
use hedgerow::tail::window::Window;
use hedgerow::units::Tick;

const NOW: Tick = Tick::from_nanos(1_000_000_000_000);

fn candidate(index: usize) -> Candidate {
    Candidate {
        in_flight: (index * 7 % 5) as u32,
        cost: Some(Duration::from_millis(10 + index as u64 % 9)),
        oldest: Some(Tick::from_nanos(NOW.as_nanos() - 5_000_000)),
        weight: 1.0,
    }
}

fn choice(c: &mut Criterion) {
    let mut group = c.benchmark_group("pick");
    for size in [3, 5, 50] {
        let pool: Vec<Candidate> = (0..size).map(candidate).collect();
        let mut rng = fastrand::Rng::with_seed(1);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| pick(black_box(&pool), &Exclude::none(), NOW, &mut rng))
        });
    }
    group.finish();
}

fn signals(c: &mut Criterion) {
    let mut nanos = NOW.as_nanos();
    let mut tick = || {
        nanos += 1_000_000;
        Tick::from_nanos(nanos)
    };
    let ewma = PeakEwma::new();
    c.bench_function("ewma observe", |b| {
        b.iter(|| {
            let now = tick();
            ewma.observe(Duration::from_micros(9_000 + now.as_nanos() % 2_000), now);
        });
    });
    c.bench_function("ewma cost", |b| b.iter(|| ewma.cost(black_box(NOW + Duration::from_secs(9)))));
    let flight = InFlight::new();
    let open: Vec<_> = (0..8).map(|_| flight.begin(NOW)).collect();
    c.bench_function("in flight begin and end, 8 open", |b| b.iter(|| flight.end(flight.begin(black_box(NOW)))));
    c.bench_function("in flight oldest, 8 open", |b| b.iter(|| flight.oldest(black_box(NOW))));
    open.into_iter().for_each(|token| flight.end(token));
    let window = Window::new();
    let mut micros = 0;
    c.bench_function("window record", |b| {
        b.iter(|| {
            micros = (micros + 977) % 100_000;
            window.record(Duration::from_micros(micros));
        });
    });
    c.bench_function("window publish", |b| b.iter(|| window.publish(black_box(NOW))));
    c.bench_function("window quantiles", |b| b.iter(|| window.quantiles()));
    let budget = Budget::new(Params::default());
    c.bench_function("budget deposit", |b| b.iter(|| budget.deposit()));
    c.bench_function("budget withdraw", |b| b.iter(|| budget.withdraw(black_box(NOW))));
}

criterion_group!(benches, choice, signals);
criterion_main!(benches);
