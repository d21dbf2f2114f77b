//! HEAD: answered from a stored GET, forwarded as it is, and what its answer says about a stored copy (RFC 9111 §4.3.5).

mod support;

use support::edge::Edge;
use support::{Origin, Reply, Request};

/// A response that is stale at once and has a validator.
fn stale(tag: &str, body: &str) -> Reply {
    Reply::fresh(0, body).etag(tag)
}

fn methods(origin: &Origin, path: &str) -> Vec<String> {
    origin.seen(path).iter().map(|seen| seen.method.clone()).collect()
}

#[tokio::test]
async fn a_head_of_what_is_not_stored_fetches_no_body() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let edge = Edge::over(&[&origin], "").await;
    let head = edge.fetch(&Request::head("/a")).await.expect(200);
    assert_eq!((head.header("Content-Length"), head.text().as_str()), (Some("5"), ""));
    let said = head.cache_status();
    assert_eq!((said.fwd(), said.is("stored")), (Some("uri-miss"), false));
    assert_eq!(methods(&origin, "/a"), ["HEAD"]);
    assert_eq!(edge.get("/a").await.expect(200).text(), "alpha", "the head is not taken for the whole");
    assert_eq!(edge.fetch(&Request::head("/a")).await.verdict(), "HIT");
    let only = Request::head("/b").header("Cache-Control", "only-if-cached");
    edge.fetch(&only).await.expect(504);
    assert_eq!(origin.count("/b"), 0);
}

#[tokio::test]
async fn a_head_that_confirms_a_stale_copy_freshens_it() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, seen| match (n, seen.method.as_str()) {
        (1, _) => stale("\"1\"", "alpha"),
        // Such an origin heeds no conditions.
        _ => Reply::fresh(60, "alpha").etag("\"1\"").header("X-New", "yes"),
    });
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let head = edge.fetch(&Request::head("/a")).await.expect(200);
    let said = head.cache_status();
    assert_eq!((said.fwd(), said.is("stored"), head.verdict()), (Some("stale"), true, "REVALIDATED"), "{head}");
    assert_eq!(methods(&origin, "/a"), ["GET", "HEAD"]);
    let hit = edge.get("/a").await;
    assert_eq!((hit.verdict(), hit.text().as_str(), hit.header("X-New")), ("HIT", "alpha", Some("yes")), "{hit}");
}

#[tokio::test]
async fn a_304_to_a_head_freshens_the_copy() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, _| match n {
        1 => stale("\"1\"", "alpha"),
        _ => Reply::new(304).etag("\"1\"").header("Cache-Control", "max-age=60"),
    });
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await;
    assert_eq!(edge.fetch(&Request::head("/a")).await.expect(200).verdict(), "REVALIDATED");
    let hit = edge.get("/a").await;
    assert_eq!((hit.verdict(), hit.text().as_str()), ("HIT", "alpha"));
}

#[tokio::test]
async fn a_head_that_belies_a_stale_copy_has_it_fetched_anew() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, _| match n {
        1 => stale("\"1\"", "alpha"),
        _ => Reply::fresh(60, "other").etag("\"2\""),
    });
    origin.on_nth("/gone", |n, _| if n == 1 { stale("\"1\"", "alpha") } else { Reply::new(404).body("gone") });
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await;
    let head = edge.fetch(&Request::head("/a")).await.expect(200);
    assert_eq!((head.header("ETag"), head.text().as_str()), (Some("\"2\""), ""));
    assert_eq!(head.cache_status().param("detail"), Some("head-mismatch"));
    assert_eq!(methods(&origin, "/a"), ["GET", "HEAD", "GET"]);
    let hit = edge.get("/a").await;
    assert_eq!((hit.verdict(), hit.text().as_str()), ("HIT", "other"));

    edge.get("/gone").await;
    edge.fetch(&Request::head("/gone")).await.expect(404);
    assert_eq!(edge.get("/gone").await.expect(404).text(), "gone");
}

#[tokio::test]
async fn a_head_that_fails_lets_a_stale_copy_stand_in_and_stores_nothing() {
    let origin = Origin::start().await;
    for path in ["/kept", "/strict"] {
        origin.on_nth(path, |n, _| match n {
            1 => stale("\"1\"", "alpha"),
            2 => Reply::new(503).body("busy").header("Cache-Control", "max-age=60"),
            _ => Reply::ok("back"),
        });
    }
    let edge = Edge::over(&[&origin], "[route.cache]\nstale = { if_error = \"10m\" }\n").await;
    edge.get("/kept").await;
    assert_eq!(edge.fetch(&Request::head("/kept")).await.expect(200).verdict(), "STALE");
    assert_eq!(methods(&origin, "/kept"), ["GET", "HEAD"]);
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/strict").await;
    let head = edge.fetch(&Request::head("/strict")).await.expect(503);
    assert!(!head.cache_status().is("stored"), "{head}");
    assert_eq!(edge.get("/strict").await.expect(200).text(), "back", "an empty 503 was not stored");
}
