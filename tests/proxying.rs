//! What goes through: requests to the backend and answers to the client, unharmed, with what a proxy must add and remove.

mod support;

use support::edge::{Edge, over, pool};
use support::{Client, Gate, Origin, Reply, Request};

const TRUSTED: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

#[tokio::test]
async fn a_request_is_forwarded_as_it_was_asked() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::new(203).header("X-Own", "kept").header("X-Own", "twice").body("alpha"));
    let edge = Edge::over(&[&origin], "").await;

    let request =
        Request::get("/a?x=1&y=%20z&x=2").host("shop.example").header("X-Mine", "one").header("X-Mine", "two");
    let answer = edge.fetch(&request).await.expect(203);
    assert_eq!((answer.text().as_str(), answer.minor_version), ("alpha", 1));
    assert_eq!(answer.headers.all("X-Own"), ["kept", "twice"]);

    let seen = origin.only("/a");
    assert_eq!((seen.method.as_str(), seen.target.as_str(), seen.minor_version), ("GET", "/a?x=1&y=%20z&x=2", 1));
    assert_eq!(seen.header("Host"), Some("shop.example"));
    assert_eq!(seen.headers.all("X-Mine").join(", "), "one, two");
}

#[tokio::test]
async fn the_backend_is_told_who_asked_and_how() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.fetch(&Request::get("/a").host("shop.example:8080")).await;

    let seen = origin.only("/a");
    assert_eq!(seen.headers.all("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(seen.headers.all("X-Forwarded-Proto"), ["http"]);
    assert_eq!(seen.headers.all("X-Forwarded-Host"), ["shop.example:8080"]);
    let forwarded = seen.headers.joined("Forwarded").expect("Forwarded is set").to_ascii_lowercase();
    for part in ["for=127.0.0.1", "proto=http", "host=\"shop.example:8080\""] {
        assert!(forwarded.contains(part), "{part} in {forwarded}");
    }
    assert!(seen.header("Via").is_some_and(|via| via.starts_with("1.1 ")), "{:?}", seen.headers);
}

#[tokio::test]
async fn what_a_stranger_claims_about_the_client_is_not_passed_on() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let liar = Request::get("/a")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-For", "203.0.113.10")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "for=203.0.113.9;proto=https;host=evil.example");
    edge.fetch(&liar).await;

    let seen = origin.only("/a");
    assert_eq!(seen.headers.all("X-Forwarded-For"), ["127.0.0.1"]);
    assert_eq!(seen.headers.all("X-Forwarded-Proto"), ["http"]);
    assert_eq!(seen.headers.all("X-Forwarded-Host"), ["edge.test"]);
    let everything = seen.headers.to_string();
    assert!(!everything.contains("203.0.113") && !everything.contains("evil"), "{everything}");
}

#[tokio::test]
async fn a_trusted_proxys_word_about_the_client_is_kept_and_added_to() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], TRUSTED).await;
    let proxied = Request::get("/a")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "shop.example");
    edge.fetch(&proxied).await;

    let seen = origin.only("/a");
    assert_eq!(seen.headers.joined("X-Forwarded-For").as_deref(), Some("203.0.113.9, 127.0.0.1"));
    assert_eq!(seen.headers.all("X-Forwarded-Proto"), ["https"]);
    assert_eq!(seen.headers.all("X-Forwarded-Host"), ["shop.example"]);
}

#[tokio::test]
async fn a_request_id_is_made_and_told_to_both_sides() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let (one, two) = (edge.get("/a").await, edge.get("/a").await);
    let ids: Vec<Option<&str>> = vec![one.header("X-Request-Id"), two.header("X-Request-Id")];
    assert!(ids.iter().all(|id| id.is_some_and(|id| id.len() >= 8)), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
    let seen = origin.seen("/a");
    assert_eq!(vec![seen[0].header("X-Request-Id"), seen[1].header("X-Request-Id")], ids);
}

#[tokio::test]
async fn a_request_id_is_kept_from_a_trusted_proxy() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], TRUSTED).await;
    let answer = edge.fetch(&Request::get("/a").header("X-Request-Id", "trace-4711")).await;
    assert_eq!(answer.headers.all("X-Request-Id"), ["trace-4711"]);
    assert_eq!(origin.only("/a").headers.all("X-Request-Id"), ["trace-4711"]);
}

#[tokio::test]
async fn a_strangers_request_id_is_replaced() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let answer = edge.fetch(&Request::get("/a").header("X-Request-Id", "mine\"; drop table")).await;
    let id = answer.header("X-Request-Id").expect("an id is made").to_owned();
    assert!(!id.contains("drop"), "{id}");
    assert_eq!(origin.only("/a").headers.all("X-Request-Id"), [id.as_str()]);
}

#[tokio::test]
async fn the_edge_signs_the_answers_path() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha").header("Via", "1.1 inner").header("Cache-Status", "inner; hit"));
    let edge = Edge::over(&[&origin], "").await;
    let answer = edge.get("/a").await.expect(200);
    let via = answer.headers.joined("Via").expect("Via is set");
    assert!(via.starts_with("1.1 inner, 1.1 "), "{via}");
    let members = answer.headers.members("Cache-Status");
    assert_eq!((members.len(), members[0].name.as_str(), members[1].name.as_str()), (2, "inner", "hedgerow"));
}

#[tokio::test]
async fn hop_by_hop_fields_stop_here_in_both_directions() {
    let origin = Origin::start().await;
    let reply = Reply::ok("alpha")
        .header("Connection", "X-Drop, keep-alive")
        .header("X-Drop", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Authenticate", "Basic")
        .header("Upgrade", "h2c")
        .header("X-Stay", "1");
    origin.on("/a", reply);
    let edge = Edge::over(&[&origin], "").await;
    let request = Request::get("/a")
        .header("Connection", "X-Nominated, keep-alive")
        .header("X-Nominated", "1")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "deflate")
        .header("X-Stay", "1");
    let answer = edge.fetch(&request).await.expect(200);

    let seen = origin.only("/a");
    for name in ["X-Nominated", "Keep-Alive", "Proxy-Connection", "TE"] {
        assert_eq!(seen.header(name), None, "{name} went up");
    }
    for name in ["X-Drop", "Proxy-Authenticate", "Upgrade"] {
        assert_eq!(answer.header(name), None, "{name} came down");
    }
    assert!(!answer.headers.lists("Connection", "x-drop"));
    assert_eq!((seen.header("X-Stay"), answer.header("X-Stay")), (Some("1"), Some("1")));
}

#[tokio::test]
async fn fields_a_connection_header_nominates_cannot_be_the_ones_we_set() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.fetch(&Request::get("/a").header("Connection", "X-Forwarded-For, X-Request-Id, Host, Forwarded")).await;
    let seen = origin.only("/a");
    for name in ["X-Forwarded-For", "X-Request-Id", "Host", "Forwarded"] {
        assert!(seen.header(name).is_some(), "{name} was talked away: {}", seen.headers);
    }
}

#[tokio::test]
async fn a_download_reaches_the_client_as_it_is_sent() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/s", Reply::new(200).chunk("first,").gate(&gate).chunk("second"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/s")).await;
    assert_eq!(client.head().await.status, 200);
    client.exactly("first,").await;
    gate.open();
    assert_eq!(client.rest().await, (b"second".to_vec(), true));
}

#[tokio::test]
async fn an_answer_that_ends_with_the_close_arrives_whole() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("until the end").until_close());
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    assert_eq!(client.get("/a").await.expect(200).text(), "until the end");
    client.get("/a").await.expect(200);
}

#[tokio::test]
async fn head_204_and_304_have_no_body_and_keep_the_connection() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha")).on("/none", Reply::new(204)).on("/tagged", Reply::ok("alpha").etag("\"1\""));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    let head = client.request(&Request::head("/a")).await.expect(200);
    assert_eq!((head.header("Content-Length"), head.body.len()), (Some("5"), 0));
    let none = client.get("/none").await.expect(204);
    assert_eq!((none.header("Content-Length"), none.header("Transfer-Encoding")), (None, None));
    client.request(&Request::get("/tagged").header("If-None-Match", "\"1\"")).await.expect(304);
    assert_eq!(client.get("/a").await.expect(200).text(), "alpha");
}

#[tokio::test]
async fn other_methods_pass_with_their_names() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| Reply::ok(&seen.method));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    for method in ["DELETE", "OPTIONS", "PATCH", "PROPFIND", "M-SEARCH"] {
        assert_eq!(client.request(&Request::new(method, "/a")).await.expect(200).text(), method);
    }
}

#[tokio::test]
async fn connections_to_a_backend_are_used_again() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::over(&[&origin], "").await;
    for _ in 0..5 {
        edge.get("/a").await.expect(200);
    }
    assert_eq!((origin.requests(), origin.connections()), (5, 1));
}

#[tokio::test]
async fn connections_to_a_backend_are_not_used_again_when_keepalive_is_off() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::start(&(pool("web", &[origin.addr()], "keepalive = false") + "[[route]]\npool = \"web\"\n")).await;
    for _ in 0..3 {
        edge.get("/a").await.expect(200);
    }
    assert_eq!((origin.requests(), origin.connections()), (3, 3));
}

#[tokio::test]
async fn a_connection_the_backend_closed_meanwhile_costs_no_request() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha")).on("/bye", Reply::ok("bye").close());
    let edge = Edge::over(&[&origin], "").await;
    for _ in 0..3 {
        edge.get("/a").await.expect(200);
        edge.get("/bye").await.expect(200);
    }
    edge.get("/a").await.expect(200);
    origin.kill().await;
    origin.restart();
    edge.get("/a").await.expect(200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.otherwise(|seen| Reply::ok(&seen.target)).on("/1", Reply::ok("/1").held_by(&gate));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    let together: Vec<u8> = ["/1", "/2", "/3"].iter().flat_map(|path| Request::get(path).bytes()).collect();
    client.send(together).await;
    gate.arrived(1).await;
    gate.open();
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.answer().await.expect(200).text(), path);
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_its_answer_and_the_close() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::new(200).chunk("alpha").chunk("beta"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    let answer = client.request(&Request::get("/a").http10()).await.expect(200);
    assert_eq!((answer.text().as_str(), answer.header("Transfer-Encoding")), ("alphabeta", None));
    assert!(client.closed().await.is_empty());
    assert_eq!(origin.only("/a").minor_version, 1);
}

#[tokio::test]
async fn connection_close_is_heeded() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha"));
    let edge = Edge::over(&[&origin], "").await;
    let mut client = edge.client().await;
    let answer = client.request(&Request::get("/a").header("Connection", "close")).await.expect(200);
    assert!(answer.headers.lists("Connection", "close"));
    assert!(client.closed().await.is_empty());
    assert!(!origin.only("/a").headers.lists("Connection", "close"), "the client's wish is not the backend's");
}

#[tokio::test]
async fn when_the_client_leaves_the_backend_is_left_too() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    origin.on("/a", Reply::ok("late").held_by(&gate));
    let edge = Edge::over(&[&origin], "[route.cache]\nenabled = false").await;
    let mut client = edge.client().await;
    client.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    client.abort();
    origin.until("the attempt is cancelled", |o| o.aborted() == 1).await;
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 0.0).await;
}

#[tokio::test]
async fn routes_choose_the_pool_by_host_and_path_the_most_specific_first() {
    let (web, shop, files) = (Origin::start().await, Origin::start().await, Origin::start().await);
    for (origin, name) in [(&web, "web"), (&shop, "shop"), (&files, "files")] {
        origin.otherwise(move |_| Reply::ok(name));
    }
    let conf = [
        pool("web", &[web.addr()], ""),
        pool("shop", &[shop.addr()], ""),
        pool("files", &[files.addr()], ""),
        "[[route]]\npool = \"web\"\n".to_owned(),
        "[[route]]\nmatch = { host = \"*.example.com\" }\npool = \"shop\"\n".to_owned(),
        "[[route]]\nmatch = { host = \"shop.example.com\", path = \"/static/**\" }\npool = \"files\"\n".to_owned(),
    ];
    let edge = Edge::start(&conf.concat()).await;
    for (host, path, pool) in [
        ("other.test", "/static/a", "web"),
        ("shop.example.com", "/", "shop"),
        ("SHOP.Example.com:80", "/static/a.css", "files"),
        ("shop.example.com", "/x/../static/a.css", "files"),
        ("shop.example.com", "/%73tatic/a.css", "files"),
        ("www.example.com", "/static/a.css", "shop"),
        ("example.com", "/", "web"),
    ] {
        assert_eq!(edge.fetch(&Request::get(path).host(host)).await.expect(200).text(), pool, "{host}{path}");
    }
}

#[tokio::test]
async fn backends_see_the_path_that_was_matched() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a/./b/../%7Euser?q=/../x").await;
    let seen = origin.until_first().await;
    assert_eq!(seen.target, "/a/~user?q=/../x");
}

#[tokio::test]
async fn an_absolute_target_names_the_host() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.fetch(&Request::get("http://shop.example/a?b").host("other.example")).await;
    let seen = origin.until_first().await;
    assert_eq!((seen.target.as_str(), seen.headers.all("Host")), ("/a?b", vec!["shop.example"]));
}

#[tokio::test]
async fn what_no_route_matches_is_answered_404_here() {
    let origin = Origin::start().await;
    let conf = pool("web", &[origin.addr()], "") + "[[route]]\nmatch = { host = \"shop.example\" }\npool = \"web\"\n";
    let edge = Edge::start(&conf).await;
    edge.fetch(&Request::get("/").host("other.example")).await.expect(404);
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn two_edges_over_the_same_origin_know_nothing_of_each_other() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let conf = over(&[origin.addr()], "");
    let (one, two) = (Edge::start(&conf).await, Edge::start(&conf).await);
    assert_ne!(one.addr(), two.addr());
    assert_eq!(one.get("/a").await.verdict(), "MISS");
    assert_eq!(two.get("/a").await.verdict(), "MISS");
    assert_eq!(Client::connect(one.addr()).await.get("/a").await.verdict(), "HIT");
}
