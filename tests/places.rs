//! A place at the backends: what takes one and for how long, through reloads, upgrades, retries and bounds of single
//! backends.

mod support;

use std::time::Duration;

use support::busy::{Busy, PLAIN};
use support::edge::{Edge, first_and_second, pool};
use support::{Gate, Origin, Reply, Request};

const ONE: &str = "tail = { limit = 1 }";
const UNCACHED: &str = "[route.cache]\nenabled = false\n";

#[tokio::test]
async fn no_backend_gets_more_than_it_is_said_to_take() {
    for limit in ["\"off\"", "100"] {
        let (small, large, gate) = (Origin::start().await, Origin::start().await, Gate::new());
        for origin in [&small, &large] {
            origin.on("/held", Reply::ok("held").held_by(&gate)).otherwise(|_| Reply::ok("else"));
        }
        let conf = format!(
            "[[pool]]\nname = \"web\"\ntail = {{ limit = {limit} }}\nmax_in_flight = 3\n\
             backends = [{{ address = \"{}\", max_in_flight = 1, weight = 100 }}, \"{}\"]\n{PLAIN}",
            small.addr(),
            large.addr()
        );
        let edge = Edge::start(&conf).await;
        let mut clients = Vec::new();
        for n in 1..=4 {
            let mut client = edge.client().await;
            client.ask(&Request::get("/held")).await;
            gate.arrived(n).await;
            clients.push(client);
        }
        assert_eq!((small.count("/held"), large.count("/held")), (1, 3), "{limit}");
        let mut fifth = edge.client().await;
        fifth.ask(&Request::get("/fifth")).await;
        edge.metric_becomes("hedgerow_pool_queued", &[("pool", "web")], 1.0).await;
        assert_eq!(edge.metric("hedgerow_pool_limit", &[("pool", "web")]).await, 4.0, "{limit}");
        assert_eq!(small.count("/fifth") + large.count("/fifth"), 0, "{limit}");
        gate.open();
        assert_eq!(fifth.answer().await.expect(200).text(), "else");
        for client in &mut clients {
            client.answer().await.expect(200);
        }
        edge.metric_becomes("hedgerow_pool_admitted", &[("pool", "web")], 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gets_a_place_finds_a_backend() {
    let origins = [Origin::start().await, Origin::start().await];
    for origin in &origins {
        origin.otherwise(|_| Reply::ok("x").after(Duration::from_millis(2)));
    }
    let addrs = [origins[0].addr(), origins[1].addr()];
    let edge = Edge::start(&(pool("web", &addrs, "max_in_flight = 1\n") + PLAIN)).await;
    let ask = |_| async {
        let (mut client, mut served) = (edge.client().await, 0);
        for _ in 0..50 {
            let answer = client.get("/a").await;
            match answer.status {
                200 => served += 1,
                // It may be too much; then it is not for a want of backends.
                _ => assert_eq!(answer.proxy_error(), "connection_limit_reached", "{answer}"),
            }
        }
        served
    };
    let served: Vec<usize> = futures::future::join_all((0..6).map(ask)).await;
    assert!(served.iter().sum::<usize>() >= 50, "{served:?}");
    edge.metric_becomes("hedgerow_pool_admitted", &[("pool", "web")], 0.0).await;
}

#[tokio::test]
async fn a_reload_that_raises_the_limit_lets_in_who_waits() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let mut held = busy.hold(1).await;
    let mut waiting = Vec::new();
    for n in 1..=4 {
        waiting.push(busy.queue(&Request::get("/held"), n).await);
    }
    assert_eq!(busy.gate.arrivals(), 1);
    busy.reload("tail = { limit = 3 }").await;
    assert_eq!(busy.now().await, (3, 2), "at once");
    busy.gate.arrived(3).await;
    assert_eq!(busy.gate.arrivals(), 3);
    busy.gate.open();
    for client in held.iter_mut().chain(&mut waiting) {
        client.answer().await.expect(200);
    }
    assert_eq!(busy.origin.count("/held"), 5);
    busy.ends().await;
}

#[tokio::test]
async fn a_reload_that_lowers_the_limit_admits_nobody_before_enough_have_gone() {
    let busy = Busy::patient("tail = { limit = 3 }", PLAIN).await;
    let (second, held) = (Gate::new(), busy.hold(2).await);
    busy.origin.on("/second", Reply::ok("second").held_by(&second));
    let mut last = busy.ask(&Request::get("/second")).await;
    second.arrived(1).await;
    busy.reload(ONE).await;
    let mut waiting = busy.queue(&Request::get("/next"), 1).await;
    busy.gate.open();
    busy.is(1, 1).await;
    assert_eq!(busy.origin.count("/next"), 0);
    second.open();
    for client in [&mut last, &mut waiting] {
        client.answer().await.expect(200);
    }
    drop(held);
    busy.ends().await;
}

#[tokio::test]
async fn a_reload_that_lifts_the_limit_ends_the_waiting() {
    let busy = Busy::patient(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    let mut waiting = [busy.queue(&Request::get("/one"), 1).await, busy.queue(&Request::get("/two"), 2).await];
    busy.reload("tail = { limit = \"off\" }").await;
    assert_eq!(busy.now().await.1, 0, "at once");
    for client in &mut waiting {
        client.answer().await.expect(200);
    }
    busy.is(1, 0).await;
    busy.ends().await;
}

#[tokio::test]
async fn a_tunnel_takes_no_place() {
    const ASK: &str = "GET /chat HTTP/1.1\r\nHost: edge.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let busy = Busy::patient(ONE, PLAIN).await;
    let switch = Gate::new();
    busy.origin.on("/chat", Reply::raw("").gate(&switch).body(SWITCH).body("hello").then_silence());
    let mut client = busy.edge.client().await;
    client.send(ASK).await;
    switch.arrived(1).await;
    assert_eq!(busy.now().await, (1, 0), "it is a request until then");
    let mut next = busy.queue(&Request::get("/next"), 1).await;
    switch.open();
    assert_eq!(client.head().await.status, 101);
    assert_eq!(next.answer().await.expect(200).text(), "/next");
    busy.is(0, 0).await;
    assert_eq!(busy.edge.backend(busy.origin.addr()).await["in_flight"], 1, "the tunnel is still there");
    client.abort();
    busy.ends().await;
}

#[tokio::test]
async fn an_upgrade_waits_and_is_shed_as_any_request() {
    let busy = Busy::start(ONE, PLAIN).await;
    let _held = busy.hold(1).await;
    let upgrade = Request::get("/chat").header("Connection", "Upgrade").header("Upgrade", "websocket");
    let answer = busy.edge.fetch(&upgrade).await.expect(503);
    assert_eq!(answer.proxy_status().param("details"), Some("queue-timeout"), "{answer}");
    assert_eq!(busy.origin.count("/chat"), 0);
    busy.ends().await;
}

#[tokio::test]
async fn while_requests_wait_only_connects_that_failed_are_tried_again() {
    let (first, second, gate) = (Origin::start().await, Origin::start().await, Gate::new());
    for origin in [&first, &second] {
        origin.otherwise(|seen| Reply::ok(&seen.target));
        origin.on("/slow", Reply::ok("slow").after(Duration::from_millis(100)));
        origin.on("/bad", Reply::new(502).body("bad").held_by(&gate));
    }
    let edge = Edge::start(&first_and_second(first.addr(), second.addr(), ONE, UNCACHED)).await;
    let (mut client, mut others) = (edge.client().await, [edge.client().await, edge.client().await]);
    for _ in 0..8 {
        client.get("/slow").await.expect(200);
    }
    client.ask(&Request::get("/bad")).await;
    gate.arrived(1).await;
    for (n, other) in (1_u8..).zip(&mut others) {
        other.ask(&Request::get("/next")).await;
        edge.metric_becomes("hedgerow_pool_queued", &[("pool", "web")], n.into()).await;
    }
    gate.open();
    assert_eq!(client.answer().await.expect(502).text(), "bad");
    assert_eq!(first.count("/bad") + second.count("/bad"), 1, "the error is passed on as it is");
    for other in &mut others {
        other.answer().await.expect(200);
    }
    // The same without anybody waiting.
    client.get("/bad").await.expect(502);
    assert_eq!(first.count("/bad") + second.count("/bad"), 3);
    edge.metric_becomes("hedgerow_pool_admitted", &[("pool", "web")], 0.0).await;
}

#[tokio::test]
async fn a_backend_that_dies_while_requests_wait_costs_only_those_it_had() {
    let (first, second, gate) = (Origin::start().await, Origin::start().await, Gate::new());
    for origin in [&first, &second] {
        origin.otherwise(|seen| Reply::ok(&seen.target));
        origin.on("/slow", Reply::ok("slow").after(Duration::from_millis(100)));
        origin.on("/held", Reply::ok("held").held_by(&gate));
    }
    let edge = Edge::start(&first_and_second(first.addr(), second.addr(), ONE, UNCACHED)).await;
    let (mut client, mut others) = (edge.client().await, [edge.client().await, edge.client().await]);
    for _ in 0..8 {
        client.get("/slow").await.expect(200);
    }
    // On a connection of its own: one that was kept may just have been idle for too long.
    client.ask(&Request::post("/held", "x")).await;
    gate.arrived(1).await;
    for (n, other) in (1_u8..).zip(&mut others) {
        other.ask(&Request::get("/next")).await;
        edge.metric_becomes("hedgerow_pool_queued", &[("pool", "web")], n.into()).await;
    }
    first.kill().await;
    client.answer().await.expect(502);
    for other in &mut others {
        other.answer().await.expect(200);
    }
    assert_eq!((first.count("/next"), second.count("/next")), (0, 2));
    let retried = edge.metric("hedgerow_retries_total", &[("reason", "connect-failed")]).await;
    assert!(retried >= 1.0, "{retried}");
    edge.metric_becomes("hedgerow_pool_admitted", &[("pool", "web")], 0.0).await;
}

#[tokio::test]
async fn while_requests_wait_none_is_copied() {
    let (origins, posts, late) = ([Origin::start().await, Origin::start().await], Gate::new(), Gate::new());
    for origin in &origins {
        origin.otherwise(|seen| Reply::ok(&seen.target).after(Duration::from_millis(25)));
        origin.on("/post", Reply::ok("post").held_by(&posts)).on("/late", Reply::ok("late").held_by(&late));
    }
    // A request is late after 60 ms, and one waits for a second or so.
    let keys = "tail = { limit = 2, hedge = { budget = \"50%\", burst = \"50%\", held_out = \"0%\", \
                min_delay = \"60ms\", max_delay = \"60ms\" } }";
    let edge = Edge::start(&(pool("web", &[origins[0].addr(), origins[1].addr()], keys) + PLAIN)).await;
    let warm_up = |_| async {
        let mut client = edge.client().await;
        for _ in 0..80 {
            client.get("/warm").await.expect(200);
        }
    };
    futures::future::join_all((0..2).map(warm_up)).await;
    support::eventually("a delay is learned", || async {
        (edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
    })
    .await;
    let mut clients = Vec::new();
    // What is not copied, one that will be late, and two that wait until the end.
    for (n, request) in (1_usize..).zip([
        Request::post("/post", "x"),
        Request::post("/post", "x"),
        Request::get("/late"),
        Request::get("/next"),
        Request::get("/next"),
    ]) {
        let mut client = edge.client().await;
        client.ask(&request).await;
        match n {
            1 | 2 => posts.arrived(n).await,
            _ => edge.metric_becomes("hedgerow_pool_queued", &[("pool", "web")], (n - 2) as f64).await,
        }
        clients.push(client);
    }
    let denied = || edge.metric("hedgerow_hedges_denied_total", &[("reason", "queueing")]);
    let (before, first) = (denied().await, clients.remove(0));
    first.abort();
    late.arrived(1).await;
    support::eventually("a copy is denied", || async { (denied().await > before).then_some(()) }).await;
    assert_eq!(late.arrivals(), 1);
    posts.open();
    late.open();
    for client in &mut clients {
        client.answer().await.expect(200);
    }
    edge.metric_becomes("hedgerow_pool_admitted", &[("pool", "web")], 0.0).await;
}

#[tokio::test]
async fn a_copy_takes_no_backend_from_who_has_a_place() {
    let origins = [Origin::start().await, Origin::start().await];
    let gate = Gate::new();
    for origin in &origins {
        origin.otherwise(|seen| Reply::ok(&seen.target));
        origin.on("/late", Reply::ok("late").held_by(&gate));
    }
    let keys = "max_in_flight = 1\n[pool.tail.hedge]\nbudget = \"50%\"\nburst = \"50%\"\nheld_out = \"0%\"\n\
                min_delay = \"40ms\"\nmax_delay = \"40ms\"\n";
    let edge = Edge::start(&(pool("web", &[origins[0].addr(), origins[1].addr()], keys) + PLAIN)).await;
    let mut client = edge.client().await;
    for _ in 0..120 {
        client.get("/warm").await.expect(200);
    }
    support::eventually("a delay is learned", || async {
        (edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
    })
    .await;
    for _ in 0..120 {
        client.get("/warm").await.expect(200);
    }
    client.ask(&Request::get("/late")).await;
    gate.arrived(2).await;
    let mut next = edge.client().await;
    next.ask(&Request::get("/next")).await;
    // It has the place that the copy did not need, and waits for the backend that the copy has.
    edge.metric_becomes("hedgerow_pool_admitted", &[("pool", "web")], 2.0).await;
    assert!(origins.iter().all(|origin| origin.count("/next") == 0));
    gate.open();
    client.answer().await.expect(200);
    next.answer().await.expect(200);
}
