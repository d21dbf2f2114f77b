//! What is measured: every scenario in one list.

use crate::edges::Kind::{self, *};

/// All that are measured of plain requests.
const ALL: &[Kind] = &[Floor, Hedgerow, Nginx, Haproxy, Varnish];
/// Those that ask an origin.
const PROXIES: &[Kind] = &[Hedgerow, Nginx, Haproxy, Varnish];

/// Connections, where they are not what is measured.
const CONNECTIONS: usize = 64;
/// Bytes of a body, where that is not what is measured.
const BODY: usize = 1024;
/// The same where there are many keys.
const SMALL: usize = 128;

pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) word: &'static str,
    pub(crate) title: &'static str,
    pub(crate) edges: &'static [Kind],
    pub(crate) ask: Ask,
    pub(crate) connections: usize,
    pub(crate) measure: Measure,
    /// How many the edges are told of; all are the same origin.
    pub(crate) backends: usize,
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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Measure {
    /// What a request costs when each connection asks again as soon as it is answered.
    Closed,
}

/// All there are, in the order in which they run.
pub(crate) fn all() -> Vec<Scenario> {
    let hit = Ask { class: Class::Hit, body: BODY, keys: 1, conditional: false };
    let sized = |word, title, body| new(word, title, ALL, Ask { body, ..hit });
    let keyed = |word, title, edges, keys| new(word, title, edges, Ask { body: SMALL, keys, ..hit });
    vec![
        sized("hit-0", "Hit, empty body", 0),
        sized("hit-1k", "Hit, 1 KiB", 1024),
        sized("hit-64k", "Hit, 64 KiB", 64 * 1024),
        sized("hit-1m", "Hit, 1 MiB", 1024 * 1024),
        new("not-modified", "304 by If-None-Match", ALL, Ask { conditional: true, ..hit }),
        keyed("keys-1k", "Hits of 1,000 keys by Zipf's law, 128 B", PROXIES, 1000),
        keyed("keys-100k", "Hits of 100,000 keys by Zipf's law, 128 B", PROXIES, 100_000),
        keyed("keys-1m", "Hits of 1,000,000 keys by Zipf's law, 128 B", &[Hedgerow], 1_000_000),
        Scenario { connections: 1, ..new("conns-1", "Hit, 1 KiB, 1 connection", ALL, hit) },
        Scenario { connections: 1000, ..new("conns-1000", "Hit, 1 KiB, 1,000 connections", ALL, hit) },
        new("log", "Hit, 1 KiB, access log off and on", &[Hedgerow, HedgerowLog, Nginx, NginxLog], hit),
        new("miss", "Not storable, 1 KiB, with a cache", PROXIES, Ask { class: Class::Miss, ..hit }),
        Scenario {
            backends: 2,
            ..new(
                "miss-hedge",
                "The same with two backends, so that Hedgerow may hedge",
                &[Hedgerow, Nginx, Haproxy],
                Ask { class: Class::Miss, ..hit },
            )
        },
        new("pass", "Not storable, 1 KiB, without a cache", PROXIES, Ask { class: Class::Pass, ..hit }),
    ]
}

fn new(word: &'static str, title: &'static str, edges: &'static [Kind], ask: Ask) -> Scenario {
    Scenario { word, title, edges, ask, connections: CONNECTIONS, measure: Measure::Closed, backends: 1 }
}
