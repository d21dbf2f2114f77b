//! What a request that changes things takes out of the cache (RFC 9111 §4.4, RFC 9875 §3).

mod support;

use support::edge::Edge;
use support::{Gate, Origin, Reply, Request};

/// An edge over an origin that answers anything with an hour of freshness, and its count of requests as the body.
async fn house() -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.otherwise(|seen| match seen.method.as_str() {
        "GET" => Reply::fresh(3600, seen.target.clone()),
        _ => Reply::new(204),
    });
    let edge = Edge::over(&[&origin], "").await;
    (origin, edge)
}

async fn warm(edge: &Edge, targets: &[&str]) {
    for target in targets {
        edge.get(target).await.expect(200);
        assert_eq!(edge.get(target).await.expect(200).verdict(), "HIT", "{target}");
    }
}

async fn verdicts(edge: &Edge, targets: &[&str]) -> Vec<String> {
    let mut verdicts = Vec::new();
    for target in targets {
        verdicts.push(edge.get(target).await.expect(200).verdict().to_owned());
    }
    verdicts
}

#[tokio::test]
async fn unsafe_and_unknown_methods_invalidate_their_target() {
    let (_origin, edge) = house().await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"] {
        warm(&edge, &["/a?x", "/a"]).await;
        edge.fetch(&Request::new(method, "/a?x").body("")).await.expect(204);
        assert_eq!(verdicts(&edge, &["/a?x", "/a"]).await, ["MISS", "HIT"], "{method}");
    }
    edge.metric_becomes("hedgerow_purges_total", &[("cause", "unsafe-request"), ("kind", "url")], 6.0).await;
}

#[tokio::test]
async fn safe_methods_do_not() {
    let (_origin, edge) = house().await;
    warm(&edge, &["/a"]).await;
    for method in ["OPTIONS", "HEAD"] {
        edge.fetch(&Request::new(method, "/a")).await;
    }
    assert_eq!(verdicts(&edge, &["/a"]).await, ["HIT"]);
}

#[tokio::test]
async fn an_error_changes_nothing() {
    let (origin, edge) = house().await;
    for status in [400, 404, 500, 503] {
        warm(&edge, &["/a", "/b"]).await;
        origin.otherwise(move |seen| match seen.method.as_str() {
            "GET" => Reply::fresh(3600, ""),
            _ => Reply::new(status).header("Location", "/b").header("Cache-Group-Invalidation", "\"g\""),
        });
        edge.fetch(&Request::post("/a", "")).await.expect(status);
        assert_eq!(verdicts(&edge, &["/a", "/b"]).await, ["HIT", "HIT"], "{status}");
    }
}

#[tokio::test]
async fn location_and_content_location_of_the_same_origin_go_too() {
    let (origin, edge) = house().await;
    let all = ["/a/form", "/a/b", "/c?d", "/other"];
    for (location, content_location) in [
        ("/a/b", "/c?d"),
        ("b", "../c?d"),
        ("http://edge.test/a/b", "https://EDGE.test/c?d#top"),
        ("//edge.test/a/./b", "http://edge.test:80/c?d"),
    ] {
        warm(&edge, &all).await;
        origin.otherwise(move |seen| match seen.method.as_str() {
            "GET" => Reply::fresh(3600, ""),
            _ => Reply::new(201).header("Location", location).header("Content-Location", content_location),
        });
        edge.fetch(&Request::post("/a/form", "")).await.expect(201);
        assert_eq!(verdicts(&edge, &all).await, ["MISS", "MISS", "MISS", "HIT"], "{location} {content_location}");
    }
}

#[tokio::test]
async fn those_of_another_origin_do_not() {
    let (origin, edge) = house().await;
    let theirs = Request::get("/b").host("other.test");
    edge.fetch(&theirs).await.expect(200);
    warm(&edge, &["/b"]).await;
    for foreign in ["http://other.test/b", "//other.test/b", "http://edge.test:8080/b", "http://edge.test@other.test/b"]
    {
        origin.otherwise(move |seen| match seen.method.as_str() {
            "GET" => Reply::fresh(3600, ""),
            _ => Reply::new(201).header("Location", foreign).header("Content-Location", foreign),
        });
        edge.fetch(&Request::post("/a", "")).await.expect(201);
        assert_eq!(edge.fetch(&theirs).await.verdict(), "HIT", "{foreign}");
        assert_eq!(verdicts(&edge, &["/b"]).await, ["HIT"], "{foreign}");
    }
}

#[tokio::test]
async fn a_location_is_keyed_as_its_route_keys_it() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| match seen.method.as_str() {
        "GET" => Reply::fresh(3600, ""),
        _ => Reply::new(201).header("Location", "/b?z=1&utm_source=mail&a=2"),
    });
    let edge = Edge::over(&[&origin], "[route.cache]\nkey = { query = { drop = [\"utm_*\"], sort = true } }\n").await;
    warm(&edge, &["/b?z=1&a=2"]).await;
    edge.fetch(&Request::post("/a", "")).await.expect(201);
    assert_eq!(verdicts(&edge, &["/b?a=2&z=1"]).await, ["MISS"]);
}

#[tokio::test]
async fn all_variants_go() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| match seen.method.as_str() {
        "GET" => Reply::fresh(3600, seen.header("X-A").unwrap_or("none")).header("Vary", "X-A"),
        _ => Reply::new(204),
    });
    let edge = Edge::over(&[&origin], "").await;
    let variant = |value: &str| Request::get("/a").header("X-A", value);
    for verdict in ["MISS", "HIT"] {
        for value in ["1", "2", "3"] {
            assert_eq!(edge.fetch(&variant(value)).await.expect(200).verdict(), verdict);
        }
    }
    edge.fetch(&Request::post("/a", "")).await.expect(204);
    for value in ["1", "2", "3"] {
        let answer = edge.fetch(&variant(value)).await.expect(200);
        assert_eq!((answer.verdict(), answer.text().as_str()), ("MISS", value));
    }
}

#[tokio::test]
async fn groups_go_within_the_origin() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| match (seen.method.as_str(), seen.path()) {
        ("GET", "/a") => Reply::fresh(3600, "").header("Cache-Groups", "\"news\", \"all\""),
        ("GET", "/b") => Reply::fresh(3600, "").header("Cache-Groups", "\"sport\""),
        ("GET", "/get") => Reply::fresh(3600, "").header("Cache-Group-Invalidation", "\"sport\""),
        _ => Reply::new(204).header("Cache-Group-Invalidation", "\"news\";p, \"none\""),
    });
    let edge = Edge::over(&[&origin], "").await;
    let theirs = Request::get("/a").host("other.test");
    edge.fetch(&theirs).await.expect(200);
    warm(&edge, &["/a", "/b", "/get"]).await;
    edge.fetch(&Request::post("/form", "")).await.expect(204);
    assert_eq!(verdicts(&edge, &["/a", "/b", "/get"]).await, ["MISS", "HIT", "HIT"]);
    assert_eq!(edge.fetch(&theirs).await.verdict(), "HIT", "another origin's group of the same name");
    edge.metric_becomes("hedgerow_purges_total", &[("cause", "unsafe-request"), ("kind", "tag")], 1.0).await;
}

#[tokio::test]
async fn a_change_wins_against_a_fetch_that_was_under_way() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_nth("/a", move |n, seen| match (seen.method.as_str(), n) {
        ("POST", _) => Reply::new(204),
        (_, 1) => Reply::fresh(3600, "old").held_by(&held),
        _ => Reply::fresh(3600, "new"),
    });
    let edge = Edge::over(&[&origin], "").await;
    let mut early = edge.client().await;
    early.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    edge.fetch(&Request::post("/a", "")).await.expect(204);
    gate.open();
    assert_eq!(early.answer().await.expect(200).text(), "old", "who asked before gets what was then");
    for verdict in ["MISS", "HIT"] {
        let answer = edge.get("/a").await.expect(200);
        assert_eq!((answer.verdict(), answer.text().as_str()), (verdict, "new"));
    }
}

#[tokio::test]
async fn a_change_wins_against_a_body_that_was_coming_in() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_nth("/a", move |n, seen| match (seen.method.as_str(), n) {
        ("POST", _) => Reply::new(204),
        (_, 1) => Reply::new(200).header("Cache-Control", "max-age=3600").chunk("old").gate(&held).chunk("er"),
        _ => Reply::fresh(3600, "new"),
    });
    let edge = Edge::over(&[&origin], "").await;
    let mut early = edge.client().await;
    early.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    edge.fetch(&Request::post("/a", "")).await.expect(204);
    assert_eq!(edge.get("/a").await.expect(200).text(), "new", "who asks afterwards does not read along");
    gate.open();
    assert_eq!(early.answer().await.expect(200).text(), "older");
    let answer = edge.get("/a").await.expect(200);
    assert_eq!((answer.verdict(), answer.text().as_str()), ("HIT", "new"));
}
