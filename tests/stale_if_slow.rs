//! A stale copy in place of an answer that takes too long.

mod support;

use std::time::Duration;

use support::edge::Edge;
use support::{Gate, Origin, Reply, Request, eventually};

/// Stale at once, and good for as long as the origin fails or is slow.
fn brief(body: &str) -> Reply {
    Reply::ok(body).header("Cache-Control", "max-age=0, stale-if-error=600").etag(&format!("\"{body}\""))
}

fn slow_after(time: &str) -> String {
    format!("[route.cache]\nstale = {{ if_slow = \"{time}\" }}\n")
}

async fn with_a_copy(origin: &Origin, after: &str) -> Edge {
    origin.on("/a", brief("old"));
    let edge = Edge::over(&[origin], &slow_after(after)).await;
    edge.get("/a").await.expect(200);
    edge
}

#[tokio::test]
async fn a_slow_refresh_goes_on_behind_the_stale_copy() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let edge = with_a_copy(&origin, "50ms").await;
    origin.on("/a", brief("new").held_by(&gate));
    let stale = edge.get("/a").await.expect(200);
    assert_eq!((stale.text().as_str(), stale.verdict()), ("old", "UPDATING"));
    assert!(stale.header("Cache-Status").is_some_and(|told| told.contains("detail=stale-if-slow")));
    // Others get it too, and there is one refresh.
    let stale = edge.get("/a").await.expect(200);
    assert_eq!((stale.text().as_str(), origin.count("/a")), ("old", 2));
    gate.open();
    eventually("the refresh is stored", || async {
        let answer = edge.get("/a").await.expect(200);
        (answer.text() == "new").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_quick_refresh_is_waited_for() {
    let origin = Origin::start().await;
    let edge = with_a_copy(&origin, "20s").await;
    origin.on("/a", Reply::fresh(60, "new"));
    let answer = edge.get("/a").await.expect(200);
    assert_eq!((answer.text().as_str(), answer.verdict()), ("new", "EXPIRED"));
    assert_eq!(edge.get("/a").await.verdict(), "HIT");
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_stale_copy() {
    let origin = Origin::start().await;
    let edge = with_a_copy(&origin, "20s").await;
    origin.on("/a", Reply::new(500).body("broken"));
    let answer = edge.get("/a").await.expect(200);
    assert_eq!(answer.text(), "old");
    assert_eq!(origin.count("/a"), 2, "asked once more, not twice");
}

#[tokio::test]
async fn what_may_not_be_served_stale_is_waited_for() {
    for forbids in ["max-age=0, must-revalidate", "max-age=0", "no-cache, stale-if-error=600"] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        origin.on("/a", Reply::ok("old").header("Cache-Control", forbids).etag("\"1\""));
        let edge = Edge::over(&[&origin], &slow_after("30ms")).await;
        edge.get("/a").await.expect(200);
        origin.on("/a", Reply::ok("new").held_by(&gate));
        let mut client = edge.client().await;
        client.ask(&Request::get("/a")).await;
        gate.arrived(1).await;
        assert!(client.quiet_for(Duration::from_millis(150)).await, "{forbids}");
        gate.open();
        assert_eq!(client.answer().await.expect(200).text(), "new", "{forbids}");
    }
}

#[tokio::test]
async fn a_client_that_wants_a_validated_answer_waits_for_it() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let edge = with_a_copy(&origin, "30ms").await;
    origin.on("/a", brief("new").held_by(&gate));
    let mut client = edge.client().await;
    client.ask(&Request::get("/a").header("Cache-Control", "no-cache")).await;
    gate.arrived(1).await;
    assert!(client.quiet_for(Duration::from_millis(150)).await);
    gate.open();
    assert_eq!(client.answer().await.expect(200).text(), "new");
}

#[tokio::test]
async fn the_copy_is_still_the_right_variant() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on_call("/a", |seen| {
        let language = seen.header("X-Kind").unwrap_or("none").to_owned();
        brief(&language).header("Vary", "X-Kind")
    });
    let edge = Edge::over(&[&origin], &slow_after("30ms")).await;
    for kind in ["one", "two"] {
        edge.fetch(&Request::get("/a").header("X-Kind", kind)).await.expect(200);
    }
    let held = gate.clone();
    origin.on_call("/a", move |_| brief("new").header("Vary", "X-Kind").held_by(&held));
    for kind in ["one", "two"] {
        let answer = edge.fetch(&Request::get("/a").header("X-Kind", kind)).await.expect(200);
        assert_eq!(answer.text(), kind);
    }
    // A variant that is not there has no copy.
    let mut client = edge.client().await;
    client.ask(&Request::get("/a").header("X-Kind", "three")).await;
    assert!(client.quiet_for(Duration::from_millis(150)).await);
    gate.open();
    assert_eq!(client.answer().await.expect(200).text(), "new");
}
