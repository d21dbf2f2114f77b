//! What happens now and of late: the live page's pictures, its stream, its files.

mod support;

use std::time::Duration;

use hedgerow::admin::VIEWERS;
use serde_json::Value;
use support::busy::{Busy, PLAIN};
use support::edge::{Edge, over, pool};
use support::{Client, Origin, Reply, Request, eventually};

async fn picture(edge: &Edge) -> Value {
    edge.admin_get("/live.json").await.expect(200).json()
}

/// The first picture of which `part` is something.
async fn until<T>(edge: &Edge, what: &str, part: impl Fn(&Value) -> Option<T>) -> T {
    eventually(what, || async { part(&picture(edge).await) }).await
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// What was noted of a subject, the oldest first.
fn noted(picture: &Value, key: &str, name: &str) -> Vec<String> {
    let events = list(&picture["events"]).iter().rev().filter(|event| event[key] == name);
    events.map(|event| event["what"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Somebody who looks, once the head of the stream is there.
struct Viewer(Client, String);

impl Viewer {
    async fn open(edge: &Edge) -> Viewer {
        let mut client = Client::connect(edge.admin()).await;
        client.ask(&Request::get("/live/events")).await;
        let head = client.head().await;
        assert_eq!((head.status, head.header("Content-Type")), (200, Some("text/event-stream")), "{head}");
        Viewer(client, String::new())
    }

    /// The next picture; `None` at the end.
    #[expect(clippy::expect_used, reason = "a broken test should stop at once")]
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let json = event.strip_prefix("data: ").expect("an event is one line of data");
                let picture = serde_json::from_str(json).expect("the data are JSON");
                self.1 = rest.to_owned();
                return Some(picture);
            }
            self.1 += &String::from_utf8(self.0.piece().await?).expect("JSON is UTF-8");
        }
    }
}

#[tokio::test]
async fn a_viewer_gets_a_picture_at_once_and_then_one_a_second() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::over(&[&origin], "name = \"pages\"\n").await;
    let mut viewer = Viewer::open(&edge).await;
    let first = viewer.next().await.expect("a picture at once");
    assert_eq!((&first["phase"], &first["generation"], &first["reload"]), (&"serving".into(), &1.into(), &Value::Null));
    edge.get("/a").await.expect(200);
    let second = loop {
        let picture = viewer.next().await.expect("more pictures");
        if picture["second"]["cache"]["miss"] == 1 {
            break picture;
        }
    };
    let backend = &second["pools"][0]["backends"][0];
    assert_eq!(
        (&backend["state"], &backend["trouble"], &backend["share"]),
        (&"healthy".into(), &Value::Null, &1.0.into())
    );
    assert_eq!(second["routes"][0]["name"], "pages");
    assert!(second["traffic"]["requests_per_second"].as_f64() > Some(0.0), "{second}");
    let newer = viewer.next().await.expect("more pictures");
    assert!(newer["time"].as_f64() > second["time"].as_f64());
}

#[tokio::test]
async fn the_picture_and_the_stream_have_one_shape() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let streamed = Viewer::open(&edge).await.next().await.expect("a picture");
    let asked = picture(&edge).await;
    let keys = |picture: &Value| picture.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
    assert_eq!(keys(&streamed), keys(&asked));
    assert!(keys(&asked).is_some_and(|keys| keys.len() > 10));
}

#[tokio::test]
async fn so_many_may_look_and_a_seat_gets_free() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS {
        viewers.push(Viewer::open(&edge).await);
    }
    let refused = edge.admin_get("/live/events").await.expect(503);
    assert_eq!(refused.header("Retry-After"), Some("10"));
    edge.admin_get("/live.json").await.expect(200);
    let Viewer(gone, _) = viewers.pop().expect("there are some");
    gone.abort();
    eventually("a seat gets free", || async {
        let mut client = Client::connect(edge.admin()).await;
        client.ask(&Request::get("/live/events")).await;
        (client.head().await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_looks_is_told_of_the_drain_and_holds_nothing_up() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::over(&[&origin], "").await;
    let mut viewer = Viewer::open(&edge).await;
    viewer.next().await.expect("a picture");
    // Somebody who may go on for a while.
    let mut client = edge.client().await;
    client.get("/a").await.expect(200);
    edge.drain(Duration::from_secs(60)).await.expect("the drain ends");
    while viewer.next().await.is_some() {}
}

#[tokio::test]
async fn an_ejected_backend_is_a_story_with_a_beginning_and_an_end() {
    let (good, bad) = (Origin::start().await, Origin::start().await);
    good.on("/a", Reply::ok("alpha"));
    bad.on("/a", Reply::new(500));
    let keys = "ejection = { consecutive = 3, time = \"1s\", max_time = \"1s\" }";
    let edge = Edge::start(&(pool("web", &[good.addr(), bad.addr()], keys) + PLAIN)).await;
    let address = bad.addr().to_string();
    eventually("it is taken out", || async {
        // Many at a time: one alone would go to the backend that does not fail.
        futures::future::join_all((0..16).map(|_| edge.get("/a"))).await;
        (edge.state(bad.addr()).await == "ejected").then_some(())
    })
    .await;
    let story = until(&edge, "its story begins", |picture| {
        list(&picture["incidents"]).iter().find(|story| story["backend"] == address.as_str()).cloned()
    })
    .await;
    assert_eq!((&story["trouble"], &story["ended"], &story["pool"]), (&"ejected".into(), &Value::Null, &"web".into()));
    assert!(story["since"].as_f64() > Some(1.7e9), "{story}");
    assert!(!list(&story["cost"]).is_empty(), "{story}");
    bad.on("/a", Reply::ok("beta"));
    // By time alone, which nobody tells.
    until(&edge, "it is let in again", |picture| {
        noted(picture, "backend", &address).contains(&"recovering".to_owned()).then_some(())
    })
    .await;
    eventually("it answers again", || async {
        futures::future::join_all((0..16).map(|_| async { edge.get("/a").await.expect(200) })).await;
        (edge.state(bad.addr()).await == "healthy").then_some(())
    })
    .await;
    until(&edge, "the story ends", |picture| (!picture["incidents"][0]["ended"].is_null()).then_some(())).await;
    let told = noted(&picture(&edge).await, "backend", &address);
    assert_eq!(told, ["ejected", "recovering", "healthy"]);
}

#[tokio::test]
async fn a_backend_on_probation_is_named_with_what_was_done() {
    let mut origins = Vec::new();
    for _ in 0..3 {
        let origin = Origin::start().await;
        origin.on("/a", Reply::ok("alpha"));
        origins.push(origin);
    }
    let addrs: Vec<_> = origins.iter().map(Origin::addr).collect();
    let tail = "tail = { hedge = { min_delay = \"60ms\", max_delay = \"60ms\", budget = \"50%\" } }";
    let edge = Edge::start(&(pool("web", &addrs, tail) + PLAIN)).await;
    let ask = async |clients: usize, times: usize| {
        let each = (0..clients).map(|_| async {
            let mut client = edge.client().await;
            for _ in 0..times {
                client.get("/a").await.expect(200);
            }
        });
        futures::future::join_all(each).await;
    };
    eventually("a delay is learned", || async {
        ask(1, 50).await;
        (edge.metric("hedgerow_route_hedge_delay_seconds", &[]).await > 0.0).then_some(())
    })
    .await;
    origins[0].on_call("/a", |_| Reply::ok("slow").after(Duration::from_millis(150)));
    let address = origins[0].addr().to_string();
    let story = eventually("its story is told", || async {
        ask(24, 2).await;
        let picture = picture(&edge).await;
        list(&picture["incidents"]).iter().find(|story| story["trouble"] == "probation").cloned()
    })
    .await;
    assert_eq!((&story["backend"], &story["reason"]), (&address.as_str().into(), &"slower-than-peers".into()));
    assert!(story["hedges"].as_u64() > Some(0) && story["hedges_won"].as_u64() > Some(0), "{story}");
    assert!(story["extra_share"].as_f64() > Some(0.0), "{story}");
    assert!(story["what"].as_str().is_some_and(|what| what.contains("its p99 is")), "{story}");
    assert_eq!(noted(&picture(&edge).await, "backend", &address), ["probation"]);
    let past = edge.admin_get("/live/history").await.expect(200).json();
    let seconds = list(&past["time_ms"]).len();
    assert!(seconds > 0 && list(&past["hedges"]).len() == seconds, "{past}");
    let states =
        list(&past["backends"]).iter().find(|one| one["address"] == address.as_str()).map(|one| one["states"].clone());
    assert!(states.is_some_and(|states| list(&states).contains(&"probation".into())), "{past}");
}

#[tokio::test]
async fn sheds_are_told_when_they_begin_and_end() {
    let busy = Busy::start("max_in_flight = 1", PLAIN).await;
    let mut held = busy.edge.client().await;
    held.ask(&Request::get("/held")).await;
    busy.gate.arrived(1).await;
    // Nobody waits for ever where nothing moves.
    busy.edge.get("/refused").await.expect(503);
    let told = until(&busy.edge, "it is told", |picture| {
        let told = noted(picture, "pool", "web");
        told.contains(&"shedding".to_owned()).then_some(told)
    })
    .await;
    assert!(told.iter().all(|what| ["queueing", "shedding"].contains(&what.as_str())), "{told:?}");
    busy.gate.open();
    held.answer().await.expect(200);
    let picture = picture(&busy.edge).await;
    assert_eq!(picture["pools"][0]["queued"], 0);
}

#[tokio::test]
async fn the_last_reload_and_its_errors_are_kept() {
    let origin = Origin::start().await;
    let good = over(&[origin.addr()], "");
    let edge = Edge::from_file(&good).await;
    edge.rewrite(&format!("{good}nonsense = 1\n"));
    edge.reload().await.expect(422);
    let told = picture(&edge).await;
    assert_eq!((&told["reload"]["result"], &told["generation"]), (&"rejected".into(), &1.into()));
    assert!(told["reload"]["lines"].to_string().contains("nonsense"), "{told}");
    edge.rewrite(&good);
    edge.reload().await.expect(200);
    let told = picture(&edge).await;
    assert_eq!((&told["reload"]["result"], &told["generation"]), (&"applied".into(), &2.into()));
    assert_eq!(noted(&told, "topic", "reload"), ["rejected", "applied"]);
}

#[tokio::test]
async fn a_browser_gets_the_page_and_curl_the_list() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let list = edge.admin_get("/").await.expect(200);
    assert!(list.text().starts_with("hedgerow admin\n"));
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    let mut client = Client::connect(edge.admin()).await;
    let page = client.request(&Request::get("/").header("Accept", accept)).await.expect(200);
    assert_eq!(page.header("Content-Type"), Some("text/html; charset=utf-8"));
    let policy = page.header("Content-Security-Policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    // What the page names is there, is what it says it is, and names nothing that is elsewhere.
    let mut names: Vec<String> = vec!["/live".to_owned()];
    let mut seen = Vec::new();
    while let Some(name) = names.pop() {
        if seen.contains(&name) {
            continue;
        }
        let file = client.get(&name).await.expect(200);
        let kind = match name.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!((file.header("Content-Type"), file.header("X-Content-Type-Options")), (Some(kind), Some("nosniff")));
        let text = file.text();
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !elsewhere.contains("http://") && !elsewhere.contains("https://") && !elsewhere.contains("\"//"),
            "{name}"
        );
        for part in text.split('"').filter(|part| !part.contains(char::is_whitespace)) {
            let is_file = [".js", ".css", ".svg"].iter().any(|end| part.ends_with(end));
            if let Some(name) = part.strip_prefix("./").filter(|_| is_file) {
                names.push(format!("/live/{name}"));
            } else if is_file {
                names.push(part.to_owned());
            }
        }
        seen.push(name);
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

#[tokio::test]
async fn methods_that_change_nothing_here_are_refused_and_a_head_has_no_body() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let mut client = Client::connect(edge.admin()).await;
    for path in ["/live", "/live.json", "/live/history", "/live/events", "/live/style.css"] {
        let refused = client.request(&Request::post(path, "")).await.expect(405);
        assert!(refused.header("Allow").is_some_and(|allow| allow.starts_with("GET")), "{path}");
    }
    for path in ["/live", "/live.json", "/live/style.css"] {
        let head = client.request(&Request::head(path)).await.expect(200);
        assert!(head.body.is_empty(), "{path}");
    }
    client.get("/live/nothing.js").await.expect(404);
    client.get("/healthz").await.expect(200);
}
