//! Who goes first when not all can be served, and who may say so.

mod support;

use support::busy::Busy;
use support::{Client, Request};

const ONE: &str = "tail = { limit = 1 }";

const THREE: &str = "[[route]]\npool = \"web\"\n[route.cache]\nenabled = false\n\
    [[route]]\nmatch = { path = \"/checkout/**\" }\npool = \"web\"\npriority = \"critical\"\n[route.cache]\nenabled = false\n\
    [[route]]\nmatch = { path = \"/hints/**\" }\npool = \"web\"\npriority = \"sheddable\"\n[route.cache]\nenabled = false\n";

/// One route whose requests' class stands in this field; whether the tests' own address is believed.
fn told(field: &str, is_trusted: bool) -> String {
    let trusted = if is_trusted { "127.0.0.1/32" } else { "192.0.2.1/32" };
    format!(
        "[[route]]\npool = \"web\"\npriority_header = \"{field}\"\n[route.cache]\nenabled = false\n\
         [server]\ntrusted_proxies = [\"{trusted}\"]\n"
    )
}

/// Queues these in turn; the targets in the order in which the origin gets them, once there is room.
async fn order(busy: &Busy, requests: &[Request]) -> Vec<String> {
    let _held = busy.hold(1).await;
    let before = busy.origin.requests();
    let mut clients = Vec::new();
    for (n, request) in (1..).zip(requests) {
        clients.push(busy.queue(request, n).await);
    }
    assert_eq!(busy.origin.requests(), before);
    busy.gate.open();
    let answers = futures::future::join_all(clients.iter_mut().map(Client::answer)).await;
    answers.into_iter().for_each(|answer| drop(answer.expect(200)));
    busy.ends().await;
    busy.origin.targets().split_off(before)
}

#[tokio::test]
async fn the_more_important_route_goes_first() {
    let busy = Busy::patient(ONE, THREE).await;
    let paths = ["/hints/1", "/page", "/checkout/1"];
    let came = order(&busy, &paths.map(Request::get)).await;
    assert_eq!(came, ["/checkout/1", "/page", "/hints/1"]);
    for (path, class) in [("/hints/1", "sheddable"), ("/page", "default"), ("/checkout/1", "critical")] {
        assert_eq!(busy.line(path).await["priority"], class);
    }
}

#[tokio::test]
async fn a_full_queue_is_left_by_the_least_important() {
    let busy = Busy::patient(ONE, THREE).await;
    let _held = busy.hold(1).await;
    let mut hints = Vec::new();
    for n in 1..=10 {
        hints.push(busy.queue(&Request::get(&format!("/hints/{n}")), n).await);
    }
    let mut checkout = busy.ask(&Request::get("/checkout/1")).await;
    hints.push(busy.ask(&Request::get("/hints/11")).await);
    // Ten have room: one goes for what matters more, and one was too many anyway.
    support::eventually("two are refused", || async {
        (busy.shed("sheddable", "queue-full").await >= 2.0).then_some(())
    })
    .await;
    busy.gate.open();
    checkout.answer().await.expect(200);
    let mut refused = 0;
    for client in &mut hints {
        let answer = client.answer().await;
        if answer.status == 503 {
            assert_eq!(answer.proxy_status().param("details"), Some("queue-full"), "{answer}");
            refused += 1;
        }
    }
    assert_eq!((refused, busy.shed("critical", "queue-full").await), (2, 0.0));
    busy.ends().await;
}

#[tokio::test]
async fn a_trusted_proxy_says_how_important_a_request_is() {
    let busy = Busy::patient(ONE, &told("X-Priority", true)).await;
    let with = |path, word| Request::get(path).header("X-Priority", word);
    let requests = [with("/last", "sheddable"), with("/unknown", "urgent"), with("/first", "critical")];
    assert_eq!(order(&busy, &requests).await, ["/first", "/unknown", "/last"]);
    assert_eq!(busy.origin.only("/first").header("X-Priority"), Some("critical"), "it is passed on");
    assert_eq!(busy.line("/last").await["priority"], "sheddable");
}

#[tokio::test]
async fn a_trusted_proxy_may_say_it_by_urgency() {
    let busy = Busy::patient(ONE, &told("Priority", true)).await;
    let with = |path, said| Request::get(path).header("Priority", said);
    let requests = [with("/last", "u=7"), with("/usual", "i"), with("/first", "u=1, i")];
    assert_eq!(order(&busy, &requests).await, ["/first", "/usual", "/last"]);
    assert_eq!(busy.line("/last").await["priority"], "sheddable");
}

#[tokio::test]
async fn nobody_else_makes_themselves_important() {
    for (field, word) in [("X-Priority", "critical"), ("Priority", "u=0")] {
        let least = format!(
            "[[route]]\nmatch = {{ path = \"/said\" }}\npool = \"web\"\npriority = \"sheddable\"\n\
             priority_header = \"{field}\"\n[route.cache]\nenabled = false\n"
        );
        let busy = Busy::patient(ONE, &(told(field, false) + &least)).await;
        let said = Request::get("/said").header(field, word).header(&field.to_lowercase(), word);
        assert_eq!(order(&busy, &[said, Request::get("/unsaid")]).await, ["/unsaid", "/said"]);
        assert_eq!(busy.origin.only("/said").header(field), None, "{field}");
        assert_eq!(busy.line("/said").await["priority"], "sheddable");
    }
}

#[tokio::test]
async fn what_only_looks_like_the_field_is_removed() {
    for is_trusted in [false, true] {
        let busy = Busy::start(ONE, &told("X-Priority", is_trusted)).await;
        let request = Request::get("/said").header("X_Priority", "critical").header("X-Other", "stays");
        busy.edge.fetch(&request).await.expect(200);
        let seen = busy.origin.only("/said");
        assert_eq!((seen.header("X_Priority"), seen.header("X-Other")), (None, Some("stays")), "{seen:?}");
        assert_eq!(busy.line("/said").await["priority"], "default");
    }
}
