//! Fills that break or are left: the blame goes where it belongs.

mod support;

use support::edge::Edge;
use support::{Gate, Origin, Reply, Request};

#[tokio::test]
async fn a_client_that_leaves_a_fill_is_no_internal_fault() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::fresh(60, "half,").gate(&gate).body("rest"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    client.head().await;
    client.exactly("half,").await;
    gate.arrived(1).await;
    client.abort();
    gate.open();
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "client-closed")], 1.0).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    assert_eq!(edge.metric("hedgerow_terminations_total", &[("reason", "internal")]).await, 0.0);
}

#[tokio::test]
async fn a_reader_of_a_fill_that_breaks_is_no_internal_fault() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::new(200).header("Cache-Control", "max-age=60").chunk("half").gate(&gate).cut());
    let edge = Edge::over(&[&origin], "").await;
    let (mut leader, mut reader) = (edge.client().await, edge.client().await);
    for client in [&mut leader, &mut reader] {
        client.ask(&Request::get("/a")).await;
        client.head().await;
        client.exactly("half").await;
    }
    assert_eq!(origin.count("/a"), 1, "the second reads the fill of the first");
    gate.open();
    for client in [&mut leader, &mut reader] {
        assert_eq!(client.rest().await, (Vec::new(), false));
    }
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "upstream-closed")], 2.0).await;
    assert_eq!(edge.metric("hedgerow_terminations_total", &[("reason", "internal")]).await, 0.0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_nobody_up() {
    let origin = Origin::start().await;
    let body = "x".repeat(8 << 20);
    origin.on("/a", Reply::fresh(60, &body));
    let edge = Edge::over(&[&origin], "").await;
    let mut idle = edge.client().await;
    idle.ask(&Request::get("/a")).await;
    origin.until("the fill begins", |origin| origin.count("/a") == 1).await;
    assert_eq!(edge.get("/a").await.expect(200).body.len(), body.len());
    assert_eq!(origin.count("/a"), 1);
}
