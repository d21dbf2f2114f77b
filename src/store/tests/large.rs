//! Responses larger than `max_object`.

use super::*;

const CHUNK: usize = 64 * 1024;

/// Room for one object of 4 MiB, and no further fills beside it.
fn small() -> &'static Store {
    Store::new(sized(32 * MIB, 4 * MIB))
}

fn chunk(n: usize) -> Bytes {
    Bytes::from(vec![n as u8; CHUNK])
}

/// The bytes of the chunks 0 to `n`.
fn chunks(n: usize) -> Vec<u8> {
    (0..n).flat_map(|n| vec![n as u8; CHUNK]).collect()
}

#[tokio::test]
async fn it_is_streamed_whole_and_not_stored() {
    let (store, key) = (small(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    let mut seen = Vec::new();
    let mut most = 0;
    for n in 0..400 {
        writer.write_body(chunk(n), false).await.unwrap();
        // As pingora does: up to six chunks to one turn of the reader.
        if n % 6 == 5 {
            seen.extend_from_slice(&own.read_body().await.unwrap().unwrap());
        }
        if n > 100 {
            most = most.max(store.stats().filling);
        }
    }
    writer.finish().await.unwrap();
    seen.extend_from_slice(&drain(&mut own).await.0);
    assert!(seen == chunks(400));
    assert!(get(store, &key).await.is_none());
    assert!(most <= MIB, "{most} held once the reader had caught up");
    drop(own);
    let stats = store.stats();
    assert_eq!((stats.objects, stats.filling), (0, 0));
    assert_eq!(stats.not_stored[NotStored::TooLarge as usize], 1);
}

#[tokio::test]
async fn once_passing_it_cannot_be_attached_to_and_an_older_entry_is_found() {
    let (store, key) = (small(), key("a"));
    put(store, &key, meta(&[]), b"old").await;
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    for n in 0..65 {
        assert!(!get(store, &key).await.unwrap().1.can_seek());
        writer.write_body(chunk(n), false).await.unwrap();
        own.read_body().await.unwrap();
    }
    let (_, reader) = get(store, &key).await.unwrap();
    assert!(reader.can_seek(), "the complete entry");
}

#[tokio::test]
async fn a_declared_length_beyond_the_limit_is_never_retained() {
    let (store, key) = (small(), key("a"));
    let length = (100 * CHUNK).to_string();
    let (mut writer, mut own) = fill(store, &key, meta(&[("content-length", &length)])).await;
    assert!(get(store, &key).await.is_none());
    let mut seen = Vec::new();
    for n in 0..100 {
        writer.write_body(chunk(n), false).await.unwrap();
        assert!(store.stats().filling <= CHUNK as u64);
        seen.extend_from_slice(&own.read_body().await.unwrap().unwrap());
    }
    writer.finish().await.unwrap();
    assert!(seen == chunks(100));
    assert_eq!(own.read_body().await.unwrap(), None);
}

#[tokio::test]
async fn the_writer_waits_for_the_slowest_reader_and_everyone_gets_everything() {
    let (store, key) = (small(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    let (_, mut slow) = get(store, &key).await.unwrap();
    let (go, mut may_go) = tokio::sync::mpsc::channel::<()>(1);
    let slow = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(bytes) = slow.read_body().await.unwrap() {
            seen.extend_from_slice(&bytes);
            // After this chunk, not before the test says so.
            let _ = may_go.recv().await;
        }
        seen
    });
    let mut seen = Vec::new();
    let mut held_up = 0;
    for n in 0..200 {
        {
            let mut write = std::pin::pin!(writer.write_body(chunk(n), false));
            while futures::poll!(write.as_mut()).is_pending() {
                held_up += 1;
                assert!(n >= 64, "held up before it was too large");
                go.send(()).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        seen.extend_from_slice(&own.read_body().await.unwrap().unwrap());
        assert!(store.stats().filling <= 4 * MIB + CHUNK as u64);
    }
    writer.finish().await.unwrap();
    drop(go);
    seen.extend_from_slice(&drain(&mut own).await.0);
    assert!(seen == chunks(200));
    assert!(slow.await.unwrap() == chunks(200));
    assert!(held_up > 100, "{held_up}");
    assert_eq!(store.stats().cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stalls_is_cut_off_and_the_others_go_on() {
    let (store, key) = (small(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    let (_, mut stalled) = get(store, &key).await.unwrap();
    let (_, mut moving) = get(store, &key).await.unwrap();
    let moving = tokio::spawn(async move { drain(&mut moving).await });
    let mut seen = Vec::new();
    for n in 0..200 {
        writer.write_body(chunk(n), false).await.unwrap();
        seen.extend_from_slice(&own.read_body().await.unwrap().unwrap());
    }
    writer.finish().await.unwrap();
    seen.extend_from_slice(&drain(&mut own).await.0);
    assert!(seen == chunks(200));
    assert!(moving.await.unwrap() == (chunks(200), true));
    assert!(!drain(&mut stalled).await.1, "never a clean end");
    assert_eq!(store.stats().cut, 1);
}

#[tokio::test]
async fn a_reader_that_leaves_no_longer_holds_up_the_writer() {
    let (store, key) = (small(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    let (_, leaving) = get(store, &key).await.unwrap();
    let mut leaving = Some(leaving);
    for n in 0..200 {
        let mut write = std::pin::pin!(writer.write_body(chunk(n), false));
        if futures::poll!(write.as_mut()).is_pending() {
            drop(leaving.take().expect("nobody else to wait for"));
            write.await.unwrap();
        }
        own.read_body().await.unwrap();
    }
    assert!(leaving.is_none());
}

#[tokio::test]
async fn when_nobody_reads_it_the_transfer_is_stopped() {
    let (store, key) = (small(), key("a"));
    // pingora keeps the reader of a client that has left, or that has asked for the head only.
    let (mut writer, own) = fill(store, &key, meta(&[])).await;
    let mut written = 0;
    while writer.write_body(chunk(written), false).await.is_ok() {
        written += 1;
        assert!(written < 1000);
    }
    assert!(written > 64 && written <= 64 + 64, "{written}");
    drop(writer);
    assert!(get(store, &key).await.is_none());
    drop(own);
    assert_eq!(store.stats().filling, 0);
}

#[tokio::test]
async fn a_departed_client_does_not_stop_it_for_the_others() {
    let (store, key) = (small(), key("a"));
    let (mut writer, mut own) = fill(store, &key, meta(&[])).await;
    let (_, mut other) = get(store, &key).await.unwrap();
    let other = tokio::spawn(async move { drain(&mut other).await });
    for n in 0..400 {
        writer.write_body(chunk(n), false).await.unwrap();
        tokio::task::yield_now().await;
    }
    writer.finish().await.unwrap();
    assert!(other.await.unwrap() == (chunks(400), true));
    assert!(own.read_body().await.is_err() || !drain(&mut own).await.1);
}

#[tokio::test]
async fn fills_share_their_room_and_the_one_too_many_passes() {
    // Half of it, 4 MiB, is for fills.
    let store = Store::new(sized(8 * MIB, 4 * MIB));
    let (one, two) = (key("one"), key("two"));
    let (mut writer_one, mut own_one) = fill(store, &one, meta(&[])).await;
    let (mut writer_two, mut own_two) = fill(store, &two, meta(&[])).await;
    for n in 0..48 {
        writer_one.write_body(chunk(n), false).await.unwrap();
    }
    for n in 0..48 {
        writer_two.write_body(chunk(n), false).await.unwrap();
        own_two.read_body().await.unwrap();
    }
    assert!(get(store, &two).await.is_none());
    writer_one.finish().await.unwrap();
    writer_two.finish().await.unwrap();
    assert!(drain(&mut own_one).await == (chunks(48), true));
    assert!(drain(&mut own_two).await.1);
    assert!(body(store, &one).await.unwrap() == chunks(48));
    assert_eq!(store.stats().not_stored[NotStored::NoRoom as usize], 1);
}
