//! Parts of what is not stored whole: kept, put together where a strong validator allows, completed, cut into slices.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken test should stop at once")]

mod support;

use support::edge::Edge;
use support::{Gate, Origin, Reply, Request, Response, Seen};

const BODY: &str = "0123456789";

/// What a file server says: ranges of `body`, if `If-Range` agrees.
fn file(seen: &Seen, body: &str, etag: &str) -> Reply {
    let whole = || Reply::fresh(60, body).header("ETag", etag);
    let agrees = seen.header("If-Range").is_none_or(|tag| tag == etag);
    let Some(range) = seen.header("Range").filter(|_| agrees) else { return whole() };
    let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (first, last) = match (first, last) {
        ("", suffix) => (body.len().saturating_sub(suffix.parse().unwrap()), body.len() - 1),
        (first, "") => (first.parse().unwrap(), body.len() - 1),
        (first, last) => (first.parse().unwrap(), last.parse::<usize>().unwrap().min(body.len() - 1)),
    };
    if first > last {
        return Reply::new(416).header("Content-Range", &format!("bytes */{}", body.len()));
    }
    part(first, last, body.len(), &body[first..=last]).header("ETag", etag)
}

fn part(first: usize, last: usize, complete: usize, bytes: &str) -> Reply {
    Reply::new(206)
        .header("Content-Range", &format!("bytes {first}-{last}/{complete}"))
        .header("Cache-Control", "max-age=60")
        .body(bytes)
}

/// An origin with one such file, and an edge.
async fn served(body: &str, etag: &str) -> (Origin, Edge) {
    let (body, etag) = (body.to_owned(), etag.to_owned());
    let origin = Origin::start().await;
    origin.on_call("/a", move |seen| file(seen, &body, &etag));
    let edge = Edge::over(&[&origin], "").await;
    (origin, edge)
}

async fn ask(edge: &Edge, range: &str) -> Response {
    edge.fetch(&Request::get("/a").header("Range", format!("bytes={range}"))).await
}

/// Text, place and verdict of a part.
async fn got(edge: &Edge, range: &str) -> (String, String, String) {
    let answer = ask(edge, range).await.expect(206);
    let told = answer.header("Content-Range").unwrap_or_default().to_owned();
    (answer.text(), told, answer.verdict().to_owned())
}

fn is(text: &str, told: &str, verdict: &str) -> (String, String, String) {
    (text.to_owned(), told.to_owned(), verdict.to_owned())
}

fn ranges(origin: &Origin) -> Vec<String> {
    origin.seen("/a").iter().map(|seen| seen.header("Range").unwrap_or("none").to_owned()).collect()
}

#[tokio::test]
async fn a_part_is_asked_for_as_it_is_wanted_and_answers_smaller_ones() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    let first = ask(&edge, "2-6").await.expect(206);
    assert_eq!((first.text().as_str(), first.verdict()), ("23456", "MISS"));
    assert_eq!((first.cache_status().fwd(), first.cache_status().is("stored")), (Some("uri-miss"), true));
    assert_eq!(ranges(&origin), ["bytes=2-6"]);
    for (range, text, told) in
        [("2-6", "23456", "bytes 2-6/10"), ("3-4", "34", "bytes 3-4/10"), ("6-6", "6", "bytes 6-6/10")]
    {
        let hit = ask(&edge, range).await.expect(206);
        assert_eq!((hit.text().as_str(), hit.header("Content-Range")), (text, Some(told)), "{range}");
        assert_eq!((hit.verdict(), hit.cache_status().is("hit")), ("HIT", true), "{range}");
        assert_eq!(hit.header("ETag"), Some("\"v1\""));
        assert!(hit.age().is_some() && hit.cache_status().ttl().is_some());
    }
    assert_eq!(origin.count("/a"), 1);
    let more = ask(&edge, "5-8").await.expect(206);
    assert_eq!((more.text().as_str(), more.cache_status().fwd()), ("5678", Some("partial")));
}

#[tokio::test]
async fn suffixes_and_open_ends_are_answered_where_the_length_is_known() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    assert_eq!(got(&edge, "-4").await, is("6789", "bytes 6-9/10", "MISS"));
    assert_eq!(got(&edge, "-1").await, is("9", "bytes 9-9/10", "HIT"));
    assert_eq!(got(&edge, "7-").await, is("789", "bytes 7-9/10", "HIT"));
    assert_eq!(got(&edge, "8-50").await, is("89", "bytes 8-9/10", "HIT"));
    let beyond = ask(&edge, "10-12").await.expect(416);
    assert_eq!((beyond.header("Content-Range"), beyond.text().as_str()), (Some("bytes */10"), ""));
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_range_that_cannot_be_satisfied_is_for_the_origin_while_nothing_is_known() {
    let (_origin, edge) = served(BODY, "\"v1\"").await;
    let beyond = ask(&edge, "10-12").await.expect(416);
    assert_eq!(beyond.header("Content-Range"), Some("bytes */10"));
}

#[tokio::test]
async fn parts_that_make_the_whole_become_one_rfc9110_15_3_7_3() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    for range in ["4-6", "0-3", "7-9"] {
        ask(&edge, range).await.expect(206);
    }
    let whole = edge.get("/a").await.expect(200);
    assert_eq!((whole.text().as_str(), whole.verdict(), whole.header("Content-Range")), (BODY, "HIT", None));
    assert_eq!(whole.header("Content-Length"), Some("10"));
    assert_eq!(got(&edge, "2-7").await, is("234567", "bytes 2-7/10", "HIT"));
    assert_eq!(origin.count("/a"), 3);
}

#[tokio::test]
async fn only_what_is_missing_behind_a_stored_beginning_is_fetched() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-3").await.expect(206);
    assert_eq!(got(&edge, "2-7").await, is("234567", "bytes 2-7/10", "MISS"));
    let seen = &origin.seen("/a")[1];
    assert_eq!((seen.header("Range"), seen.header("If-Range")), (Some("bytes=4-7"), Some("\"v1\"")));
    assert_eq!(got(&edge, "0-7").await, is("01234567", "bytes 0-7/10", "HIT"));
}

#[tokio::test]
async fn parts_of_two_bodies_are_never_put_together() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-3").await.expect(206);
    origin.on_call("/a", |seen| file(seen, "abcdefghij", "\"v2\""));
    // The origin has another body by now: all of it comes, and only that.
    assert_eq!(got(&edge, "2-7").await.0, "cdefgh");
    assert_eq!(got(&edge, "0-3").await.0, "abcd");
    assert_eq!(edge.get("/a").await.expect(200).text(), "abcdefghij");
}

#[tokio::test]
async fn an_origin_that_ignores_if_range_is_asked_again() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-3").await.expect(206);
    // Answers ranges of its new body whatever If-Range says.
    origin.on_call("/a", |seen| match seen.header("Range") {
        Some("bytes=4-7") => part(4, 7, 10, "efgh").header("ETag", "\"v2\""),
        Some("bytes=2-7") => part(2, 7, 10, "cdefgh").header("ETag", "\"v2\""),
        Some("bytes=8-") => part(8, 9, 10, "ij").header("ETag", "\"v3\""),
        _ => Reply::fresh(60, "klmnopqrst").header("ETag", "\"v3\""),
    });
    assert_eq!(got(&edge, "2-7").await, is("cdefgh", "bytes 2-7/10", "MISS"));
    assert_eq!(ranges(&origin), ["bytes=0-3", "bytes=4-7", "bytes=2-7"]);
    // The older part is gone.
    assert_eq!(got(&edge, "3-4").await, is("de", "bytes 3-4/10", "HIT"));
}

#[tokio::test]
async fn parts_without_a_strong_validator_replace_each_other() {
    for fields in [&[][..], &[("ETag", "W/\"v1\"")], &[("Last-Modified", &support::date_after(3600))]] {
        let origin = Origin::start().await;
        let fields: Vec<(String, String)> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        origin.on_call("/a", move |seen| {
            let (first, last) = if seen.header("Range") == Some("bytes=0-3") { (0, 3) } else { (4, 9) };
            let reply = part(first, last, 10, &BODY[first..=last]);
            fields.iter().fold(reply, |reply, (name, value)| reply.header(name, value))
        });
        let edge = Edge::over(&[&origin], "").await;
        ask(&edge, "0-3").await.expect(206);
        assert_eq!(got(&edge, "1-2").await.2, "HIT");
        ask(&edge, "4-9").await.expect(206);
        assert_eq!(got(&edge, "4-9").await.2, "HIT");
        assert_eq!(got(&edge, "0-3").await.2, "MISS", "what was first is gone");
        assert_eq!(origin.count("/a"), 3);
    }
}

#[tokio::test]
async fn the_rest_of_a_stored_beginning_completes_it() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-3").await.expect(206);
    let whole = edge.get("/a").await.expect(200);
    assert_eq!((whole.text().as_str(), whole.header("Content-Range")), (BODY, None));
    assert_eq!(whole.header("Content-Length"), Some("10"));
    let status = whole.cache_status();
    assert_eq!((status.fwd(), status.param("fwd-status"), status.is("stored")), (Some("partial"), Some("206"), true));
    let seen = &origin.seen("/a")[1];
    assert_eq!((seen.header("Range"), seen.header("If-Range")), (Some("bytes=4-"), Some("\"v1\"")));
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
    assert_eq!(origin.count("/a"), 2);
}

/// One request whose answer is cut after five bytes.
async fn break_off(edge: &Edge, gate: &Gate) {
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    client.head().await;
    client.exactly("01234").await;
    gate.open();
    assert!(!client.rest().await.1, "what broke off does not look whole");
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn a_transfer_that_broke_off_is_completed() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_nth("/a", move |n, seen| match n {
        1 => Reply::fresh(60, "01234").header("ETag", "\"v1\"").declares(10).gate(&held).cut(),
        _ => file(seen, BODY, "\"v1\""),
    });
    let edge = Edge::over(&[&origin], "").await;
    break_off(&edge, &gate).await;
    assert_eq!(edge.get("/a").await.expect(200).text(), BODY);
    let seen = &origin.seen("/a")[1];
    assert_eq!((seen.header("Range"), seen.header("If-Range")), (Some("bytes=5-"), Some("\"v1\"")));
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn a_transfer_that_broke_off_is_dropped_where_the_rest_cannot_be_asked_for() {
    for (name, value) in [("ETag", "W/\"v1\""), ("X-None", ""), ("Accept-Ranges", "none")] {
        let (origin, gate) = (Origin::start().await, Gate::new());
        let held = gate.clone();
        origin.on_nth("/a", move |n, _| {
            let tag = if name == "Accept-Ranges" { "\"v1\"" } else { "W/\"v1\"" };
            match n {
                1 => Reply::fresh(60, "01234").header("ETag", tag).header(name, value).declares(10).gate(&held).cut(),
                _ => Reply::fresh(60, BODY),
            }
        });
        let edge = Edge::over(&[&origin], "").await;
        break_off(&edge, &gate).await;
        assert_eq!(edge.get("/a").await.expect(200).text(), BODY);
        assert_eq!(ranges(&origin), ["none", "none"], "{name}: {value}");
    }
}

#[tokio::test]
async fn a_completion_that_fails_gives_the_whole_new_body() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-3").await.expect(206);
    origin.on_call("/a", |seen| file(seen, "abcdefghij", "\"v2\""));
    let whole = edge.get("/a").await.expect(200);
    assert_eq!((whole.text().as_str(), whole.header("ETag")), ("abcdefghij", Some("\"v2\"")));
    assert_eq!(ranges(&origin), ["bytes=0-3", "bytes=4-"]);
}

#[tokio::test]
async fn a_rest_without_a_validator_is_never_joined() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| match seen.header("Range") {
        Some("bytes=0-3") => part(0, 3, 10, "0123"),
        Some(range) => {
            assert_eq!((range, seen.header("If-Range")), ("bytes=4-", None));
            part(4, 9, 10, "efghij")
        }
        None => Reply::fresh(60, "abcdefghij"),
    });
    let edge = Edge::over(&[&origin], "").await;
    ask(&edge, "0-3").await.expect(206);
    assert_eq!(edge.get("/a").await.expect(200).text(), "abcdefghij");
    assert_eq!(ranges(&origin), ["bytes=0-3", "bytes=4-", "none"]);
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn a_completion_is_asked_for_whole_where_the_answer_is_of_no_use() {
    for answer in [416, 206] {
        let (origin, edge) = served(BODY, "\"v1\"").await;
        ask(&edge, "0-3").await.expect(206);
        origin.on_call("/a", move |seen| match (seen.header("Range"), answer) {
            (Some(_), 206) => part(4, 9, 10, "efghij").header("ETag", "\"v2\""),
            (Some(_), _) => Reply::new(416).header("Content-Range", "bytes */3"),
            (None, _) => Reply::fresh(60, "abc").header("ETag", "\"v2\""),
        });
        assert_eq!(edge.get("/a").await.expect(200).text(), "abc");
        assert_eq!(ranges(&origin), ["bytes=0-3", "bytes=4-", "none"]);
        assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
    }
}

#[tokio::test]
async fn an_origin_without_ranges_is_stored_whole_and_cut() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, BODY));
    let edge = Edge::over(&[&origin], "").await;
    let first = ask(&edge, "2-4").await.expect(206);
    assert_eq!((first.text().as_str(), first.header("Content-Range")), ("234", Some("bytes 2-4/10")));
    assert!(first.cache_status().is("stored"));
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
    assert_eq!(got(&edge, "0-1").await, is("01", "bytes 0-1/10", "HIT"));
    assert_eq!(origin.count("/a"), 1);
}

#[tokio::test]
async fn a_connection_goes_on_after_a_part_from_memory() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-8").await.expect(206);
    let mut client = edge.client().await;
    for (range, status, text) in [("1-2", 206, "12"), ("20-", 416, ""), ("3-4", 206, "34"), ("8-9", 206, "89")] {
        let request = Request::get("/a").header("Range", format!("bytes={range}"));
        assert_eq!(client.request(&request).await.expect(status).text(), text, "{range}");
    }
    assert_eq!(origin.count("/a"), 2);
}

#[tokio::test]
async fn a_part_that_may_not_be_used_unasked_is_confirmed() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| match seen.header("If-None-Match") {
        Some("\"v1\"") => {
            Reply::new(304).header("ETag", "\"v1\"").header("Cache-Control", "max-age=60").header("X-New", "1")
        }
        Some(tag) => panic!("nothing with {tag} was stored"),
        None => file(seen, BODY, "\"v1\"").header("X-Old", "1"),
    });
    let edge = Edge::over(&[&origin], "").await;
    ask(&edge, "0-5").await.expect(206);
    let again = Request::get("/a").header("Range", "bytes=2-4").header("Cache-Control", "no-cache");
    let confirmed = edge.fetch(&again).await.expect(206);
    assert_eq!((confirmed.text().as_str(), confirmed.header("Content-Range")), ("234", Some("bytes 2-4/10")));
    assert_eq!((confirmed.verdict(), confirmed.cache_status().param("fwd-status")), ("REVALIDATED", Some("304")));
    let seen = &origin.seen("/a")[1];
    assert_eq!((seen.header("Range"), seen.header("If-None-Match")), (Some("bytes=2-4"), Some("\"v1\"")));
    let hit = ask(&edge, "0-5").await.expect(206);
    assert_eq!((hit.text().as_str(), hit.verdict()), ("012345", "HIT"));
    assert_eq!((hit.header("X-New"), hit.header("X-Old")), (Some("1"), Some("1")));
}

#[tokio::test]
async fn a_304_about_another_body_confirms_no_part() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-5").await.expect(206);
    origin.on_call("/a", |seen| match seen.header("If-None-Match") {
        Some(_) => Reply::new(304).header("ETag", "\"v2\""),
        None => file(seen, "abcdefghij", "\"v2\""),
    });
    let again = Request::get("/a").header("Range", "bytes=2-4").header("Cache-Control", "no-cache");
    assert_eq!(edge.fetch(&again).await.expect(206).text(), "cde");
    origin.on_call("/a", |seen| file(seen, "klmnopqrst", "\"v3\""));
    assert_eq!(edge.fetch(&again).await.expect(206).text(), "mno");
    assert_eq!(got(&edge, "2-4").await.0, "mno");
}

#[tokio::test]
async fn conditions_are_answered_from_a_part() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-3").await.expect(206);
    let with = |name: &str, value: &str| Request::get("/a").header("Range", "bytes=1-2").header(name, value);
    let known = edge.fetch(&with("If-None-Match", "\"v1\"")).await.expect(304);
    assert_eq!((known.verdict(), known.header("Content-Range")), ("HIT", None));
    assert_eq!(edge.fetch(&with("If-None-Match", "\"v0\"")).await.expect(206).verdict(), "HIT");
    assert_eq!(edge.fetch(&with("If-Range", "\"v1\"")).await.expect(206).verdict(), "HIT");
    assert_eq!(origin.count("/a"), 1);
    let other = edge.fetch(&with("If-Range", "\"v0\"")).await.expect(200);
    assert_eq!((other.text().as_str(), other.verdict()), (BODY, "MISS"));
    assert_eq!(origin.seen("/a")[1].header("If-Range"), Some("\"v0\""));
}

#[tokio::test]
async fn what_must_not_be_shared_is_not_stored() {
    for (request, response) in [
        (("Authorization", "Basic eA=="), ("X-None", "")),
        (("Cache-Control", "no-store"), ("X-None", "")),
        (("X-None", ""), ("Cache-Control", "private")),
        (("X-None", ""), ("Cache-Control", "no-store")),
        (("X-None", ""), ("Set-Cookie", "a=1")),
        (("X-None", ""), ("Vary", "*")),
    ] {
        let origin = Origin::start().await;
        origin.on_call("/a", move |_| part(0, 3, 10, "0123").header("ETag", "\"v1\"").header(response.0, response.1));
        let edge = Edge::over(&[&origin], "").await;
        let request = Request::get("/a").header("Range", "bytes=0-3").header(request.0, request.1);
        for _ in 0..2 {
            let answer = edge.fetch(&request).await.expect(206);
            assert_eq!((answer.text().as_str(), answer.verdict()), ("0123", "MISS"), "{request:?} {response:?}");
            assert!(!answer.cache_status().is("stored") && answer.cache_status().param("detail").is_some());
        }
        assert_eq!(origin.count("/a"), 2);
    }
}

#[tokio::test]
async fn parts_of_variants_are_kept_apart() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        let body = if seen.header("X-Tongue") == Some("fr") { "abcdefghij" } else { BODY };
        // Not even the same tag lets one pass for the other.
        file(seen, body, "\"v1\"").header("Vary", "X-Tongue")
    });
    let edge = Edge::over(&[&origin], "").await;
    let request = |tongue: &str, range: &str| {
        Request::get("/a").header("X-Tongue", tongue).header("Range", format!("bytes={range}"))
    };
    for (tongue, range, text, verdict) in [
        ("en", "0-3", "0123", "MISS"),
        ("fr", "0-3", "abcd", "MISS"),
        ("en", "1-2", "12", "HIT"),
        ("fr", "1-2", "bc", "HIT"),
        ("de", "1-2", "12", "MISS"),
        ("fr", "4-9", "efghij", "MISS"),
        ("en", "4-9", "456789", "MISS"),
    ] {
        let answer = edge.fetch(&request(tongue, range)).await.expect(206);
        assert_eq!((answer.text().as_str(), answer.verdict()), (text, verdict), "{tongue} {range}");
    }
    for (tongue, text) in [("en", BODY), ("fr", "abcdefghij")] {
        let whole = edge.fetch(&Request::get("/a").header("X-Tongue", tongue)).await.expect(200);
        assert_eq!((whole.text().as_str(), whole.verdict()), (text, "HIT"), "{tongue}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_part_leaves_what_came() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_nth("/a", move |n, seen| match n {
        1 => Reply::new(206)
            .header("Content-Range", "bytes 0-7/10")
            .header("Cache-Control", "max-age=60")
            .header("ETag", "\"v1\"")
            .declares(8)
            .body("0123")
            .gate(&held),
        _ => file(seen, BODY, "\"v1\""),
    });
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/a").header("Range", "bytes=0-7")).await;
    client.head().await;
    client.exactly("0123").await;
    client.abort();
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    assert_eq!(got(&edge, "1-3").await, is("123", "bytes 1-3/10", "HIT"));
    assert_eq!(origin.count("/a"), 1);
    assert_eq!(got(&edge, "1-7").await.0, "1234567");
    assert_eq!(origin.seen("/a")[1].header("Range"), Some("bytes=4-7"));
}

#[tokio::test]
async fn those_who_ask_for_the_same_range_wait_for_one_fetch() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let held = gate.clone();
    origin.on_call("/a", move |seen| file(seen, BODY, "\"v1\"").held_by(&held));
    let edge = Edge::over(&[&origin], "[route.cache]\ncollapse = { wait = \"20s\" }\n").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = edge.client().await;
        client.ask(&Request::get("/a").header("Range", "bytes=2-5")).await;
        clients.push(client);
    }
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 4.0).await;
    gate.open();
    let mut collapsed = 0;
    for client in &mut clients {
        let answer = client.answer().await.expect(206);
        assert_eq!(answer.text(), "2345");
        collapsed += usize::from(answer.cache_status().is("collapsed") && answer.verdict() == "HIT");
    }
    assert_eq!((origin.count("/a"), collapsed), (1, 3));
}

#[tokio::test]
async fn nobody_waits_for_a_part_that_is_not_for_all() {
    let (origin, gates) = (Origin::start().await, [Gate::new(), Gate::new()]);
    let held = gates.clone();
    // The first is held before its head; then within its body, when the second has long been answered.
    origin.on_nth("/a", move |n, _| {
        let reply = Reply::new(206).header("Content-Range", "bytes 2-5/10").header("Cache-Control", "private");
        match n {
            1 => reply.declares(4).body("23").gate(&held[1]).body("45").held_by(&held[0]),
            _ => reply.body("2345"),
        }
    });
    // Longer than the test's own patience.
    let edge = Edge::over(&[&origin], "timeout = \"200s\"\n[route.cache]\ncollapse = { wait = \"100s\" }\n").await;
    let mut clients = [edge.client().await, edge.client().await];
    for client in &mut clients {
        client.ask(&Request::get("/a").header("Range", "bytes=2-5")).await;
    }
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 2.0).await;
    gates[0].open();
    origin.until("the second asks for itself", |origin| origin.count("/a") == 2).await;
    gates[1].open();
    for client in &mut clients {
        assert_eq!(client.answer().await.expect(206).text(), "2345");
    }
    assert_eq!(edge.metric("hedgerow_requests_total", &[("cache", "miss")]).await, 2.0);
}

#[tokio::test]
async fn only_if_cached_is_answered_from_what_is_there() {
    let (origin, edge) = served(BODY, "\"v1\"").await;
    ask(&edge, "0-3").await.expect(206);
    assert_eq!(edge.fetch(&Request::get("/a").header("Cache-Control", "only-if-cached")).await.status, 504);
    let part = Request::get("/a").header("Range", "bytes=1-2").header("Cache-Control", "only-if-cached");
    assert_eq!(edge.fetch(&part).await.expect(206).text(), "12");
    let other = Request::get("/a").header("Range", "bytes=5-6").header("Cache-Control", "only-if-cached");
    edge.fetch(&other).await.expect(504);
    assert_eq!(origin.count("/a"), 1);
}

/// Some origins count one byte too many. What came is replayed as it came, and nothing is built upon it.
#[tokio::test]
async fn a_range_that_counts_too_many_is_replayed_and_not_built_upon() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| match seen.header("Range") {
        Some("bytes=-5") => part(4, 9, 10, "01234").header("ETag", "\"v1\""),
        Some(_) => part(0, 3, 10, "abcd").header("ETag", "\"v1\""),
        None => Reply::fresh(60, "whole").header("ETag", "\"v1\""),
    });
    let edge = Edge::over(&[&origin], "").await;
    ask(&edge, "-5").await.expect(206);
    for (range, text) in [("-5", "01234"), ("6-8", "234"), ("6-", "234"), ("-1", "4")] {
        let hit = ask(&edge, range).await.expect(206);
        assert_eq!((hit.text().as_str(), hit.verdict()), (text, "HIT"), "{range}");
        assert!(hit.header("Content-Range").unwrap().ends_with("/*"), "nobody is told a length: {hit}");
    }
    ask(&edge, "0-3").await.expect(206);
    assert_eq!(edge.get("/a").await.expect(200).text(), "whole");
}

mod slices {
    use super::*;

    const SLICE: usize = 64 << 10;
    const SLICED: &str = "[route.cache]\nslice = \"64KiB\"\n";
    /// 10 GiB.
    const HUGE: usize = 10 << 30;

    /// The byte at a position, so that a wrong place shows.
    fn byte(at: usize) -> u8 {
        b'a' + u8::try_from(at % 26).unwrap()
    }

    /// A file of which only what is asked for exists, and no more than eight slices of that.
    fn huge(seen: &Seen) -> Reply {
        let range = seen.header("Range").expect("nobody fetches all of it");
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(HUGE - 1).min(HUGE - 1);
        let bytes: Vec<u8> = (first..=last.min(first + 8 * SLICE)).map(byte).collect();
        Reply::new(206)
            .header("Content-Range", &format!("bytes {first}-{last}/{HUGE}"))
            .header("Cache-Control", "max-age=60")
            .header("ETag", "\"v1\"")
            .declares((last - first + 1) as u64)
            .body(bytes)
    }

    async fn over(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (Origin, Edge) {
        let origin = Origin::start().await;
        origin.on_call("/a", reply);
        let edge = Edge::over(&[&origin], SLICED).await;
        (origin, edge)
    }

    #[tokio::test]
    async fn one_byte_of_ten_gigabytes_fetches_one_slice() {
        let (origin, edge) = over(huge).await;
        let at = 5 * SLICE + 1000;
        let one = ask(&edge, &format!("{at}-{at}")).await.expect(206);
        assert_eq!((one.body.as_slice(), one.verdict()), (&[byte(at)][..], "MISS"));
        assert_eq!(one.header("Content-Range"), Some(format!("bytes {at}-{at}/{HUGE}").as_str()));
        assert_eq!(one.header("Content-Length"), Some("1"));
        assert_eq!(ranges(&origin), [format!("bytes={}-{}", 5 * SLICE, 6 * SLICE - 1)]);
        for at in [5 * SLICE, at + 1, 6 * SLICE - 1] {
            let hit = ask(&edge, &format!("{at}-{at}")).await.expect(206);
            assert_eq!((hit.body.as_slice(), hit.verdict()), (&[byte(at)][..], "HIT"), "{at}");
        }
        assert_eq!(origin.count("/a"), 1);
    }

    #[tokio::test]
    async fn what_is_stored_of_the_first_slices_is_not_fetched_again() {
        let (origin, edge) = over(huge).await;
        ask(&edge, "0-0").await.expect(206);
        let across = ask(&edge, &format!("100-{}", SLICE + 9)).await.expect(206);
        assert_eq!(across.body, (100..SLICE + 10).map(byte).collect::<Vec<_>>());
        let seen = &origin.seen("/a")[1];
        assert_eq!(seen.header("Range"), Some(format!("bytes={SLICE}-{}", 2 * SLICE - 1).as_str()));
        assert_eq!(seen.header("If-Range"), Some("\"v1\""));
        assert_eq!(ask(&edge, &format!("5-{}", 2 * SLICE - 1)).await.expect(206).verdict(), "HIT");
    }

    #[tokio::test]
    async fn the_end_is_clipped_once_the_length_is_known() {
        let (origin, edge) = over(|seen| file(seen, &"x".repeat(SLICE + 10), "\"v1\"")).await;
        let last = SLICE + 9;
        let tail = ask(&edge, "-3").await.expect(206);
        assert_eq!(tail.header("Content-Range"), Some(format!("bytes {}-{last}/{}", last - 2, last + 1).as_str()));
        assert_eq!(ranges(&origin), ["bytes=-3"], "a suffix of what is not known cannot be aligned");
        ask(&edge, "-5").await.expect(206);
        assert_eq!(ranges(&origin)[1], format!("bytes={SLICE}-{last}"));
        ask(&edge, &format!("{SLICE}-")).await.expect(206);
        assert_eq!(ask(&edge, &format!("{}-", last + 1)).await.status, 416);
        assert_eq!(origin.count("/a"), 2);
    }

    #[tokio::test]
    async fn a_range_behind_the_end_of_its_slice_cannot_be_satisfied() {
        let (origin, edge) = over(|seen| file(seen, BODY, "\"v1\"")).await;
        let beyond = ask(&edge, "100-200").await.expect(416);
        assert_eq!((beyond.header("Content-Range"), beyond.text().as_str()), (Some("bytes */10"), ""));
        assert_eq!(ranges(&origin), [format!("bytes=0-{}", SLICE - 1)]);
    }

    #[tokio::test]
    async fn an_open_end_streams_and_ends_with_its_client() {
        let gate = Gate::new();
        let held = gate.clone();
        let (origin, edge) = over(move |seen| huge(seen).gate(&held)).await;
        let mut client = edge.client().await;
        client.ask(&Request::get("/a").header("Range", "bytes=10-")).await;
        let head = client.head().await;
        assert_eq!(head.header("Content-Range"), Some(format!("bytes 10-{}/{HUGE}", HUGE - 1).as_str()));
        let mut taken = Vec::new();
        while taken.len() < 2 * SLICE {
            taken.extend(client.piece().await.expect("more of it"));
        }
        assert!(taken.iter().enumerate().all(|(i, b)| *b == byte(i + 10)));
        gate.arrived(1).await;
        client.abort();
        edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
        assert_eq!(origin.count("/a"), 1);
        assert_eq!(ask(&edge, "0-99").await.expect(206).verdict(), "HIT");
    }

    /// Pingora stops reading when the client has all that was promised, and the slice would be lost.
    #[tokio::test]
    async fn the_last_byte_is_given_when_the_slice_is_in() {
        let gate = Gate::new();
        let held = gate.clone();
        let (_origin, edge) = over(move |_| {
            let reply = part(0, SLICE - 1, HUGE, "0123").header("ETag", "\"v1\"").declares(SLICE as u64);
            reply.gate(&held).body("x".repeat(SLICE - 4))
        })
        .await;
        let mut client = edge.client().await;
        client.ask(&Request::get("/a").header("Range", "bytes=1-3")).await;
        client.head().await;
        client.exactly("12").await;
        gate.arrived(1).await;
        gate.open();
        assert_eq!(client.rest().await, (b"3".to_vec(), true));
        assert_eq!(ask(&edge, &format!("{}-{}", SLICE - 1, SLICE - 1)).await.expect(206).verdict(), "HIT");
    }

    #[tokio::test]
    async fn an_answer_to_another_range_is_no_answer() {
        let (_origin, edge) = over(|_| part(200_000, 200_003, 300_000, "abcd").header("ETag", "\"v1\"")).await;
        let refused = ask(&edge, "5-6").await.expect(502);
        assert_eq!(refused.proxy_error(), "http_protocol_error");
    }
}
