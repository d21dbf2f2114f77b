//! What is measured: every scenario in one list.

use crate::edges::Kind::{self, Floor, Haproxy, Hedgerow, Nginx, Varnish};

/// All, for what needs no origin.
const ALL: &[Kind] = &[Floor, Hedgerow, Nginx, Haproxy, Varnish];
/// Those that ask an origin, or keep something for each connection.
const PROXIES: &[Kind] = &[Hedgerow, Nginx, Haproxy, Varnish];
/// Those that speak TLS.
const SECURE: &[Kind] = &[Hedgerow, Nginx, Haproxy];

/// Connections, where they are not what is measured.
const CONNECTIONS: usize = 64;
/// Bytes of a body, where they are not what is measured.
const BODY: usize = 1024;
/// The same where there are many keys.
const SMALL: usize = 128;

pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) word: &'static str,
    pub(crate) title: &'static str,
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) connections: usize,
    pub(crate) measure: Measure,
    pub(crate) speaks: Speaks,
    /// How many origins the edges are told of; all are the same.
    pub(crate) backends: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// What a request costs when each connection asks again as soon as it is answered.
    Closed,
    /// How long requests take that come at half the rate nginx can do.
    Open,
    /// What connections cost that are open and silent.
    Idle,
}

/// What the client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    /// HTTP/1.1 in clear text.
    Plain,
    /// HTTP/1.1 under TLS.
    Tls,
    /// HTTP/2 under TLS.
    Http2,
    /// One request of HTTP/1.1 on each connection, with a handshake of a new session.
    New,
    /// The same with sessions that are resumed.
    Resumed,
}

/// An edge as it takes part in a scenario.
#[derive(Clone, Copy)]
pub(crate) struct Entrant {
    pub(crate) kind: Kind,
    /// What sets it apart from others of its kind.
    label: &'static str,
    /// Whether it writes an access log.
    pub(crate) log: bool,
    pub(crate) ask: Ask,
}

impl Entrant {
    pub(crate) fn name(&self) -> String {
        match self.label {
            "" => self.kind.name().to_owned(),
            label => format!("{}, {label}", self.kind.name()),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) class: Class,
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Different ones, asked for by Zipf's law.
    pub(crate) keys: u32,
    /// Whether the client has what it asks for.
    pub(crate) conditional: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// Stored in the cache before.
    Hit,
    /// Never to be stored, where there is a cache.
    Miss,
    /// The same where there is none.
    Pass,
}

impl Class {
    /// What paths begin with.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::Hit => "hit",
            Class::Miss => "miss",
            Class::Pass => "pass",
        }
    }
}

/// All there are, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let hit = Ask { class: Class::Hit, body: BODY, keys: 1, conditional: false };
    let (miss, pass) = (Ask { class: Class::Miss, ..hit }, Ask { class: Class::Pass, ..hit });
    let sized = |word, title, body| new(word, title, ALL, Ask { body, ..hit });
    let keyed = |keys| Ask { body: SMALL, keys, ..hit };
    let flat = |label, keys| Entrant { label, ..entrant(Hedgerow, keyed(keys)) };
    let secure = |word, title, speaks, ask| Scenario { speaks, ..new(word, title, SECURE, ask) };
    let large = Ask { body: 64 * 1024, ..hit };
    let logged = |kind| [entrant(kind, hit), Entrant { label: "log", log: true, ..entrant(kind, hit) }];
    vec![
        sized("hit-0", "Hit, empty body", 0),
        sized("hit-1k", "Hit, 1 KiB", 1024),
        sized("hit-64k", "Hit, 64 KiB", 64 * 1024),
        sized("hit-1m", "Hit, 1 MiB", 1024 * 1024),
        new("not-modified", "304 by If-None-Match", ALL, Ask { conditional: true, ..hit }),
        new("keys-1k", "Hits of 1,000 keys by Zipf's law, 128 B", ALL, keyed(1000)),
        new("keys-100k", "Hits of 100,000 keys by Zipf's law, 128 B", ALL, keyed(100_000)),
        Scenario {
            entrants: vec![flat("1,000 keys", 1000), flat("100,000 keys", 100_000), flat("1,000,000 keys", 1_000_000)],
            ..new("flat", "More keys, by Zipf's law, 128 B", &[], hit)
        },
        Scenario { connections: 1, ..new("conns-1", "Hit, 1 KiB, 1 connection", ALL, hit) },
        Scenario { connections: 1000, ..new("conns-1000", "Hit, 1 KiB, 1,000 connections", ALL, hit) },
        Scenario {
            entrants: [Hedgerow, Nginx].into_iter().flat_map(logged).collect(),
            ..new("log", "Hit, 1 KiB, without and with an access log", &[], hit)
        },
        Scenario { measure: Measure::Open, ..new("open", "Hit, 1 KiB, at half of nginx's throughput", ALL, hit) },
        new("miss", "Not storable, 1 KiB, with a cache", PROXIES, miss),
        Scenario {
            backends: 2,
            ..new(
                "miss-hedge",
                "The same with two backends, so that Hedgerow may hedge",
                &[Hedgerow, Nginx, Haproxy],
                miss,
            )
        },
        new("pass", "Not storable, 1 KiB, without a cache", PROXIES, pass),
        secure("tls-hit-1k", "Hit over TLS, HTTP/1.1, 1 KiB", Speaks::Tls, hit),
        secure("tls-hit-64k", "Hit over TLS, HTTP/1.1, 64 KiB", Speaks::Tls, large),
        secure("tls-miss", "Not storable, over TLS, HTTP/1.1, 1 KiB", Speaks::Tls, miss),
        secure("h2-hit-1k", "Hit over HTTP/2, 1 KiB, 8 connections with 8 streams", Speaks::Http2, hit),
        secure("h2-hit-64k", "Hit over HTTP/2, 64 KiB", Speaks::Http2, large),
        secure("h2-miss", "Not storable, over HTTP/2, 1 KiB", Speaks::Http2, miss),
        Scenario {
            measure: Measure::Open,
            ..secure("tls-open", "Hit over TLS, 1 KiB, at half of nginx's throughput", Speaks::Tls, hit)
        },
        Scenario {
            measure: Measure::Open,
            ..secure("h2-open", "Hit over HTTP/2, 1 KiB, at half of nginx's throughput", Speaks::Http2, hit)
        },
        Scenario { connections: 8, ..secure("handshake", "A connection, a new TLS session, a hit", Speaks::New, hit) },
        Scenario {
            connections: 8,
            ..secure("handshake-resumed", "A connection, a resumed TLS session, a hit", Speaks::Resumed, hit)
        },
        Scenario {
            measure: Measure::Idle,
            connections: 10_000,
            ..new("idle", "Memory of 10,000 idle connections, each after a hit of 1 KiB", PROXIES, hit)
        },
    ]
}

fn new(word: &'static str, title: &'static str, kinds: &[Kind], ask: Ask) -> Scenario {
    let entrants = kinds.iter().map(|kind| entrant(*kind, ask)).collect();
    Scenario {
        word,
        title,
        entrants,
        connections: CONNECTIONS,
        measure: Measure::Closed,
        speaks: Speaks::Plain,
        backends: 1,
    }
}

fn entrant(kind: Kind, ask: Ask) -> Entrant {
    Entrant { kind, label: "", log: false, ask }
}
