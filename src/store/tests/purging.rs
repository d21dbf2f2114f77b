//! Purges: what they reach, and when.

use super::*;
use crate::cache::freshness::{Freshness, Lifetime, Source, Validation};
use crate::cache::purge::Selector;
use crate::cache::tags::Tags;

pub(super) fn named(path: &str) -> Named<'_> {
    Named { scheme: "http", host: "h.example", port: None, path, query: None }
}

/// As policy has it: received at 100 s.
pub(super) fn fresh_for_a_minute() -> Freshness {
    let lifetime = Lifetime {
        ttl: Duration::from_secs(60),
        source: Source::MaxAge,
        validation: Validation::Relaxed,
        while_revalidate: Duration::from_secs(30),
        if_error: Duration::from_secs(600),
        immutable: false,
    };
    Freshness { lifetime, received: at(100), initial_age: Duration::ZERO }
}

/// What was asked for at `path` now and received at 100 s, fresh for a minute, with these tags.
pub(super) fn labelled(store: &Store, path: &str, tags: &[&str]) -> CacheMeta {
    let mut meta = meta(&[]);
    let tags = Tags { tags: tags.iter().map(|tag| tag.as_bytes().to_vec()).collect(), ..Tags::default() };
    meta.extensions_mut().insert(store.label(&named(path), &tags, store.newest_purge()));
    meta.extensions_mut().insert(fresh_for_a_minute());
    meta
}

async fn keep(store: &'static Store, path: &str, tags: &[&str]) {
    put(store, &key(path), labelled(store, path, tags), path.as_bytes()).await;
}

pub(super) fn url(path: &str) -> Selector {
    Selector::url(&format!("http://h.example{path}")).unwrap()
}

pub(super) fn tag(tag: &str) -> Selector {
    Selector::tags(vec![tag.to_owned()]).unwrap()
}

fn variant(name: &str, variance: u8) -> CacheKey {
    let mut key = key(name);
    key.set_variance_key([variance; 16]);
    key
}

#[tokio::test]
async fn what_is_named_is_gone_and_nothing_else() {
    let store = store();
    for (path, tags) in [("/a", &["x", "y"][..]), ("/b", &["y"]), ("/c", &[])] {
        keep(store, path, tags).await;
    }
    store.purge_by(tag("x"), None).unwrap();
    assert!(body(store, &key("/a")).await.is_none());
    assert_eq!(body(store, &key("/b")).await.unwrap(), b"/b");
    store.purge_by(url("/b"), None).unwrap();
    assert!(body(store, &key("/b")).await.is_none());
    assert_eq!(body(store, &key("/c")).await.unwrap(), b"/c");
    let stats = store.stats();
    assert_eq!((stats.purged, stats.rules), (2, 2));
    keep(store, "/a", &["x"]).await;
    assert_eq!(body(store, &key("/a")).await.unwrap(), b"/a", "what comes after a purge stays");
}

#[tokio::test]
async fn a_url_is_purged_with_its_variants_and_under_whatever_keys() {
    let store = store();
    for key in [key("/a"), variant("/a", 1), key("/a for phones")] {
        put(store, &key, labelled(store, "/a", &[]), b"").await;
    }
    store.purge_by(url("/a"), None).unwrap();
    for key in [key("/a"), variant("/a", 1), key("/a for phones")] {
        assert!(get(store, &key).await.is_none());
    }
    assert_eq!(store.variants(key("/a").primary_bin()), 0);
}

#[tokio::test]
async fn a_tag_of_one_variant_leaves_its_sibling() {
    let store = store();
    put(store, &key("/a"), labelled(store, "/a", &["x"]), b"x").await;
    put(store, &variant("/a", 1), labelled(store, "/a", &["y"]), b"y").await;
    store.purge_by(tag("y"), None).unwrap();
    assert!(get(store, &variant("/a", 1)).await.is_none());
    assert_eq!(body(store, &key("/a")).await.unwrap(), b"x");
}

#[tokio::test]
async fn a_fill_that_was_asked_for_before_a_purge_is_not_stored_but_read_to_its_end() {
    let store = store();
    let (mut writer, mut own) = fill(store, &key("/a"), labelled(store, "/a", &[])).await;
    writer.write_body(Bytes::from_static(b"old"), false).await.unwrap();
    store.purge_by(url("/a"), None).unwrap();
    assert!(get(store, &key("/a")).await.is_none(), "nobody new reads along");
    writer.write_body(Bytes::from_static(b" news"), true).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(drain(&mut own).await, (b"old news".to_vec(), true));
    assert!(get(store, &key("/a")).await.is_none());
    assert_eq!(store.stats().not_stored[NotStored::Purged as usize], 1);
}

#[tokio::test]
async fn a_response_whose_request_was_under_way_is_purged_too() {
    let store = store();
    let asked = labelled(store, "/a", &[]);
    store.purge_by(url("/a"), None).unwrap();
    put(store, &key("/a"), asked, b"old").await;
    assert!(get(store, &key("/a")).await.is_none());
}

#[tokio::test]
async fn a_slow_download_survives_a_purge() {
    let store = store();
    let (mut writer, mut own) = fill(store, &key("/a"), labelled(store, "/a", &[])).await;
    store.purge_by(Selector::All, None).unwrap();
    store.sweep(at(0));
    for _ in 0..200 {
        writer.write_body(Bytes::from(vec![7; 32 * 1024]), false).await.unwrap();
    }
    writer.finish().await.unwrap();
    let (read, clean) = drain(&mut own).await;
    assert_eq!((read.len(), clean), (200 * 32 * 1024, true));
    assert!(get(store, &key("/a")).await.is_none());
}

#[tokio::test]
async fn a_soft_purge_makes_stale_from_its_time_on_and_keeps_the_windows() {
    let store = store();
    keep(store, "/a", &["x"]).await;
    store.purge_by(tag("x"), Some(at(120))).unwrap();
    let (meta, _) = get(store, &key("/a")).await.unwrap();
    assert!(meta.is_fresh(at(119)) && !meta.is_fresh(at(120)));
    let freshness: Freshness = *meta.extensions().get().unwrap();
    assert_eq!(freshness.fresh_for(at(120)), None);
    assert_eq!(freshness.stale_for(at(125)), Duration::from_secs(5));
    assert_eq!(freshness.lifetime.if_error, Duration::from_secs(600));
    assert_eq!(body(store, &key("/a")).await.unwrap(), b"/a");
    store.purge_by(tag("x"), None).unwrap();
    assert!(get(store, &key("/a")).await.is_none());
}

#[tokio::test]
async fn a_soft_purge_of_a_fill_stores_it_stale() {
    let store = store();
    let (writer, _own) = fill(store, &key("/a"), labelled(store, "/a", &[])).await;
    store.purge_by(Selector::All, Some(at(120))).unwrap();
    assert!(get(store, &key("/a")).await.is_none(), "nobody takes it for fresh");
    writer.finish().await.unwrap();
    let (meta, _) = get(store, &key("/a")).await.unwrap();
    assert!(!meta.is_fresh(at(120)));
}

#[tokio::test]
async fn a_validation_that_was_asked_for_before_a_soft_purge_does_not_undo_it() {
    let store = store();
    keep(store, "/a", &[]).await;
    let mut before = get(store, &key("/a")).await.unwrap().0;
    let mut after = get(store, &key("/a")).await.unwrap().0;
    before.extensions_mut().insert(store.label(&named("/a"), &Tags::default(), store.newest_purge()));
    store.purge_by(url("/a"), Some(at(120))).unwrap();
    assert!(store.update_meta(&key("/a"), &before, &trace()).await.unwrap());
    assert!(!get(store, &key("/a")).await.unwrap().0.is_fresh(at(120)));
    after.extensions_mut().insert(store.label(&named("/a"), &Tags::default(), store.newest_purge()));
    assert!(store.update_meta(&key("/a"), &after, &trace()).await.unwrap());
    assert!(get(store, &key("/a")).await.unwrap().0.is_fresh(at(120)));
}

#[tokio::test]
async fn a_validation_does_not_bring_back_what_was_purged() {
    let store = store();
    keep(store, "/a", &[]).await;
    let mut found = get(store, &key("/a")).await.unwrap().0;
    store.purge_by(url("/a"), None).unwrap();
    found.extensions_mut().insert(store.label(&named("/a"), &Tags::default(), store.newest_purge()));
    assert!(!store.update_meta(&key("/a"), &found, &trace()).await.unwrap());
    assert!(get(store, &key("/a")).await.is_none());
}

#[tokio::test]
async fn groups_and_scoped_tags_stay_within_their_origin() {
    let store = store();
    for (path, host) in [("/a", "h.example"), ("/b", "other.example")] {
        let mut meta = meta(&[]);
        let tags = Tags { groups: vec!["g".into()], tags: vec![b"t".to_vec()], cut: 0 };
        let named = Named { host, ..named(path) };
        meta.extensions_mut().insert(store.label(&named, &tags, store.newest_purge()));
        put(store, &key(path), meta, b"").await;
    }
    store.invalidate_within(&Named { scheme: "https", ..named("/") }, &[], &["g".into()]);
    assert!(get(store, &key("/a")).await.is_some(), "https is another origin");
    store.invalidate_within(&named("/"), &[("/x".into(), None)], &["g".into()]);
    assert!(get(store, &key("/a")).await.is_none());
    assert!(get(store, &key("/b")).await.is_some());
    store.purge_tags_within(&named("/"), &[b"t".to_vec()], None).unwrap();
    assert!(get(store, &key("/b")).await.is_some());
    store.purge_by(tag("t"), None).unwrap();
    assert!(get(store, &key("/b")).await.is_none());
}

#[tokio::test]
async fn a_sweep_frees_memory_and_lets_the_purges_go_after_a_while() {
    let store = store();
    for n in 0..100 {
        keep(store, &format!("/{n}"), &[if n % 2 == 0 { "even" } else { "odd" }]).await;
    }
    store.purge_by(tag("even"), None).unwrap();
    store.sweep(at(1000));
    store.shelves.load().current.settle();
    assert_eq!((store.stats().objects, store.stats().purged, store.stats().rules), (50, 50, 1));
    store.sweep(at(1061));
    assert_eq!(store.stats().rules, 0);
    assert_eq!(body(store, &key("/1")).await.unwrap(), b"/1");
    assert!(get(store, &key("/0")).await.is_none());
}

#[tokio::test]
async fn entries_keep_their_standing_when_they_are_moved() {
    let store = store();
    keep(store, "/a", &["x"]).await;
    store.purge_by(tag("x"), Some(at(120))).unwrap();
    store.resize(sized(96 * MIB, 8 * MIB));
    assert!(!get(store, &key("/a")).await.unwrap().0.is_fresh(at(120)));
    store.purge_by(Selector::All, None).unwrap();
    store.resize(sized(64 * MIB, 8 * MIB));
    assert!(get(store, &key("/a")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_is_due_soon_after_a_wide_purge_and_later_after_a_small_one() {
    let store = store();
    let due = |most: u64| tokio::time::timeout(Duration::from_secs(most), store.sweep_due());
    assert!(due(1000).await.is_err(), "nothing to do");
    store.purge_by(url("/a"), None).unwrap();
    assert!(due(30).await.is_err());
    assert!(due(61).await.is_ok());
    store.purge_by(tag("x"), None).unwrap();
    assert!(due(1).await.is_ok());
}

/// Not a measurement: a purge that walked over the entries would take a hundred times as long here.
#[tokio::test]
async fn a_purge_takes_no_longer_for_more_entries() {
    let (few, many) = (store(), Store::new(sized(512 * MIB, MIB)));
    for (store, count) in [(few, 100), (many, 10_000)] {
        for n in 0..count {
            keep(store, &format!("/{n}"), &["x"]).await;
        }
    }
    let timed = |store: &'static Store| {
        let began = crate::clock::now();
        for n in 0..1000 {
            store.purge_by(tag(&format!("t{n}")), None).unwrap();
        }
        crate::clock::now().since(began)
    };
    let best = |store| (0..5).map(|_| timed(store)).min().unwrap();
    let (few, many) = (best(few), best(many));
    assert!(many < few * 20, "{few:?} for a hundred entries, {many:?} for ten thousand");
}
