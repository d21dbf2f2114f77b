//! Hit ratio of the store with its two kinds of admission, on traces of Zipf popularity with one-hit wonders.
//!
//! Each trace is the same for both and at each run (fixed seed, and keys hashed without a secret); the store is the real one.
//! The first third of a trace warms the store and is not counted.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs, reason = "a bench")]

mod common;

use bytes::Bytes;
use common::Driver;
use fastrand::Rng;
use hedgerow::config::Admission;
use hedgerow::store::{Params, Store};
use pingora::cache::CacheKey;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What bodies are made of. The store copies what is smaller than this, so that most of what is weighed as stored takes no
/// memory, and a run no time to fill it.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Keys that are asked for again.
const KEYS: usize = 1_000_000;
const REQUESTS: usize = 600_000;
/// Requests for a key that never comes again, in per cent.
const ONCE: u64 = 30;
/// From this size on an object counts as large, in bytes.
const LARGE: usize = 256 << 10;

#[derive(Clone, Copy)]
enum Sizes {
    /// Log-normal with median 11 KB, from 1 KB to 1 MiB: mean 33 KB.
    Mixed,
    /// 8 KB each.
    Uniform,
}

impl Sizes {
    fn of(self, key: u64) -> usize {
        match self {
            Sizes::Uniform => 8 << 10,
            Sizes::Mixed => {
                let mut rng = Rng::with_seed(key.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                let (u, v) = (rng.f64().max(1e-12), rng.f64());
                let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                (9.3 + 1.5 * normal).exp().clamp(1024.0, 1_048_576.0) as usize
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Sizes::Mixed => "1 KB to 1 MB",
            Sizes::Uniform => "8 KB",
        }
    }
}

/// Keys by popularity are 0 to `KEYS`, those asked for once follow.
fn trace(exponent: f64) -> Vec<u64> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    let mut rng = Rng::with_seed(42);
    let mut next = KEYS as u64;
    (0..REQUESTS)
        .map(|_| {
            if rng.u64(..100) < ONCE {
                next += 1;
                return next;
            }
            let point = rng.f64() * sum;
            cumulated.partition_point(|c| *c < point) as u64
        })
        .collect()
}

#[derive(Default)]
struct Counts {
    requests: u64,
    hits: u64,
    bytes: u64,
    hit_bytes: u64,
    large: u64,
    large_hits: u64,
    /// Large objects stored, and those of them that were not refused: what is refused is stored, too, on the side.
    large_stored: u64,
    large_admitted: u64,
}

fn run(trace: &[u64], sizes: Sizes, memory: u64, admission: Admission) -> Counts {
    let driver = Driver::new(Store::new(Params { memory, max_object: 1 << 20, admission }));
    let header = common::header(0);
    let mut counts = Counts::default();
    for (at, number) in trace.iter().enumerate() {
        let key = CacheKey::new(number.to_le_bytes().to_vec(), "");
        let size = sizes.of(*number);
        let hit = driver.lookup(&key);
        let large = size >= LARGE;
        if !hit {
            let before = driver.store.stats().refused;
            driver.fill(
                &key,
                header.clone(),
                common::pieces(size, ZEROS.len()).map(|length| Bytes::from_static(&ZEROS[..length])),
            );
            if large {
                counts.large_stored += 1;
                counts.large_admitted += u64::from(driver.store.stats().refused == before);
            }
        }
        if at >= REQUESTS / 3 {
            counts.requests += 1;
            counts.hits += u64::from(hit);
            counts.bytes += size as u64;
            counts.hit_bytes += if hit { size as u64 } else { 0 };
            counts.large += u64::from(large);
            counts.large_hits += u64::from(large && hit);
        }
    }
    // The store itself is leaked, as in an edge; its entries need not be.
    driver.store.resize(Params { memory: 0, max_object: 0, admission });
    counts
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1}", 100.0 * part as f64 / whole as f64) }
}

fn main() {
    println!("| sizes | Zipf | memory | admission | hits, % | bytes hit, % | large hits, % | large not refused, % |");
    println!("|---|---|---|---|---|---|---|---|");
    for exponent in [0.9, 1.1] {
        let trace = trace(exponent);
        for sizes in [Sizes::Mixed, Sizes::Uniform] {
            // The working set: everything that is asked for in the trace more than never.
            let mut asked = trace.clone();
            asked.sort_unstable();
            asked.dedup();
            let set: u64 = asked.iter().map(|key| sizes.of(*key) as u64).sum();
            for share in [1, 5, 10] {
                let memory = set * share / 100;
                for (admission, name) in [(Admission::Lru, "LRU"), (Admission::TinyLfu, "TinyLFU")] {
                    let c = run(&trace, sizes, memory, admission);
                    println!(
                        "| {} | {exponent} | {share} %, {} MiB | {name} | {} | {} | {} | {} |",
                        sizes.name(),
                        memory >> 20,
                        percent(c.hits, c.requests),
                        percent(c.hit_bytes, c.bytes),
                        percent(c.large_hits, c.large),
                        percent(c.large_admitted, c.large_stored),
                    );
                }
            }
        }
    }
}
