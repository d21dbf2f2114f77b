//! What a client may ask for, and how it is told that it asked for too much, too slowly or in a way that cannot be right.

mod support;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use support::client::chunk_of;
use support::edge::{Edge, over};
use support::{Gate, Origin, Reply, Request};

/// An edge over an origin that answers everything.
async fn edge_and_origin(more: &str) -> (Edge, Origin) {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(&seen.body));
    (Edge::over(&[&origin], more).await, origin)
}

#[tokio::test]
async fn a_head_over_its_size_is_answered_431() {
    let (edge, origin) = edge_and_origin("[server.limits]\nhead_size = \"2KiB\"\nuri_length = \"1KiB\"\n").await;
    let answer = edge.refuses(Request::get("/a").header("X-Big", "x".repeat(3_000)).bytes()).await;
    assert_eq!(answer.status, 431);
    let many = (0..30).fold(Request::get("/a"), |request, n| request.header(&format!("X-{n}"), "y".repeat(100)));
    assert_eq!(edge.refuses(many.bytes()).await.status, 431);
    // It need not be complete to be too much.
    let endless = format!("GET /a HTTP/1.1\r\nHost: a\r\nX-Big: {}", "x".repeat(3_000));
    assert_eq!(edge.refuses(endless).await.status, 431);
    assert_eq!(origin.requests(), 0);
    edge.fetch(&Request::get("/a").header("X-Fits", "x".repeat(1_500))).await.expect(200);
}

#[tokio::test]
async fn the_default_head_is_16_kib_and_100_fields() {
    let (edge, _origin) = edge_and_origin("").await;
    edge.fetch(&Request::get("/a").header("X-Fits", "x".repeat(15_000))).await.expect(200);
    assert_eq!(edge.refuses(Request::get("/a").header("X-Big", "x".repeat(17_000)).bytes()).await.status, 431);
    let fields = |n: usize| (1..n).fold(Request::get("/a"), |request, n| request.header(&format!("X-{n}"), "y"));
    edge.fetch(&fields(100)).await.expect(200);
    assert_eq!(edge.refuses(fields(101).bytes()).await.status, 431);
    assert_eq!(edge.refuses(fields(400).bytes()).await.status, 431);
}

#[tokio::test]
async fn too_many_fields_are_answered_431() {
    let (edge, origin) = edge_and_origin("[server.limits]\nheaders = 10\n").await;
    let fields = |n: usize| (1..n).fold(Request::get("/a"), |request, n| request.header(&format!("X-{n}"), "y"));
    edge.fetch(&fields(10)).await.expect(200);
    assert_eq!(edge.refuses(fields(11).bytes()).await.status, 431);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_target_over_its_length_is_answered_414() {
    let (edge, origin) = edge_and_origin("[server.limits]\nuri_length = \"256B\"\n").await;
    let target = |length: usize| format!("/{}", "a".repeat(length - 1));
    edge.get(&target(256)).await.expect(200);
    assert_eq!(edge.refuses(Request::get(&target(257)).bytes()).await.status, 414);
    assert_eq!(edge.refuses(Request::get(&format!("/a?{}", "q".repeat(300))).bytes()).await.status, 414);
    assert_eq!(edge.refuses(format!("GET /{}", "a".repeat(20_000))).await.status, 414);
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_answered_413_before_it_is_sent() {
    let (edge, origin) = edge_and_origin("max_body = \"1KiB\"\n").await;
    edge.fetch(&Request::post("/a", "x".repeat(1024))).await.expect(200);
    let answer = edge.refuses("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n").await;
    assert_eq!(answer.status, 413);
    let expecting = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\nExpect: 100-continue\r\n\r\n";
    let answer = edge.refuses(expecting).await;
    assert_eq!((answer.status, answer.interim.len()), (413, 0), "no 100 for what is refused: {answer}");
    assert_eq!(edge.fetch(&Request::post("/a", "x".repeat(500_000))).await.status, 413, "the answer survives the rest");
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn a_chunked_body_that_grows_too_large_is_answered_413() {
    let (edge, origin) = edge_and_origin("max_body = \"1KiB\"\n").await;
    let (half, more) = ("x".repeat(512), "x".repeat(513));
    let whole = Request::new("POST", "/a").chunks(&[half.as_bytes(), half.as_bytes()]);
    assert_eq!(edge.fetch(&whole).await.expect(200).body.len(), 1024);

    let mut client = edge.client().await;
    client.send("POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.send(chunk_of(half.as_bytes())).await;
    client.send(chunk_of(more.as_bytes())).await;
    assert_eq!(client.answer().await.status, 413);
    client.closed().await;
    assert!(origin.seen("/b").iter().all(|seen| !seen.whole), "the backend never got it as whole");
}

#[tokio::test]
async fn the_body_limit_is_the_routes_own() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(seen.body.len().to_string()));
    let conf = over(&[origin.addr()], "max_body = \"10B\"\n")
        + "[[route]]\nmatch = { path = \"/upload\" }\npool = \"web\"\nmax_body = \"1MiB\"\n";
    let edge = Edge::start(&conf).await;
    assert_eq!(edge.fetch(&Request::post("/upload", "x".repeat(5_000))).await.expect(200).text(), "5000");
    assert_eq!(edge.fetch(&Request::post("/a", "x".repeat(11))).await.status, 413);
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_answered_408() {
    let (edge, origin) = edge_and_origin("[server.timeouts]\nhead = \"200ms\"\n").await;
    assert_eq!(edge.refuses("GET /a HTT").await.status, 408);
    assert_eq!(edge.refuses("GET /a HTTP/1.1\r\nHost: a\r\n").await.status, 408);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_head_that_trickles_is_not_given_more_time_for_each_byte() {
    let (edge, _origin) = edge_and_origin("[server.timeouts]\nhead = \"300ms\"\n").await;
    let mut client = edge.client().await;
    client.send("GET /a HTTP/1.1\r\n").await;
    // Slowloris: each line well within the limit, all of them far beyond it.
    let mut sent = 0;
    while client.quiet_for(std::time::Duration::from_millis(40)).await {
        client.send(format!("X-{sent}: y\r\n")).await;
        sent += 1;
        assert!(sent < 100, "still listening after {sent} lines");
    }
    assert_eq!(client.answer().await.status, 408);
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let (edge, _origin) = edge_and_origin("[server.timeouts]\nidle = \"150ms\"\nhead = \"10s\"\n").await;
    let mut used = edge.client().await;
    used.get("/a").await.expect(200);
    assert_eq!(used.closed().await, b"");
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let (edge, origin) = edge_and_origin("[server.timeouts]\nbody = \"150ms\"\n").await;
    let mut client = edge.client().await;
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").await;
    if let Some(answer) = client.answer_or_close().await {
        assert_eq!(answer.status, 408);
        client.closed().await;
    }
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    assert!(origin.seen("/a").iter().all(|seen| !seen.whole));
}

#[tokio::test]
async fn a_connection_serves_so_many_requests_and_says_when_it_is_the_last() {
    let (edge, _origin) = edge_and_origin("[server.limits]\nrequests_per_connection = 3\n").await;
    let mut client = edge.client().await;
    for last in [false, false, true] {
        let answer = client.get("/a").await.expect(200);
        assert_eq!(answer.headers.lists("Connection", "close"), last);
    }
    assert!(client.closed().await.is_empty());
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let (edge, _origin) = edge_and_origin("[server.limits]\nconnections = 2\n").await;
    let (mut one, mut two) = (edge.client().await, edge.client().await);
    one.get("/a").await.expect(200);
    two.get("/a").await.expect(200);
    let mut three = edge.client().await;
    three.ask(&Request::get("/a")).await;
    if let Some(answer) = three.answer_or_close().await {
        assert_eq!(answer.status, 503);
    }
    one.get("/a").await.expect(200);
    drop(two);
    support::eventually("a place is free", || async {
        let mut four = edge.client().await;
        four.ask(&Request::get("/a")).await;
        four.answer_or_close().await.filter(|answer| answer.status == 200)
    })
    .await;
}

#[tokio::test]
async fn what_is_no_request_is_answered_400() {
    let (edge, origin) = edge_and_origin("").await;
    for (what, bytes) in [
        ("no HTTP at all", "hello there\r\n\r\n"),
        ("a TLS hello's first bytes", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
        ("a method with a bracket", "G(T /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("two targets", "GET /a /b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a target with a control character", "GET /a\x01b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a target that climbs", "GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("the whole server for other than its options", "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a target with a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a line without a colon", "GET /a HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n"),
        ("a folded line", "GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n"),
        ("a folded first line", "GET /a HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("a space before the colon", "GET /a HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n"),
        ("a name that is none", "GET /a HTTP/1.1\r\nHost: a\r\nX(A): b\r\n\r\n"),
        ("no name", "GET /a HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        ("a NUL in a value", "GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n"),
        ("a bell in a value", "GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\x07c\r\n\r\n"),
        ("a bare CR in a value", "GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n"),
        ("a bare LF after a field", "GET /a HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
        ("bare LFs throughout", "GET /a HTTP/1.1\nHost: a\n\n"),
        ("no Host", "GET /a HTTP/1.1\r\n\r\n"),
        ("two Hosts", "GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ("a Host with a space", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n"),
        ("a Host with a path", "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("a Host with a user", "GET /a HTTP/1.1\r\nHost: me@a\r\n\r\n"),
    ] {
        let answer = edge.refuses(bytes).await;
        assert_eq!(answer.status, 400, "{what}: {answer}");
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_body_whose_length_can_be_read_in_two_ways_is_answered_400() {
    let (edge, origin) = edge_and_origin("").await;
    let post = |fields: &str, body: &str| format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    for (what, bytes) in [
        ("different lengths", post("Content-Length: 4\r\nContent-Length: 5\r\n", "body!")),
        ("different lengths in one field", post("Content-Length: 4, 5\r\n", "body!")),
        ("a negative length", post("Content-Length: -1\r\n", "")),
        ("a signed length", post("Content-Length: +4\r\n", "body")),
        ("a hexadecimal length", post("Content-Length: 0x4\r\n", "body")),
        ("a length beyond counting", post("Content-Length: 99999999999999999999\r\n", "body")),
        ("no length at all", post("Content-Length: \r\n", "body")),
        ("chunked before another coding", post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n")),
        ("a coding nobody knows", post("Transfer-Encoding: chonked\r\n", "0\r\n\r\n")),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n")),
        ("chunked in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n")),
        ("chunked with a hidden tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n")),
        ("chunks in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
    ] {
        let answer = edge.refuses(bytes).await;
        assert_eq!(answer.status, 400, "{what}: {answer}");
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_request_with_both_length_and_chunks_is_refused_or_is_the_connections_last() {
    let (edge, origin) = edge_and_origin("").await;
    for fields in ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"]
    {
        let mut bytes = format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n").into_bytes();
        bytes.extend(Request::get("/smuggled").bytes());
        let answer = edge.refuses(bytes).await;
        assert!(matches!(answer.status, 400 | 200), "{answer}");
    }
    for seen in origin.seen("/a") {
        assert!(seen.body.is_empty() && seen.headers.all("Content-Length").len() <= 1, "read as chunked: {seen:?}");
    }
    assert_eq!(origin.count("/smuggled"), 0);
}

#[tokio::test]
async fn a_version_of_the_future_is_refused() {
    let (edge, origin) = edge_and_origin("").await;
    let answer = edge.refuses("GET /a HTTP/9.9\r\nHost: a\r\n\r\n").await;
    assert!(matches!(answer.status, 400 | 505), "{answer}");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_chunked_body_that_is_none_never_arrives_as_whole() {
    let (edge, origin) = edge_and_origin("").await;
    for (what, body) in [
        ("no size", "zz\r\nbody\r\n0\r\n\r\n"),
        ("a negative size", "-4\r\nbody\r\n0\r\n\r\n"),
        ("a size beyond counting", "fffffffffffffffff\r\nbody\r\n0\r\n\r\n"),
        ("more than its size", "2\r\nbody\r\n0\r\n\r\n"),
    ] {
        let mut client = edge.client().await;
        client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
        if let Some(answer) = client.answer_or_close().await {
            assert_eq!(answer.status, 400, "{what}: {answer}");
        }
        client.closed().await;
    }
    assert!(origin.seen("/a").iter().all(|seen| !seen.whole), "{:?}", origin.seen("/a"));
}

#[tokio::test]
async fn nothing_that_follows_a_refused_request_is_taken_for_another() {
    let (edge, origin) = edge_and_origin("").await;
    let mut bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 0\r\n\r\n".to_vec();
    bytes.extend(Request::get("/smuggled").bytes());
    let answer = edge.refuses(bytes).await;
    assert_eq!((answer.status, origin.requests()), (400, 0));
}

#[tokio::test]
async fn connect_and_trace_are_answered_405() {
    let (edge, origin) = edge_and_origin("").await;
    for bytes in ["CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let answer = edge.fetch_raw(bytes).await;
        assert_eq!(answer.status, 405, "{answer}");
        assert!(answer.header("Allow").is_some(), "RFC 9110 §15.5.6: {answer}");
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn what_is_merely_unusual_is_served() {
    let (edge, _origin) = edge_and_origin("").await;
    for (what, bytes) in [
        ("an empty line first", "\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("an empty value", "GET /a HTTP/1.1\r\nHost: a\r\nX-A:\r\n\r\n"),
        ("spaces around a value", "GET /a HTTP/1.1\r\nHost:   a  \r\nX-A: \t b \r\n\r\n"),
        ("bytes beyond ASCII in a value", "GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\u{e9}\r\n\r\n"),
        ("the same length twice", "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
        ("no Host in HTTP/1.0", "GET /a HTTP/1.0\r\n\r\n"),
        (
            "a chunk with an extension",
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n",
        ),
        ("an odd spelling of chunked", "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"),
        ("OPTIONS for the server itself", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        let answer = edge.fetch_raw(bytes).await;
        // Two equal lengths may be read as one or refused (RFC 9112 §6.3).
        let may_refuse = what == "the same length twice";
        assert!(answer.status == 200 || (may_refuse && answer.status == 400), "{what}: {answer}");
    }
}

#[tokio::test]
async fn the_total_time_of_a_request_is_limited_by_its_route() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::ok("late").held_by(&gate));
    let edge = Edge::over(&[&origin], "timeout = \"200ms\"\n").await;
    let answer = edge.get("/a").await.expect(504);
    assert_eq!(answer.proxy_error(), "http_response_timeout");
}

#[tokio::test]
async fn every_refusal_is_counted_by_its_reason() {
    let (edge, _origin) =
        edge_and_origin("max_body = \"10B\"\n[server.limits]\nheaders = 10\nuri_length = \"100B\"\n").await;
    edge.refuses("nonsense\r\n\r\n").await;
    edge.refuses((0..20).fold(Request::get("/a"), |r, n| r.header(&format!("X-{n}"), "y")).bytes()).await;
    edge.refuses(Request::get(&format!("/{}", "a".repeat(200))).bytes()).await;
    edge.fetch(&Request::post("/a", "more than ten bytes")).await;
    edge.fetch_raw("TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for reason in ["bad-request", "head-too-large", "uri-too-long", "body-too-large", "method-refused"] {
        edge.metric_becomes("hedgerow_terminations_total", &[("reason", reason)], 1.0).await;
    }
}

#[tokio::test]
async fn many_ranges_of_one_object_send_no_more_than_it() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(600, vec![b'x'; 100_000]));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let ranges = ["0-"; 150].join(",");
    let answer = edge.fetch(&Request::get("/a").header("Range", format!("bytes={ranges}"))).await;
    assert!(answer.body.len() <= 100_000, "{answer}");
}

#[tokio::test]
async fn a_client_that_takes_no_heads_is_cut() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(600, "alpha").header("X-Big", &"x".repeat(8_000)));
    let limits = "[server.limits]\nrequests_per_connection = 100000\n[server.timeouts]\nwrite = \"200ms\"\n";
    let edge = Edge::over(&[&origin], limits).await;
    edge.get("/a").await.expect(200);
    // Not the kit's client, which reads while it writes. The answers outgrow what both sockets hold.
    let mut client = TcpStream::connect(edge.addr()).await.expect("the edge accepts");
    let heads = Request::head("/a").bytes().repeat(100);
    let cut = async { while client.write_all(&heads).await.is_ok() {} };
    support::patiently(cut, || "the edge gives up".to_owned()).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "client-timeout")], 1.0).await;
}
