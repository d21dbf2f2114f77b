//! Which connections to a backend are used again, and what becomes of those that are not.

mod support;

use support::edge::{Edge, pool};
use support::{Origin, Reply, Request};

/// Connections that two requests in a row took, the first of which is answered with `first`.
async fn taken(first: Reply, asked: Request) -> usize {
    let origin = Origin::start().await;
    origin.on("/first", first).on("/second", Reply::ok("second"));
    let edge = Edge::over(&[&origin], "[route.cache]\nenabled = false\n").await;
    edge.fetch(&asked).await;
    assert_eq!(edge.get("/second").await.expect(200).text(), "second");
    origin.connections()
}

async fn taken_by_get(first: Reply) -> usize {
    taken(first, Request::get("/first")).await
}

#[tokio::test]
async fn a_connection_on_which_both_messages_ended_is_used_again() {
    assert_eq!(taken_by_get(Reply::ok("first")).await, 1);
    assert_eq!(taken_by_get(Reply::ok("")).await, 1);
    assert_eq!(taken_by_get(Reply::ok("x".repeat(1 << 20))).await, 1);
    assert_eq!(taken_by_get(Reply::new(200).chunk("first").chunk("x".repeat(100_000))).await, 1);
    assert_eq!(taken_by_get(Reply::new(204)).await, 1);
    assert_eq!(taken_by_get(Reply::new(503).body("busy")).await, 1);
    assert_eq!(taken_by_get(Reply::ok("first").interim(103, "Link: </a>\r\n")).await, 1);
    assert_eq!(taken(Reply::ok("first"), Request::head("/first")).await, 1);
    assert_eq!(taken(Reply::ok("first"), Request::post("/first", "body")).await, 1);
}

#[tokio::test]
async fn one_that_says_it_closes_is_not() {
    assert_eq!(taken_by_get(Reply::ok("first").header("Connection", "close")).await, 2);
    assert_eq!(taken_by_get(Reply::ok("first").header("Connection", "x-y, Close")).await, 2);
    assert_eq!(taken_by_get(Reply::ok("first").header("Connection", "x-y").header("Connection", "close")).await, 2);
    assert_eq!(taken_by_get(Reply::new(200).body("first").until_close()).await, 2);
}

#[tokio::test]
async fn one_with_bytes_left_over_is_not() {
    for raw in [
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nalpha",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalpha\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nalpha\r\n0\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ] {
        assert_eq!(taken_by_get(Reply::raw(raw).then_silence()).await, 2, "{raw}");
    }
}

#[tokio::test]
async fn one_of_http_1_0_is_if_it_says_so() {
    // An origin that goes on in silence would be asked in vain.
    let body = "Content-Length: 5\r\n\r\nalpha";
    assert_eq!(taken_by_get(Reply::raw(format!("HTTP/1.0 200 OK\r\n{body}")).then_silence()).await, 2);
    let chunks = "Transfer-Encoding: chunked\r\n\r\n5\r\nalpha\r\n0\r\n\r\n";
    let kept = format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{chunks}");
    assert_eq!(taken_by_get(Reply::raw(kept).then_silence()).await, 2);
}

#[tokio::test]
async fn one_that_was_answered_before_the_request_had_ended_is_not() {
    let origin = Origin::start().await;
    let early = "HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\n\r\n";
    origin.on("/first", Reply::raw(early)).on("/second", Reply::ok("second"));
    let edge = Edge::over(&[&origin], "").await;
    edge.fetch(&Request::post("/first", "x".repeat(1 << 20))).await;
    assert_eq!(edge.get("/second").await.expect(200).text(), "second");
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn one_that_is_not_used_for_its_time_is_closed() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::start(
        &(pool("web", &[origin.addr()], "timeouts = { idle = \"200ms\" }") + "[[route]]\npool = \"web\"\n"),
    )
    .await;
    edge.get("/a").await.expect(200);
    assert_eq!(origin.connections(), 1);
    origin.until("it is closed", |origin| origin.open() == 0).await;
    edge.get("/a").await.expect(200);
    assert_eq!(origin.connections(), 2);
    origin.until("so is the next", |origin| origin.open() == 0).await;
}

#[tokio::test]
async fn connections_are_kept_apart_by_backend() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    one.on("/one", Reply::ok("one"));
    other.on("/other", Reply::ok("other"));
    let conf = pool("one", &[one.addr()], "")
        + &pool("other", &[other.addr()], "")
        + "[[route]]\npool = \"one\"\n[[route]]\nmatch = { path = \"/other\" }\npool = \"other\"\n";
    let edge = Edge::start(&conf).await;
    for _ in 0..3 {
        assert_eq!(edge.get("/one").await.expect(200).text(), "one");
        assert_eq!(edge.get("/other").await.expect(200).text(), "other");
    }
    assert_eq!((one.connections(), other.connections()), (1, 1));
}
