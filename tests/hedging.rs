//! Hedges as clients and backends see them: who is copied when, whose answer is used, and what becomes of the other.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::edge::{Edge, pool};
use support::{Gate, Origin, Reply, Request, Response, eventually};

const ATTEMPT: &str = "X-Hedgerow-Attempt";
const UNCACHED: &str = "[route.cache]\nenabled = false\n";

/// Nobody is held out, the bucket is deep, and what is late is late soon, but not so soon that it is the machine's doing.
const EAGER: &str = "tail = { hedge = { budget = \"50%\", burst = \"50%\", held_out = \"0%\", min_delay = \"40ms\", max_delay = \"40ms\" } }";

/// Two origins in one pool, the edge before them, and how often each path was asked for in all.
struct Site {
    origins: [Origin; 2],
    edge: Edge,
}

impl Site {
    async fn start(keys: &str, more: &str) -> Site {
        let origins = [Origin::start().await, Origin::start().await];
        for origin in &origins {
            origin.on("/warm", Reply::ok("warm"));
        }
        let conf = pool("web", &[origins[0].addr(), origins[1].addr()], keys) + "[[route]]\npool = \"web\"\n" + more;
        Site { edge: Edge::start(&conf).await, origins }
    }

    /// The same, once it knows how long answers take.
    async fn warm(keys: &str, more: &str) -> Site {
        let site = Site::start(keys, more).await;
        site.warm_up().await;
        site
    }

    async fn warm_up(&self) {
        let mut client = self.edge.client().await;
        for _ in 0..120 {
            client.get("/warm").await.expect(200);
        }
        eventually("a delay is learned", || async {
            let delay = self.edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await;
            (delay > 0.0).then_some(())
        })
        .await;
        // A second in which the bucket is sized and filled.
        for _ in 0..120 {
            client.get("/warm").await.expect(200);
        }
    }

    /// Whichever origin is asked first for `path` answers so, whichever is asked next otherwise.
    fn script(
        &self,
        path: &str,
        first: impl Fn() -> Reply + Send + Sync + 'static,
        next: impl Fn() -> Reply + Send + Sync + 'static,
    ) {
        let (calls, first, next) = (Arc::new(AtomicUsize::new(0)), Arc::new(first), Arc::new(next));
        for origin in &self.origins {
            let (calls, first, next) = (calls.clone(), first.clone(), next.clone());
            origin.on_call(path, move |_| if calls.fetch_add(1, Ordering::SeqCst) == 0 { first() } else { next() });
        }
    }

    fn count(&self, path: &str) -> usize {
        self.origins.iter().map(|origin| origin.count(path)).sum()
    }

    /// What the requests for `path` said of themselves, in no order.
    fn marks(&self, path: &str) -> Vec<String> {
        let seen = self.origins.iter().flat_map(|origin| origin.seen(path));
        let mut marks: Vec<String> = seen.map(|seen| seen.header(ATTEMPT).unwrap_or("-").to_owned()).collect();
        marks.sort_unstable();
        marks
    }

    async fn hedges(&self, result: &str) -> f64 {
        self.edge.metric("hedgerow_hedges_total", &[("result", result)]).await
    }

    async fn nothing_is_in_flight(&self) {
        for origin in &self.origins {
            let backend = origin.addr().to_string();
            self.edge.metric_becomes("hedgerow_backend_requests_in_flight", &[("backend", &backend)], 0.0).await;
        }
    }
}

fn held(gate: &Gate) -> impl Fn() -> Reply + Send + Sync + 'static {
    let gate = gate.clone();
    move || Reply::ok("late").held_by(&gate)
}

fn said(answer: Response, text: &str) {
    assert_eq!(answer.expect(200).text(), text);
}

#[tokio::test]
async fn a_late_request_is_answered_by_another_backend() {
    let (site, gate) = (Site::warm(EAGER, UNCACHED).await, Gate::new());
    site.script("/a", held(&gate), || Reply::ok("quick"));
    let won = site.hedges("won").await;
    said(site.edge.get("/a").await, "quick");
    assert_eq!(site.marks("/a"), ["-", "2; hedge"]);
    assert!(site.origins.iter().all(|origin| origin.count("/a") == 1), "the copy goes to the other backend");
    assert_eq!(site.hedges("won").await, won + 1.0);
    gate.open();
    site.nothing_is_in_flight().await;
}

#[tokio::test]
async fn a_primary_that_answers_first_wins_over_its_copy() {
    let (site, primary, copy) = (Site::warm(EAGER, UNCACHED).await, Gate::new(), Gate::new());
    let held_copy = copy.clone();
    site.script("/a", held(&primary), move || Reply::ok("copy").held_by(&held_copy));
    let mut client = site.edge.client().await;
    client.ask(&Request::get("/a")).await;
    copy.arrived(1).await;
    let lost = site.hedges("lost").await;
    primary.open();
    said(client.answer().await, "late");
    assert_eq!(site.hedges("lost").await, lost + 1.0);
    copy.open();
    site.nothing_is_in_flight().await;
}

#[tokio::test]
async fn nothing_is_hedged_before_it_is_known_what_is_late() {
    let (site, gate) = (Site::start(EAGER, UNCACHED).await, Gate::new());
    site.script("/a", held(&gate), || Reply::ok("quick"));
    let mut client = site.edge.client().await;
    client.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    assert!(client.quiet_for(Duration::from_millis(150)).await);
    gate.open();
    said(client.answer().await, "late");
    assert_eq!(site.count("/a"), 1);
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not() {
    let (site, gate) = (Site::warm(EAGER, UNCACHED).await, Gate::new());
    for (path, request) in [
        ("/post", Request::post("/post", "x")),
        ("/put", Request::new("PUT", "/put")),
        ("/body", Request::new("GET", "/body").body("x")),
    ] {
        site.script(path, held(&gate), || Reply::ok("quick"));
        let mut client = site.edge.client().await;
        let arrived = gate.arrivals() + 1;
        client.ask(&request).await;
        gate.arrived(arrived).await;
        assert!(client.quiet_for(Duration::from_millis(150)).await, "{path}");
        assert_eq!(site.count(path), 1, "{path}");
        client.abort();
    }
    gate.open();
    site.nothing_is_in_flight().await;
}

#[tokio::test]
async fn a_route_can_do_without() {
    let more = format!("hedge = \"off\"\n{UNCACHED}");
    let (site, gate) = (Site::warm(EAGER, &more).await, Gate::new());
    site.script("/a", held(&gate), || Reply::ok("quick"));
    let mut client = site.edge.client().await;
    client.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    assert!(client.quiet_for(Duration::from_millis(150)).await);
    gate.open();
    said(client.answer().await, "late");
    assert_eq!(site.count("/a"), 1);
}

#[tokio::test]
async fn an_error_waits_for_the_other_leg() {
    let (site, gate) = (Site::warm(EAGER, UNCACHED).await, Gate::new());
    let copy_answered = Gate::new();
    let told = copy_answered.clone();
    site.script("/a", held(&gate), move || Reply::new(500).body("broken").held_by(&told));
    let mut client = site.edge.client().await;
    client.ask(&Request::get("/a")).await;
    copy_answered.arrived(1).await;
    copy_answered.open();
    assert!(client.quiet_for(Duration::from_millis(100)).await, "the error is kept back");
    gate.open();
    said(client.answer().await, "late");
}

#[tokio::test]
async fn an_error_is_passed_on_where_nothing_better_comes() {
    let (site, gate) = (Site::warm(EAGER, UNCACHED).await, Gate::new());
    let (one, other) = (gate.clone(), gate.clone());
    site.script(
        "/a",
        move || Reply::new(500).body("first").held_by(&one),
        move || Reply::new(500).body("second").held_by(&other),
    );
    let mut client = site.edge.client().await;
    client.ask(&Request::get("/a")).await;
    gate.arrived(2).await;
    gate.open();
    let answer = client.answer().await.expect(500);
    assert!(["first", "second"].contains(&answer.text().as_str()), "{}", answer.text());
}

#[tokio::test]
async fn a_failure_is_tried_elsewhere_at_once_and_is_no_hedge() {
    // Over connections that were not kept: a kept one that ends may just have been idle for too long.
    let site = Site::start("tail = { retry = { backoff = \"30s\", max_backoff = \"60s\" } }", UNCACHED).await;
    site.script("/a", Reply::hang_up, || Reply::ok("second"));
    said(site.edge.get("/a").await, "second");
    assert_eq!(site.marks("/a"), ["-", "2; retry"]);
    assert_eq!(site.edge.metric("hedgerow_hedges_sent_total", &[]).await, 0.0);
    assert_eq!(site.edge.metric("hedgerow_retries_total", &[("reason", "upstream-closed")]).await, 1.0);
}

#[tokio::test]
async fn a_gateways_error_is_tried_elsewhere_unless_it_says_when_to_come_again() {
    let site = Site::start("", UNCACHED).await;
    site.script("/a", || Reply::new(503).body("no"), || Reply::ok("yes"));
    said(site.edge.get("/a").await, "yes");
    site.script("/b", || Reply::new(503).header("Retry-After", "7").body("no"), || Reply::ok("yes"));
    let answer = site.edge.get("/b").await.expect(503);
    assert_eq!((answer.header("Retry-After"), site.count("/b")), (Some("7"), 1));
    site.script("/c", || Reply::new(503).body("first"), || Reply::new(503).body("again"));
    site.edge.get("/c").await.expect(503);
    site.script("/d", || Reply::new(503).body("first"), || Reply::ok("yes"));
    site.edge.fetch(&Request::post("/d", "x")).await.expect(503);
    site.script("/e", || Reply::new(503).body("first"), Reply::hang_up);
    let answer = site.edge.get("/e").await.expect(503);
    assert_eq!(answer.text(), "first", "an error beats no answer");
}

#[tokio::test]
async fn the_cache_is_filled_by_the_winner_once() {
    let (site, gate) = (Site::warm(EAGER, "").await, Gate::new());
    let slow = gate.clone();
    site.script(
        "/a",
        move || Reply::fresh(60, "from the loser").held_by(&slow),
        || Reply::fresh(60, "from the winner"),
    );
    let answer = site.edge.get("/a").await;
    assert_eq!(answer.verdict(), "MISS");
    said(answer, "from the winner");
    gate.open();
    site.nothing_is_in_flight().await;
    let again = site.edge.get("/a").await;
    assert_eq!(again.verdict(), "HIT");
    said(again, "from the winner");
}

#[tokio::test]
async fn those_who_wait_for_a_fetch_are_answered_by_its_copy() {
    let (site, gate) = (Site::warm(EAGER, "").await, Gate::new());
    let slow = gate.clone();
    site.script("/hot", move || Reply::fresh(60, "slow").held_by(&slow), || Reply::fresh(60, "quick"));
    let answers = futures::future::join_all((0..6).map(|_| site.edge.get("/hot"))).await;
    answers.into_iter().for_each(|answer| said(answer, "quick"));
    assert_eq!(site.count("/hot"), 2);
    gate.open();
}

#[tokio::test]
async fn a_client_that_leaves_ends_both_attempts() {
    let (site, gate) = (Site::warm(EAGER, UNCACHED).await, Gate::new());
    site.script("/a", held(&gate), held(&gate));
    let mut client = site.edge.client().await;
    client.ask(&Request::get("/a")).await;
    gate.arrived(2).await;
    client.abort();
    site.nothing_is_in_flight().await;
    gate.open();
}

#[tokio::test]
async fn a_client_cannot_say_which_attempt_it_is() {
    let site = Site::start("", UNCACHED).await;
    site.script("/a", || Reply::ok("alpha"), || Reply::ok("alpha"));
    site.edge.fetch(&Request::get("/a").header(ATTEMPT, "2; hedge")).await.expect(200);
    assert_eq!(site.marks("/a"), ["-"]);
}

#[tokio::test]
async fn with_one_backend_there_is_nobody_to_hedge_to() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/warm", Reply::ok("warm"));
    origin.on("/a", Reply::ok("late").held_by(&gate));
    let conf = pool("web", &[origin.addr()], EAGER) + "[[route]]\npool = \"web\"\n" + UNCACHED;
    let edge = Edge::start(&conf).await;
    for _ in 0..120 {
        edge.get("/warm").await.expect(200);
    }
    eventually("a delay is learned", || async {
        (edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
    })
    .await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    eventually("it is denied", || async {
        let denied = edge.metric("hedgerow_hedges_denied_total", &[]).await;
        (denied >= 1.0).then_some(())
    })
    .await;
    // Each request that comes has the one that waits ask again; nothing is paid for what is not sent.
    for _ in 0..30 {
        edge.get("/warm").await.expect(200);
    }
    let ledger = edge.metric("hedgerow_ledger_tokens", &[]).await;
    assert!(ledger >= 29.0, "{ledger} of the thirty that are there however little is asked");
    gate.open();
    said(client.answer().await, "late");
    assert_eq!(origin.count("/a"), 1);
}
