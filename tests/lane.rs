//! The fast lane: the same answer as behind it, byte for byte, and the same manners towards the connection.
//!
//! The kit's edges tell clients of this machine the key, which the lane leaves to others: so each edge here says otherwise.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};
use support::edge::{Edge, over, pool};
use support::{Client, Folder, Gate, Origin, Reply, Request, Response, Seen, eventually, fetch};

/// Nobody here is told the key.
const UNREVEALED: &str = "[cache]\nreveal = { clients = [\"192.0.2.0/24\"] }\n";

/// How many requests the lane has answered.
async fn served(edge: &Edge) -> f64 {
    outcome(edge, "served").await
}

async fn outcome(edge: &Edge, outcome: &str) -> f64 {
    edge.metric("hedgerow_lane_requests_total", &[("outcome", outcome)]).await
}

/// More than the buffers between an edge and its client hold.
const LARGE: usize = 24 << 20;

/// What the origins of the stories say: `/n` is fresh and says so, `/large` is large.
fn page(seen: &Seen) -> Reply {
    match seen.path() {
        "/large" => Reply::fresh(3600, "l".repeat(LARGE)),
        path => Reply::fresh(3600, format!("page {path}")).header("ETag", "\"v1\""),
    }
}

/// One route over an origin of [`page`]s, with `more` where the route's keys end, and these pages stored.
async fn house(more: &str, stored: &[&str]) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.otherwise(page);
    let edge = Edge::start(&(over(&[origin.addr()], more) + UNREVEALED)).await;
    for path in stored {
        edge.get(path).await.expect(200);
    }
    (origin, edge)
}

/// The request, but for those behind the lane.
fn slow(request: Request) -> Request {
    request.header("x_slow", 1)
}

#[track_caller]
fn is_hit(answer: &Response, path: &str) {
    assert_eq!((answer.status, answer.verdict()), (200, "HIT"), "{answer}");
    assert_eq!(answer.text(), format!("page {path}"));
}

/// The bytes of GETs for these paths, one after the other.
fn gets<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    paths.into_iter().flat_map(|path| Request::get(path).bytes()).collect()
}

/// An edge that logs to a file.
struct Logged {
    origin: Origin,
    edge: Edge,
    file: PathBuf,
    _folder: Folder,
}

impl Logged {
    async fn with(more: &str, stored: &[&str]) -> Logged {
        let folder = Folder::new();
        let file = folder.path().join("access.log");
        let log = format!("[access_log]\nformat = \"json\"\noutput = \"{}\"\n", file.display());
        let (origin, edge) = house(&format!("{more}\n{log}"), stored).await;
        let logged = Logged { origin, edge, file, _folder: folder };
        logged.lines(stored.len()).await;
        logged
    }

    /// All lines, once there are `n`.
    async fn lines(&self, n: usize) -> Vec<Value> {
        let text = eventually(&format!("{n} lines in the access log"), || async {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            (text.lines().count() >= n && (n == 0 || text.ends_with('\n'))).then_some(text)
        })
        .await;
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}")))
            .collect()
    }

    /// The `n`th line, which must be the last.
    async fn line(&self, n: usize) -> Value {
        let mut lines = self.lines(n).await;
        assert_eq!(lines.len(), n, "{lines:#?}");
        lines.remove(n - 1)
    }
}

#[tokio::test]
async fn who_answers_is_told_by_the_metric() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| {
        let reply = Reply::fresh(3600, format!("page {}", seen.path()));
        match seen.path() {
            "/told" => reply.header("Vary", "X-Forwarded-Proto, X-Forwarded-For"),
            "/class" => reply.header("Vary", "X-Device-Class"),
            "/fields" => reply.header("Vary", "Accept-Encoding, Cookie"),
            _ => reply,
        }
    });
    let more = "priority_header = \"X-Priority\"\n[route.cache.key]\n\
                template = \"{scheme}{host}{path}{query}{header:x-tenant}{device}{cookie:cur}\"\n\
                device = [{ class = \"mobile\", user_agent = \"*Mobile*\" }]\n\
                query = { drop = [\"utm_*\"], sort = true }\n\
                [[route]]\npool = \"web\"\nmatch = { path = \"/off\" }\ncache.enabled = false\n\
                [[route]]\npool = \"web\"\nmatch = { path = \"/rated\" }\nrate = { total = \"1000/s\" }\n";
    let edge = Edge::start(&(over(&[origin.addr()], more) + UNREVEALED)).await;
    let get = Request::get;
    let mobile = ("User-Agent", "A Mobile One");
    for (primed, asked, expected) in [
        (get("/a"), get("/a"), "served"),
        (get("/a"), Request::head("/a"), "served"),
        (get("/a?b=1&a=2"), get("/./%61?a=2&utm_x=1&b=1").host("EDGE.test.:80"), "served"),
        (get("/a"), get("/a").header("X-Forwarded-Proto", "https").header("X-Forwarded-Host", "b"), "served"),
        (
            get("/told"),
            get("/told").header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "1.2.3.4"),
            "served",
        ),
        (
            get("/a").header(mobile.0, mobile.1),
            get("/a").header(mobile.0, "mobile two").header("x-tenant", "1"),
            "not-stored",
        ),
        (get("/a").header(mobile.0, mobile.1), get("/a").header(mobile.0, "mobile two"), "served"),
        (get("/a").header("X-Tenant", "1"), get("/a").header("x-tenant", "1"), "served"),
        (get("/a").header("X-Tenant", "1"), get("/a").header("x-tenant", "2"), "not-stored"),
        (get("/a").header("Cookie", "cur=1"), get("/a").header("cookie", "x=y; cur=1"), "served"),
        (get("/a").header("Cookie", "cur=1"), get("/a").header("cookie", "cur=2"), "not-stored"),
        (get("/fields").header("Cookie", "x"), get("/fields").header("cookie", "x"), "served"),
        (get("/fields").header("Cookie", "x"), get("/fields").header("cookie", "y"), "not-stored"),
        (get("/class"), get("/class"), "variant"),
        (get("/a"), get("/a").header("X-Device-Class", "mobile"), "served"),
        (get("/a"), get("/a").header("If-None-Match", "*").header("Connection", "close"), "served"),
        (get("/a"), get("/a").header("Authorization", "Basic x").header("Accept", "*/*"), "served"),
        (get("/a"), Request::post("/a", ""), "method"),
        (get("/a"), get("/a").http10(), "version"),
        (get("/a"), get("http://edge.test/a"), "target"),
        (get("/a"), get("/../a"), "target"),
        (get("/a"), get("/a").body("b"), "body"),
        (get("/a"), get("/a").header("Expect", "100-continue"), "expect"),
        (get("/a"), get("/a").header("Connection", "X-Tenant").header("X-Tenant", "1"), "connection"),
        (get("/a"), get("/a").header("Range", "bytes=0-1"), "range"),
        (get("/a"), get("/a").header("If-Match", "*"), "precondition"),
        (get("/a"), get("/a").header("Cache-Control", "max-age=1000"), "cache-control"),
        (get("/a"), get("/a").header("Pragma", "no-cache"), "cache-control"),
        (get("/a"), get("/a").header("X-Request-Timeout-Ms", "5000"), "deadline"),
        (get("/a"), slow(get("/a")), "underscore"),
        (get("/a"), get("/a").header("X-Priority", "critical"), "told"),
        (get("/off"), get("/off"), "cache-off"),
        (get("/rated"), get("/rated"), "rate-limit"),
        (get("/a"), get("/a").host("b.test"), "not-stored"),
    ] {
        edge.fetch(&primed).await;
        let before = outcome(&edge, expected).await;
        edge.fetch(&asked).await;
        assert_eq!(outcome(&edge, expected).await, before + 1.0, "{expected}: {asked:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_told_the_key_is_told_it_for_hits_too() {
    let origin = Origin::start().await;
    origin.otherwise(page);
    let reveal = "[cache]\nreveal = { clients = [\"192.0.2.0/24\"], header = \"X-Why\", secret = \"open-sesame\" }\n";
    let trusted = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let edge = Edge::start(&(over(&[origin.addr()], "") + trusted + reveal)).await;
    edge.get("/a").await.expect(200);
    for (name, value, told) in [
        ("X-Forwarded-For", "192.0.2.9", true),
        ("X-Forwarded-For", "198.51.100.9", false),
        ("X-Why", "open-sesame", true),
        ("X-Why", "open-barley", false),
    ] {
        let hit = edge.fetch(&Request::get("/a").header(name, value)).await;
        is_hit(&hit, "/a");
        assert_eq!(hit.cache_status().param("key").is_some(), told, "{name}: {value}: {hit}");
    }
    assert_eq!((served(&edge).await, outcome(&edge, "reveal").await), (1.0, 3.0));
}

#[tokio::test]
async fn pipelined_hits_and_a_miss_between_them_come_in_order() {
    let (origin, edge) = house("", &["/a", "/b"]).await;
    let gate = Gate::new();
    origin.on("/miss", Reply::ok("missed").held_by(&gate));
    let mut client = edge.client().await;
    client.send(gets(["/a", "/b", "/miss", "/b", "/a"])).await;
    is_hit(&client.answer().await, "/a");
    is_hit(&client.answer().await, "/b");
    gate.arrived(1).await;
    assert!(client.quiet_for(Duration::from_millis(50)).await, "an answer has overtaken another");
    gate.open();
    assert_eq!(client.answer().await.expect(200).text(), "missed");
    is_hit(&client.answer().await, "/b");
    is_hit(&client.answer().await, "/a");
    assert_eq!(served(&edge).await, 4.0);
}

#[tokio::test]
async fn many_pipelined_hits_come_in_order_however_late_they_are_read() {
    let paths: Vec<String> = (0..7).map(|n| format!("/{n}")).collect();
    let stored: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (_origin, edge) = house("[server.limits]\nrequests_per_connection = 2000\n", &stored).await;
    edge.get("/large").await.expect(200);
    let mut client = edge.client().await;
    // The large one keeps those behind it waiting, in the lane and in the socket.
    client.send(gets(["/large"])).await;
    let asked: Vec<&str> = paths.iter().map(String::as_str).cycle().take(1500).collect();
    let bytes = gets(asked.iter().copied());
    assert!(bytes.len() > 32 * 1024, "more than is read at once");
    client.send(bytes).await;
    assert_eq!(client.answer().await.expect(200).body.len(), LARGE);
    for path in asked {
        is_hit(&client.answer().await, path);
    }
    assert_eq!(served(&edge).await, 1501.0);
}

#[tokio::test]
async fn a_connection_goes_to_and_fro_between_the_lane_and_those_behind_it() {
    let (origin, edge) = house("", &["/a"]).await;
    origin.on_call("/up", |seen| Reply::ok(&seen.body));
    let mut client = edge.client().await;
    for n in 0..3 {
        is_hit(&client.get("/a").await, "/a");
        is_hit(&client.request(&slow(Request::get("/a"))).await, "/a");
        assert_eq!(client.request(&Request::post("/up", "sized")).await.expect(200).text(), "sized");
        is_hit(&client.get("/a").await, "/a");
        assert_eq!(client.request(&Request::new("POST", "/up").chunks(&[b"chun", b"ked"])).await.text(), "chunked");
        assert!(client.request(&Request::head("/a")).await.expect(200).body.is_empty());
        assert_eq!(client.get(&format!("/new-{n}")).await.expect(200).verdict(), "MISS");
    }
    assert_eq!(served(&edge).await, 9.0);
    assert_eq!(outcome(&edge, "underscore").await, 3.0);
}

#[tokio::test]
async fn a_head_in_pieces_is_served() {
    let (_origin, edge) = house("", &["/a"]).await;
    let mut client = edge.client().await;
    // With the first byte of the next request in the piece that ends the one before.
    let bytes = gets(["/a", "/a"]);
    for byte in &bytes[..70] {
        client.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    client.send(&bytes[70..]).await;
    is_hit(&client.answer().await, "/a");
    is_hit(&client.answer().await, "/a");
    assert_eq!(served(&edge).await, 2.0);
}

#[tokio::test]
async fn heads_behind_a_hit_keep_to_the_limits() {
    let limits =
        "[server]\nlimits = { head_size = \"1KiB\", uri_length = \"100B\" }\ntimeouts = { head = \"200ms\" }\n";
    let (_origin, edge) = house(limits, &["/a"]).await;
    for (next, status) in [
        (Request::get("/a").header("X-Long", "x".repeat(2000)).bytes(), 431),
        (b"GET /a HTTP/1.1\r\nHost: edge.test\r\nX-Never: ends".to_vec(), 408),
        (gets([format!("/{}", "a".repeat(200)).as_str()]), 414),
        (b"GET /a HTTP/1.1\r\n\r\n".to_vec(), 400),
    ] {
        for pipelined in [true, false] {
            let mut client = edge.client().await;
            let hit = gets(["/a"]);
            if pipelined {
                client.send([hit, next.clone()].concat()).await;
                is_hit(&client.answer().await, "/a");
            } else {
                client.send(hit).await;
                is_hit(&client.answer().await, "/a");
                client.send(&next).await;
            }
            client.answer().await.expect(status);
            assert!(client.closed().await.is_empty(), "more was said after the {status}");
        }
    }
}

#[tokio::test]
async fn a_trickle_does_not_prolong_a_heads_time() {
    let (_origin, edge) = house("[server]\ntimeouts = { head = \"300ms\" }\n", &["/a"]).await;
    let mut client = edge.client().await;
    is_hit(&client.get("/a").await, "/a");
    let begun = tokio::time::Instant::now();
    client.send("GET /a HTTP/1.1\r\nHost: edge.test\r\nX-Slow: ").await;
    while client.quiet_for(Duration::from_millis(20)).await {
        client.send("x").await;
        assert!(begun.elapsed() < Duration::from_secs(10), "the head goes on for ever");
    }
    client.answer().await.expect(408);
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_last_hit_and_not_before() {
    const IDLE: Duration = Duration::from_millis(400);
    let (_origin, edge) = house("[server]\ntimeouts = { idle = \"400ms\" }\n", &["/a"]).await;
    let mut client = edge.client().await;
    let mut last = tokio::time::Instant::now();
    for _ in 0..12 {
        last = tokio::time::Instant::now();
        is_hit(&client.get("/a").await, "/a");
        assert!(client.quiet_for(IDLE / 8).await, "closed too early");
    }
    assert!(client.closed().await.is_empty());
    assert!(last.elapsed() >= IDLE, "closed after {:?}", last.elapsed());
    assert_eq!(served(&edge).await, 12.0);
}

#[tokio::test]
async fn a_connection_ends_with_its_last_request_or_when_told_so() {
    let (_origin, edge) = house("[server.limits]\nrequests_per_connection = 3\n", &["/a"]).await;
    for request in [Request::get("/a"), slow(Request::get("/a"))] {
        let mut client = edge.client().await;
        // What comes after the last does not take its answer away.
        client.send([gets(["/a"]), request.bytes(), gets(["/a"]), gets(["/a"; 2000])].concat()).await;
        for n in 1..=3 {
            let answer = client.answer().await;
            is_hit(&answer, "/a");
            assert_eq!(answer.headers.lists("Connection", "close"), n == 3, "{n}: {answer}");
        }
        assert!(client.closed().await.is_empty());
    }
    let mut client = edge.client().await;
    let answer = client.request(&Request::get("/a").header("Connection", "close")).await;
    is_hit(&answer, "/a");
    assert!(answer.headers.lists("Connection", "close"));
    assert!(client.closed().await.is_empty());
    assert_eq!(served(&edge).await, 3.0 + 2.0 + 1.0);
}

#[tokio::test]
async fn a_client_that_has_said_all_gets_all() {
    let (_origin, edge) = house("", &["/a", "/large"]).await;
    let mut client = edge.client().await;
    client.send(gets(["/large", "/a"])).await;
    client.finish().await;
    assert_eq!(client.answer().await.expect(200).body.len(), LARGE);
    is_hit(&client.answer().await, "/a");
    assert!(client.closed().await.is_empty());
    assert_eq!(served(&edge).await, 2.0);
}

#[tokio::test]
async fn a_draining_edge_answers_what_has_begun_and_closes() {
    let (_origin, edge) = house("", &["/a"]).await;
    let (mut idle, mut halfway) = (edge.client().await, edge.client().await);
    is_hit(&idle.get("/a").await, "/a");
    is_hit(&halfway.get("/a").await, "/a");
    let bytes = gets(["/a"]);
    halfway.send(&bytes[..20]).await;
    // The edge has read the half: it has read the whole of a later request.
    edge.get("/a").await.expect(200);
    let drained = edge.drain(Duration::from_secs(60));
    assert!(idle.closed().await.is_empty());
    assert!(!drained.is_finished(), "drained with a request half read");
    halfway.send(&bytes[20..]).await;
    let answer = halfway.answer().await;
    is_hit(&answer, "/a");
    assert!(answer.headers.lists("Connection", "close"), "{answer}");
    assert!(halfway.closed().await.is_empty());
    drained.await.expect("the drain does not panic");
}

/// In the lane and behind it.
fn both_ways(request: &Request) -> [Request; 2] {
    [request.clone(), slow(request.clone())]
}

#[tokio::test]
async fn the_log_has_the_same_line_for_a_hit_in_the_lane_and_behind_it() {
    let more =
        "[route.cache.key.query]\ndrop = [\"utm_*\"]\nsort = true\n[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let logged = Logged::with(more, &["/a", "/a?x=1&y=2", "/large"]).await;
    let mut n = 3;
    for request in [
        Request::get("/a"),
        Request::head("/a"),
        Request::get("/a").host("EDGE.test:80"),
        Request::get("/./%61?y=2&utm_x=3&x=1"),
        Request::get("/a?utm_x=3"),
        Request::get("/a").header("If-None-Match", "\"v1\""),
        Request::get("/a").header("X-Forwarded-For", "198.51.100.7"),
        Request::get("/a").header("X-Request-Id", "mine"),
        Request::get("/large"),
        Request::head("/large"),
    ] {
        let mut lines = Vec::new();
        for request in both_ways(&request) {
            let answer = logged.edge.fetch(&request).await;
            assert!(answer.complete && answer.verdict() == "HIT", "{answer}");
            n += 1;
            let mut line = logged.line(n).await;
            assert_eq!(line["request_id"], answer.header("X-Request-Id").unwrap_or_default(), "{line}");
            for key in ["time", "duration", "request_id"] {
                assert!(line[key].take() != Value::Null, "no {key}");
            }
            lines.push(line);
        }
        assert_eq!(lines[0], lines[1], "{request:?}");
    }
    assert_eq!((served(&logged.edge).await, outcome(&logged.edge, "underscore").await), (10.0, 10.0));
    for (cache, status, count) in [("hit", "2xx", 18.0), ("hit", "3xx", 2.0), ("miss", "2xx", 3.0)] {
        let labels = [("cache", cache), ("status", status)];
        logged.edge.metric_becomes("hedgerow_requests_total", &labels, count).await;
    }
    drop(logged.origin);
}

#[tokio::test]
async fn a_slow_reader_is_given_up_and_logged() {
    let logged = Logged::with("[server]\ntimeouts = { write = \"300ms\" }\n", &["/large"]).await;
    for (n, request) in both_ways(&Request::get("/large")).iter().enumerate() {
        let mut client = logged.edge.client().await;
        client.ask(request).await;
        assert_eq!(client.head().await.status, 200);
        let line = logged.line(n + 2).await;
        assert_eq!((&line["reason"], &line["status"]), (&json!("client-timeout"), &json!(200)), "{line}");
        let (bytes, cache) = (line["bytes"].as_u64().expect("a number"), &line["cache"]);
        assert!(bytes > 0 && bytes < LARGE as u64 && cache == "hit", "{line}");
        let (got, complete) = client.rest().await;
        assert!(!complete && got.len() as u64 <= bytes + 64 * 1024, "{} of {bytes}", got.len());
    }
    assert_eq!(served(&logged.edge).await, 1.0);
}

#[tokio::test]
async fn a_reader_who_makes_progress_is_not_given_up() {
    let logged = Logged::with("[server]\ntimeouts = { write = \"300ms\" }\n", &["/large"]).await;
    let mut client = logged.edge.client().await;
    client.ask(&Request::get("/large")).await;
    client.head().await;
    let (begun, mut got, mut step) = (tokio::time::Instant::now(), 0, 0);
    while let Some(piece) = client.piece().await {
        got += piece.len();
        step += piece.len();
        if step > LARGE / 20 {
            // A step that lets the edge write something, but not all.
            step = 0;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    assert_eq!(got, LARGE);
    assert!(begun.elapsed() > Duration::from_millis(900), "longer than one write may take");
    assert_eq!(logged.line(2).await["reason"], "done");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_logged_with_what_it_got() {
    let logged = Logged::with("", &["/large"]).await;
    for (n, request) in both_ways(&Request::get("/large")).iter().enumerate() {
        let mut client = logged.edge.client().await;
        client.ask(request).await;
        client.head().await;
        let mut got = 0;
        while got < 1 << 20 {
            got += client.piece().await.expect("more").len();
        }
        client.abort();
        let line = logged.line(n + 2).await;
        assert_eq!((&line["reason"], &line["status"]), (&json!("client-closed"), &json!(200)), "{line}");
        let bytes = line["bytes"].as_u64().expect("a number");
        // Behind the lane only pieces that went as a whole are counted.
        let uncounted = if n == 0 { 0 } else { 64 * 1024 };
        assert!((got as u64..LARGE as u64).contains(&(bytes + uncounted)), "{got} were read: {line}");
    }
    logged.edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    logged.edge.metric_becomes("hedgerow_terminations_total", &[("reason", "client-closed")], 2.0).await;
}

#[tokio::test]
async fn a_large_hit_cut_at_the_end_of_the_grace_period_says_so() {
    let logged = Logged::with("", &["/large"]).await;
    let (mut lane, mut behind) = (logged.edge.client().await, logged.edge.client().await);
    lane.ask(&Request::get("/large")).await;
    behind.ask(&slow(Request::get("/large"))).await;
    lane.head().await;
    behind.head().await;
    logged.edge.metric_becomes("hedgerow_requests_in_flight", &[], 2.0).await;
    assert_eq!(served(&logged.edge).await, 1.0);
    logged.edge.drain(Duration::from_millis(100)).await.expect("drained");
    let mut lines = logged.lines(3).await.split_off(1);
    for line in &mut lines {
        assert_eq!((&line["reason"], &line["status"]), (&json!("cut"), &json!(0)), "{line}");
        for key in ["time", "duration", "request_id"] {
            line[key].take();
        }
    }
    assert_eq!(lines[0], lines[1]);
    assert!(!lane.rest().await.1 && !behind.rest().await.1, "both are cut");
}

#[tokio::test]
async fn a_reload_counts_from_the_next_request_of_a_kept_connection() {
    let origin = Origin::start().await;
    origin.otherwise(page);
    let conf = |more: &str| over(&[origin.addr()], more) + UNREVEALED;
    let edge = Edge::from_file(&conf("")).await;
    let mut client = edge.client().await;
    client.get("/a").await.expect(200);
    is_hit(&client.get("/a").await, "/a");
    edge.rewrite(&conf("cache = { enabled = false }\n"));
    edge.reload().await.expect(200);
    assert_eq!(client.get("/a").await.expect(200).verdict(), "BYPASS");
    edge.rewrite(&(conf("") + "name = \"other\"\ntags = [\"ETag-Like\"]\n"));
    edge.reload().await.expect(200);
    let hit = client.get("/a").await;
    is_hit(&hit, "/a");
    assert_eq!((hit.cache_status().name.as_str(), hit.header("Via")), ("other", Some("1.1 other")), "{hit}");
    assert_eq!(served(&edge).await, 2.0);
}

#[tokio::test]
async fn tags_are_hidden_as_the_configuration_of_the_moment_says() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(3600, "page /a").header("Cache-Tag", "one").header("X-Labels", "two"));
    let conf = |tags: &str| over(&[origin.addr()], "") + UNREVEALED + tags;
    let edge = Edge::from_file(&conf("")).await;
    let mut client = edge.client().await;
    client.get("/a").await.expect(200);
    for (tags, shown) in [
        ("", [false, true]),
        ("tags = [\"X-Labels\"]\n", [true, false]),
        ("tags = [\"X-Labels\", \"Cache-Tag\"]\n", [false, false]),
        ("tags = []\n", [true, true]),
    ] {
        edge.rewrite(&conf(tags));
        edge.reload().await.expect(200);
        for request in both_ways(&Request::get("/a")) {
            let hit = client.request(&request).await;
            is_hit(&hit, "/a");
            assert_eq!(["Cache-Tag", "X-Labels"].map(|name| hit.header(name).is_some()), shown, "{tags}: {hit}");
        }
    }
    assert_eq!(served(&edge).await, 4.0);
}

#[tokio::test]
async fn a_purge_is_heeded_at_once() {
    let (origin, edge) = house("", &["/a"]).await;
    let mut client = edge.client().await;
    for (n, purge) in [
        json!({ "url": "http://edge.test/a" }),
        json!({ "url": "http://edge.test/a", "soft": true }),
        json!({ "all": true }),
        json!({ "all": true, "soft": true }),
        json!({ "prefix": "http://edge.test/", "soft": true }),
    ]
    .iter()
    .enumerate()
    {
        is_hit(&client.get("/a").await, "/a");
        assert_eq!(served(&edge).await, (n + 1) as f64);
        fetch(edge.admin(), &Request::post("/purge", purge.to_string())).await.expect(200);
        let answer = client.get("/a").await.expect(200);
        assert_ne!(answer.verdict(), "HIT", "{purge}: {answer}");
        assert_eq!(origin.count("/a"), n + 2, "{purge}");
    }
    assert_eq!((outcome(&edge, "stale").await, outcome(&edge, "not-stored").await), (3.0, 1.0 + 2.0));
}

#[tokio::test]
async fn what_is_stale_goes_the_slow_way() {
    let origin = Origin::start().await;
    for path in ["/swr", "/plain"] {
        origin.on_nth(path, |n, _| {
            let life = if n == 1 { 1 } else { 3600 };
            Reply::fresh(life, format!("version {n}")).header("ETag", &format!("\"{n}\""))
        });
    }
    let routes = "match = { path = \"/swr\" }\ncache.stale.while_revalidate = \"1h\"\n[[route]]\npool = \"web\"\n";
    let edge = Edge::start(&(over(&[origin.addr()], routes) + UNREVEALED)).await;
    for path in ["/swr", "/plain"] {
        edge.get(path).await.expect(200);
        assert_eq!(edge.get(path).await.text(), "version 1");
        let answer = edge.first_after_hits(path).await.expect(200);
        match path {
            "/swr" => assert_eq!((answer.verdict(), answer.text().as_str()), ("UPDATING", "version 1"), "{answer}"),
            _ => assert_eq!((answer.verdict(), answer.text().as_str()), ("EXPIRED", "version 2"), "{answer}"),
        }
        eventually("it is fresh again", || async { (edge.get(path).await.text() == "version 2").then_some(()) }).await;
        assert_eq!(edge.get(path).await.verdict(), "HIT");
    }
    assert!(outcome(&edge, "stale").await >= 2.0);
    assert_eq!((origin.count("/swr"), origin.count("/plain")), (2, 2));
}

#[tokio::test]
async fn what_the_origin_no_longer_lets_be_stored_is_no_longer_sent() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, _| match n {
        1 => Reply::fresh(3600, "old"),
        2 | 3 => Reply::ok("private").header("Cache-Control", "private"),
        _ => Reply::fresh(3600, "new"),
    });
    let edge = Edge::start(&(over(&[origin.addr()], "") + UNREVEALED)).await;
    edge.get("/a").await.expect(200);
    assert_eq!(edge.get("/a").await.text(), "old");
    let reload = Request::get("/a").header("Cache-Control", "no-cache");
    assert_eq!(edge.fetch(&reload).await.expect(200).text(), "private");
    let answer = edge.get("/a").await.expect(200);
    assert_eq!((answer.verdict(), answer.text().as_str()), ("MISS", "private"), "{answer}");
    assert_eq!((outcome(&edge, "doubted").await, served(&edge).await), (1.0, 1.0));
    // Until it may again.
    eventually("it is stored again", || async { (edge.get("/a").await.verdict() == "HIT").then_some(()) }).await;
    assert_eq!(edge.get("/a").await.text(), "new");
    assert!(served(&edge).await >= 2.0);
}

#[tokio::test]
async fn a_newer_answer_on_its_way_in_is_waited_for_behind_the_lane() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_nth("/a", move |n, _| match n {
        1 => Reply::fresh(3600, "page /a"),
        _ => Reply::fresh(3600, "").body("first,").gate(&held).body("last"),
    });
    let edge = Edge::start(&(over(&[origin.addr()], "") + UNREVEALED)).await;
    edge.get("/a").await.expect(200);
    is_hit(&edge.get("/a").await, "/a");
    let mut newer = edge.client().await;
    newer.ask(&Request::get("/a").header("Cache-Control", "no-cache")).await;
    newer.head().await;
    newer.exactly("first,").await;
    let mut reader = edge.client().await;
    reader.ask(&Request::get("/a")).await;
    reader.head().await;
    gate.open();
    assert_eq!(newer.rest().await, (b"last".to_vec(), true));
    let (text, complete) = reader.rest().await;
    assert!(complete && (text == b"first,last" || text == b"page /a"), "{:?}", String::from_utf8_lossy(&text));
    assert_eq!(outcome(&edge, "filling").await, 1.0);
    eventually("the newer one is a hit", || async { (edge.get("/a").await.text() == "first,last").then_some(()) })
        .await;
}

#[tokio::test]
async fn a_head_or_a_304_has_no_body_and_a_304_none_of_its_fields() {
    let (origin, edge) = house("", &["/a"]).await;
    origin.on("/b", Reply::fresh(3600, "beta").etag("\"v1\"").header("Content-Type", "text/plain"));
    edge.get("/b").await.expect(200);
    let mut client = edge.client().await;
    for _ in 0..2 {
        let unchanged = client.request(&Request::get("/b").header("If-None-Match", "\"v1\"")).await.expect(304);
        for name in ["Content-Length", "Content-Type", "Transfer-Encoding"] {
            assert_eq!(unchanged.header(name), None, "{unchanged}");
        }
        assert_eq!((unchanged.header("ETag"), unchanged.verdict()), (Some("\"v1\""), "HIT"), "{unchanged}");
        let head = client.request(&Request::head("/b")).await.expect(200);
        assert_eq!((head.header("Content-Length"), head.header("Content-Type")), (Some("4"), Some("text/plain")));
    }
    assert_eq!(served(&edge).await, 4.0);
}

#[tokio::test]
async fn parts_of_a_body_are_not_taken_for_the_whole() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| match seen.header("Range") {
        Some(_) => Reply::new(206)
            .header("Cache-Control", "max-age=3600")
            .header("ETag", "\"v1\"")
            .header("Content-Range", "bytes 0-3/10")
            .body("0123"),
        None => Reply::fresh(3600, "0123456789").header("ETag", "\"v1\""),
    });
    let edge = Edge::start(&(over(&[origin.addr()], "") + UNREVEALED)).await;
    for _ in 0..2 {
        let part = edge.fetch(&Request::get("/a").header("Range", "bytes=0-3")).await.expect(206);
        assert_eq!(part.text(), "0123");
    }
    assert!(edge.fetch(&Request::head("/a")).await.header("Content-Length") != Some("4"));
    assert_eq!(edge.get("/a").await.expect(200).text(), "0123456789");
    assert_eq!(edge.get("/a").await.expect(200).text(), "0123456789");
    assert_eq!(served(&edge).await, 1.0);
}

mod equivalence {
    use super::*;

    const ROUTES: &str = r#"
        [[route]]
        name = "plain"
        pool = "web"

        [[route]]
        name = "keyed"
        pool = "web"
        match = { path = "/keyed/**" }
        [route.cache.key]
        template = "{scheme}{host}{path}{query}{header:x-tenant}{header:x-forwarded-proto}{cookie:cur}{device}"
        query = { drop = ["utm_*"], sort = true }
        device = [{ class = "mobile", user_agent = "*Mobile*" }]

        [[route]]
        name = "alias"
        pool = "web"
        match = { path = "/alias/**" }
        cache.key.host = "canon.test"

        [[route]]
        name = "negotiated"
        pool = "web"
        match = { path = "/negotiated/**" }
        [route.cache]
        client_directives = "ignore"
        vary = { accept_encoding = "normalise", accept_language = ["en", "de"] }

        [[route]]
        name = "cookies"
        pool = "web"
        match = { path = "/cookies/**" }
        cache.set_cookie = "share"

        [[route]]
        name = "few"
        pool = "web"
        priority_header = "X-Priority"
        match = { path = "/few/**" }
        [route.cache]
        min_uses = 2
        set_cookie = "strip"
        key = { template = "{scheme}{host}{path}{query}", query = { keep = ["a", "b*"] } }

        [[route]]
        name = "wild"
        pool = "web"
        match = { host = "*.wild.test" }
        cache.key.template = "{scheme}{host}{path}"

        [[route]]
        name = "off"
        pool = "web"
        match = { host = "off.wild.test" }
        cache.enabled = false
    "#;

    const DATE: &str = "Sun, 06 Nov 2050 08:49:37 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    /// What the origin makes of a request: by the last segment of its path, and telling what it was asked.
    fn answer(seen: &Seen) -> Reply {
        let kind = seen.path().rsplit('/').next().unwrap_or_default().split(['-', '%']).next().unwrap_or_default();
        let told = ["Host", "X-Tenant", "Cookie", "X-Device-Class", "X-Forwarded-Proto", "X-Forwarded-Host"];
        let told: Vec<_> = told.iter().map(|name| seen.header(name).unwrap_or("-")).collect();
        let asked = format!(
            "{} {told:?} {:?} {:?}",
            seen.target,
            seen.header("Accept-Encoding"),
            seen.header("Accept-Language")
        );
        let fresh = |reply: Reply| reply.header("Cache-Control", "max-age=3600").header("Date", DATE);
        let ok = || fresh(Reply::ok(&asked));
        match kind {
            "etag" => ok().header("ETag", "\"v1\""),
            "weak" => ok().header("ETag", "W/\"v1\"").header("Last-Modified", MODIFIED),
            "modified" => ok().header("Last-Modified", MODIFIED).header("Content-Language", "en"),
            "both" => ok().header("ETag", "\"v1\"").header("Last-Modified", MODIFIED).header("Accept-Ranges", "bytes"),
            "moved" => fresh(Reply::new(301)).header("Location", "/elsewhere").body(&asked),
            "missing" => fresh(Reply::new(404)).header("ETag", "\"v1\"").body(&asked),
            "nothing" => fresh(Reply::new(204)).header("ETag", "\"v1\""),
            "chunked" => fresh(Reply::new(200)).header("ETag", "\"v1\"").chunk(&asked).chunk("more"),
            "closing" => ok().until_close(),
            "empty" => fresh(Reply::ok("")).header("ETag", "\"v1\""),
            "four" => fresh(Reply::ok("x".repeat(4096))),
            "five" => fresh(Reply::ok("x".repeat(4097))),
            "big" => fresh(Reply::ok("0123456789".repeat(10_000))).header("ETag", "\"v1\""),
            "aged" => ok().header("Age", "40"),
            "relayed" => ok()
                .header("Via", "1.1 inner")
                .header("via", "1.0 outer")
                .header("Cache-Status", "inner; hit; ttl=5")
                .header("Proxy-Status", "inner; received-status=200")
                .header("X-Cache-Status", "THEIRS")
                .header("X-Request-Id", "theirs")
                .header("!date", "forged"),
            "hops" => ok()
                .header("Connection", "X-Hop, X-Request-Id, keep-alive")
                .header("X-Hop", "1")
                .header("Keep-Alive", "timeout=5"),
            "tagged" => ok().header("Cache-Tag", "a, b").header("Surrogate-Key", "c").header("xkey", "d"),
            "encoded" => ok().header("Vary", "Accept-Encoding"),
            "language" => ok().header("vary", "accept-language,  Accept-Encoding"),
            "personal" => ok().header("Vary", "Cookie").header("Vary", "User-Agent"),
            "scheme" => ok().header("Vary", "X-Forwarded-Proto, X-Forwarded-For, Forwarded"),
            "device" => ok().header("Vary", "X-Device-Class"),
            "hopping" => ok().header("Vary", "TE, X-Request-Id, X-Priority"),
            "conditional" => ok().header("Vary", "If-None-Match, X-Tenant").header("ETag", "\"v1\""),
            "cookie" => ok().header("Set-Cookie", "a=1").header("set-cookie", "b=2").header("ETag", "\"v1\""),
            "odd" => ok()
                .header("eTaG", "\"v1\"")
                .header("x-oDD-Field", "1")
                .header("X-Odd-Field", "2")
                .header("X-Blank", "")
                .header("content-TYPE", "text/plain")
                .header("X-Latin", "caf\u{e9}"),
            "brief" => Reply::ok(&asked).header("Cache-Control", "max-age=0").header("ETag", "\"v1\""),
            "asked" => ok().header("Cache-Control", "no-cache").header("ETag", "\"v1\""),
            "closed" => Reply::ok(&asked).header("Cache-Control", "no-store"),
            _ => ok(),
        }
    }

    const KINDS: [&str; 33] = [
        "plain",
        "etag",
        "etag",
        "weak",
        "modified",
        "both",
        "both",
        "moved",
        "missing",
        "nothing",
        "chunked",
        "closing",
        "empty",
        "four",
        "five",
        "big",
        "aged",
        "relayed",
        "hops",
        "tagged",
        "encoded",
        "language",
        "personal",
        "scheme",
        "device",
        "hopping",
        "conditional",
        "cookie",
        "odd",
        "brief",
        "asked",
        "closed",
        "etag-\u{fc}",
    ];
    const FOLDERS: [&str; 9] =
        ["/", "/keyed/", "/keyed/", "/keyed/", "/alias/", "/negotiated/", "/cookies/", "/few/", "/deep/er/"];
    const QUERIES: [&str; 14] = [
        "",
        "",
        "",
        "",
        "?",
        "?a=1",
        "?b=2&a=1",
        "?utm_x=1",
        "?a=1&utm_source=z&b=2&&c",
        "?q=%7e%c3&x=\"y\"",
        "?q=<>{}|^`",
        "?a=\u{fc}",
        "?a=1?b=2/..",
        "?b2=%zz&a",
    ];
    const HOSTS: [&str; 14] = [
        "edge.test",
        "edge.test",
        "edge.test",
        "EDGE.Test",
        "edge.test:80",
        "edge.test:8080",
        "edge.test.",
        "a.wild.test",
        "off.wild.test",
        "other.test:",
        "[::1]:80",
        "192.0.2.1",
        "bad host",
        "",
    ];
    const FIELDS: [(&str, &str); 60] = [
        ("If-None-Match", "\"v1\""),
        ("If-None-Match", "W/\"v1\""),
        ("if-none-match", "\"v0\", \"v1\""),
        ("If-None-Match", "*"),
        ("If-None-Match", "\"other\""),
        ("If-Modified-Since", MODIFIED),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT"),
        ("If-Modified-Since", DATE),
        ("If-Modified-Since", "yesterday"),
        ("If-Match", "\"v1\""),
        ("Range", "bytes=0-3"),
        ("Connection", "close"),
        ("Connection", "keep-alive"),
        ("connection", "Keep-Alive"),
        ("Connection", "X-Tenant"),
        ("X-Request-Id", "mine-1"),
        ("x-request-id", "mine-2"),
        ("X-Request-Id", "two words"),
        ("X-Request-Id", ""),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Proto", "HTTPS"),
        ("X-Forwarded-Proto", "caf\u{e9}"),
        ("X-Forwarded-Host", "told.test"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-For", "198.51.100.1, 127.0.0.1"),
        ("X-Forwarded-Port", "99"),
        ("Forwarded", "for=192.0.2.7;proto=https"),
        ("X-Real-IP", "192.0.2.7"),
        ("Accept-Encoding", "gzip, br"),
        ("Accept-Encoding", "br,gzip;q=0.5"),
        ("accept-encoding", "identity"),
        ("Accept-Encoding", ""),
        ("Accept-Language", "de-AT, en;q=0.5"),
        ("Accept-Language", "fr"),
        ("Cookie", "cur=EUR; x=1"),
        ("Cookie", "x=2"),
        ("cookie", "cur=USD"),
        ("X-Tenant", "a"),
        ("X-Tenant", "b"),
        ("x-tenant", "caf\u{e9}"),
        ("User-Agent", "Mobile Safari"),
        ("User-Agent", "Desktop"),
        ("Authorization", "Basic x"),
        ("X-Priority", "critical"),
        ("X-Device-Class", "mobile"),
        ("TE", "trailers"),
        ("Keep-Alive", "timeout=5"),
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "max-age=0"),
        ("Cache-Control", "max-stale"),
        ("Cache-Control", "only-if-cached"),
        ("Pragma", "no-cache"),
        ("Expect", "100-continue"),
        ("Content-Length", "0"),
        ("Content-Type", "text/plain"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Via", "1.1 before"),
        ("CDN-Loop", "x"),
        ("X-Blank", ""),
        ("X-Spaced", " \t a b \t"),
    ];

    /// A request as it is generated.
    #[derive(Clone, Debug)]
    struct Asked {
        trusting: bool,
        head: bool,
        host: &'static str,
        target: String,
        fields: Vec<(&'static str, &'static str)>,
    }

    impl Asked {
        fn request(&self) -> Request {
            let request = Request::new(if self.head { "HEAD" } else { "GET" }, &self.target).host(self.host);
            self.fields.iter().fold(request, |request, (name, value)| request.header(name, value))
        }

        fn gives_an_id(&self) -> bool {
            let given = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
            given.is_some_and(|(_, id)| id.starts_with("mine"))
        }
    }

    /// Another way to write the path, the same one or not.
    fn spelled(folder: &str, kind: &str, way: u8) -> String {
        match way {
            0 => format!("{folder}%{:02x}{}", kind.as_bytes()[0], &kind[1..]),
            1 => format!("{folder}./{kind}"),
            2 => format!("{folder}x/../{kind}"),
            3 => format!("{folder}/{kind}"),
            4 => format!("{folder}{kind}-%c3%BC%7e"),
            5 => format!("{folder}{kind}-%2f"),
            6 => format!("/../{kind}"),
            7 => format!("{folder}{kind}-%zz"),
            8 => format!("http://edge.test{folder}{kind}"),
            9 => format!("{folder}{kind}-\"{{}}|"),
            _ => format!("{folder}{kind}"),
        }
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let target = (
            prop::sample::select(&FOLDERS[..]),
            prop::sample::select(&KINDS[..]),
            0u8..30,
            prop::sample::select(&QUERIES[..]),
        )
            .prop_map(|(folder, kind, way, query)| spelled(folder, kind, way) + query);
        let fields = prop::collection::vec(prop::sample::select(&FIELDS[..]), 0..4);
        (any::<bool>(), prop::bool::weighted(0.2), prop::sample::select(&HOSTS[..]), target, fields)
            .prop_map(|(trusting, head, host, target, fields)| Asked { trusting, head, host, target, fields })
    }

    /// An answer without what chance and the clock put into it, and these: `Age` and the ttl told.
    fn essence(answer: &Response, keep_id: bool) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, i64>) {
        let mut clocks = BTreeMap::new();
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &answer.headers.0 {
            let name = name.to_ascii_lowercase();
            // What else is said after the ttl is for who is told the key.
            let told = value.split_once("; ttl=");
            let told = told.map(|(said, rest)| (said, rest.split_at(rest.find(';').unwrap_or(rest.len()))));
            let value = match (name.as_str(), told) {
                ("age", _) => {
                    clocks.insert(name.clone(), value.parse().expect("Age is a number"));
                    "N".to_owned()
                }
                ("cache-status", Some((said, (ttl, rest)))) if said.starts_with("hedgerow") => {
                    clocks.insert(name.clone(), ttl.parse().expect("ttl is a number"));
                    format!("{said}; ttl=N{rest}")
                }
                ("date", _) if value != DATE => "now".to_owned(),
                // Whether the origin was late is chance.
                ("proxy-status", _) => value.replace("; hedge=denied", ""),
                // How long it took, and what, is of the moment; what the cache did is not.
                ("server-timing", _) if value.starts_with("hedgerow") => {
                    let first = value.split(", ").next().unwrap_or_default();
                    format!("desc={}", first.split(";desc=").nth(1).unwrap_or_default())
                }
                ("x-request-id", _) if !keep_id => format!("{} characters", value.len()),
                _ => value.clone(),
            };
            fields.entry(name).or_default().push(value);
        }
        (fields, clocks)
    }

    fn same(one: &Response, other: &Response, keep_id: bool) -> bool {
        let ((fields, clocks), (other_fields, other_clocks)) = (essence(one, keep_id), essence(other, keep_id));
        let near = clocks.iter().zip(&other_clocks).all(|((_, a), (_, b))| (a - b).abs() <= 1);
        one.status == other.status
            && one.reason == other.reason
            && one.minor_version == other.minor_version
            && fields == other_fields
            && near
            && one.body == other.body
            && one.complete == other.complete
    }

    /// One connection to an edge, made again when the edge has closed it.
    struct Line(Option<Client>);

    impl Line {
        async fn ask(&mut self, edge: &Edge, request: &Request) -> Response {
            let mut client = match self.0.take() {
                Some(client) => client,
                None => edge.client().await,
            };
            let answer = client.request(request).await;
            if answer.headers.lists("Connection", "close") {
                assert!(client.closed().await.is_empty(), "more was said after\n{answer}");
            } else {
                self.0 = Some(client);
            }
            answer
        }
    }

    struct Bench {
        edge: Edge,
        lane: Line,
        behind: Line,
    }

    impl Bench {
        async fn over(origin: &Origin, trusted: &str) -> Bench {
            let server = format!("[server]\ntrusted_proxies = [{trusted}]\n");
            let edge = Edge::start(&[&pool("web", &[origin.addr()], ""), ROUTES, &server, UNREVEALED].concat()).await;
            Bench { edge, lane: Line(None), behind: Line(None) }
        }

        /// The answers in the lane (if it will) and behind it, to who is not the first to ask.
        async fn ask(&mut self, asked: &Asked) -> (Response, Response) {
            let plain = asked.request();
            // What a lane that overlooks a field would answer with.
            self.behind.ask(&self.edge, &slow(Request::get(&asked.target).host(asked.host))).await;
            let slow = slow(plain.clone());
            for _ in 0..2 {
                self.behind.ask(&self.edge, &slow).await;
            }
            let behind = self.behind.ask(&self.edge, &slow).await;
            (self.lane.ask(&self.edge, &plain).await, behind)
        }
    }

    #[test]
    fn the_lane_answers_as_those_behind_it_do() {
        const CASES: u32 = 500;
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (origin, strangers, friends) = runtime.block_on(async {
            let origin = Origin::start().await;
            origin.otherwise(answer);
            let strangers = Bench::over(&origin, "").await;
            let friends = Bench::over(&origin, "\"127.0.0.0/8\"").await;
            (origin, strangers, friends)
        });
        let benches = std::cell::RefCell::new([strangers, friends]);
        let mut runner = TestRunner::new(Config {
            cases: CASES,
            max_shrink_iters: 100,
            failure_persistence: None,
            ..Config::default()
        });
        let result = runner.run(&asked(), |asked| {
            let mut benches = benches.borrow_mut();
            let (lane, behind) = runtime.block_on(benches[usize::from(asked.trusting)].ask(&asked));
            if same(&lane, &behind, asked.gives_an_id()) {
                return Ok(());
            }
            Err(TestCaseError::fail(format!("in the lane\n{lane}\nbehind it\n{behind}")))
        });
        if let Err(e) = result {
            panic!("{e}");
        }
        let benches = benches.into_inner();
        runtime.block_on(async {
            let (mut answered, mut handed) = (0.0, 0.0);
            for bench in benches.iter() {
                answered += served(&bench.edge).await;
                handed += outcome(&bench.edge, "underscore").await;
            }
            let cases = f64::from(CASES);
            assert!(answered > 0.25 * cases, "the lane has answered only {answered} of {cases}");
            assert!(handed > 1.5 * cases, "{handed} requests with an underscore were handed on");
        });
        drop(origin);
    }
}
