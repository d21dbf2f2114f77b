//! The store as pingora uses it.

mod admission;
mod complete;
mod filling;
mod forms;
mod large;
mod parts;
mod proxied;
mod purging;
mod variants;

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pingora::cache::key::CacheHashKey;
use pingora::cache::trace::{Span, SpanHandle};
use pingora::cache::{CacheKey, CacheMeta, HitHandler, MissHandler, Storage};
use pingora::http::ResponseHeader;

use super::*;

const MIB: u64 = 1 << 20;

/// As large as this, under the default policy.
fn sized(memory: u64, max_object: u64) -> Params {
    Params { memory, max_object, admission: Admission::TinyLfu }
}

fn store() -> &'static Store {
    Store::new(sized(64 * MIB, 8 * MIB))
}

fn trace() -> SpanHandle {
    Span::inactive().handle()
}

fn key(name: &str) -> CacheKey {
    CacheKey::new(name, "")
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn head(fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut header = ResponseHeader::build(200, None).unwrap();
    for (name, value) in fields {
        header.append_header(*name, *value).unwrap();
    }
    header
}

/// Created at 100 s, fresh for a minute.
fn meta(fields: &[(&'static str, &str)]) -> CacheMeta {
    CacheMeta::new(at(160), at(100), 30, 600, head(fields))
}

/// A writer and the reader for its own client, as pingora makes them.
async fn fill(store: &'static Store, key: &CacheKey, meta: CacheMeta) -> (MissHandler, HitHandler) {
    let writer = store.get_miss_handler(key, &meta, &trace()).await.unwrap();
    let own = store.lookup_streaming_write(key, writer.streaming_write_tag(), &trace()).await.unwrap();
    (writer, own.expect("the writer's own reader").1)
}

async fn put(store: &'static Store, key: &CacheKey, meta: CacheMeta, body: &[u8]) {
    let (mut writer, _own) = fill(store, key, meta).await;
    writer.write_body(Bytes::copy_from_slice(body), true).await.unwrap();
    writer.finish().await.unwrap();
}

async fn get(store: &'static Store, key: &CacheKey) -> Option<(CacheMeta, HitHandler)> {
    store.lookup(key, &trace()).await.unwrap()
}

/// What is read to the end, and whether the end was clean.
async fn drain(reader: &mut HitHandler) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    loop {
        match reader.read_body().await {
            Ok(Some(bytes)) => all.extend_from_slice(&bytes),
            Ok(None) => return (all, true),
            Err(_) => return (all, false),
        }
    }
}

async fn body(store: &'static Store, key: &CacheKey) -> Option<Vec<u8>> {
    let (_, mut reader) = get(store, key).await?;
    let (all, clean) = drain(&mut reader).await;
    assert!(clean);
    Some(all)
}

/// Bytes that differ by position, so that a lost or doubled piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}
