//! How long an answer is fresh, and what confirms it: what the origin says of that very answer, and no guess.

mod support;

use support::edge::Edge;
use support::{Origin, Reply, date_after};

#[tokio::test]
async fn an_answer_that_only_says_when_it_last_changed_is_not_stored() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    // The guess of RFC 9111 §4.2.2 would make it fresh for ten days.
    origin.on_nth("/a", |n, _| Reply::ok(format!("answer {n}")).header("Last-Modified", &date_after(-8_640_000)));
    for body in ["answer 1", "answer 2"] {
        let answer = edge.get("/a").await.expect(200);
        assert_eq!((answer.verdict(), answer.text().as_str()), ("MISS", body));
        assert!(!answer.cache_status().is("stored"), "{answer}");
    }
    assert_eq!(origin.seen("/a")[1].header("If-Modified-Since"), None);
}

#[tokio::test]
async fn expires_counts_from_the_origins_own_date() {
    let origin = Origin::start().await;
    let by_its_clock = |ahead: i64, lives: i64| [("Date", date_after(ahead)), ("Expires", date_after(ahead + lives))];
    for (path, fields, verdict) in [
        ("/ahead", by_its_clock(3_600, 60), "HIT"),
        ("/ahead-and-over", by_its_clock(3_600, -60), "MISS"),
        ("/as-ours", by_its_clock(0, 60), "HIT"),
    ] {
        let reply = fields.iter().fold(Reply::ok("alpha"), |reply, (name, value)| reply.header(name, value));
        origin.on(path, reply);
        let edge = Edge::over(&[&origin], "").await;
        edge.get(path).await.expect(200);
        let second = edge.get(path).await.expect(200);
        assert_eq!(second.verdict(), verdict, "{path}: {second}");
        if verdict == "HIT" {
            let ttl = second.cache_status().ttl().expect("ttl is told");
            assert!((40..=60).contains(&ttl), "{path}: {second}");
        }
    }
}

#[tokio::test]
async fn a_304_about_another_body_does_not_relabel_ours() {
    let origin = Origin::start().await;
    origin.on_each(
        "/a",
        [
            Reply::fresh(0, "one").header("ETag", "\"1\""),
            Reply::new(304).header("ETag", "\"2\"").header("Cache-Control", "max-age=60"),
            Reply::fresh(60, "two").header("ETag", "\"2\""),
        ],
    );
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let second = edge.get("/a").await.expect(200);
    assert_eq!((second.text().as_str(), second.header("ETag")), ("two", Some("\"2\"")), "{second}");
    let said = second.cache_status();
    assert_eq!((said.fwd(), said.is("stored")), (Some("stale"), true));
    assert_eq!((said.param("fwd-status"), said.param("detail")), (None, Some("etag-mismatch")));
    let conditions: Vec<_> = origin.seen("/a").iter().map(|seen| seen.headers.get("If-None-Match").is_some()).collect();
    assert_eq!(conditions, [false, true, false], "asked again without a condition");
    assert_eq!(edge.get("/a").await.verdict(), "HIT");
}
