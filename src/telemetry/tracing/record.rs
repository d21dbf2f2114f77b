//! What a request carries of its trace, and what is said of it at its end.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use crate::config::{self, Trust};
use crate::telemetry::visits::Visit;
use crate::telemetry::{CacheResult, Phases, Termination};
use crate::trace::context::{Parent, SpanId, TraceId};
use crate::trace::sampling::{self, Reason};
use crate::units::Tick;

/// Bytes of a text in a span; a client may send a thousand times as much.
const LONGEST: usize = 1024;

/// A request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The caller's span, if there is one that is believed.
    pub parent: Option<SpanId>,
    /// The request's own.
    pub span: SpanId,
    /// Why it is recorded, if that was decided at its start.
    pub sampled: Option<Reason>,
}

impl Trace {
    /// The place of a request that begins: in its caller's trace, or in one of its own. `trusted` is whether a trusted proxy
    /// sent it.
    pub fn begin(config: &config::Tracing, parent: Option<Parent>, trusted: bool) -> Trace {
        let decided = parent.filter(|_| trusted).map(|parent| parent.sampled);
        Trace::of(parent, sampling::at_start(config.sample, decided, fastrand::f64()))
    }

    /// The same where it has been decided whether it is recorded.
    pub fn of(parent: Option<Parent>, sampled: Option<Reason>) -> Trace {
        Trace {
            id: parent.map_or_else(|| TraceId::of(fastrand::u128(..)), |parent| parent.trace),
            parent: parent.map(|parent| parent.span),
            span: SpanId::of(fastrand::u64(..)),
            sampled,
        }
    }

    /// What its `nth` attempt says to its backend, counted from 0.
    pub fn told(&self, nth: usize) -> Parent {
        Parent { trace: self.id, span: self.span.child(nth), sampled: self.sampled.is_some() }
    }
}

impl Trust {
    /// Whether the trace context of a request is believed.
    pub const fn believes(self, trusted: bool) -> bool {
        match self {
            Trust::None => false,
            Trust::Proxies => trusted,
            Trust::All => true,
        }
    }
}

/// One request that is recorded, as it is handed in.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Whether it is a refresh, which another request set off and no client waits for.
    pub is_refresh: bool,
    /// Its place.
    pub trace: Trace,
    /// Why it is recorded.
    pub reason: Reason,
    /// When its head was read, on both clocks.
    pub wall: SystemTime,
    /// The same.
    pub started: Tick,
    /// From there to the last byte sent.
    pub duration: Duration,
    /// As received.
    pub method: Text,
    /// `http` or `https`, as the client asked.
    pub scheme: &'static str,
    /// The host asked for, without port.
    pub host: Text,
    /// The port asked for.
    pub port: Option<u16>,
    /// Without the query.
    pub path: Text,
    /// The query, if it is told.
    pub query: Option<Text>,
    /// `1.0`, `1.1` or `2`; nothing if it is not known any more.
    pub version: &'static str,
    /// The client's address, behind trusted proxies if there are any.
    pub client: Option<IpAddr>,
    /// The address that sent the request.
    pub peer: Option<IpAddr>,
    /// What the client says it is.
    pub user_agent: Option<Text>,
    /// What the client got; 0 if no response was begun.
    pub status: u16,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// Why it ended.
    pub termination: Termination,
    /// Name and path pattern of its route.
    pub route: Option<(Text, Text)>,
    /// Its pool, once a backend was to be asked.
    pub pool: Option<Text>,
    /// `http` or `https`, as backends are spoken to.
    pub backend_scheme: &'static str,
    /// What the cache did.
    pub cache: CacheResult,
    /// What became of the copy.
    pub hedge: Option<&'static str>,
    /// How important it was.
    pub priority: Option<&'static str>,
    /// Where its time went.
    pub phases: Phases,
    /// Why it got none.
    pub shed: Option<&'static str>,
    /// Why a stale copy was the answer.
    pub stale: Option<&'static str>,
    /// The value of `X-Request-Id`.
    pub request_id: Text,
    /// The generation it was answered under.
    pub generation: u64,
    /// Its attempts at backends.
    pub visits: Vec<Visit>,
}

/// A text that somebody else wrote, cut to 1024 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Box<str>);

impl Text {
    /// Copies as much of it as is kept.
    pub fn of(text: &str) -> Text {
        let end = (0..=LONGEST.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        Text(text.get(..end).unwrap_or_default().into())
    }

    /// The same of bytes that need not be text.
    pub fn lossy(bytes: &[u8]) -> Text {
        let some = bytes.get(..LONGEST).unwrap_or(bytes);
        Text::of(&String::from_utf8_lossy(some))
    }

    /// It.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.0.into()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request of which little is known.
    pub(in super::super) fn sample(visits: Vec<Visit>) -> Recorded {
        Recorded {
            is_refresh: false,
            trace: Trace::of(None, None),
            reason: Reason::Slow,
            wall: SystemTime::UNIX_EPOCH,
            started: Tick::from_nanos(1_000),
            duration: Duration::from_millis(60),
            method: Text::of("GET"),
            scheme: "https",
            host: Text::default(),
            port: None,
            path: Text::of("/a"),
            query: None,
            version: "",
            client: None,
            peer: None,
            user_agent: None,
            status: 0,
            bytes: 0,
            termination: Termination::Cut,
            route: None,
            pool: None,
            backend_scheme: "https",
            phases: Phases::default(),
            cache: CacheResult::None,
            hedge: None,
            priority: None,
            shed: None,
            stale: None,
            request_id: Text::default(),
            generation: 1,
            visits,
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "\u{e4}".repeat(600);
        assert_eq!(Text::of(&long).as_str(), "\u{e4}".repeat(512));
        assert_eq!(Text::of(&format!("a{long}")).as_str().len(), 1023);
        assert_eq!(Text::lossy(b"a\xffb").as_str(), "a\u{fffd}b");
        assert!(Text::lossy(&[0xff; 5000]).as_str().len() <= LONGEST);
    }

    #[test]
    fn a_stranger_is_believed_only_where_all_are() {
        for (trust, stranger, proxy) in
            [(Trust::None, false, false), (Trust::Proxies, false, true), (Trust::All, true, true)]
        {
            assert_eq!((trust.believes(false), trust.believes(true)), (stranger, proxy), "{trust:?}");
        }
    }

    #[test]
    fn attempts_are_told_apart_and_belong_to_the_request() {
        let parent = Parent { trace: TraceId::of(7), span: SpanId::of(8), sampled: true };
        let trace = Trace::of(Some(parent), None);
        assert_eq!((trace.id, trace.parent), (parent.trace, Some(parent.span)));
        let (first, second) = (trace.told(0), trace.told(1));
        assert!(first.span != second.span && first.span != trace.span && !first.sampled);
        assert!(Trace::of(None, Some(Reason::Drawn)).told(0).sampled);
    }
}
