//! Fields after bodies, both ways, between every pair of protocols.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use http::Response;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use support::edge::{Edge, pool};
use support::http2::{Call, Http2Client, Http2Origin, fields};
use support::{Client, Request};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: CONTROL\r\n\r\n\
                      4\r\nbody\r\n0\r\nX-Sum: a\r\nSet-Cookie: b=c\r\nX-Sum: d\r\n\r\n";

/// What an origin got: each request as it came, or for HTTP/2 the fields after it as lines.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn last(&self) -> String {
        self.0.lock().last().cloned().unwrap_or_default()
    }
}

fn control(path: &str) -> &'static str {
    if path == "/stored" { "max-age=60" } else { "no-store" }
}

/// An origin of HTTP/1.1 that answers each request with `ANSWER`.
async fn http1(log: &Log) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, log) = (listener.local_addr().unwrap(), log.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let log = log.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while stream.read_buf(&mut request).await.is_ok_and(|n| n > 0) {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
                    let is_whole = if is_chunked {
                        body.contains("0\r\n") && body.ends_with("\r\n\r\n")
                    } else {
                        text.ends_with("\r\n\r\n")
                    };
                    if is_whole {
                        let answer = ANSWER.replace("CONTROL", control(text.split(' ').nth(1).unwrap()));
                        log.0.lock().push(text);
                        request.clear();
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    addr
}

/// The same for HTTP/2.
async fn http2(log: &Log) -> Http2Origin {
    let log = log.clone();
    Http2Origin::start(move |mut call: Call| {
        let log = log.clone();
        async move {
            let te = format!("te: {}\r\n", call.header("te"));
            let trailers = call.read().await.1.unwrap_or_default();
            let lines = trailers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
            log.0.lock().push(te + &lines.collect::<String>());
            let head = Response::builder().header("cache-control", control(call.path()));
            let head = head.body(()).unwrap();
            call.say_with(head, "body", &[("x-sum", "a"), ("set-cookie", "b=c"), ("x-sum", "d")]);
        }
    })
    .await
}

async fn edge(addr: SocketAddr, keys: &str, more: &str) -> Edge {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2\"]\n";
    Edge::start(&(listener.to_owned() + &pool("web", &[addr], keys) + "[[route]]\npool = \"web\"\n" + more)).await
}

/// One edge before an origin of each protocol.
async fn both(more: &str) -> [(Edge, Log, Option<Http2Origin>); 2] {
    let (log1, log2) = (Log::default(), Log::default());
    let origin = http2(&log2).await;
    let over1 = edge(http1(&log1).await, "", more).await;
    let over2 = edge(origin.addr(), "protocol = \"h2\"", more).await;
    [(over1, log1, None), (over2, log2, Some(origin))]
}

async fn answered(client: &mut Client, request: &Request) -> (String, Vec<String>) {
    let answer = client.request(request).await.expect(200);
    (answer.text(), client.trailers().to_vec())
}

#[tokio::test]
async fn an_answers_trailers_reach_a_client_of_http_1_that_reads_them() {
    for more in ["", "[route.cache]\nenabled = false\n"] {
        for (edge, log, _origin) in both(more).await {
            let mut client = edge.client().await;
            for (nth, method) in ["GET", "POST", "GET"].into_iter().enumerate() {
                let request = Request::new(method, &format!("/{nth}")).header("TE", "trailers");
                let (body, trailers) = answered(&mut client, &request.header("Connection", "TE")).await;
                assert_eq!(body, "body");
                // In the spelling of HTTP/2, and without what has no place there.
                assert_eq!(trailers, ["x-sum: a", "x-sum: d"], "{method}");
                assert!(log.last().to_ascii_lowercase().contains("te: trailers\r\n"), "{}", log.last());
            }
            let (body, trailers) = answered(&mut client, &Request::get("/other")).await;
            assert_eq!((body.as_str(), trailers.len()), ("body", 0), "who does not say so does not read them");
            assert!(!log.last().to_ascii_lowercase().contains("te: trailers\r\n"), "{}", log.last());
        }
    }
}

#[tokio::test]
async fn an_answers_trailers_reach_a_client_of_http_2() {
    for more in ["", "[route.cache]\nenabled = false\n"] {
        for (edge, _log, _origin) in both(more).await {
            let client = Http2Client::connect(edge.addr()).await;
            let post = || http::Request::post("http://edge.test/up").body(()).unwrap();
            for answer in [client.get("/a").await, client.ask(post(), b"up", None).await] {
                assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
                assert_eq!(answer.trailers, Some(fields(&[("x-sum", "a"), ("x-sum", "d")])));
            }
        }
    }
}

#[tokio::test]
async fn what_is_stored_has_none() {
    for (edge, _log, _origin) in both("").await {
        let client = Http2Client::connect(edge.addr()).await;
        for word in ["MISS", "HIT"] {
            let answer = client.get("/stored").await;
            assert_eq!((answer.header("x-cache-status"), answer.text().as_str()), (word, "body"), "{answer:?}");
            assert_eq!(answer.trailers, None, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_requests_trailers_reach_the_backend() {
    for (edge, log, origin) in both("").await {
        let mut client = edge.client().await;
        let head = "POST /up HTTP/1.1\r\nHost: edge.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        client.send(format!("{head}2\r\nup\r\n0\r\nX-Sum: a\r\nAuthorization: b\r\nX-Sum: c\r\n\r\n")).await;
        client.answer().await.expect(200);
        let got = log.last();
        assert!(got.ends_with("x-sum: a\r\nx-sum: c\r\n\r\n") || origin.is_some(), "{got}");
        assert!(got == "te: \r\nx-sum: a\r\nx-sum: c\r\n" || origin.is_none(), "{got}");
        // What was said of one request is not said of the next.
        client.request(&Request::new("POST", "/up").chunks(&[b"up"])).await.expect(200);
        assert!(!log.last().contains("x-sum"), "{}", log.last());
    }
}

#[tokio::test]
async fn a_requests_trailers_reach_the_backend_from_a_client_of_http_2() {
    let sent = fields(&[("x-sum", "a"), ("authorization", "b"), ("x-sum", "c")]);
    let passed = "x-sum: a\r\nx-sum: c\r\n";
    for (edge, log, origin) in both("").await {
        let client = Http2Client::connect(edge.addr()).await;
        let is_passed = |got: &str| match origin {
            Some(_) => got.ends_with(passed) && !got.contains("authorization"),
            None => got.ends_with(&format!("0\r\n{passed}\r\n")) && !got.contains("authorization: b"),
        };
        // The short way, and pingora's.
        for method in ["POST", "GET"] {
            for body in ["up", ""] {
                let ask = || http::Request::builder().method(method).uri("http://edge.test/up").body(()).unwrap();
                let answer = client.ask(ask(), body.as_bytes(), Some(sent.clone())).await;
                assert_eq!((answer.status, answer.text().as_str()), (200, "body"), "{method}");
                assert!(is_passed(&log.last()), "{method} {body:?} {}", log.last());
                // What was said of one request is not said of the next.
                client.ask(ask(), b"up", None).await;
                assert!(!log.last().contains("x-sum"), "{}", log.last());
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_looks_like_its_end_is_none() {
    let log = Log::default();
    let origin = Http2Origin::start(|mut call: Call| async move {
        let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
        for part in ["0\r\n\r\n", "0\r\n", "\r\n", "0\r\n\r\n"] {
            stream.send_data(part.into(), false).unwrap();
            tokio::task::yield_now().await;
        }
        stream.send_trailers(fields(&[("x-sum", "a")])).unwrap();
    })
    .await;
    let edge = edge(origin.addr(), "protocol = \"h2\"", "").await;
    let mut client = edge.client().await;
    let request = Request::get("/").header("TE", "trailers").header("Connection", "TE");
    let (body, trailers) = answered(&mut client, &request).await;
    assert_eq!(body, "0\r\n\r\n0\r\n\r\n0\r\n\r\n");
    assert_eq!((trailers, log.last().as_str()), (vec!["x-sum: a".to_owned()], ""));
}
