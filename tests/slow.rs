//! Where the time of slow requests went, as the operator sees it at `/slow`, and what clients are told of theirs.

mod support;

use std::time::Duration;

use hedgerow::telemetry::Phase;
use serde_json::Value;
use support::busy::{Busy, PLAIN};
use support::edge::{Edge, first_and_second, over, pool};
use support::{Gate, Origin, Reply, Request, eventually};

/// What an origin or a client of these tests takes its time for.
const LONG: Duration = Duration::from_millis(60);

async fn page(edge: &Edge) -> Value {
    edge.admin_get("/slow").await.expect(200).json()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// The slowest requests of a route, once there are `n`.
async fn slowest(edge: &Edge, route: &str, n: usize) -> Vec<Value> {
    eventually("slow requests are kept", || async {
        let routes = list(&page(edge).await["routes"]);
        let of_route = routes.iter().find(|shown| shown["name"] == route).cloned();
        of_route.map(|shown| list(&shown["slowest"])).filter(|slowest| slowest.len() >= n)
    })
    .await
}

/// The request for this path, once it is there.
async fn slow(edge: &Edge, path: &str) -> Value {
    eventually("a request is kept", || async {
        let routes = list(&page(edge).await["routes"]);
        routes.iter().flat_map(|route| list(&route["slowest"])).find(|request| request["path"] == path)
    })
    .await
}

fn phase(request: &Value, name: &str) -> f64 {
    request["phases_ms"][name].as_f64().unwrap_or(0.0)
}

fn phases_add_up(request: &Value) {
    let phases = request["phases_ms"].as_object().into_iter().flat_map(|phases| phases.values());
    let sum: f64 = phases.filter_map(Value::as_f64).sum();
    let duration = request["duration_ms"].as_f64().unwrap_or(f64::NAN);
    assert!((sum - duration).abs() < 0.02, "{sum} of {duration}: {request}");
}

/// `name` took at least as long as everything else together, and as `LONG`.
fn is_mostly(request: &Value, name: &str) {
    phases_add_up(request);
    let duration = request["duration_ms"].as_f64().unwrap_or_default();
    assert!(phase(request, name) >= 59.0 && phase(request, name) >= duration / 2.0, "{name}: {request}");
}

#[tokio::test]
async fn a_slow_backend_is_named_with_what_it_says_of_itself() {
    let origin = Origin::start().await;
    let timing = "db;dur=41.5, render;dur=7;desc=\"Jinja\"";
    origin.on("/cart?user=7", Reply::ok("cart").header("Server-Timing", timing).after(LONG));
    let edge = Edge::over(&[&origin], "name = \"pages\"\n").await;
    let answer = edge.fetch(&Request::get("/cart?user=7").host("shop.example")).await.expect(200);
    let request = slow(&edge, "/cart").await;
    is_mostly(&request, "first-byte");
    for (field, value) in [
        ("method", "GET"),
        ("host", "shop.example"),
        ("cache", "miss"),
        ("reason", "done"),
        ("backend", origin.addr().to_string().as_str()),
        ("request_id", answer.header("X-Request-Id").expect("an id")),
    ] {
        assert_eq!(request[field], value, "{request}");
    }
    assert_eq!((&request["status"], &request["trace_id"]), (&200.into(), &Value::Null), "{request}");
    let origin_says = list(&request["origin"]);
    assert_eq!((&origin_says[0]["name"], &origin_says[0]["duration_ms"]), (&"db".into(), &41.5.into()), "{request}");
    assert_eq!(origin_says[1]["description"], "Jinja", "{request}");
    let [attempt] = &list(&request["attempts"])[..] else { panic!("one attempt: {request}") };
    assert_eq!(
        (&attempt["kind"], &attempt["used"], &attempt["cancelled"]),
        (&"first".into(), &true.into(), &false.into())
    );
    assert!(attempt["connect_ms"].as_f64().is_some_and(|ms| ms > 0.0), "a new connection: {attempt}");
    assert!(attempt["end_ms"].as_f64() >= attempt["head_ms"].as_f64(), "{attempt}");
}

#[tokio::test]
async fn the_share_of_each_phase_among_the_slowest_is_told() {
    let origin = Origin::start().await;
    origin.on("/quick", Reply::fresh(60, "quick")).on("/slow", Reply::ok("slow").after(LONG));
    let edge = Edge::over(&[&origin], "name = \"pages\"\n").await;
    let mut client = edge.client().await;
    for _ in 0..50 {
        client.get("/quick").await.expect(200);
    }
    client.get("/slow").await.expect(200);
    slow(&edge, "/slow").await;
    let page = page(&edge).await;
    let tail = &page["routes"][0]["tail"];
    assert_eq!((&tail["requests"], &tail["slowest"]), (&51.into(), &1.into()), "{tail}");
    assert!(tail["at_least_ms"].as_f64().is_some_and(|ms| ms > 40.0), "{tail}");
    let shares = tail["shares"].as_object().expect("there are shares");
    assert!(shares["first-byte"].as_f64().is_some_and(|share| share > 0.5), "{tail}");
    assert!((shares.values().filter_map(Value::as_f64).sum::<f64>() - 1.0).abs() < 0.01, "{tail}");
    let labels = [("route", "pages"), ("phase", "first-byte")];
    assert!(edge.metric("hedgerow_request_phase_seconds_total", &labels).await >= 0.059);
}

#[tokio::test]
async fn only_so_many_are_kept_and_hits_are_none_of_them() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(&seen.target).after(if seen.target == "/c" { LONG } else { LONG / 4 }));
    origin.on("/hit", Reply::fresh(60, "hit"));
    let conf = over(&[origin.addr()], "name = \"pages\"\n") + "[slow]\nkeep = 2\n";
    let edge = Edge::start(&conf).await;
    let mut client = edge.client().await;
    client.get("/hit").await.expect(200);
    slow(&edge, "/hit").await;
    for path in ["/a", "/b", "/c", "/hit", "/hit"] {
        client.get(path).await.expect(200);
    }
    slow(&edge, "/c").await;
    let kept = slowest(&edge, "pages", 2).await;
    assert_eq!((kept.len(), &kept[0]["path"]), (2, &"/c".into()), "{kept:?}");
    assert!(kept.iter().all(|request| request["cache"] == "miss"), "{kept:?}");
}

#[tokio::test]
async fn what_is_kept_can_be_changed_while_it_runs() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(&seen.target));
    let conf = over(&[origin.addr()], "");
    let edge = Edge::from_file(&(conf.clone() + "[slow]\nquery = true\n")).await;
    edge.get("/a?b=c").await.expect(200);
    slow(&edge, "/a?b=c").await;
    edge.rewrite(&(conf + "[slow]\nkeep = 0\n"));
    let reloaded = edge.reload().await.expect(200).text();
    assert!(reloaded.contains("slow"), "{reloaded}");
    eventually("nothing is kept", || async {
        let page = page(&edge).await;
        let nothing = list(&page["routes"]).iter().all(|route| list(&route["slowest"]).is_empty());
        (nothing && page["keep"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_failed_before_is_told_from_what_answered() {
    let (dead, alive) = (Origin::refusing(), Origin::start().await);
    alive.on("/a", Reply::ok("a").after(LONG));
    let edge = Edge::start(&first_and_second(dead.addr(), alive.addr(), "", "")).await;
    edge.get("/a").await.expect(200);
    let request = slow(&edge, "/a").await;
    is_mostly(&request, "first-byte");
    assert!(phase(&request, "retry") > 0.0, "{request}");
    let [first, retry] = &list(&request["attempts"])[..] else { panic!("two attempts: {request}") };
    assert_eq!((&first["kind"], &first["failure"]), (&"first".into(), &"connect-failed".into()), "{first}");
    assert_eq!((&first["used"], &first["cancelled"]), (&false.into(), &false.into()), "{first}");
    assert_eq!((&retry["kind"], &retry["used"], &retry["status"]), (&"retry".into(), &true.into(), &200.into()));
}

/// Nobody is held out, the bucket is deep, and what is late is late soon, but not so soon that it is the machine's doing.
const EAGER: &str = "tail = { hedge = { budget = \"50%\", burst = \"50%\", held_out = \"0%\", min_delay = \"60ms\", max_delay = \"60ms\" } }";

#[tokio::test]
async fn a_copy_and_the_primary_it_beat_stand_side_by_side() {
    let origins = [Origin::start().await, Origin::start().await];
    let gate = Gate::new();
    let addrs = [origins[0].addr(), origins[1].addr()];
    for origin in &origins {
        origin.on("/warm", Reply::ok("warm"));
    }
    let conf = pool("web", &addrs, EAGER) + "[[route]]\npool = \"web\"\n[route.cache]\nenabled = false\n";
    let edge = Edge::start(&conf).await;
    let mut client = edge.client().await;
    for _ in 0..120 {
        client.get("/warm").await.expect(200);
    }
    eventually("a delay is learned", || async {
        (edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
    })
    .await;
    for _ in 0..120 {
        client.get("/warm").await.expect(200);
    }
    for origin in &origins {
        let gate = gate.clone();
        origin.on_call("/late", move |seen| match seen.header("X-Hedgerow-Attempt") {
            Some(_) => Reply::ok("copy"),
            None => Reply::ok("primary").held_by(&gate),
        });
    }
    assert_eq!(client.get("/late").await.expect(200).text(), "copy");
    let request = slow(&edge, "/late").await;
    is_mostly(&request, "retry");
    let [primary, copy] = &list(&request["attempts"])[..] else { panic!("two attempts: {request}") };
    assert_eq!(
        (&primary["kind"], &primary["cancelled"], &primary["used"]),
        (&"first".into(), &true.into(), &false.into())
    );
    assert_eq!((&copy["kind"], &copy["cancelled"], &copy["used"]), (&"hedge".into(), &false.into(), &true.into()));
    assert!(primary["end_ms"].as_f64() >= copy["start_ms"].as_f64(), "{request}");
    gate.open();
}

#[tokio::test]
async fn both_backends_of_a_rescued_body_have_answered() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let tagged = |status| Reply::new(status).header("Cache-Control", "max-age=60").header("ETag", "\"v1\"");
    first.on("/a", tagged(200).declares(10).body("01234").cut());
    second.on("/a", tagged(206).header("Content-Range", "bytes 5-9/10").body("56789"));
    let edge = Edge::start(&first_and_second(first.addr(), second.addr(), "", "rescue = true\n")).await;
    assert_eq!(edge.get("/a").await.expect(200).text(), "0123456789");
    let request = slow(&edge, "/a").await;
    phases_add_up(&request);
    let [begun, rescue] = &list(&request["attempts"])[..] else { panic!("two attempts: {request}") };
    assert_eq!((&begun["kind"], &begun["failure"]), (&"first".into(), &"upstream-closed".into()), "{request}");
    assert_eq!((&rescue["kind"], &rescue["failure"]), (&"rescue".into(), &Value::Null), "{request}");
    assert!(begun["used"] == true && rescue["used"] == true, "{request}");
}

#[tokio::test]
async fn a_wait_for_a_place_is_the_queues() {
    let busy = Busy::patient("max_in_flight = 1", PLAIN).await;
    let held = busy.hold(1).await;
    let mut waiting = busy.queue(&Request::get("/waiting"), 1).await;
    tokio::time::sleep(LONG).await;
    busy.gate.open();
    waiting.answer().await.expect(200);
    drop(held);
    is_mostly(&slow(&busy.edge, "/waiting").await, "queue");
}

#[tokio::test]
async fn a_wait_for_anothers_fetch_is_its_own_phase() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::fresh(60, "alpha").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let (mut first, mut second) = (edge.client().await, edge.client().await);
    first.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    second.ask(&Request::get("/a").header("X-Request-Id", "second")).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 2.0).await;
    tokio::time::sleep(LONG).await;
    gate.open();
    first.answer().await.expect(200);
    second.answer().await.expect(200);
    let collapsed = eventually("who waited is kept", || async {
        let routes = list(&page(&edge).await["routes"]);
        let requests = routes.iter().flat_map(|route| list(&route["slowest"]));
        requests.into_iter().find(|request| phase(request, "collapse") > 0.0)
    })
    .await;
    is_mostly(&collapsed, "collapse");
    assert_eq!(list(&collapsed["attempts"]).len(), 0, "{collapsed}");
    edge.metric_becomes("hedgerow_cache_collapsed_total", &[("result", "answered")], 1.0).await;
    edge.metric_becomes("hedgerow_cache_forwarded_total", &[("fwd", "uri-miss")], 2.0).await;
}

/// More than the buffers between the edge and a client that does not read.
const LARGE: usize = 32 << 20;

#[tokio::test]
async fn a_slow_client_is_not_the_backends_fault() {
    let origin = Origin::start().await;
    origin.on("/large", Reply::ok(vec![b'x'; LARGE]));
    origin.on("/stored", Reply::fresh(60, vec![b'x'; LARGE]));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.get("/stored").await.expect(200);
    for (path, cache) in [("/large", "miss"), ("/stored", "hit")] {
        client.ask(&Request::get(path)).await;
        assert_eq!(client.head().await.status, 200);
        tokio::time::sleep(5 * LONG).await;
        assert!(client.rest().await.1, "it is whole");
        let request = eventually("a slow client is kept", || async {
            let routes = list(&page(&edge).await["routes"]);
            let mut requests = routes.iter().flat_map(|route| list(&route["slowest"]));
            requests.find(|request| request["cache"] == cache && phase(request, "client") > 100.0)
        })
        .await;
        phases_add_up(&request);
    }
}

#[tokio::test]
async fn an_upload_waits_for_its_client() {
    let origin = Origin::start().await;
    origin.on("/form", Reply::ok("thanks"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.send("POST /form HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 4\r\n\r\nab").await;
    origin.until("the head has come", |origin| origin.connections() > 0).await;
    tokio::time::sleep(2 * LONG).await;
    client.send("cd").await;
    client.answer().await.expect(200);
    is_mostly(&slow(&edge, "/form").await, "client");
}

#[tokio::test]
async fn clients_that_may_know_are_told_of_their_time() {
    let origin = Origin::start().await;
    let reply = || Reply::fresh(60, "alpha").header("Server-Timing", "db;dur=3");
    origin.on("/a", reply().after(LONG)).on("/b", reply());
    let ours = |answer: &support::Response| {
        let lines: Vec<_> = answer.headers.all("Server-Timing").iter().map(|line| (*line).to_owned()).collect();
        let [of_origin, ours @ ..] = &lines[..] else { panic!("the origin's goes on: {answer}") };
        assert_eq!(of_origin, "db;dur=3");
        ours.to_vec()
    };
    let edge = Edge::over(&[&origin], "").await;
    let [told] = &ours(&edge.get("/a").await.expect(200))[..] else { panic!("one line of ours") };
    let mut members = told.split(", ");
    assert!(
        members.next().is_some_and(|all| all.starts_with("hedgerow;dur=") && all.ends_with(";desc=miss")),
        "{told}"
    );
    let first_byte = told.split("hedgerow-first-byte;dur=").nth(1).and_then(|rest| rest.split(',').next());
    assert!(first_byte.and_then(|ms| ms.parse::<f64>().ok()).is_some_and(|ms| ms >= 59.0), "{told}");
    let [told] = &ours(&edge.get("/a").await.expect(200))[..] else { panic!("one line of ours") };
    assert!(told.contains(";desc=hit") && !told.contains("first-byte"), "{told}");

    let nobody = Edge::over(&[&origin], "[cache.reveal]\nclients = []\n").await;
    for _ in 0..2 {
        assert!(ours(&nobody.get("/b").await.expect(200)).is_empty(), "nobody else is told");
    }
}

#[tokio::test]
async fn quantiles_of_whole_requests_are_on_the_metrics_page() {
    let origin = Origin::start().await;
    origin.on("/quick", Reply::fresh(60, "quick")).on("/slow", Reply::ok("slow").after(LONG));
    let edge = Edge::over(&[&origin], "name = \"pages\"\n").await;
    let mut client = edge.client().await;
    for _ in 0..9 {
        client.get("/quick").await.expect(200);
    }
    client.get("/slow").await.expect(200);
    edge.metric_becomes("hedgerow_route_duration_requests", &[("route", "pages")], 10.0).await;
    let quantile = |q: &'static str| {
        let edge = &edge;
        async move { edge.metric("hedgerow_route_duration_seconds", &[("route", "pages"), ("quantile", q)]).await }
    };
    assert!(quantile("1").await >= 0.06 && quantile("0.5").await < 0.06);
    let first_bytes = "hedgerow_request_first_byte_seconds_count";
    edge.metric_becomes(first_bytes, &[("route", "pages")], 10.0).await;
    edge.metric_becomes("hedgerow_request_upstream_seconds_count", &[("route", "pages")], 2.0).await;
    let bytes = "hedgerow_response_body_bytes_total";
    edge.metric_becomes(bytes, &[("cache", "hit")], 8.0 * 5.0).await;
    edge.metric_becomes(bytes, &[("cache", "miss")], 5.0 + 4.0).await;
    edge.metric_becomes("hedgerow_upstream_connect_seconds_count", &[("pool", "web")], 1.0).await;
}

#[test]
fn the_document_explains_every_phase() {
    let document = include_str!("../docs/observing.md");
    for phase in Phase::WORDS {
        assert!(document.contains(&format!("| `{phase}` |")), "{phase}");
        assert!(document.contains(&format!("\"{phase}\":")), "{phase}");
    }
}
