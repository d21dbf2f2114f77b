//! What tells one stored answer from another: whatever the backend may answer by, and nothing a stranger can bend.

mod support;

use support::edge::Edge;
use support::{Origin, Reply, Request};

const TRUSTED: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

#[tokio::test]
async fn a_nominated_field_does_not_choose_anothers_variant() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        Reply::fresh(60, seen.header("Accept-Language").unwrap_or("none")).header("Vary", "Accept-Language")
    });
    let edge = Edge::over(&[&origin], "").await;
    let german = Request::get("/a").header("Accept-Language", "de");
    // The field goes no further than here, so the backend answers without it.
    let stripped = edge.fetch(&german.clone().header("Connection", "accept-language")).await.expect(200);
    assert_eq!(stripped.text(), "none");
    assert_eq!(edge.fetch(&german).await.expect(200).text(), "de");
    let without = edge.get("/a").await.expect(200);
    assert_eq!((without.verdict(), without.text().as_str()), ("HIT", "none"));
}

#[tokio::test]
async fn what_a_trusted_proxy_tells_of_scheme_and_host_is_keyed() {
    let origin = Origin::start().await;
    let edge = Edge::over(&[&origin], TRUSTED).await;
    for (path, field, values) in [
        ("/scheme", "X-Forwarded-Proto", ["http", "https"]),
        ("/host", "X-Forwarded-Host", ["one.example", "two.example"]),
    ] {
        origin.on_call(path, move |seen| Reply::fresh(60, seen.header(field).unwrap_or("none")));
        for verdict in ["MISS", "HIT"] {
            for value in values {
                let answer = edge.fetch(&Request::get(path).header(field, value)).await.expect(200);
                assert_eq!((answer.verdict(), answer.text().as_str()), (verdict, value), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn how_important_a_request_is_splits_no_key() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let edge = Edge::over(&[&origin], &format!("priority_header = \"X-Priority\"\n{TRUSTED}")).await;
    for (word, verdict) in [("critical", "MISS"), ("sheddable", "HIT"), ("critical", "HIT")] {
        let answer = edge.fetch(&Request::get("/a").header("X-Priority", word)).await.expect(200);
        assert_eq!(answer.verdict(), verdict, "{word}");
    }
}

#[tokio::test]
async fn what_a_stranger_says_of_its_importance_chooses_no_variant() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        Reply::fresh(60, seen.header("X-Priority").unwrap_or("none")).header("Vary", "X-Priority")
    });
    let edge = Edge::over(&[&origin], "priority_header = \"X-Priority\"\n").await;
    for verdict in ["MISS", "HIT"] {
        let answer = edge.fetch(&Request::get("/a").header("X-Priority", "critical")).await.expect(200);
        assert_eq!((answer.verdict(), answer.text().as_str()), (verdict, "none"));
    }
}

#[tokio::test]
async fn what_a_stranger_tells_of_scheme_and_host_splits_no_key() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(60, "alpha"));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    for (field, value) in [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "other.example")] {
        assert_eq!(edge.fetch(&Request::get("/a").header(field, value)).await.expect(200).verdict(), "HIT", "{field}");
    }
}

#[tokio::test]
async fn a_refresh_is_told_of_the_scheme_as_the_request_that_caused_it() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("page").header("Cache-Control", "max-age=0, stale-while-revalidate=600"));
    let edge = Edge::over(&[&origin], TRUSTED).await;
    let ask = Request::get("/a").header("X-Forwarded-Proto", "https");
    edge.fetch(&ask).await.expect(200);
    edge.fetch(&ask).await.expect(200);
    origin.until("a refresh", |o| o.count("/a") == 2).await;
    assert_eq!(origin.seen("/a")[1].headers.all("X-Forwarded-Proto"), ["https"]);
}

#[tokio::test]
async fn a_request_with_credentials_does_not_hide_a_fresh_copy_from_others() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::fresh(600, "alpha"));
    let edge = Edge::over(&[&origin], "").await;
    edge.get("/a").await.expect(200);
    let mine = Request::get("/a").header("Authorization", "Basic eDp5").header("Cache-Control", "no-cache");
    edge.fetch(&mine).await.expect(200);
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "HIT");
}

#[tokio::test]
async fn a_backend_that_nominates_vary_does_not_mix_its_variants() {
    let origin = Origin::start().await;
    origin.on_call("/a", |seen| {
        let language = seen.headers.get("Accept-Language").unwrap_or("none").to_owned();
        Reply::fresh(60, language).header("Vary", "Accept-Language").header("Connection", "Vary")
    });
    let edge = Edge::over(&[&origin], "").await;
    for language in ["de", "fr"] {
        let answer = edge.fetch(&Request::get("/a").header("Accept-Language", language)).await.expect(200);
        assert_eq!(answer.text(), language, "{answer}");
    }
}
