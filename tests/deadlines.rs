//! How long a client says it waits: who is held to it, and what the backend is told.

mod support;

use std::time::Duration;

use support::edge::{Edge, first_and_second, pool};
use support::{Gate, Origin, Reply, Request};

const MS: &str = "X-Request-Timeout-Ms";
const GRPC: &str = "grpc-timeout";
const UNCACHED: &str = "[route.cache]\nenabled = false\n";

/// Milliseconds that the origin was told with its last request.
#[track_caller]
fn told(origin: &Origin, path: &str) -> u64 {
    let seen = origin.seen(path);
    let all = seen.last().map(|seen| seen.headers.all(MS)).unwrap_or_default();
    let told: Option<u64> = all.first().and_then(|one| one.parse().ok());
    assert!(all.len() == 1 && told.is_some(), "told {all:?}; {}", origin.story());
    told.unwrap_or_default()
}

#[tokio::test]
async fn a_client_is_answered_within_the_time_it_gives() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::never());
    let edge = Edge::over(&[&origin], UNCACHED).await;
    for (field, value) in [(MS, "150"), (GRPC, "150m"), (GRPC, "150000u"), (MS, " 150 ")] {
        let answer = edge.fetch(&Request::get("/a").header(field, value)).await.expect(504);
        assert_eq!(answer.proxy_error(), "http_response_timeout");
    }
    edge.fetch(&Request::get("/a").header(MS, "60000").header(GRPC, "150m")).await.expect(504);
    edge.fetch(&Request::get("/a").header(MS, "60000").header(MS, "150")).await.expect(504);
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "deadline")], 6.0).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn nobody_waits_longer_than_the_route_allows() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::never());
    let edge = Edge::over(&[&origin], &format!("timeout = \"200ms\"\n{UNCACHED}")).await;
    edge.fetch(&Request::get("/a").header(MS, "60000")).await.expect(504);
    assert!(told(&origin, "/a") <= 200);
}

#[tokio::test]
async fn the_backend_is_told_what_is_left() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::over(&[&origin], &format!("timeout = \"30s\"\n{UNCACHED}")).await;

    edge.get("/a").await.expect(200);
    let routes = told(&origin, "/a");
    assert!((1000..=30_000).contains(&routes), "{routes}");
    assert!(origin.only("/a").header(GRPC).is_none(), "only who speaks gRPC is told in its way");

    edge.fetch(&Request::get("/a").header(MS, "9000")).await.expect(200);
    let clients = told(&origin, "/a");
    assert!((1000..=9000).contains(&clients), "{clients}");

    edge.fetch(&Request::get("/a").header(GRPC, "8S")).await.expect(200);
    let clients = told(&origin, "/a");
    assert!((1000..=8000).contains(&clients), "{clients}");
    let seen = origin.seen("/a");
    // The clock is read for each of the two.
    let grpc: u64 = seen[2].headers.all(GRPC)[0].strip_suffix('m').unwrap().parse().unwrap();
    assert!((1000..=clients).contains(&grpc), "{grpc} after {clients}");
}

#[tokio::test]
async fn another_attempt_is_told_what_is_left_by_then() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    one.on("/a", Reply::hang_up().after(Duration::from_millis(150)));
    two.on("/a", Reply::ok("alpha"));
    let edge = Edge::start(&first_and_second(one.addr(), two.addr(), "", UNCACHED)).await;
    edge.fetch(&Request::get("/a").header(MS, "9000")).await.expect(200);
    let (first, second) = (told(&one, "/a"), told(&two, "/a"));
    assert!(second + 150 <= first, "{first}, then {second}");
}

#[tokio::test]
async fn a_pool_may_be_told_nothing() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let conf = pool("web", &[origin.addr()], "tell_deadline = false") + "[[route]]\npool = \"web\"\n";
    let edge = Edge::start(&conf).await;
    edge.fetch(&Request::get("/a").header(MS, "9000").header(GRPC, "9S")).await.expect(200);
    let seen = origin.only("/a");
    assert_eq!((seen.header(MS), seen.header(GRPC)), (None, None));
}

#[tokio::test]
async fn what_cannot_be_read_says_nothing() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::over(&[&origin], UNCACHED).await;
    for (field, value) in [(MS, "soon"), (MS, "-5"), (MS, "0.5"), (GRPC, "5"), (GRPC, "123456789m"), (GRPC, "0s")] {
        edge.fetch(&Request::get("/a").header(field, value)).await.expect(200);
        assert!(told(&origin, "/a") > 9000, "the route's");
        assert_eq!(origin.seen("/a").last().and_then(|seen| seen.header(GRPC)), None);
    }
}

#[tokio::test]
async fn who_does_not_wait_at_all_gets_what_is_there() {
    let origin = Origin::start().await;
    origin.on("/stored", Reply::fresh(60, "alpha"));
    let edge = Edge::over(&[&origin], "").await;
    for zero in [(MS, "0"), (GRPC, "0n")] {
        let answer = edge.fetch(&Request::get("/a").header(zero.0, zero.1)).await.expect(504);
        assert_eq!(answer.proxy_error(), "http_response_timeout");
    }
    assert_eq!(origin.requests(), 0);
    edge.get("/stored").await.expect(200);
    assert_eq!(edge.fetch(&Request::get("/stored").header(MS, "0")).await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn who_does_not_wait_gets_a_stale_copy_where_an_error_would_give_one() {
    let origin = Origin::start().await;
    let stale = Reply::ok("old").header("Cache-Control", "max-age=0, stale-if-error=60");
    origin.on("/a", stale);
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let answer = edge.fetch(&Request::get("/a").header(MS, "0")).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.verdict(), origin.count("/a")), ("old", "STALE", 1));
}

#[tokio::test]
async fn an_impatient_client_is_no_fault_of_the_backend() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    one.on("/a", Reply::never());
    two.on("/a", Reply::never());
    let keys = "ejection = { consecutive = 1 }";
    let conf = pool("web", &[one.addr(), two.addr()], keys) + "[[route]]\npool = \"web\"\n" + UNCACHED;
    let edge = Edge::start(&conf).await;
    for _ in 0..6 {
        edge.fetch(&Request::get("/a").header(MS, "30")).await.expect(504);
    }
    assert!(one.count("/a") + two.count("/a") > 0);
    for origin in [&one, &two] {
        assert_eq!(edge.state(origin.addr()).await, "healthy");
    }
    edge.metric_becomes("hedgerow_ejections_total", &[], 0.0).await;
}

#[tokio::test]
async fn the_time_runs_while_a_body_is_sent() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("never said"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\n{MS}: 150\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    client.send(support::client::chunk_of(b"and so on")).await;
    let answer = client.answer().await.expect(504);
    assert_eq!(answer.proxy_error(), "http_response_timeout");
}

#[tokio::test]
async fn a_fetch_for_all_outlives_the_time_of_the_one_who_came_first() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::fresh(60, "alpha").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.ask(&Request::get("/a").header(MS, "400")).await;
    gate.arrived(1).await;
    assert!(told(&origin, "/a") > 9000, "the time of the route, not that of the first");
    second.ask(&Request::get("/a")).await;

    let answer = first.answer().await.expect(504);
    assert_eq!(answer.proxy_error(), "http_response_timeout");
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert_eq!(answer.header("X-Request-Id"), origin.only("/a").header("X-Request-Id"));
    assert!(first.closed().await.is_empty());

    gate.open();
    assert_eq!(second.answer().await.expect(200).text(), "alpha");
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
    assert_eq!((origin.count("/a"), origin.aborted()), (1, 0));
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "deadline")], 1.0).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    assert_eq!(edge.metric("hedgerow_terminations_total", &[("reason", "client-closed")]).await, 0.0);
    assert_eq!(edge.metric("hedgerow_requests_total", &[("status", "5xx")]).await, 1.0);
}

#[tokio::test]
async fn who_asks_for_a_head_gets_no_body_at_the_end_of_its_time() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on_each(
        "/a",
        [Reply::fresh(0, "alpha").etag("\"1\""), Reply::fresh(60, "alpha").etag("\"1\"").held_by(&gate)],
    );
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let mut client = edge.client().await;
    client.ask(&Request::head("/a").header(MS, "400")).await;
    client.head().await.expect(504);
    assert!(client.closed().await.is_empty());
    gate.open();
}

#[tokio::test]
async fn who_asks_in_vain_for_something_that_is_not_stored_after_all_is_answered_once() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::ok("alpha").header("Cache-Control", "no-store").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/a").header(MS, "150")).await;
    client.answer().await.expect(504);
    gate.open();
    assert!(client.closed().await.is_empty());
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "deadline")], 1.0).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn an_answer_in_time_is_the_only_one() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::fresh(60, "alpha,").gate(&gate).body("omega"));
    origin.on("/b", Reply::fresh(60, "beta"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/a").header(MS, "800")).await;
    assert_eq!(client.head().await.status, 200);
    client.exactly("alpha,").await;
    assert!(client.quiet_for(Duration::from_millis(1000)).await, "the time ends with the head");
    gate.open();
    assert_eq!(client.rest().await, (b"omega".to_vec(), true));
    // Nothing of the first request's time is left to the next one.
    assert_eq!(client.request(&Request::get("/b")).await.expect(200).text(), "beta");
}

#[tokio::test]
async fn a_late_fresh_copy_goes_before_none_where_a_stale_one_could_stand_in() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let copy = |text| Reply::ok(text).header("Cache-Control", "max-age=0, stale-if-error=60");
    origin.on_each("/a", [copy("old"), copy("new").held_by(&gate)]);
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let mut client = edge.client().await;
    client.ask(&Request::get("/a").header(MS, "300")).await;
    assert!(client.quiet_for(Duration::from_millis(600)).await);
    gate.open();
    assert_eq!(client.answer().await.expect(200).text(), "new");
}

#[tokio::test]
async fn who_waits_for_anothers_fetch_waits_no_longer_than_it_says() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::fresh(60, "alpha").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let mut first = edge.client().await;
    first.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    let answer = edge.fetch(&Request::get("/a").header(MS, "150")).await.expect(504);
    assert_eq!(answer.proxy_error(), "http_response_timeout");
    gate.open();
    assert_eq!(first.answer().await.expect(200).text(), "alpha");
    assert_eq!(origin.count("/a"), 1, "whose time is over asks nobody");
}

#[tokio::test]
async fn who_waits_for_anothers_range_waits_no_longer_than_it_says() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let part = Reply::new(206).header("Content-Range", "bytes 0-4/9").header("Cache-Control", "max-age=60");
    origin.on("/a", part.etag("\"1\"").body("alpha").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let asked = Request::get("/a").header("Range", "bytes=0-4");
    let mut first = edge.client().await;
    first.ask(&asked).await;
    gate.arrived(1).await;
    edge.fetch(&asked.header(MS, "150")).await.expect(504);
    gate.open();
    assert_eq!(first.answer().await.expect(206).text(), "alpha");
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn no_key_or_variant_knows_how_long_a_client_waits() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha").header("Vary", &format!("{MS}, {GRPC}")));
    let edge =
        Edge::over(&[&origin], "[route.cache.key]\ntemplate = \"{scheme}{host}{path}{header:x-request-timeout-ms}\"\n")
            .await;
    edge.fetch(&Request::get("/a").header(MS, "9000")).await.expect(200);
    for request in [Request::get("/a"), Request::get("/a").header(MS, "8000"), Request::get("/a").header(GRPC, "7S")] {
        assert_eq!(edge.fetch(&request).await.expect(200).verdict(), "HIT");
    }
    assert_eq!(origin.count("/a"), 1);
}
