//! What backends say of their own load: it changes their share, within bounds, and goes no further.

mod support;

use futures::future::join_all;
use std::time::Duration;
use support::edge::{Edge, pool};
use support::{Origin, Reply};

const LOAD: &str = "X-Backend-Load";
const ORCA: &str = "endpoint-load-metrics";
const FIELDS: [&str; 3] = [LOAD, ORCA, "endpoint-load-metrics-bin"];

/// How many of 300 requests, twenty at a time, go to the first of two backends that say this of themselves.
async fn asked(said: [(&str, &str); 2], keys: &str) -> usize {
    let origins = [Origin::start().await, Origin::start().await];
    for (origin, (field, value)) in origins.iter().zip(said) {
        // The same time for both, far above what the machine adds to it.
        origin.on("/a", Reply::ok("alpha").header(field, value).after(Duration::from_millis(30)));
    }
    let conf = pool("web", &[origins[0].addr(), origins[1].addr()], &format!("slow_start = \"0s\"\n{keys}"));
    let edge = Edge::start(&(conf + "[[route]]\npool = \"web\"\n[route.cache]\nenabled = false\n")).await;
    let worker = async || {
        for _ in 0..15 {
            edge.get("/a").await.expect(200);
        }
    };
    join_all((0..20).map(|_| worker())).await;
    assert_eq!(origins[0].count("/a") + origins[1].count("/a"), 300);
    origins[0].count("/a")
}

#[tokio::test]
async fn who_says_it_is_loaded_gets_less_and_not_nothing() {
    // A fifth of the weight beside a whole one: a sixth of 300.
    let count = asked([(LOAD, "99"), (LOAD, "0")], "").await;
    assert!((15..=100).contains(&count), "{count}");
    let count =
        asked([(ORCA, "TEXT cpu_utilization=7.5"), (ORCA, "JSON {\"application_utilization\":0.01}")], "").await;
    assert!((15..=100).contains(&count), "{count}");
}

#[tokio::test]
async fn a_pool_that_does_not_listen_shares_evenly() {
    let count = asked([(LOAD, "99"), (LOAD, "0")], "tail = { reported_load = false }").await;
    assert!((110..=190).contains(&count), "{count}");
}

#[tokio::test]
async fn the_last_report_is_shown_until_it_is_old() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha").header(LOAD, "0.75").header(ORCA, "TEXT cpu_utilization=0.1"));
    origin.on("/b", Reply::new(500).header(ORCA, "TEXT cpu_utilization=0.25"));
    origin.on("/c", Reply::ok("gamma").header(LOAD, "heavy"));
    let edge = Edge::over(&[&origin], "").await;
    let shown = async || edge.backend(origin.addr()).await["reported_load"].clone();
    assert!(shown().await.is_null());
    edge.get("/a").await.expect(200);
    assert_eq!(shown().await, 0.75);
    edge.metric_becomes("hedgerow_backend_reported_load", &[], 0.75).await;
    edge.get("/b").await.expect(500);
    assert_eq!(shown().await, 0.25);
    edge.get("/c").await.expect(200);
    assert_eq!(shown().await, 0.25, "what is no number changes nothing");
}

#[tokio::test]
async fn it_is_kept_from_the_cache_and_from_clients() {
    let origin = Origin::start().await;
    let said = |reply: Reply| FIELDS.iter().fold(reply, |reply, field| reply.header(field, "0.5"));
    origin.on("/a", said(Reply::fresh(0, "alpha")).etag("\"1\""));
    origin.on("/b", said(Reply::fresh(60, "beta")));
    let edge = Edge::over(&[&origin], "").await;
    for target in ["/a", "/a", "/b", "/b"] {
        let answer = edge.get(target).await.expect(200);
        for field in FIELDS {
            assert_eq!(answer.header(field), None, "{field} in {answer}");
        }
    }
    assert_eq!(origin.count("/a"), 2, "the second was validated");
    assert_eq!(edge.backend(origin.addr()).await["reported_load"], 0.5);
}

#[tokio::test]
async fn a_pool_that_does_not_listen_passes_it_on() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha").header(LOAD, "0.5"));
    let conf = pool("web", &[origin.addr()], "tail = { reported_load = false }") + "[[route]]\npool = \"web\"\n";
    let edge = Edge::start(&conf).await;
    assert_eq!(edge.get("/a").await.expect(200).header(LOAD), Some("0.5"));
    assert!(edge.backend(origin.addr()).await["reported_load"].is_null());
}
