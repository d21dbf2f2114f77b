//! Bodies of requests: they pass unharmed, end where they say, and nobody waits for what nobody reads.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use support::edge::{Edge, first_and_second, over};
use support::{Origin, Reply, Request};

/// A backend that says no to the head and then reads on without looking, as a server that drains does.
async fn impatient() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buf = vec![0; 65_536];
                let _gone = stream.read(&mut buf).await;
                let _gone = stream.write_all(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno").await;
                while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
    addr
}

#[tokio::test]
async fn bodies_pass_byte_for_byte_both_ways() {
    let origin = Origin::start().await;
    origin.on_call("/echo", |seen| Reply::ok(&seen.body)).on_call("/echo-chunked", |seen| {
        seen.body.chunks(7_000).fold(Reply::new(200), |reply, chunk| reply.chunk(chunk))
    });
    let edge = Edge::over(&[&origin], "").await;
    let blob: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();

    let mut client = edge.client().await;
    let answer = client.request(&Request::post("/echo", &blob)).await.expect(200);
    assert!(answer.body == blob, "Content-Length both ways: the body differs");
    assert_eq!(origin.only("/echo").header("Content-Length"), Some("2000000"));

    let chunks: Vec<&[u8]> = blob.chunks(9_999).collect();
    let answer = client.request(&Request::new("PUT", "/echo-chunked").chunks(&chunks)).await.expect(200);
    assert!(answer.body == blob, "chunked both ways: the body differs");
    client.request(&Request::post("/echo", "")).await.expect(200);
}

#[tokio::test]
async fn an_upload_reaches_the_backend_as_it_is_sent() {
    let origin = Origin::start().await;
    origin.on("/up", Reply::new(201));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.send("POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").await;
    origin.until("the first half", |o| o.seen("/up").first().is_some_and(|seen| seen.body == b"half")).await;
    client.send("4\r\nrest\r\n0\r\n\r\n").await;
    client.answer().await.expect(201);
    assert_eq!(origin.only("/up").text(), "halfrest");
}

#[tokio::test]
async fn a_pipelined_request_after_a_body_is_not_taken_for_part_of_it() {
    let origin = Origin::start().await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body)).on("/next", Reply::ok("next"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    let mut together = Request::post("/up", "body").bytes();
    together.extend(Request::get("/next").bytes());
    together.extend(Request::post("/up", "x").chunks(&[b"chunked"]).bytes());
    together.extend(Request::get("/next").bytes());
    client.send(together).await;
    for body in ["body", "next", "chunked", "next"] {
        assert_eq!(client.answer().await.expect(200).text(), body);
    }
}

#[tokio::test]
async fn a_chunked_body_and_the_next_request_may_come_byte_by_byte() {
    let origin = Origin::start().await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body)).on("/next", Reply::ok("next"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    let mut together = Request::post("/up", "").chunks(&[b"one,", b"two,", b"three"]).bytes();
    together.extend(Request::get("/next").bytes());
    for byte in together {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    for body in ["one,two,three", "next"] {
        assert_eq!(client.answer().await.expect(200).text(), body);
    }
    assert_eq!((origin.only("/up").text().as_str(), origin.only("/next").body.len()), ("one,two,three", 0));
}

#[tokio::test]
async fn an_answer_before_the_uploads_end_ends_the_request() {
    let addr = impatient().await;
    let edge = Edge::start(&over(&[addr], "[server.timeouts]\nbody = \"500ms\"\n")).await;
    let mut client = edge.client().await;
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await;
    assert_eq!(client.head().await.status, 401);
    assert_eq!(client.rest().await, (b"no".to_vec(), true));
    for _ in 0..10 {
        client.send([b'x'; 100_000]).await;
    }
    client.closed().await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn a_body_sent_again_counts_once() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    bad.on("/a", Reply::hang_up());
    good.on_call("/a", |seen| Reply::ok(seen.body.len().to_string()));
    let conf = first_and_second(bad.addr(), good.addr(), "", "max_body = \"1KiB\"\n");
    let edge = Edge::start(&conf).await;
    let answer = edge.fetch(&Request::new("PUT", "/a").body([b'x'; 700])).await.expect(200);
    assert_eq!((answer.text().as_str(), bad.count("/a")), ("700", 1));
}
