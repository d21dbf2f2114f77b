//! The access log as an operator reads it: a line for each request, with the cause of its end.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use std::path::PathBuf;

use serde_json::Value;
use support::edge::{Edge, pool};
use support::{Folder, Gate, Origin, Reply, Request, eventually};

const KEYS: &str = "time client method host path protocol status grpc_status bytes duration upstream_time route pool backend \
                    cache attempts hedge priority queue_time shed stale reason request_id trace_id generation";

/// An edge that logs to a file: `edge.test` goes to `origin`, `dead.test` to nobody, any other host nowhere.
struct Logged {
    edge: Edge,
    file: PathBuf,
    _folder: Folder,
}

impl Logged {
    async fn over(origin: &Origin, dead: &support::Refusing) -> Logged {
        let folder = Folder::new();
        let file = folder.path().join("access.log");
        let conf = [
            pool("web", &[origin.addr()], ""),
            pool("dead", &[dead.addr()], "tail = { retry = { attempts = 0 } }"),
            "[[route]]\nname = \"pages\"\nmatch = { host = \"edge.test\" }\npool = \"web\"\n".to_owned(),
            "max_body = \"10B\"\n".to_owned(),
            "[[route]]\nmatch = { host = \"dead.test\" }\npool = \"dead\"\n".to_owned(),
            "[server.limits]\nheaders = 10\nuri_length = \"100B\"\n[server.timeouts]\nhead = \"200ms\"\n".to_owned(),
            format!("[access_log]\nformat = \"json\"\noutput = \"{}\"\n", file.display()),
        ];
        Logged { edge: Edge::start(&conf.concat()).await, file, _folder: folder }
    }

    /// All lines, once there are `n`.
    async fn lines(&self, n: usize) -> Vec<String> {
        eventually(&format!("{n} lines in the access log"), || async {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            let whole = text.ends_with('\n');
            (whole && text.lines().count() >= n).then(|| text.lines().map(str::to_owned).collect())
        })
        .await
    }

    /// The `n`th line, which must be the last.
    async fn line(&self, n: usize) -> Value {
        let lines = self.lines(n).await;
        assert_eq!(lines.len(), n, "{lines:#?}");
        serde_json::from_str(&lines[n - 1]).unwrap_or_else(|e| panic!("not JSON ({e}): {}", lines[n - 1]))
    }
}

#[tokio::test]
async fn a_line_has_every_key_in_its_order() {
    let (origin, dead) = (Origin::start().await, Origin::refusing());
    origin.on("/a", Reply::fresh(60, "alpha"));
    let logged = Logged::over(&origin, &dead).await;
    let answer = logged.edge.get("/a?b=c%22").await.expect(200);
    let text = logged.lines(1).await.remove(0);
    let places: Vec<_> = KEYS.split_whitespace().map(|key| text.find(&format!("\"{key}\":"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{text}");

    let line = logged.line(1).await;
    assert_eq!(line.as_object().map(serde_json::Map::len), Some(places.len()), "{line}");
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("host", "edge.test"),
        ("path", "/a?b=c%22"),
        ("protocol", "HTTP/1.1"),
        ("route", "pages"),
        ("pool", "web"),
        ("backend", &origin.addr().to_string()),
        ("cache", "miss"),
        ("reason", "done"),
        ("request_id", answer.header("X-Request-Id").unwrap_or_default()),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    for (key, value) in [("status", 200), ("bytes", 5), ("attempts", 1), ("generation", 1)] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    let (whole, upstream) = (line["duration"].as_f64(), line["upstream_time"].as_f64());
    assert!(whole >= upstream && upstream > Some(0.0), "{line}");
}

#[tokio::test]
async fn each_request_is_one_line_with_the_cause_of_its_end() {
    let (origin, dead, gate) = (Origin::start().await, Origin::refusing(), Gate::new());
    origin.on("/a", Reply::ok("alpha")).on("/held", Reply::ok("late").held_by(&gate));
    let logged = Logged::over(&origin, &dead).await;
    let edge = &logged.edge;

    edge.get("/a").await.expect(200);
    is(&logged.line(1).await, "done", 200);

    edge.fetch(&Request::get("/a").host("other.test")).await.expect(404);
    is(&logged.line(2).await, "no-route", 404);

    edge.fetch(&Request::post("/a", "more than ten bytes")).await;
    is(&logged.line(3).await, "body-too-large", 413);

    let mut client = edge.client().await;
    client.ask(&Request::post("/held", "body")).await;
    gate.arrived(1).await;
    client.abort();
    is(&logged.line(4).await, "client-closed", 0);

    edge.fetch(&Request::get("/a").host("dead.test")).await.expect(502);
    is(&logged.line(5).await, "connect-failed", 502);

    edge.refuses((0..20).fold(Request::get("/a"), |r, n| r.header(&format!("X-{n}"), "y")).bytes()).await;
    is(&logged.line(6).await, "head-too-large", 431);

    edge.refuses(Request::get(&format!("/{}", "a".repeat(200))).bytes()).await;
    is(&logged.line(7).await, "uri-too-long", 414);

    edge.refuses("GET /a HTT").await;
    is(&logged.line(8).await, "client-timeout", 408);
}

#[tokio::test]
async fn requests_on_one_connection_are_a_line_each() {
    let (origin, dead) = (Origin::start().await, Origin::refusing());
    origin.otherwise(|seen| Reply::fresh(60, &seen.target));
    let logged = Logged::over(&origin, &dead).await;
    let mut client = logged.edge.client().await;
    for (n, (path, cache)) in [("/a", "miss"), ("/b", "miss"), ("/a", "hit")].into_iter().enumerate() {
        client.get(path).await.expect(200);
        let line = logged.line(n + 1).await;
        assert_eq!((&line["path"], &line["cache"], &line["reason"]), (&path.into(), &cache.into(), &"done".into()));
    }
}

#[track_caller]
fn is(line: &Value, reason: &str, status: u64) {
    assert_eq!((&line["reason"], &line["status"]), (&reason.into(), &status.into()), "{line}");
}

#[tokio::test]
async fn a_request_cut_at_the_end_of_the_grace_period_says_so() {
    let (origin, dead, gate) = (Origin::start().await, Origin::refusing(), Gate::new());
    origin.on("/a", Reply::ok("alpha").held_by(&gate));
    let logged = Logged::over(&origin, &dead).await;
    let mut client = logged.edge.client().await;
    client.ask(&Request::post("/a", "x")).await;
    gate.arrived(1).await;
    logged.edge.drain(std::time::Duration::from_millis(50)).await.expect("drained");
    let line = logged.line(1).await;
    assert_eq!(
        (line["reason"].as_str(), line["path"].as_str(), line["status"].as_u64()),
        (Some("cut"), Some("/a"), Some(0))
    );
}

#[tokio::test]
async fn older_tools_get_the_lines_they_read() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    for (format, agent) in [("common", ""), ("combined", " \"http://edge.test/\" \"Mozilla/5.0 \\x22x\\x22\"")] {
        let folder = Folder::new();
        let file = folder.path().join("access.log");
        let conf = [
            pool("web", &[origin.addr()], ""),
            "[[route]]\npool = \"web\"\n[cache.reveal]\nclients = []\n".to_owned(),
            format!("[access_log]\nformat = \"{format}\"\noutput = \"{}\"\n", file.display()),
        ];
        let edge = Edge::start(&conf.concat()).await;
        let request =
            Request::get("/a?b").header("Referer", "http://edge.test/").header("User-Agent", "Mozilla/5.0 \"x\"");
        // The first goes the long way, the second is a hit of the lane.
        for verdict in ["MISS", "HIT"] {
            assert_eq!(edge.fetch(&request).await.expect(200).verdict(), verdict);
        }
        let text = eventually("two lines", || async {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            (text.lines().count() == 2).then_some(text)
        })
        .await;
        for line in text.lines() {
            let (before, after) = line.split_once("] ").expect("a time in brackets");
            assert!(before.starts_with("127.0.0.1 - - [") && before.ends_with(" +0000"), "{line}");
            assert_eq!(after, format!("\"GET /a?b HTTP/1.1\" 200 5{agent}"));
        }
    }
}
