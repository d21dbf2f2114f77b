//! What the cache did with a request, told in `Cache-Status` and in nginx's word. (RFC 9211)
//!
//! `hit` and `fwd` exclude each other (§2.1): a copy that was served after the origin confirmed it went forward, so it
//! is `fwd=stale; fwd-status=304` and no hit. One enum holds the difference, so that no member can claim both.

use super::structured::{write_integer, write_item, write_string};

/// Why a request went forward, in the tokens of RFC 9211 §2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fwd {
    /// The cache was configured to not handle it.
    Bypass,
    /// Its method must be forwarded.
    Method,
    /// Nothing is stored for its URI.
    UriMiss,
    /// Something is stored for its URI, but not the variant it selects.
    VaryMiss,
    /// One of the two, and it is not known which.
    Miss,
    /// A fresh response was there, but the request did not allow its use.
    Request,
    /// The response that was there is stale.
    Stale,
    /// The response that was there lacks what the request wants of it.
    Partial,
}

impl Fwd {
    /// The token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fwd::Bypass => "bypass",
            Fwd::Method => "method",
            Fwd::UriMiss => "uri-miss",
            Fwd::VaryMiss => "vary-miss",
            Fwd::Miss => "miss",
            Fwd::Request => "request",
            Fwd::Stale => "stale",
            Fwd::Partial => "partial",
        }
    }
}

/// Why a stale copy was the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleUse {
    /// It is being refreshed behind.
    Updating,
    /// The origin was slow; it is being refreshed behind.
    Slow,
    /// There was no place at the backends.
    Overload,
    /// The origin failed.
    Error,
    /// The client allowed it.
    ClientAllows,
}

impl StaleUse {
    /// The word for logs, metrics and `detail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            StaleUse::Updating => "stale-while-revalidate",
            StaleUse::Slow => "stale-if-slow",
            StaleUse::Overload => "stale-if-overloaded",
            StaleUse::Error => "stale-if-error",
            StaleUse::ClientAllows => "max-stale",
        }
    }
}

/// nginx's `$upstream_cache_status`, for `X-Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// Answered from memory, fresh; also by the response that another request was fetching.
    Hit,
    /// Nothing was stored.
    Miss,
    /// What was stored was stale, and was replaced.
    Expired,
    /// A stale copy was served because the origin failed or the client allowed it.
    Stale,
    /// A stale copy was served while it is refreshed.
    Updating,
    /// What was stored was confirmed by the origin.
    Revalidated,
    /// The cache was not asked, or its fresh answer was refused.
    Bypass,
}

impl Word {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Word::Hit => "HIT",
            Word::Miss => "MISS",
            Word::Expired => "EXPIRED",
            Word::Stale => "STALE",
            Word::Updating => "UPDATING",
            Word::Revalidated => "REVALIDATED",
            Word::Bypass => "BYPASS",
        }
    }
}

/// What the cache did with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Answered from memory or gone forward.
    pub path: Path,
    /// If the answer was a stale copy: why.
    pub stale: Option<StaleUse>,
    /// Seconds of freshness left, negative once stale, from [`super::freshness::Freshness::ttl_seconds`].
    pub ttl: Option<i64>,
    /// A named reason, as a refusal's `as_str()` gives it. Without one, that of `stale` is told.
    pub detail: Option<&'static str>,
}

/// Which way the answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// From memory, without going forward for it (a refresh behind does not count).
    Hit,
    /// By going forward.
    Forward {
        /// Why.
        why: Fwd,
        /// The next hop's status; told only if it differs from `sent`. `None` if it gave none.
        status: Option<u16>,
        /// The status sent to the client.
        sent: u16,
        /// Whether the response was stored.
        stored: bool,
        /// `Some(true)`: answered by another request's response. `Some(false)`: that was tried in vain.
        collapsed: Option<bool>,
    },
}

impl Outcome {
    /// Answered from memory, with this many seconds of freshness left.
    pub const fn hit(ttl: i64) -> Outcome {
        Outcome { path: Path::Hit, stale: None, ttl: Some(ttl), detail: None }
    }

    /// Gone forward for this reason; the client got `sent`, as the next hop said, and nothing was stored.
    pub const fn forward(why: Fwd, sent: u16) -> Outcome {
        let path = Path::Forward { why, status: Some(sent), sent, stored: false, collapsed: None };
        Outcome { path, stale: None, ttl: None, detail: None }
    }

    /// Appends this cache's member of `Cache-Status` to `out`, without a comma before it. `name` is the cache's.
    ///
    /// `key` is what the request was looked up by, for who may know it; who may not is not told the `detail` either
    /// (§6: what a cache does inside helps an attacker as much as an operator).
    pub fn write_to(&self, name: &str, key: Option<&str>, out: &mut String) {
        write_item(name, out);
        match self.path {
            Path::Hit => {
                out.push_str("; hit");
                self.write_ttl(out);
            }
            Path::Forward { why, status, sent, stored, collapsed } => {
                out.push_str("; fwd=");
                out.push_str(why.as_str());
                if let Some(status) = status.filter(|status| *status != sent) {
                    write_integer("; fwd-status=", i64::from(status), out);
                }
                if stored {
                    out.push_str("; stored");
                }
                match collapsed {
                    Some(true) => out.push_str("; collapsed"),
                    Some(false) => out.push_str("; collapsed=?0"),
                    None => {}
                }
                self.write_ttl(out);
            }
        }
        let Some(key) = key else { return };
        out.push_str("; key=");
        write_string(key, out);
        if let Some(detail) = self.detail.or(self.stale.map(StaleUse::as_str)) {
            out.push_str("; detail=");
            write_item(detail, out);
        }
    }

    fn write_ttl(&self, out: &mut String) {
        if let Some(ttl) = self.ttl {
            write_integer("; ttl=", ttl, out);
        }
    }

    /// nginx's word for it.
    pub const fn word(&self) -> Word {
        match (self.stale, self.path) {
            (Some(StaleUse::Updating | StaleUse::Slow), _) => Word::Updating,
            (Some(StaleUse::Overload | StaleUse::Error | StaleUse::ClientAllows), _) => Word::Stale,
            (None, Path::Hit) => Word::Hit,
            (None, Path::Forward { why, status, collapsed, .. }) => match (why, status, collapsed) {
                (Fwd::Bypass | Fwd::Method, ..) => Word::Bypass,
                (Fwd::Stale | Fwd::Request, Some(304), _) => Word::Revalidated,
                // As after nginx's cache lock: no request of its own went upstream.
                (_, _, Some(true)) => Word::Hit,
                (Fwd::Request, ..) => Word::Bypass,
                (Fwd::Stale, ..) => Word::Expired,
                (Fwd::UriMiss | Fwd::VaryMiss | Fwd::Miss | Fwd::Partial, ..) => Word::Miss,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(outcome: Outcome) -> String {
        let mut out = String::new();
        outcome.write_to("edge", None, &mut out);
        out
    }

    fn told_to_the_trusted(outcome: Outcome) -> String {
        let mut out = String::new();
        outcome.write_to("edge", Some("http://a/\"é"), &mut out);
        out
    }

    fn forward(why: Fwd, status: Option<u16>, stored: bool, collapsed: Option<bool>) -> Outcome {
        Outcome { path: Path::Forward { why, status, sent: 200, stored, collapsed }, ..Outcome::forward(why, 200) }
    }

    #[test]
    fn the_examples_of_rfc9211_3() {
        assert_eq!(told(Outcome { ttl: None, ..Outcome::hit(0) }), "edge; hit");
        assert_eq!(told(Outcome::hit(376)), "edge; hit; ttl=376");
        assert_eq!(told(Outcome::hit(-412)), "edge; hit; ttl=-412");
        assert_eq!(told(Outcome::forward(Fwd::UriMiss, 200)), "edge; fwd=uri-miss");
        assert_eq!(told(forward(Fwd::Stale, Some(304), false, None)), "edge; fwd=stale; fwd-status=304");
        assert_eq!(told(forward(Fwd::UriMiss, Some(200), false, Some(true))), "edge; fwd=uri-miss; collapsed");
        assert_eq!(told(forward(Fwd::UriMiss, Some(200), false, Some(false))), "edge; fwd=uri-miss; collapsed=?0");
    }

    #[test]
    fn every_parameter_has_its_place() {
        let all = Outcome {
            ttl: Some(60),
            detail: Some("request-max-age"),
            ..forward(Fwd::Request, Some(304), true, Some(false))
        };
        let expected = "edge; fwd=request; fwd-status=304; stored; collapsed=?0; ttl=60";
        assert_eq!(told(all), expected);
        let more = format!("{expected}; key=\"http://a/\\\"?\"; detail=request-max-age");
        assert_eq!(told_to_the_trusted(all), more);
        let stale = Outcome { stale: Some(StaleUse::Updating), ..Outcome::hit(-3) };
        assert_eq!(told(stale), "edge; hit; ttl=-3");
        assert!(told_to_the_trusted(stale).ends_with("; detail=stale-while-revalidate"));
    }

    #[test]
    fn integers_have_at_most_fifteen_digits_rfc8941_3_3_1() {
        assert_eq!(told(Outcome::hit(i64::MAX)), "edge; hit; ttl=999999999999999");
        assert_eq!(told(Outcome::hit(i64::MIN)), "edge; hit; ttl=-999999999999999");
    }

    #[test]
    fn nginx_has_a_word_for_each_outcome() {
        let stale = |stale, path: Outcome| Outcome { stale: Some(stale), ..path };
        for (outcome, word) in [
            (Outcome::hit(5), "HIT"),
            (stale(StaleUse::Updating, Outcome::hit(-5)), "UPDATING"),
            (stale(StaleUse::Slow, Outcome::hit(-5)), "UPDATING"),
            (stale(StaleUse::ClientAllows, Outcome::hit(-5)), "STALE"),
            (stale(StaleUse::Error, forward(Fwd::Stale, Some(503), false, None)), "STALE"),
            (Outcome::forward(Fwd::UriMiss, 200), "MISS"),
            (Outcome::forward(Fwd::VaryMiss, 200), "MISS"),
            (Outcome::forward(Fwd::Miss, 200), "MISS"),
            (Outcome::forward(Fwd::Partial, 200), "MISS"),
            (forward(Fwd::UriMiss, Some(200), false, Some(true)), "HIT"),
            (forward(Fwd::UriMiss, Some(200), true, Some(false)), "MISS"),
            (forward(Fwd::Stale, Some(304), true, None), "REVALIDATED"),
            (forward(Fwd::Request, Some(304), true, None), "REVALIDATED"),
            (forward(Fwd::Stale, Some(200), true, None), "EXPIRED"),
            (Outcome::forward(Fwd::Request, 200), "BYPASS"),
            (Outcome::forward(Fwd::Bypass, 200), "BYPASS"),
            (Outcome::forward(Fwd::Method, 200), "BYPASS"),
        ] {
            assert_eq!(outcome.word().as_str(), word, "{outcome:?}");
        }
    }
}
