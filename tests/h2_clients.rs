//! Requests over HTTP/2 behind the lane: what their clients do while they are served, and what becomes of them.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::future::poll_fn;

use bytes::Bytes;
use h2::Reason;
use http::Request;

use support::edge::{Edge, first_and_second, over};
use support::http2::{Http2Client, answer};
use support::{Gate, Origin, Reply, eventually, patiently};

const HTTP_2: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h2\"]\n";

fn request(method: &str, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://edge.test{path}")).body(()).unwrap()
}

async fn edge(origin: &Origin, more: &str) -> (Edge, Http2Client) {
    let edge = Edge::start(&over(&[origin.addr()], &format!("{more}\n{HTTP_2}"))).await;
    let client = Http2Client::connect(edge.addr()).await;
    (edge, client)
}

/// How many requests have ended so.
async fn ended(edge: &Edge, reason: &str) {
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", reason)], 1.0).await;
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_but_for_a_calls() {
    let origin = Origin::start().await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body));
    let (edge, client) = edge(&origin, "[route.cache]\nenabled = false\n[server.timeouts]\nbody = \"100ms\"").await;
    // The short way, and pingora's.
    for method in ["POST", "GET"] {
        let (response, mut body) = client.begin(request(method, "/up"), false).await;
        body.send_data("half".into(), false).unwrap();
        assert_eq!(answer(response).await.status, 408, "{method}");
    }
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "client-timeout")], 2.0).await;
    let mut call = request("POST", "/up");
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let (response, mut body) = client.begin(call, false).await;
    body.send_data("half".into(), false).unwrap();
    // Whose clock began later has had its time by then.
    let (later, mut other) = client.begin(request("POST", "/up"), false).await;
    other.send_data("half".into(), false).unwrap();
    assert_eq!(answer(later).await.status, 408);
    body.send_data(" and half".into(), true).unwrap();
    assert_eq!(answer(response).await.text(), "half and half");
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_answer_and_nothing_else() {
    let origin = Origin::start().await;
    origin.on("/large", Reply::ok(vec![b'x'; 1 << 20]));
    origin.on("/small", Reply::ok("small"));
    let (edge, client) = edge(&origin, "[server.timeouts]\nwrite = \"100ms\"").await;
    let (response, _body) = client.begin(request("GET", "/large"), true).await;
    let mut stalled = patiently(response, || "a head".to_owned()).await.unwrap().into_body();
    ended(&edge, "client-timeout").await;
    let error = loop {
        match stalled.data().await {
            Some(Ok(data)) => stalled.flow_control().release_capacity(data.len()).unwrap(),
            Some(Err(error)) => break error,
            None => panic!("the answer is not whole"),
        }
    };
    assert!(error.is_reset(), "{error}");
    assert_eq!(client.get("/small").await.text(), "small");
}

#[tokio::test]
async fn a_slow_client_gets_all_of_a_large_answer() {
    let origin = Origin::start().await;
    let large: Vec<u8> = (0..1u32 << 20).map(|n| (n % 251) as u8).collect();
    origin.on("/stored", Reply::fresh(60, &large));
    origin.on("/passed", Reply::ok(&large));
    let (_edge, client) = edge(&origin, "").await;
    for path in ["/stored", "/stored", "/passed"] {
        let (response, _body) = client.begin(request("GET", path), true).await;
        let mut stream = response.await.unwrap().into_body();
        let mut read = Vec::new();
        while let Some(data) = patiently(stream.data(), || path.to_owned()).await {
            let data = data.unwrap();
            // In steps far smaller than a frame.
            for step in data.chunks(1024) {
                read.extend_from_slice(step);
                stream.flow_control().release_capacity(step.len()).unwrap();
                tokio::task::yield_now().await;
            }
        }
        assert!(read == large, "{path}: {}", read.len());
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_and_its_backend_let_go() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::never());
    let (edge, client) = edge(&origin, "[route.cache]\nenabled = false").await;
    for (n, method) in [(1.0, "POST"), (2.0, "GET")] {
        let (response, mut stream) = client.begin(request(method, "/a"), true).await;
        eventually("the origin has it", || async { (origin.count("/a") as f64 == n).then_some(()) }).await;
        stream.send_reset(Reason::CANCEL);
        drop(response);
        edge.metric_becomes("hedgerow_terminations_total", &[("reason", "client-closed")], n).await;
    }
}

#[tokio::test]
async fn a_body_is_sent_again_to_the_next_backend() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    bad.otherwise(|_| Reply::hang_up());
    good.otherwise(|seen| Reply::ok(&seen.body));
    let edge = Edge::start(&first_and_second(bad.addr(), good.addr(), "", HTTP_2)).await;
    let client = Http2Client::connect(edge.addr()).await;
    for body in [&b"once more"[..], b""] {
        let answer = client.ask(request("PUT", "/a"), body, None).await;
        assert_eq!((answer.status, answer.text().as_bytes()), (200, body));
    }
    assert!(bad.count("/a") > 0);
}

#[tokio::test]
async fn a_stale_answer_sets_off_a_refresh() {
    let origin = Origin::start().await;
    let control = "max-age=0, stale-while-revalidate=600";
    origin.on_nth("/a", |nth, _| Reply::ok(format!("{nth}")).header("Cache-Control", control));
    let (_edge, client) = edge(&origin, "").await;
    let first = client.get("/a?b").await;
    let stale = client.get("/a?b").await;
    assert_eq!((first.text(), stale.header("x-cache-status")), (stale.text(), "UPDATING"), "{stale:?}");
    eventually("the refresh is stored", || async { (client.get("/a?b").await.text() != first.text()).then_some(()) })
        .await;
    assert!(origin.seen("/a").iter().all(|seen| seen.header("host") == Some("edge.test")));
}

#[tokio::test]
async fn what_may_not_enter_is_told_why_within_the_rules_of_its_method() {
    let origin = Origin::start().await;
    let (edge, client) = edge(&origin, "").await;
    let refused = client.ask(request("TRACE", "/"), b"", None).await;
    assert_eq!((refused.status, refused.header("allow").contains("GET")), (405, true), "{refused:?}");
    assert!(refused.header("date").ends_with("GMT"), "{refused:?}");
    ended(&edge, "method-refused").await;
    for (method, is_told) in [("GET", true), ("HEAD", false)] {
        let mut foreign = request(method, "/");
        foreign.headers_mut().insert("host", "other.test".parse().unwrap());
        let refused = client.ask(foreign, b"", None).await;
        assert_eq!((refused.status, refused.body.is_empty()), (400, !is_told), "{refused:?}");
        assert!(refused.header("content-length") != "0", "{refused:?}");
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn malformed_requests_end_a_connection_when_they_are_too_many() {
    let origin = Origin::start().await;
    let (_edge, client) = edge(&origin, "").await;
    for nth in 0..32 {
        let mut foreign = request("GET", "/");
        foreign.headers_mut().insert("host", "other.test".parse().unwrap());
        let (response, _body) = client.begin(foreign, true).await;
        let status = patiently(response, || "an answer or an end".to_owned()).await.map(|head| head.status().as_u16());
        assert!(matches!(status, Ok(400)) || nth == 31, "{nth}: {status:?}");
    }
    let (mut gone, _) = Http2Client::connect(_edge.addr()).await.begin(request("HEAD", "/"), true).await;
    let other = patiently(&mut gone, || "an answer".to_owned()).await;
    assert!(other.is_ok(), "others are served: {other:?}");
    assert!(client.is_closed().await, "this one is not");
}

#[tokio::test]
async fn an_answer_is_read_while_a_request_is_sent() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    origin.on("/a", Reply::new(200).chunk("first").gate(&gate).chunk("second"));
    let (_edge, client) = edge(&origin, "").await;
    let (response, mut body) = client.begin(request("POST", "/a"), false).await;
    body.send_data(Bytes::from_static(b"x"), true).unwrap();
    let mut stream = patiently(response, || "a head".to_owned()).await.unwrap().into_body();
    let first = patiently(stream.data(), || "the first part".to_owned()).await.unwrap().unwrap();
    assert_eq!(&first[..], b"first", "it does not wait for what follows");
    gate.open();
    let second = patiently(poll_fn(|cx| stream.poll_data(cx)), || "the rest".to_owned()).await.unwrap().unwrap();
    assert_eq!(&second[..], b"second");
}
