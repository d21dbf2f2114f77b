//! Variants of one resource, as pingora keeps them: one in the primary slot, the rest beside it.

use pingora::cache::storage::PurgeTarget;
use pingora::cache::{HitStatus, HttpCache, PurgeType};

use super::*;

fn variant(name: &str, variance: u8) -> CacheKey {
    let mut key = key(name);
    key.set_variance_key([variance; 16]);
    key
}

/// Created at `created` in a lineage of its own, of the variant `variance`.
fn born(created: u64, variance: u8) -> CacheMeta {
    let mut meta = CacheMeta::new(at(created + 60), at(created), 0, 0, head(&[]));
    meta.set_variance([variance; 16]);
    meta
}

#[tokio::test]
async fn variants_are_counted_and_purged_together() {
    let (store, first) = (store(), key("a"));
    let primary = first.primary_bin();
    assert_eq!(store.variants(primary), 0);
    put(store, &first, born(100, 0), b"0").await;
    for n in 1..5 {
        put(store, &variant("a", n), born(100, n), &[n]).await;
    }
    put(store, &variant("a", 4), born(100, 4), b"again").await;
    put(store, &variant("b", 1), born(100, 1), b"another's").await;
    assert_eq!(store.variants(primary), 5);
    assert_eq!(body(store, &variant("a", 4)).await.unwrap(), b"again");
    let compact = first.to_compact();
    store.purge(PurgeTarget::Active(&compact), PurgeType::Invalidation, &trace()).await.unwrap();
    assert_eq!(store.variants(primary), 0);
    for n in 1..5 {
        assert!(get(store, &variant("a", n)).await.is_none());
    }
    assert!(get(store, &variant("b", 1)).await.is_some());
}

#[tokio::test]
async fn the_key_of_a_variant_purges_only_that() {
    let (store, first) = (store(), key("a"));
    put(store, &first, born(100, 0), b"0").await;
    put(store, &variant("a", 1), born(100, 1), b"1").await;
    let compact = variant("a", 1).to_compact();
    store.purge(PurgeTarget::Active(&compact), PurgeType::Invalidation, &trace()).await.unwrap();
    assert_eq!(store.variants(first.primary_bin()), 1);
    assert!(get(store, &first).await.is_some());
}

#[tokio::test]
async fn expiring_a_resource_expires_its_variants() {
    let (store, first) = (store(), key("a"));
    let now = crate::clock::wall();
    for (key, n) in [(first.clone(), 0), (variant("a", 1), 1)] {
        let mut meta = CacheMeta::new(now + Duration::from_secs(3600), now, 0, 0, head(&[]));
        meta.set_variance([n; 16]);
        put(store, &key, meta, b"").await;
    }
    let compact = first.to_compact();
    store.expire(PurgeTarget::Active(&compact), &trace()).await.unwrap();
    for key in [first, variant("a", 1)] {
        assert!(!get(store, &key).await.unwrap().0.is_fresh(crate::clock::wall()));
    }
}

#[tokio::test]
async fn an_evicted_variant_is_no_longer_counted() {
    let store = Store::new(Params { memory: 2 * MIB, max_object: MIB, admission: Admission::TinyLfu });
    let primary = key("a").primary_bin();
    put(store, &key("a"), born(100, 0), &pattern(100_000)).await;
    for n in 1..100 {
        put(store, &variant("a", n), born(100, n), &pattern(100_000)).await;
    }
    let stats = store.stats();
    assert!(stats.objects < 20);
    assert_eq!(store.variants(primary) as u64, stats.objects);
}

/// One request's cache state in pingora, at the lookup of `key`.
fn request(store: &'static Store, key: CacheKey) -> HttpCache {
    let mut cache = HttpCache::new();
    cache.enable(store, None, None, None, None);
    cache.set_cache_key(key);
    cache
}

#[tokio::test]
async fn refreshing_the_primary_variant_does_not_orphan_its_siblings() {
    let (store, first, second) = (store(), key("a"), variant("a", 1));
    put(store, &first, born(100, 0), b"0").await;
    put(store, &second, born(101, 1), b"1").await;

    let mut refresh = request(store, first.clone());
    let (stale, reader) = refresh.cache_lookup().await.unwrap().unwrap();
    assert!(refresh.cache_vary_lookup([0; 16], &stale));
    refresh.cache_found(stale, reader, HitStatus::Expired);
    refresh.set_cache_meta(born(500, 0));
    refresh.update_variance(Some([0; 16]));
    refresh.set_miss_handler().await.unwrap();
    refresh.miss_handler().unwrap().write_body(Bytes::from("0, refreshed"), true).await.unwrap();
    refresh.finish_miss_handler().await.unwrap();

    let mut later = request(store, first.clone());
    let (primary, _) = later.cache_lookup().await.unwrap().unwrap();
    assert_eq!((primary.epoch(), primary.fresh_sec()), (at(500), 60));
    assert!(!later.cache_vary_lookup([1; 16], &primary));
    let (secondary, mut reader) = later.cache_lookup().await.unwrap().expect("the sibling is still taken");
    assert_eq!(secondary.variance(), Some([1; 16]));
    assert_eq!(drain(&mut reader).await.0, b"1");
    assert_eq!(store.variants(first.primary_bin()), 2);
}

#[tokio::test]
async fn a_new_lineage_in_the_primary_slot_ends_the_old_family() {
    let (store, first, second) = (store(), key("a"), variant("a", 1));
    put(store, &first, born(100, 0), b"0").await;
    put(store, &second, born(101, 1), b"1").await;
    put(store, &first, born(200, 2), b"2").await;
    assert!(get(store, &second).await.is_none());
    assert_eq!(store.variants(first.primary_bin()), 1);
}
