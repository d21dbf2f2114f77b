//! The short way past pingora's proxy: the same answer, line and manners as on the long one.
//!
//! A field with an underscore makes the lane hand a request on the long way, and goes no further than that.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use serde_json::Value;
use support::edge::{Edge, over};
use support::http2::Http2Client;
use support::{Folder, Gate, Origin, Reply, Request, Response, Seen, eventually, patiently};

/// Nobody here is told the key: who is goes the long way.
const UNREVEALED: &str = "[cache]\nreveal = { clients = [\"192.0.2.0/24\"] }\n";

/// Two routes that store nothing: one because it has no cache, the other because of what the origin says.
const ROUTES: &str = "[[route]]\npool = \"web\"\nmatch = { path = \"/off/**\" }\n[route.cache]\nenabled = false\n";

/// A listener for HTTP/1.1 and HTTP/2.
const BOTH: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2\"]\n";

/// A request that is sent on the long way.
fn long(request: &Request) -> Request {
    request.clone().header("x_slow", 1)
}

/// What the origin says of a path's last part.
fn answer(seen: &Seen) -> Reply {
    let date = |reply: Reply| reply.header("Date", "Sun, 06 Nov 2050 08:49:37 GMT").header("Cache-Control", "no-store");
    let reply = match seen.path().rsplit('/').next().unwrap_or_default() {
        "chunked" => Reply::new(200).chunk("al").chunk("pha"),
        "close" => Reply::new(200).body("alpha").until_close(),
        "bye" => Reply::ok("alpha").close(),
        "empty" => Reply::ok(""),
        "none" => Reply::new(204),
        "large" => Reply::ok("x".repeat(300_000)),
        "moved" => Reply::new(301).header("Location", "/elsewhere").body("moved"),
        "missing" => Reply::new(404).body("no"),
        "error" => Reply::new(500).body("oh"),
        "busy" => Reply::new(503).body("busy"),
        "hints" => Reply::ok("alpha").interim(103, "Link: </a.css>\r\n"),
        "tagged" => Reply::ok("alpha").etag("\"v1\""),
        "fields" => Reply::ok("alpha")
            .header("Connection", "X-Hop")
            .header("X-Hop", "gone")
            .header("Set-Cookie", "a=b")
            .header("Set-Cookie", "c=d")
            .header("Vary", "Accept")
            .header("Via", "1.1 inner")
            .header("X-ODD", "kept"),
        "garbage" => return Reply::raw("hello there\r\n\r\n"),
        "hang-up" => return Reply::hang_up(),
        "cut" => return date(Reply::ok("hal").declares(5)).cut(),
        "zz" => return Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\nzz\r\n"),
        "changed" => return Reply::new(304).etag("\"v2\""),
        _ => Reply::ok("alpha"),
    };
    date(reply)
}

const WORDS: [&str; 20] = [
    "plain",
    "chunked",
    "close",
    "bye",
    "empty",
    "none",
    "large",
    "moved",
    "missing",
    "error",
    "busy",
    "hints",
    "tagged",
    "fields",
    "garbage",
    "hang-up",
    "cut",
    "zz",
    "changed",
    "plain?a=b&c",
];

/// An edge that logs to a file.
struct Logged {
    origin: Origin,
    edge: Edge,
    file: PathBuf,
    _folder: Folder,
}

impl Logged {
    async fn start() -> Logged {
        let (folder, origin) = (Folder::new(), Origin::start().await);
        origin.otherwise(answer);
        let file = folder.path().join("access.log");
        let log = format!("[access_log]\nformat = \"json\"\noutput = \"{}\"\n", file.display());
        let tail = "[pool.ejection]\nconsecutive = 0\n[pool.tail]\nretry = { attempts = 0 }\n";
        let edge = Edge::start(&[&over(&[origin.addr()], tail), ROUTES, &log, UNREVEALED, BOTH].concat()).await;
        Logged { origin, edge, file, _folder: folder }
    }

    /// The `n`th line, which must be the last, without what chance and the clock put into it.
    async fn line(&self, n: usize) -> Value {
        let text = eventually(&format!("{n} lines in the access log"), || async {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            (text.lines().count() >= n && text.ends_with('\n')).then_some(text)
        })
        .await;
        assert_eq!(text.lines().count(), n, "{text}");
        let last = text.lines().last().expect("a line");
        let mut line: Value = serde_json::from_str(last).unwrap_or_else(|e| panic!("not JSON ({e}): {last}"));
        for key in ["time", "duration", "upstream_time", "queue_time", "hedge", "request_id"] {
            line.get_mut(key).map(Value::take);
        }
        line
    }
}

/// Status and reason, fields, body, whether it is whole, and how many interim responses came before.
type Essence = (u16, String, Vec<(String, String)>, Vec<u8>, bool, usize);

/// An answer without what chance puts into it.
fn essence(answer: &Response) -> Essence {
    let fields = certain(answer.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    (answer.status, answer.reason.clone(), fields, answer.body.clone(), answer.complete, answer.interim.len())
}

/// Fields without what chance puts into them.
fn certain<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let told = |(name, value): (&str, &str)| {
        let name = name.to_ascii_lowercase();
        let value = match name.as_str() {
            "x-request-id" => format!("{} characters", value.len()),
            "date" if !value.contains("2050") => "now".to_owned(),
            // Whether the origin was late is chance.
            "proxy-status" => value.replace("; hedge=denied", ""),
            _ => value.to_owned(),
        };
        (name, value)
    };
    let mut fields: Vec<(String, String)> = fields.map(told).collect();
    fields.sort();
    fields
}

/// The same over HTTP/2.
async fn streamed(client: &Http2Client, method: &str, path: &str, fields: &[(&str, &str)]) -> Essence {
    let request = http::Request::builder().method(method).uri(format!("http://edge.test{path}"));
    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let (mut response, _) = client.begin(request.body(()).expect("a request"), true).await;
    let mut interim = 0;
    let head = poll_fn(|cx| {
        while let Poll::Ready(Some(Ok(_))) = response.poll_informational(cx) {
            interim += 1;
        }
        Pin::new(&mut response).poll(cx)
    });
    let Ok(head) = patiently(head, || path.to_owned()).await else {
        // Broken off with what had not left yet.
        return Essence::default();
    };
    let (head, mut stream) = head.into_parts();
    let (mut body, mut is_whole) = (Vec::new(), true);
    while let Some(data) = patiently(stream.data(), || path.to_owned()).await {
        match data {
            Ok(data) => {
                body.extend_from_slice(&data);
                let _gone = stream.flow_control().release_capacity(data.len());
            }
            Err(_) => {
                is_whole = false;
                break;
            }
        }
    }
    let fields = head.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
    (head.status.as_u16(), String::new(), certain(fields), body, is_whole, interim)
}

#[tokio::test]
async fn both_ways_give_the_same_answer_and_line() {
    let logged = Logged::start().await;
    let mut n = 0;
    for folder in ["/off", "/on"] {
        for word in WORDS {
            let path = format!("{folder}/{word}");
            let get = Request::get(&path);
            // Twice: by then it is known that nothing of it can be stored.
            for _ in 0..2 {
                logged.edge.fetch(&long(&get)).await;
                n += 1;
                logged.line(n).await;
            }
            for request in [
                get.clone(),
                Request::head(&path),
                get.clone().header("If-None-Match", "\"v1\""),
                get.clone().header("Cookie", "a=b").header("Authorization", "Basic x"),
                get.clone().header("Connection", "close"),
                get.clone().host("EDGE.test:80"),
            ] {
                let mut both = Vec::new();
                for request in [long(&request), request.clone()] {
                    let answer = logged.edge.fetch(&request).await;
                    n += 1;
                    both.push((essence(&answer), logged.line(n).await));
                }
                assert_eq!(both[0], both[1], "{request:?}");
            }
        }
    }
    // What the origin was asked is the same too.
    let asked = |path: &str| -> Vec<_> {
        let seen = logged.origin.seen(path);
        let told = |seen: &Seen| {
            let chance = ["x-request-id", "x-request-timeout-ms", "x_slow"];
            let fields =
                seen.headers.0.iter().filter(|(name, _)| !chance.contains(&name.to_ascii_lowercase().as_str()));
            (seen.method.clone(), fields.cloned().collect::<Vec<_>>())
        };
        seen.iter().map(told).collect()
    };
    for path in ["/off/plain", "/on/plain"] {
        let asked = asked(path);
        assert!(asked.len() >= 14, "{asked:#?}");
        for pair in asked[2..].chunks(2) {
            assert_eq!(pair[0], pair[1], "{path}");
        }
    }
}

#[tokio::test]
async fn both_ways_give_the_same_over_http_2() {
    let logged = Logged::start().await;
    let client = Http2Client::connect(logged.edge.addr()).await;
    let mut n = 0;
    for folder in ["/off", "/on"] {
        for word in WORDS {
            let path = format!("{folder}/{word}");
            for _ in 0..2 {
                streamed(&client, "GET", &path, &[("x_slow", "1")]).await;
                n += 1;
                logged.line(n).await;
            }
            let cookies = [("cookie", "a=b"), ("cookie", "c=d"), ("authorization", "Basic x")];
            for (method, fields) in
                [("GET", &[][..]), ("HEAD", &[]), ("GET", &[("if-none-match", "\"v1\"")]), ("GET", &cookies)]
            {
                let mut both = Vec::new();
                for way in [&[("x_slow", "1")][..], &[]] {
                    let answer = streamed(&client, method, &path, &[way, fields].concat()).await;
                    n += 1;
                    both.push((answer, logged.line(n).await));
                }
                let is_whole = |n: usize| both[n].0.4;
                assert_eq!(is_whole(0), is_whole(1), "{method} {path} {fields:?}");
                // How much of an answer leaves before it breaks off is chance.
                assert!(!is_whole(0) || both[0] == both[1], "{method} {path} {fields:?} {both:#?}");
                assert_eq!(both[0].1["protocol"], "HTTP/2", "{}", both[0].1);
            }
        }
    }
}

#[tokio::test]
async fn a_connection_goes_to_and_fro_between_the_ways() {
    let logged = Logged::start().await;
    let mut client = logged.edge.client().await;
    for _ in 0..3 {
        for word in ["plain", "chunked", "empty", "large", "hints", "missing", "none"] {
            let request = Request::get(&format!("/off/{word}"));
            let (short, long) = (client.request(&request).await, client.request(&long(&request)).await);
            assert_eq!(essence(&short), essence(&long), "{word}");
            assert!(short.complete && client.request(&Request::post("/off/plain", "x")).await.complete);
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let logged = Logged::start().await;
    let paths = ["/off/plain", "/off/missing", "/off/chunked", "/off/moved"];
    let mut client = logged.edge.client().await;
    client.send(&paths.iter().flat_map(|path| Request::get(path).bytes()).collect::<Vec<u8>>()).await;
    for status in [200, 404, 200, 301] {
        assert_eq!(client.answer().await.status, status);
    }
}

#[tokio::test]
async fn what_becomes_storable_is_stored_from_the_next_request_on() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, _| match n {
        1..=3 => Reply::ok("secret").header("Cache-Control", "no-store"),
        _ => Reply::fresh(60, "open"),
    });
    let edge = Edge::start(&(over(&[origin.addr()], "") + UNREVEALED)).await;
    for _ in 0..3 {
        assert!(!edge.get("/a").await.expect(200).cache_status().is("stored"));
    }
    let short = edge.get("/a").await.expect(200);
    assert_eq!((short.text().as_str(), short.cache_status().is("stored")), ("open", false));
    assert!(edge.get("/a").await.expect(200).cache_status().is("stored"));
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
    assert_eq!(origin.count("/a"), 5);
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_its_first_byte_is_told_as_one() {
    let logged = Logged::start().await;
    logged.origin.on("/off/nothing", Reply::new(200).declares(5).cut());
    logged.origin.on("/off/chunks", Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"));
    for (n, (path, error)) in
        [("/off/nothing", "http_response_incomplete"), ("/off/chunks", "http_protocol_error")].into_iter().enumerate()
    {
        let answer = logged.edge.get(path).await.expect(502);
        assert!(answer.complete && answer.header("x-cache-status").is_none(), "{answer}");
        assert_eq!((answer.proxy_error().as_str(), answer.header("connection")), (error, Some("close")), "{answer}");
        let line = logged.line(n + 1).await;
        assert_eq!((&line["status"], &line["cache"]), (&502.into(), &"none".into()), "{line}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let logged = Logged::start().await;
    let gate = Gate::new();
    logged.origin.on("/off/slow", Reply::ok("late").held_by(&gate));
    logged.origin.on("/off/stuck", Reply::new(200).chunk("begun").then_silence());
    for (n, path) in ["/off/slow", "/off/stuck"].into_iter().enumerate() {
        let mut client = logged.edge.client().await;
        client.send(&Request::get(path).bytes()).await;
        logged.origin.until("it is asked", |origin| origin.count(path) == 1).await;
        drop(client);
        logged.origin.until("it is left", |origin| origin.aborted() == n + 1).await;
        assert_eq!(logged.line(n + 1).await["reason"], "client-closed", "{path}");
    }
}

#[tokio::test]
async fn a_drained_edge_answers_and_closes() {
    let logged = Logged::start().await;
    let gate = Gate::new();
    logged.origin.on("/off/slow", Reply::ok("late").held_by(&gate));
    let mut client = logged.edge.client().await;
    client.send(&Request::get("/off/slow").bytes()).await;
    logged.origin.until("it is asked", |origin| origin.count("/off/slow") == 1).await;
    let drained = logged.edge.drain(Duration::from_secs(60));
    gate.open();
    let answer = client.answer().await.expect(200);
    assert!(answer.headers.lists("Connection", "close"), "{answer}");
    assert!(client.closed().await.is_empty());
    drained.await.expect("the drain does not panic");
}

#[tokio::test]
async fn a_total_time_cuts_an_answer_short() {
    let origin = Origin::start().await;
    origin.on("/off/slow", Reply::new(200).chunk("begun").pause(Duration::from_secs(60)).chunk("late"));
    let tail = "[pool.timeouts]\ntotal = \"300ms\"\nbetween_bytes = \"200ms\"\n";
    let edge = Edge::start(&[&over(&[origin.addr()], tail), ROUTES, UNREVEALED].concat()).await;
    let answer = edge.get("/off/slow").await;
    assert!(answer.status == 200 && !answer.complete && answer.body == b"begun", "{answer}");
}
