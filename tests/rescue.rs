//! A body that stalls or breaks off is gone on with from another backend, or is cut as ever.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken test should stop at once")]

mod support;

use std::time::Duration;

use support::edge::{Edge, first_and_second};
use support::{Gate, Origin, Reply, Request, Seen};

const BODY: &str = "0123456789";
const TAG: &str = "\"v1\"";
const RESCUE: &str = "rescue = true\n";

/// Two origins, of which the second is asked only beside the first.
async fn pair(more: &str) -> (Origin, Origin, Edge) {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let edge = Edge::start(&first_and_second(first.addr(), second.addr(), "", more)).await;
    (first, second, edge)
}

/// A response for the cache that promises all of `body` and sends none of it yet.
fn promised(body: &str) -> Reply {
    Reply::new(200)
        .header("Cache-Control", "max-age=60")
        .header("Content-Type", "text/plain")
        .header("ETag", TAG)
        .declares(body.len() as u64)
}

/// Half of the body.
fn half() -> Reply {
    promised(BODY).body("01234")
}

/// The same, and then the end of the connection.
fn broken() -> Reply {
    half().cut()
}

/// What a file server says to the request for the rest.
fn rest(seen: &Seen, body: &str) -> Reply {
    assert_eq!(seen.header("If-Range"), Some(TAG));
    let range = seen.header("Range").expect("only the rest is asked for");
    let at: usize = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    part(at, body.len() - 1, body.len(), &body[at..])
}

fn part(first: usize, last: usize, complete: usize, bytes: &str) -> Reply {
    Reply::new(206)
        .header("Content-Range", &format!("bytes {first}-{last}/{complete}"))
        .header("Content-Type", "text/plain")
        .header("ETag", TAG)
        .body(bytes)
}

/// One answer whose connection ends after half of the body has come to the client: what came of the rest, and whether it
/// looks whole.
async fn cut_in_midst(edge: &Edge, origin: &Origin, request: &Request, reply: Reply) -> (String, bool) {
    let gate = Gate::new();
    origin.on("/a", reply.gate(&gate).cut());
    let mut client = edge.client().await;
    client.ask(request).await;
    client.head().await;
    client.exactly("01234").await;
    gate.open();
    let (rest, whole) = client.rest().await;
    (String::from_utf8_lossy(&rest).into_owned(), whole)
}

/// Nothing more came, and nobody takes what came for whole.
fn cut() -> (String, bool) {
    (String::new(), false)
}

async fn rescues(edge: &Edge) -> Vec<(&'static str, f64)> {
    let mut counted = Vec::new();
    for result in ["spliced", "lost", "failed", "denied", "other"] {
        let labels = [("pool", "web"), ("result", result)];
        counted.push((result, edge.metric("hedgerow_rescues_total", &labels).await));
    }
    counted.retain(|(_, count)| *count > 0.0);
    counted
}

/// So many requests that it is known how long reads of bodies take, as soon as the second is over.
async fn warm(edge: &Edge, origins: [&Origin; 2]) {
    for origin in origins {
        origin.otherwise(|_| Reply::fresh(60, BODY).header("ETag", TAG));
    }
    let mut client = edge.client().await;
    for i in 0..120 {
        client.get(&format!("/warm/{i}")).await.expect(200);
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_gone_on_with_elsewhere_and_stored_whole() {
    let (first, second, edge) = pair(RESCUE).await;
    let gate = Gate::new();
    warm(&edge, [&first, &second]).await;
    // Either may be the one that is asked first, if that is hedged.
    for origin in [&first, &second] {
        let gate = gate.clone();
        origin.on_call("/a", move |seen| match seen.header("Range") {
            None => half().gate(&gate).body("56789"),
            Some(_) => rest(seen, BODY),
        });
    }
    let (mut client, mut reader) = (edge.client().await, edge.client().await);
    for client in [&mut client, &mut reader] {
        client.ask(&Request::get("/a")).await;
        assert_eq!(client.head().await.header("Content-Length"), Some("10"));
        client.exactly("01234").await;
    }
    for client in [&mut client, &mut reader] {
        assert_eq!(client.rest().await, (b"56789".to_vec(), true));
    }
    assert_eq!(rescues(&edge).await, [("spliced", 1.0)]);
    let asked: Vec<Seen> = [first.seen("/a"), second.seen("/a")].concat();
    let saved: Vec<&Seen> = asked.iter().filter(|seen| seen.header("Range").is_some()).collect();
    assert_eq!(saved.len(), 1, "{asked:#?}");
    assert_eq!((saved[0].header("Range"), saved[0].header("If-Range")), (Some("bytes=5-"), Some(TAG)));
    let mark = saved[0].header("X-Hedgerow-Attempt").unwrap_or_default();
    assert_eq!(mark, format!("{}; rescue", asked.len()));
    let again = edge.get("/a").await.expect(200);
    assert_eq!((again.text().as_str(), again.verdict(), again.header("ETag")), (BODY, "HIT", Some(TAG)));
    assert_eq!(first.count("/a") + second.count("/a"), asked.len());
    // Nobody waits for the one that has stalled.
    first.until("the stalled exchange is left", |first| first.aborted() + second.aborted() > 0).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_gone_on_with_elsewhere_byte_by_byte() {
    let body: String = (0..60_000).map(|i| format!("{i:05},")).collect();
    for cut in [Reply::cut, Reply::cut_by_reset] {
        let (first, second, edge) = pair(RESCUE).await;
        let gate = Gate::new();
        first.on("/a", cut(promised(&body).body(&body[..100_000]).gate(&gate)));
        let whole = body.clone();
        second.on_call("/a", move |seen| rest(seen, &whole));
        let mut client = edge.client().await;
        client.ask(&Request::get("/a")).await;
        client.head().await;
        client.exactly(&body[..100_000]).await;
        gate.open();
        let (rest, complete) = client.rest().await;
        assert!(complete && rest == body.as_bytes()[100_000..]);
        assert_eq!(second.only("/a").header("Range"), Some("bytes=100000-"));
        assert_eq!(second.only("/a").header("X-Hedgerow-Attempt"), Some("2; rescue"));
        assert_eq!(rescues(&edge).await, [("spliced", 1.0)]);
        // The connection is as good as any other.
        assert_eq!(client.get("/a").await.expect(200).verdict(), "HIT");
        assert!(edge.get("/a").await.expect(200).text() == body);
        let results = [("ok", second.addr()), ("upstream-closed", first.addr())];
        for (result, addr) in results {
            let labels = [("backend", &*addr.to_string()), ("result", result)];
            edge.metric_becomes("hedgerow_attempts_total", &labels, 1.0).await;
        }
        edge.metric_becomes("hedgerow_backend_in_flight", &[], 0.0).await;
        edge.metric_becomes("hedgerow_terminations_total", &[("reason", "upstream-closed")], 0.0).await;
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_before_its_first_byte_is_rescued_too() {
    let (first, second, edge) = pair(RESCUE).await;
    first.on("/a", promised(BODY).cut());
    second.on_call("/a", |seen| rest(seen, BODY));
    assert_eq!(edge.get("/a").await.expect(200).text(), BODY);
    assert_eq!(second.only("/a").header("Range"), Some("bytes=0-"));
}

#[tokio::test]
async fn an_interim_response_is_no_answer_to_the_request_for_the_rest() {
    let (first, second, edge) = pair(RESCUE).await;
    first.on("/a", broken());
    second.on_call("/a", |seen| rest(seen, BODY).interim(103, "Link: </b>\r\n"));
    let answer = edge.get("/a").await.expect(200);
    assert_eq!((answer.text().as_str(), answer.complete), (BODY, true));
}

#[tokio::test]
async fn a_response_that_need_not_be_stored_to_be_storable_is_rescued() {
    let (first, second, edge) = pair(&format!("{RESCUE}[route.cache]\nmin_uses = 5\n")).await;
    first.on("/a", broken());
    second.on_call("/a", |seen| rest(seen, BODY));
    let answer = edge.get("/a").await.expect(200);
    assert_eq!((answer.text().as_str(), answer.complete, answer.cache_status().is("stored")), (BODY, true, false));
}

#[tokio::test]
async fn the_clients_own_conditions_are_not_those_of_the_rest() {
    let (first, second, edge) = pair(&format!("{RESCUE}[route.cache]\nttl = {{ default = \"0s\" }}\n")).await;
    first.on("/a", Reply::ok("old").header("Cache-Control", "max-age=0").header("ETag", "\"v0\""));
    edge.get("/a").await.expect(200);
    // It is stale: asked for with a condition, answered by another body.
    first.on("/a", broken());
    second.on_call("/a", |seen| rest(seen, BODY));
    assert_eq!(edge.get("/a").await.expect(200).text(), BODY);
    assert_eq!(first.seen("/a")[1].header("If-None-Match"), Some("\"v0\""));
    assert_eq!(second.only("/a").header("If-None-Match"), None);
}

/// What the second origin may say that is not the rest.
fn misfits() -> Vec<(&'static str, Reply)> {
    let other = |name: &str, value: &str| {
        Reply::new(206).header("Content-Range", "bytes 5-9/10").header("ETag", TAG).header(name, value).body("56789")
    };
    let tagged = |tag: &str| Reply::new(206).header("Content-Range", "bytes 5-9/10").header("ETag", tag).body("56789");
    vec![
        ("another body", Reply::ok("abcdefghij").header("ETag", "\"v2\"")),
        ("all of it", Reply::ok(BODY).header("ETag", TAG)),
        ("another tag", tagged("\"v2\"")),
        ("a weak tag", tagged("W/\"v1\"")),
        ("no tag", Reply::new(206).header("Content-Range", "bytes 5-9/10").body("56789")),
        ("one byte earlier", part(4, 9, 10, "456789")),
        ("one byte later", part(6, 9, 10, "6789")),
        ("one byte less", part(5, 8, 10, "5678")),
        ("another length", part(5, 9, 11, "56789")),
        ("an unknown length", Reply::new(206).header("Content-Range", "bytes 5-9/*").header("ETag", TAG).body("56789")),
        ("fields that disagree", part(5, 9, 10, "5678")),
        ("no range", Reply::new(206).header("ETag", TAG).body("56789")),
        ("another coding", other("Content-Encoding", "gzip")),
        ("another type", other("Content-Type", "text/html")),
        ("chunks", Reply::new(206).header("Content-Range", "bytes 5-9/10").header("ETag", TAG).chunk("56789")),
        ("none of it", Reply::new(416).header("Content-Range", "bytes */10")),
        ("a refusal", Reply::new(503).body("busy")),
        ("nothing", Reply::hang_up()),
        ("rubbish", Reply::raw("rubbish\r\n\r\n")),
    ]
}

#[tokio::test]
async fn what_does_not_match_exactly_fails_as_a_truncation_does() {
    for (name, misfit) in misfits() {
        let (first, second, edge) = pair(RESCUE).await;
        second.on("/a", misfit);
        assert_eq!(cut_in_midst(&edge, &first, &Request::get("/a"), half()).await, cut(), "{name}");
        assert_eq!(rescues(&edge).await, [("failed", 1.0)], "{name}");
        edge.metric_becomes("hedgerow_terminations_total", &[("reason", "upstream-closed")], 1.0).await;
        edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
        assert_eq!((first.count("/a"), second.count("/a")), (1, 1), "{name}");
    }
}

#[tokio::test]
async fn there_is_one_rescue_for_a_response() {
    let (first, second, edge) = pair(RESCUE).await;
    let (gate, again) = (Gate::new(), Gate::new());
    first.on("/a", half().gate(&gate).cut());
    second.on("/a", part(5, 9, 10, "567").declares(5).gate(&again).cut());
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    client.head().await;
    client.exactly("01234").await;
    gate.open();
    client.exactly("567").await;
    again.open();
    assert_eq!(client.rest().await, (Vec::new(), false));
    assert_eq!((first.count("/a"), second.count("/a")), (1, 1));
    assert_eq!(rescues(&edge).await, [("spliced", 1.0)]);
}

#[tokio::test]
async fn what_is_not_surely_one_body_for_all_is_not_rescued() {
    let bare = || Reply::new(200).header("Cache-Control", "max-age=60");
    let half = |reply: Reply| reply.declares(10).body("01234");
    let tagged = |cache: &str| half(Reply::new(200).header("Cache-Control", cache).header("ETag", TAG));
    let plain = || Request::get("/a");
    for (name, request, reply) in [
        ("no tag", plain(), half(bare())),
        ("a weak tag", plain(), half(bare().header("ETag", "W/\"v1\""))),
        ("only a date", plain(), half(bare().header("Last-Modified", &support::date_after(-3600)))),
        ("chunks", plain(), bare().header("ETag", TAG).chunk("01234")),
        ("no ranges", plain(), half(bare().header("ETag", TAG).header("Accept-Ranges", "none"))),
        ("another status", plain(), half(Reply::new(203).header("Cache-Control", "max-age=60").header("ETag", TAG))),
        ("no-store", plain(), tagged("no-store")),
        ("private", plain(), tagged("private")),
        ("credentials", plain().header("Authorization", "Basic eDp5"), tagged("max-age=60")),
        ("a cookie", plain(), half(bare().header("ETag", TAG).header("Set-Cookie", "a=b"))),
        ("POST", Request::post("/a", "x"), tagged("max-age=60")),
        ("POST without a body", Request::post("/a", ""), tagged("max-age=60")),
    ] {
        let (first, second, edge) = pair(RESCUE).await;
        assert_eq!(cut_in_midst(&edge, &first, &request, reply).await, cut(), "{name}");
        assert_eq!((first.count("/a"), second.count("/a")), (1, 0), "{name}");
        assert_eq!(rescues(&edge).await, [], "{name}");
    }
}

#[tokio::test]
async fn a_body_that_stops_for_between_bytes_counts_as_broken_off() {
    let (first, second, edge) = pair(&format!("{RESCUE}[pool.timeouts]\nbetween_bytes = \"200ms\"\n")).await;
    first.on("/a", half().then_silence());
    second.on_call("/a", |seen| rest(seen, BODY));
    // Nothing is known yet of how long reads take.
    let answer = edge.get("/a").await.expect(200);
    assert_eq!((answer.text().as_str(), answer.complete), (BODY, true));
    let labels = [("backend", &*first.addr().to_string()), ("result", "upstream-timeout")];
    edge.metric_becomes("hedgerow_attempts_total", &labels, 1.0).await;
}

#[tokio::test]
async fn the_rest_may_come_when_the_routes_time_for_a_head_is_long_over() {
    let (first, second, edge) = pair(&format!("timeout = \"1s\"\n{RESCUE}")).await;
    first.on("/a", half().pause(Duration::from_millis(1_200)).cut());
    second.on_call("/a", |seen| rest(seen, BODY));
    let answer = edge.get("/a").await.expect(200);
    assert_eq!((answer.text().as_str(), answer.complete), (BODY, true));
}

#[tokio::test]
async fn a_second_backend_that_does_not_answer_is_not_waited_for_for_ever() {
    for clocks in ["first_byte = \"300ms\"", "total = \"500ms\""] {
        let (first, second, edge) = pair(&format!("{RESCUE}[pool.timeouts]\n{clocks}\n")).await;
        second.on("/a", Reply::never());
        assert_eq!(cut_in_midst(&edge, &first, &Request::get("/a"), half()).await, cut(), "{clocks}");
        assert_eq!((second.count("/a"), rescues(&edge).await), (1, vec![("failed", 1.0)]), "{clocks}");
    }
}

#[tokio::test]
async fn off_by_default() {
    let (first, second, edge) = pair("").await;
    assert_eq!(cut_in_midst(&edge, &first, &Request::get("/a"), half()).await, cut());
    assert_eq!((first.count("/a"), second.count("/a")), (1, 0));
}

#[tokio::test]
async fn without_another_backend_or_a_token_it_is_cut_as_ever() {
    const SPENT: &str = "[pool.tail]\nretry = { budget = \"0%\", min_per_second = 0 }\n";
    let (first, second) = (Origin::start().await, Origin::start().await);
    let spent = first_and_second(first.addr(), second.addr(), "", &format!("{RESCUE}{SPENT}"));
    for edge in [Edge::over(&[&first], RESCUE).await, Edge::start(&spent).await] {
        assert_eq!(cut_in_midst(&edge, &first, &Request::get("/a"), half()).await, cut());
        assert_eq!(second.count("/a"), 0);
        assert_eq!(rescues(&edge).await, [("denied", 1.0)]);
    }
}

#[tokio::test]
async fn a_first_backend_that_goes_on_in_time_is_not_left() {
    let (first, second, edge) = pair(RESCUE).await;
    let (stalled, held) = (Gate::new(), Gate::new());
    warm(&edge, [&first, &second]).await;
    for origin in [&first, &second] {
        let (stalled, held) = (stalled.clone(), held.clone());
        origin.on_call("/a", move |seen| match seen.header("Range") {
            None => half().gate(&stalled).body("56789"),
            Some(_) => rest(seen, BODY).held_by(&held),
        });
    }
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    client.head().await;
    client.exactly("01234").await;
    held.arrived(1).await;
    stalled.open();
    assert_eq!(client.rest().await, (b"56789".to_vec(), true));
    assert_eq!(rescues(&edge).await, [("lost", 1.0)]);
    held.open();
    edge.metric_becomes("hedgerow_backend_in_flight", &[], 0.0).await;
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn a_first_backend_that_has_only_stalled_is_waited_for_when_the_second_has_something_else() {
    let (first, second, edge) = pair(RESCUE).await;
    let gate = Gate::new();
    warm(&edge, [&first, &second]).await;
    for origin in [&first, &second] {
        let gate = gate.clone();
        origin.on_call("/a", move |seen| match seen.header("Range") {
            None => half().gate(&gate).body("56789"),
            Some(_) => Reply::ok("abcdefghij").header("ETag", "\"v2\""),
        });
    }
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    client.head().await;
    client.exactly("01234").await;
    edge.metric_becomes("hedgerow_rescues_total", &[("result", "failed")], 1.0).await;
    gate.open();
    assert_eq!(client.rest().await, (b"56789".to_vec(), true));
    assert_eq!(rescues(&edge).await, [("failed", 1.0)]);
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn a_client_that_leaves_ends_both() {
    let (first, second, edge) = pair(&format!("{RESCUE}[route.cache]\nmin_uses = 5\n")).await;
    // Not stored: of what is being stored it is seen only at its next bytes that the client has left.
    let (stalled, held) = (Gate::new(), Gate::new());
    warm(&edge, [&first, &second]).await;
    for origin in [&first, &second] {
        let (stalled, held) = (stalled.clone(), held.clone());
        origin.on_call("/a", move |seen| match seen.header("Range") {
            None => half().gate(&stalled).body("56789"),
            Some(_) => rest(seen, BODY).held_by(&held),
        });
    }
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    client.head().await;
    client.exactly("01234").await;
    held.arrived(1).await;
    client.abort();
    // Neither gate is opened: they end because they are left.
    first.until("the first is left", |first| first.aborted() > 0).await;
    second.until("the second is left", |second| second.aborted() > 0).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    edge.metric_becomes("hedgerow_backend_in_flight", &[], 0.0).await;
    edge.metric_becomes("hedgerow_rescues_total", &[("result", "lost")], 1.0).await;
}

#[tokio::test]
async fn a_slow_but_steady_body_is_not_rescued() {
    const STEP: Duration = Duration::from_millis(40);
    let (first, second, edge) = pair(RESCUE).await;
    let gate = Gate::new();
    for origin in [&first, &second] {
        let gate = gate.clone();
        origin.on_call("/stalls", move |seen| match seen.header("Range") {
            None => half().gate(&gate).body("56789"),
            Some(_) => rest(seen, BODY),
        });
        // Each digit after twice the least that is a stall.
        origin
            .otherwise(|_| BODY.chars().fold(promised(BODY), |reply, digit| reply.pause(STEP).body(digit.to_string())));
    }
    let steady = |from: u32| {
        let edge = &edge;
        futures::future::join_all((from..from + 15).map(move |i| async move {
            assert_eq!(edge.get(&format!("/slow/{i}")).await.expect(200).text(), BODY);
        }))
    };
    steady(0).await;
    // By this it is known that stalls are known.
    assert_eq!(edge.get("/stalls").await.expect(200).text(), BODY);
    assert_eq!(rescues(&edge).await, [("spliced", 1.0)]);
    steady(100).await;
    assert_eq!(rescues(&edge).await, [("spliced", 1.0)]);
}
