//! A new configuration while the edge runs: taken whole or not at all, and nobody who is being served notices.

mod support;

use support::edge::{Edge, over, pool};
use support::{Gate, Origin, Reply, Request};

#[tokio::test]
async fn a_good_file_takes_effect() {
    let (old, new) = (Origin::start().await, Origin::start().await);
    old.on("/a", Reply::ok("old"));
    new.on("/a", Reply::ok("new"));
    let edge = Edge::from_file(&over(&[old.addr()], "")).await;
    assert_eq!(edge.get("/a").await.expect(200).text(), "old");

    edge.rewrite(&over(&[new.addr()], ""));
    assert_eq!(edge.get("/a").await.expect(200).text(), "old", "nothing changes before it is asked for");
    let answer = edge.reload().await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(edge.get("/a").await.expect(200).text(), "new");
    edge.metric_becomes("hedgerow_config_generation", &[], 2.0).await;
    assert_eq!(edge.metric("hedgerow_config_last_reload_successful", &[]).await, 1.0);
}

#[tokio::test]
async fn a_kept_connection_sees_the_new_configuration_with_its_next_request() {
    let (old, new) = (Origin::start().await, Origin::start().await);
    old.on("/a", Reply::ok("old"));
    new.on("/a", Reply::ok("new"));
    let edge = Edge::from_file(&over(&[old.addr()], "")).await;
    let mut client = edge.client().await;
    assert_eq!(client.get("/a").await.expect(200).text(), "old");
    edge.rewrite(&over(&[new.addr()], ""));
    assert_eq!(edge.reload().await.status, 200);
    assert_eq!(client.get("/a").await.expect(200).text(), "new");
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_why() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let good = over(&[origin.addr()], "");
    let edge = Edge::from_file(&good).await;

    edge.rewrite(&(good.clone() + "max_boddy = \"1MiB\"\n[[route]]\nmatch = { path = \"/x\" }\npool = \"nowhere\"\n"));
    let answer = edge.reload().await;
    assert!((400..500).contains(&answer.status), "{answer}");
    let why = answer.text();
    for part in ["edge.toml:", "max_boddy", "max_body", "nowhere"] {
        assert!(why.contains(part), "{part} is not in\n{why}");
    }
    assert_eq!(edge.get("/a").await.expect(200).text(), "alpha");
    edge.metric_becomes("hedgerow_config_last_reload_successful", &[], 0.0).await;
    assert_eq!(edge.metric("hedgerow_config_generation", &[]).await, 1.0);

    edge.rewrite("this is no TOML [");
    assert!((400..500).contains(&edge.reload().await.status));
    assert_eq!(edge.get("/a").await.expect(200).text(), "alpha");

    edge.rewrite(&good);
    assert_eq!(edge.reload().await.status, 200);
    edge.metric_becomes("hedgerow_config_last_reload_successful", &[], 1.0).await;
}

#[tokio::test]
async fn requests_in_flight_finish_on_what_they_started_with() {
    let (old, new, head, middle) = (Origin::start().await, Origin::start().await, Gate::new(), Gate::new());
    old.on("/waiting", Reply::ok("old").held_by(&head));
    old.on("/reading", Reply::new(200).chunk("old,").gate(&middle).chunk("still old"));
    new.otherwise(|_| Reply::ok("new"));
    let edge = Edge::from_file(&over(&[old.addr()], "max_body = \"1KiB\"\n")).await;

    let (mut waiting, mut reading) = (edge.client().await, edge.client().await);
    waiting.ask(&Request::get("/waiting")).await;
    reading.ask(&Request::get("/reading")).await;
    head.arrived(1).await;
    reading.head().await;
    reading.exactly("old,").await;

    edge.rewrite(&over(&[new.addr()], "timeout = \"50ms\"\n"));
    assert_eq!(edge.reload().await.status, 200);
    assert_eq!(edge.get("/waiting").await.expect(200).text(), "new");

    head.open();
    middle.open();
    assert_eq!(waiting.answer().await.expect(200).text(), "old");
    assert_eq!(reading.rest().await, (b"still old".to_vec(), true));
}

#[tokio::test]
async fn what_is_stored_outlives_a_reload() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let edge = Edge::from_file(&over(&[origin.addr()], "")).await;
    edge.get("/a").await.expect(200);
    edge.rewrite(&over(&[origin.addr()], "timeout = \"9s\"\n"));
    assert_eq!(edge.reload().await.status, 200);
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn what_is_known_of_a_backend_outlives_a_reload() {
    let (bad, good, gate) = (Origin::start().await, Origin::start().await, Gate::new());
    bad.on("/healthz", Reply::new(500)).on("/a", Reply::ok("bad"));
    good.on("/healthz", Reply::new(200)).on("/a", Reply::ok("good")).on("/held", Reply::ok("").held_by(&gate));
    let health = "health = { path = \"/healthz\", interval = \"30s\", timeout = \"1s\", rise = 1, fall = 1 }";
    let conf = |more: &str| pool("web", &[bad.addr(), good.addr()], health) + "[[route]]\npool = \"web\"\n" + more;
    let edge = Edge::from_file(&conf("")).await;
    edge.is_taken_out(bad.addr()).await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/held")).await;
    gate.arrived(1).await;

    edge.rewrite(&conf("timeout = \"9s\"\n"));
    assert_eq!(edge.reload().await.status, 200);
    assert_ne!(edge.state(bad.addr()).await, "healthy");
    let in_flight = edge.metric("hedgerow_backend_in_flight", &[("backend", &good.addr().to_string())]).await;
    assert!(in_flight >= 1.0, "{in_flight}");
    for _ in 0..5 {
        assert_eq!(edge.get("/a").await.expect(200).text(), "good");
    }
    gate.open();
    client.answer().await.expect(200);
    edge.metric_becomes("hedgerow_backend_in_flight", &[("backend", &good.addr().to_string())], 0.0).await;
}

#[tokio::test]
async fn backends_and_routes_come_and_go() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    one.otherwise(|_| Reply::ok("one"));
    two.otherwise(|_| Reply::ok("two"));
    let edge = Edge::from_file(&over(&[one.addr()], "")).await;
    edge.get("/a").await.expect(200);

    let second = pool("second", &[two.addr()], "") + "[[route]]\nmatch = { path = \"/b\" }\npool = \"second\"\n";
    edge.rewrite(&(over(&[one.addr()], "") + &second));
    assert_eq!(edge.reload().await.status, 200);
    assert_eq!(edge.get("/b").await.expect(200).text(), "two");
    assert_eq!(edge.state(two.addr()).await, "healthy");

    edge.rewrite(&over(&[one.addr()], ""));
    assert_eq!(edge.reload().await.status, 200);
    assert_eq!(edge.get("/b").await.expect(200).text(), "one");
    let pools = edge.admin_get("/pools").await.expect(200).text();
    assert!(!pools.contains(&two.addr().to_string()), "{pools}");
}

#[tokio::test]
async fn reload_is_a_post() {
    let origin = Origin::start().await;
    let edge = Edge::from_file(&over(&[origin.addr()], "")).await;
    assert_eq!(edge.admin_get("/reload").await.status, 405);
    assert_eq!(edge.metric("hedgerow_config_generation", &[]).await, 1.0);
}

#[tokio::test]
async fn an_old_pools_checks_end_with_the_reload() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/slow", Reply::ok("late").held_by(&gate)).on("/old", Reply::ok("")).on("/new", Reply::ok(""));
    let edge = Edge::from_file(&checked(&[&origin], Some("/old"))).await;
    // Keeps the old pool alive.
    let mut client = edge.client().await;
    client.ask(&Request::get("/slow")).await;
    gate.arrived(1).await;

    edge.rewrite(&checked(&[&origin], Some("/new")));
    edge.reload().await.expect(200);
    // A check that was under way may still arrive before the second of the new ones.
    origin.until("the new checks", |o| o.count("/new") >= 2).await;
    let before = origin.count("/old");
    origin.until("more of the new checks", |o| o.count("/new") >= 5).await;
    assert_eq!(origin.count("/old"), before, "the old path is still being checked");
    gate.open();
    client.answer().await.expect(200);
}

#[tokio::test]
async fn without_checks_a_backend_is_not_held_out_by_them() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    bad.on("/healthz", Reply::new(500));
    good.on("/healthz", Reply::ok(""));
    let edge = Edge::from_file(&checked(&[&bad, &good], Some("/healthz"))).await;
    edge.state_becomes(bad.addr(), "ejected").await;
    edge.rewrite(&checked(&[&bad, &good], None));
    edge.reload().await.expect(200);
    edge.state_becomes(bad.addr(), "healthy").await;
}

/// One pool over these origins, checked at this path as often as may be, and one route.
fn checked(origins: &[&Origin], path: Option<&str>) -> String {
    let health = |path| {
        format!("health = {{ path = \"{path}\", interval = \"100ms\", timeout = \"100ms\", rise = 1, fall = 1 }}")
    };
    let addrs: Vec<_> = origins.iter().map(|origin| origin.addr()).collect();
    pool("web", &addrs, &path.map(health).unwrap_or_default()) + "[[route]]\npool = \"web\"\n"
}
