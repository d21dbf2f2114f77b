//! HTTP/2 to backends: many requests on a connection, and what becomes of them when it ends.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::Builder;
use http::Response;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use support::edge::{Edge, first_and_second, pool};
use support::http2::{Call, DATA, Frame, Frames, GOAWAY, HEADERS, Http2Origin, PING, RST_STREAM};
use support::{Folder, Gate, Origin, Request, eventually};

const UNCACHED: &str = "[route.cache]\nenabled = false\n";

/// A pool `web` that speaks HTTP/2 to these, a route for everything, then `more`.
fn h2(addrs: &[SocketAddr], keys: &str, more: &str) -> String {
    pool("web", addrs, &format!("protocol = \"h2\"\n{keys}")) + "[[route]]\npool = \"web\"\n" + more
}

async fn edge_over(origin: &Http2Origin, keys: &str) -> Edge {
    Edge::start(&h2(&[origin.addr()], keys, UNCACHED)).await
}

/// So many requests at a time, each on a client connection of its own.
fn ask_at_once(edge: &Edge, n: usize) -> Vec<tokio::task::JoinHandle<support::Response>> {
    let addr = edge.addr();
    (0..n).map(|i| tokio::spawn(async move { support::get(addr, &format!("/{i}")).await })).collect()
}

#[tokio::test]
async fn many_requests_share_one_connection() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Http2Origin::start(move |call| {
        let held = held.clone();
        async move {
            held.pass().await;
            let path = call.path().to_owned();
            call.say(path);
        }
    })
    .await;
    let edge = edge_over(&origin, "").await;
    let asked = ask_at_once(&edge, 20);
    gate.arrived(20).await;
    gate.open();
    for (i, answer) in asked.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap().expect(200).text(), format!("/{i}"));
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_request_and_its_answer_pass_as_http_2_has_them() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        assert_eq!(call.request.method(), "POST");
        assert_eq!(call.request.uri().to_string(), "http://edge.test/a?b=c");
        for name in ["host", "connection", "transfer-encoding", "te"] {
            assert!(!call.request.headers().contains_key(name), "{name}");
        }
        assert_eq!((call.header("content-length"), call.header("x-client")), ("4", "a"));
        assert!(call.header("via").starts_with("1.1 "), "{}", call.header("via"));
        let (body, trailers) = call.read().await;
        assert_eq!((&body[..], trailers), (&b"body"[..], None));
        let head = Response::builder().status(201).header("x-origin", "b").header("set-cookie", "c=d");
        let mut stream = call.respond.send_response(head.body(()).unwrap(), false).unwrap();
        stream.send_data(Bytes::from_static(b"done"), true).unwrap();
    })
    .await;
    let edge = edge_over(&origin, "").await;
    let request = Request::post("/a?b=c", "body").header("X-Client", "a").header("Connection", "keep-alive");
    let answer = edge.fetch(&request).await.expect(201);
    assert_eq!((answer.text().as_str(), answer.header("X-Origin")), ("done", Some("b")));
    assert_eq!(answer.header("Set-Cookie"), Some("c=d"));
    assert!(answer.header("Via").is_some_and(|via| via.starts_with("2.0 ")), "{answer}");
}

#[tokio::test]
async fn no_more_streams_are_opened_than_either_side_wants() {
    for (theirs, ours, connections) in [(2, 100, 3), (100, 3, 2)] {
        let gate = Gate::new();
        let held = gate.clone();
        let mut settings = Builder::new();
        settings.max_concurrent_streams(theirs);
        let origin = Http2Origin::with(&settings, None, move |call| {
            let held = held.clone();
            async move {
                held.pass().await;
                call.say("ok");
            }
        })
        .await;
        let edge = edge_over(&origin, &format!("http2 = {{ max_streams = {ours} }}")).await;
        // How many the backend takes is known from the first.
        let asked = ask_at_once(&edge, 6);
        gate.arrived(6).await;
        gate.open();
        for answer in asked {
            answer.await.unwrap().expect(200);
        }
        assert_eq!(origin.connections(), connections, "{theirs} {ours}");
    }
}

#[tokio::test]
async fn a_refused_request_is_repeated_whatever_its_method() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let nth = count.fetch_add(1, Ordering::SeqCst);
        async move {
            if nth == 0 {
                return call.reset(Reason::REFUSED_STREAM);
            }
            let (body, _) = call.read().await;
            call.say(body);
        }
    })
    .await;
    let spare = Http2Origin::start(|mut call: Call| async move {
        let (body, _) = call.read().await;
        call.say(body);
    })
    .await;
    let edge = Edge::start(&first_and_second(origin.addr(), spare.addr(), "protocol = \"h2\"", UNCACHED)).await;
    edge.fetch(&Request::post("/", "precious")).await.expect(200);
    assert_eq!(origin.requests() + spare.requests(), 2);
}

#[tokio::test]
async fn what_a_leaving_backend_has_not_looked_at_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let edge = Edge::start(&h2(&[addr], "", UNCACHED)).await;
    let client = edge.addr();
    let asked = tokio::spawn(async move { support::get(client, "/").await });
    let mut first = Frames::accept(&listener).await;
    first.next(HEADERS).await.expect("a request");
    first.send(&Frame::goaway(0, Reason::NO_ERROR)).await;
    let mut second = Frames::accept(&listener).await;
    let again = second.next(HEADERS).await.expect("the same request");
    // `:status: 204` from the static table, and the end of the stream.
    second.send(&Frame::new(HEADERS, 0x5, again.stream, &[0x89])).await;
    asked.await.unwrap().expect(204);
}

#[tokio::test]
async fn a_backend_that_leaves_ends_what_it_has_begun() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Http2Origin::start(move |call| {
        let held = held.clone();
        async move {
            if call.path() == "/0" {
                held.pass().await;
            }
            let connection = call.connection.to_string();
            call.say(connection);
        }
    })
    .await;
    let edge = edge_over(&origin, "").await;
    let begun = ask_at_once(&edge, 1);
    gate.arrived(1).await;
    origin.leave();
    eventually("the edge has heard of it", || async {
        let answer = edge.get("/next").await.expect(200).text();
        (answer == "1").then_some(())
    })
    .await;
    gate.open();
    for answer in begun {
        assert_eq!(answer.await.unwrap().expect(200).text(), "0");
    }
    origin.has_open(1).await;
}

#[tokio::test]
async fn a_reset_is_a_failure_of_that_request_alone() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Http2Origin::start(move |call| {
        let held = held.clone();
        async move {
            match call.path() {
                "/bad" => call.reset(Reason::INTERNAL_ERROR),
                _ => {
                    held.pass().await;
                    call.say("fine");
                }
            }
        }
    })
    .await;
    let edge = edge_over(&origin, "tail = { retry = { attempts = 0 } }").await;
    let others = ask_at_once(&edge, 3);
    gate.arrived(3).await;
    let answer = edge.get("/bad").await.expect(502);
    assert!(
        answer.header("Proxy-Status").is_some_and(|told| told.contains("error=http_response_incomplete")),
        "{answer}"
    );
    gate.open();
    for answer in others {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn who_does_not_speak_http_2_is_said_not_to() {
    let origin = Origin::start().await;
    let edge = Edge::start(&h2(&[origin.addr()], "", UNCACHED)).await;
    let answer = edge.fetch(&Request::post("/", "body")).await.expect(502);
    assert!(answer.text().contains("HTTP/2"), "{answer}");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn an_upgrade_is_refused() {
    let origin = Http2Origin::start(|call| async move { call.say("ok") }).await;
    let edge = edge_over(&origin, "").await;
    let request = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let answer = edge.fetch(&request).await.expect(501);
    assert!(answer.text().contains("HTTP/2"), "{answer}");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_silent_peer_is_asked_whether_it_is_there_and_left_if_it_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let edge = Edge::start(&h2(&[addr], "http2 = { ping_timeout = \"1s\" }", UNCACHED)).await;
    let client = edge.addr();
    let request = Request::post("/", "body").header("X-Request-Timeout-Ms", 1100);
    let asked = tokio::spawn(async move { support::fetch(client, &request).await });
    let mut silent = Frames::accept(&listener).await;
    silent.next(HEADERS).await.expect("a request");
    assert_eq!(silent.next(PING).await.map(|ping| ping.flags), Some(0));
    asked.await.unwrap().expect(504);
    assert_eq!(silent.next(GOAWAY).await, None, "the connection is closed");
}

#[tokio::test]
async fn a_peer_is_asked_at_intervals_while_requests_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let keys = "http2 = { ping_interval = \"50ms\" }";
    let edge = Edge::start(&h2(&[addr], keys, UNCACHED)).await;
    let client = edge.addr();
    let asked = tokio::spawn(async move { support::get(client, "/").await });
    let mut quiet = Frames::accept(&listener).await;
    let request = quiet.next(HEADERS).await.expect("a request");
    for _ in 0..3 {
        let ping = quiet.next(PING).await.expect("a ping");
        quiet.send(&Frame::new(PING, 1, 0, &ping.payload)).await;
    }
    quiet.send(&Frame::new(HEADERS, 0x5, request.stream, &[0x89])).await;
    asked.await.unwrap().expect(204);
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let origin = Http2Origin::start(|call| async move { call.say("ok") }).await;
    let edge = edge_over(&origin, "timeouts = { idle = \"100ms\" }").await;
    edge.get("/").await.expect(200);
    origin.has_open(0).await;
    edge.get("/").await.expect(200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_slow_client_holds_up_neither_the_backend_nor_others() {
    const SIZE: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let count = count.clone();
        async move {
            if call.path() != "/large" {
                return call.say("ok");
            }
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            for _ in 0..SIZE / 65_536 {
                stream.reserve_capacity(65_536);
                let mut left = 65_536;
                while left > 0 {
                    let Some(Ok(n)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                    let n = n.min(left);
                    stream.send_data(Bytes::from(vec![b'x'; n]), false).unwrap();
                    count.fetch_add(n, Ordering::SeqCst);
                    left -= n;
                }
            }
            stream.send_data(Bytes::new(), true).unwrap();
        }
    })
    .await;
    let edge = edge_over(&origin, "").await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = edge.client().await;
        client.ask(&Request::get("/large")).await;
        client.head().await;
        slow.push(client);
    }
    let mut before = usize::MAX;
    eventually("the backend waits", || {
        let now = sent.load(Ordering::SeqCst);
        let has_stopped = now == before;
        before = now;
        async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            has_stopped.then_some(())
        }
    })
    .await;
    assert!(before < 8 * (16 << 20), "{before} bytes were taken from the backend");
    edge.get("/small").await.expect(200);
    assert_eq!(origin.connections(), 1);
    let (body, complete) = slow.remove(0).rest().await;
    assert_eq!((body.len(), complete), (SIZE, true));
}

#[tokio::test]
async fn large_bodies_pass_both_ways_at_a_time() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        // An echo that never holds more than it has just read.
        let mut out = call.respond.send_response(Response::new(()), false).unwrap();
        let body = call.request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            let mut left = data.clone();
            while !left.is_empty() {
                out.reserve_capacity(left.len());
                let Some(Ok(n)) = std::future::poll_fn(|cx| out.poll_capacity(cx)).await else { return };
                out.send_data(left.split_to(n.min(left.len())), false).unwrap();
            }
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        out.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    let edge = edge_over(&origin, "").await;
    let blob: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let chunks: Vec<&[u8]> = blob.chunks(99_999).collect();
    for request in [Request::post("/", &blob), Request::new("PUT", "/").chunks(&chunks)] {
        // One who writes all before reading anything would wait for ever.
        let (mut read, mut write) = TcpStream::connect(edge.addr()).await.unwrap().into_split();
        let writing = tokio::spawn(async move {
            write.write_all(&request.header("Connection", "close").bytes()).await.unwrap();
            write
        });
        let mut answer = Vec::new();
        tokio::time::timeout(support::PATIENCE, read.read_to_end(&mut answer)).await.expect("an end").unwrap();
        writing.await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..200]));
        assert!(answer.len() > blob.len() && answer.ends_with(b"\r\n0\r\n\r\n"), "the body is cut short");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_sent_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Edge::start(&h2(&[listener.local_addr().unwrap()], "", UNCACHED)).await;
    let client = edge.addr();
    let request = Request::post("/", vec![b'x'; 4 << 20]);
    let asked = tokio::spawn(async move { support::fetch(client, &request).await });
    let mut origin = Frames::accept(&listener).await;
    let stream = origin.next(HEADERS).await.expect("a request").stream;
    // `:status: 413`, a body, and no wish for the rest of the request (RFC 9113 §8.1).
    origin.send(&Frame::new(HEADERS, 0x4, stream, b"\x48\x03413")).await;
    origin.send(&Frame::new(DATA, 0x1, stream, b"no")).await;
    origin.send(&Frame::new(RST_STREAM, 0, stream, &u32::from(Reason::NO_ERROR).to_be_bytes())).await;
    let answer = asked.await.unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
}

#[tokio::test]
async fn early_hints_reach_the_client_before_the_answer() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let held = held.clone();
        async move {
            let hints = Response::builder().status(103).header("link", "</a.css>").body(()).unwrap();
            call.respond.send_informational(hints).unwrap();
            held.pass().await;
            call.say("page");
        }
    })
    .await;
    let edge = edge_over(&origin, "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/")).await;
    let hints = client.interim().await;
    assert_eq!((hints.status, hints.header("Link")), (103, Some("</a.css>")));
    gate.open();
    client.answer().await.expect(200);
}

#[tokio::test]
async fn a_backend_is_checked_by_http_2() {
    let is_well = Arc::new(AtomicUsize::new(1));
    let well = is_well.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let status = if well.load(Ordering::SeqCst) == 1 { 204 } else { 500 };
        async move {
            assert_eq!((call.path(), call.header("user-agent")), ("/healthz", "hedgerow-health-check"));
            let head = Response::builder().status(status).body(()).unwrap();
            call.respond.send_response(head, true).unwrap();
        }
    })
    .await;
    let health = "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\", fall = 2, rise = 1 }";
    let edge = edge_over(&origin, health).await;
    edge.metric_becomes("hedgerow_health_checks_total", &[("result", "passed")], 2.0).await;
    is_well.store(0, Ordering::SeqCst);
    edge.is_taken_out(origin.addr()).await;
    is_well.store(1, Ordering::SeqCst);
    edge.state_becomes(origin.addr(), "recovering").await;
}

#[tokio::test]
async fn a_loser_is_cancelled_and_its_connection_kept() {
    let (calls, cancelled, gate) = (Arc::new(AtomicUsize::new(0)), Gate::new(), Gate::new());
    let answer = {
        let (calls, cancelled, gate) = (calls.clone(), cancelled.clone(), gate.clone());
        move |mut call: Call| {
            let (calls, cancelled, gate) = (calls.clone(), cancelled.clone(), gate.clone());
            async move {
                if call.path() == "/late" && calls.fetch_add(1, Ordering::SeqCst) == 0 {
                    assert_eq!(call.given_up().await, Reason::CANCEL);
                    cancelled.pass().await;
                    return gate.pass().await;
                }
                call.say("ok");
            }
        }
    };
    let origins = [Http2Origin::start(answer.clone()).await, Http2Origin::start(answer).await];
    let keys = "tail = { hedge = { budget = \"50%\", burst = \"50%\", held_out = \"0%\", min_delay = \"40ms\", max_delay = \"40ms\" } }";
    let edge = Edge::start(&h2(&[origins[0].addr(), origins[1].addr()], keys, UNCACHED)).await;
    let mut client = edge.client().await;
    for _ in 0..240 {
        client.get("/warm").await.expect(200);
    }
    eventually("a delay is learned", || async {
        (edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
    })
    .await;
    client.get("/late").await.expect(200);
    cancelled.arrived(1).await;
    for _ in 0..20 {
        client.get("/warm").await.expect(200);
    }
    assert_eq!((origins[0].connections(), origins[1].connections()), (1, 1));
    assert_eq!(edge.metric("hedgerow_hedges_total", &[("result", "won")]).await, 1.0);
}

/// A certificate of `shop.example`, its authority in `ca.pem`, and a server that offers these protocols.
fn secured(alpn: &[&str]) -> (TlsAcceptor, Folder) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let folder = Folder::new();
    folder.write("ca.pem", &authority.pem());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
    let mut config = config.unwrap();
    config.alpn_protocols = alpn.iter().map(|word| word.as_bytes().to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), folder)
}

#[tokio::test]
async fn under_tls_http_2_is_agreed_on_or_not_spoken() {
    for (alpn, status) in [(&["h2"][..], 200), (&["http/1.1"], 502), (&[], 502)] {
        let (tls, folder) = secured(alpn);
        let origin = Http2Origin::with(&Builder::new(), Some(tls), |call: Call| async move {
            assert_eq!(call.request.uri().scheme_str(), Some("https"));
            call.say("secure");
        })
        .await;
        let ca = folder.path().join("ca.pem");
        let keys = format!("tls = {{ server_name = \"shop.example\", ca = \"{}\" }}", ca.display());
        let edge = edge_over(&origin, &keys).await;
        let answer = edge.get("/").await.expect(status);
        if status == 502 {
            assert_eq!(answer.text(), "The backend does not speak HTTP/2.\n", "{alpn:?}");
        }
    }
}

#[tokio::test]
async fn a_malformed_answer_is_refused() {
    let fields = |fields: &[(&str, &str)]| {
        let part = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        fields.iter().flat_map(|(name, value)| [vec![0], part(name), part(value)].concat()).collect::<Vec<u8>>()
    };
    for block in [
        fields(&[(":status", "200"), ("connection", "close")]),
        fields(&[(":status", "200"), ("transfer-encoding", "chunked")]),
        fields(&[(":status", "200"), ("content-length", "3"), ("content-length", "4")]),
        fields(&[(":status", "200"), ("X-Upper", "a")]),
        fields(&[(":status", "101")]),
        fields(&[("x-no", "status")]),
        fields(&[(":status", "304")]),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keys = "tail = { retry = { attempts = 0 } }";
        let edge = Edge::start(&h2(&[listener.local_addr().unwrap()], keys, UNCACHED)).await;
        let client = edge.addr();
        let asked = tokio::spawn(async move { support::fetch(client, &Request::post("/", "")).await });
        let mut frames = Frames::accept(&listener).await;
        let stream = frames.next(HEADERS).await.expect("a request").stream;
        frames.send(&Frame::new(HEADERS, 0x5, stream, &block)).await;
        let answer = asked.await.unwrap().expect(502);
        assert_eq!(answer.proxy_error(), "http_protocol_error", "{block:?}");
    }
}
