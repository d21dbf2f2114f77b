//! The end: who is being served is served to the end of the grace period, and nobody new is taken in.

mod support;

use std::time::Duration;

use support::edge::Edge;
use support::{Gate, Origin, Reply, Request, eventually};
use tokio::net::TcpStream;

/// More than any test takes.
const LONG: Duration = Duration::from_secs(60);

async fn refuses_connections(edge: &Edge) {
    eventually("the edge stops accepting", || async { TcpStream::connect(edge.addr()).await.is_err().then_some(()) })
        .await;
}

#[tokio::test]
async fn requests_in_flight_are_finished_and_no_connection_is_taken() {
    let (origin, head, middle) = (Origin::start().await, Gate::new(), Gate::new());
    origin.on("/waiting", Reply::ok("waited").held_by(&head));
    origin.on("/reading", Reply::new(200).chunk("first,").gate(&middle).chunk("last"));
    let edge = Edge::over(&[&origin], "").await;
    let (mut waiting, mut reading) = (edge.client().await, edge.client().await);
    waiting.ask(&Request::get("/waiting")).await;
    reading.ask(&Request::get("/reading")).await;
    head.arrived(1).await;
    reading.head().await;
    reading.exactly("first,").await;

    let drained = edge.drain(LONG);
    refuses_connections(&edge).await;
    assert!(!drained.is_finished(), "drained with requests in flight");

    head.open();
    let answer = waiting.answer().await.expect(200);
    assert_eq!(answer.text(), "waited");
    assert!(answer.headers.lists("Connection", "close"), "{answer}");
    assert!(waiting.closed().await.is_empty());
    middle.open();
    assert_eq!(reading.rest().await, (b"last".to_vec(), true));
    assert!(reading.closed().await.is_empty());
    drained.await.expect("the drain does not panic");
}

#[tokio::test]
async fn an_upload_in_flight_is_finished() {
    let origin = Origin::start().await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf").await;
    origin.until("half of it", |o| o.seen("/up").first().is_some_and(|seen| seen.body == b"half")).await;
    let drained = edge.drain(LONG);
    refuses_connections(&edge).await;
    client.send("rest").await;
    assert_eq!(client.answer().await.expect(200).text(), "halfrest");
    drained.await.expect("the drain does not panic");
}

#[tokio::test]
async fn idle_connections_are_closed_and_do_not_hold_the_drain_up() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::over(&[&origin], "").await;
    let mut used = edge.client().await;
    used.get("/a").await.expect(200);
    let mut unused = edge.client().await;
    eventually("both are known", || async {
        (edge.metric("hedgerow_client_connections", &[]).await >= 2.0).then_some(())
    })
    .await;
    edge.drain(LONG).await.expect("the drain does not panic");
    assert!(used.closed().await.is_empty());
    assert!(unused.closed().await.is_empty());
}

#[tokio::test]
async fn the_grace_period_ends_what_does_not_end_by_itself() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/held", Reply::ok("").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/held")).await;
    gate.arrived(1).await;
    edge.drain(Duration::from_millis(200)).await.expect("the drain does not panic");
    if let Some(answer) = client.answer_or_close().await {
        assert_eq!(answer.status, 503, "{answer}");
    }
}

#[tokio::test]
async fn an_idle_edge_is_drained_at_once() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.drain(LONG).await.expect("the drain does not panic");
    assert!(TcpStream::connect(edge.addr()).await.is_err());
}

#[tokio::test]
async fn a_draining_edge_is_alive_and_not_ready() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/held", Reply::ok("").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/held")).await;
    gate.arrived(1).await;
    edge.admin_get("/readyz").await.expect(200);
    let drained = edge.drain(LONG);
    eventually("it is no longer ready", || async { (edge.admin_get("/readyz").await.status == 503).then_some(()) })
        .await;
    edge.admin_get("/healthz").await.expect(200);
    gate.open();
    client.answer().await.expect(200);
    drained.await.expect("the drain does not panic");
}
