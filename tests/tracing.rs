//! Traces as a collector gets them, and what backends are told of them.

#![allow(clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::busy::Busy;
use support::edge::{Edge, first_and_second, over, pool};
use support::{Collector, Folder, Gate, Origin, Reply, Request, Response, Seen, Span, eventually};
use tokio::time::Instant;

const UNCACHED: &str = "[route.cache]\nenabled = false\n";
/// Nothing is recorded but what a test asks for.
const NOTHING: &str = "sample = \"0%\"\nkeep = { slow = \"off\", failed = false, hedged = false, shed = false }\n";
/// Everything is.
const ALL: &str = "sample = \"100%\"\n";
/// The lane leaves it to others to tell a key.
const LANE: &str = "[cache]\nreveal = { clients = [] }\n";
/// The client of a test is a trusted proxy.
const TRUSTED: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// An edge over one origin that answers every path with its target, and a collector.
struct Site {
    origin: Origin,
    collector: Collector,
    edge: Edge,
}

impl Site {
    /// `keys` are those of `[tracing]`, `more` goes on where the route's keys end.
    async fn start(keys: &str, more: &str) -> Site {
        let collector = Collector::grpc().await;
        Site::telling(collector, keys, more).await
    }

    async fn telling(collector: Collector, keys: &str, more: &str) -> Site {
        let origin = Origin::start().await;
        origin.otherwise(|seen| Reply::ok(&seen.target));
        let conf = over(&[origin.addr()], more) + &tracing(&collector, keys);
        let edge = Edge::from_file(&conf).await;
        Site { origin, collector, edge }
    }
}

fn tracing(collector: &Collector, keys: &str) -> String {
    format!("\n[tracing]\n{}{keys}", collector.keys())
}

/// Trace, span and flags of a `traceparent` that was sent to a backend.
fn context(seen: &Seen) -> (String, String, String) {
    let fields = seen.headers.all("traceparent");
    let [field] = fields[..] else { panic!("{seen:#?}") };
    let parts: Vec<&str> = field.split('-').collect();
    let ["00", trace, span, flags] = parts[..] else { panic!("{field}") };
    assert_eq!((trace.len(), span.len()), (32, 16), "{field}");
    (trace.to_owned(), span.to_owned(), flags.to_owned())
}

fn said(answer: Response, text: &str) {
    assert_eq!(answer.expect(200).text(), text);
}

#[tokio::test]
async fn a_request_is_a_span_of_the_server_over_one_for_its_attempt() {
    for collector in [Collector::grpc().await, Collector::http().await] {
        let keys = format!(
            "{ALL}service_name = \"shop\"\nresource = {{ \"deployment.environment.name\" = \"test\" }}\n\
             headers = {{ x-token = \"Bearer a.b\" }}\n"
        );
        let site = Site::telling(collector, &keys, UNCACHED).await;
        let request = Request::get("/a/b?secret=1").host("shop.example:81").header("User-Agent", "test/1");
        let answer = site.edge.fetch(&request).await.expect(200);
        let spans = site.collector.of("/a/b", 2).await;
        let [server, attempt] = &spans[..] else { panic!("{spans:#?}") };
        let (trace, span, flags) = context(&site.origin.only("/a/b"));
        assert_eq!((&server.trace, &attempt.trace, &attempt.id), (&trace, &trace, &span));
        assert_eq!((flags.as_str(), server.parent.as_str(), &attempt.parent), ("01", "", &server.id));
        assert_eq!((server.kind, server.name.as_str(), server.error.clone()), ("server", "GET /**", None));
        assert_eq!((attempt.kind, attempt.name.as_str(), attempt.error.clone()), ("client", "GET", None));
        assert!(
            server.start <= attempt.start && attempt.start < attempt.end && attempt.end <= server.end,
            "{spans:#?}"
        );
        let id = answer.header("X-Request-Id").unwrap_or_default();
        server.says(&[
            ("http.request.method", json!("GET")),
            ("http.response.status_code", json!(200)),
            ("http.route", json!("/**")),
            ("url.scheme", json!("http")),
            ("url.path", json!("/a/b")),
            ("url.query", Value::Null),
            ("server.address", json!("shop.example")),
            ("server.port", json!(81)),
            ("client.address", json!("127.0.0.1")),
            ("network.peer.address", json!("127.0.0.1")),
            ("network.protocol.name", json!("http")),
            ("network.protocol.version", json!("1.1")),
            ("user_agent.original", json!("test/1")),
            ("error.type", Value::Null),
            ("hedgerow.route", json!("default")),
            ("hedgerow.pool", json!("web")),
            ("hedgerow.backend", json!(site.origin.addr().to_string())),
            ("hedgerow.cache", json!("bypass")),
            ("hedgerow.attempts", json!(1)),
            ("hedgerow.reason", json!("done")),
            ("hedgerow.sampled", json!("drawn")),
            ("hedgerow.request_id", json!(id)),
        ]);
        attempt.says(&[
            ("http.request.method", json!("GET")),
            ("http.response.status_code", json!(200)),
            ("server.address", json!("127.0.0.1")),
            ("server.port", json!(site.origin.addr().port())),
            ("url.full", json!(format!("http://{}/a/b", site.origin.addr()))),
            ("http.request.resend_count", Value::Null),
            ("hedgerow.attempt", json!("first")),
            ("hedgerow.attempt.used", json!(true)),
            ("hedgerow.attempt.cancelled", json!(false)),
        ]);
        let resource = &server.resource;
        assert_eq!(
            (&resource["service.name"], &resource["deployment.environment.name"]),
            (&json!("shop"), &json!("test"))
        );
        assert_eq!(site.collector.told()[0].headers.get("x-token"), Some("Bearer a.b"));
        site.edge.metric_becomes("hedgerow_traces_recorded_total", &[("reason", "drawn")], 1.0).await;
        site.edge.metric_becomes("hedgerow_trace_exports_total", &[("result", "ok")], 1.0).await;
    }
}

#[tokio::test]
async fn without_traces_the_fields_pass_as_they_came() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("a"));
    let edge = Edge::over(&[&origin], UNCACHED).await;
    let request =
        Request::get("/a").header("traceparent", "whatever").header("tracestate", "A=1").header("baggage", "k=v");
    said(edge.fetch(&request).await, "a");
    let seen = origin.only("/a");
    for (name, value) in [("traceparent", "whatever"), ("tracestate", "A=1"), ("baggage", "k=v")] {
        assert_eq!(seen.headers.all(name), [value]);
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_the_parent_and_decides() {
    let site = Site::start(NOTHING, &format!("{UNCACHED}{TRUSTED}")).await;
    let request = Request::get("/a")
        .header("traceparent", PARENT)
        .header("tracestate", "rojo=1")
        .header("tracestate", "congo=2")
        .header("baggage", "k=v");
    said(site.edge.fetch(&request).await, "/a");
    let spans = site.collector.of("/a", 2).await;
    assert_eq!((spans[0].trace.as_str(), spans[0].parent.as_str()), (TRACE, "00f067aa0ba902b7"));
    spans[0].says(&[("hedgerow.sampled", json!("parent"))]);
    let seen = site.origin.only("/a");
    assert_eq!(context(&seen), (TRACE.to_owned(), spans[1].id.clone(), "01".to_owned()));
    assert_eq!((seen.headers.all("tracestate"), seen.headers.all("baggage")), (vec!["rojo=1,congo=2"], vec!["k=v"]));
}

#[tokio::test]
async fn a_trusted_proxy_that_does_not_record_is_followed_too() {
    let site = Site::start(ALL, &format!("{UNCACHED}{TRUSTED}")).await;
    let request = Request::get("/not").header("traceparent", PARENT.replace("-01", "-00"));
    said(site.edge.fetch(&request).await, "/not");
    let (trace, _, flags) = context(&site.origin.only("/not"));
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    said(site.edge.get("/own").await, "/own");
    site.collector.of("/own", 2).await;
    assert_eq!(site.collector.count("/not"), 0);
}

#[tokio::test]
async fn a_stranger_chooses_neither_the_trace_nor_what_is_recorded() {
    let site = Site::start(NOTHING, UNCACHED).await;
    let request =
        Request::get("/a").header("traceparent", PARENT).header("tracestate", "rojo=1").header("baggage", "user=root");
    said(site.edge.fetch(&request).await, "/a");
    let seen = site.origin.only("/a");
    let (trace, _, flags) = context(&seen);
    assert!(trace != TRACE && flags == "00", "{seen:#?}");
    assert_eq!((seen.header("tracestate"), seen.header("baggage")), (None, None));
    site.edge.metric_becomes("hedgerow_traces_recorded_total", &[], 0.0).await;
}

#[tokio::test]
async fn where_all_are_trusted_a_stranger_chooses_the_trace_only() {
    let site = Site::start(&format!("{NOTHING}trust = \"all\"\n"), UNCACHED).await;
    let request = Request::get("/a").header("traceparent", PARENT).header("baggage", "k=v");
    said(site.edge.fetch(&request).await, "/a");
    let seen = site.origin.only("/a");
    let (trace, _, flags) = context(&seen);
    assert_eq!((trace.as_str(), flags.as_str(), seen.header("baggage")), (TRACE, "00", Some("k=v")));
    site.edge.metric_becomes("hedgerow_traces_recorded_total", &[], 0.0).await;
}

#[tokio::test]
async fn a_context_that_is_wrong_is_begun_anew() {
    let site = Site::start(ALL, &format!("{UNCACHED}{TRUSTED}")).await;
    for (path, traceparent) in [
        ("/upper", PARENT.to_ascii_uppercase()),
        ("/zero", "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned()),
        ("/long", format!("{PARENT}-x")),
        ("/twice", format!("{PARENT}\r\ntraceparent: {PARENT}")),
    ] {
        let request = Request::get(path).header("traceparent", traceparent).header("tracestate", "rojo=1");
        said(site.edge.fetch(&request).await, path);
        let seen = site.origin.only(path);
        assert_ne!(context(&seen).0, TRACE, "{path}");
        assert_eq!(seen.header("tracestate"), None, "it belongs to a trace that is not gone on with");
        assert_eq!(site.collector.of(path, 2).await[0].parent, "");
    }
}

#[tokio::test]
async fn a_retry_is_a_sibling_of_what_failed() {
    let (first, second, collector) = (Origin::start().await, Origin::start().await, Collector::grpc().await);
    first.on("/a", Reply::hang_up());
    second.on("/a", Reply::ok("second"));
    let conf = first_and_second(first.addr(), second.addr(), "", UNCACHED) + &tracing(&collector, ALL);
    let edge = Edge::start(&conf).await;
    said(edge.get("/a").await, "second");
    let spans = collector.of("/a", 3).await;
    let [server, failed, retry] = &spans[..] else { panic!("{spans:#?}") };
    assert!(failed.parent == server.id && retry.parent == server.id && failed.id != retry.id);
    assert_eq!(context(&first.only("/a")).1, failed.id);
    assert_eq!(context(&second.only("/a")).1, retry.id);
    failed.says(&[
        ("hedgerow.attempt", json!("first")),
        ("hedgerow.attempt.used", json!(false)),
        ("hedgerow.attempt.cancelled", json!(false)),
        ("error.type", json!("upstream-closed")),
        ("http.response.status_code", Value::Null),
    ]);
    assert_eq!(failed.error.as_deref(), Some("upstream-closed"));
    retry.says(&[
        ("hedgerow.attempt", json!("retry")),
        ("hedgerow.attempt.used", json!(true)),
        ("http.request.resend_count", json!(1)),
    ]);
    server.says(&[("hedgerow.attempts", json!(2)), ("hedgerow.backend", json!(second.addr().to_string()))]);
    assert_eq!((server.error.clone(), retry.error.clone()), (None, None));
}

/// Nobody is held out, the bucket is deep, and what is late is late soon.
const EAGER: &str = "tail = { hedge = { budget = \"50%\", burst = \"50%\", held_out = \"0%\", min_delay = \"40ms\", max_delay = \"40ms\" } }";

/// Whichever of two origins is asked first for `/late` is held, the other answers; once a delay is known.
async fn hedging(keys: &str) -> ([Origin; 2], Collector, Edge, Gate) {
    let (origins, collector, gate) =
        ([Origin::start().await, Origin::start().await], Collector::grpc().await, Gate::new());
    let calls = Arc::new(AtomicUsize::new(0));
    for origin in &origins {
        let (calls, gate) = (calls.clone(), gate.clone());
        origin.on("/warm", Reply::ok("warm")).on_call("/late", move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::ok("late").held_by(&gate),
            _ => Reply::ok("quick"),
        });
    }
    let routes = format!("[[route]]\npool = \"web\"\n{UNCACHED}");
    let conf = pool("web", &[origins[0].addr(), origins[1].addr()], EAGER) + &routes + &tracing(&collector, keys);
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
    (origins, collector, edge, gate)
}

#[tokio::test]
async fn a_copy_is_a_sibling_of_the_late_request_which_is_marked_as_given_up() {
    let (origins, collector, edge, gate) = hedging(&NOTHING.replace("hedged = false", "hedged = true")).await;
    said(edge.get("/late").await, "quick");
    let spans = collector.of("/late", 3).await;
    let [server, late, copy] = &spans[..] else { panic!("{spans:#?}") };
    assert!(late.parent == server.id && copy.parent == server.id && late.id != copy.id);
    server.says(&[("hedgerow.hedge", json!("won")), ("hedgerow.sampled", json!("hedged"))]);
    late.says(&[
        ("hedgerow.attempt", json!("first")),
        ("hedgerow.attempt.used", json!(false)),
        ("hedgerow.attempt.cancelled", json!(true)),
    ]);
    copy.says(&[
        ("hedgerow.attempt", json!("hedge")),
        ("hedgerow.attempt.used", json!(true)),
        ("hedgerow.attempt.cancelled", json!(false)),
        ("http.request.resend_count", json!(1)),
    ]);
    assert!(copy.start > late.start && late.error.is_none(), "{spans:#?}");
    let told: Vec<_> = origins.iter().flat_map(|origin| origin.seen("/late")).map(|seen| context(&seen)).collect();
    for span in [late, copy] {
        // Kept at its end: nobody could know it at its start.
        assert!(told.contains(&(server.trace.clone(), span.id.clone(), "00".to_owned())), "{told:?}");
    }
    // On a busy machine some of those before were late, too.
    for span in collector.spans().iter().filter(|span| span.kind == "server") {
        span.says(&[("hedgerow.sampled", json!("hedged"))]);
    }
    gate.open();
}

#[tokio::test]
async fn what_is_slow_or_failed_is_kept_and_nothing_else() {
    let keys = "sample = \"0%\"\nkeep = { slow = \"200ms\" }\n";
    let site = Site::start(keys, UNCACHED).await;
    let gate = Gate::new();
    site.origin
        .on("/slow", Reply::ok("slow").held_by(&gate))
        .on("/failed", Reply::new(500))
        .on("/cut", Reply::hang_up());
    said(site.edge.get("/quick").await, "/quick");
    let mut client = site.edge.client().await;
    let asked = Instant::now();
    client.ask(&Request::get("/slow")).await;
    gate.arrived(1).await;
    assert!(client.quiet_for(Duration::from_millis(201)).await);
    gate.open();
    client.answer().await.expect(200);
    assert!(asked.elapsed() > Duration::from_millis(200));
    site.edge.get("/failed").await.expect(500);
    site.edge.get("/cut").await.expect(502);
    site.edge.get("/quick").await.expect(200);
    let slow = site.collector.of("/slow", 2).await;
    slow[0].says(&[("hedgerow.sampled", json!("slow")), ("error.type", Value::Null)]);
    assert!(slow[0].end - slow[0].start > 200_000_000);
    let failed = site.collector.of("/failed", 2).await;
    failed[0].says(&[("hedgerow.sampled", json!("failed")), ("error.type", json!("500"))]);
    failed[1].says(&[("http.response.status_code", json!(500)), ("error.type", json!("500"))]);
    assert_eq!(failed[0].error.as_deref(), Some("500"));
    let page = site.edge.admin_get("/slow").await.expect(200).json();
    let slowest = &page["routes"][0]["slowest"][0];
    assert_eq!((&slowest["path"], &slowest["trace_id"]), (&json!("/slow"), &json!(slow[0].trace)), "{page:#}");
    let cut = site.collector.of("/cut", 2).await;
    cut[0].says(&[
        ("hedgerow.reason", json!("upstream-closed")),
        ("error.type", json!("upstream-closed")),
        ("http.response.status_code", json!(502)),
    ]);
    for span in site.collector.spans().iter().filter(|span| span.get("url.path") == "/quick") {
        // Nobody made it so but a busy machine.
        assert!(span.get("hedgerow.sampled") == "slow" && span.end - span.start > 200_000_000, "{span:#?}");
    }
}

#[tokio::test]
async fn what_a_client_does_wrong_is_not_kept() {
    let site =
        Site::start("sample = \"0%\"\nkeep = { slow = \"1m\" }\n", &format!("max_body = \"10B\"\n{UNCACHED}")).await;
    site.edge.fetch(&Request::post("/large", "x".repeat(11))).await.expect(413);
    let gate = Gate::new();
    site.origin.on("/held", Reply::ok("held").held_by(&gate));
    let mut client = site.edge.client().await;
    client.ask(&Request::get("/held")).await;
    gate.arrived(1).await;
    drop(client);
    site.edge.metric_becomes("hedgerow_terminations_total", &[("reason", "client-closed")], 1.0).await;
    gate.open();
    site.edge.metric_becomes("hedgerow_traces_recorded_total", &[], 0.0).await;
}

#[tokio::test]
async fn what_is_shed_is_kept() {
    let collector = Collector::http().await;
    let keys = tracing(&collector, &NOTHING.replace("shed = false", "shed = true"));
    let busy = Busy::start("tail = { limit = 1 }", &format!("{}{keys}", support::busy::PLAIN)).await;
    let _held = busy.hold(1).await;
    busy.edge.get("/second").await.expect(503);
    let span = collector.only("/second").await;
    span.says(&[
        ("hedgerow.sampled", json!("shed")),
        ("hedgerow.shed", json!("queue-timeout")),
        ("hedgerow.attempts", json!(0)),
        ("http.response.status_code", json!(503)),
        ("error.type", json!("shed")),
    ]);
    assert_eq!(busy.line("/second").await["trace_id"], span.trace.as_str());
    busy.ends().await;
    assert_eq!(collector.count("/held"), 0);
}

#[tokio::test]
async fn a_fault_does_not_have_everything_kept() {
    let site = Site::start("sample = \"0%\"\nkeep = { rate = \"3/h\" }\n", UNCACHED).await;
    site.origin.otherwise(|_| Reply::new(500));
    // A burst is one second's worth, but at least one.
    for _ in 0..5 {
        site.edge.get("/failed").await.expect(500);
    }
    site.edge.metric_becomes("hedgerow_traces_dropped_total", &[("reason", "rate")], 4.0).await;
    site.edge.metric_becomes("hedgerow_traces_recorded_total", &[("reason", "failed")], 1.0).await;
}

#[tokio::test]
async fn a_hit_in_the_lane_is_a_span_without_attempts() {
    let site = Site::start(&format!("{ALL}query = true\n"), &format!("{TRUSTED}{LANE}")).await;
    site.origin.otherwise(|_| Reply::fresh(60, "a"));
    said(site.edge.get("/a?b=c").await, "a");
    let lane = || site.edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]);
    let served = lane().await;
    let request = Request::get("/a?b=c")
        .host("shop.example:81")
        .header("User-Agent", "test/1")
        .header("traceparent", PARENT)
        .header("X-Forwarded-Proto", "http");
    said(site.edge.fetch(&request.clone().host("edge.test")).await, "a");
    assert_eq!(lane().await, served + 1.0);
    eventually("the hit's span", || async { (site.collector.count("/a") == 2).then_some(()) }).await;
    let spans = site.collector.of("/a", 3).await;
    let hit = spans.iter().find(|span| span.get("hedgerow.cache") == "hit").expect("the hit's span");
    assert_eq!((hit.trace.as_str(), hit.parent.as_str(), hit.kind), (TRACE, "00f067aa0ba902b7", "server"));
    hit.says(&[
        ("http.request.method", json!("GET")),
        ("http.response.status_code", json!(200)),
        ("url.path", json!("/a")),
        ("url.query", json!("b=c")),
        ("server.address", json!("edge.test")),
        ("client.address", json!("127.0.0.1")),
        ("user_agent.original", json!("test/1")),
        ("network.protocol.version", json!("1.1")),
        ("http.route", json!("/**")),
        ("hedgerow.attempts", json!(0)),
        ("hedgerow.backend", Value::Null),
        ("hedgerow.response.body.sent", json!(1)),
        ("hedgerow.sampled", json!("parent")),
    ]);
    let miss = spans.iter().find(|span| span.get("hedgerow.cache") == "miss").expect("the miss's span");
    miss.says(&[("url.query", json!("b=c"))]);
}

#[tokio::test]
async fn a_hit_in_the_lane_is_not_recorded_unless_it_is_drawn() {
    let site = Site::start("sample = \"0%\"\n", LANE).await;
    site.origin.otherwise(|_| Reply::fresh(60, "a"));
    for _ in 0..10 {
        said(site.edge.fetch(&Request::get("/a").header("traceparent", PARENT)).await, "a");
    }
    assert_eq!(site.edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]).await, 9.0);
    site.edge.metric_becomes("hedgerow_traces_recorded_total", &[], 0.0).await;
}

#[tokio::test]
async fn a_refresh_is_a_sibling_of_what_set_it_off() {
    let route = "[route.cache]\nttl = { default = \"1s\" }\nstale = { while_revalidate = \"1h\" }\n";
    let site = Site::start(NOTHING, &format!("{route}{TRUSTED}")).await;
    said(site.edge.get("/a").await, "/a");
    let request = Request::get("/a").header("traceparent", PARENT);
    eventually("a refresh", || async {
        site.edge.fetch(&request).await.expect(200);
        (site.origin.count("/a") == 2).then_some(())
    })
    .await;
    let (refresh, attempt): (Span, Span) = eventually("the refresh's spans", || async {
        let spans = site.collector.spans();
        let refresh = spans.iter().find(|span| span.kind == "internal")?;
        let attempt = spans.iter().find(|span| span.parent == refresh.id)?;
        Some((refresh.clone(), attempt.clone()))
    })
    .await;
    assert_eq!((refresh.trace.as_str(), refresh.parent.as_str()), (TRACE, "00f067aa0ba902b7"));
    refresh.says(&[
        ("hedgerow.refresh", json!(true)),
        ("hedgerow.attempts", json!(1)),
        ("client.address", Value::Null),
    ]);
    assert_eq!(context(&site.origin.seen("/a")[1]), (TRACE.to_owned(), attempt.id.clone(), "01".to_owned()));
    let cause: Span = eventually("the span of who set it off", || async {
        site.collector.spans().into_iter().find(|span| span.get("hedgerow.cache") == "updating")
    })
    .await;
    assert_eq!((cause.kind, cause.trace.as_str(), cause.parent.as_str()), ("server", TRACE, "00f067aa0ba902b7"));
}

#[tokio::test]
async fn a_collector_that_is_not_there_costs_nothing_but_a_count() {
    let (refusing, deaf) = (Origin::refusing(), Origin::deaf());
    for addr in [refusing.addr(), deaf.addr()] {
        let origin = Origin::start().await;
        origin.otherwise(|seen| Reply::ok(&seen.target));
        let keys = format!("[tracing]\nendpoint = \"http://{addr}\"\n{ALL}queue = 5\ntimeout = \"300ms\"\n");
        let edge = Edge::start(&(over(&[origin.addr()], UNCACHED) + &keys)).await;
        let mut client = edge.client().await;
        let asked = Instant::now();
        for _ in 0..400 {
            said(client.get("/a").await, "/a");
        }
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        let dropped = |reason: &'static str| {
            let edge = &edge;
            async move { edge.metric("hedgerow_traces_dropped_total", &[("reason", reason)]).await }
        };
        eventually("batches are given up", || async { (dropped("export").await > 0.0).then_some(()) }).await;
        eventually("all are accounted for", || async {
            (dropped("export").await + dropped("queue").await == 400.0).then_some(())
        })
        .await;
        assert!(edge.metric("hedgerow_trace_exports_total", &[("result", "failed")]).await >= 1.0);
    }
}

#[tokio::test]
async fn a_collector_that_hangs_fills_no_more_than_the_queue() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(&seen.target));
    let (collector, gate) = (Origin::start().await, Gate::new());
    collector.on("/v1/traces", Reply::ok("").held_by(&gate));
    let keys = format!(
        "[tracing]\nendpoint = \"http://{}\"\nprotocol = \"http\"\n{ALL}queue = 5\ntimeout = \"1h\"\n",
        collector.addr()
    );
    let edge = Edge::start(&(over(&[origin.addr()], UNCACHED) + &keys)).await;
    said(edge.get("/a").await, "/a");
    gate.arrived(1).await;
    for _ in 0..20 {
        said(edge.get("/a").await, "/a");
    }
    edge.metric_becomes("hedgerow_traces_dropped_total", &[("reason", "queue")], 15.0).await;
    gate.open();
    // What waited is sent.
    edge.metric_becomes("hedgerow_trace_exports_total", &[("result", "ok")], 2.0).await;
    assert_eq!(edge.metric("hedgerow_traces_dropped_total", &[]).await, 15.0);
}

#[tokio::test]
async fn the_end_sends_what_is_queued() {
    let site = Site::start(ALL, UNCACHED).await;
    for _ in 0..7 {
        said(site.edge.get("/a").await, "/a");
    }
    site.edge.drain(Duration::from_secs(5)).await.expect("it ends");
    assert_eq!(site.collector.count("/a"), 7);
}

#[tokio::test]
async fn a_reload_changes_what_is_recorded_and_where_it_goes() {
    let site = Site::start(ALL, UNCACHED).await;
    said(site.edge.get("/before").await, "/before");
    let other = Collector::http().await;
    let conf = |keys: &str| over(&[site.origin.addr()], UNCACHED) + keys;
    site.edge.rewrite(&conf(&tracing(&other, ALL)));
    site.edge.reload().await.expect(200);
    said(site.edge.get("/after").await, "/after");
    assert_eq!((site.collector.of("/before", 2).await.len(), other.of("/after", 2).await.len()), (2, 2));
    site.edge.rewrite(&conf(""));
    site.edge.reload().await.expect(200);
    said(site.edge.get("/off").await, "/off");
    assert_eq!(site.origin.only("/off").header("traceparent"), None);
    assert_eq!((site.collector.count("/after"), other.count("/off")), (0, 0));
}

#[tokio::test]
async fn the_log_names_the_trace_that_backends_are_told_of() {
    let (origin, folder, collector) = (Origin::start().await, Folder::new(), Collector::grpc().await);
    origin.on("/a", Reply::fresh(60, "a"));
    let log = folder.path().join("access.log");
    let log_keys = format!("[access_log]\nformat = \"json\"\noutput = \"{}\"\n", log.display());
    let conf = over(&[origin.addr()], TRUSTED) + LANE + &log_keys + &tracing(&collector, NOTHING);
    let edge = Edge::start(&conf).await;
    said(edge.get("/a").await, "a");
    said(edge.get("/a").await, "a");
    said(edge.fetch(&Request::get("/a").header("traceparent", PARENT.replace("-01", "-00"))).await, "a");
    let ids: Vec<Value> = eventually("three lines", || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() == 3).then(|| lines.into_iter().map(|line| line["trace_id"].clone()).collect())
    })
    .await;
    assert_eq!(ids, [json!(context(&origin.only("/a")).0), Value::Null, json!(TRACE)]);
}
