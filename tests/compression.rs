//! In which codings bodies go to clients: what is compressed, what is decoded, and what of it is kept.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken test should stop at once")]

mod support;

use std::io::{Read, Write};

use support::edge::{Edge, over};
use support::{Gate, Origin, Reply, Request, Response};

const ON: &str = "compression = {}\n";
const UNREVEALED: &str = "[cache]\nreveal = { clients = [\"192.0.2.0/24\"] }\n";

/// An edge where nobody is told the key, so that the lane and the short way are open.
async fn start(origin: &Origin, more: &str) -> Edge {
    Edge::start(&(over(&[origin.addr()], more) + UNREVEALED)).await
}

/// What a site sends, `n` times.
fn prose(n: usize) -> String {
    "Something there is that doesn't love a wall, that sends the frozen-ground-swell under it. ".repeat(n)
}

/// Fresh text.
fn page(body: impl AsRef<[u8]>) -> Reply {
    Reply::fresh(60, body).header("Content-Type", "text/html").etag("\"v1\"")
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    writer.write_all(body).unwrap();
    writer.finish().unwrap()
}

/// What a client makes of it.
fn decoded(response: &Response) -> Vec<u8> {
    let mut plain = Vec::new();
    match response.header("Content-Encoding") {
        None => return response.body.clone(),
        Some("gzip") => flate2::read::GzDecoder::new(&response.body[..]).read_to_end(&mut plain).map(drop),
        Some("br") => brotli::Decompressor::new(&response.body[..], 4096).read_to_end(&mut plain).map(drop),
        Some("zstd") => zstd::decode_all(&response.body[..]).map(|decoded| plain = decoded),
        Some(other) => panic!("{other}"),
    }
    .unwrap();
    plain
}

/// The same on the long way.
fn slow(request: &Request) -> Request {
    request.clone().header("x_slow", 1)
}

fn asks(target: &str, codings: &str) -> Request {
    Request::get(target).header("Accept-Encoding", codings)
}

#[tokio::test]
async fn a_client_gets_what_it_wants_most_of_what_it_reads() {
    let origin = Origin::start().await;
    let text = prose(200);
    origin.on("/", page(&text));
    let edge = start(&origin, ON).await;
    for (codings, expected) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, br", Some("br")),
        ("gzip;q=1.0, br;q=0.9, *;q=0", Some("gzip")),
        ("gzip;q=0.5, identity", None),
        ("deflate", None),
        ("gzip;q=0", None),
    ] {
        // Once from a miss or a stored response, then from what is kept, on both ways to it.
        let request = asks("/", codings);
        for request in [&request, &request, &slow(&request)] {
            let answer = edge.fetch(request).await.expect(200);
            assert_eq!(answer.header("Content-Encoding"), expected, "{codings}");
            assert!(answer.complete);
            assert_eq!(decoded(&answer), text.as_bytes(), "{codings}");
            assert!(answer.headers.lists("Vary", "Accept-Encoding"), "{answer}");
            let tag = if expected.is_some() { "W/\"v1\"" } else { "\"v1\"" };
            assert_eq!(answer.header("ETag"), Some(tag), "{codings}");
            assert!(expected.is_none() || answer.body.len() < text.len() / 10, "{codings}");
        }
    }
    assert_eq!(edge.get("/").await.header("Content-Encoding"), None);
    assert_eq!(origin.count("/"), 1, "all of them are made of one answer");
}

#[tokio::test]
async fn what_was_made_once_is_answered_from_memory_in_the_lane() {
    let origin = Origin::start().await;
    let text = prose(200);
    origin.on("/", page(&text));
    let edge = start(&origin, ON).await;
    edge.fetch(&asks("/", "br")).await.expect(200);
    let bytes = [("coding", "br"), ("direction", "in")];
    let before = edge.metric("hedgerow_compression_bytes_total", &bytes).await;
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let once = text.len() as f64;
    assert!((before - once).abs() < 0.1, "{before} of {once} bytes were compressed");
    let served = edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]).await;
    for _ in 0..3 {
        let hit = edge.fetch(&asks("/", "gzip;q=0.1, br")).await.expect(200);
        assert_eq!((hit.header("Content-Encoding"), hit.verdict()), (Some("br"), "HIT"));
        assert_eq!(hit.header("Content-Length"), Some(hit.body.len().to_string().as_str()));
        assert_eq!(decoded(&hit), text.as_bytes());
    }
    assert_eq!(edge.metric("hedgerow_compression_bytes_total", &bytes).await, before);
    assert_eq!(edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]).await, served + 3.0);
    let head = edge.fetch(&Request::head("/").header("Accept-Encoding", "br")).await.expect(200);
    let get = edge.fetch(&asks("/", "br")).await;
    for field in ["Content-Encoding", "Content-Length", "ETag", "Vary", "Content-Type"] {
        assert_eq!(head.header(field), get.header(field), "{field}");
    }
}

#[tokio::test]
async fn in_the_lane_and_behind_it_the_answer_is_the_same() {
    let origin = Origin::start().await;
    let text = prose(100);
    origin
        .on("/plain", page(&text))
        .on("/coded", page(gzip(text.as_bytes())).header("Content-Encoding", "gzip").header("Vary", "Accept-Encoding"))
        .on("/varied", page(&text).header("Vary", "Accept-Language, Accept-Encoding"))
        .on("/fixed", page(&text).header("Cache-Control", "no-transform"))
        .on("/image", Reply::fresh(60, &text).header("Content-Type", "image/png"));
    let edge = start(&origin, ON).await;
    for path in ["/plain", "/coded", "/varied", "/fixed", "/image"] {
        for codings in ["gzip", "br;q=0.2, zstd", "identity", "", "*;q=0, br", "br"] {
            for request in [asks(path, codings), asks(path, codings).header("If-None-Match", "W/\"v1\"")] {
                // The first may be who fetches it, the second has the form made.
                edge.fetch(&slow(&request)).await;
                edge.fetch(&slow(&request)).await;
                let before = edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]).await;
                let (lane, behind) = (edge.fetch(&request).await, edge.fetch(&slow(&request)).await);
                let served = edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]).await - before;
                assert!((served - 1.0).abs() < 0.1, "{path} {codings}: {served} in the lane");
                assert_eq!((lane.status, &lane.body), (behind.status, &behind.body), "{path} {codings}");
                for field in ["Content-Encoding", "Content-Length", "ETag", "Vary", "Accept-Ranges", "Content-Type"] {
                    assert_eq!(lane.headers.all(field), behind.headers.all(field), "{path} {codings} {field}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_gains_nothing_is_left_alone() {
    let origin = Origin::start().await;
    let text = prose(200);
    origin
        .on("/small", page("x".repeat(1023)))
        .on("/image", Reply::fresh(60, &text).header("Content-Type", "image/png"))
        .on("/events", Reply::ok(&text).header("Content-Type", "text/event-stream"))
        .on("/untyped", Reply::fresh(60, &text))
        .on(
            "/fixed",
            Reply::fresh(60, &text).header("Content-Type", "text/html").header("Cache-Control", "no-transform"),
        )
        .on("/empty", Reply::new(204))
        .on("/dictionary", page(&text).header("Content-Encoding", "dcz"));
    let edge = start(&origin, ON).await;
    for path in ["/small", "/image", "/events", "/untyped", "/fixed", "/empty", "/dictionary"] {
        for _ in 0..2 {
            let answer = edge.fetch(&asks(path, "gzip, zstd, br")).await;
            let sent = if path == "/dictionary" { Some("dcz") } else { None };
            assert_eq!(answer.header("Content-Encoding"), sent, "{path}");
            assert_eq!(answer.header("Vary"), None, "{path}");
        }
    }
    origin.on("/page", page(&text));
    let answer = edge.fetch(&asks("/page", "gzip").header("Cache-Control", "no-transform")).await;
    assert_eq!(answer.header("Content-Encoding"), None, "the client forbids it");
    let deaf = start(&origin, &format!("{ON}cache.client_directives = \"ignore\"\n")).await;
    for (wish, expected) in [("max-age=0", Some("gzip")), ("no-transform", None), ("max-age=0", Some("gzip"))] {
        for _ in 0..2 {
            let answer = deaf.fetch(&asks("/page", "gzip").header("Cache-Control", wish)).await.expect(200);
            assert_eq!(
                answer.header("Content-Encoding"),
                expected,
                "what is left alone is no matter of the cache: {wish}"
            );
        }
    }
    assert_eq!(deaf.metric("hedgerow_lane_requests_total", &[("outcome", "served")]).await, 5.0);
    let off = start(&origin, "").await;
    let answer = off.fetch(&asks("/page", "gzip")).await;
    assert_eq!((answer.header("Content-Encoding"), answer.header("Vary")), (None, None));
}

#[tokio::test]
async fn the_three_ways_of_a_request_compress_alike() {
    let origin = Origin::start().await;
    let text = prose(100);
    let never = Reply::ok(&text).header("Content-Type", "text/css").header("Cache-Control", "no-store");
    origin.on("/never", never.etag("\"n\""));
    let cached = start(&origin, ON).await;
    let uncached = start(&origin, &format!("{ON}cache.enabled = false\n")).await;
    let post = |edge: &Edge| {
        let addr = edge.addr();
        async move { support::fetch(addr, &Request::post("/never", "x").header("Accept-Encoding", "gzip")).await }
    };
    let mut all = vec![post(&cached).await];
    for edge in [&cached, &uncached] {
        // The second time the cache knows that there is nothing to be had, and is not asked.
        for _ in 0..3 {
            all.push(edge.fetch(&asks("/never", "gzip")).await);
        }
    }
    for answer in all {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("Content-Encoding"), Some("gzip"), "{answer}");
        assert_eq!(answer.header("ETag"), Some("W/\"n\""));
        assert_eq!((answer.header("Content-Length"), answer.header("Vary")), (None, Some("Accept-Encoding")));
        assert!(answer.complete);
        assert_eq!(decoded(&answer), text.as_bytes());
    }
    for edge in [&cached, &uncached] {
        let head = edge.fetch(&Request::head("/never").header("Accept-Encoding", "gzip")).await.expect(200);
        assert_eq!((head.header("Content-Encoding"), head.header("Content-Length")), (Some("gzip"), None), "{head}");
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn nothing_that_has_come_waits_for_more() {
    for more in [ON.to_owned(), format!("{ON}cache.enabled = false\n")] {
        for codings in ["gzip", "br", "zstd"] {
            let (origin, gate) = (Origin::start().await, Gate::new());
            let slow = Reply::new(200).header("Content-Type", "text/plain").header("Cache-Control", "max-age=60");
            origin.on("/", slow.chunk("first words, ").gate(&gate).chunk("last words"));
            let edge = start(&origin, &more).await;
            let mut client = edge.client().await;
            client.ask(&asks("/", codings)).await;
            let head = client.head().await;
            assert_eq!(head.header("Content-Encoding"), Some(codings));
            // A flushed piece can be read as far as it goes.
            let mut got = Vec::new();
            while !readable(codings, &got).ends_with(b"first words, ") {
                got.extend(client.piece().await.expect("the body goes on"));
            }
            gate.open();
            let (rest, complete) = client.rest().await;
            got.extend(rest);
            assert!(complete);
            assert_eq!(decoded(&Response { body: got, ..head }), b"first words, last words", "{codings}");
        }
    }
}

/// What can be read of a body that goes on.
fn readable(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut reader: Box<dyn Read> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(body)),
        "br" => Box::new(brotli::Decompressor::new(body, 4096)),
        _ => Box::new(zstd::stream::read::Decoder::new(body).unwrap()),
    };
    let mut byte = [0];
    while matches!(reader.read(&mut byte), Ok(1)) {
        plain.push(byte[0]);
    }
    plain
}

#[tokio::test]
async fn a_body_that_its_client_cannot_read_is_decoded() {
    let origin = Origin::start().await;
    let text = prose(200);
    origin.on(
        "/kept",
        page(gzip(text.as_bytes())).header("Content-Encoding", "gzip").header("Vary", "Accept-Encoding, Origin"),
    );
    origin.on(
        "/passed",
        Reply::ok(gzip(text.as_bytes())).header("Content-Type", "text/html").header("Content-Encoding", "gzip"),
    );
    let edge = start(&origin, ON).await;
    for path in ["/kept", "/passed"] {
        for (codings, sent, tag) in [
            ("gzip", Some("gzip"), "\"v1\""),
            ("", None, "W/\"v1\""),
            ("br", Some("br"), "W/\"v1\""),
            ("br, gzip;q=0.1", Some("gzip"), "\"v1\""),
        ] {
            for _ in 0..2 {
                let answer = edge.fetch(&asks(path, codings)).await.expect(200);
                assert_eq!(answer.header("Content-Encoding"), sent, "{path} {codings}");
                assert_eq!(decoded(&answer), text.as_bytes());
                assert!(answer.headers.lists("Vary", "Accept-Encoding"), "{answer}");
                if path == "/kept" {
                    assert!(answer.headers.lists("Vary", "Origin"), "{answer}");
                    assert_eq!(answer.header("ETag"), Some(tag), "{codings}");
                }
            }
        }
    }
    assert_eq!(origin.count("/kept"), 1, "one stored response for all");
    let strict = start(&origin, "compression = { decompress = false }\n").await;
    for _ in 0..2 {
        let answer = strict.fetch(&asks("/kept", "identity")).await;
        assert_eq!(answer.header("Content-Encoding"), Some("gzip"), "it is left as the origin sent it");
    }
}

#[tokio::test]
async fn a_bomb_is_broken_off_and_told() {
    let origin = Origin::start().await;
    let bomb = gzip(&vec![b'a'; 20 << 20]);
    assert!(bomb.len() < 64 << 10);
    let reply = || Reply::ok(&bomb).header("Content-Type", "text/html").header("Content-Encoding", "gzip");
    origin.on("/kept", reply().header("Cache-Control", "max-age=60")).on("/passed", reply());
    let uncached = start(&origin, &format!("{ON}cache.enabled = false\n")).await;
    let edge = start(&origin, ON).await;
    for (edge, path) in
        [(&edge, "/kept"), (&edge, "/kept"), (&edge, "/passed"), (&edge, "/passed"), (&uncached, "/passed")]
    {
        let answer = edge.fetch(&asks(path, "identity")).await;
        if answer.status == 502 {
            // Nothing had been sent yet.
            assert_eq!(answer.proxy_error(), "http_response_content_coding");
        } else {
            assert!(!answer.complete && answer.body.len() < 16 << 20, "{path}: {} bytes", answer.body.len());
        }
    }
    let bombs = edge.metric("hedgerow_decompression_failures_total", &[("coding", "gzip"), ("reason", "bomb")]).await;
    assert!(bombs >= 4.0, "{bombs:?}");
    let ended = edge.metric("hedgerow_terminations_total", &[("reason", "upstream-invalid")]).await;
    assert!(ended >= 4.0, "{ended:?}");
    let whole = edge.fetch(&asks("/kept", "gzip")).await.expect(200);
    assert!(whole.complete && whole.body == bomb, "who reads it gets what the origin sent");
    let again = edge.fetch(&asks("/kept", "identity")).await;
    assert!(!again.complete, "nor is it sent from memory");
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_garbage_is_no_whole_answer() {
    let origin = Origin::start().await;
    let whole = gzip(prose(200).as_bytes());
    let reply = |body: &[u8]| page(body).header("Content-Encoding", "gzip");
    origin.on("/cut", reply(&whole[..whole.len() / 2])).on("/garbage", reply(&[b'x'; 5000]));
    let edge = start(&origin, ON).await;
    for path in ["/cut", "/garbage"] {
        for codings in ["identity", "br", "identity"] {
            let answer = edge.fetch(&asks(path, codings)).await;
            assert!(!answer.complete, "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn conditions_hold_for_every_form_and_the_origin_is_asked_with_its_own_tag() {
    let origin = Origin::start().await;
    let text = prose(100);
    origin.on_call("/", move |seen| match seen.header("If-None-Match") {
        Some("\"v1\"") => Reply::new(304).header("Cache-Control", "max-age=0").etag("\"v1\""),
        Some(other) => Reply::new(500).body(other),
        None => Reply::ok(prose(100))
            .header("Content-Type", "text/html")
            .header("Cache-Control", "max-age=0")
            .etag("\"v1\""),
    });
    let edge = start(&origin, ON).await;
    for _ in 0..3 {
        let answer = edge.fetch(&asks("/", "gzip")).await.expect(200);
        assert_eq!((decoded(&answer), answer.header("ETag")), (text.clone().into_bytes(), Some("W/\"v1\"")));
    }
    origin.on("/fresh", page(prose(100)));
    for codings in ["gzip", "gzip", "identity", "gzip"] {
        edge.fetch(&asks("/fresh", codings)).await.expect(200);
        let request = asks("/fresh", codings).header("If-None-Match", "W/\"v1\"");
        let answer = edge.fetch(&request).await.expect(304);
        let tag = if codings == "gzip" { "W/\"v1\"" } else { "\"v1\"" };
        assert_eq!((answer.header("ETag"), answer.header("Vary")), (Some(tag), Some("Accept-Encoding")), "{answer}");
    }
    assert_eq!(origin.count("/fresh"), 1);
    // Where nothing is stored the origin's 304 is told as the client knows the page.
    origin.on("/none", Reply::new(304).etag("\"v1\""));
    let off = start(&origin, &format!("{ON}cache.enabled = false\n")).await;
    let answer = off.fetch(&asks("/none", "gzip").header("If-None-Match", "W/\"v1\"")).await.expect(304);
    assert_eq!(answer.header("ETag"), Some("W/\"v1\""));
    let answer = off.fetch(&asks("/none", "gzip").header("If-None-Match", "\"v1\"")).await.expect(304);
    assert_eq!(answer.header("ETag"), Some("\"v1\""));
}

#[tokio::test]
async fn a_range_is_of_the_form_that_the_client_reads_and_never_of_two() {
    let origin = Origin::start().await;
    let text = prose(100);
    let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
    origin.on("/", page(&text).header("Last-Modified", modified));
    let edge = start(&origin, ON).await;
    let whole = edge.fetch(&asks("/", "gzip, identity;q=0")).await.expect(200);
    assert_eq!(whole.header("Accept-Ranges"), None);
    // The origin's form, by its own tag, for who takes it.
    let part = edge.fetch(&asks("/", "gzip").header("Range", "bytes=10-19")).await.expect(206);
    assert_eq!((part.text().as_str(), part.header("Content-Encoding")), (&text[10..20], None));
    assert_eq!((part.header("ETag"), part.header("Vary")), (Some("\"v1\""), Some("Accept-Encoding")));
    // Another form for who takes nothing else.
    let coded = edge.fetch(&asks("/", "gzip, identity;q=0")).await.expect(200);
    let request = asks("/", "gzip, identity;q=0").header("Range", "bytes=10-19");
    let part = edge.fetch(&request).await.expect(206);
    assert_eq!((&part.body[..], part.header("Content-Encoding")), (&coded.body[10..20], Some("gzip")));
    assert_eq!(part.header("Content-Range"), Some(format!("bytes 10-19/{}", coded.body.len()).as_str()));
    assert_eq!(part.header("ETag"), Some("W/\"v1\""));
    let request = asks("/", "gzip, identity;q=0").header("Range", "bytes=0-1, 4-5");
    let whole = edge.fetch(&request).await.expect(200);
    assert_eq!(decoded(&whole), text.as_bytes(), "what several ranges come in would have no coding of its own");
    // What a client has of a form of ours is never gone on with.
    for condition in ["W/\"v1\"", modified] {
        let request = asks("/", "gzip").header("Range", "bytes=10-").header("If-Range", condition);
        let answer = edge.fetch(&request).await.expect(200);
        assert_eq!(decoded(&answer), text.as_bytes(), "{condition}");
    }
    let request = asks("/", "gzip").header("Range", "bytes=10-").header("If-Range", "\"v1\"");
    assert_eq!(edge.fetch(&request).await.expect(206).text(), text[10..]);
    assert_eq!(origin.count("/"), 1);
}

#[tokio::test]
async fn a_range_of_what_only_comes_in_another_coding_is_of_the_decoded_form() {
    let origin = Origin::start().await;
    let text = prose(100);
    origin.on("/", page(gzip(text.as_bytes())).header("Content-Encoding", "gzip"));
    let edge = start(&origin, ON).await;
    edge.fetch(&asks("/", "gzip")).await.expect(200);
    let part = edge.fetch(&asks("/", "identity").header("Range", "bytes=5-24")).await.expect(206);
    assert_eq!((part.text().as_str(), part.header("Content-Encoding")), (&text[5..25], None));
    assert_eq!(part.header("ETag"), Some("W/\"v1\""));
    let part = edge.fetch(&asks("/", "gzip").header("Range", "bytes=5-24")).await.expect(206);
    assert_eq!(
        (part.body.len(), part.header("Content-Encoding"), part.header("ETag")),
        (20, Some("gzip"), Some("\"v1\""))
    );
}

#[tokio::test]
async fn forms_go_with_what_they_were_made_of() {
    let origin = Origin::start().await;
    origin.on_nth("/", |n, _| page(prose(100 + n)));
    let edge = start(&origin, &format!("{ON}cache.purge.allow = [\"127.0.0.1\"]\n")).await;
    for n in 1..=2 {
        for codings in ["gzip", "br", "gzip", "br", "identity"] {
            let answer = edge.fetch(&asks("/", codings)).await.expect(200);
            assert_eq!(decoded(&answer), prose(100 + n).as_bytes(), "{n} {codings}");
        }
        assert_eq!(origin.count("/"), n);
        edge.fetch(&Request::new("PURGE", "/")).await.expect(200);
    }
}

#[tokio::test]
async fn what_is_kept_of_forms_is_weighed() {
    let origin = Origin::start().await;
    // Hard to compress: the form is nearly as large.
    let text: String = (0..20_000u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect();
    origin.on("/", page(&text));
    let edge = start(&origin, ON).await;
    edge.fetch(&asks("/", "identity")).await.expect(200);
    let alone = edge.metric("hedgerow_cache_bytes", &[]).await;
    edge.fetch(&asks("/", "gzip")).await.expect(200);
    let form = edge.fetch(&asks("/", "gzip")).await.expect(200);
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let grown = alone + form.body.len() as f64;
    let both = support::eventually("the form is weighed", || async {
        let now = edge.metric("hedgerow_cache_bytes", &[]).await;
        (now > alone).then_some(now)
    });
    assert!(both.await >= grown);
}

#[tokio::test]
async fn those_who_wait_for_one_page_share_one_compression() {
    let (origin, gate) = (Origin::start().await, Gate::new());
    let text = prose(300);
    origin.on("/", page(&text).held_by(&gate));
    let edge = start(&origin, &format!("{ON}[route.cache]\ncollapse = {{ wait = \"20s\" }}\n")).await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = edge.client().await;
        client.ask(&asks("/", "gzip")).await;
        clients.push(client);
    }
    edge.metric_becomes("hedgerow_requests_in_flight", &[], 8.0).await;
    gate.open();
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.header("Content-Encoding"), decoded(&answer)), (Some("gzip"), text.clone().into_bytes()));
    }
    assert_eq!(origin.count("/"), 1);
    let read = edge.metric("hedgerow_compression_bytes_total", &[("coding", "gzip"), ("direction", "in")]).await;
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let twice = 2.0 * text.len() as f64;
    assert!(read <= twice, "{read} bytes were compressed: that of who fetched it, and one for all others");
}

#[tokio::test]
async fn a_stale_form_is_served_while_the_page_is_fetched_anew() {
    let origin = Origin::start().await;
    let gate = Gate::new();
    let stale = "max-age=0, stale-while-revalidate=60";
    let reply =
        move |n: usize| Reply::ok(prose(100 + n)).header("Content-Type", "text/html").header("Cache-Control", stale);
    let (held, second) = (gate.clone(), reply(2));
    origin.on_nth("/", move |n, _| if n == 1 { reply(1) } else { second.clone().held_by(&held) });
    let edge = start(&origin, ON).await;
    edge.fetch(&asks("/", "gzip")).await.expect(200);
    for _ in 0..2 {
        let answer = edge.fetch(&asks("/", "gzip")).await.expect(200);
        assert_eq!((answer.header("Content-Encoding"), decoded(&answer)), (Some("gzip"), prose(101).into_bytes()));
    }
    gate.open();
    support::eventually("the new page is sent", || async {
        let answer = edge.fetch(&asks("/", "gzip")).await;
        (decoded(&answer) == prose(102).as_bytes()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_http_1_0_client_gets_a_coding_it_asks_for() {
    let origin = Origin::start().await;
    let text = prose(100);
    origin.on("/", Reply::ok(&text).header("Content-Type", "text/html"));
    let edge = start(&origin, ON).await;
    let answer = edge.fetch(&asks("/", "gzip").http10()).await.expect(200);
    assert_eq!((answer.header("Content-Encoding"), answer.header("Transfer-Encoding")), (Some("gzip"), None));
    assert_eq!(decoded(&answer), text.as_bytes());
    let answer = edge.fetch(&Request::get("/").http10()).await.expect(200);
    assert_eq!((answer.header("Content-Encoding"), answer.text()), (None, text));
}

#[tokio::test]
async fn a_page_that_its_origin_wants_left_alone_is_kept_for_those_who_read_it() {
    let origin = Origin::start().await;
    let text = prose(100);
    origin.on_call("/", move |seen| {
        let reply = Reply::new(200).header("Content-Type", "text/html").header("Vary", "Accept-Encoding");
        let reply = reply.header("Cache-Control", "max-age=60, no-transform");
        match seen.header("Accept-Encoding") {
            Some("gzip") => reply.header("Content-Encoding", "gzip").body(gzip(prose(100).as_bytes())),
            _ => reply.body(prose(100)),
        }
    });
    let edge = start(&origin, ON).await;
    for codings in ["gzip", "identity", "gzip", "identity"] {
        let answer = edge.fetch(&asks("/", codings)).await.expect(200);
        assert_eq!(answer.header("Content-Encoding").unwrap_or("identity"), codings);
        assert_eq!(decoded(&answer), text.as_bytes());
    }
    assert_eq!(origin.count("/"), 2, "one for each coding");
}

#[tokio::test]
async fn a_response_that_was_kept_for_all_stays_readable_when_compression_is_switched_off() {
    let origin = Origin::start().await;
    let text = prose(100);
    origin.on("/", page(gzip(text.as_bytes())).header("Content-Encoding", "gzip").header("Vary", "Accept-Encoding"));
    let edge = Edge::from_file(&(over(&[origin.addr()], ON) + UNREVEALED)).await;
    edge.fetch(&asks("/", "gzip")).await.expect(200);
    edge.rewrite(&(over(&[origin.addr()], "") + UNREVEALED));
    edge.reload().await.expect(200);
    for codings in ["identity", "br", "gzip"] {
        let answer = edge.fetch(&asks("/", codings)).await.expect(200);
        assert!(matches!(
            (codings, answer.header("Content-Encoding")),
            ("gzip", Some("gzip")) | ("identity" | "br", None)
        ));
        assert_eq!(decoded(&answer), text.as_bytes(), "{codings}");
        assert!(answer.headers.lists("Vary", "Accept-Encoding"), "{answer}");
    }
    assert_eq!(origin.count("/"), 1);
}

#[tokio::test]
async fn a_large_page_is_sent_while_it_is_compressed() {
    let origin = Origin::start().await;
    let text: String = (0..60_000u32).map(|n| format!("{:06x} ", n.wrapping_mul(2_654_435_761))).collect();
    origin.on("/", page(&text));
    let edge = start(&origin, "compression.level = \"best\"\ncompression.codings = [\"br\"]\n").await;
    for _ in 0..2 {
        let answer = edge.fetch(&asks("/", "br")).await.expect(200);
        assert!(answer.complete);
        assert_eq!(decoded(&answer), text.as_bytes());
    }
    support::eventually("the form is kept", || async {
        let answer = edge.fetch(&asks("/", "br")).await;
        assert_eq!(decoded(&answer), text.as_bytes());
        answer.header("Content-Length").is_some().then_some(())
    })
    .await;
    assert_eq!(origin.count("/"), 1);
}
