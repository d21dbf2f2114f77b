//! Parts of bodies, as the proxy stores and finds them.

use http::HeaderMap;
use proptest::prelude::*;

use super::purging::{labelled, tag, url};
use super::*;
use crate::cache::content_range::{Extent, Span};
use crate::store::label::Labelled;

const A: HashBinary = [1; 16];

fn none(_: &HeaderMap) -> Option<HashBinary> {
    None
}

fn tagged(tag: &str) -> CacheMeta {
    meta(&[("etag", tag)])
}

fn extent(start: u64, end: u64, complete: u64) -> Extent {
    Extent { span: Span { start, end }, complete: Some(complete), doubtful: false }
}

/// Takes in the bytes `start..end` of `body`.
fn take(store: &'static Store, meta: &CacheMeta, body: &[u8], start: usize, end: usize) {
    let mut partial = store.take_part(A, meta, extent(start as u64, end as u64, body.len() as u64), 16);
    let over = body[start..end].chunks(16_000).map(|piece| partial.write(&Bytes::copy_from_slice(piece)));
    assert_eq!(over.last(), Some(true), "all of it came");
}

/// What is found of `start..end`.
fn read(found: &Found, start: u64, end: u64) -> Option<Vec<u8>> {
    if found.reach(start) < end {
        return None;
    }
    let (mut at, mut all) = (start, Vec::new());
    while let Some(piece) = found.piece(at, end) {
        at += piece.len() as u64;
        all.extend_from_slice(&piece);
    }
    Some(all)
}

fn parts(store: &'static Store) -> Option<Found> {
    store.peek_parts(&A, none)
}

#[test]
fn what_touches_or_overlaps_is_joined() {
    let (store, body) = (store(), pattern(300_000));
    let meta = tagged("\"a\"");
    take(store, &meta, &body, 100, 70_000);
    take(store, &meta, &body, 70_000, 70_010);
    take(store, &meta, &body, 60_000, 200_000);
    take(store, &meta, &body, 250_000, 250_001);
    let found = parts(store).unwrap();
    assert_eq!(read(&found, 100, 200_000).unwrap(), &body[100..200_000]);
    assert_eq!((found.reach(99), found.reach(200_000), found.reach(250_000)), (99, 200_000, 250_001));
    assert_eq!((found.piece(99, 200), found.complete()), (None, Some(300_000)));
    assert_eq!((store.stats().objects, store.stats().filling), (1, 0));
}

#[tokio::test]
async fn the_whole_becomes_a_complete_entry() {
    let (store, body) = (store(), pattern(1000));
    let meta = tagged("\"a\"");
    for (start, end) in [(500, 1000), (0, 200), (200, 500)] {
        assert!(store.peek(&A, none).is_none());
        take(store, &meta, &body, start, end);
    }
    let whole = store.peek(&A, none).unwrap();
    assert_eq!(read(&whole, 0, 1000).unwrap(), body);
    assert_eq!(whole.head().headers["content-length"], "1000");
    assert!(parts(store).is_none());
    assert_eq!(store.variants(A), 1);
}

#[test]
fn a_purge_takes_parts_and_those_that_come_in() {
    let (store, body) = (store(), pattern(1000));
    let meta = tagged("\"a\"");
    take(store, &meta, &body, 0, 10);
    let found = parts(store).unwrap();
    assert!(store.still_has(&found));
    let mut coming = store.take_part(A, &meta, extent(10, 20, 1000), 16);
    coming.write(&Bytes::from_static(b"01234"));
    assert_eq!(store.invalidate(A), 1);
    assert!(!store.still_has(&found));
    drop(coming);
    assert!(parts(store).is_none());
    assert_eq!(store.stats().filling, 0);
}

/// `/a` as an origin tags and validates it.
fn asked(store: &Store, tags: &[&str]) -> CacheMeta {
    let mut meta = tagged("\"a\"");
    meta.extensions_mut().insert(labelled(store, "/a", tags).extensions_mut().remove::<Labelled>().unwrap());
    meta
}

#[test]
fn parts_are_purged_by_what_any_of_them_is_tagged_with() {
    for by in [tag("old"), tag("new"), url("/a")] {
        let (store, body) = (store(), pattern(1000));
        take(store, &asked(store, &["old"]), &body, 0, 10);
        take(store, &asked(store, &["new"]), &body, 10, 20);
        let found = parts(store).unwrap();
        assert_eq!((found.reach(0), store.still_has(&found)), (20, true));
        store.purge_by(by, None).unwrap();
        assert!(parts(store).is_none() && !store.still_has(&found));
    }
}

#[test]
fn the_whole_is_purged_by_what_any_part_was_tagged_with() {
    let (store, body) = (store(), pattern(20));
    take(store, &asked(store, &["old"]), &body, 0, 10);
    take(store, &asked(store, &["new"]), &body, 10, 20);
    assert!(store.peek(&A, none).is_some());
    store.purge_by(tag("old"), None).unwrap();
    assert!(store.peek(&A, none).is_none());
}

#[test]
fn a_part_that_was_asked_for_before_a_purge_is_not_stored() {
    let (store, body) = (store(), pattern(1000));
    let before = asked(store, &["x"]);
    let mut coming = store.take_part(A, &before, extent(0, 10, 1000), 16);
    coming.write(&Bytes::copy_from_slice(&body[..5]));
    store.purge_by(tag("x"), None).unwrap();
    take(store, &asked(store, &["x"]), &body, 20, 30);
    assert!(coming.write(&Bytes::copy_from_slice(&body[5..10])));
    let mut late = store.take_part(A, &before, extent(10, 15, 1000), 16);
    assert!(late.write(&Bytes::copy_from_slice(&body[10..15])));
    let found = parts(store).expect("what was asked for after the purge");
    assert_eq!((found.reach(0), found.reach(10), found.reach(20)), (0, 10, 30));
    assert_eq!(store.stats().filling, 0);
}

#[test]
fn a_body_known_by_too_much_is_not_put_together() {
    let (store, body) = (store(), pattern(1000));
    let names = |from: usize| (from..from + 300).map(|n| n.to_string()).collect::<Vec<_>>();
    for (from, at) in [(0, 0), (300, 10)] {
        let names = names(from);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        take(store, &asked(store, &names), &body, at, at + 10);
    }
    assert_eq!((parts(store).unwrap().reach(0), parts(store).unwrap().reach(10)), (0, 20));
}

/// What is left of a fill of `/a` that breaks off, with a purge while it comes or after it.
async fn salvaged(purge: impl Fn(&Store, bool)) -> bool {
    let (store, key) = (store(), key("a"));
    let mut meta = asked(store, &["x"]);
    let label: Labelled = meta.extensions_mut().remove().unwrap();
    let mut head = CacheMeta::new(at(160), at(100), 0, 0, head(&[("etag", "\"a\""), ("content-length", "10")]));
    head.extensions_mut().insert(label);
    let (mut writer, _own) = fill(store, &key, head).await;
    writer.write_body(Bytes::from_static(b"01234"), false).await.unwrap();
    purge(store, false);
    drop(writer);
    purge(store, true);
    store.peek_parts(&key.primary_bin(), none).is_some()
}

#[tokio::test]
async fn what_is_left_of_a_fill_is_purged_as_the_fill_would_be() {
    assert!(salvaged(|_, _| ()).await);
    for over in [false, true] {
        for by in [tag("x"), url("/a")] {
            let purge = |store: &Store, now| {
                if now == over {
                    store.purge_by(by.clone(), None).unwrap();
                }
            };
            assert!(!salvaged(purge).await, "{by:?}, when over: {over}");
        }
    }
}

#[test]
fn the_oldest_bytes_go_beyond_the_largest_object() {
    let store = Store::new(sized(64 * MIB, MIB));
    let (meta, body) = (tagged("\"a\""), pattern(3 * MIB as usize));
    let mib = MIB as usize;
    take(store, &meta, &body, 2 * mib, 3 * mib);
    take(store, &meta, &body, 0, mib / 2);
    let found = parts(store).unwrap();
    assert_eq!(read(&found, 0, MIB / 2).unwrap(), &body[..mib / 2]);
    // Of the older fetch its beginning stays.
    let reached = found.reach(2 * MIB);
    assert!((2 * MIB + MIB / 3..=2 * MIB + MIB / 2).contains(&reached), "{reached}");
    assert_eq!(read(&found, 2 * MIB, reached).unwrap(), &body[2 * mib..reached as usize]);
    assert!(store.stats().bytes < MIB + MIB / 8);
}

#[test]
fn small_ranges_far_apart_are_bounded_in_number() {
    let store = Store::new(sized(64 * MIB, MIB));
    let (meta, body) = (tagged("\"a\""), pattern(4000));
    for at in (0..3000).step_by(2) {
        take(store, &meta, &body, at, at + 1);
    }
    let found = parts(store).unwrap();
    let held = (0..4000).filter(|at| found.piece(*at, at + 1).is_some()).count();
    assert_eq!(held, 1024 + 16);
    assert_eq!((found.reach(0), found.reach(2998)), (0, 2999), "the oldest have gone");
}

#[test]
fn more_than_the_largest_object_is_kept_up_to_that() {
    let store = Store::new(sized(64 * MIB, MIB));
    let mut partial = store.take_part(A, &tagged("\"a\""), extent(5, 10 << 30, 10 << 30), 16);
    assert!(!partial.is_to_be_whole());
    let piece = Bytes::from(pattern(MIB as usize / 2));
    assert!(!partial.write(&piece));
    assert!(partial.write(&piece), "no more is kept");
    assert!(partial.write(&piece));
    assert_eq!(parts(store).unwrap().reach(5), MIB + 5);
    assert_eq!(store.stats().filling, 0);
}

#[test]
fn what_fills_have_no_room_for_is_not_kept() {
    let store = Store::new(sized(8 * MIB, MIB));
    let meta = tagged("\"a\"");
    let piece = Bytes::from(pattern(MIB as usize - 1));
    let mut one = store.take_part(A, &meta, extent(0, MIB, MIB * 2), 16);
    assert!(!one.write(&piece));
    let mut two = store.take_part([2; 16], &meta, extent(0, MIB, MIB * 2), 16);
    assert!(two.write(&piece), "an eighth of the memory is for fills");
    drop((one, two));
    assert!(parts(store).is_some() && store.peek_parts(&[2; 16], none).is_none());
    assert_eq!(store.stats().filling, 0);
}

#[test]
fn parts_go_stale_and_are_evicted_like_the_rest() {
    let store = Store::new(sized(2 * MIB, MIB / 2));
    let (mut meta, body) = (tagged("\"a\""), pattern(MIB as usize));
    meta.extensions_mut().insert(purging::fresh_for_a_minute());
    for name in 0..16 {
        let mut partial = store.take_part([name; 16], &meta, extent(0, MIB / 2, MIB), 16);
        partial.write(&Bytes::copy_from_slice(&body[..MIB as usize / 2]));
    }
    let stats = store.stats();
    assert!(stats.evicted > 0 && stats.bytes <= stats.capacity, "{stats:?}");
    let kept = store.peek_parts(&[15; 16], none).expect("the last one");
    assert!(kept.freshness().unwrap().fresh_for(at(150)).is_some());
    store.outdate(&Place { primary: [15; 16], slot: [15; 16] }, at(120));
    assert!(store.peek_parts(&[15; 16], none).unwrap().freshness().unwrap().fresh_for(at(120)).is_none());
}

#[tokio::test]
async fn a_newer_whole_takes_the_place_of_parts() {
    let store = store();
    let key = key("a");
    let mut partial = store.take_part(key.primary_bin(), &tagged("\"a\""), extent(0, 5, 10), 16);
    partial.write(&Bytes::from_static(b"01234"));
    let newer = CacheMeta::new(at(260), at(200), 0, 0, head(&[]));
    put(store, &key, newer, b"whole").await;
    assert!(store.peek_parts(&key.primary_bin(), none).is_none());
    assert_eq!(store.stats().objects, 1);
}

/// The fill of a complete response that broke off after five of ten bytes.
async fn broken(fields: &[(&'static str, &str)]) -> Option<u64> {
    let (store, key) = (store(), key("a"));
    let (mut writer, _own) = fill(store, &key, meta(fields)).await;
    writer.write_body(Bytes::from_static(b"01234"), false).await.unwrap();
    drop(writer);
    assert!(get(store, &key).await.is_none());
    Some(store.peek_parts(&key.primary_bin(), none)?.reach(0))
}

#[tokio::test]
async fn a_fill_that_broke_off_stays_as_a_part_if_the_rest_can_be_asked_for() {
    let (length, tag) = (("content-length", "10"), ("etag", "\"a\""));
    assert_eq!(broken(&[length, tag]).await, Some(5));
    assert_eq!(broken(&[length, tag, ("accept-ranges", "bytes")]).await, Some(5));
    for fields in [&[length][..], &[tag], &[length, ("etag", "W/\"a\"")], &[length, tag, ("accept-ranges", "None")]] {
        assert_eq!(broken(fields).await, None, "{fields:?}");
    }
}

#[derive(Clone, Debug)]
struct Came {
    version: usize,
    start: usize,
    length: usize,
    /// How much of it, in hundredths.
    share: usize,
}

fn came() -> impl Strategy<Value = Came> {
    (0..3usize, 0..200_000usize, 1..120_000usize, 1..150usize).prop_map(|(version, start, length, share)| Came {
        version: version / 2,
        start,
        length,
        share,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In whatever order parts of two bodies come, and however much of each: what is given out is of the one body that
    /// its validator names, byte by byte.
    #[test]
    fn bytes_are_those_of_one_body(all in proptest::collection::vec(came(), 1..24), largest in 30_000..300_000u64) {
        let store = Store::new(sized(64 * MIB, largest));
        let bodies: [Vec<u8>; 2] = [pattern(200_000), pattern(200_000).iter().map(|b| !b).collect()];
        let metas = [tagged("\"a\""), tagged("\"b\"")];
        for Came { version, start, length, share } in all {
            let end = (start + length).min(200_000);
            let sent = start + ((end - start) * share / 100).min(end - start);
            let mut partial = store.take_part(A, &metas[version], extent(start as u64, end as u64, 200_000), 16);
            for piece in bodies[version][start..sent].chunks(17_000) {
                partial.write(&Bytes::copy_from_slice(piece));
            }
            drop(partial);
            for found in [store.peek(&A, none), parts(store)].into_iter().flatten() {
                let tag = found.head().headers["etag"].to_str().unwrap().to_owned();
                let body = &bodies[usize::from(tag == "\"b\"")];
                let (mut at, mut held) = (0, 0);
                while at < 200_000 {
                    let end = found.reach(at);
                    prop_assert!(read(&found, at, end).unwrap() == body[at as usize..end as usize], "{tag} {at}-{end}");
                    held += end - at;
                    // The next position that is there, or the end.
                    at = (end + 1..200_000).find(|p| found.piece(*p, p + 1).is_some()).unwrap_or(200_000);
                }
                prop_assert!(held <= largest);
            }
        }
        prop_assert_eq!(store.stats().filling, 0);
    }
}
