//! The operator's listener: what runs, how it is, and how much of it.

mod support;

use support::edge::{Edge, over, pool};
use support::{Client, Gate, Origin, Reply, Request};

#[tokio::test]
async fn it_is_alive_and_ready() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.admin_get("/healthz").await.expect(200);
    edge.admin_get("/readyz").await.expect(200);
    edge.admin_get("/nothing").await.expect(404);
    assert_eq!(origin.requests(), 0, "being alive is no question to the backends");
}

#[tokio::test]
async fn the_clients_listener_knows_nothing_of_it() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    assert_ne!(edge.addr(), edge.admin());
    for path in ["/metrics", "/config", "/pools", "/slow", "/readyz"] {
        assert_eq!(edge.get(path).await.expect(404).text(), format!("no script for {path}"), "the backend's answer");
    }
    assert_eq!(edge.fetch(&Request::post("/reload", "")).await.status, 404);
}

#[tokio::test]
async fn what_runs_can_be_read() {
    let origin = Origin::start().await;
    let conf = over(&[origin.addr()], "timeout = \"7s\"\n[route.cache]\nttl = { default = \"0s\", 404 = \"41s\" }\n");
    let edge = Edge::start(&conf).await;
    let text = edge.admin_get("/config").await.expect(200).text();
    for part in ["web", &origin.addr().to_string(), "7s", "41s"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[tokio::test]
async fn each_backend_is_told_with_its_signals() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::ok("alpha")).on("/held", Reply::ok("").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    for _ in 0..5 {
        edge.get("/a").await.expect(200);
    }
    let mut client = edge.client().await;
    client.ask(&Request::get("/held")).await;
    gate.arrived(1).await;

    let backend = edge.backend(origin.addr()).await;
    assert_eq!(backend["state"], "healthy", "{backend}");
    for part in ["ewma", "p50", "p95", "p99"] {
        assert!(backend.to_string().contains(part), "{part} is not in {backend}");
    }
    assert_eq!(backend["in_flight"], 1, "{backend}");
    gate.open();
    client.answer().await.expect(200);
}

#[tokio::test]
async fn requests_are_counted_by_route_method_status_and_cache() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let edge = Edge::over(&[&origin], "name = \"everything\"\n").await;
    edge.get("/a").await.expect(200);
    edge.get("/a").await.expect(200);
    edge.get("/a").await.expect(200);
    edge.get("/missing").await.expect(404);
    edge.fetch(&Request::post("/a", "")).await;
    let total = "hedgerow_requests_total";
    edge.metric_becomes(total, &[], 5.0).await;
    edge.metric_becomes(total, &[("route", "everything")], 5.0).await;
    edge.metric_becomes(total, &[("status", "4xx")], 1.0).await;
    edge.metric_becomes(total, &[("method", "POST")], 1.0).await;
    for (result, n) in [("hit", 2.0), ("miss", 2.0), ("bypass", 1.0)] {
        edge.metric_becomes(total, &[("cache", result)], n).await;
    }
    edge.metric_becomes("hedgerow_request_duration_seconds_count", &[("route", "everything")], 5.0).await;
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "done")], 5.0).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
    let backend = origin.addr().to_string();
    edge.metric_becomes("hedgerow_attempts_total", &[("backend", &backend), ("result", "ok")], 3.0).await;
    edge.metric_becomes("hedgerow_backend_state", &[("backend", &backend), ("state", "healthy")], 1.0).await;
}

#[tokio::test]
async fn the_page_of_metrics_is_one_that_can_be_scraped() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await;
    let mut client = Client::connect(edge.admin()).await;
    for _ in 0..2 {
        let page = client.get("/metrics").await.expect(200);
        let kind = page.header("Content-Type").expect("a content type");
        assert!(kind.starts_with("application/openmetrics-text") || kind.starts_with("text/plain"), "{kind}");
        let text = page.text();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "not a sample: {line}");
        }
        assert!(text.contains("# HELP hedgerow_requests") && text.contains("# TYPE hedgerow_requests"), "{text}");
    }
}

#[tokio::test]
async fn every_backend_of_every_pool_is_listed() {
    let (one, two, three) = (Origin::start().await, Origin::refusing(), Origin::start().await);
    let conf = [
        pool("web", &[one.addr(), two.addr()], ""),
        pool("api", &[three.addr()], ""),
        "[[route]]\npool = \"web\"\n[[route]]\nmatch = { path = \"/api/**\" }\npool = \"api\"\n".to_owned(),
    ];
    let edge = Edge::start(&conf.concat()).await;
    for addr in [one.addr(), two.addr(), three.addr()] {
        assert_eq!(edge.state(addr).await, "healthy", "{addr} is healthy until shown otherwise");
    }
    let pools = edge.admin_get("/pools").await.expect(200);
    assert!(pools.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json")), "{pools}");
    assert!(pools.text().contains("api") && pools.text().contains("web"), "{pools}");
}

#[tokio::test]
async fn hits_are_no_work_for_a_backend() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let edge = Edge::over(&[&origin], "").await;
    for _ in 0..10 {
        edge.get("/a").await.expect(200);
    }
    edge.metric_becomes("hedgerow_requests_total", &[], 10.0).await;
    assert_eq!(edge.metric("hedgerow_attempts_total", &[]).await, 1.0);
    assert!(edge.metric("hedgerow_cache_objects", &[]).await <= 1.0);
}
