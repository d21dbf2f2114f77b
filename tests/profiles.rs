//! Policy that routes share by name: all of it applies, and a route's own word goes first.

mod support;

use support::edge::{Edge, pool};
use support::{Origin, Reply, Request};

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
