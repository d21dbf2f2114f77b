//! Purges: at the admin address, by the method `PURGE`, from a shell.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::edge::Edge;
use support::{Gate, Origin, Reply, Request, Response, client};

/// An edge over an origin whose pages are tagged with their first letter, in four fields, and `page`.
async fn house(more: &str) -> (Origin, Edge) {
    let origin = Origin::start().await;
    origin.otherwise(|seen| {
        let letter = seen.path()[1..2].to_owned();
        Reply::fresh(3600, seen.target.clone())
            .header("Surrogate-Key", &format!("page {letter}"))
            .header("Cache-Tag", &format!("cf {letter}, x"))
            .header("xkey", &format!("v-{letter}"))
            .header("Cache-Groups", &format!("\"g {letter}\""))
    });
    let edge = Edge::over(&[&origin], more).await;
    (origin, edge)
}

async fn order(edge: &Edge, body: &Value) -> Response {
    client::fetch(edge.admin(), &Request::post("/purge", body.to_string())).await
}

/// Fills the cache with these targets, purges, and tells what is still there.
async fn left(edge: &Edge, targets: &[&'static str], purge: &Value) -> Vec<&'static str> {
    for target in targets {
        edge.get(target).await.expect(200);
        assert_eq!(edge.get(target).await.expect(200).verdict(), "HIT", "{target}");
    }
    let answer = order(edge, purge).await.expect(200);
    assert_eq!(answer.json()["soft"], json!(false), "{answer}");
    let mut left = Vec::new();
    for target in targets {
        if edge.get(target).await.expect(200).verdict() == "HIT" {
            left.push(*target);
        }
    }
    left
}

#[tokio::test]
async fn the_admin_address_purges_by_url_tag_host_prefix_glob_and_all() {
    let (_origin, edge) = house("").await;
    let all = ["/a/1", "/a/1?q", "/a/2", "/b/1"];
    for (purge, remains) in [
        (json!({ "url": "http://edge.test/a/1" }), &["/a/1?q", "/a/2", "/b/1"][..]),
        (json!({ "url": "https://edge.test/a/1?q" }), &["/a/1", "/a/2", "/b/1"]),
        (json!({ "url": "http://other.test/a/1" }), &all),
        (json!({ "tag": "b" }), &["/a/1", "/a/1?q", "/a/2"]),
        (json!({ "tags": ["cf b", "none"] }), &["/a/1", "/a/1?q", "/a/2"]),
        (json!({ "tag": "v-a" }), &["/b/1"]),
        (json!({ "tag": "g a" }), &["/b/1"]),
        (json!({ "tag": "page" }), &[]),
        (json!({ "host": "EDGE.test" }), &[]),
        (json!({ "host": "test" }), &all),
        (json!({ "prefix": "http://edge.test/a/1" }), &["/a/2", "/b/1"]),
        (json!({ "glob": "edge.test/*/1" }), &["/a/2"]),
        (json!({ "glob": "*.test/a/**" }), &["/b/1"]),
        (json!({ "all": true }), &[]),
    ] {
        assert_eq!(left(&edge, &all, &purge).await, remains, "{purge}");
    }
    let admin = |kind| [("cause", "admin"), ("kind", kind)];
    edge.metric_becomes("hedgerow_purges_total", &admin("tag"), 5.0).await;
    edge.metric_becomes("hedgerow_purges_total", &admin("all"), 1.0).await;
}

#[tokio::test]
async fn every_mistake_is_answered_with_a_sentence() {
    let (_origin, edge) = house("").await;
    for body in ["", "{", "[]", "{}", r#"{"url": "/a"}"#, r#"{"all": true, "tag": "a"}"#, r#"{"uri": "http://a/"}"#] {
        let answer = client::fetch(edge.admin(), &Request::post("/purge", body)).await.expect(400);
        assert!(answer.json()["errors"][0].as_str().is_some_and(|sentence| sentence.len() > 20), "{body}: {answer}");
    }
    let answer = client::fetch(edge.admin(), &Request::get("/purge")).await.expect(405);
    assert_eq!(answer.header("Allow"), Some("POST"));
    let large = format!("{{\"tag\": \"{}\"}}", "x".repeat(300 << 10));
    client::fetch(edge.admin(), &Request::post("/purge", large)).await.expect(413);
    edge.metric_becomes("hedgerow_purges_refused_total", &[("reason", "invalid")], 8.0).await;
}

#[tokio::test]
async fn when_too_many_are_pending_a_purge_is_refused_and_not_forgotten() {
    let (_origin, edge) = house("").await;
    edge.get("/a").await.expect(200);
    for n in 0..256 {
        order(&edge, &json!({ "prefix": format!("http://none.test/{n}"), "soft": true })).await.expect(200);
    }
    let purge = json!({ "prefix": "http://edge.test/" });
    let refused = order(&edge, &purge).await;
    // A sweep may just have made room; a purge that is accepted is done, one that is refused is not.
    match refused.status {
        503 => assert_eq!(edge.get("/a").await.verdict(), "HIT"),
        status => assert_eq!((status, edge.get("/a").await.verdict()), (200, "MISS")),
    }
    support::eventually("there is room again", || async {
        let answer = order(&edge, &purge).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "MISS");
}

#[tokio::test]
async fn a_soft_purge_keeps_the_page_for_when_the_backend_fails() {
    let origin = Origin::start().await;
    origin.on_each(
        "/a",
        [Reply::fresh(3600, "first").header("Surrogate-Key", "a"), Reply::new(503), Reply::fresh(3600, "second")],
    );
    let edge = Edge::over(&[&origin], "[route.cache]\nstale = { if_error = \"1h\" }\n").await;
    edge.get("/a").await.expect(200);
    let told = order(&edge, &json!({ "tag": "a", "soft": true })).await.expect(200);
    assert_eq!(told.json()["soft"], json!(true));
    let stale = edge.get("/a").await.expect(200);
    assert_eq!((stale.verdict(), stale.text().as_str()), ("STALE", "first"), "{stale}");
    assert!(stale.cache_status().ttl().is_some_and(|ttl| ttl <= 0), "{stale}");
    let fetched = edge.get("/a").await.expect(200);
    assert_eq!((fetched.verdict(), fetched.text().as_str()), ("EXPIRED", "second"));
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn a_purge_wins_against_a_fetch_that_was_under_way() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let tagged = |body: &str| Reply::fresh(3600, body).header("xkey", "t");
    origin.on_each("/a", [tagged("old").held_by(&gate), tagged("new")]);
    let edge = Edge::over(&[&origin], "").await;
    let mut early = edge.client().await;
    early.ask(&Request::get("/a")).await;
    gate.arrived(1).await;
    order(&edge, &json!({ "tag": "t" })).await.expect(200);
    gate.open();
    assert_eq!(early.answer().await.expect(200).text(), "old");
    assert_eq!(edge.get("/a").await.expect(200).text(), "new");
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn memory_is_freed_behind_a_purge() {
    let (_origin, edge) = house("").await;
    for n in 0..20 {
        edge.get(&format!("/a/{n}")).await.expect(200);
    }
    edge.get("/b").await.expect(200);
    order(&edge, &json!({ "tag": "a" })).await.expect(200);
    edge.metric_becomes("hedgerow_cache_purged_objects_total", &[], 20.0).await;
    assert_eq!(edge.get("/b").await.expect(200).verdict(), "HIT");
}

const TAG_FIELDS: [&str; 4] = ["Surrogate-Key", "Cache-Tag", "xkey", "Cache-Groups"];

#[tokio::test]
async fn clients_do_not_see_tag_fields() {
    let (_origin, edge) = house("[cache.reveal]\nclients = []\n").await;
    for verdict in ["MISS", "HIT"] {
        let answer = edge.get("/a").await.expect(200);
        assert_eq!(answer.verdict(), verdict);
        assert!(TAG_FIELDS.iter().all(|field| answer.header(field).is_none()), "{answer}");
    }
}

#[tokio::test]
async fn those_who_are_told_the_key_see_them() {
    let (_origin, edge) = house("[cache.reveal]\nclients = [\"127.0.0.1\"]\n").await;
    for verdict in ["MISS", "HIT"] {
        let answer = edge.get("/a").await.expect(200);
        assert_eq!(answer.verdict(), verdict);
        assert!(TAG_FIELDS.iter().all(|field| answer.header(field).is_some()), "{answer}");
    }
}

#[tokio::test]
async fn a_url_is_purged_whatever_else_its_key_holds() {
    let key = "[route.cache.key]\ntemplate = \"{scheme}{host}{path}{header:X-Tenant}\"\nhost = \"www.edge.test\"\n";
    let purging = "[route.cache.purge]\nallow = [\"127.0.0.1\"]\n";
    let (_origin, edge) = house(&format!("{key}{purging}")).await;
    let of = |tenant: &str, target: &str| Request::get(target).header("X-Tenant", tenant);
    let url = |url: &str| json!({ "url": url });
    for purge in [
        Some(url("http://edge.test/a?any")),
        Some(url("http://www.edge.test/a")),
        Some(json!({ "host": "www.edge.test" })),
        None,
    ] {
        for tenant in ["1", "2"] {
            edge.fetch(&of(tenant, "/a?x")).await.expect(200);
            assert_eq!(edge.fetch(&of(tenant, "/a?y")).await.verdict(), "HIT");
        }
        match &purge {
            Some(purge) => order(&edge, purge).await.expect(200),
            None => edge.fetch(&self::purge("/a?z")).await.expect(200),
        };
        for tenant in ["1", "2"] {
            assert_eq!(edge.fetch(&of(tenant, "/a")).await.verdict(), "MISS", "{purge:?}");
        }
    }
}

#[tokio::test]
async fn the_tag_fields_are_configured() {
    let (_origin, edge) = house("[cache]\ntags = [\"XKey\"]\nreveal = {}\n").await;
    let answer = edge.get("/a").await.expect(200);
    assert!(answer.header("xkey").is_none() && answer.header("Surrogate-Key") == Some("page a"), "{answer}");
    assert_eq!(left(&edge, &["/a", "/b"], &json!({ "tag": "page" })).await, ["/a", "/b"]);
    assert_eq!(left(&edge, &["/a", "/b"], &json!({ "tag": "v-a" })).await, ["/b"]);
}

fn purge(target: &str) -> Request {
    Request::new("PURGE", target)
}

#[tokio::test]
async fn without_its_table_the_method_is_forwarded() {
    let (origin, edge) = house("").await;
    edge.fetch(&purge("/a")).await.expect(200);
    assert_eq!(origin.only("/a").method, "PURGE");
}

#[tokio::test]
async fn the_method_purges_its_target_with_all_variants() {
    let (origin, edge) = house("[route.cache.purge]\nallow = [\"127.0.0.1\"]\n").await;
    edge.get("/a?x").await.expect(200);
    edge.get("/b").await.expect(200);
    let answer = edge.fetch(&purge("/%61?x")).await.expect(200);
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    let told = answer.json();
    assert_eq!(
        (&told["kind"], &told["purged"], &told["soft"]),
        (&json!("url"), &json!("edge.test/a?x"), &json!(false))
    );
    assert_eq!(edge.get("/a?x").await.verdict(), "MISS");
    assert_eq!(edge.get("/b").await.verdict(), "HIT");
    assert!(origin.seen("/a").iter().all(|seen| seen.method == "GET"), "a purge is not forwarded");
    edge.metric_becomes("hedgerow_purges_total", &[("cause", "method"), ("kind", "url")], 1.0).await;
}

#[tokio::test]
async fn the_method_purges_tags_of_its_own_origin() {
    let (_origin, edge) = house("[route.cache.purge]\nallow = [\"127.0.0.1\"]\n").await;
    for (field, value) in
        [("Surrogate-Key", "a none"), ("xkey", "v-a"), ("Cache-Tag", "cf a"), ("Cache-Groups", "\"g a\"")]
    {
        let theirs = Request::get("/a").host("other.test");
        for request in [&theirs, &Request::get("/a"), &Request::get("/b")] {
            edge.fetch(request).await.expect(200);
        }
        let told = edge.fetch(&purge("/").header(field, value)).await.expect(200);
        assert_eq!(told.json()["kind"], json!("tag"), "{told}");
        assert_eq!(edge.get("/a").await.verdict(), "MISS", "{field}");
        assert_eq!(edge.get("/b").await.verdict(), "HIT", "{field}");
        assert_eq!(edge.fetch(&theirs).await.verdict(), "HIT", "{field}");
    }
    let many = (0..129).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    edge.fetch(&purge("/").header("xkey", many)).await.expect(400);
}

#[tokio::test]
async fn the_method_may_purge_softly() {
    let keys = "[route.cache]\nstale = { if_error = \"1h\" }\n[route.cache.purge]\nallow = [\"127.0.0.1\"]\n";
    for (keys, fields, soft) in [
        (keys.to_owned(), &[("Purge-Soft", "1")][..], true),
        (keys.to_owned(), &[("Fastly-Soft-Purge", "1")], true),
        (keys.to_owned(), &[], false),
        (format!("{keys}soft = true\n"), &[], true),
        (format!("{keys}soft = true\n"), &[("Purge-Soft", "0")], false),
    ] {
        let (_origin, edge) = house(&keys).await;
        edge.get("/a").await.expect(200);
        let request = fields.iter().fold(purge("/a"), |request, (name, value)| request.header(name, value));
        assert_eq!(edge.fetch(&request).await.expect(200).json()["soft"], json!(soft), "{keys} {fields:?}");
        assert_eq!(edge.get("/a").await.verdict(), if soft { "EXPIRED" } else { "MISS" }, "{keys} {fields:?}");
    }
}

#[tokio::test]
async fn from_elsewhere_it_is_forbidden_whatever_is_said_of_the_address() {
    let (origin, edge) = house("[route.cache.purge]\nallow = [\"192.0.2.1\"]\n").await;
    edge.get("/a").await.expect(200);
    for field in ["X-Forwarded-For", "X_Forwarded_For", "X-Real-IP", "Forwarded"] {
        edge.fetch(&purge("/a").header(field, "192.0.2.1")).await.expect(403);
    }
    assert_eq!(edge.get("/a").await.verdict(), "HIT");
    assert_eq!(origin.count("/a"), 1);
    edge.metric_becomes("hedgerow_purges_refused_total", &[("reason", "forbidden")], 4.0).await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_clients_address_counts() {
    let (_origin, edge) =
        house("[route.cache.purge]\nallow = [\"192.0.2.0/24\"]\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\n").await;
    edge.fetch(&purge("/a").header("X-Forwarded-For", "192.0.2.7")).await.expect(200);
    edge.fetch(&purge("/a").header("X-Forwarded-For", "192.0.2.7, 198.51.100.1")).await.expect(403);
    edge.fetch(&purge("/a")).await.expect(403);
}

#[tokio::test]
async fn a_token_must_be_the_right_one_and_is_never_shown() {
    let token = "correct-horse-battery";
    let (_origin, edge) = house(&format!("[route.cache.purge]\ntoken = \"{token}\"\n")).await;
    edge.get("/a").await.expect(200);
    let with = |value: &str| purge("/a").header("Authorization", value);
    let answer = edge.fetch(&purge("/a")).await.expect(401);
    assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
    for none in ["Basic Y29ycmVjdA==", "Bearer ", "Bearer", ""] {
        edge.fetch(&with(none)).await.expect(401);
    }
    for wrong in ["Bearer correct-horse-batterz", "Bearer correct-horse", "Bearer correct-horse-battery2"] {
        edge.fetch(&with(wrong)).await.expect(403);
    }
    assert_eq!(edge.get("/a").await.verdict(), "HIT");
    edge.fetch(&with(&format!("bearer {token}"))).await.expect(200);
    assert_eq!(edge.get("/a").await.verdict(), "MISS");
    let shown = edge.admin_get("/config").await.expect(200).text();
    assert!(shown.contains("(secret)") && !shown.contains(token), "{shown}");
}

#[tokio::test]
async fn with_both_both_must_hold() {
    let (_origin, edge) = house("[route.cache.purge]\nallow = [\"192.0.2.1\"]\ntoken = \"env:CARGO_PKG_NAME\"\n").await;
    let token = format!("Bearer {}", env!("CARGO_PKG_NAME"));
    edge.fetch(&purge("/a").header("Authorization", &token)).await.expect(403);
    let (_origin, edge) = house("[route.cache.purge]\nallow = [\"127.0.0.1\"]\ntoken = \"env:CARGO_PKG_NAME\"\n").await;
    edge.fetch(&purge("/a")).await.expect(401);
    edge.fetch(&purge("/a").header("Authorization", &token)).await.expect(200);
}

#[tokio::test]
async fn a_shell_purges_and_gets_the_answer_and_an_exit_code() {
    let (_origin, edge) = house("").await;
    for target in ["/a", "/b"] {
        edge.get(target).await.expect(200);
    }
    let admin = edge.admin().to_string();
    let run = |arguments: &'static [&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hedgerow"));
        command.args(["purge", "--admin", &admin]).args(arguments);
        async { tokio::task::spawn_blocking(move || command.output()).await.expect("it ends").expect("it starts") }
    };
    let done = run(&["--tag", "a", "--soft"]).await;
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let told: Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!((&told["kind"], &told["soft"]), (&json!("tag"), &json!(true)));
    assert_eq!(edge.get("/a").await.verdict(), "EXPIRED");
    assert_eq!(edge.get("/b").await.verdict(), "HIT");
    let wrong = run(&["--glob", "nothing"]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("HOST/PATH"), "{wrong:?}");
    assert_eq!(run(&["--all", "--host", "a"]).await.status.code(), Some(2));
}
