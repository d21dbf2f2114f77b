use proptest::prelude::*;
use tokio::sync::Barrier;

use super::*;

#[tokio::test]
async fn everyone_streams_while_it_fills() {
    let (store, key) = (store(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[("transfer-encoding", "chunked")])).await;
    let chunk_was_read = std::sync::Arc::new(Barrier::new(4));
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let barrier = std::sync::Arc::clone(&chunk_was_read);
            let key = key.clone();
            tokio::spawn(async move {
                let (_, mut reader) = get(store, &key).await.unwrap();
                assert!(!reader.can_seek());
                // Reads the first chunk before the second is written.
                assert_eq!(reader.read_body().await.unwrap().unwrap(), "first ");
                barrier.wait().await;
                drain(&mut reader).await
            })
        })
        .collect();
    writer.write_body(Bytes::from("first "), false).await.unwrap();
    assert_eq!(own.read_body().await.unwrap().unwrap(), "first ");
    chunk_was_read.wait().await;
    writer.write_body(Bytes::from("second"), true).await.unwrap();
    writer.finish().await.unwrap();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), (b"second".to_vec(), true));
    }
    assert_eq!(drain(&mut own).await, (b"second".to_vec(), true));
}

#[tokio::test]
async fn a_chunked_response_is_stored_with_its_length() {
    let (store, key) = (store(), key("a"));
    put(store, &key, meta(&[("transfer-encoding", "chunked")]), b"hello").await;
    let (meta, _) = get(store, &key).await.unwrap();
    assert_eq!(meta.headers()["content-length"], "5");
    assert!(!meta.headers().contains_key("transfer-encoding"));
}

#[tokio::test]
async fn an_aborted_fill_is_an_error_to_its_readers_and_leaves_nothing() {
    let (store, key) = (store(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    let (_, mut waiter) = get(store, &key).await.unwrap();
    writer.write_body(Bytes::from("half"), false).await.unwrap();
    drop(writer);
    assert_eq!(drain(&mut own).await, (b"half".to_vec(), false));
    assert_eq!(drain(&mut waiter).await, (b"half".to_vec(), false));
    assert!(get(store, &key).await.is_none());
    drop((own, waiter));
    let stats = store.stats();
    assert_eq!((stats.objects, stats.fills, stats.filling, stats.stored), (0, 0, 0, 0));
    assert_eq!(stats.not_stored[NotStored::Aborted as usize], 1);
}

#[tokio::test]
async fn a_reader_that_waits_learns_of_the_abort() {
    let (store, key) = (store(), key("a"));
    let (writer, mut own) = fill(store, &key, meta(&[])).await;
    let reader = tokio::spawn(async move { drain(&mut own).await });
    tokio::task::yield_now().await;
    drop(writer);
    assert_eq!(reader.await.unwrap(), (vec![], false));
}

#[tokio::test]
async fn an_aborted_fill_leaves_the_older_entry_for_stale_if_error() {
    let (store, key) = (store(), key("a"));
    put(store, &key, meta(&[]), b"old").await;
    let (mut writer, _own) = fill(store, &key, meta(&[])).await;
    writer.write_body(Bytes::from("ne"), false).await.unwrap();
    drop(writer);
    assert_eq!(body(store, &key).await.unwrap(), b"old");
}

#[tokio::test]
async fn a_length_that_belies_the_head_is_not_admitted_and_not_a_clean_end() {
    for declared in ["4", "6", "five", "5, 5"] {
        let (store, key) = (store(), key("a"));
        let (mut writer, mut own) = fill(store, &key, meta(&[("content-length", declared)])).await;
        writer.write_body(Bytes::from("12345"), true).await.unwrap();
        assert!(writer.finish().await.is_err(), "{declared}");
        assert!(!drain(&mut own).await.1, "{declared}");
        assert!(get(store, &key).await.is_none());
        assert_eq!(store.stats().not_stored[NotStored::LengthMismatch as usize], 1);
    }
}

#[tokio::test]
async fn a_purge_reaches_a_fill_in_progress() {
    let (store, key) = (store(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    writer.write_body(Bytes::from("be"), false).await.unwrap();
    assert_eq!(store.invalidate(key.primary_bin()), 1);
    assert!(get(store, &key).await.is_none());
    writer.write_body(Bytes::from("fore"), true).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(drain(&mut own).await, (b"before".to_vec(), true));
    assert!(get(store, &key).await.is_none());
    assert_eq!(store.stats().not_stored[NotStored::Purged as usize], 1);
}

#[tokio::test]
async fn of_two_fills_each_writer_reads_its_own() {
    let (store, key) = (store(), key("a"));
    let (mut one, mut own_one) = fill(store, &key, meta(&[])).await;
    let (mut two, mut own_two) = fill(store, &key, meta(&[])).await;
    one.write_body(Bytes::from("one"), true).await.unwrap();
    two.write_body(Bytes::from("two"), true).await.unwrap();
    two.finish().await.unwrap();
    one.finish().await.unwrap();
    assert_eq!(drain(&mut own_one).await.0, b"one");
    assert_eq!(drain(&mut own_two).await.0, b"two");
    // The last to end is the one that is kept.
    assert_eq!(body(store, &key).await.unwrap(), b"one");
    assert_eq!(store.stats().objects, 1);
}

#[tokio::test]
async fn an_empty_body_is_a_body() {
    let (store, key) = (store(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    writer.write_body(Bytes::new(), true).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(drain(&mut own).await, (vec![], true));
    assert_eq!(body(store, &key).await.unwrap(), b"");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_bytes_back(
        sizes in proptest::collection::vec(prop_oneof![0usize..50, 1000usize..70_000, Just(64 * 1024)], 0..24),
        turns in proptest::collection::vec(any::<bool>(), 24),
        declared in any::<bool>(),
        small in any::<bool>(),
    ) {
        let total: usize = sizes.iter().sum();
        let whole = Bytes::from(pattern(total));
        // With a small one the fill passes somewhere on the way.
        let max_object = if small { 200_000 } else { 8 * MIB };
        let store = Store::new(sized(64 * MIB, max_object));
        let length = total.to_string();
        let fields = if declared { vec![("content-length", length.as_str())] } else { vec![] };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let key = key("a");
            let (mut writer, mut own) = fill(store, &key, meta(&fields)).await;
            let waiter = get(store, &key).await;
            let follower = waiter.map(|(_, mut reader)| tokio::spawn(async move { drain(&mut reader).await }));
            let (mut position, mut seen) = (0, Vec::new());
            for (size, own_turn) in sizes.iter().zip(&turns) {
                writer.write_body(whole.slice(position..position + size), false).await.unwrap();
                position += size;
                if *own_turn && seen.len() < position {
                    seen.extend_from_slice(&own.read_body().await.unwrap().unwrap());
                }
            }
            writer.finish().await.unwrap();
            let (rest, clean) = drain(&mut own).await;
            seen.extend_from_slice(&rest);
            assert!(clean && seen == whole);
            if let Some(follower) = follower {
                let (read, clean) = follower.await.unwrap();
                assert!(clean && read == whole);
            }
            if total as u64 <= max_object {
                assert!(body(store, &key).await.unwrap() == whole);
            } else {
                assert!(get(store, &key).await.is_none());
            }
        });
        prop_assert_eq!(store.stats().filling, 0);
    }
}
