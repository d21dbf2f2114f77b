//! `Proxy-Status` (RFC 9209): how an answer was come by, told with the answer; and the metrics and the log of the same.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::edge::{Edge, pool};
use support::{Gate, Member, Origin, Reply, Request, Response, eventually};

const HEDGE_AT_50: &str = "tail = { hedge = { min_delay = \"50ms\" } }";

/// Every member, as name and parameters without values.
fn said(answer: &Response) -> Vec<(String, Vec<String>)> {
    let members = answer.headers.members("Proxy-Status").into_iter();
    members.map(|member| (member.name, member.params.into_iter().map(|(key, _)| key).collect())).collect()
}

/// An edge over two origins that answer `/` at once. A request for `/late` stands before `gates` in the order of
/// attempts, whichever origin they come to.
struct Pair {
    origins: [Origin; 2],
    edge: Edge,
}

impl Pair {
    async fn with(tail: &str, gates: [Option<&Gate>; 2], more: &str) -> Pair {
        let origins = [Origin::start().await, Origin::start().await];
        let attempts = Arc::new(AtomicUsize::new(0));
        let gates = gates.map(|gate| gate.cloned());
        for origin in &origins {
            origin.on("/", Reply::ok("prompt"));
            let (attempts, gates) = (attempts.clone(), gates.clone());
            origin.on_call("/late", move |_| {
                let nth = attempts.fetch_add(1, Ordering::SeqCst);
                let reply = Reply::ok(format!("answer {}", nth + 1));
                gates.get(nth).cloned().flatten().map_or(reply.clone(), |gate| reply.held_by(&gate))
            });
        }
        let addrs = origins.each_ref().map(Origin::addr);
        let conf = format!("{}[[route]]\nname = \"pages\"\npool = \"web\"\n{more}", pool("web", &addrs, tail));
        Pair { origins, edge: Edge::start(&conf).await }
    }

    /// Lets the route learn what late is.
    async fn learn(&self) {
        let mut client = self.edge.client().await;
        for _ in 0..150 {
            client.request(&Request::get("/")).await.expect(200);
        }
        eventually("a delay is known", || async {
            (self.edge.metric("hedgerow_route_hedge_delay_seconds", &[("route", "pages")]).await >= 0.05).then_some(())
        })
        .await;
    }

    fn attempts_told(&self) -> Vec<String> {
        let seen = self.origins.iter().flat_map(|origin| origin.seen("/late"));
        let mut told: Vec<String> =
            seen.filter_map(|seen| seen.headers.get("X-Hedgerow-Attempt").map(str::to_owned)).collect();
        told.sort();
        told
    }
}

#[tokio::test]
async fn a_forwarded_answer_says_attempts_to_all_and_the_next_hop_to_those_who_may_know() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("a"));
    let trusted = Edge::over(&[&origin], "").await.get("/a").await.proxy_status();
    let next_hop = ("next-hop".to_owned(), origin.addr().to_string());
    let attempts = ("attempts".to_owned(), "1".to_owned());
    assert_eq!(trusted, Member { name: "hedgerow".to_owned(), params: vec![next_hop, attempts.clone()] });
    let plain = Edge::over(&[&origin], "[cache.reveal]\nclients = []\n").await.get("/a").await.proxy_status();
    assert_eq!(plain.params, [attempts]);
}

#[tokio::test]
async fn a_hit_says_nothing_and_what_a_miss_said_is_not_stored() {
    let origin = Origin::start().await;
    origin.on("/own", Reply::fresh(60, "a"));
    origin.on("/told", Reply::fresh(60, "b").header("Proxy-Status", "inner; next-hop=db"));
    let edge = Edge::over(&[&origin], "").await;
    let ours = ("hedgerow".to_owned(), vec!["next-hop".to_owned(), "attempts".to_owned()]);
    let inner = ("inner".to_owned(), vec!["next-hop".to_owned()]);
    assert_eq!(said(&edge.get("/told").await), [inner.clone(), ours.clone()]);
    assert_eq!(said(&edge.get("/own").await), [ours]);
    for _ in 0..2 {
        let (own, told) = (edge.get("/own").await, edge.get("/told").await);
        assert_eq!((own.verdict(), told.verdict()), ("HIT", "HIT"));
        assert_eq!((said(&own), said(&told)), (vec![], vec![inner.clone()]));
    }
}

#[tokio::test]
async fn a_validated_copy_was_forwarded_for() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| match seen.headers.get("If-None-Match") {
        Some(_) => Reply::new(304).etag("\"1\"").header("Cache-Control", "max-age=0"),
        None => Reply::fresh(0, "a").etag("\"1\""),
    });
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let answer = edge.get("/a").await.expect(200);
    assert_eq!(answer.verdict(), "REVALIDATED");
    assert_eq!(answer.proxy_status().param("attempts"), Some("1"));
}

#[tokio::test]
async fn a_retry_is_an_attempt_and_no_hedge() {
    let [bad, good] = [Origin::start().await, Origin::start().await];
    bad.on("/a", Reply::hang_up());
    good.on("/a", Reply::ok("a"));
    let conf = support::edge::first_and_second(bad.addr(), good.addr(), "", "");
    let edge = Edge::start(&conf).await;
    let answer = edge.get("/a").await.expect(200);
    let told = answer.proxy_status();
    assert_eq!((told.param("attempts"), told.param("hedge"), told.param("error")), (Some("2"), None, None), "{answer}");
    assert_eq!(told.param("next-hop"), Some(good.addr().to_string().as_str()));
    assert_eq!(good.only("/a").headers.get("X-Hedgerow-Attempt"), Some("2; retry"));
    assert_eq!(bad.only("/a").headers.get("X-Hedgerow-Attempt"), None);
}

#[tokio::test]
async fn an_error_of_ours_says_what_was_tried() {
    let dead = Origin::refusing();
    let conf =
        format!("{}[[route]]\npool = \"web\"\n", pool("web", &[dead.addr()], "tail = { retry = { attempts = 0 } }"));
    let edge = Edge::start(&conf).await;
    let told = edge.get("/a").await.expect(502).proxy_status();
    assert_eq!((told.param("error"), told.param("attempts")), (Some("connection_refused"), Some("1")));
    assert_eq!(told.param("next-hop"), Some(dead.addr().to_string().as_str()));
    let unsent = edge.fetch(&Request::get("/a").header("Cache-Control", "only-if-cached")).await.expect(504);
    assert_eq!(said(&unsent), [("hedgerow".to_owned(), vec!["error".to_owned()])]);
}

#[tokio::test]
async fn a_copy_that_answers_first_has_won() {
    let never = Gate::new();
    let pair = Pair::with(HEDGE_AT_50, [Some(&never), None], "").await;
    pair.learn().await;
    let answer = pair.edge.get("/late").await.expect(200);
    assert_eq!(answer.text(), "answer 2");
    let told = answer.proxy_status();
    assert_eq!((told.param("attempts"), told.param("hedge")), (Some("2"), Some("won")), "{answer}");
    let delay: u64 = told.param("hedge-delay").and_then(|delay| delay.parse().ok()).expect("whole milliseconds");
    assert!((50..20_000).contains(&delay), "{delay}");
    let winner = pair.origins.iter().find(|origin| {
        origin.seen("/late").iter().any(|seen| seen.headers.get("X-Hedgerow-Attempt") == Some("2; hedge"))
    });
    assert_eq!(told.param("next-hop").map(str::to_owned), winner.map(|origin| origin.addr().to_string()));
    let web = [("pool", "web")];
    assert_eq!(pair.edge.metric("hedgerow_hedges_sent_total", &web).await, 1.0);
    pair.edge.metric_becomes("hedgerow_hedges_total", &[("pool", "web"), ("result", "won")], 1.0).await;
    assert!(pair.edge.metric("hedgerow_hedge_wasted_seconds_total", &web).await >= 0.05);
    never.open();
}

#[tokio::test]
async fn a_copy_that_answers_second_has_lost() {
    let (first, never) = (Gate::new(), Gate::new());
    let pair = Pair::with(HEDGE_AT_50, [Some(&first), Some(&never)], "").await;
    pair.learn().await;
    let (answer, ()) = tokio::join!(pair.edge.get("/late"), async {
        eventually("a copy is sent", || async { (never.arrivals() > 0).then_some(()) }).await;
        first.open();
    });
    assert_eq!(answer.text(), "answer 1");
    let told = answer.proxy_status();
    assert_eq!((told.param("attempts"), told.param("hedge")), (Some("2"), Some("lost")), "{answer}");
    assert!(told.param("hedge-delay").is_some());
    assert_eq!(pair.attempts_told(), ["2; hedge"]);
    pair.edge.metric_becomes("hedgerow_hedges_total", &[("pool", "web"), ("result", "lost")], 1.0).await;
    never.open();
}

#[tokio::test]
async fn a_late_request_without_a_copy_was_denied() {
    let held = Gate::new();
    let tail = "tail = { hedge = { min_delay = \"50ms\", budget = \"0%\" } }";
    let folder = support::Folder::new();
    let file = folder.path().join("access.log");
    let log = format!("[access_log]\nformat = \"json\"\noutput = \"{}\"\n", file.display());
    let pair = Pair::with(tail, [Some(&held), None], &log).await;
    // Before late is known, nothing was denied.
    let early = pair.edge.get("/").await.expect(200).proxy_status();
    assert_eq!(early.param("hedge"), None);
    pair.learn().await;
    let denied = [("pool", "web"), ("reason", "budget-off")];
    let (answer, ()) = tokio::join!(pair.edge.get("/late"), async {
        pair.edge.metric_becomes("hedgerow_hedges_denied_total", &denied, 1.0).await;
        held.open();
    });
    let told = answer.proxy_status();
    assert_eq!((told.param("attempts"), told.param("hedge")), (Some("1"), Some("denied")), "{answer}");
    assert_eq!(told.param("hedge-delay"), None);
    assert_eq!(pair.edge.metric("hedgerow_hedges_sent_total", &[("pool", "web")]).await, 0.0);
    eventually("it is logged as it was told", || async {
        let lines = std::fs::read_to_string(&file).unwrap_or_default();
        lines
            .lines()
            .any(|line| line.contains("/late") && line.contains(r#""attempts":1,"hedge":"denied""#))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn pools_and_metrics_tell_of_routes_with_hedging_and_without() {
    let pair = Pair::with(HEDGE_AT_50, [None, None], "").await;
    pair.learn().await;
    let pools = pair.edge.admin_get("/pools").await.expect(200).json();
    let route = &pools["routes"][0];
    assert_eq!((&route["name"], &route["pool"]), (&"pages".into(), &"web".into()));
    assert!(route["hedge_delay_ms"].as_f64() >= Some(50.0), "{route}");
    assert!(route["budget_level"].as_f64().is_some_and(|level| level > 0.0 && level <= 1.0), "{route}");
    assert_eq!(route["governor_scale"].as_f64(), Some(1.0), "{route}");
    for window in ["first_byte_ms", "first_byte_without_hedging_ms"] {
        assert!(route[window]["count"].as_u64() >= Some(100), "{route}");
        assert!(route[window]["p999"].as_f64() >= route[window]["p50"].as_f64(), "{route}");
    }
    let backend = pair.edge.backend(pair.origins[0].addr()).await;
    assert!(backend["late"].as_f64().is_some_and(|late| (0.0..=1.0).contains(&late)), "{backend}");
    assert!(backend["latency_without_hedging_ms"]["count"].as_u64() > Some(0), "{backend}");
    for hedging in ["with", "without"] {
        let labels = [("route", "pages"), ("hedging", hedging), ("quantile", "0.999")];
        assert!(pair.edge.metric("hedgerow_route_first_byte_seconds", &labels).await > 0.0, "{hedging}");
    }
    // Nothing but first attempts.
    pair.edge.metric_becomes("hedgerow_amplification_ratio", &[("pool", "web")], 1.0).await;
    assert_eq!(pools["pools"][0]["ledger"].as_f64().map(|tokens| tokens > 0.0), Some(true), "{pools}");
}
