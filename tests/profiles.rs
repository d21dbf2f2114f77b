//! Policy that routes share by name: all of it applies, and a route's own word goes first.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use support::edge::{Edge, pool};
use support::{Gate, Origin, Reply, Request, client, eventually};

#[tokio::test]
async fn a_profile_applies_to_the_routes_that_name_it_and_to_no_other() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(&seen.target));
    let conf = pool("web", &[origin.addr()], "")
        + r#"
        [profile.assets]
        max_body = "10B"
        cache.ttl = { 200 = "1h" }
        cache.key = { query = { drop = ["utm_*"] } }

        [[route]]
        match = { path = "/static/**" }
        profile = "assets"

        [[route]]
        match = { path = "/**" }
        "#;
    let edge = Edge::start(&conf).await;
    for (path, second, status) in [("/static/a", "HIT", 413), ("/a", "MISS", 200)] {
        assert_eq!(edge.get(&format!("{path}?utm_source=x")).await.expect(200).verdict(), "MISS", "{path}");
        assert_eq!(edge.get(&format!("{path}?utm_source=y")).await.expect(200).verdict(), second, "{path}");
        assert_eq!(edge.fetch(&Request::post(path, "more than ten bytes")).await.status, status, "{path}");
    }
    assert_eq!(origin.only("/static/a").target, "/static/a");
}

#[tokio::test]
async fn a_routes_own_keys_win_key_by_key_and_in_cache_table_by_table() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| if seen.path().ends_with("/none") { Reply::new(404) } else { Reply::ok("alpha") });
    let conf = pool("web", &[origin.addr()], "")
        + r#"
        [profile.assets]
        max_body = "10B"
        cache.ttl = { 200 = "1h", 404 = "1h" }
        cache.key = { query = { sort = true } }

        [[route]]
        profile = "assets"
        max_body = "1KiB"
        cache.ttl = { 200 = "1m" }
        "#;
    let edge = Edge::start(&conf).await;
    edge.fetch(&Request::post("/a", "more than ten bytes")).await.expect(200);
    edge.get("/a?x=1&y=2").await.expect(200);
    let hit = edge.get("/a?y=2&x=1").await.expect(200);
    assert_eq!(hit.verdict(), "HIT", "the profile's key stays: {hit}");
    assert!(hit.cache_status().ttl().is_some_and(|ttl| ttl <= 60), "the route's ttl wins: {hit}");
    for _ in 0..2 {
        let none = edge.get("/none").await.expect(404);
        assert_eq!(none.verdict(), "MISS", "the profile's table is replaced whole: {none}");
    }
}

/// What `/explain` says of hedging a request.
async fn hedge(edge: &Edge, method: &str, path: &str) -> String {
    let question = json!({ "url": format!("http://a.example{path}"), "method": method }).to_string();
    let told = client::fetch(edge.admin(), &Request::post("/explain", question)).await.expect(200).json();
    told["hedge"].as_str().unwrap_or_default().to_owned()
}

/// Whoever is asked first for `path` keeps the request until the gate is open; the other one answers at once.
fn holds_the_first(origins: [&Origin; 2], path: &str, gate: &Gate) {
    let first = Arc::new(AtomicBool::new(true));
    for origin in origins {
        let (first, gate) = (first.clone(), gate.clone());
        origin.on_call(path, move |_| {
            if first.swap(false, Ordering::Relaxed) { Reply::ok("first").held_by(&gate) } else { Reply::ok("second") }
        });
    }
}

#[tokio::test]
async fn a_profile_keeps_its_routes_from_being_hedged_and_a_route_may_think_otherwise() {
    let (a, b) = (Origin::start().await, Origin::start().await);
    for origin in [&a, &b] {
        origin.otherwise(|seen| Reply::ok(&seen.target));
    }
    // One delay for all, and nothing left to chance.
    let tail = "tail.hedge = { min_delay = \"20ms\", max_delay = \"20ms\", held_out = \"0%\" }\n";
    let conf = pool("web", &[a.addr(), b.addr()], tail)
        + &pool("off", &[a.addr(), b.addr()], "tail.hedge = \"off\"\n")
        + r#"
        [profile.dear]
        hedge = "off"

        [[route]]
        pool = "web"
        match = { path = "/dear/**" }
        profile = "dear"

        [[route]]
        pool = "web"
        match = { path = "/cheap/**" }
        profile = "dear"
        hedge = "on"

        [[route]]
        match = { path = "/off" }
        pool = "off"
        "#;
    let edge = Edge::start(&conf).await;
    assert!(hedge(&edge, "GET", "/cheap/a").await.starts_with("not yet"));
    assert!(hedge(&edge, "POST", "/cheap/a").await.starts_with("no: neither"));
    assert!(hedge(&edge, "GET", "/dear/a").await.starts_with("no: the route's"));
    assert!(hedge(&edge, "GET", "/off").await.starts_with("no: the pool's"));
    // Enough for a delay, and for a token in the bucket of either route.
    for _ in 0..150 {
        edge.get("/cheap/a").await.expect(200);
        edge.get("/dear/a").await.expect(200);
    }
    eventually("the delay is known", || async {
        (hedge(&edge, "GET", "/cheap/a").await == "after 20.0 ms at the earliest, if the budget allows it")
            .then_some(())
    })
    .await;

    let gate = Gate::new();
    holds_the_first([&a, &b], "/dear/late", &gate);
    holds_the_first([&a, &b], "/cheap/late", &gate);
    let (dear, ()) = tokio::join!(edge.get("/dear/late"), async {
        gate.arrived(1).await;
        // Its delay is over before that of a request that comes after it.
        assert_eq!(edge.get("/cheap/late").await.expect(200).text(), "second");
        assert_eq!((a.count("/cheap/late"), b.count("/cheap/late")), (1, 1), "a copy went to the other backend");
        assert_eq!(a.count("/dear/late") + b.count("/dear/late"), 1, "no copy was made");
        gate.open();
    });
    assert_eq!(dear.expect(200).text(), "first");
}
