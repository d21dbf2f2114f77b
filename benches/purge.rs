//! What a purge costs, and a lookup after it, over stores of different sizes: neither may depend on the size.
//!
//! Printed as medians in nanoseconds. The sweep, which does depend on it, runs in the background.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench stops when something is wrong, and prints"
)]

use std::time::{Duration, Instant, SystemTime};

use hedgerow::cache::purge::Selector;
use hedgerow::cache::tags::Tags;
use hedgerow::config::Admission;
use hedgerow::store::{Named, Params, Store};
use pingora::cache::trace::{Span, SpanHandle};
use pingora::cache::{CacheKey, CacheMeta, Storage};
use pingora::http::ResponseHeader;

const SIZES: [usize; 3] = [1_000, 30_000, 300_000];
const ROUNDS: usize = 2_000;

fn trace() -> SpanHandle {
    Span::inactive().handle()
}

fn key(n: usize) -> CacheKey {
    CacheKey::new(format!("/page/{n}"), "")
}

/// `size` entries with three tags each, one of them shared by a hundred.
async fn filled(size: usize) -> &'static Store {
    let store = Store::new(Params { memory: 4 << 30, max_object: 1 << 20, admission: Admission::TinyLfu });
    let now = SystemTime::now();
    for n in 0..size {
        let mut header = ResponseHeader::build(200, None).unwrap();
        header.append_header("Surrogate-Key", format!("page product-{n} list-{}", n / 100)).unwrap();
        let tags = ["page".into(), format!("product-{n}").into_bytes(), format!("list-{}", n / 100).into_bytes()];
        let tags = Tags { tags: tags.to_vec(), ..Tags::default() };
        let path = format!("/page/{n}");
        let named = Named { scheme: "http", host: "shop.example", port: None, path: &path, query: None };
        let mut meta = CacheMeta::new(now + Duration::from_secs(3600), now, 0, 0, header);
        meta.extensions_mut().insert(store.label(&named, &tags, store.newest_purge()));
        let writer = store.get_miss_handler(&key(n), &meta, &trace()).await.unwrap();
        writer.finish().await.unwrap();
    }
    store
}

fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn look(store: &'static Store, n: usize) -> (u128, bool) {
    let key = key(n);
    let began = Instant::now();
    let found = store.lookup(&key, &trace()).await.unwrap().is_some();
    (began.elapsed().as_nanos(), found)
}

async fn measure(size: usize) {
    let store = filled(size).await;
    let mut rng = fastrand::Rng::with_seed(1);
    // Of entries that the processor's caches have lost: what memory costs, without any purge.
    let mut cold = Vec::new();
    for _ in 0..ROUNDS {
        cold.push(look(store, rng.usize(..size)).await.0);
    }
    let (mut purge, mut first, mut again, mut gone) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // The first half is purged one by one, the second half is looked up.
        let (victim, other) = (rng.usize(..size / 2), size / 2 + rng.usize(..size / 2));
        let selector = Selector::tags(vec![format!("product-{victim}")]).unwrap();
        let began = Instant::now();
        store.purge_by(selector, None).unwrap();
        purge.push(began.elapsed().as_nanos());
        first.push(look(store, other).await.0);
        again.push(look(store, other).await.0);
        let (took, found) = look(store, victim).await;
        assert!(!found, "purged in round {round}");
        gone.push(took);
    }
    let began = Instant::now();
    store.sweep(SystemTime::now());
    let sweep = began.elapsed();
    println!(
        "{size:>8} | {:>8} | {:>7} | {:>7} | {:>7} | {:>7} | {:>9.1}",
        median(cold),
        median(purge),
        median(first),
        median(again),
        median(gone),
        sweep.as_secs_f64() * 1e3
    );
}

fn main() {
    println!("entries  | cold hit | purge   | 1st hit | 2nd hit | miss    | sweep (ms)");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for size in SIZES {
        runtime.block_on(measure(size));
    }
}
