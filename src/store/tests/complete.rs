//! Complete entries.

use pingora::cache::PurgeType;
use pingora::cache::storage::{PurgeOutcome, PurgeTarget};

use super::*;

#[tokio::test]
async fn a_range_is_read_and_then_another_before_it() {
    let (store, key) = (store(), key("a"));
    let whole = pattern(200_000);
    let (mut writer, _own) = fill(store, &key, meta(&[])).await;
    for piece in whole.chunks(30_000) {
        writer.write_body(Bytes::copy_from_slice(piece), false).await.unwrap();
    }
    writer.finish().await.unwrap();
    let (_, mut reader) = get(store, &key).await.unwrap();
    assert!(reader.can_seek() && reader.can_seek_multipart());
    reader.seek(100_000, Some(190_000)).unwrap();
    assert!(drain(&mut reader).await == (whole[100_000..190_000].to_vec(), true));
    reader.seek_multipart(5, Some(6)).unwrap();
    assert_eq!(drain(&mut reader).await.0, &whole[5..6]);
    reader.seek(199_999, None).unwrap();
    assert_eq!(drain(&mut reader).await.0, &whole[199_999..]);
    reader.seek(0, Some(usize::MAX)).unwrap();
    assert!(drain(&mut reader).await.0 == whole);
    assert!(reader.seek(200_000, None).is_err());
    assert!(reader.seek(10, Some(9)).is_err());
}

#[tokio::test]
async fn update_meta_keeps_the_body_and_its_length() {
    let (store, key) = (store(), key("a"));
    put(store, &key, meta(&[("etag", "\"1\"")]), b"body").await;
    let (found, _) = get(store, &key).await.unwrap();
    let mut merged = CacheMeta::new(at(300), at(100), 0, 0, head(&[("etag", "\"1\""), ("content-length", "99")]));
    *merged.extensions_mut() = found.extensions().clone();
    assert!(store.update_meta(&key, &merged, &trace()).await.unwrap());
    let (found, _) = get(store, &key).await.unwrap();
    assert_eq!(found.fresh_until(), at(300));
    assert_eq!(found.headers()["content-length"], "4");
    assert_eq!(body(store, &key).await.unwrap(), b"body");
    assert_eq!(store.stats().objects, 1);
}

#[tokio::test]
async fn a_late_304_is_not_written_over_the_next_body() {
    let (store, key) = (store(), key("a"));
    put(store, &key, meta(&[("etag", "\"1\"")]), b"one").await;
    let (of_one, _) = get(store, &key).await.unwrap();
    put(store, &key, meta(&[("etag", "\"2\"")]), b"two").await;
    assert!(!store.update_meta(&key, &of_one, &trace()).await.unwrap());
    let (found, _) = get(store, &key).await.unwrap();
    assert_eq!(found.headers()["etag"], "\"2\"");
}

#[tokio::test]
async fn update_meta_of_what_is_gone_says_so() {
    let (store, key) = (store(), key("a"));
    assert!(!store.update_meta(&key, &meta(&[]), &trace()).await.unwrap());
}

#[tokio::test]
async fn purge_removes_and_a_transfer_goes_on() {
    let (store, key) = (store(), key("a"));
    put(store, &key, meta(&[]), b"body").await;
    let (_, mut reader) = get(store, &key).await.unwrap();
    let compact = key.to_compact();
    let target = PurgeTarget::Active(&compact);
    let outcome = store.purge(target, PurgeType::Invalidation, &trace()).await.unwrap();
    assert_eq!(outcome, PurgeOutcome::Purged(None));
    assert!(get(store, &key).await.is_none());
    assert_eq!(drain(&mut reader).await, (b"body".to_vec(), true));
    let outcome = store.purge(target, PurgeType::Invalidation, &trace()).await.unwrap();
    assert_eq!(outcome, PurgeOutcome::NotFound);
    assert_eq!(store.stats().purged, 1);
}

#[tokio::test]
async fn expire_makes_stale_and_keeps_the_body() {
    let (store, key) = (store(), key("a"));
    let now = crate::clock::wall();
    let hour = Duration::from_secs(3600);
    put(store, &key, CacheMeta::new(now + hour, now, 60, 60, head(&[])), b"body").await;
    let compact = key.to_compact();
    let outcome = store.expire(PurgeTarget::Active(&compact), &trace()).await.unwrap();
    assert_eq!(outcome, PurgeOutcome::Expired);
    let (found, _) = get(store, &key).await.unwrap();
    assert!(!found.is_fresh(crate::clock::wall()));
    assert!(found.serve_stale_while_revalidate(now + Duration::from_secs(30)));
    assert_eq!(body(store, &key).await.unwrap(), b"body");
}

#[tokio::test]
async fn the_typed_value_of_the_proxy_rides_along() {
    let (store, key) = (store(), key("a"));
    let mut given = meta(&[]);
    given.extensions_mut().insert(7_u32);
    given.set_epoch_override(at(90));
    put(store, &key, given, b"").await;
    let (found, _) = get(store, &key).await.unwrap();
    assert_eq!(found.extensions().get::<u32>(), Some(&7));
    assert_eq!(found.epoch(), at(90));
}

#[tokio::test]
async fn the_weight_stays_within_the_bound_after_every_insert() {
    let store = Store::new(sized(4 * MIB, MIB));
    // The memory is in two parts, each of which may lack an object to be full.
    for n in 0..200 {
        put(store, &key(&n.to_string()), meta(&[]), &pattern(100_000 + n * 1000)).await;
        let stats = store.stats();
        assert!(stats.bytes <= stats.capacity, "{} of {}", stats.bytes, stats.capacity);
    }
    let stats = store.stats();
    assert_eq!(stats.stored, 200);
    assert_eq!(stats.objects + stats.evicted, 200);
    assert!(stats.capacity + MIB <= 4 * MIB && stats.bytes > stats.capacity - 800_000);
    assert!(get(store, &key("199")).await.is_some(), "the newest");
}

#[tokio::test]
async fn a_store_without_memory_stores_nothing_and_serves_everything() {
    let store = Store::new(sized(0, MIB));
    let (mut writer, mut own) = fill(store, &key("a"), meta(&[])).await;
    writer.write_body(Bytes::from("body"), true).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(drain(&mut own).await, (b"body".to_vec(), true));
    assert!(get(store, &key("a")).await.is_none());
}

#[tokio::test]
async fn growing_loses_nothing_and_shrinking_keeps_what_fits() {
    let store = Store::new(sized(8 * MIB, MIB));
    let keys: Vec<_> = (0..40).map(|n| key(&n.to_string())).collect();
    for key in &keys {
        put(store, key, meta(&[]), &pattern(100_000)).await;
    }
    let mut variant = keys[0].clone();
    variant.set_variance_key([1; 16]);
    put(store, &variant, meta(&[]), b"variant").await;
    store.resize(sized(80 * MIB, 2 * MIB));
    for key in &keys {
        assert!(body(store, key).await.unwrap() == pattern(100_000));
    }
    assert_eq!(store.variants(keys[0].primary_bin()), 2);
    assert_eq!(store.stats().evicted, 0);
    store.resize(sized(2 * MIB, MIB));
    let stats = store.stats();
    assert!(stats.bytes <= stats.capacity && stats.capacity < 2 * MIB && stats.objects >= 8, "{stats:?}");
    assert_eq!(stats.objects + stats.evicted, 41);
    store.resize(sized(0, 0));
    assert_eq!((store.stats().objects, store.variants(keys[0].primary_bin())), (0, 0));
}
