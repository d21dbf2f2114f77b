//! Connections that stop being HTTP: the edge gets out of the way, and only then.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use support::edge::Edge;
use support::{Origin, Reply, Request};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A backend that switches and then echoes.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let _gone = stream.write_all(SWITCH.as_bytes()).await;
                let (mut read, mut write) = stream.split();
                let _gone = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let addr = echo().await;
    let conf = format!("[[pool]]\nname = \"web\"\nbackends = [\"{addr}\"]\n[[route]]\npool = \"web\"\n");
    let edge = Edge::start(&conf).await;
    // Not the kit's client, for which a 101 ends an answer.
    let mut client = TcpStream::connect(edge.addr()).await.expect("the edge accepts");
    client.write_all(ASK.as_bytes()).await.expect("sent");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push(char::from(support::patiently(client.read_u8(), || head.clone()).await.expect("a head")));
    }
    assert!(head.starts_with("HTTP/1.1 101 ") && head.to_lowercase().contains("upgrade: websocket"), "{head}");
    for word in ["one", "two"] {
        client.write_all(word.as_bytes()).await.expect("sent");
        let mut back = [0; 3];
        support::patiently(client.read_exact(&mut back), || format!("{word} comes back")).await.expect("an echo");
        assert_eq!(back, word.as_bytes());
    }
    assert_eq!(edge.backend(addr).await["in_flight"], 1);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer_like_any_other_and_the_last_on_its_connection() {
    let origin = Origin::start().await;
    origin.on("/chat", Reply::ok("no"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.send(ASK).await;
    let answer = client.answer().await.expect(200);
    assert_eq!(answer.text(), "no");
    assert!(answer.headers.lists("Connection", "close"), "{answer}");
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_a_bad_answer() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::raw(SWITCH));
    let edge = Edge::over(&[&origin], "").await;
    assert_eq!(edge.get("/a").await.expect(502).proxy_error(), "http_protocol_error");
}

#[tokio::test]
async fn a_backend_that_hangs_up_on_an_upgrade_is_answered_502() {
    let origin = Origin::start().await;
    origin.on("/chat", Reply::hang_up());
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.send(ASK).await;
    assert_eq!(client.answer_or_close().await.map(|answer| answer.status), Some(502));
}

#[tokio::test]
async fn an_upgrade_does_not_lift_the_body_limit() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("taken"));
    let edge = Edge::over(&[&origin], "max_body = \"1KiB\"\n").await;
    let request = Request::new("POST", "/a").header("Connection", "Upgrade").header("Upgrade", "x");
    let answer = edge.fetch(&request.chunks(&[&[b'x'; 100_000]])).await;
    assert_eq!(answer.status, 413, "{answer}");
    assert!(origin.seen("/a").iter().all(|seen| seen.body.len() <= 1024 && !seen.whole));
}
