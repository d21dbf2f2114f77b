//! More requests than the backends have places for: who goes, who waits, and who is told to come again.

mod support;

use support::busy::{Busy, PLAIN};
use support::{Client, Request, Response};

const ONE: &str = "tail = { limit = 1 }";

#[track_caller]
fn is_shed(answer: Response, reasons: &[&str]) -> String {
    let answer = answer.expect(503);
    let again: u32 = answer.header("Retry-After").and_then(|after| after.parse().ok()).unwrap_or_default();
    assert!((1..=5).contains(&again), "{answer}");
    let said = answer.proxy_status();
    assert_eq!((said.name.as_str(), said.param("error")), ("hedgerow", Some("connection_limit_reached")), "{answer}");
    let details = said.param("details").unwrap_or_default().to_owned();
    assert!(reasons.contains(&details.as_str()), "{answer}");
    assert!(!answer.headers.lists("Connection", "close"), "{answer}");
    details
}

#[tokio::test]
async fn a_request_waits_for_a_place_and_then_goes() {
    let busy = Busy::patient("tail = { limit = 2 }", PLAIN).await;
    let mut held = busy.hold(2).await;
    let mut third = busy.queue(&Request::get("/third"), 1).await;
    assert_eq!((busy.now().await, busy.origin.count("/third")), ((2, 1), 0));
    busy.gate.open();
    assert_eq!(third.answer().await.expect(200).text(), "/third");
    for client in &mut held {
        client.answer().await.expect(200);
    }
    let line = busy.line("/third").await;
    assert!(
        line["queue_time"].as_f64() > Some(0.0) && line["duration"].as_f64() >= line["queue_time"].as_f64(),
        "{line}"
    );
    assert!(line["shed"].is_null() && line["reason"] == "done", "{line}");
    for line in busy.lines("/held", 2).await {
        assert!(line["queue_time"].is_null(), "{line}");
    }
    assert_eq!(busy.edge.metric("hedgerow_queue_seconds_count", &[("pool", "web")]).await, 1.0);
    busy.ends().await;
}

#[tokio::test]
async fn the_limit_holds_from_the_first_request_on() {
    let busy = Busy::start(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    let second = busy.edge.get("/second").await;
    is_shed(second, &["queue-timeout"]);
    assert_eq!(busy.origin.requests(), 1);
    busy.ends().await;
}

#[tokio::test]
async fn who_gets_no_place_is_told_to_come_again_and_keeps_its_connection() {
    let busy = Busy::start(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..25 {
        clients.push(busy.ask(&Request::get("/many")).await);
    }
    let answers = futures::future::join_all(clients.iter_mut().map(Client::answer)).await;
    let reasons: Vec<String> =
        answers.into_iter().map(|answer| is_shed(answer, &["queue-full", "queue-timeout"])).collect();
    let of = |reason: &str| reasons.iter().filter(|said| *said == reason).count();
    // Ten may wait for one place.
    assert!(of("queue-full") >= 10 && of("queue-timeout") >= 1, "{reasons:?}");
    for reason in ["queue-full", "queue-timeout"] {
        assert_eq!(busy.shed("default", reason).await, of(reason) as f64, "{reason}");
    }
    for line in busy.lines("/many", 25).await {
        assert!(line["reason"] == "shed" && reasons.iter().any(|said| line["shed"] == said.as_str()), "{line}");
        assert!(line["status"] == 503 && line["attempts"] == 0 && line["backend"].is_null(), "{line}");
    }
    assert_eq!(busy.origin.count("/many"), 0);
    busy.ends().await;
    for client in &mut clients {
        assert_eq!(client.get("/again").await.expect(200).text(), "/again");
    }
    busy.ends().await;
}

#[tokio::test]
async fn nobody_waits_longer_than_the_client_does() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    // Shorter than an answer takes.
    let hopeless = Request::get("/hopeless").header("X-Request-Timeout-Ms", 1);
    is_shed(busy.edge.fetch(&hopeless).await, &["deadline"]);
    assert_eq!(busy.edge.metric("hedgerow_queue_seconds_count", &[("pool", "web")]).await, 0.0, "it has not waited");
    assert!(busy.line("/hopeless").await["queue_time"].is_null());
    // Longer, but over before there is a place.
    let hurried = Request::get("/hurried").header("X-Request-Timeout-Ms", 200);
    is_shed(busy.edge.fetch(&hurried).await, &["deadline"]);
    let waited = busy.line("/hurried").await["queue_time"].as_f64();
    assert!(waited >= Some(0.15), "{waited:?}");
    assert_eq!(busy.shed("default", "deadline").await, 2.0);
    assert_eq!(busy.origin.count("/hopeless") + busy.origin.count("/hurried"), 0);
    busy.ends().await;
}

#[tokio::test]
async fn the_routes_timeout_holds_in_the_queue_too() {
    let busy = Busy::patient(
        ONE,
        &format!("{PLAIN}[[route]]\nmatch = {{ path = \"/brief\" }}\npool = \"web\"\ntimeout = \"200ms\"\n"),
    )
    .await;
    let _held = busy.hold(1).await;
    is_shed(busy.edge.get("/brief").await, &["deadline"]);
    assert_eq!(busy.origin.count("/brief"), 0);
    busy.ends().await;
}

#[tokio::test]
async fn a_client_that_leaves_leaves_the_queue() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let mut held = busy.hold(1).await;
    busy.queue(&Request::get("/gone"), 1).await.abort();
    let line = busy.line("/gone").await;
    assert_eq!(busy.now().await, (1, 0), "at once, not when its time is over");
    assert!(line["reason"] == "client-closed" && line["status"] == 0 && line["shed"].is_null(), "{line}");
    busy.ends().await;
    held[0].answer().await.expect(200);
    assert_eq!(busy.edge.get("/next").await.expect(200).text(), "/next");
    assert_eq!(busy.origin.count("/gone"), 0);
}

#[tokio::test]
async fn one_that_sends_a_body_and_leaves_takes_no_place_along() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    busy.queue(&Request::post("/gone", "body"), 1).await.abort();
    let mut next = busy.queue(&Request::get("/next"), 2).await;
    busy.gate.open();
    assert_eq!(next.answer().await.expect(200).text(), "/next");
    busy.ends().await;
}

#[tokio::test]
async fn a_held_requests_client_that_leaves_makes_room() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let mut held = busy.hold(1).await;
    let mut next = busy.queue(&Request::get("/next"), 1).await;
    held.remove(0).abort();
    assert_eq!(next.answer().await.expect(200).text(), "/next");
    busy.ends().await;
}

#[tokio::test]
async fn a_second_request_sent_ahead_waits_its_turn() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    let mut client = busy.queue(&Request::get("/one"), 1).await;
    client.ask(&Request::get("/two")).await;
    assert_eq!(busy.now().await, (1, 1));
    busy.gate.open();
    for path in ["/one", "/two"] {
        assert_eq!(client.answer().await.expect(200).text(), path);
    }
    busy.ends().await;
}

#[tokio::test]
async fn a_request_with_a_body_waits_and_is_sent_whole() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    let body = "x".repeat(300_000);
    let mut sized = busy.queue(&Request::post("/sized", &body), 1).await;
    let mut chunked = busy.queue(&Request::new("PUT", "/chunked").chunks(&[b"some ", b"and ", b"more"]), 2).await;
    assert_eq!(busy.origin.requests(), 9, "eight that showed how long answers take, and the held one");
    busy.gate.open();
    sized.answer().await.expect(200);
    chunked.answer().await.expect(200);
    let (one, other) = (busy.origin.only("/sized"), busy.origin.only("/chunked"));
    assert!(one.whole && one.text() == body);
    assert_eq!((other.whole, other.text().as_str()), (true, "some and more"));
    busy.ends().await;
}

#[tokio::test]
async fn a_request_with_a_body_that_is_shed_is_answered() {
    let busy = Busy::start(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    let answer = busy.edge.fetch(&Request::post("/sized", "x".repeat(100_000))).await.expect(503);
    assert_eq!(answer.proxy_status().param("details"), Some("queue-timeout"));
    assert_eq!(busy.origin.count("/sized"), 0);
    busy.ends().await;
}

#[tokio::test]
async fn without_a_limit_nobody_waits() {
    let busy = Busy::start("tail = { limit = \"off\" }", PLAIN).await;
    let mut held = busy.hold(40).await;
    busy.is(40, 0).await;
    let pools = busy.edge.admin_get("/pools").await.expect(200).json();
    assert!(pools["pools"][0]["limit"].is_null(), "{pools:#}");
    busy.gate.open();
    for client in &mut held {
        client.answer().await.expect(200);
    }
    assert_eq!(busy.edge.metric("hedgerow_queue_seconds_count", &[]).await, 0.0);
    busy.ends().await;
}
