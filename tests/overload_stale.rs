//! The cache under overload: what is stored needs no place, and a stale copy is better than a refusal.

mod support;

use support::busy::Busy;
use support::{Client, Reply, Request, eventually};

const ONE: &str = "tail = { limit = 1 }";

/// A route that stores, but for what is held.
const STORING: &str = "[[route]]\npool = \"web\"\n\
    [[route]]\nmatch = { path = \"/held\" }\npool = \"web\"\n[route.cache]\nenabled = false\n";

/// Stale at once, and allowed to be so.
fn brief(body: &str, allows: &str) -> Reply {
    Reply::ok(body).header("Cache-Control", &format!("max-age=0, {allows}"))
}

/// An edge that has a stale copy of `/a`, and knows what answers take.
async fn with_a_copy(allows: &str) -> Busy {
    let busy = Busy::patient(ONE, STORING).await;
    busy.origin.on("/a", brief("old", allows));
    busy.edge.get("/a").await.expect(200);
    busy.is(0, 0).await;
    busy.origin.on("/a", Reply::fresh(60, "new"));
    busy
}

async fn overloaded(busy: &Busy) -> f64 {
    busy.edge.metric("hedgerow_stale_served_total", &[("reason", "stale-if-overloaded")]).await
}

#[tokio::test]
async fn what_is_stored_takes_no_place() {
    let busy = Busy::patient(ONE, STORING).await;
    busy.origin.on("/a", Reply::fresh(60, "alpha"));
    busy.edge.get("/a").await.expect(200);
    let _held = busy.hold(1).await;
    let answer = busy.edge.get("/a").await.expect(200);
    assert_eq!((answer.verdict(), answer.text().as_str()), ("HIT", "alpha"));
    assert_eq!(busy.now().await, (1, 0));
    busy.ends().await;
}

#[tokio::test]
async fn those_who_want_the_same_take_one_place() {
    let busy = Busy::patient("tail = { limit = 2 }", STORING).await;
    let _held = busy.hold(1).await;
    busy.origin.on("/hot", Reply::fresh(60, "hot").held_by(&busy.gate));
    let mut clients = vec![busy.ask(&Request::get("/hot")).await];
    busy.gate.arrived(2).await;
    for n in 1..=4 {
        clients.push(busy.ask(&Request::get("/hot")).await);
        busy.edge.metric_becomes("hedgerow_requests_in_flight", &[], f64::from(n + 2)).await;
    }
    assert_eq!(busy.now().await, (2, 0));
    busy.gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.expect(200).text(), "hot");
    }
    assert_eq!(busy.origin.count("/hot"), 1);
    busy.ends().await;
}

#[tokio::test]
async fn those_who_want_the_same_wait_as_one() {
    let busy = Busy::patient(ONE, STORING).await;
    let _held = busy.hold(1).await;
    busy.origin.on("/hot", Reply::fresh(60, "hot"));
    let mut clients = vec![busy.queue(&Request::get("/hot"), 1).await];
    for n in 1..=4 {
        clients.push(busy.ask(&Request::get("/hot")).await);
        busy.edge.metric_becomes("hedgerow_requests_in_flight", &[], f64::from(n + 2)).await;
    }
    assert_eq!(busy.now().await, (1, 1));
    busy.gate.open();
    for client in &mut clients {
        assert_eq!(client.answer().await.expect(200).text(), "hot");
    }
    assert_eq!(busy.origin.count("/hot"), 1);
    busy.ends().await;
}

#[tokio::test]
async fn those_who_wait_for_one_that_is_shed_are_answered_too() {
    let busy = Busy::start(ONE, STORING).await;
    let _held = busy.hold(1).await;
    let mut clients = vec![busy.queue(&Request::get("/hot"), 1).await];
    for _ in 0..4 {
        clients.push(busy.ask(&Request::get("/hot")).await);
    }
    for answer in futures::future::join_all(clients.iter_mut().map(Client::answer)).await {
        assert_eq!(answer.expect(503).proxy_error(), "connection_limit_reached");
    }
    assert_eq!(busy.origin.count("/hot"), 0);
    busy.ends().await;
}

#[tokio::test]
async fn a_hurried_client_does_not_end_the_waiting_of_others() {
    let busy = Busy::patient(ONE, STORING).await;
    let mut held = busy.hold(1).await;
    busy.origin.on("/hot", Reply::fresh(60, "hot"));
    let mut hurried = busy.queue(&Request::get("/hot").header("X-Request-Timeout-Ms", 300), 1).await;
    let mut patient = busy.ask(&Request::get("/hot")).await;
    let answer = hurried.answer().await.expect(503);
    assert_eq!(answer.proxy_status().param("details"), Some("deadline"), "{answer}");
    // The next one waits in its own name.
    busy.is(1, 1).await;
    busy.gate.open();
    held[0].answer().await.expect(200);
    assert_eq!(patient.answer().await.expect(200).text(), "hot");
    assert_eq!(busy.origin.count("/hot"), 1);
    busy.ends().await;
}

#[tokio::test]
async fn a_stale_copy_is_served_at_once_and_its_refresh_waits_in_its_stead() {
    for allows in ["stale-while-revalidate=600", "stale-if-error=600"] {
        let busy = with_a_copy(allows).await;
        let _held = busy.hold(1).await;
        let mut client = busy.edge.client().await;
        for n in 1..=3 {
            let answer = client.get("/a").await.expect(200);
            assert_eq!((answer.text().as_str(), answer.verdict()), ("old", "STALE"), "{allows} {answer}");
            assert!(!answer.headers.lists("Connection", "close"), "{allows} {answer}");
            let line = busy.lines("/a", n + 1).await.remove(n);
            assert_eq!(line["stale"], "stale-if-overloaded", "{allows} {line}");
            assert!(line["shed"].is_null() && line["queue_time"].is_null(), "{allows} {line}");
        }
        assert_eq!(overloaded(&busy).await, 3.0, "{allows}");
        // One refresh for all.
        busy.is(1, 1).await;
        assert_eq!(busy.origin.count("/a"), 1, "{allows}");
        busy.gate.open();
        busy.origin.until("the refresh", |origin| origin.count("/a") == 2).await;
        let fresh = eventually("the refresh is stored", || async {
            let answer = busy.edge.get("/a").await.expect(200);
            (answer.text() == "new").then_some(answer)
        })
        .await;
        assert_eq!(fresh.verdict(), "HIT", "{allows}");
        assert_eq!(busy.origin.count("/a"), 2, "{allows}");
        busy.ends().await;
    }
}

#[tokio::test]
async fn the_routes_word_is_permission_too() {
    let storing =
        STORING.replacen("pool = \"web\"\n", "pool = \"web\"\n[route.cache]\nstale = { if_error = \"10m\" }\n", 1);
    let busy = Busy::patient(ONE, &storing).await;
    busy.origin.on("/a", Reply::ok("old").header("Cache-Control", "max-age=0"));
    busy.edge.get("/a").await.expect(200);
    busy.is(0, 0).await;
    let _held = busy.hold(1).await;
    let answer = busy.edge.get("/a").await.expect(200);
    assert_eq!((answer.text().as_str(), answer.verdict()), ("old", "STALE"), "{answer}");
    busy.ends().await;
}

#[tokio::test]
async fn without_permission_a_stale_copy_is_not_served() {
    for forbids in ["must-revalidate, stale-while-revalidate=600, stale-if-error=600", "private=x"] {
        let busy = with_a_copy(forbids).await;
        let mut held = busy.hold(1).await;
        let mut client = busy.queue(&Request::get("/a"), 1).await;
        assert_eq!(busy.origin.count("/a"), 1, "{forbids}");
        busy.gate.open();
        assert_eq!(client.answer().await.expect(200).text(), "new", "{forbids}");
        held[0].answer().await.expect(200);
        assert_eq!(overloaded(&busy).await, 0.0, "{forbids}");
        busy.ends().await;
    }
}

#[tokio::test]
async fn without_permission_it_is_refused_when_no_place_gets_free() {
    let busy = with_a_copy("must-revalidate").await;
    let _held = busy.hold(1).await;
    let hurried = Request::get("/a").header("X-Request-Timeout-Ms", 200);
    let answer = busy.edge.fetch(&hurried).await.expect(503);
    assert_eq!(answer.proxy_status().param("details"), Some("deadline"), "{answer}");
    assert_eq!(busy.origin.count("/a"), 1);
    busy.ends().await;
}

#[tokio::test]
async fn one_that_is_not_refreshed_apart_gets_the_copy_in_place_of_a_refusal() {
    let busy = with_a_copy("stale-if-error=600").await;
    let _held = busy.hold(1).await;
    for request in [Request::head("/a"), Request::get("/a").header("Range", "bytes=0-1")] {
        let answer = busy.edge.fetch(&request.clone().header("X-Request-Timeout-Ms", 200)).await;
        assert!([200, 206].contains(&answer.status), "{answer}");
        assert_eq!(answer.verdict(), "STALE", "{answer}");
        assert!(answer.headers.lists("Connection", "close"), "{answer}");
    }
    assert_eq!(busy.origin.count("/a"), 1);
    busy.ends().await;
}
