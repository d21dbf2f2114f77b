//! The fast lane: the same answer as behind it, byte for byte, and the same manners towards the connection.
//!
//! The kit's edges tell clients of this machine the key, which the lane leaves to others: so each edge here says otherwise.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use support::edge::{Edge, pool};
use support::{Client, Origin, Reply, Request, Response, Seen};

/// Nobody here is told the key.
const UNREVEALED: &str = "[cache]\nreveal = { clients = [\"192.0.2.0/24\"] }\n";

/// How many requests the lane has answered.
async fn served(edge: &Edge) -> f64 {
    outcome(edge, "served").await
}

async fn outcome(edge: &Edge, outcome: &str) -> f64 {
    edge.metric("hedgerow_lane_requests_total", &[("outcome", outcome)]).await
}

mod equivalence {
    use super::*;

    const ROUTES: &str = r#"
        [[route]]
        name = "plain"
        pool = "web"

        [[route]]
        name = "keyed"
        pool = "web"
        match = { path = "/keyed/**" }
        [route.cache.key]
        template = "{scheme}{host}{path}{query}{header:x-tenant}{header:x-forwarded-proto}{cookie:cur}{device}"
        query = { drop = ["utm_*"], sort = true }
        device = [{ class = "mobile", user_agent = "*Mobile*" }]

        [[route]]
        name = "alias"
        pool = "web"
        match = { path = "/alias/**" }
        cache.key.host = "canon.test"

        [[route]]
        name = "negotiated"
        pool = "web"
        match = { path = "/negotiated/**" }
        [route.cache]
        client_directives = "ignore"
        vary = { accept_encoding = "normalise", accept_language = ["en", "de"] }

        [[route]]
        name = "cookies"
        pool = "web"
        match = { path = "/cookies/**" }
        cache.set_cookie = "share"

        [[route]]
        name = "few"
        pool = "web"
        priority_header = "X-Priority"
        match = { path = "/few/**" }
        [route.cache]
        min_uses = 2
        set_cookie = "strip"
        key = { template = "{scheme}{host}{path}{query}", query = { keep = ["a", "b*"] } }

        [[route]]
        name = "wild"
        pool = "web"
        match = { host = "*.wild.test" }
        cache.key.template = "{scheme}{host}{path}"

        [[route]]
        name = "off"
        pool = "web"
        match = { host = "off.wild.test" }
        cache.enabled = false
    "#;

    const DATE: &str = "Sun, 06 Nov 2050 08:49:37 GMT";
    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    /// What the origin makes of a request: by the last segment of its path, and telling what it was asked.
    fn answer(seen: &Seen) -> Reply {
        let kind = seen.path().rsplit('/').next().unwrap_or_default().split(['-', '%']).next().unwrap_or_default();
        let told = ["Host", "X-Tenant", "Cookie", "X-Device-Class", "X-Forwarded-Proto", "X-Forwarded-Host"];
        let told: Vec<_> = told.iter().map(|name| seen.header(name).unwrap_or("-")).collect();
        let asked = format!(
            "{} {told:?} {:?} {:?}",
            seen.target,
            seen.header("Accept-Encoding"),
            seen.header("Accept-Language")
        );
        let fresh = |reply: Reply| reply.header("Cache-Control", "max-age=3600").header("Date", DATE);
        let ok = || fresh(Reply::ok(&asked));
        match kind {
            "etag" => ok().header("ETag", "\"v1\""),
            "weak" => ok().header("ETag", "W/\"v1\"").header("Last-Modified", MODIFIED),
            "modified" => ok().header("Last-Modified", MODIFIED).header("Content-Language", "en"),
            "both" => ok().header("ETag", "\"v1\"").header("Last-Modified", MODIFIED).header("Accept-Ranges", "bytes"),
            "moved" => fresh(Reply::new(301)).header("Location", "/elsewhere").body(&asked),
            "missing" => fresh(Reply::new(404)).header("ETag", "\"v1\"").body(&asked),
            "nothing" => fresh(Reply::new(204)).header("ETag", "\"v1\""),
            "chunked" => fresh(Reply::new(200)).header("ETag", "\"v1\"").chunk(&asked).chunk("more"),
            "closing" => ok().until_close(),
            "empty" => fresh(Reply::ok("")).header("ETag", "\"v1\""),
            "four" => fresh(Reply::ok("x".repeat(4096))),
            "five" => fresh(Reply::ok("x".repeat(4097))),
            "big" => fresh(Reply::ok("0123456789".repeat(10_000))).header("ETag", "\"v1\""),
            "aged" => ok().header("Age", "40"),
            "relayed" => ok()
                .header("Via", "1.1 inner")
                .header("via", "1.0 outer")
                .header("Cache-Status", "inner; hit; ttl=5")
                .header("Proxy-Status", "inner; received-status=200")
                .header("X-Cache-Status", "THEIRS")
                .header("X-Request-Id", "theirs")
                .header("!date", "forged"),
            "hops" => ok()
                .header("Connection", "X-Hop, X-Request-Id, keep-alive")
                .header("X-Hop", "1")
                .header("Keep-Alive", "timeout=5"),
            "tagged" => ok().header("Cache-Tag", "a, b").header("Surrogate-Key", "c").header("xkey", "d"),
            "encoded" => ok().header("Vary", "Accept-Encoding"),
            "language" => ok().header("vary", "accept-language,  Accept-Encoding"),
            "personal" => ok().header("Vary", "Cookie").header("Vary", "User-Agent"),
            "scheme" => ok().header("Vary", "X-Forwarded-Proto, X-Forwarded-For, Forwarded"),
            "device" => ok().header("Vary", "X-Device-Class"),
            "hopping" => ok().header("Vary", "TE, X-Request-Id, X-Priority"),
            "conditional" => ok().header("Vary", "If-None-Match, X-Tenant").header("ETag", "\"v1\""),
            "cookie" => ok().header("Set-Cookie", "a=1").header("set-cookie", "b=2").header("ETag", "\"v1\""),
            "odd" => ok()
                .header("eTaG", "\"v1\"")
                .header("x-oDD-Field", "1")
                .header("X-Odd-Field", "2")
                .header("X-Blank", "")
                .header("content-TYPE", "text/plain")
                .header("X-Latin", "caf\u{e9}"),
            "brief" => Reply::ok(&asked).header("Cache-Control", "max-age=0").header("ETag", "\"v1\""),
            "asked" => ok().header("Cache-Control", "no-cache").header("ETag", "\"v1\""),
            "closed" => Reply::ok(&asked).header("Cache-Control", "no-store"),
            _ => ok(),
        }
    }

    const KINDS: [&str; 33] = [
        "plain",
        "etag",
        "etag",
        "weak",
        "modified",
        "both",
        "both",
        "moved",
        "missing",
        "nothing",
        "chunked",
        "closing",
        "empty",
        "four",
        "five",
        "big",
        "aged",
        "relayed",
        "hops",
        "tagged",
        "encoded",
        "language",
        "personal",
        "scheme",
        "device",
        "hopping",
        "conditional",
        "cookie",
        "odd",
        "brief",
        "asked",
        "closed",
        "etag-\u{fc}",
    ];
    const FOLDERS: [&str; 7] = ["/", "/keyed/", "/alias/", "/negotiated/", "/cookies/", "/few/", "/deep/er/"];
    const QUERIES: [&str; 14] = [
        "",
        "",
        "",
        "",
        "?",
        "?a=1",
        "?b=2&a=1",
        "?utm_x=1",
        "?a=1&utm_source=z&b=2&&c",
        "?q=%7e%c3&x=\"y\"",
        "?q=<>{}|^`",
        "?a=\u{fc}",
        "?a=1?b=2/..",
        "?b2=%zz&a",
    ];
    const HOSTS: [&str; 14] = [
        "edge.test",
        "edge.test",
        "edge.test",
        "EDGE.Test",
        "edge.test:80",
        "edge.test:8080",
        "edge.test.",
        "a.wild.test",
        "off.wild.test",
        "other.test:",
        "[::1]:80",
        "192.0.2.1",
        "bad host",
        "",
    ];
    const FIELDS: [(&str, &str); 60] = [
        ("If-None-Match", "\"v1\""),
        ("If-None-Match", "W/\"v1\""),
        ("if-none-match", "\"v0\", \"v1\""),
        ("If-None-Match", "*"),
        ("If-None-Match", "\"other\""),
        ("If-Modified-Since", MODIFIED),
        ("If-Modified-Since", "Sun, 06 Nov 1994 08:49:36 GMT"),
        ("If-Modified-Since", DATE),
        ("If-Modified-Since", "yesterday"),
        ("If-Match", "\"v1\""),
        ("Range", "bytes=0-3"),
        ("Connection", "close"),
        ("Connection", "keep-alive"),
        ("connection", "Keep-Alive"),
        ("Connection", "X-Tenant"),
        ("X-Request-Id", "mine-1"),
        ("x-request-id", "mine-2"),
        ("X-Request-Id", "two words"),
        ("X-Request-Id", ""),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Proto", "HTTPS"),
        ("X-Forwarded-Proto", "caf\u{e9}"),
        ("X-Forwarded-Host", "told.test"),
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-For", "198.51.100.1, 127.0.0.1"),
        ("X-Forwarded-Port", "99"),
        ("Forwarded", "for=192.0.2.7;proto=https"),
        ("X-Real-IP", "192.0.2.7"),
        ("Accept-Encoding", "gzip, br"),
        ("Accept-Encoding", "br,gzip;q=0.5"),
        ("accept-encoding", "identity"),
        ("Accept-Encoding", ""),
        ("Accept-Language", "de-AT, en;q=0.5"),
        ("Accept-Language", "fr"),
        ("Cookie", "cur=EUR; x=1"),
        ("Cookie", "x=2"),
        ("cookie", "cur=USD"),
        ("X-Tenant", "a"),
        ("X-Tenant", "b"),
        ("x-tenant", "caf\u{e9}"),
        ("User-Agent", "Mobile Safari"),
        ("User-Agent", "Desktop"),
        ("Authorization", "Basic x"),
        ("X-Priority", "critical"),
        ("X-Device-Class", "mobile"),
        ("TE", "trailers"),
        ("Keep-Alive", "timeout=5"),
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "max-age=0"),
        ("Cache-Control", "max-stale"),
        ("Cache-Control", "only-if-cached"),
        ("Pragma", "no-cache"),
        ("Expect", "100-continue"),
        ("Content-Length", "0"),
        ("Content-Type", "text/plain"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Via", "1.1 before"),
        ("CDN-Loop", "x"),
        ("X-Blank", ""),
        ("X-Spaced", " \t a b \t"),
    ];

    /// A request as it is generated.
    #[derive(Clone, Debug)]
    struct Asked {
        trusting: bool,
        head: bool,
        host: &'static str,
        target: String,
        fields: Vec<(&'static str, &'static str)>,
    }

    impl Asked {
        fn request(&self) -> Request {
            let request = Request::new(if self.head { "HEAD" } else { "GET" }, &self.target).host(self.host);
            self.fields.iter().fold(request, |request, (name, value)| request.header(name, value))
        }

        fn gives_an_id(&self) -> bool {
            let given = self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-request-id"));
            given.is_some_and(|(_, id)| id.starts_with("mine"))
        }
    }

    /// Another way to write the path, the same one or not.
    fn spelled(folder: &str, kind: &str, way: u8) -> String {
        match way {
            0 => format!("{folder}%{:02x}{}", kind.as_bytes()[0], &kind[1..]),
            1 => format!("{folder}./{kind}"),
            2 => format!("{folder}x/../{kind}"),
            3 => format!("{folder}/{kind}"),
            4 => format!("{folder}{kind}-%c3%BC%7e"),
            5 => format!("{folder}{kind}-%2f"),
            6 => format!("/../{kind}"),
            7 => format!("{folder}{kind}-%zz"),
            8 => format!("http://edge.test{folder}{kind}"),
            9 => format!("{folder}{kind}-\"{{}}|"),
            _ => format!("{folder}{kind}"),
        }
    }

    fn asked() -> impl Strategy<Value = Asked> {
        let target = (
            prop::sample::select(&FOLDERS[..]),
            prop::sample::select(&KINDS[..]),
            0u8..30,
            prop::sample::select(&QUERIES[..]),
        )
            .prop_map(|(folder, kind, way, query)| spelled(folder, kind, way) + query);
        let fields = prop::collection::vec(prop::sample::select(&FIELDS[..]), 0..4);
        (any::<bool>(), prop::bool::weighted(0.2), prop::sample::select(&HOSTS[..]), target, fields)
            .prop_map(|(trusting, head, host, target, fields)| Asked { trusting, head, host, target, fields })
    }

    /// An answer without what chance and the clock put into it, and these: `Age` and the ttl told.
    fn essence(answer: &Response, keep_id: bool) -> (BTreeMap<String, Vec<String>>, BTreeMap<String, i64>) {
        let mut clocks = BTreeMap::new();
        let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in &answer.headers.0 {
            let name = name.to_ascii_lowercase();
            // What else is said after the ttl is for who is told the key.
            let told = value.split_once("; ttl=");
            let told = told.map(|(said, rest)| (said, rest.split_at(rest.find(';').unwrap_or(rest.len()))));
            let value = match (name.as_str(), told) {
                ("age", _) => {
                    clocks.insert(name.clone(), value.parse().expect("Age is a number"));
                    "N".to_owned()
                }
                ("cache-status", Some((said, (ttl, rest)))) if said.starts_with("hedgerow") => {
                    clocks.insert(name.clone(), ttl.parse().expect("ttl is a number"));
                    format!("{said}; ttl=N{rest}")
                }
                ("date", _) if value != DATE => "now".to_owned(),
                // Whether the origin was late is chance.
                ("proxy-status", _) => value.replace("; hedge=denied", ""),
                ("x-request-id", _) if !keep_id => format!("{} characters", value.len()),
                _ => value.clone(),
            };
            fields.entry(name).or_default().push(value);
        }
        (fields, clocks)
    }

    fn same(one: &Response, other: &Response, keep_id: bool) -> bool {
        let ((fields, clocks), (other_fields, other_clocks)) = (essence(one, keep_id), essence(other, keep_id));
        let near = clocks.iter().zip(&other_clocks).all(|((_, a), (_, b))| (a - b).abs() <= 1);
        one.status == other.status
            && one.reason == other.reason
            && one.minor_version == other.minor_version
            && fields == other_fields
            && near
            && one.body == other.body
            && one.complete == other.complete
    }

    /// One connection to an edge, made again when the edge has closed it.
    struct Line(Option<Client>);

    impl Line {
        async fn ask(&mut self, edge: &Edge, request: &Request) -> Response {
            let mut client = match self.0.take() {
                Some(client) => client,
                None => edge.client().await,
            };
            let answer = client.request(request).await;
            if answer.headers.lists("Connection", "close") {
                assert!(client.closed().await.is_empty(), "more was said after\n{answer}");
            } else {
                self.0 = Some(client);
            }
            answer
        }
    }

    struct Bench {
        edge: Edge,
        lane: Line,
        behind: Line,
    }

    impl Bench {
        async fn over(origin: &Origin, trusted: &str) -> Bench {
            let server = format!("[server]\ntrusted_proxies = [{trusted}]\n");
            let edge = Edge::start(&[&pool("web", &[origin.addr()], ""), ROUTES, &server, UNREVEALED].concat()).await;
            Bench { edge, lane: Line(None), behind: Line(None) }
        }

        /// The answers in the lane (if it will) and behind it, to who is not the first to ask.
        async fn ask(&mut self, asked: &Asked) -> (Response, Response) {
            let plain = asked.request();
            let slow = plain.clone().header("x_slow", 1);
            for _ in 0..2 {
                self.behind.ask(&self.edge, &slow).await;
            }
            let behind = self.behind.ask(&self.edge, &slow).await;
            (self.lane.ask(&self.edge, &plain).await, behind)
        }
    }

    #[test]
    fn the_lane_answers_as_those_behind_it_do() {
        const CASES: u32 = 500;
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (origin, strangers, friends) = runtime.block_on(async {
            let origin = Origin::start().await;
            origin.otherwise(answer);
            let strangers = Bench::over(&origin, "").await;
            let friends = Bench::over(&origin, "\"127.0.0.0/8\"").await;
            (origin, strangers, friends)
        });
        let benches = std::cell::RefCell::new([strangers, friends]);
        let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let result = runner.run(&asked(), |asked| {
            let mut benches = benches.borrow_mut();
            let (lane, behind) = runtime.block_on(benches[usize::from(asked.trusting)].ask(&asked));
            if same(&lane, &behind, asked.gives_an_id()) {
                return Ok(());
            }
            Err(TestCaseError::fail(format!("in the lane\n{lane}\nbehind it\n{behind}")))
        });
        if let Err(e) = result {
            panic!("{e}");
        }
        runtime.block_on(async {
            let benches = benches.borrow();
            let (mut answered, mut handed) = (0.0, 0.0);
            for bench in benches.iter() {
                answered += served(&bench.edge).await;
                handed += outcome(&bench.edge, "underscore").await;
            }
            let cases = f64::from(CASES);
            assert!(answered > 0.25 * cases, "the lane has answered only {answered} of {cases}");
            assert!(handed > 1.5 * cases, "{handed} requests with an underscore were handed on");
        });
        drop(origin);
    }
}
