//! Resident memory of a full store against `[cache] memory`, each case in a process of its own.
#![allow(clippy::print_stdout, clippy::expect_used, missing_docs, reason = "a bench")]

mod common;

use std::process::Command;

use bytes::Bytes;
use common::Driver;
use hedgerow::config::Admission;
use hedgerow::store::{Params, Store};
use pingora::cache::CacheKey;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What may be resident beyond `memory`, in per cent of it.
const ALLOWED: u64 = 30;

/// So many objects of so many bytes with so many fields, into so many MiB.
struct Case {
    name: &'static str,
    objects: u64,
    sizes: &'static [usize],
    fields: usize,
    memory: u64,
}

const CASES: &[Case] = &[
    Case { name: "a million of 200 B, no fields", objects: 1_000_000, sizes: &[200], fields: 0, memory: 768 },
    Case { name: "a million of 200 B, 10 fields", objects: 1_000_000, sizes: &[200], fields: 10, memory: 768 },
    Case { name: "ten thousand of 100 KB", objects: 10_000, sizes: &[100_000], fields: 10, memory: 768 },
    Case {
        name: "200 B, 2 KB, 20 KB, 150 KB mixed, 20 fields",
        objects: 60_000,
        sizes: &[200, 2_000, 200, 20_000, 200, 2_000, 150_000],
        fields: 20,
        memory: 768,
    },
    Case { name: "33 KB, 20 fields", objects: 40_000, sizes: &[33_000], fields: 20, memory: 768 },
    Case { name: "1 MB then 200 B", objects: 700_000, sizes: &[], fields: 10, memory: 512 },
    Case { name: "a million of 200 B, small store", objects: 1_000_000, sizes: &[200], fields: 10, memory: 64 },
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--case" {
            let case =
                arguments.next().and_then(|n| CASES.get(n.parse::<usize>().ok()?)).expect("the number of a case");
            return fill(case);
        }
    }
    println!("| objects | memory, MiB | stored | evicted | weighed, MiB | resident, MiB | of memory, % | holds |");
    println!("|---|---|---|---|---|---|---|---|");
    let this = std::env::current_exe().expect("this program");
    for n in 0..CASES.len() {
        let status = Command::new(&this).args(["--case", &n.to_string()]).status().expect("it starts again");
        assert!(status.success(), "case {n} failed");
    }
}

fn fill(case: &Case) {
    let memory = case.memory << 20;
    let before = resident();
    let driver = Driver::new(Store::new(Params { memory, max_object: 8 << 20, admission: Admission::TinyLfu }));
    let header = common::header(case.fields);
    for n in 0..case.objects {
        let key = CacheKey::new(n.to_le_bytes().to_vec(), "");
        // Without sizes: first large objects, then small ones, into what the large ones have left behind.
        let size = match case.sizes {
            [] => {
                if n < 1_000 {
                    1 << 20
                } else {
                    200
                }
            }
            sizes => sizes[n as usize % sizes.len()],
        };
        // Asked for more often as it goes on, so that the main part, too, is displaced again and again.
        for _ in 0..1 + n * 8 / case.objects {
            driver.lookup(&key);
        }
        // As pingora reads it: each piece an allocation of its own.
        let body = common::pieces(size, 16 << 10).map(|length| Bytes::from(vec![b'x'; length]));
        driver.fill(&key, header.clone(), body);
    }
    let stats = driver.store.stats();
    let used = resident() - before;
    let share = used * 100 / memory;
    println!(
        "| {} | {} | {} | {} | {} | {} | {share} | {} |",
        case.name,
        case.memory,
        stats.objects,
        stats.evicted,
        stats.bytes >> 20,
        used >> 20,
        if share <= 100 + ALLOWED { "yes" } else { "NO" },
    );
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("the second number");
    pages * 4096
}
