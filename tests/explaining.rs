//! `POST /explain` and `hedgerow explain`: what the cache would do, and why.

mod support;

use serde_json::{Value, json};
use support::edge::Edge;
use support::{Origin, Reply, Request, Response, client, date_after};

async fn ask(edge: &Edge, question: &Value) -> Response {
    client::fetch(edge.admin(), &Request::post("/explain", question.to_string())).await
}

async fn explain(edge: &Edge, question: Value) -> Value {
    let answer = ask(edge, &question).await.expect(200);
    let told: Option<Value> = serde_json::from_str(&answer.text()).ok();
    assert!(told.is_some(), "no JSON: {answer}");
    told.unwrap_or_default()
}

fn says(told: &Value, key: &str, part: &str) {
    assert!(told[key].as_str().is_some_and(|text| text.contains(part)), "{key}: {part}\n{told:#}");
}

#[tokio::test]
async fn a_stored_copy_is_told_with_the_arithmetic_of_its_freshness() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(100, "alpha").header("Date", &date_after(-30)).header("Age", "10").etag("\"1\""));
    let edge = Edge::over(&[&origin], "priority = \"critical\"\n[route.cache]\nstale = { if_error = \"5m\" }\n").await;
    edge.fetch(&Request::get("/a").host("shop.example")).await.expect(200);
    let told = explain(&edge, json!({ "url": "http://Shop.example:80/b/../a" })).await;
    assert_eq!(told["key"], "http://shop.example/a");
    assert_eq!((&told["stored"]["status"], &told["stored"]["length"]), (&json!(200), &json!(5)));
    let (lifetime, age) = (&told["stored"]["lifetime"], &told["stored"]["age"]);
    assert_eq!((&lifetime["fresh"], &lifetime["source"]), (&json!(100), &json!("max-age")));
    assert_eq!(lifetime["if_error"], 300);
    assert!((30..40).contains(&age["on_arrival"].as_u64().unwrap()), "{told:#}");
    assert!((60..=70).contains(&told["stored"]["ttl"].as_i64().unwrap()), "{told:#}");
    says(&told, "now", "this copy, fresh for");
    assert_eq!(told["priority"], "critical");
    let told =
        explain(&edge, json!({ "url": "http://shop.example/a", "headers": [["Cache-Control", "no-cache"]] })).await;
    says(&told, "now", "[request-no-cache]");
    assert!(told["hints"][0].as_str().unwrap().contains("client_directives"));
    assert_eq!(origin.count("/a"), 1, "nothing was sent to the origin");
}

#[tokio::test]
async fn what_is_not_stored_is_told_with_the_last_reason() {
    let origin = Origin::start().await;
    origin
        .on("/cookie", Reply::fresh(60, "x").header("Set-Cookie", "a=b"))
        .on("/silent", Reply::ok("x"))
        .on("/vary", Reply::fresh(60, "x").header("Vary", "Accept-Language"));
    let edge = Edge::over(&[&origin], "").await;
    for path in ["/cookie", "/silent", "/vary"] {
        edge.fetch(&Request::get(path).host("a.example")).await.expect(200);
    }
    for (path, reason, hint) in [("/cookie", "set-cookie", "strip"), ("/silent", "no-freshness", "max-age")] {
        let told = explain(&edge, json!({ "url": format!("http://a.example{path}") })).await;
        says(&told, "last_refusal", reason);
        says(&told, "now", "nothing is stored");
        assert!(told["hints"][0].as_str().unwrap().contains(hint), "{told:#}");
    }
    let told = explain(&edge, json!({ "url": "http://a.example/vary", "headers": [["Accept-Language", "de"]] })).await;
    says(&told, "now", "1 variants are stored, none of them for this request");
    // Stored after all: the reason is forgotten.
    origin.on("/silent", Reply::fresh(60, "x"));
    edge.fetch(&Request::get("/silent").host("a.example")).await;
    edge.fetch(&Request::get("/silent").host("a.example")).await;
    assert_eq!(explain(&edge, json!({ "url": "http://a.example/silent" })).await["last_refusal"], Value::Null);
}

#[tokio::test]
async fn what_never_comes_to_the_cache_is_told_so() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "match = { host = \"a.example\" }\ncache.enabled = false\n").await;
    let told = explain(&edge, json!({ "url": "http://b.example/" })).await;
    says(&told, "refused", "No route");
    let told = explain(&edge, json!({ "url": "http://a.example/" })).await;
    says(&told, "now", "the route's cache is off");
    let edge = Edge::over(&[&origin], "").await;
    let told = explain(&edge, json!({ "url": "http://a.example/", "method": "POST" })).await;
    says(&told, "now", "[method]");
    says(&told, "route", "default");
    let told = explain(&edge, json!({ "url": "http://a.example/%zz" })).await;
    says(&told, "refused", "malformed");
}

#[tokio::test]
async fn a_question_that_cannot_be_read_is_answered_with_what_is_wrong() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    for question in [
        json!({}),
        json!({ "url": "/a" }),
        json!({ "url": "ftp://a/b" }),
        json!({ "url": "http://a/", "method": "G T" }),
        json!({ "url": "http://a/", "headers": [["a b", "c"]] }),
        json!({ "url": "http://a/", "headers": [["a", "b\nc"]] }),
        json!({ "url": "http://a/", "verb": "GET" }),
    ] {
        let answer = ask(&edge, &question).await.expect(400);
        assert!(answer.text().contains("errors"), "{question}: {answer}");
    }
}

#[tokio::test]
async fn a_web_page_cannot_order_the_admin_listener_about() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], "").await;
    for path in ["/purge", "/reload", "/explain"] {
        let request = Request::post(path, "{\"all\": true}").header("Origin", "http://evil.example");
        client::fetch(edge.admin(), &request).await.expect(403);
    }
    assert_eq!(edge.metric("hedgerow_purges_total", &[("cause", "admin"), ("kind", "all")]).await, 0.0);
}
