//! gRPC calls through the edge: what becomes of them, and what is thought of those who answer.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use support::edge::{Edge, pool};
use support::http2::{Answer, Call, Http2Client, Http2Origin, answer, fields};
use support::{Gate, eventually};

/// A message of gRPC, which is not compressed.
fn message(text: &str) -> Vec<u8> {
    [&[0], &u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

fn request(method: &str) -> http::request::Builder {
    let target = format!("http://edge.test{method}");
    http::Request::post(target).header("content-type", "application/grpc").header("te", "trailers")
}

fn head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

/// Answers with this status: after a message, or in the head.
fn end(mut call: Call, status: &str, in_head: bool) {
    if in_head {
        let mut head = head();
        head.headers_mut().extend(fields(&[("grpc-status", status)]));
        call.respond.send_response(head, true).unwrap();
    } else {
        call.say_with(head(), message("answer"), &[("grpc-status", status), ("grpc-message", "so")]);
    }
}

async fn edge(addrs: &[SocketAddr], keys: &str, more: &str) -> Edge {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h2\"]\n";
    let pool = pool("web", addrs, &format!("protocol = \"h2\"\n{keys}"));
    Edge::start(&format!("{listener}{pool}[[route]]\nname = \"calls\"\npool = \"web\"\n{more}")).await
}

async fn call(edge: &Edge, method: &str) -> Answer {
    let client = Http2Client::connect(edge.addr()).await;
    client.ask(request(method).body(()).unwrap(), &message("question"), None).await
}

/// The status of a call that was answered by nothing but a head.
fn refused(answer: &Answer) -> (u16, &str, &str) {
    assert_eq!((answer.header("content-type"), answer.is_head), ("application/grpc", true), "{answer:?}");
    (answer.status, answer.header("grpc-status"), answer.header("grpc-message"))
}

async fn counted(edge: &Edge, status: &str) -> f64 {
    edge.metric("hedgerow_grpc_responses_total", &[("route", "calls"), ("status", status)]).await
}

#[tokio::test]
async fn a_call_is_answered_with_its_status_after_the_body_or_in_the_head() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        assert_eq!((call.header("te"), call.header("content-type")), ("trailers", "application/grpc"));
        let (body, _) = call.read().await;
        assert_eq!(body, message("question"));
        let in_head = call.path() == "/a.B/Head";
        end(call, if in_head { "5" } else { "0" }, in_head);
    })
    .await;
    let edge = edge(&[origin.addr()], "", "").await;
    let answered = call(&edge, "/a.B/C").await;
    assert_eq!((answered.status, answered.body), (200, message("answer")));
    assert_eq!(answered.trailers, Some(fields(&[("grpc-status", "0"), ("grpc-message", "so")])));
    let answered = call(&edge, "/a.B/Head").await;
    assert_eq!(refused(&answered), (200, "5", ""));
    assert_eq!((counted(&edge, "OK").await, counted(&edge, "NOT_FOUND").await), (1.0, 1.0));
}

#[tokio::test]
async fn messages_pass_one_by_one_both_ways() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        let mut out = call.respond.send_response(head(), false).unwrap();
        while let Some(Ok(data)) = call.request.body_mut().data().await {
            call.request.body_mut().flow_control().release_capacity(data.len()).unwrap();
            out.send_data(data, false).unwrap();
        }
        out.send_trailers(fields(&[("grpc-status", "0")])).unwrap();
    })
    .await;
    let edge = edge(&[origin.addr()], "", "").await;
    let client = Http2Client::connect(edge.addr()).await;
    let (response, mut stream) = client.begin(request("/a.B/Chat").body(()).unwrap(), false).await;
    let mut incoming = response.await.unwrap().into_body();
    for text in ["one", "two", "three"] {
        stream.send_data(message(text).into(), false).unwrap();
        let mut got = Vec::new();
        while got.len() < message(text).len() {
            got.extend(incoming.data().await.expect("more").expect("data"));
        }
        assert_eq!(got, message(text));
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(incoming.data().await.is_none());
    assert_eq!(incoming.trailers().await.unwrap(), Some(fields(&[("grpc-status", "0")])));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call_at_the_backend() {
    let gate = Gate::new();
    let left = gate.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let left = left.clone();
        async move {
            let _out = call.respond.send_response(head(), false).unwrap();
            assert!(call.request.body_mut().data().await.is_some_and(|data| data.is_err()));
            left.pass().await;
        }
    })
    .await;
    let edge = edge(&[origin.addr()], "", "").await;
    let client = Http2Client::connect(edge.addr()).await;
    let (response, mut stream) = client.begin(request("/a.B/C").body(()).unwrap(), false).await;
    let _begun = response.await.unwrap();
    stream.send_reset(h2::Reason::CANCEL);
    gate.arrived(1).await;
}

#[tokio::test]
async fn what_the_edge_answers_to_a_call_is_an_answer_to_a_call() {
    let gone = support::Origin::refusing();
    let more = "[[route]]\nname = \"limited\"\npool = \"web\"\nmatch = { path = \"/limited/**\" }\n\
                rate = { total = \"1/m\", burst = 1 }\n\
                [[route]]\nname = \"small\"\npool = \"web\"\nmatch = { path = \"/small/**\" }\nmax_body = \"1B\"\n";
    let edge = edge(&[gone.addr()], "", more).await;
    let answered = call(&edge, "/a.B/C").await;
    let (status, code, text) = refused(&answered);
    assert_eq!((status, code), (200, "14"), "{text}");
    assert!(answered.header("proxy-status").contains("error="), "{answered:?}");
    call(&edge, "/limited/C").await;
    assert_eq!(refused(&call(&edge, "/limited/C").await).1, "8");
    assert!(counted(&edge, "UNAVAILABLE").await >= 1.0);
}

#[tokio::test]
async fn a_deadline_is_told_and_kept() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Http2Origin::start(move |call: Call| {
        let held = held.clone();
        async move {
            let told = call.header("grpc-timeout").to_owned();
            let millis: u64 = told.trim_end_matches('m').parse().expect("milliseconds");
            assert!((1..=1_500).contains(&millis), "{told}");
            held.pass().await;
        }
    })
    .await;
    let edge = edge(&[origin.addr()], "", "timeout = \"1s\"").await;
    let client = Http2Client::connect(edge.addr()).await;
    let timed = request("/a.B/C").header("grpc-timeout", "200m").body(()).unwrap();
    let answered = client.ask(timed, &message("question"), None).await;
    assert_eq!(refused(&answered).1, "4");
    gate.arrived(1).await;
    // A stream may go on for longer than its head takes.
    let longer = request("/a.B/C").header("grpc-timeout", "1500m").body(()).unwrap();
    assert_eq!(refused(&client.ask(longer, &message("question"), None).await).1, "4");
    assert_eq!(counted(&edge, "DEADLINE_EXCEEDED").await, 2.0);
}

#[tokio::test]
async fn a_backend_whose_calls_fail_is_taken_out() {
    for in_head in [true, false] {
        let bad = Http2Origin::start(move |call| async move { end(call, "14", in_head) }).await;
        let good = Http2Origin::start(|call| async move { end(call, "0", false) }).await;
        let edge = edge(&[bad.addr(), good.addr()], "ejection = { consecutive = 2 }", "").await;
        eventually("it is out", || async {
            // So many at a time that the bad one is asked, too.
            futures::future::join_all((0..30).map(|_| call(&edge, "/a.B/C"))).await;
            (edge.state(bad.addr()).await != "healthy").then_some(())
        })
        .await;
        assert_eq!(edge.state(good.addr()).await, "healthy");
    }
}

#[tokio::test]
async fn what_is_about_the_call_is_not_held_against_the_backend() {
    let origin = Http2Origin::start(|call: Call| async move {
        let status = call.path().rsplit('/').next().unwrap().to_owned();
        end(call, &status, status == "4");
    })
    .await;
    let other = Http2Origin::start(|call| async move { end(call, "0", false) }).await;
    let edge = edge(&[origin.addr(), other.addr()], "ejection = { consecutive = 2 }", "").await;
    for status in ["1", "3", "5", "7", "8", "9", "12", "16"] {
        for _ in 0..8 {
            call(&edge, &format!("/a.B/{status}")).await;
        }
    }
    let client = Http2Client::connect(edge.addr()).await;
    for _ in 0..16 {
        let timed = request("/a.B/4").header("grpc-timeout", "1S").body(()).unwrap();
        client.ask(timed, &message("question"), None).await;
    }
    assert_eq!(edge.state(origin.addr()).await, "healthy");
}

/// Answers the first call of each method with UNAVAILABLE, and the next with OK.
async fn flaky() -> (Http2Origin, Http2Origin, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let answer = move |mut call: Call| {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        async move {
            let (body, _) = call.read().await;
            assert_eq!(body, message("question"));
            end(call, if nth == 0 { "14" } else { "0" }, nth == 0);
        }
    };
    (Http2Origin::start(answer.clone()).await, Http2Origin::start(answer).await, calls)
}

#[tokio::test]
async fn a_call_whose_answer_breaks_off_has_a_status_all_the_same() {
    let gate = Gate::new();
    let has_half = gate.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let has_half = has_half.clone();
        async move {
            let mut out = call.respond.send_response(head(), false).unwrap();
            out.send_data(message("half").into(), false).unwrap();
            has_half.pass().await;
            out.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let edge = edge(&[origin.addr()], "", "").await;
    let client = Http2Client::connect(edge.addr()).await;
    let (response, _stream) = client.begin(request("/a.B/C").body(()).unwrap(), true).await;
    let (head, mut incoming) = response.await.unwrap().into_parts();
    let mut got = Vec::new();
    while got.len() < message("half").len() {
        got.extend(incoming.data().await.expect("more").expect("data"));
    }
    gate.open();
    assert!(incoming.data().await.is_none());
    let trailers = incoming.trailers().await.unwrap().unwrap();
    assert_eq!((head.status, trailers["grpc-status"].to_str().unwrap()), (http::StatusCode::OK, "14"));
    assert_eq!(counted(&edge, "UNAVAILABLE").await, 1.0);
}

#[tokio::test]
async fn only_a_call_that_is_safe_is_repeated() {
    let safe = "[route.grpc]\nsafe_methods = [\"/a.B/Get\", \"/c.D/*\"]";
    for (method, calls, status) in [("/a.B/Get", 2, "0"), ("/c.D/Any", 2, "0"), ("/a.B/Put", 1, "14")] {
        let (one, other, count) = flaky().await;
        let edge = edge(&[one.addr(), other.addr()], "", safe).await;
        let answered = call(&edge, method).await;
        let told = if calls == 2 { answered.trailer("grpc-status") } else { answered.header("grpc-status") };
        assert_eq!((told, count.load(Ordering::SeqCst)), (status, calls), "{method}");
    }
}

#[tokio::test]
async fn a_late_call_is_copied_if_it_is_safe() {
    // Of each late call the first attempt waits at the gate.
    let (gate, asked) = (Gate::new(), Arc::new(Mutex::new(HashMap::<String, usize>::new())));
    let answer_call = {
        let (gate, asked) = (gate.clone(), asked.clone());
        move |mut call: Call| {
            let (gate, asked) = (gate.clone(), asked.clone());
            async move {
                let (body, _) = call.read().await;
                assert_eq!(body, message("question"));
                let nth = *asked.lock().unwrap().entry(call.path().to_owned()).and_modify(|n| *n += 1).or_insert(1);
                if call.path().contains("Late") && nth == 1 {
                    gate.pass().await;
                }
                end(call, "0", false);
            }
        }
    };
    let origins = [Http2Origin::start(answer_call.clone()).await, Http2Origin::start(answer_call).await];
    let keys = "tail = { hedge = { budget = \"50%\", burst = \"50%\", held_out = \"0%\", min_delay = \"40ms\", max_delay = \"40ms\" } }";
    let more = "[route.grpc]\nsafe_methods = [\"/a.B/*\"]";
    let edge = edge(&[origins[0].addr(), origins[1].addr()], keys, more).await;
    let client = Http2Client::connect(edge.addr()).await;
    let ask = |method: &str| {
        let (client, request) = (client.clone(), request(method).body(()).unwrap());
        async move { client.ask(request, &message("question"), None).await }
    };
    for _ in 0..240 {
        ask("/a.B/Warm").await;
    }
    eventually("a delay is learned", || async {
        (edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
    })
    .await;
    assert_eq!(ask("/a.B/Late").await.trailer("grpc-status"), "0");
    assert_eq!(edge.metric("hedgerow_hedges_total", &[("result", "won")]).await, 1.0);
    let (response, mut stream) = client.begin(request("/unsafe.B/Late").body(()).unwrap(), false).await;
    stream.send_data(message("question").into(), true).unwrap();
    gate.arrived(2).await;
    // One that began later is copied: by then the other is late enough, too.
    assert_eq!(ask("/a.B/LateToo").await.trailer("grpc-status"), "0");
    assert_eq!(edge.metric("hedgerow_hedges_total", &[("result", "won")]).await, 2.0);
    assert_eq!(asked.lock().unwrap()["/unsafe.B/Late"], 1);
    gate.open();
    assert_eq!(answer(response).await.trailer("grpc-status"), "0");
}

#[tokio::test]
async fn a_backend_is_asked_how_it_is_by_a_call() {
    let is_well = Arc::new(AtomicUsize::new(1));
    let well = is_well.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let status = u8::try_from(well.load(Ordering::SeqCst)).unwrap();
        async move {
            assert_eq!((call.path(), call.header("te")), ("/grpc.health.v1.Health/Check", "trailers"));
            assert_eq!(call.read().await.0, message("\u{a}\u{3}a.B"));
            call.say_with(head(), vec![0, 0, 0, 0, 2, 8, status], &[("grpc-status", "0")]);
        }
    })
    .await;
    let keys = "health = { grpc = \"a.B\", interval = \"100ms\", timeout = \"100ms\", fall = 2, rise = 1 }";
    let edge = edge(&[origin.addr()], keys, "").await;
    edge.metric_becomes("hedgerow_health_checks_total", &[("result", "passed")], 2.0).await;
    is_well.store(2, Ordering::SeqCst);
    edge.is_taken_out(origin.addr()).await;
    assert!(edge.metric("hedgerow_health_checks_total", &[("result", "status")]).await >= 2.0);
}
