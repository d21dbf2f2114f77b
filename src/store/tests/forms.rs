//! Other codings of what is stored.

use super::*;
use crate::cache::codings::Coding;
use crate::store::Coming;

const GZIP: Option<Coding> = Some(Coding::Gzip);

/// What is stored under `key`, as a hit finds it.
async fn ready(store: &'static Store, key: &CacheKey) -> Ready {
    Ready::of(&get(store, key).await.expect("it is stored").1).expect("it is complete")
}

fn keep(store: &Store, ready: &Ready, body: &'static str) {
    store.keep_form(ready, GZIP, &[Bytes::from(body)]);
}

fn text(ready: &Ready) -> Vec<u8> {
    ready.bytes().flatten().collect()
}

#[tokio::test]
async fn a_form_stands_beside_what_it_was_made_of() {
    let (store, key) = (store(), key("/"));
    put(store, &key, meta(&[("etag", "\"a\""), ("accept-ranges", "bytes")]), b"plain").await;
    let plain = ready(store, &key).await;
    assert!(plain.form(GZIP).is_none());
    keep(store, &plain, "coded!");
    let now = ready(store, &key).await;
    assert_eq!((text(&now), now.fields()["etag"].to_str().unwrap()), (b"plain".to_vec(), "\"a\""));
    let form = now.form(GZIP).expect("it is kept");
    assert_eq!((text(&form), form.length(), form.coding()), (b"coded!".to_vec(), 6, GZIP));
    let fields = form.fields();
    assert_eq!((&fields["etag"], &fields["content-encoding"]), (&"W/\"a\"".parse().unwrap(), &"gzip".parse().unwrap()));
    assert_eq!(
        (&fields["content-length"], &fields["vary"]),
        (&"6".parse().unwrap(), &"Accept-Encoding".parse().unwrap())
    );
    assert!(!fields.contains_key("accept-ranges"));
    let head = String::from_utf8(form.head(&[]).into_owned()).unwrap();
    assert!(head.contains("content-encoding: gzip") || head.contains("Content-Encoding: gzip"), "{head}");
    let mut reader = form.reader();
    reader.seek(1, Some(3)).unwrap();
    assert_eq!(drain(&mut reader).await, (b"od".to_vec(), true));
    assert_eq!(store.variants(key.primary_bin()), 1, "it is no variant");
    assert_eq!(now.number(), plain.number());
}

#[tokio::test]
async fn a_form_is_weighed_and_goes_with_its_entry() {
    let (store, key) = (store(), key("/"));
    put(store, &key, meta(&[]), b"plain").await;
    let alone = store.raw(&key.primary_bin()).unwrap().weight();
    let plain = ready(store, &key).await;
    store.keep_form(&plain, GZIP, &[Bytes::from(pattern(100_000)), Bytes::from(pattern(100_000))]);
    let stored = store.raw(&key.primary_bin()).unwrap();
    assert!(stored.weight() > alone + 200_000);
    assert_eq!(text(&ready(store, &key).await.form(GZIP).unwrap()), [pattern(100_000), pattern(100_000)].concat());
    assert_eq!(store.invalidate(key.primary_bin()), 1);
    assert!(store.again(&plain).is_none());
    keep(store, &plain, "too late");
    assert!(get(store, &key).await.is_none());
}

#[tokio::test]
async fn a_refreshed_head_is_the_forms_as_well_unless_it_forbids_forms() {
    let (store, key) = (store(), key("/"));
    put(store, &key, meta(&[("etag", "\"a\"")]), b"plain").await;
    keep(store, &ready(store, &key).await, "coded");
    let (mut newer, _) = get(store, &key).await.unwrap();
    newer.response_header_mut().insert_header("x-new", "1").unwrap();
    assert!(store.update_meta(&key, &newer, &trace()).await.unwrap());
    let form = ready(store, &key).await.form(GZIP).expect("the body is the same");
    assert_eq!((&form.fields()["x-new"], text(&form)), (&"1".parse().unwrap(), b"coded".to_vec()));
    let (mut newer, _) = get(store, &key).await.unwrap();
    newer.response_header_mut().insert_header("cache-control", "no-transform").unwrap();
    assert!(store.update_meta(&key, &newer, &trace()).await.unwrap());
    assert!(ready(store, &key).await.form(GZIP).is_none());
}

#[tokio::test]
async fn a_form_of_what_was_replaced_is_not_kept() {
    let (store, key) = (store(), key("/"));
    put(store, &key, meta(&[]), b"old").await;
    let old = ready(store, &key).await;
    put(store, &key, meta(&[]), b"new").await;
    keep(store, &old, "coded old");
    assert!(ready(store, &key).await.form(GZIP).is_none());
    store.reject(&old);
    assert_eq!(body(store, &key).await.unwrap(), b"new");
    store.reject(&ready(store, &key).await);
    assert!(body(store, &key).await.is_none());
}

#[tokio::test]
async fn what_is_larger_than_anything_stored_is_not_made_twice() {
    let (store, key) = (Store::new(sized(64 * MIB, 1000)), key("/"));
    put(store, &key, meta(&[]), b"plain").await;
    let plain = ready(store, &key).await;
    assert!(plain.may_have_forms());
    store.keep_form(&plain, None, &[Bytes::from(pattern(1001))]);
    let now = ready(store, &key).await;
    assert!(now.form(None).is_none() && !now.may_have_forms());
}

#[tokio::test]
async fn a_form_that_comes_in_with_its_response_is_kept_with_it() {
    let (store, key) = (store(), key("/"));
    let (mut writer, own) = fill(store, &key, meta(&[])).await;
    let mut coming = Coming::of(store, &own).expect("it is coming in");
    let mut early = Coming::of(store, &own).expect("it is coming in");
    assert!(early.add(&Bytes::from("early")));
    early.keep(GZIP);
    writer.write_body(Bytes::from("plain"), true).await.unwrap();
    writer.finish().await.unwrap();
    assert!(ready(store, &key).await.form(GZIP).is_none(), "there was nothing to keep it with");
    assert!(coming.add(&Bytes::from("co")) && coming.add(&Bytes::from("ded")));
    coming.keep(GZIP);
    let now = ready(store, &key).await;
    assert_eq!(text(&now.form(GZIP).unwrap()), b"coded");
    assert!(Coming::of(store, &now.reader()).is_none());
    assert_eq!(store.room.used(), 0, "what was held is given back");
}

#[tokio::test]
async fn who_waits_for_the_end_of_a_fill_finds_what_is_stored() {
    let (store, key) = (store(), key("/"));
    let (mut writer, own) = fill(store, &key, meta(&[])).await;
    assert!(store.settled(&own, Duration::from_millis(1)).await.is_none(), "it goes on");
    writer.write_body(Bytes::from("plain"), true).await.unwrap();
    let waits = store.settled(&own, Duration::from_secs(20));
    let (found, finished) = tokio::join!(waits, writer.finish());
    finished.unwrap();
    assert_eq!(text(&found.unwrap()), b"plain");
}
