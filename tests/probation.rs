//! A backend that is slow and does not fail: no client waits for it, copies find out when it has recovered.

mod support;

use std::time::Duration;

use support::edge::{Edge, pool};
use support::{Origin, Reply, eventually};

const UNCACHED: &str = "[[route]]\npool = \"web\"\n[route.cache]\nenabled = false\n";

/// Late is what takes longer than this, whatever else this machine does.
const TAIL: &str = "tail = { hedge = { min_delay = \"60ms\", max_delay = \"60ms\", budget = \"50%\" }, \
                    probation = { probes = \"10%\", ramp = \"100ms\" } }";

struct Site {
    origins: Vec<Origin>,
    edge: Edge,
}

impl Site {
    async fn warm(keys: &str) -> Site {
        let mut origins = Vec::new();
        for _ in 0..3 {
            let origin = Origin::start().await;
            origin.on("/a", Reply::ok("alpha"));
            origins.push(origin);
        }
        let addrs: Vec<_> = origins.iter().map(Origin::addr).collect();
        let edge = Edge::start(&(pool("web", &addrs, keys) + UNCACHED)).await;
        let site = Site { origins, edge };
        eventually("a delay is learned", || async {
            site.ask(50).await;
            (site.edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
        })
        .await;
        site
    }

    async fn ask(&self, times: usize) {
        let mut client = self.edge.client().await;
        for _ in 0..times {
            client.get("/a").await.expect(200);
        }
    }

    /// So many at once that each backend has some before the first has answered.
    async fn ask_together(&self, clients: usize) {
        futures::future::join_all((0..clients).map(|_| self.ask(2))).await;
    }

    fn slow(&self) -> &Origin {
        &self.origins[0]
    }

    async fn becomes(&self, state: &str) {
        eventually(state, || async {
            self.ask_together(24).await;
            (self.edge.state(self.slow().addr()).await == state).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_slow_backend_is_spared_the_clients_until_copies_show_that_it_is_not() {
    let site = Site::warm(TAIL).await;
    site.slow().on_call("/a", |_| Reply::ok("slow").after(Duration::from_millis(150)));
    site.becomes("probation").await;

    let before = site.slow().seen("/a").len();
    site.ask(300).await;
    let asked = site.slow().seen("/a").split_off(before);
    let marks: Vec<_> = asked.iter().map(|seen| seen.header("X-Hedgerow-Attempt").unwrap_or("-")).collect();
    assert!(!marks.is_empty() && marks.iter().all(|mark| *mark == "2; probe"), "{marks:?}");

    site.slow().on("/a", Reply::ok("alpha"));
    site.becomes("healthy").await;
    let before = site.slow().count("/a");
    eventually("it is asked for clients again", || async {
        site.ask(30).await;
        let asked = site.slow().seen("/a").split_off(before);
        asked.iter().any(|seen| seen.header("X-Hedgerow-Attempt").is_none()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn probation_can_be_switched_off() {
    let keys = "tail = { hedge = { min_delay = \"60ms\", max_delay = \"60ms\" }, probation = \"off\" }";
    let site = Site::warm(keys).await;
    site.slow().on_call("/a", |_| Reply::ok("slow").after(Duration::from_millis(150)));
    site.ask(60).await;
    assert_eq!(site.edge.state(site.slow().addr()).await, "healthy");
}
