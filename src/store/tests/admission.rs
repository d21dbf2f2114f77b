//! What a full store lets in: see `shelf.rs`.

use super::*;

const PAGE: usize = 10_000;

fn with(memory: u64, max_object: u64, admission: Admission) -> &'static Store {
    Store::new(Params { memory, max_object, admission })
}

/// As a request does: looks up, and stores on a miss. Whether it was a hit.
async fn ask(store: &'static Store, name: &str, size: usize) -> bool {
    let key = key(name);
    let hit = get(store, &key).await.is_some();
    if !hit {
        put(store, &key, meta(&[]), &pattern(size)).await;
    }
    hit
}

/// 100 pages that are asked for all the time, and between two rounds twice as many that are asked for once as fit. How
/// many of the last round's requests for the hundred are hits.
async fn hits_under_a_scan(store: &'static Store) -> usize {
    let mut once = 0;
    let mut hits = 0;
    for round in 0..12 {
        hits = 0;
        for n in 0..100 {
            hits += usize::from(ask(store, &format!("hot {n}"), PAGE).await);
        }
        // The first rounds show who is popular; then the crawler comes.
        for _ in 0..if round < 4 { 20 } else { 800 } {
            once += 1;
            ask(store, &format!("once {once}"), PAGE).await;
        }
    }
    hits
}

#[tokio::test]
async fn a_scan_does_not_push_out_what_is_popular() {
    let tinylfu = hits_under_a_scan(with(4 * MIB, 100_000, Admission::TinyLfu)).await;
    assert!(tinylfu >= 95, "{tinylfu} of 100");
    let lru = hits_under_a_scan(with(4 * MIB, 100_000, Admission::Lru)).await;
    assert_eq!(lru, 0, "what it is compared with");
}

#[tokio::test]
async fn a_large_object_gets_into_a_cache_full_of_popular_pages_and_stays_while_it_is_asked_for() {
    let store = with(8 * MIB, MIB, Admission::TinyLfu);
    for _ in 0..4 {
        for n in 0..800 {
            ask(store, &format!("page {n}"), PAGE).await;
        }
    }
    let refused = store.stats().refused;
    assert!(!ask(store, "bundle", MIB as usize).await);
    assert_eq!(store.stats().refused, refused + 1);
    for n in 0..200 {
        assert!(ask(store, "bundle", MIB as usize).await, "{n}");
        ask(store, &format!("once {n}"), PAGE).await;
    }
}

#[tokio::test]
async fn what_becomes_popular_gets_in_when_it_is_fetched_again() {
    let store = with(4 * MIB, 100_000, Admission::TinyLfu);
    for n in 0..1000 {
        ask(store, &format!("old {n}"), PAGE).await;
    }
    let refused = store.stats().refused;
    assert!(refused > 0);
    for n in 0..2000 {
        ask(store, "new", PAGE).await;
        ask(store, &format!("once {n}"), PAGE).await;
    }
    // It was refused at first and lived on the side shelf. Fetched again, it is known.
    let before = store.stats().refused;
    put(store, &key("new"), meta(&[]), &pattern(PAGE)).await;
    let after = store.stats();
    assert_eq!(after.refused, before);
    assert!(after.bytes <= after.capacity);
    assert!(get(store, &key("new")).await.is_some());
}

#[tokio::test]
async fn an_object_as_large_as_may_be_comes_in_whatever_the_size_of_the_store() {
    for (memory, max_object) in
        [(64 << 10, 32 << 10), (64 << 10, 100), (MIB, MIB / 2), (10 * MIB, 3 * MIB), (64 * MIB, 8 * MIB)]
    {
        for admission in [Admission::TinyLfu, Admission::Lru] {
            let store = with(memory, max_object, admission);
            let largest = store.max_object() as usize;
            assert!(largest as u64 >= max_object.min(memory / 5 * 2));
            for n in 0..40 {
                ask(store, &format!("small {n}"), largest / 20).await;
                ask(store, &format!("small {n}"), largest / 20).await;
            }
            for n in 0..4 {
                let name = format!("large {n}");
                ask(store, &name, largest).await;
                assert!(get(store, &key(&name)).await.is_some(), "{largest} of {memory} with {admission:?}");
                let stats = store.stats();
                assert!(stats.bytes <= stats.capacity && stats.capacity < memory);
            }
        }
    }
}

#[tokio::test]
async fn of_what_is_stored_everything_is_there_or_was_evicted() {
    let store = with(MIB, 100_000, Admission::TinyLfu);
    for n in 0..3000_usize {
        ask(store, &format!("{}", n * 7919 % 501), 500 + n * 37 % 30_000).await;
        if n == 1500 {
            store.resize(Params { memory: 2 * MIB, max_object: 100_000, admission: Admission::Lru });
        }
        if n == 2000 {
            store.resize(Params { memory: MIB / 2, max_object: 50_000, admission: Admission::TinyLfu });
        }
    }
    let stats = store.stats();
    assert!(stats.refused > 0);
    // Each was stored after a miss, so none was replaced.
    assert_eq!(stats.objects + stats.evicted, stats.stored);
    let mut found = 0;
    for n in 0..501 {
        found += u64::from(get(store, &key(&n.to_string())).await.is_some());
    }
    assert_eq!(found, stats.objects);
}

#[tokio::test]
async fn a_purge_finds_entries_on_both_shelves() {
    let store = with(MIB, 100_000, Admission::TinyLfu);
    for n in 0..500 {
        ask(store, &n.to_string(), PAGE).await;
    }
    assert!(store.stats().refused > 0 && store.stats().objects > 50);
    for n in 0..500 {
        store.invalidate(key(&n.to_string()).primary_bin());
    }
    let stats = store.stats();
    assert_eq!(stats.purged + stats.evicted, 500);
    assert!(get(store, &key("499")).await.is_none() && get(store, &key("0")).await.is_none());
}
