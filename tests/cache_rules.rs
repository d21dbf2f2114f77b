//! What a route and an origin may say about caching beyond the plain lifetime, and who is told of it.

mod support;

use support::edge::Edge;
use support::http2::Http2Client;
use support::{Origin, Reply, Request, Response, date_after};

type Fields<'a> = &'a [(&'a str, &'a str)];

/// Answers that differ, so that a second one shows.
fn counted(origin: &Origin, path: &str, fields: Fields<'_>) {
    let fields: Vec<(String, String)> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    origin.on_nth(path, move |n, _| {
        fields.iter().fold(Reply::ok(format!("answer {n}")), |reply, (name, value)| reply.header(name, value))
    });
}

async fn twice(edge: &Edge, path: &str) -> (Response, Response) {
    (edge.get(path).await, edge.get(path).await)
}

#[tokio::test]
async fn a_targeted_field_goes_before_cache_control_rfc9213() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    let later = date_after(600);
    let cases: &[(&str, &str, Fields<'_>)] = &[
        ("/cdn", "HIT", &[("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")]),
        ("/own", "HIT", &[("CDN-Cache-Control", "no-store"), ("Hedgerow-Cache-Control", "max-age=60")]),
        ("/short", "MISS", &[("Cache-Control", "max-age=60"), ("CDN-Cache-Control", "max-age=0")]),
        ("/private", "MISS", &[("Cache-Control", "max-age=60"), ("CDN-Cache-Control", "private")]),
        ("/expires", "MISS", &[("Expires", &later), ("CDN-Cache-Control", "max-age=0")]),
        ("/broken", "MISS", &[("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60, &&")]),
        ("/typed", "MISS", &[("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=\"60\"")]),
    ];
    for (path, verdict, fields) in cases {
        counted(&origin, path, fields);
        let (miss, second) = twice(&edge, path).await;
        assert_eq!(second.verdict(), *verdict, "{path}: {second}");
        let sent = fields.iter().find(|(name, _)| *name == "CDN-Cache-Control").map(|(_, value)| *value);
        assert_eq!(miss.header("CDN-Cache-Control"), sent, "it is passed on");
    }
}

#[tokio::test]
async fn other_targets_may_be_named() {
    let origin = Origin::start().await;
    counted(&origin, "/a", &[("Cache-Control", "no-store"), ("Shop-Cache-Control", "max-age=60")]);
    counted(&origin, "/b", &[("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")]);
    let edge = Edge::over(&[&origin], "[cache]\ntargets = [\"Shop-Cache-Control\"]\n").await;
    assert_eq!(twice(&edge, "/a").await.1.verdict(), "HIT");
    assert_eq!(twice(&edge, "/b").await.1.verdict(), "MISS");
}

#[tokio::test]
async fn nothing_is_guessed_unless_asked_for() {
    let origin = Origin::start().await;
    let old = date_after(-86_400);
    for (path, status) in [("/page", 200), ("/missing", 404), ("/failed", 500)] {
        origin.on(path, Reply::new(status).body("x").header("Last-Modified", &old));
    }
    let edge = Edge::over(&[&origin], "").await;
    assert_eq!(twice(&edge, "/page").await.1.verdict(), "MISS");
    let edge = Edge::over(&[&origin], "[route.cache]\nheuristic = { max = \"10m\" }\n").await;
    let hit = twice(&edge, "/page").await.1;
    assert_eq!(hit.verdict(), "HIT");
    assert!(hit.cache_status().ttl().is_some_and(|ttl| (590..=600).contains(&ttl)), "{hit}");
    assert_eq!(twice(&edge, "/missing").await.1.verdict(), "HIT");
    assert_eq!(twice(&edge, "/failed").await.1.verdict(), "MISS");
}

#[tokio::test]
async fn a_guess_is_not_made_of_an_answer_to_a_cookie() {
    let origin = Origin::start().await;
    origin.on("/page", Reply::ok("x").header("Last-Modified", &date_after(-86_400)));
    let edge = Edge::over(&[&origin], "[route.cache]\nheuristic = {}\n").await;
    let answer = edge.fetch(&Request::get("/page").header("Cookie", "session=1")).await;
    assert_eq!(answer.cache_status().param("detail"), Some("guess-with-cookie"), "{answer}");
}

#[tokio::test]
async fn a_storm_of_reloads_is_answered_from_memory_where_the_route_says_so() {
    let origin = Origin::start().await;
    counted(&origin, "/a", &[("Cache-Control", "max-age=60")]);
    let edge = Edge::over(&[&origin], "[route.cache]\nclient_directives = \"ignore\"\n").await;
    edge.get("/a").await;
    for wish in ["no-cache", "max-age=0", "no-store", "min-fresh=100"] {
        let answer = edge.fetch(&Request::get("/a").header("Cache-Control", wish)).await;
        assert_eq!(answer.verdict(), "HIT", "{wish}");
    }
    counted(&origin, "/b", &[("Cache-Control", "max-age=60")]);
    let wish = Request::get("/b").header("Cache-Control", "no-store, only-if-cached");
    assert!(edge.fetch(&wish).await.expect(200).cache_status().is("stored"));
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_copy_keeps_the_date_its_origin_gave_it_rfc9110_6_6_1() {
    let origin = Origin::start().await;
    let date = date_after(-20);
    origin.on("/a", Reply::fresh(60, "alpha").header("Date", &date));
    origin.on("/b", Reply::ok("beta").header("Date", &date).header("Cache-Control", "no-store"));
    origin.on("/c", Reply::fresh(60, "gamma").undated().header("!date", "forged"));
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\", \"h2\"]\n";
    let edge = Edge::over(&[&origin], listener).await;
    for path in ["/a", "/b"] {
        let (miss, second) = twice(&edge, path).await;
        assert_eq!((miss.headers.all("Date"), second.headers.all("Date")), (vec![&*date], vec![&*date]), "{path}");
    }
    let (miss, hit) = twice(&edge, "/c").await;
    for answer in [&miss, &hit] {
        assert!(answer.header("Date").is_some_and(|date| date.ends_with("GMT")), "{answer}");
        assert_eq!(answer.header("!date"), None, "{answer}");
    }
    // Over HTTP/2 a miss, hits, and what is not stored.
    let client = Http2Client::connect(edge.addr()).await;
    for (path, expected) in [("/a?2", &*date), ("/a?2", &date), ("/b", &date), ("/c?2", "GMT"), ("/c?2", "GMT")] {
        let answer = client.get(path).await;
        assert!(answer.header("date").ends_with(expected), "{path} {answer:?}");
        assert_eq!((answer.headers.get_all("date").iter().count(), answer.header("!date")), (1, ""), "{answer:?}");
    }
}

#[tokio::test]
async fn a_key_may_hold_headers_cookies_and_a_class_of_device() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        let field = |name: &str| seen.headers.get(name).unwrap_or("none").to_owned();
        Reply::fresh(60, format!("{} {}", field("X-Tenant"), field("X-Device-Class")))
    });
    let edge = Edge::over(
        &[&origin],
        "[route.cache.key]\ntemplate = \"{scheme}{host}{path}{header:X-Tenant}{cookie:cur}{device}\"\n\
         device = [{ class = \"mobile\", user_agent = \"*Mobile*\" }]\n",
    )
    .await;
    let of = |tenant: &str, cookie: &str, agent: &str| {
        Request::get("/a?dropped")
            .header("X-Tenant", tenant)
            .header("Cookie", cookie)
            .header("User-Agent", agent)
            .header("X-Device-Class", "forged")
    };
    let first = edge.fetch(&of("one", "cur=EUR; a=1", "a Mobile b")).await;
    assert_eq!((first.verdict(), first.text().as_str()), ("MISS", "one mobile"));
    assert_eq!(origin.only("/a").target, "/a", "what is not in the key is not sent");
    let key = first.cache_status().param("key").map(ToOwned::to_owned).unwrap_or_default();
    assert!(key.contains("/a x-tenant=one {device}=mobile {cookie}cur=EUR"), "{key}");
    assert_eq!(edge.fetch(&of("one", "b=2; cur=EUR", "another Mobile")).await.verdict(), "HIT");
    for (tenant, cookie, agent) in
        [("two", "cur=EUR", "Mobile"), ("one", "cur=USD", "Mobile"), ("one", "cur=EUR", "X11")]
    {
        assert_eq!(edge.fetch(&of(tenant, cookie, agent)).await.verdict(), "MISS", "{tenant} {cookie} {agent}");
    }
}

#[tokio::test]
async fn a_site_under_several_names_is_stored_once_and_asked_for_under_one() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| Reply::fresh(60, seen.headers.get("Host").unwrap_or_default()));
    let conf = "[route.cache.key]\nhost = \"www.shop.example\"\nquery = { keep = [\"page\"] }\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let edge = Edge::over(&[&origin], conf).await;
    let miss = edge.fetch(&Request::get("/a?utm=1&page=2").host("shop.example")).await;
    assert_eq!(miss.text(), "www.shop.example");
    let other = Request::get("/a?page=2&x=1").host("old.example:8080").header("X-Forwarded-Host", "x.example");
    assert_eq!(edge.fetch(&other).await.verdict(), "HIT");
    let seen = origin.only("/a");
    assert_eq!((seen.target.as_str(), seen.headers.get("X-Forwarded-Host")), ("/a?page=2", Some("www.shop.example")));
}

#[tokio::test]
async fn languages_are_reduced_to_those_of_the_site_for_cache_and_backend_alike() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        Reply::fresh(60, seen.headers.get("Accept-Language").unwrap_or("none")).header("Vary", "Accept-Language")
    });
    let edge = Edge::over(&[&origin], "[route.cache]\nvary = { accept_language = [\"en\", \"de\"] }\n").await;
    for (value, body, verdict) in [
        ("de-CH, en;q=0.2", "de", "MISS"),
        ("DE", "de", "HIT"),
        ("en-US,en", "en", "MISS"),
        ("fr, en;q=0.1", "en", "HIT"),
        ("fr", "none", "MISS"),
        ("it", "none", "HIT"),
    ] {
        let answer = edge.fetch(&Request::get("/a").header("Accept-Language", value)).await;
        assert_eq!((answer.text().as_str(), answer.verdict()), (body, verdict), "{value}");
    }
}

#[tokio::test]
async fn key_and_detail_are_told_to_those_who_may_know_and_to_nobody_else() {
    let origin = Origin::start().await;
    counted(&origin, "/a", &[("Cache-Control", "private")]);
    let nobody = Edge::over(&[&origin], "[cache.reveal]\nclients = []\n").await;
    let said = nobody.get("/a").await.cache_status();
    assert_eq!((said.param("key"), said.param("detail")), (None, None));

    let by_secret = Edge::over(&[&origin], "[cache.reveal]\nheader = \"X-Debug\"\nsecret = \"swordfish\"\n").await;
    let answer = by_secret.fetch(&Request::get("/a").header("X-Debug", "swordfish")).await;
    let said = answer.cache_status();
    assert!(said.param("key").is_some_and(|key| key.ends_with("/a")), "{answer}");
    assert_eq!(said.param("detail"), Some("private"));
    for guess in ["swordfish2", "Swordfish", ""] {
        let said = by_secret.fetch(&Request::get("/a").header("X-Debug", guess)).await.cache_status();
        assert_eq!((said.param("key"), said.param("detail")), (None, None), "{guess}");
    }
    assert!(origin.seen("/a").iter().all(|seen| seen.headers.get("X-Debug").is_none()), "the secret goes no further");

    let by_address = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[cache.reveal]\nclients = [\"192.0.2.0/24\"]\n";
    let by_address = Edge::over(&[&origin], by_address).await;
    for (client, told) in [("192.0.2.7", true), ("198.51.100.1", false)] {
        let said = by_address.fetch(&Request::get("/a").header("X-Forwarded-For", client)).await.cache_status();
        assert_eq!(said.param("detail").is_some(), told, "{client}");
    }
}

#[tokio::test]
async fn a_page_under_a_files_name_is_not_kept_by_a_routes_ttl() {
    let origin = Origin::start().await;
    origin.on("/account/x.css", Reply::ok("secret").header("Content-Type", "text/html"));
    origin.on("/real.css", Reply::ok("a {}").header("Content-Type", "text/css"));
    let edge = Edge::over(&[&origin], "[route.cache]\nttl = { 200 = \"60s\" }\n").await;
    let victim = edge.fetch(&Request::get("/account/x.css").header("Cookie", "session=1")).await;
    assert_eq!(victim.cache_status().param("detail"), Some("deception"));
    assert_eq!(edge.get("/account/x.css").await.verdict(), "MISS");
    assert_eq!(twice(&edge, "/real.css").await.1.verdict(), "HIT");
}

#[tokio::test]
async fn cookies_are_shared_only_where_the_route_says_so() {
    let origin = Origin::start().await;
    counted(&origin, "/a", &[("Cache-Control", "max-age=60"), ("Set-Cookie", "a=b")]);
    let edge = Edge::over(&[&origin], "[route.cache]\nset_cookie = \"share\"\n").await;
    let (miss, hit) = twice(&edge, "/a").await;
    assert_eq!((hit.verdict(), miss.header("Set-Cookie"), hit.header("Set-Cookie")), ("HIT", Some("a=b"), Some("a=b")));
}

#[tokio::test]
async fn a_route_may_serve_stale_where_the_origin_forbids_it_only_by_a_loud_name() {
    let stale = |more: &str| format!("[route.cache]\nstale = {{ if_error = \"10m\"{more} }}\n");
    for (more, status) in [("", 503), (", override_origin = true", 200)] {
        for (path, control) in [("/s", "s-maxage=0"), ("/must", "max-age=0, must-revalidate"), ("/no", "no-cache")] {
            let origin = Origin::start().await;
            let good = Reply::ok("good").etag("\"a\"").header("Cache-Control", control);
            origin.on_each(path, [good, Reply::new(503).body("bad")]);
            let edge = Edge::over(&[&origin], &stale(more)).await;
            let (_, second) = twice(&edge, path).await;
            assert_eq!(second.status, status, "{path} {more}: {second}");
        }
    }
}

#[tokio::test]
async fn an_error_is_kept_only_by_a_lifetime_of_its_own() {
    let origin = Origin::start().await;
    origin.on("/broken", Reply::new(500).body("x")).on("/missing", Reply::new(404).body("x")).on("/ok", Reply::ok("x"));
    let edge = Edge::over(&[&origin], "[route.cache]\nttl = { default = \"60s\", 404 = \"30s\" }\n").await;
    for (path, verdict) in [("/broken", "MISS"), ("/missing", "HIT"), ("/ok", "HIT")] {
        assert_eq!(twice(&edge, path).await.1.verdict(), verdict, "{path}");
    }
}
