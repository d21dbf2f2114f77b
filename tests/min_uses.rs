//! `min_uses`: what is asked for too rarely is not stored.

mod support;

use support::edge::Edge;
use support::{Client, Gate, Origin, Reply, Request};

/// A route that stores what was asked for `n` times, and lets requests wait for each other for long.
fn wants(n: u8) -> String {
    format!("[route.cache]\nmin_uses = {n}\ncollapse = {{ wait = \"20s\" }}\n")
}

#[tokio::test]
async fn a_response_is_stored_at_the_request_that_makes_up_the_number() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "a"));
    origin.on("/b", Reply::fresh(60, "b"));
    let edge = Edge::over(&[&origin], &wants(3)).await;
    for n in 1..=2 {
        let said = edge.get("/a").await.expect(200).cache_status();
        assert_eq!(
            (said.fwd(), said.is("stored"), said.param("detail")),
            (Some("uri-miss"), false, Some("min-uses")),
            "{n}"
        );
    }
    let third = edge.get("/a").await.expect(200).cache_status();
    assert_eq!((third.fwd(), third.is("stored"), third.param("detail")), (Some("uri-miss"), true, None));
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
    assert_eq!(origin.count("/a"), 3, "not remembered as a key that cannot be stored");
    assert_eq!(edge.get("/b").await.expect(200).cache_status().param("detail"), Some("min-uses"), "another key");
}

#[tokio::test]
async fn a_head_counts_and_a_request_that_is_tried_twice_counts_once() {
    let (refusing, origin) = (Origin::refusing(), Origin::start().await);
    let conf = support::edge::over(&[refusing.addr(), origin.addr()], &wants(2));
    let edge = Edge::start(&conf).await;
    for n in 0..10 {
        let path = format!("/{n}");
        origin.on(&path, Reply::fresh(60, "a"));
        let first = edge.fetch(&Request::head(&path)).await.expect(200);
        assert!(!first.cache_status().is("stored"), "{path}: {first}");
        assert!(edge.get(&path).await.expect(200).cache_status().is("stored"), "{path}");
    }
    assert!(edge.metric("hedgerow_retries_total", &[("pool", "web"), ("reason", "connect-failed")]).await >= 1.0);
}

#[tokio::test]
async fn variants_are_counted_together() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "a").header("Vary", "Accept-Language"));
    let edge = Edge::over(&[&origin], &wants(2)).await;
    let ask = |language| Request::get("/a").header("Accept-Language", language);
    assert!(!edge.fetch(&ask("de")).await.expect(200).cache_status().is("stored"));
    assert!(edge.fetch(&ask("fr")).await.expect(200).cache_status().is("stored"));
    assert!(edge.fetch(&ask("de")).await.expect(200).cache_status().is("stored"));
}

#[tokio::test]
async fn what_is_stored_is_refreshed_and_replaced_whatever_the_count() {
    let origin = Origin::start().await;
    let old = || Reply::fresh(60, "old");
    let control = "max-age=1, stale-while-revalidate=60";
    origin.on_each("/a", [old(), Reply::ok("old").header("Cache-Control", control), Reply::fresh(60, "new")]);
    let file = |n| support::edge::over(&[origin.addr()], &wants(n));
    let edge = Edge::from_file(&file(2)).await;
    assert!(!edge.get("/a").await.expect(200).cache_status().is("stored"));
    assert!(edge.get("/a").await.expect(200).cache_status().is("stored"));
    // Now more would be wanted than there have been, and a refresh counts for nothing.
    edge.rewrite(&file(100));
    edge.reload().await.expect(200);
    assert_eq!(edge.first_after_hits("/a").await.expect(200).verdict(), "UPDATING");
    support::eventually("the refresh has replaced it", || async {
        let answer = edge.get("/a").await.expect(200);
        (answer.text() == "new" && answer.verdict() == "HIT").then_some(())
    })
    .await;
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn who_waits_for_a_response_that_is_not_stored_is_let_go_at_once() {
    let (origin, first, others) = (Origin::start().await, Gate::new(), Gate::new());
    origin.on_each("/a", [Reply::fresh(60, "first").held_by(&first), Reply::fresh(60, "other").held_by(&others)]);
    let edge = Edge::over(&[&origin], &wants(100)).await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..6 {
        let mut client = edge.client().await;
        client.ask(&Request::get("/a")).await;
        clients.push(client);
    }
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 6.0).await;
    first.arrived(1).await;
    first.open();
    // One after another they would never be five at the gate.
    others.arrived(5).await;
    others.open();
    let mut details = Vec::new();
    for client in &mut clients {
        let said = client.answer().await.expect(200).cache_status();
        assert!(!said.is("stored"), "{said:?}");
        details.push(said.param("detail").expect("each is told why").to_owned());
    }
    details.sort_unstable();
    assert_eq!(details, [&["collapse-gave-up"; 5][..], &["min-uses"]].concat());
    assert_eq!(origin.count("/a"), 6);
}

#[tokio::test]
async fn parts_of_a_response_are_stored_by_the_same_count() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        let told = match seen.header("Range") {
            Some("bytes=0-1") => ("bytes 0-1/6", "01"),
            Some("bytes=2-3") => ("bytes 2-3/6", "23"),
            other => panic!("asked for {other:?}"),
        };
        let part = Reply::new(206).header("Content-Range", told.0).header("Cache-Control", "max-age=60").body(told.1);
        part.header("ETag", "\"v1\"")
    });
    let edge = Edge::over(&[&origin], &wants(2)).await;
    let ask = |range| Request::get("/a").header("Range", range);
    let first = edge.fetch(&ask("bytes=0-1")).await.expect(206).cache_status();
    assert_eq!((first.is("stored"), first.param("detail")), (false, Some("min-uses")));
    assert!(edge.fetch(&ask("bytes=2-3")).await.expect(206).cache_status().is("stored"));
    assert_eq!(edge.fetch(&ask("bytes=2-3")).await.expect(206).verdict(), "HIT");
    assert!(edge.fetch(&ask("bytes=0-1")).await.expect(206).cache_status().is("stored"));
    assert_eq!(origin.count("/a"), 3);
}
