//! What a backend may do wrong, and what a client then sees: an error with a name, never a lie.

mod support;

use support::edge::{Edge, over, pool};
use support::{Origin, Reply, Request};

/// One attempt, no ejection: what is tested is how the single failure is told.
const ONCE: &str = "[pool.tail]\nretry = { attempts = 0 }\n[pool.ejection]\nconsecutive = 0\n";

/// Statuses a head of `bytes` leads to, and the error that is told.
async fn told(bytes: impl AsRef<[u8]>) -> (u16, String) {
    let origin = Origin::start().await;
    origin.on("/a", Reply::raw(bytes)).on("/well", Reply::ok("well"));
    let edge = Edge::over(&[&origin], ONCE).await;
    let mut client = edge.client().await;
    let answer = client.get("/a").await;
    assert!(answer.complete, "{answer}");
    let error = answer.proxy_error();
    assert_eq!(edge.get("/well").await.expect(200).text(), "well", "the edge goes on");
    (answer.status, error)
}

#[tokio::test]
async fn what_is_no_http_is_answered_502() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(257));
    let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let large = format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\n\r\n", "x".repeat(2 << 20));
    for (what, bytes) in [
        ("garbage", "hello there\r\n\r\n"),
        ("binary garbage", "\x16\x03\x01\x00\x02\x02\x28\r\n\r\n"),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        ("no status", "HTTP/1.1 OK\r\n\r\n"),
        ("a status that is none", "HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n"),
        ("a field without a colon", "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n"),
        ("a NUL in a value", "HTTP/1.1 200 OK\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n"),
        ("different lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab"),
        ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab"),
        ("a list of different lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nab"),
        ("a length with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab"),
        ("a length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("chunks twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ("a coding nobody asked for", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("an empty line first", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a folded line", "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n"),
        ("a space before a colon", "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n"),
        ("a bare CR", "HTTP/1.1 200 OK\r\nX-A: b\rc\r\nContent-Length: 0\r\n\r\n"),
        ("too many fields", many.as_str()),
        ("too many interim responses", hints.as_str()),
        ("a head without end", large.as_str()),
    ] {
        let (status, error) = told(bytes).await;
        assert_eq!(status, 502, "{what}");
        let expected = ["http_protocol_error", "http_response_header_section_size", "http_response_header_size"];
        assert!(expected.contains(&error.as_str()), "{what}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_not_waited_for() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::raw("SSH-2.0-OpenSSH_9.6\r\n").then_silence());
    let edge = Edge::over(&[&origin], ONCE).await;
    assert_eq!(edge.get("/a").await.expect(502).proxy_error(), "http_protocol_error");
}

#[tokio::test]
async fn a_close_before_the_head_is_answered_502() {
    for (what, bytes) in
        [("at once", ""), ("in the status line", "HTTP/1.1 20"), ("in a field", "HTTP/1.1 200 OK\r\nX-A: b")]
    {
        let (status, error) = told(bytes).await;
        assert_eq!(status, 502, "{what}");
        assert!(["connection_terminated", "http_response_incomplete"].contains(&error.as_str()), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_answered_502() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::new(304).header("ETag", "\"v1\"")).on("/post", Reply::new(304));
    let edge = Edge::over(&[&origin], ONCE).await;
    let answer = edge.get("/a").await.expect(502);
    assert_eq!(answer.proxy_error(), "http_protocol_error");
    assert_eq!(edge.fetch(&Request::post("/post", "x")).await.status, 502);
    origin.on("/a", Reply::fresh(60, "alpha"));
    assert_eq!(edge.get("/a").await.expect(200).verdict(), "MISS", "nothing of it was stored");
}

#[tokio::test]
async fn a_304_that_the_client_asked_for_is_passed_on() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("alpha").etag("\"v1\""));
    let edge = Edge::over(&[&origin], &format!("[route.cache]\nenabled = false\n{ONCE}")).await;
    edge.fetch(&Request::get("/a").header("If-None-Match", "\"v1\"")).await.expect(304);
}

#[tokio::test]
async fn an_answer_cut_short_is_cut_short_for_the_client_too() {
    let origin = Origin::start().await;
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n0\r\n";
    origin
        .on("/length", Reply::ok("hal").declares(4).cut())
        .on("/chunked", Reply::new(200).chunk("hal").cut())
        .on("/reset", Reply::new(200).chunk("hal").cut_by_reset())
        .on("/no-chunk", Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\nzz\r\n"))
        .on("/bare", Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\n0\r\n\r\n"))
        .on("/trailers", Reply::raw(format!("{chunks}{}", "X-A: b\r\n".repeat(20_000))));
    for more in ["", "[route.cache]\nenabled = false\n"] {
        let edge = Edge::over(&[&origin], &format!("{more}{ONCE}")).await;
        for path in ["/length", "/chunked", "/reset", "/no-chunk", "/bare", "/trailers"] {
            let mut client = edge.client().await;
            let answer = client.get(path).await;
            assert!(!answer.complete, "{path}: {answer}");
            assert!(b"hal".starts_with(&answer.body), "{path}: {answer}");
            client.closed().await;
        }
        edge.metric_becomes("hedgerow_terminations_total", &[], 6.0).await;
        assert_eq!(edge.metric("hedgerow_terminations_total", &[("reason", "done")]).await, 0.0);
    }
}

#[tokio::test]
async fn more_than_was_announced_is_not_passed_on() {
    let origin = Origin::start().await;
    origin.on(
        "/a",
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalphaHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
    );
    origin.on("/b", Reply::ok("beta"));
    let edge = Edge::over(&[&origin], ONCE).await;
    let mut client = edge.client().await;
    assert_eq!(client.get("/a").await.expect(200).text(), "alpha");
    for _ in 0..3 {
        assert_eq!(edge.get("/b").await.expect(200).text(), "beta", "what was left over answers nobody else");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_it_was_asked_for_answers_nobody() {
    let origin = Origin::start().await;
    let early = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalphaHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    origin.on("/a", Reply::raw(early).then_silence()).on("/b", Reply::ok("beta"));
    let edge = Edge::over(&[&origin], ONCE).await;
    assert_eq!(edge.get("/a").await.expect(200).text(), "alpha");
    for _ in 0..3 {
        assert_eq!(edge.get("/b").await.expect(200).text(), "beta");
    }
}

#[tokio::test]
async fn a_response_to_head_may_not_smuggle_a_body() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nalpha").then_silence());
    origin.on("/b", Reply::ok("beta"));
    let edge = Edge::over(&[&origin], &format!("[route.cache]\nenabled = false\n{ONCE}")).await;
    let mut client = edge.client().await;
    assert_eq!(client.request(&Request::head("/a")).await.expect(200).body.len(), 0);
    assert_eq!(client.get("/b").await.expect(200).text(), "beta");
}

#[tokio::test]
async fn conflicting_framing_never_desynchronises() {
    let origin = Origin::start().await;
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nalpha\r\n0\r\n\r\n";
    origin.on("/a", Reply::raw(both)).on("/b", Reply::ok("beta"));
    let edge = Edge::over(&[&origin], ONCE).await;
    let mut client = edge.client().await;
    let answer = client.get("/a").await;
    assert!(answer.status == 502 || answer.text() == "alpha", "{answer}");
    if answer.complete && !answer.headers.lists("Connection", "close") {
        assert_eq!(client.get("/b").await.expect(200).text(), "beta");
    }
}

#[tokio::test]
async fn no_first_byte_in_time_is_answered_504() {
    let origin = Origin::start().await;
    origin.on("/never", Reply::never());
    let edge = Edge::over(&[&origin], &format!("[pool.timeouts]\nfirst_byte = \"200ms\"\n{ONCE}")).await;
    let answer = edge.get("/never").await.expect(504);
    assert_eq!(answer.proxy_error(), "http_response_timeout");
    origin.until("the attempt is given up", |o| o.aborted() == 1).await;
    assert_eq!(edge.fetch(&Request::post("/never", "x")).await.status, 504);
    assert_eq!(origin.count("/never"), 2);
}

#[tokio::test]
async fn half_a_head_in_time_is_answered_504() {
    let origin = Origin::start().await;
    origin.on("/half", Reply::raw("HTTP/1.1 200 OK\r\nX-A: ").then_silence());
    let timeouts = "[pool.timeouts]\nfirst_byte = \"200ms\"\nbetween_bytes = \"200ms\"\n";
    let edge = Edge::over(&[&origin], &format!("{timeouts}{ONCE}")).await;
    let answer = edge.get("/half").await.expect(504);
    assert_eq!(answer.proxy_error(), "http_response_timeout");
}

#[tokio::test]
async fn a_body_that_stalls_is_cut_short() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::ok("hal").declares(4).header("Cache-Control", "max-age=60").then_silence());
    let edge = Edge::over(&[&origin], &format!("[pool.timeouts]\nbetween_bytes = \"200ms\"\n{ONCE}")).await;
    let answer = edge.get("/a").await;
    assert!(answer.status == 200 && !answer.complete, "{answer}");
    origin.until("the attempt is given up", |o| o.aborted() == 1).await;
    origin.on("/a", Reply::fresh(60, "whole"));
    assert_eq!(edge.get("/a").await.expect(200).text(), "whole");
}

#[tokio::test]
async fn a_connection_that_is_not_made_in_time_is_answered_504() {
    let deaf = Origin::deaf();
    let conf = over(&[deaf.addr()], &format!("[pool.timeouts]\nconnect = \"200ms\"\n{ONCE}"));
    let edge = Edge::start(&conf).await;
    let answer = edge.get("/a").await.expect(504);
    assert_eq!(answer.proxy_error(), "connection_timeout");
}

#[tokio::test]
async fn a_refused_connection_is_named() {
    let nobody = Origin::refusing();
    let edge = Edge::start(&over(&[nobody.addr()], ONCE)).await;
    let answer = edge.get("/a").await;
    assert!(matches!(answer.status, 502 | 503), "{answer}");
    assert_eq!(answer.proxy_error(), "connection_refused");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let conf = "[[pool]]\nname = \"web\"\nbackends = [\"nobody.invalid:80\"]\n[[route]]\npool = \"web\"\n";
    let edge = Edge::start(&format!("{conf}{ONCE}")).await;
    let answer = edge.get("/a").await;
    assert!(matches!(answer.status, 502 | 503), "{answer}");
    let error = answer.proxy_error();
    assert!(["dns_error", "dns_timeout", "destination_unavailable"].contains(&error.as_str()), "{error}");
}

#[tokio::test]
async fn an_error_of_the_origin_is_its_own_to_tell() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::new(502).header("Proxy-Status", "inner; error=dns_error").body("the origin's own words"));
    let edge = Edge::over(&[&origin], ONCE).await;
    let answer = edge.get("/a").await.expect(502);
    assert_eq!(answer.text(), "the origin's own words");
    assert_eq!(answer.headers.members("Proxy-Status")[0].name, "inner");
    let ours = answer.headers.members("Proxy-Status").into_iter().find(|member| member.name == "hedgerow");
    assert!(ours.is_none_or(|member| member.param("error").is_none()), "no error of ours: {answer}");
}

#[tokio::test]
async fn errors_of_ours_are_not_stored_and_not_shared_for_long() {
    let origin = Origin::start().await;
    origin.on_each("/a", [Reply::hang_up(), Reply::fresh(60, "well")]);
    let edge =
        Edge::over(&[&origin], &format!("[route.cache]\nttl = {{ default = \"60s\", 5xx = \"60s\" }}\n{ONCE}")).await;
    edge.get("/a").await.expect(502);
    assert_eq!(edge.get("/a").await.expect(200).text(), "well");
}

#[tokio::test]
async fn failures_are_counted_by_their_reason() {
    let (origin, nobody) = (Origin::start().await, Origin::refusing());
    origin
        .on("/garbage", Reply::raw("hello there\r\n\r\n"))
        .on("/hang-up", Reply::hang_up())
        .on("/never", Reply::never());
    let keys =
        "timeouts = { first_byte = \"100ms\" }\ntail = { retry = { attempts = 0 } }\nejection = { consecutive = 0 }";
    let conf = pool("web", &[origin.addr()], keys)
        + &pool("dead", &[nobody.addr()], keys)
        + "[[route]]\npool = \"web\"\n[[route]]\nmatch = { path = \"/refused\" }\npool = \"dead\"\n";
    let edge = Edge::start(&conf).await;
    for (path, reason) in [
        ("/garbage", "upstream-invalid"),
        ("/hang-up", "upstream-closed"),
        ("/never", "upstream-timeout"),
        ("/refused", "connect-failed"),
    ] {
        assert!(edge.get(path).await.status >= 502, "{path}");
        edge.metric_becomes("hedgerow_terminations_total", &[("reason", reason)], 1.0).await;
    }
}

#[tokio::test]
async fn an_interim_response_and_then_nothing_is_a_502() {
    let (status, error) = told("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await;
    assert_eq!((status, error.as_str()), (502, "http_response_incomplete"));
}

#[tokio::test]
async fn an_answer_for_a_fault_says_that_the_connection_is_closed() {
    let origin = Origin::start().await;
    origin.on("/a", Reply::hang_up());
    let edge = Edge::over(&[&origin], ONCE).await;
    let mut client = edge.client().await;
    assert!(client.get("/a").await.expect(502).headers.lists("Connection", "close"));
    assert!(client.closed().await.is_empty());
}
