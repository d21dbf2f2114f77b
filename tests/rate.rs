//! Rate limits: who asks too often is refused, nobody else is, and everyone is told where they stand.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use support::edge::{Edge, over};
use support::{Folder, Gate, Origin, Reply, Request, Response, eventually};

/// So slow that the time a test takes brings no token.
const TWO: &str = "rate = { per_client = \"2/h\", client_burst = 2 }\n";
const TRUSTED: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// A request of the client at this address, as a trusted proxy tells it.
fn of(client: &str, target: &str) -> Request {
    Request::get(target).header("X-Forwarded-For", client)
}

/// Policy, what is left, and in how many seconds there is more.
fn told(answer: &Response) -> (String, u64, u64) {
    let standing = answer.headers.members("RateLimit").pop().unwrap_or_else(|| panic!("no RateLimit: {answer}"));
    let policy = answer.headers.members("RateLimit-Policy").pop().expect("a policy goes with it");
    assert_eq!(standing.name, policy.name, "{answer}");
    let number = |key| standing.param(key).and_then(|value| value.parse().ok()).expect("a number");
    (standing.name.clone(), number("r"), number("t"))
}

/// What is left.
fn left(answer: &Response) -> u64 {
    told(answer).1
}

#[tokio::test]
async fn a_client_over_its_rate_is_refused_and_another_is_not() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("a"));
    let edge = Edge::over(&[&origin], &format!("name = \"pages\"\n{TWO}{TRUSTED}")).await;
    let mut client = edge.client().await;
    for expected in [1, 0] {
        let answer = client.request(&of("192.0.2.1", "/a")).await.expect(200);
        let (policy, left, next) = told(&answer);
        assert_eq!((policy.as_str(), left), ("client", expected));
        assert!((1700..=1800).contains(&next), "{answer}");
    }

    let refused = client.request(&of("192.0.2.1", "/a")).await.expect(429);
    assert_eq!(refused.header("RateLimit-Policy"), Some("\"client\";q=2;w=3600"));
    let (_, left, next) = told(&refused);
    assert!(left == 0 && (1700..=1800).contains(&next), "{refused}");
    assert_eq!(refused.header("Retry-After"), Some(next.to_string().as_str()));
    assert_eq!(refused.header("Cache-Control"), Some("no-store"));
    let why = refused.proxy_status();
    assert_eq!((why.param("error"), why.param("details")), (Some("http_request_denied"), Some("rate-client")));
    assert_eq!(refused.header("Connection"), Some("keep-alive"), "{refused}");

    let other = client.request(&of("192.0.2.2", "/a")).await.expect(200);
    assert_eq!((self::left(&other), other.header("Retry-After")), (1, None), "on the same connection");
    assert_eq!(origin.count("/a"), 3, "what is refused does not reach a backend");

    for (scope, count) in [("client", 1.0), ("route", 0.0)] {
        edge.metric_becomes("hedgerow_rate_limited_total", &[("route", "pages"), ("scope", scope)], count).await;
    }
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "rate-limited")], 1.0).await;
}

#[tokio::test]
async fn an_ipv6_client_is_its_network_and_a_stranger_cannot_choose_to_be_another() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("a"));
    let trusting = Edge::over(&[&origin], &format!("{TWO}{TRUSTED}")).await;
    for (client, status) in
        [("2001:db8:1:1::1", 200), ("2001:db8:1:1::2", 200), ("2001:db8:1:1::3", 429), ("2001:db8:1:2::1", 200)]
    {
        trusting.fetch(&of(client, "/a")).await.expect(status);
    }
    let edge = Edge::over(&[&origin], TWO).await;
    for (client, status) in [("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.3", 429)] {
        edge.fetch(&of(client, "/a")).await.expect(status);
    }
}

#[tokio::test]
async fn the_total_counts_all_clients_and_costs_none_of_them_its_own() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("a"));
    let rate = "rate = { per_client = \"1/h\", client_burst = 2, total = \"7/m\", burst = 3 }\n";
    let edge = Edge::from_file(&over(&[origin.addr()], &format!("{rate}{TRUSTED}"))).await;
    let mut client = edge.client().await;
    client.request(&of("192.0.2.1", "/a")).await.expect(200);
    client.request(&of("192.0.2.1", "/a")).await.expect(200);
    let own = client.request(&of("192.0.2.1", "/a")).await.expect(429);
    assert_eq!(own.proxy_status().param("details"), Some("rate-client"), "its own limit comes first: {own}");
    let last = client.request(&of("192.0.2.2", "/a")).await.expect(200);
    assert_eq!((told(&last).0.as_str(), left(&last)), ("route", 0), "the one that has least left: {last}");

    let refused = client.request(&of("192.0.2.3", "/a")).await.expect(429);
    assert_eq!(refused.header("RateLimit-Policy"), Some("\"route\";q=7;w=60;hedgerow-burst=3"));
    let (policy, left, next) = told(&refused);
    assert!(policy == "route" && left == 0 && (1..=9).contains(&next), "{refused}");
    assert_eq!(refused.proxy_status().param("details"), Some("rate-route"));
    edge.metric_becomes("hedgerow_rate_limited_total", &[("scope", "route")], 1.0).await;
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn a_reload_with_the_same_rate_fills_no_bucket() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("a"));
    let conf = |more: &str| over(&[origin.addr()], &format!("{more}{TRUSTED}"));
    let edge = Edge::from_file(&conf(TWO)).await;
    let reloaded = async |more: &str| {
        edge.rewrite(&conf(more));
        edge.reload().await.expect(200);
        edge.fetch(&of("192.0.2.1", "/a")).await
    };
    assert_eq!(left(&edge.fetch(&of("192.0.2.1", "/a")).await.expect(200)), 1);
    let other_keys = format!("timeout = \"9s\"\nhedge = \"off\"\n{TWO}");
    assert_eq!(left(&reloaded(&other_keys).await.expect(200)), 0);
    reloaded(&format!("max_body = \"1MiB\"\n{TWO}")).await.expect(429);
    assert_eq!(left(&reloaded("rate.per_client = \"3/m\"\n").await.expect(200)), 0, "another rate is counted anew");
    assert_eq!(reloaded("rate = \"off\"\n").await.expect(200).header("RateLimit"), None);
}

#[tokio::test]
async fn a_hit_counts_and_tells_its_client_and_not_who_was_told_before() {
    let origin = Origin::start().await;
    let theirs =
        Reply::fresh(60, "a").header("RateLimit", "\"inner\";r=9;t=9").header("RateLimit-Policy", "\"inner\";q=9");
    origin.on("/a", theirs.clone()).on("/free", theirs);
    let conf = format!("match.path = \"/a\"\n{TWO}[[route]]\npool = \"web\"\n{TRUSTED}");
    let edge = Edge::over(&[&origin], &conf).await;
    for (client, verdict, expected) in [("192.0.2.1", "MISS", 1), ("192.0.2.1", "HIT", 0), ("192.0.2.2", "HIT", 1)] {
        let answer = edge.fetch(&of(client, "/a")).await.expect(200);
        assert_eq!((answer.verdict(), left(&answer)), (verdict, expected), "{client}: {answer}");
        assert_eq!(answer.headers.all("RateLimit-Policy"), ["\"client\";q=2;w=3600"]);
        assert_eq!(answer.headers.all("RateLimit").len(), 1, "{answer}");
    }
    edge.fetch(&of("192.0.2.1", "/a")).await.expect(429);
    assert_eq!(origin.count("/a"), 1);

    for _ in 0..2 {
        let free = edge.fetch(&of("192.0.2.1", "/free")).await.expect(200);
        assert_eq!(
            free.headers.all("RateLimit"),
            ["\"inner\";r=9;t=9"],
            "a route without a rate says nothing of its own"
        );
        assert_eq!(free.headers.all("RateLimit-Policy"), ["\"inner\";q=9"]);
    }
}

#[tokio::test]
async fn a_refresh_behind_a_stale_answer_is_nobodys_request() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let old = Reply::ok("old").header("Cache-Control", "max-age=1, stale-while-revalidate=60");
    origin.on_each("/a", [old, Reply::fresh(60, "new").held_by(&gate)]);
    let edge = Edge::over(&[&origin], "rate = { total = \"1/h\", burst = 100000 }\n").await;
    let mut asked = 0;
    loop {
        let answer = edge.get("/a").await.expect(200);
        asked += 1;
        assert_eq!(left(&answer), 100_000 - asked);
        if answer.verdict() == "UPDATING" {
            break;
        }
    }
    gate.arrived(1).await;
    assert_eq!(left(&edge.get("/a").await.expect(200)), 100_000 - asked - 1);
    gate.open();
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn every_method_counts_and_a_refusal_without_a_body_leaves_the_connection_usable() {
    let origin = Origin::start().await;
    origin.on("/free", Reply::ok("free"));
    let conf = "match.path = \"/a\"\nrate = { total = \"1/h\" }\n\
                cache.purge = { token = \"a-long-secret\" }\n[[route]]\npool = \"web\"\n";
    let edge = Edge::over(&[&origin], conf).await;
    let mut client = edge.client().await;
    let guess = |token: &str| Request::new("PURGE", "/a").header("Authorization", format!("Bearer {token}"));
    let first = client.request(&guess("a-wrong-secret")).await.expect(403);
    assert_eq!(left(&first), 0, "a guess at the token counts");
    for request in [guess("another-secret"), guess("a-long-secret"), Request::head("/a"), Request::new("DELETE", "/a")]
    {
        let refused = client.request(&request).await.expect(429);
        assert_eq!(told(&refused).0, "route");
        assert_eq!(client.get("/free").await.expect(200).text(), "free", "after {request:?}");
    }
    let body = vec![b'x'; 100_000];
    for request in [Request::post("/a", &body), Request::post("/a", "").chunks(&[b"some", b"more"])] {
        let refused = edge.fetch(&request).await.expect(429);
        assert_eq!(refused.header("Connection"), Some("close"), "a body that nobody wants is not read: {refused}");
    }
    assert_eq!(origin.count("/a"), 0);
}

#[tokio::test]
async fn the_log_has_a_word_for_it_and_is_sampled() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("a"));
    let lines = async |sample: &str| {
        let folder = Folder::new();
        let file = folder.path().join("access.log");
        let log = format!("[access_log]\nformat = \"json\"\nsample = \"{sample}\"\noutput = \"{}\"\n", file.display());
        let edge = Edge::over(&[&origin], &format!("rate.total = \"1/h\"\n{log}")).await;
        edge.get("/a").await.expect(200);
        edge.get("/a").await.expect(429);
        edge.fetch_raw("GET /../a HTTP/1.1\r\nHost: edge.test\r\n\r\n").await.expect(400);
        eventually("the last request is logged", || async {
            let lines = std::fs::read_to_string(&file).unwrap_or_default();
            lines.contains("\"status\":400").then_some(lines)
        })
        .await
    };
    let all = lines("100%").await;
    assert!(
        all.lines().any(|line| line.contains("\"status\":429") && line.contains("\"reason\":\"rate-limited\"")),
        "{all}"
    );
    let none = lines("0%").await;
    assert!(!none.contains("\"status\":429"), "{none}");
}
