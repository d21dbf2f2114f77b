//! What listeners speak: TLS, HTTP/2, PROXY headers, redirects.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use support::authority::{Authority, connect};
use support::edge::Edge;
use support::{Folder, Gate, Origin, Reply, Request, Seen, eventually, patiently};

/// An origin that answers everything so.
async fn origin(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(answer);
    origin
}

/// A field of what an origin saw; empty where there is none.
fn field<'a>(seen: &'a Seen, name: &str) -> &'a str {
    seen.header(name).unwrap_or_default()
}

/// Sends and reads to the end of the connection.
async fn said<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S, bytes: impl AsRef<[u8]>) -> String {
    stream.write_all(bytes.as_ref()).await.unwrap();
    stream.flush().await.unwrap();
    let mut read = Vec::new();
    let ended = patiently(stream.read_to_end(&mut read), || "the end".to_owned()).await;
    // An end without a farewell of TLS or after unread bytes is an end.
    let _ = ended;
    String::from_utf8_lossy(&read).into_owned()
}

fn closing(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
}

fn conf(origin: &Origin, listener: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\n[[pool]]\nname = \"web\"\nbackends = [\"{}\"]\n",
        origin.addr()
    )
}

fn tls_conf(origin: &Origin, authority: &Authority, files: &[&str], more: &str) -> String {
    conf(origin, &format!("[listener.tls]\n{}\n{more}", authority.certificates(files)))
}

/// One answer of HTTP/2.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A client of HTTP/2 on a connection.
struct Streams(h2::client::SendRequest<Bytes>);

impl Streams {
    async fn over<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static>(stream: S) -> Streams {
        let (send, connection) = patiently(h2::client::handshake(stream), || "a preface".to_owned()).await.unwrap();
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        Streams(send)
    }

    async fn ask(&self, request: http::Request<()>, body: Option<&'static [u8]>) -> Result<Answer, h2::Error> {
        let asking = async {
            let mut send = self.0.clone().ready().await?;
            let (response, mut stream) = send.send_request(request, body.is_none())?;
            if let Some(body) = body {
                stream.send_data(Bytes::from_static(body), true)?;
            }
            Streams::whole(response).await
        };
        patiently(asking, || "an answer".to_owned()).await
    }

    async fn whole(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
        let (head, mut rest) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(data) = rest.data().await {
            let data = data?;
            rest.flow_control().release_capacity(data.len())?;
            body.extend_from_slice(&data);
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: body.into() })
    }

    async fn get(&self, uri: &str) -> Answer {
        self.ask(http::Request::get(uri).body(()).unwrap(), None).await.unwrap()
    }
}

#[tokio::test]
async fn http_1_under_tls_is_served_and_its_hits_by_the_lane() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let origin = origin(|_| Reply::ok("page").header("Cache-Control", "max-age=60")).await;
    let more = "hsts = { max_age = \"60s\" }\n[cache.reveal]\nclients = []";
    let edge = Edge::start(&tls_conf(&origin, &authority, &["shop"], more)).await;
    let client = authority.client(&["http/1.1"], None);
    for word in ["MISS", "HIT"] {
        let stream = connect(&client, edge.addr(), "shop.example").await.unwrap();
        let answer = said(stream, closing("/a")).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("page"), "{answer}");
        assert!(answer.contains(&format!("X-Cache-Status: {word}\r\n")), "{answer}");
        assert_eq!(answer.matches("Strict-Transport-Security: max-age=60\r\n").count(), 1, "{answer}");
    }
    assert_eq!(edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]).await, 1.0);
    let seen = &origin.only("/a");
    assert_eq!(field(seen, "x-forwarded-proto"), "https");
    assert!(field(seen, "forwarded").ends_with("proto=https"), "{}", field(seen, "forwarded"));
}

#[tokio::test]
async fn a_large_hit_reaches_a_client_under_tls_in_whole() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let body: String = (0..300_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    let whole = body.clone();
    let origin = origin(move |_| Reply::ok(&whole).header("Cache-Control", "max-age=60")).await;
    let edge = Edge::start(&tls_conf(&origin, &authority, &["shop"], "")).await;
    for alpn in ["http/1.1", "http/1.1", "h2"] {
        let stream = connect(&authority.client(&[alpn], None), edge.addr(), "shop.example").await.unwrap();
        if alpn == "h2" {
            assert_eq!(Streams::over(stream).await.get("https://shop.example/").await.body, body);
        } else {
            assert!(said(stream, closing("/")).await.ends_with(&format!("\r\n\r\n{body}")));
        }
    }
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn https_and_http_are_different_resources() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let origin = origin(|seen| Reply::ok(field(seen, "x-forwarded-proto")).header("Cache-Control", "max-age=60")).await;
    let text = tls_conf(&origin, &authority, &["shop"], "");
    let edge = Edge::start(&format!("{text}[[listener]]\naddress = \"127.0.0.1:0\"\n")).await;
    let (secure, plain) = (edge.addresses()[0], edge.addresses()[1]);
    let client = authority.client(&["h2"], None);
    let streams = Streams::over(connect(&client, secure, "shop.example").await.unwrap()).await;
    for _ in 0..2 {
        assert_eq!(streams.get("https://shop.example/").await.body, "https");
        // What a stranger says of its scheme changes nothing.
        let lie = Request::get("/").host("shop.example").header("X-Forwarded-Proto", "https");
        assert_eq!(support::fetch(plain, &lie).await.text(), "http");
    }
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_certificate_is_chosen_by_the_name_asked_for() {
    let authority = Authority::new();
    let shop = authority.write("shop", &["shop.example", "*.shop.example"]);
    let other = authority.write("other", &["other.example"]);
    let origin = origin(|_| Reply::ok("")).await;
    for strict in [false, true] {
        let more = format!("strict_sni = {strict}");
        let edge = Edge::start(&tls_conf(&origin, &authority, &["shop", "other"], &more)).await;
        let client = authority.client(&[], None);
        for (name, expected) in [("shop.example", &shop), ("a.shop.example", &shop), ("other.example", &other)] {
            let stream = connect(&client, edge.addr(), name).await.unwrap();
            let (_, session) = stream.get_ref();
            assert_eq!(session.peer_certificates().unwrap()[0], *expected, "{name}");
        }
        let unknown = connect(&client, edge.addr(), "unknown.example").await.unwrap_err().to_string();
        // The first certificate is for another name, which is for the client to notice.
        let refused_by_us = unknown.contains("AccessDenied") || unknown.contains("alert");
        assert_eq!(refused_by_us, strict, "{unknown}");
        let failed = [("reason", "handshake")];
        edge.metric_becomes("hedgerow_client_connections_failed_total", &failed, 1.0).await;
    }
}

#[tokio::test]
async fn renewed_certificates_are_used_without_a_reload_and_broken_ones_are_not() {
    let authority = Authority::new();
    let before = authority.write("shop", &["shop.example"]);
    let origin = origin(|_| Reply::ok("")).await;
    let edge = Edge::start(&tls_conf(&origin, &authority, &["shop"], "")).await;
    let client = authority.client(&[], None);
    let shown = || async {
        let stream = connect(&client, edge.addr(), "shop.example").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown().await, before);
    authority.folder.write("shop.key", "nonsense");
    let after = authority.write("shop2", &["shop.example"]);
    let read = |file: &str| std::fs::read_to_string(authority.path(file)).unwrap();
    authority.folder.write("shop.pem", &read("shop2.pem"));
    assert_eq!(shown().await, before);
    authority.folder.write("shop.key", &read("shop2.key"));
    eventually("the new certificate is shown", || async { (shown().await == after).then_some(()) }).await;
    assert_eq!(edge.metric("hedgerow_config_generation", &[]).await, 2.0);
}

#[tokio::test]
async fn clear_text_on_a_tls_port_is_told_so() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let origin = origin(|_| Reply::ok("")).await;
    let edge = Edge::start(&tls_conf(&origin, &authority, &["shop"], "")).await;
    let answer = edge.fetch_raw(closing("/")).await.expect(400);
    assert_eq!(answer.text(), "This port speaks HTTPS, the request is HTTP.\n");
    edge.metric_becomes("hedgerow_client_connections_failed_total", &[("reason", "not-tls")], 1.0).await;
}

#[tokio::test]
async fn a_clients_certificate_is_asked_for_and_told() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let origin = origin(|seen| Reply::ok(field(seen, "x-subject")).header("Cache-Control", "max-age=60")).await;
    let auth = |mode: &str| {
        format!("client_auth = {{ ca = \"{}\", mode = \"{mode}\", header = \"X-Subject\" }}", authority.path("ca.pem"))
    };
    let edge = Edge::start(&tls_conf(&origin, &authority, &["shop"], &auth("optional"))).await;
    let forged =
        "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Subject: CN=root\r\nX_Subject: CN=root\r\nConnection: close\r\n\r\n";
    let with = authority.client(&[], Some(&["alice"]));
    for _ in 0..2 {
        let answer = said(connect(&with, edge.addr(), "shop.example").await.unwrap(), forged).await;
        assert!(answer.ends_with("\r\n\r\nCN=alice"), "{answer}");
        // Nobody has said that it may be shared.
        assert!(answer.contains("detail=authorization"), "{answer}");
    }
    let without = authority.client(&[], None);
    let answer = said(connect(&without, edge.addr(), "shop.example").await.unwrap(), forged).await;
    assert!(answer.ends_with("\r\n\r\n") && answer.contains("X-Cache-Status: MISS"), "{answer}");
    assert!(origin.seen("/").iter().all(|seen| field(seen, "x_subject").is_empty()));

    let edge = Edge::start(&tls_conf(&origin, &authority, &["shop"], &auth("require"))).await;
    // Of TLS 1.3 the client learns it only when it reads.
    let stream = connect(&without, edge.addr(), "shop.example").await.unwrap();
    assert_eq!(said(stream, closing("/")).await, "");
    let stranger = Authority::new();
    let mut config = (**authority.client(&[], None).config()).clone();
    let (der, key, _) = stranger.sign(&["alice"]);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    config = ClientConfig::builder()
        .with_root_certificates({
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            roots
        })
        .with_client_auth_cert(vec![der], key)
        .unwrap_or(config);
    let stream = connect(&TlsConnector::from(Arc::new(config)), edge.addr(), "shop.example").await.unwrap();
    assert_eq!(said(stream, closing("/")).await, "");
    edge.metric_becomes("hedgerow_client_connections_failed_total", &[("reason", "handshake")], 2.0).await;
}

/// Pingora makes a refresh of its cause's bytes: the client's own words come back in it.
#[tokio::test]
async fn a_refresh_of_what_came_by_tls_is_one_of_https_and_for_nobody() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let origin =
        origin(|_| Reply::ok("x").header("Cache-Control", "public, max-age=0, stale-while-revalidate=60")).await;
    let auth = format!("client_auth = {{ ca = \"{}\", header = \"X-Subject\" }}", authority.path("ca.pem"));
    let edge = Edge::start(&tls_conf(&origin, &authority, &["shop"], &auth)).await;
    let forged = "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Subject: CN=root\r\nX-Forwarded-Proto: http\r\nConnection: close\r\n\r\n";
    for client in ["h1", "h2"] {
        let before = origin.requests();
        let asked = || async {
            let connector = authority.client(if client == "h2" { &["h2"] } else { &[] }, Some(&["alice"]));
            let stream = connect(&connector, edge.addr(), "shop.example").await.unwrap();
            if client == "h1" {
                let answer = said(stream, forged).await;
                assert!(answer.ends_with("\r\n\r\nx"), "{answer}");
            } else {
                let request = http::Request::get("https://shop.example/").header("x-subject", "CN=root");
                Streams::over(stream).await.ask(request.body(()).unwrap(), None).await.unwrap();
            }
        };
        asked().await;
        asked().await;
        origin
            .until("a refresh", |origin| {
                origin.requests() > before + 1 || (client == "h2" && origin.requests() > before)
            })
            .await;
    }
    let seen = origin.seen("/");
    assert!(seen.iter().all(|seen| field(seen, "x-forwarded-proto") == "https"), "{seen:#?}");
    assert_eq!(field(&seen[0], "x-subject"), "CN=alice");
    assert!(seen[1..].iter().all(|seen| field(seen, "x-subject") != "CN=root"), "{seen:#?}");
    assert!(seen[1..].iter().any(|seen| field(seen, "x-subject").is_empty()), "{seen:#?}");
}

#[tokio::test]
async fn http_2_serves_misses_hits_bodies_and_refusals() {
    let origin = origin(|seen| {
        let body = format!("{} {}", seen.method, seen.text());
        Reply::ok(&body).header("Cache-Control", if seen.method == "GET" { "max-age=60" } else { "no-store" })
    })
    .await;
    let edge = Edge::start(
        &(conf(&origin, "protocols = [\"h2\"]") + "[server.limits]\nuri_length = \"100B\"\nheaders = 10\n"),
    )
    .await;
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    for word in ["MISS", "HIT"] {
        let answer = streams.get("http://shop.example/a?b").await;
        assert_eq!((answer.status, answer.header("x-cache-status")), (200, word));
        assert_eq!(answer.body, "GET ");
        assert_eq!(answer.headers.get("connection"), None);
    }
    let seen = &origin.only("/a");
    assert_eq!((seen.target.as_str(), field(seen, "host")), ("/a?b", "shop.example"));
    assert!(field(seen, "via").starts_with("2.0 "), "{}", field(seen, "via"));
    let post = http::Request::post("http://shop.example/form").body(()).unwrap();
    assert_eq!(streams.ask(post, Some(b"sent")).await.unwrap().body, "POST sent");
    let long = format!("http://shop.example/{}", "a".repeat(100));
    assert_eq!(streams.get(&long).await.status, 414);
    let many =
        (0..11).fold(http::Request::get("http://shop.example/"), |request, n| request.header(format!("x-{n}"), "1"));
    assert_eq!(streams.ask(many.body(()).unwrap(), None).await.unwrap().status, 431);
    // The connection is as good as before.
    assert_eq!(streams.get("http://shop.example/a?b").await.header("x-cache-status"), "HIT");
}

#[tokio::test]
async fn a_request_with_trailers_is_answered_and_counts_as_done() {
    let origin = origin(|seen| Reply::ok(format!("{} {}", seen.text(), "x".repeat(300_000)))).await;
    let edge = Edge::start(&conf(&origin, "protocols = [\"h2\"]")).await;
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    for turn in 1..=2 {
        let mut send = streams.0.clone().ready().await.unwrap();
        let request = http::Request::post("http://shop.example/").body(()).unwrap();
        let (response, mut body) = send.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"sent"), false).unwrap();
        origin.until("the head", |origin| origin.requests() == turn).await;
        body.send_trailers(http::HeaderMap::from_iter([(http::header::ETAG, "\"a\"".parse().unwrap())])).unwrap();
        let answer = patiently(Streams::whole(response), || "an answer".to_owned()).await.unwrap();
        assert_eq!((answer.status, &answer.body[..6], answer.body.len()), (200, &b"sent x"[..], 300_005));
        edge.metric_becomes("hedgerow_terminations_total", &[("reason", "done")], turn as f64).await;
    }
    assert_eq!(edge.metric("hedgerow_terminations_total", &[("reason", "client-closed")]).await, 0.0);
}

/// The fast lane's answer to a hit says what the phases behind it say.
#[tokio::test]
async fn hits_over_http_2_are_the_same_by_both_ways() {
    let origin = origin(|seen| {
        let reply = Reply::ok("page").header("Cache-Control", "max-age=60").header("ETag", "\"a\"");
        let reply = reply.header("X-Request-Id", "theirs").header("Cache-Tag", "t").header("Vary", "Accept");
        if seen.path() == "/large" { reply.body([b'x'; 100_000]) } else { reply }
    })
    .await;
    let tags = "[cache]\ntags = [\"Cache-Tag\"]\n[cache.reveal]\nclients = []\n";
    let edge = Edge::start(&(conf(&origin, "protocols = [\"h2\"]") + tags)).await;
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    let of = |method: &str, path: &str, fields: &[(&str, &str)]| {
        let uri = format!("http://shop.example{path}");
        let request = http::Request::builder().method(method).uri(uri).header("x-request-id", "1");
        fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    };
    let served = || edge.metric("hedgerow_lane_requests_total", &[("outcome", "served")]);
    for path in ["/", "/large"] {
        assert_eq!(streams.ask(of("GET", path, &[]), None).await.unwrap().header("x-cache-status"), "MISS");
    }
    for method in ["GET", "HEAD"] {
        for asked in [&[][..], &[("if-none-match", "\"a\"")], &[("if-none-match", "\"b\"")]] {
            let before = served().await;
            let fast = streams.ask(of(method, "/", asked), None).await.unwrap();
            assert_eq!(served().await, before + 1.0, "{asked:?}");
            // A wish that the lane leaves to others.
            let slow = [asked, &[("cache-control", "no-transform")]].concat();
            let slow = streams.ask(of(method, "/", &slow), None).await.unwrap();
            assert_eq!(served().await, before + 1.0);
            assert_eq!((fast.status, &fast.body), (slow.status, &slow.body), "{method} {asked:?}");
            let fields = |answer: &Answer| {
                let moving = ["date", "age", "cache-status"];
                let mut fields: Vec<_> =
                    answer.headers.iter().filter(|(name, _)| !moving.contains(&name.as_str())).collect();
                fields.sort_by_key(|(name, _)| name.as_str().to_owned());
                format!("{fields:?}")
            };
            assert_eq!(fields(&fast), fields(&slow), "{method} {asked:?}");
        }
    }
    let before = served().await;
    assert_eq!(streams.ask(of("GET", "/large", &[]), None).await.unwrap().body.len(), 100_004);
    assert_eq!(served().await, before);
    let trace = streams.ask(of("TRACE", "/", &[]), None).await.unwrap();
    assert_eq!(trace.status, 405);
}

#[tokio::test]
async fn requests_of_http_2_do_not_wait_for_each_other() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = origin(move |seen| {
        let reply = Reply::ok("late").header("Cache-Control", "no-store");
        if seen.target.as_str() == "/slow" { reply.held_by(&held) } else { Reply::ok("soon") }
    })
    .await;
    let edge = Edge::start(&conf(&origin, "protocols = [\"h2\"]")).await;
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    let slow = streams.get("http://a/slow");
    let soon = async {
        let answer = streams.get("http://a/soon").await;
        gate.open();
        answer
    };
    let (slow, soon) = tokio::join!(slow, soon);
    assert_eq!((slow.body, soon.body), (Bytes::from("late"), Bytes::from("soon")));
}

#[tokio::test]
async fn clear_text_listeners_tell_both_versions_apart() {
    let origin = origin(|_| Reply::ok("x")).await;
    let edge = Edge::start(&conf(&origin, "protocols = [\"h1\", \"h2\"]")).await;
    assert_eq!(edge.get("/").await.expect(200).text(), "x");
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    assert_eq!(streams.get("http://a/").await.body, "x");
    // A preface that comes in pieces is one, and what only begins like one is not.
    let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
    stream.write_all(b"PRI * HT").await.unwrap();
    let answer = said(stream, b"TP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

#[tokio::test]
async fn a_connection_of_http_2_ends_when_the_edge_does_and_not_before_its_requests() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = origin(move |_| Reply::ok("done").held_by(&held)).await;
    let edge = Edge::start(&conf(&origin, "protocols = [\"h2\"]")).await;
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    let asked = tokio::spawn(async move { streams.get("http://a/").await });
    origin.until_first().await;
    let drained = edge.drain(support::PATIENCE);
    gate.open();
    assert_eq!(asked.await.unwrap().body, "done");
    drained.await.unwrap();
}

#[tokio::test]
async fn a_connection_has_its_number_of_requests() {
    let origin = origin(|_| Reply::ok("x")).await;
    let edge =
        Edge::start(&(conf(&origin, "protocols = [\"h2\"]") + "[server.limits]\nrequests_per_connection = 3\n")).await;
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    for _ in 0..3 {
        assert_eq!(streams.get("http://a/").await.status, 200);
    }
    let refused = eventually("the connection takes no more", || async {
        streams.ask(http::Request::get("http://a/").body(()).unwrap(), None).await.err()
    })
    .await;
    assert!(refused.is_go_away() || refused.is_io(), "{refused}");
}

#[tokio::test]
async fn a_proxy_header_tells_the_client() {
    let origin = origin(|seen| Reply::ok(field(seen, "x-forwarded-for"))).await;
    let edge = Edge::start(&conf(&origin, "proxy_protocol = [\"127.0.0.0/8\"]\nprotocols = [\"h1\", \"h2\"]")).await;
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n".to_vec();
    let v2 =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &[192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb]].concat();
    for header in [&v1, &v2] {
        let answer = edge.fetch_raw([header, closing("/").as_bytes()].concat()).await.expect(200);
        assert_eq!(answer.text(), "192.0.2.7");
        let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
        stream.write_all(header).await.unwrap();
        assert_eq!(Streams::over(stream).await.get("http://a/").await.body, "192.0.2.7");
    }
    // One byte at a time is as good.
    let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in &v1 {
        stream.write_all(&[*byte]).await.unwrap();
    }
    assert!(said(stream, closing("/")).await.ends_with("192.0.2.7"));
    let stream = TcpStream::connect(edge.addr()).await.unwrap();
    assert_eq!(said(stream, closing("/")).await, "");
    edge.metric_becomes("hedgerow_client_connections_failed_total", &[("reason", "proxy-header")], 1.0).await;
}

#[tokio::test]
async fn a_proxy_header_comes_before_tls() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let origin = origin(|seen| Reply::ok(field(seen, "x-forwarded-for"))).await;
    let text = conf(&origin, "proxy_protocol = [\"127.0.0.1\"]").replacen(
        "[[pool]]",
        &format!("[listener.tls]\n{}\n[[pool]]", authority.certificates(&["shop"])),
        1,
    );
    let edge = Edge::start(&text).await;
    let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
    stream.write_all(b"PROXY TCP6 2001:db8::7 2001:db8::1 5 443\r\n").await.unwrap();
    let name = ServerName::try_from("shop.example").unwrap();
    let stream = authority.client(&[], None).connect(name, stream).await.unwrap();
    assert!(said(stream, closing("/")).await.ends_with("\r\n\r\n2001:db8::7"));
}

#[tokio::test]
async fn who_may_not_send_a_proxy_header_may_not_connect() {
    let origin = origin(|_| Reply::ok("")).await;
    let edge = Edge::start(&conf(&origin, "proxy_protocol = [\"192.0.2.1\"]")).await;
    let stream = TcpStream::connect(edge.addr()).await.unwrap();
    let mut read = Vec::new();
    let _ended = patiently(
        async {
            let mut stream = stream;
            stream.read_to_end(&mut read).await
        },
        || "the end".to_owned(),
    )
    .await;
    assert!(read.is_empty());
    edge.metric_becomes("hedgerow_client_connections_failed_total", &[("reason", "not-listed")], 1.0).await;
}

#[tokio::test]
async fn everybody_is_sent_to_https() {
    let origin = origin(|_| Reply::ok("")).await;
    let edge = Edge::start(&conf(&origin, "redirect_to_https = 8443\nprotocols = [\"h1\", \"h2\"]")).await;
    let answer = edge.fetch(&Request::get("/a?b").host("Shop.example:80")).await.expect(301);
    assert_eq!(answer.header("location"), Some("https://shop.example:8443/a?b"));
    let answer = edge.fetch(&Request::post("/a", "x").host("shop.example")).await.expect(308);
    assert_eq!(answer.header("location"), Some("https://shop.example:8443/a"));
    let streams = Streams::over(TcpStream::connect(edge.addr()).await.unwrap()).await;
    let answer = streams.get("http://shop.example/c").await;
    assert_eq!((answer.status, answer.header("location")), (301, "https://shop.example:8443/c"));
    assert_eq!(origin.requests(), 0);
    // Nothing of a client goes into a line of its own.
    edge.fetch_raw("GET /a HTTP/1.1\r\nHost: x y\r\n\r\n").await.expect(400);
}

#[tokio::test]
async fn a_silent_client_does_not_keep_a_handshake_open() {
    let authority = Authority::new();
    authority.write("shop", &["shop.example"]);
    let origin = origin(|_| Reply::ok("")).await;
    let text = tls_conf(&origin, &authority, &["shop"], "") + "[server.timeouts]\nhandshake = \"50ms\"\n";
    let edge = Edge::start(&text).await;
    let mut stream = TcpStream::connect(edge.addr()).await.unwrap();
    let mut read = Vec::new();
    let _ended = patiently(stream.read_to_end(&mut read), || "the end".to_owned()).await;
    edge.metric_becomes("hedgerow_client_connections_failed_total", &[("reason", "timeout")], 1.0).await;
    edge.metric_becomes("hedgerow_client_connections", &[], 0.0).await;
}

/// A Unix socket of an edge in a folder of its own.
fn socket(folder: &Folder, file: &str) -> std::path::PathBuf {
    folder.path().join(file)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_a_listener_like_others() {
    let origin = origin(|seen| Reply::fresh(60, field(seen, "x-forwarded-for"))).await;
    let (folder, authority) = (Folder::new(), Authority::new());
    authority.write("shop", &["shop.example"]);
    let [plain, balanced, secure] = ["a.sock", "b.sock", "c.sock"].map(|file| socket(&folder, file));
    let conf = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\n\
         [[listener]]\naddress = \"unix:{}\"\nmode = \"0600\"\nproxy_protocol = [\"127.0.0.1\"]\n\
         [[listener]]\naddress = \"unix:{}\"\ntls = {{ {} }}\n\
         [[pool]]\nname = \"p\"\nbackends = [\"{}\"]\n[[route]]\npool = \"p\"\n",
        plain.display(),
        balanced.display(),
        secure.display(),
        authority.certificates(&["shop"]),
        origin.addr(),
    );
    let edge = Edge::start(&conf).await;

    // Who comes by a socket is on this machine.
    let ask = async |target: &str| {
        let stream = tokio::net::UnixStream::connect(&plain).await.unwrap();
        said(stream, closing(target)).await
    };
    let answer = ask("/").await;
    assert!(answer.ends_with("\r\n\r\n127.0.0.1") && answer.contains("X-Cache-Status: MISS"), "{answer}");
    assert!(ask("/").await.contains("X-Cache-Status: HIT"));

    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&balanced).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let stream = tokio::net::UnixStream::connect(&balanced).await.unwrap();
    let told = format!("PROXY TCP4 192.0.2.7 198.51.100.1 5 443\r\n{}", closing("/told"));
    assert!(said(stream, told).await.ends_with("\r\n\r\n192.0.2.7"));

    let stream = tokio::net::UnixStream::connect(&secure).await.unwrap();
    let name = ServerName::try_from("shop.example").unwrap();
    let stream = authority.client(&["http/1.1"], None).connect(name, stream).await.unwrap();
    assert!(said(stream, closing("/tls")).await.ends_with("\r\n\r\n127.0.0.1"));

    // The files go with the edge.
    edge.drain(std::time::Duration::from_secs(5)).await.unwrap();
    drop(edge);
    let are_gone = || !plain.exists() && !balanced.exists() && !secure.exists();
    eventually("the files go", async || are_gone().then_some(())).await;
}
