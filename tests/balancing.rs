//! Which backend is asked, what happens when it fails, and how it comes back.

mod support;

use std::net::SocketAddr;

use support::edge::{Edge, first_and_second, over, pool};
use support::{Gate, Origin, Reply, Request, eventually};

/// No ejection, and as many retries as could be wanted: what is tested is the single request.
const SIMPLE: &str = "ejection = { consecutive = 0 }\n\
    tail = { retry = { attempts = 2, budget = \"100%\", min_per_second = 100, backoff = \"1ms\" } }";

#[tokio::test]
async fn a_refused_connection_is_tried_on_another_backend() {
    let (nobody, origin) = (Origin::refusing(), Origin::start().await);
    origin.on_call("/a", |seen| Reply::ok(&seen.method));
    let edge = Edge::start(&first_and_second(nobody.addr(), origin.addr(), SIMPLE, "")).await;
    for _ in 0..5 {
        edge.get("/a").await.expect(200);
    }
    assert_eq!(origin.count("/a"), 5);
    let refused = [("backend", nobody.addr().to_string()), ("result", "connect-failed".to_owned())];
    let refused: Vec<(&str, &str)> = refused.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert!(edge.metric("hedgerow_attempts_total", &refused).await >= 1.0, "the refusing one was never asked");
    assert!(edge.metric("hedgerow_retries_total", &[("reason", "connect-failed")]).await >= 1.0);
}

#[tokio::test]
async fn a_post_whose_connection_was_refused_was_never_sent_and_may_be_tried_elsewhere() {
    let (nobody, origin) = (Origin::refusing(), Origin::start().await);
    origin.on_call("/a", |seen| Reply::ok(&seen.body));
    let edge = Edge::start(&first_and_second(nobody.addr(), origin.addr(), SIMPLE, "")).await;
    let answer = edge.fetch(&Request::post("/a", "once")).await.expect(200);
    assert_eq!((answer.text().as_str(), origin.count("/a")), ("once", 1));
}

#[tokio::test]
async fn a_get_that_fails_before_its_head_is_tried_on_another_backend() {
    for failure in [Reply::hang_up(), Reply::reset(), Reply::raw("HTTP/1.1 200 O")] {
        let (bad, good) = (Origin::start().await, Origin::start().await);
        bad.on("/a", failure);
        good.on("/a", Reply::ok("good"));
        let edge = Edge::start(&first_and_second(bad.addr(), good.addr(), SIMPLE, "")).await;
        assert_eq!(edge.get("/a").await.expect(200).text(), "good");
        assert_eq!((bad.count("/a"), good.count("/a")), (1, 1));
    }
}

#[tokio::test]
async fn a_post_that_was_sent_is_not_sent_again() {
    for failure in [Reply::hang_up(), Reply::reset()] {
        let (bad, good) = (Origin::start().await, Origin::start().await);
        bad.on("/a", failure);
        good.on("/a", Reply::ok("good"));
        let edge = Edge::start(&first_and_second(bad.addr(), good.addr(), SIMPLE, "")).await;
        let answer = edge.fetch(&Request::post("/a", "once")).await.expect(502);
        let told = answer.proxy_error();
        assert!(["connection_terminated", "http_response_incomplete"].contains(&told.as_str()), "{answer}");
        assert_eq!((bad.count("/a"), good.count("/a")), (1, 0));
    }
}

#[tokio::test]
async fn idempotent_methods_with_a_body_may_be_sent_again_with_all_of_it() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    bad.on("/a", Reply::hang_up());
    good.on_call("/a", |seen| Reply::ok(format!("{} {}", seen.method, seen.text())));
    let edge = Edge::start(&first_and_second(bad.addr(), good.addr(), SIMPLE, "")).await;
    let answer = edge.fetch(&Request::new("PUT", "/a").body("all of it")).await.expect(200);
    assert_eq!(answer.text(), "PUT all of it");
}

#[tokio::test]
async fn nothing_is_tried_again_once_the_head_has_been_passed_on() {
    let (bad, good) = (Origin::start().await, Origin::start().await);
    bad.on("/a", Reply::new(200).chunk("half").cut());
    good.on("/a", Reply::ok("good"));
    let edge = Edge::start(&first_and_second(bad.addr(), good.addr(), SIMPLE, "")).await;
    let answer = edge.get("/a").await;
    assert_eq!((answer.status, answer.complete, good.count("/a")), (200, false, 0));
}

#[tokio::test]
async fn attempts_are_bounded() {
    let origins = [Origin::start().await, Origin::start().await, Origin::start().await, Origin::start().await];
    for origin in &origins {
        origin.on("/a", Reply::hang_up());
    }
    let addrs: Vec<SocketAddr> = origins.iter().map(Origin::addr).collect();
    let edge = Edge::start(&(pool("web", &addrs, SIMPLE) + "[[route]]\npool = \"web\"\n")).await;
    edge.get("/a").await.expect(502);
    let counts: Vec<usize> = origins.iter().map(|origin| origin.count("/a")).collect();
    assert_eq!(counts.iter().sum::<usize>(), 3, "{counts:?}");
    assert!(counts.iter().all(|n| *n <= 1), "each attempt asks another backend: {counts:?}");
}

#[tokio::test]
async fn retries_can_be_switched_off() {
    let (nobody, origin) = (Origin::refusing(), Origin::start().await);
    let keys = "ejection = { consecutive = 0 }\ntail = { retry = { attempts = 0 } }";
    let edge = Edge::start(&first_and_second(nobody.addr(), origin.addr(), keys, "")).await;
    let answer = edge.get("/a").await.expect(502);
    assert_eq!(answer.proxy_error(), "connection_refused");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    for origin in [&one, &two] {
        origin.on("/a", Reply::hang_up());
    }
    let keys = "ejection = { consecutive = 0 }\n\
                tail = { retry = { attempts = 1, budget = \"10%\", min_per_second = 0, backoff = \"1ms\" } }";
    let conf = pool("web", &[one.addr(), two.addr()], keys) + "[[route]]\npool = \"web\"\n";
    let edge = Edge::start(&conf).await;
    for _ in 0..200 {
        edge.get("/a").await.expect(502);
    }
    let attempts = one.count("/a") + two.count("/a");
    assert!((210..=225).contains(&attempts), "{attempts} attempts for 200 requests with a budget of 10 %");
}

#[tokio::test]
async fn when_nobody_answers_the_client_is_told_so() {
    let (one, two) = (Origin::refusing(), Origin::refusing());
    let edge = Edge::start(&over(&[one.addr(), two.addr()], "")).await;
    let answer = edge.get("/a").await;
    assert!(matches!(answer.status, 502 | 503), "{answer}");
    assert_eq!(answer.proxy_error(), "connection_refused");
    assert!(!answer.body.is_empty());
}

#[tokio::test]
async fn when_no_backend_is_left_the_answer_is_503() {
    let origin = Origin::start().await;
    origin.on("/healthz", Reply::new(500));
    let health = "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\", expect = \"200\", rise = 1, fall = 1 }";
    let edge = Edge::start(&(pool("web", &[origin.addr()], health) + "[[route]]\npool = \"web\"\n")).await;
    edge.is_taken_out(origin.addr()).await;
    let answer = edge.get("/a").await.expect(503);
    assert_eq!(answer.proxy_error(), "destination_unavailable");
    assert!(answer.text().to_lowercase().contains("backend"), "the body says so: {answer}");
    assert_eq!(origin.count("/a"), 0);
    let post = edge.fetch(&Request::post("/a", "x")).await.expect(503);
    assert_eq!(post.proxy_error(), "destination_unavailable");
}

#[tokio::test]
async fn failures_in_a_row_take_a_backend_out_and_time_brings_it_back() {
    let (flaky, steady) = (Origin::start().await, Origin::start().await);
    flaky.on("/a", Reply::hang_up());
    steady.on("/a", Reply::hang_up());
    let keys = "slow_start = \"0s\"\ntail = { retry = { attempts = 0 } }\n\
                ejection = { consecutive = 3, time = \"300ms\", max_time = \"300ms\" }";
    let conf = pool("web", &[flaky.addr(), steady.addr()], keys) + "[[route]]\npool = \"web\"\n";
    let edge = Edge::start(&conf).await;
    // Both fail, so the balancer has no reason to prefer either, until one is out.
    let out = eventually("one of them is out", || async {
        edge.get("/a").await.expect(502);
        match (edge.state(flaky.addr()).await.as_str(), edge.state(steady.addr()).await.as_str()) {
            ("ejected", _) => Some(&flaky),
            (_, "ejected") => Some(&steady),
            _ => None,
        }
    })
    .await;
    assert_eq!(out.count("/a"), 3);
    let ejections = edge.metric("hedgerow_ejections_total", &[("backend", &out.addr().to_string())]).await;
    assert!(ejections >= 1.0, "{ejections}");

    for origin in [&flaky, &steady] {
        origin.on("/a", Reply::ok("well"));
    }
    eventually("it is asked again", || async {
        edge.get("/a").await.expect(200);
        (out.count("/a") > 3).then_some(())
    })
    .await;
    edge.state_becomes(out.addr(), "healthy").await;
}

#[tokio::test]
async fn the_last_backend_is_not_taken_out_by_failures() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::hang_up());
    let keys = "ejection = { consecutive = 2, time = \"10s\" }\ntail = { retry = { attempts = 0 } }";
    let edge = Edge::start(&(pool("web", &[origin.addr()], keys) + "[[route]]\npool = \"web\"\n")).await;
    for _ in 0..5 {
        edge.get("/a").await.expect(502);
    }
    origin.on("/a", Reply::ok("well"));
    edge.get("/a").await.expect(200);
}

#[tokio::test]
async fn while_a_backend_fails_its_peer_answers_for_it() {
    let (flaky, steady) = (Origin::start().await, Origin::start().await);
    flaky.on("/a", Reply::hang_up());
    steady.on("/a", Reply::ok("steady"));
    let keys = "ejection = { consecutive = 3, time = \"300ms\", max_time = \"300ms\" }\nslow_start = \"0s\"\n\
                tail = { retry = { attempts = 2, budget = \"100%\", min_per_second = 100, backoff = \"1ms\" } }";
    let edge = Edge::start(&first_and_second(flaky.addr(), steady.addr(), keys, "")).await;
    for _ in 0..60 {
        assert_eq!(edge.get("/a").await.expect(200).text(), "steady");
    }
    assert!(flaky.count("/a") < 30, "the failing one was asked {} times of 60", flaky.count("/a"));
    flaky.on("/a", Reply::ok("recovered"));
    eventually("the flaky one is asked again", || async {
        (edge.get("/a").await.expect(200).text() == "recovered").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_success_in_between_keeps_a_backend_in() {
    let (flaky, other) = (Origin::start().await, Origin::start().await);
    for origin in [&flaky, &other] {
        // Two of five: less than the half that takes a backend out though no row is long enough.
        origin.on_nth("/a", |n, _| if n % 5 > 1 { Reply::ok("well") } else { Reply::hang_up() });
    }
    let keys = "ejection = { consecutive = 3, time = \"10s\" }\ntail = { retry = { attempts = 0 } }";
    let edge = Edge::start(&(pool("web", &[flaky.addr(), other.addr()], keys) + "[[route]]\npool = \"web\"\n")).await;
    for _ in 0..50 {
        edge.get("/a").await;
    }
    for origin in [&flaky, &other] {
        assert_eq!(edge.state(origin.addr()).await, "healthy");
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_not_its_backends_fault() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/held", Reply::ok("").held_by(&gate)).on("/a", Reply::ok("alpha"));
    let spare = Origin::refusing();
    let keys = "ejection = { consecutive = 2, time = \"10s\" }";
    let edge =
        Edge::start(&first_and_second(origin.addr(), spare.addr(), keys, "[route.cache]\nenabled = false\n")).await;
    for n in 1..=4 {
        let mut client = edge.client().await;
        client.ask(&Request::get("/held")).await;
        gate.arrived(n).await;
        client.abort();
        origin.until("the attempt is cancelled", |o| o.aborted() == n).await;
    }
    edge.get("/a").await.expect(200);
    assert_eq!(edge.state(origin.addr()).await, "healthy");
}

#[tokio::test]
async fn health_checks_take_a_backend_out_after_fall_and_in_after_rise() {
    let (sick, well) = (Origin::start().await, Origin::start().await);
    for (origin, name) in [(&sick, "sick"), (&well, "well")] {
        origin.on("/healthz", Reply::new(200)).on("/a", Reply::ok(name));
    }
    let keys = "slow_start = \"0s\"\nhealth = { path = \"/healthz\", host = \"check.test\", interval = \"100ms\", \
                timeout = \"100ms\", expect = \"200\", rise = 2, fall = 3 }";
    let edge = Edge::start(&first_and_second(sick.addr(), well.addr(), keys, "")).await;
    sick.until("checks", |o| o.count("/healthz") >= 2).await;
    assert_eq!(sick.seen("/healthz")[0].header("Host"), Some("check.test"));
    assert_eq!(edge.get("/a").await.expect(200).text(), "sick");

    // One failure is none.
    sick.on_each("/healthz", [Reply::new(503), Reply::new(200)]);
    let so_far = sick.count("/healthz");
    sick.until("more checks", |o| o.count("/healthz") >= so_far + 4).await;
    assert_eq!(edge.state(sick.addr()).await, "healthy");

    sick.on("/healthz", Reply::new(503));
    edge.is_taken_out(sick.addr()).await;
    assert_eq!(edge.get("/a").await.expect(200).text(), "well");
    assert_eq!(edge.state(well.addr()).await, "healthy");

    sick.on("/healthz", Reply::new(200));
    eventually("the sick one is asked again", || async {
        (edge.get("/a").await.expect(200).text() == "sick").then_some(())
    })
    .await;
    edge.state_becomes(sick.addr(), "healthy").await;
}

#[tokio::test]
async fn a_health_check_that_gets_no_answer_fails() {
    let (silent, well) = (Origin::start().await, Origin::start().await);
    silent.on("/healthz", Reply::never());
    well.on("/healthz", Reply::new(200)).on("/a", Reply::ok("well"));
    let nobody = Origin::refusing();
    let health = "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"50ms\", rise = 1, fall = 1 }";
    let conf = pool("web", &[silent.addr(), nobody.addr(), well.addr()], health) + "[[route]]\npool = \"web\"\n";
    let edge = Edge::start(&conf).await;
    edge.is_taken_out(silent.addr()).await;
    edge.is_taken_out(nobody.addr()).await;
    for _ in 0..5 {
        assert_eq!(edge.get("/a").await.expect(200).text(), "well");
    }
}

#[tokio::test]
async fn a_backend_that_is_busy_is_left_alone() {
    let (busy, idle, gate) = (Origin::start().await, Origin::start().await, Gate::new());
    for origin in [&busy, &idle] {
        origin.on("/a", Reply::ok("quick"));
        origin.on("/held", Reply::ok("held").held_by(&gate));
    }
    let edge = Edge::start(&over(&[busy.addr(), idle.addr()], "[route.cache]\nenabled = false\n")).await;
    let mut clients = Vec::new();
    for n in 1..=8 {
        let mut client = edge.client().await;
        client.ask(&Request::get("/held")).await;
        gate.arrived(n).await;
        clients.push(client);
    }
    let (one, two) = (busy.count("/held"), idle.count("/held"));
    // The older of two requests held weighs more, the more so the slower this machine is.
    assert!(one.abs_diff(two) <= 4, "eight held requests are spread {one} to {two}");
    gate.open();
    for client in &mut clients {
        client.answer().await.expect(200);
    }
}

#[tokio::test]
async fn a_slow_backend_gets_less_than_its_share() {
    let (slow, quick) = (Origin::start().await, Origin::start().await);
    slow.on_call("/a", |_| Reply::ok("slow").after(std::time::Duration::from_millis(60)));
    quick.on("/a", Reply::ok("quick"));
    let edge = Edge::start(&over(&[slow.addr(), quick.addr()], "[route.cache]\nenabled = false\n")).await;
    for _ in 0..60 {
        edge.get("/a").await.expect(200);
    }
    assert!(slow.count("/a") < 15, "the slow one got {} of 60", slow.count("/a"));
}

#[tokio::test]
async fn one_of_three_backends_killed_costs_no_get() {
    let origins = [Origin::start().await, Origin::start().await, Origin::start().await];
    for origin in &origins {
        origin.otherwise(|_| Reply::ok("alive"));
    }
    let addrs: Vec<SocketAddr> = origins.iter().map(Origin::addr).collect();
    let edge = Edge::start(&over(&addrs, "[route.cache]\nenabled = false\n")).await;
    let mut client = edge.client().await;
    for n in 0..300 {
        match n {
            60 => origins[0].kill().await,
            180 => origins[0].restart(),
            _ => {}
        }
        client.get(&format!("/{n}")).await.expect(200);
    }
}

#[tokio::test]
async fn a_backend_may_be_named_by_dns() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let conf = format!(
        "[[pool]]\nname = \"web\"\nbackends = [\"localhost:{}\"]\n[[route]]\npool = \"web\"\n",
        origin.addr().port()
    );
    let edge = Edge::start(&conf).await;
    eventually("the name is resolved", || async { (edge.get("/a").await.status == 200).then_some(()) }).await;
}

#[tokio::test]
async fn the_routes_timeout_covers_all_attempts_of_a_request_with_a_body() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    one.on("/a", Reply::never());
    two.on("/a", Reply::never());
    let keys = format!("{SIMPLE}\ntimeouts = {{ first_byte = \"250ms\" }}");
    let conf = first_and_second(one.addr(), two.addr(), &keys, "timeout = \"400ms\"\n");
    let edge = Edge::start(&conf).await;
    edge.fetch(&Request::new("PUT", "/a").body("x")).await.expect(504);
    // If each attempt had the whole of it, `first_byte` would end the last one.
    edge.metric_becomes("hedgerow_terminations_total", &[("reason", "deadline")], 1.0).await;
    assert_eq!((one.count("/a"), two.count("/a")), (1, 1));
}

#[tokio::test]
async fn a_stale_connection_to_the_only_backend_costs_no_get() {
    let origin = Origin::start().await;
    origin.on_nth("/a", |n, seen| if n == 2 && seen.connection == 1 { Reply::hang_up() } else { Reply::ok("alpha") });
    let edge = Edge::over(&[&origin], "[route.cache]\nenabled = false\n").await;
    edge.get("/a").await.expect(200);
    edge.get("/a").await.expect(200);
    assert_eq!((origin.count("/a"), origin.connections()), (3, 2));
}

#[tokio::test]
async fn penalties_do_not_feed_on_themselves() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::hang_up());
    let edge = Edge::over(&[&origin], "").await;
    for _ in 0..60 {
        edge.get("/a").await.expect(502);
    }
    let cost = edge.backend(origin.addr()).await["ewma_ms"].as_f64().expect("it was asked");
    assert!(cost < 10_000.0, "{cost} ms");
}

#[tokio::test]
async fn every_backend_is_asked_though_requests_come_one_at_a_time() {
    let origins = [Origin::start().await, Origin::start().await, Origin::start().await];
    for origin in &origins {
        origin.on("/a", Reply::ok("well"));
    }
    let edge = Edge::over(&[&origins[0], &origins[1], &origins[2]], "").await;
    for _ in 0..60 {
        edge.get("/a").await.expect(200);
    }
    assert!(origins.iter().all(|origin| origin.count("/a") > 0), "{:?}", origins.each_ref().map(|o| o.count("/a")));
}
