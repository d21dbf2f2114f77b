//! A backend that says "not now" is sent less, and not punished for it.

mod support;

use std::time::Duration;

use futures::future::join_all;
use support::edge::{Edge, pool};
use support::{Origin, Reply, Request, Response};

const UNCACHED: &str = "[[route]]\npool = \"web\"\n[route.cache]\nenabled = false\n";
const PUSHBACKS: &str = "hedgerow_backend_pushbacks_total";

fn not_now() -> Reply {
    Reply::new(503).header("Retry-After", "7").body("not now")
}

fn is_throttled(answer: &Response) -> bool {
    answer.header("Proxy-Status").is_some_and(|told| told.contains("details=\"throttled\""))
}

/// The statuses of two hundred requests, twenty at a time.
async fn statuses(edge: &Edge) -> Vec<u16> {
    let worker = async || {
        let mut statuses = Vec::new();
        for _ in 0..10 {
            statuses.push(edge.get("/a").await.status);
        }
        statuses
    };
    join_all((0..20).map(|_| worker())).await.concat()
}

#[tokio::test]
async fn of_two_the_one_that_refuses_gets_a_fraction_until_it_accepts_again() {
    let [refusing, serving] = [Origin::start().await, Origin::start().await];
    // The same time for both, far above what the machine adds to it.
    let time = Duration::from_millis(30);
    refusing.on("/a", not_now().after(time));
    serving.on("/a", Reply::ok("yes").after(time));
    // The limit is another matter: nobody is to wait or to be shed here.
    let keys = "slow_start = \"0s\"\ntail = { limit = \"off\" }";
    let edge = Edge::start(&(pool("web", &[refusing.addr(), serving.addr()], keys) + UNCACHED)).await;
    statuses(&edge).await;
    let before = refusing.count("/a");
    let seen = statuses(&edge).await;
    let asked = refusing.count("/a") - before;
    assert!((4..=60).contains(&asked), "a fifth of its half is 20: {asked} of 200");
    let refused = seen.iter().filter(|status| **status == 503).count();
    assert_eq!(refused, asked, "each refusal is its client's, and tried nowhere else");
    assert!(seen.iter().all(|status| matches!(status, 200 | 503)), "{seen:?}");
    assert_eq!(refusing.count("/a") + serving.count("/a"), 400);
    let backend = edge.backend(refusing.addr()).await;
    assert_eq!(backend["state"], "healthy", "{backend}");
    assert!(backend["throttle"].as_f64().is_some_and(|ratio| ratio > 0.5 && ratio <= 0.8), "{backend}");
    let name = refusing.addr().to_string();
    edge.metric_becomes(PUSHBACKS, &[("backend", &name)], refusing.count("/a") as f64).await;
    assert!(edge.metric("hedgerow_backend_throttle_ratio", &[("backend", &name)]).await > 0.5);
    assert_eq!(edge.backend(serving.addr()).await["throttle"], 0.0);
    assert_eq!(edge.metric("hedgerow_ejections_total", &[]).await, 0.0);

    refusing.on("/a", Reply::ok("again").after(time));
    let mut shares = Vec::new();
    while shares.last().is_none_or(|share| *share < 80) {
        assert!(shares.len() < 100, "it does not come back: {shares:?}");
        let before = refusing.count("/a");
        assert!(statuses(&edge).await.iter().all(|status| *status == 200));
        shares.push(refusing.count("/a") - before);
    }
}

#[tokio::test]
async fn where_nobody_else_can_take_it_a_request_is_refused_here() {
    let origin = Origin::start().await;
    origin.otherwise(|_| not_now());
    let edge = Edge::start(&(pool("web", &[origin.addr()], "") + UNCACHED)).await;
    let (mut theirs, mut ours) = (0, 0);
    for _ in 0..200 {
        let answer = edge.get("/a").await.expect(503);
        if is_throttled(&answer) {
            ours += 1;
            assert_eq!(answer.proxy_error(), "connection_limit_reached");
            assert!(answer.header("Retry-After").is_some_and(|told| told != "7"), "{answer}");
        } else {
            theirs += 1;
            assert_eq!((answer.header("Retry-After"), answer.text().as_str()), (Some("7"), "not now"));
        }
    }
    assert_eq!(origin.count("/a"), theirs);
    assert!((20..=100).contains(&theirs), "a fifth of 200 and the first few: {theirs}");
    edge.metric_becomes("hedgerow_shed_total", &[("reason", "throttled")], f64::from(ours)).await;
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "shed")], f64::from(ours)).await;
    assert_eq!(edge.state(origin.addr()).await, "healthy");

    // An upgrade goes another way to the backend.
    let upgrade = Request::get("/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let mut answers = Vec::new();
    for _ in 0..60 {
        answers.push(edge.fetch(&upgrade).await.expect(503));
    }
    let refused = answers.iter().filter(|answer| is_throttled(answer)).count();
    assert!((1..60).contains(&refused), "{refused}");
    assert_eq!(origin.count("/ws"), 60 - refused);
    edge.metric_becomes(PUSHBACKS, &[], origin.requests() as f64).await;
}

#[tokio::test]
async fn a_stale_copy_stands_in_for_what_is_not_sent() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("old").header("Cache-Control", "max-age=0, stale-if-error=600"));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    origin.on("/a", not_now());
    for _ in 0..100 {
        assert_eq!(edge.get("/a").await.expect(200).text(), "old");
    }
    assert!((10..70).contains(&origin.count("/a")), "{}", origin.count("/a"));
}

#[tokio::test]
async fn only_429_and_503_that_say_when_to_come_again_say_not_now() {
    let origin = Origin::start().await;
    origin.on("/429", Reply::new(429).header("Retry-After", "1"));
    origin.on("/429-bare", Reply::new(429));
    origin.on("/503-bare", Reply::new(503));
    origin.on("/502", Reply::new(502).header("Retry-After", "1"));
    let edge = Edge::start(&(pool("web", &[origin.addr()], "") + UNCACHED)).await;
    for (path, status, pushbacks) in
        [("/429-bare", 429, 0.0), ("/503-bare", 503, 0.0), ("/502", 502, 0.0), ("/429", 429, 1.0)]
    {
        edge.get(path).await.expect(status);
        assert_eq!(edge.metric(PUSHBACKS, &[]).await, pushbacks, "{path}");
        assert_eq!(origin.count(path), 1, "{path}");
    }
    edge.fetch(&Request::post("/429", "body")).await.expect(429);
    assert_eq!(edge.metric(PUSHBACKS, &[]).await, 2.0, "an upload is answered on another way");
}
