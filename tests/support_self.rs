//! The test kit tested on itself: the client against the origin, no edge between them.

mod support;

use std::sync::Arc;

use support::{Client, Gate, Headers, Origin, Reply, Request, get};

#[tokio::test]
async fn an_origin_answers_by_its_script_and_remembers_who_asked() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha").header("X-A", "1").header("X-A", "2"));

    let mut client = Client::connect(origin.addr()).await;
    let answer = client.request(&Request::get("/a?q=1").header("X-Who", "me")).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("cache-control")), ("alpha", Some("max-age=60")));
    assert_eq!(answer.headers.all("x-a"), ["1", "2"]);
    assert!(answer.header("Date").is_some());

    let seen = origin.only("/a");
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.header("x-who")), ("GET", "/a?q=1", Some("me")));
    client.get("/nowhere").await.expect(404);
    assert_eq!((origin.requests(), origin.connections(), origin.aborted()), (2, 1, 0));
}

#[tokio::test]
async fn replies_come_in_turn_and_the_last_one_stays() {
    let origin = Origin::start().await;
    origin.on_each("/a", [Reply::new(500), Reply::ok("well")]);
    for status in [500, 200, 200] {
        get(origin.addr(), "/a").await.expect(status);
    }
    origin.on_call("/a", |seen| Reply::ok(format!("{} again", seen.method)));
    assert_eq!(get(origin.addr(), "/a").await.text(), "GET again");
}

#[tokio::test]
async fn a_query_can_have_a_script_of_its_own() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("any")).on("/a?x=1", Reply::ok("one")).otherwise(|seen| Reply::ok(&seen.target));
    assert_eq!(get(origin.addr(), "/a?x=2").await.text(), "any");
    assert_eq!(get(origin.addr(), "/a?x=1").await.text(), "one");
    assert_eq!(get(origin.addr(), "/b?y").await.text(), "/b?y");
}

#[tokio::test]
async fn a_gate_holds_the_head_until_it_is_opened() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/held", Reply::ok("late").held_by(&gate)).on("/free", Reply::ok("early"));

    let mut waiting = Client::connect(origin.addr()).await;
    let mut second = Client::connect(origin.addr()).await;
    waiting.ask(&Request::get("/held")).await;
    second.ask(&Request::get("/held")).await;
    gate.arrived(2).await;
    assert_eq!(get(origin.addr(), "/free").await.text(), "early");

    gate.open();
    assert_eq!(waiting.answer().await.text(), "late");
    assert_eq!(second.answer().await.text(), "late");
}

#[tokio::test]
async fn gates_between_chunks_let_a_test_watch_a_body_arrive() {
    let (origin, first, last) = (Origin::start().await, Gate::new(), Gate::new());
    origin.on("/s", Reply::new(200).chunk("one,").gate(&first).chunk("two,").gate(&last).chunk("three"));

    let mut client = Client::connect(origin.addr()).await;
    client.ask(&Request::get("/s")).await;
    let head = client.head().await;
    assert_eq!((head.status, head.complete), (200, false));
    client.exactly("one,").await;
    first.open();
    client.exactly("two,").await;
    last.open();
    assert_eq!(client.rest().await, (b"three".to_vec(), true));
    assert_eq!(client.get("/none").await.status, 404, "the connection is kept");
}

#[tokio::test]
async fn what_is_cut_short_is_never_taken_for_whole() {
    let origin = Origin::start().await;
    origin
        .on("/length", Reply::ok("half").declares(8).cut())
        .on("/chunked", Reply::new(200).chunk("half").cut())
        .on("/reset", Reply::new(200).chunk("half").cut_by_reset())
        .on("/close", Reply::ok("whole").until_close())
        .on("/raw", Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf"));
    for path in ["/length", "/chunked", "/reset", "/raw"] {
        let answer = get(origin.addr(), path).await;
        assert!(!answer.complete, "{path}: {answer}");
    }
    assert_eq!(get(origin.addr(), "/close").await.expect(200).text(), "whole");
}

#[tokio::test]
async fn an_origin_can_hang_up_talk_nonsense_or_say_nothing() {
    let origin = Origin::start().await;
    origin
        .on("/hang-up", Reply::hang_up())
        .on("/reset", Reply::reset())
        .on("/garbage", Reply::raw("hello\r\n"))
        .on("/never", Reply::never());
    for path in ["/hang-up", "/reset"] {
        let mut client = Client::connect(origin.addr()).await;
        client.ask(&Request::get(path)).await;
        assert!(client.answer_or_close().await.is_none());
    }
    let mut client = Client::connect(origin.addr()).await;
    client.ask(&Request::get("/garbage")).await;
    assert_eq!(client.closed().await, b"hello\r\n");

    let mut client = Client::connect(origin.addr()).await;
    client.ask(&Request::get("/never")).await;
    origin.until("/never is asked for", |o| o.count("/never") == 1).await;
    client.abort();
    origin.until("the client has left", |o| o.aborted() == 1).await;
}

#[tokio::test]
async fn an_origin_notices_who_leaves_at_a_gate() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/held", Reply::ok("").held_by(&gate));
    let mut client = Client::connect(origin.addr()).await;
    client.ask(&Request::get("/held")).await;
    gate.arrived(1).await;
    drop(client);
    origin.until("the client has left", |o| o.aborted() == 1 && o.open() == 0).await;
}

#[tokio::test]
async fn an_entity_tag_is_answered_304_when_it_is_named() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(1, "alpha").etag("\"v1\""));
    let mut client = Client::connect(origin.addr()).await;
    let fresh = client.get("/a").await.expect(200);
    assert_eq!(fresh.header("ETag"), Some("\"v1\""));
    let same = client.request(&Request::get("/a").header("If-None-Match", "\"v0\", \"v1\"")).await.expect(304);
    assert_eq!((same.header("ETag"), same.body.len()), (Some("\"v1\""), 0));
    client.request(&Request::get("/a").header("If-None-Match", "\"v2\"")).await.expect(200);
}

#[tokio::test]
async fn interim_responses_are_kept_apart() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("x").interim(103, "Link: </s.css>; rel=preload\r\n"));
    let answer = get(origin.addr(), "/a").await.expect(200);
    assert_eq!(answer.interim.len(), 1);
    assert_eq!((answer.interim[0].status, answer.interim[0].header("Link")), (103, Some("</s.css>; rel=preload")));
}

#[tokio::test]
async fn head_204_and_304_have_no_body_whatever_their_length_says() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha")).on("/none", Reply::new(204)).on("/same", Reply::new(304));
    let mut client = Client::connect(origin.addr()).await;
    let head = client.request(&Request::head("/a")).await.expect(200);
    assert_eq!((head.header("Content-Length"), head.body.len()), (Some("5"), 0));
    client.get("/none").await.expect(204);
    client.get("/same").await.expect(304);
    assert_eq!(client.get("/a").await.text(), "alpha");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn uploads_are_seen_as_they_come_and_kept_byte_for_byte() {
    let origin = Origin::start().await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body));
    let blob: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut client = Client::connect(origin.addr()).await;
    let echo = client.request(&Request::post("/up", &blob)).await.expect(200);
    assert!(echo.body == blob, "the echo differs");
    let echo = client.request(&Request::new("PUT", "/up").chunks(&[b"one", b"two"])).await.expect(200);
    assert_eq!(echo.text(), "onetwo");

    let mut client = Client::connect(origin.addr()).await;
    client.send("POST /part HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhal").await;
    origin.until("half a body", |o| o.seen("/part").first().is_some_and(|s| s.body == b"hal" && !s.whole)).await;
    client.abort();
    origin.until("the upload breaks off", |o| o.aborted() == 1).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(&seen.target));
    let mut client = Client::connect(origin.addr()).await;
    for path in ["/1", "/2", "/3"] {
        client.ask(&Request::get(path)).await;
    }
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.answer().await.text(), path);
    }
}

#[tokio::test]
async fn a_client_sees_the_close_after_the_last_answer() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha").close());
    let mut client = Client::connect(origin.addr()).await;
    assert_eq!(client.get("/a").await.text(), "alpha");
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_killed_origin_refuses_and_comes_back_on_its_port() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::ok("alpha")).on("/held", Reply::ok("").held_by(&gate));
    let mut client = Client::connect(origin.addr()).await;
    client.ask(&Request::get("/held")).await;
    gate.arrived(1).await;

    origin.kill().await;
    assert!(client.answer_or_close().await.is_none());
    assert!(tokio::net::TcpStream::connect(origin.addr()).await.is_err());
    origin.kill().await;

    origin.restart();
    assert_eq!(get(origin.addr(), "/a").await.expect(200).text(), "alpha");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_refusing_address_refuses_and_keeps_its_port() {
    let nobody = Origin::refusing();
    for _ in 0..3 {
        let refused = tokio::net::TcpStream::connect(nobody.addr()).await.map_err(|e| e.kind());
        assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
    }
}

#[tokio::test]
async fn a_deaf_address_lets_connects_wait() {
    let deaf = Origin::deaf();
    let connect = tokio::net::TcpStream::connect(deaf.addr());
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), connect).await.is_err());
}

#[tokio::test]
async fn many_connections_are_counted_apart() {
    let (origin, gate) = (Arc::new(Origin::start().await), Gate::new());
    origin.on("/a", Reply::ok("x").held_by(&gate));
    let asks: Vec<_> = (0..10)
        .map(|_| {
            let addr = origin.addr();
            tokio::spawn(async move { get(addr, "/a").await })
        })
        .collect();
    gate.arrived(10).await;
    assert_eq!(origin.open(), 10);
    gate.open();
    for ask in asks {
        ask.await.expect("no panic").expect(200);
    }
    assert_eq!(origin.connections(), 10);
}

#[test]
fn structured_lists_are_read_by_member_and_parameter() {
    let field = |value: &str| ("Cache-Status".to_owned(), value.to_owned());
    let headers = Headers(vec![
        field("ExampleCache; hit; ttl=1100"),
        field("\"edge, one\"; fwd=uri-miss; key=\"a;b, \\\"c\\\"\"; stored, hedgerow;hit;ttl=-4"),
    ]);
    let members = headers.members("cache-status");
    assert_eq!(members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["ExampleCache", "edge, one", "hedgerow"]);
    assert!(members[0].is("hit") && !members[0].is("stored"));
    assert_eq!((members[1].fwd(), members[1].param("key")), (Some("uri-miss"), Some("a;b, \"c\"")));
    assert_eq!(members[2].ttl(), Some(-4));
}
