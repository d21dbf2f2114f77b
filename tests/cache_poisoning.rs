//! Pairs of requests: what one client sends must not decide what the next one gets.
//!
//! The origin echoes what it was sent and lets everything be stored, which is the worst that an origin can do.

mod support;

use support::edge::Edge;
use support::{Origin, Reply, Request};

/// An origin that answers with all the fields it got.
async fn echo() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|seen| {
        let fields: Vec<String> =
            FIELDS.iter().filter_map(|name| Some(format!("{name}={}", seen.headers.get(name)?))).collect();
        Reply::fresh(60, format!("{} {} {}", seen.method, seen.target, fields.join(" ")))
    });
    origin
}

/// What may change an answer and stands in no key.
const FIELDS: &[&str] = &[
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Prefix",
    "Forwarded",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-Real-IP",
    "X-Device-Class",
];

#[tokio::test]
async fn a_field_that_no_key_holds_does_not_reach_the_origin() {
    let origin = echo().await;
    let edge = Edge::over(&[&origin], "").await;
    for (i, name) in FIELDS.iter().enumerate() {
        let path = format!("/{i}");
        let victim = edge.fetch(&Request::get(&path).header(name, "evil.example")).await.expect(200);
        assert!(!victim.text().contains("evil"), "{name}: {victim}");
        let next = edge.get(&path).await;
        assert_eq!((next.verdict(), next.text()), ("HIT", victim.text()), "{name}");
    }
}

#[tokio::test]
async fn a_field_with_underscores_is_not_taken_for_another() {
    let origin = echo().await;
    let edge = Edge::over(&[&origin], "").await;
    edge.fetch(
        &Request::get("/a").header("X_Forwarded_Host", "evil.example").header("X_HTTP_Method_Override", "DELETE"),
    )
    .await;
    let seen = origin.only("/a");
    assert_eq!((seen.headers.get("X_Forwarded_Host"), seen.headers.get("X_HTTP_Method_Override")), (None, None));
}

#[tokio::test]
async fn a_keyed_field_with_underscores_is_not_taken_for_the_keyed_one() {
    let origin = echo().await;
    let conf = "[route.cache.key]\ntemplate = \"{scheme}{host}{path}{header:X-Tenant}{device}\"\n\
                device = [{ class = \"mobile\", user_agent = \"*Mobile*\" }]\n";
    let edge = Edge::over(&[&origin], conf).await;
    let forged =
        Request::get("/a").header("X_Tenant", "evil").header("X_Device_Class", "evil").header("X_Other", "kept");
    edge.fetch(&forged.header("X-Tenant", "good")).await.expect(200);
    let seen = origin.only("/a");
    let field = |name| seen.headers.get(name);
    assert_eq!((field("X_Tenant"), field("X_Device_Class")), (None, None));
    assert_eq!(
        (field("X-Tenant"), field("X-Device-Class"), field("X_Other")),
        (Some("good"), Some("other"), Some("kept"))
    );
}

#[tokio::test]
async fn hosts_do_not_share_even_where_the_path_is_the_same() {
    let origin = echo().await;
    let edge = Edge::over(&[&origin], "").await;
    for host in ["a.example", "b.example", "a.example:8080"] {
        assert_eq!(edge.fetch(&Request::get("/p").host(host)).await.verdict(), "MISS", "{host}");
    }
    assert_eq!(edge.fetch(&Request::get("/p").host("A.Example:80")).await.verdict(), "HIT");
}

#[tokio::test]
async fn an_error_provoked_by_one_client_is_not_the_next_ones() {
    let origin = Origin::start().await;
    origin.on_call("/p", |seen| match seen.headers.get("X-Big") {
        Some(_) => Reply::new(400).body("too much for me"),
        None => Reply::ok("fine"),
    });
    let edge = Edge::over(&[&origin], "[route.cache]\nttl = { default = \"60s\" }\n").await;
    edge.fetch(&Request::get("/p").header("X-Big", "x".repeat(4000))).await.expect(400);
    assert_eq!(edge.get("/p").await.expect(200).text(), "fine");
}

#[tokio::test]
async fn a_body_on_a_get_neither_reads_nor_writes_the_cache() {
    let origin = echo().await;
    let edge = Edge::over(&[&origin], "").await;
    let fat = Request::new("GET", "/p").body("q=evil");
    assert!(!edge.fetch(&fat).await.cache_status().is("stored"));
    assert_eq!(edge.get("/p").await.verdict(), "MISS");
    assert_ne!(edge.fetch(&fat).await.verdict(), "HIT");
}

#[tokio::test]
async fn a_variant_on_a_cookie_stays_with_its_cookie() {
    let origin = Origin::start().await;
    origin.on_call("/me", |seen| {
        Reply::fresh(60, seen.headers.get("Cookie").unwrap_or("nobody")).header("Vary", "Cookie")
    });
    let edge = Edge::over(&[&origin], "[route.cache]\nvary = { max_variants = 3 }\n").await;
    for round in 0..2 {
        for user in ["a", "b", "c", "d", "e"] {
            let answer = edge.fetch(&Request::get("/me").header("Cookie", format!("user={user}"))).await;
            assert_eq!(answer.text(), format!("user={user}"), "round {round}");
        }
        assert_eq!(edge.get("/me").await.text(), "nobody");
    }
}

#[tokio::test]
async fn what_is_only_to_be_had_from_memory_is_a_504_when_it_is_not_there() {
    let origin = echo().await;
    let edge = Edge::over(&[&origin], "").await;
    let answer = edge.fetch(&Request::get("/p").header("Cache-Control", "only-if-cached")).await.expect(504);
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn unknown_methods_and_odd_statuses_pass_unharmed() {
    let origin = Origin::start().await;
    for status in [299, 499, 599, 999] {
        origin.on(&format!("/{status}"), Reply::new(status).body("odd").header("Cache-Control", "max-age=60"));
    }
    origin.otherwise(|seen| Reply::ok(format!("{} {}", seen.method, String::from_utf8_lossy(&seen.body))));
    let edge = Edge::over(&[&origin], "").await;
    for status in [299, 499, 599, 999] {
        let path = format!("/{status}");
        assert_eq!(edge.get(&path).await.expect(status).text(), "odd");
        assert_eq!(edge.get(&path).await.expect(status).verdict(), "HIT");
    }
    for method in ["M-SEARCH", "PROPFIND", "PURGE", "X-OWN"] {
        let answer = edge.fetch(&Request::new(method, "/dav").body("hello")).await.expect(200);
        assert_eq!((answer.text(), answer.verdict()), (format!("{method} hello"), "BYPASS"));
    }
}

/// Pingora makes a refresh of the bytes of the request that set it off, not of what was left of its fields.
#[tokio::test]
async fn a_refresh_believes_no_stranger() {
    let origin = Origin::start().await;
    origin.otherwise(|seen| Reply::ok(seen.header("X-Forwarded-Host").unwrap_or("-")));
    let route = "[route.cache]\nttl = { default = \"1s\" }\nstale = { while_revalidate = \"1h\" }\n";
    let proxies = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    for (conf, told) in [(route.to_owned(), "edge.test"), (format!("{route}{proxies}"), "told.test")] {
        let edge = Edge::over(&[&origin], &conf).await;
        let path = format!("/{told}");
        let request =
            Request::get(&path).header("X-Forwarded-Host", "told.test").header("X-Forwarded-For", "203.0.113.9");
        edge.fetch(&request).await.expect(200);
        support::eventually("a refresh", || async {
            edge.fetch(&request).await.expect(200);
            (origin.count(&path) == 2).then_some(())
        })
        .await;
        for seen in origin.seen(&path) {
            assert_eq!(seen.header("X-Forwarded-Host"), Some(told), "{seen:#?}");
        }
        support::eventually("what was fetched is stored where it is looked for", || async {
            (edge.fetch(&request).await.verdict() == "HIT").then_some(())
        })
        .await;
    }
}
