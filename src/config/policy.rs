//! What a route or a profile says about its requests, and what holds when both speak.
//!
//! The route's own keys win, key by key, and inside `cache` table by table: a `ttl` table replaces the profile's whole.
//! Merging deeper looks kind and is a trap: nobody could take back a `404 = "30s"` of the profile, and what a route does
//! would stand in no one place.

use std::time::Duration;

use super::read::Section;
use super::server::TIMEOUT;
use super::value::Value;
use super::{RouteCache, defaults, reserved};
use crate::cache;

/// The policy keys that were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    timeout: Option<Duration>,
    max_body: Option<u64>,
    enabled: Option<bool>,
    ttl: Option<cache::freshness::Ttl>,
    stale: Option<Stale>,
    key: Option<cache::key::Params>,
    vary: Option<cache::vary::Params>,
    strip_cookies: Option<bool>,
    collapse_wait: Option<Duration>,
    min_uses: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stale {
    while_revalidate: Duration,
    if_error: Duration,
}

/// Ten years: RFC 9111 §1.2.2 lets a cache treat more as infinity.
const MAX_AGE: Duration = Duration::from_secs(3650 * 86_400);

impl Policy {
    /// Reads the policy keys of a `[[route]]` or `[profile.NAME]`.
    pub(super) fn read(section: &mut Section<'_>) -> Policy {
        let timeout = section.optional("timeout").and_then(|value| value.duration(TIMEOUT));
        let max_body = section.optional("max_body").and_then(|value| value.size(0..=1 << 50));
        reserved::route_priority(section);
        let mut cache = section.section("cache");
        let policy = Policy {
            timeout,
            max_body,
            enabled: cache.optional("enabled").and_then(|value| value.boolean()),
            ttl: present(cache.section("ttl"), ttl),
            stale: present(cache.section("stale"), stale),
            key: present(cache.section("key"), key),
            vary: present(cache.section("vary"), vary),
            strip_cookies: cache
                .optional("set_cookie")
                .and_then(|value| value.word(&[("pass", false), ("strip", true)])),
            collapse_wait: present(cache.section("collapse"), collapse),
            min_uses: cache
                .optional("min_uses")
                .and_then(|value| value.integer(1..=100))
                .and_then(|uses| u8::try_from(uses).ok()),
        };
        cache.finish();
        policy
    }

    /// This policy where it speaks, else `base`.
    pub(super) fn over(self, base: Policy) -> Policy {
        Policy {
            timeout: self.timeout.or(base.timeout),
            max_body: self.max_body.or(base.max_body),
            enabled: self.enabled.or(base.enabled),
            ttl: self.ttl.or(base.ttl),
            stale: self.stale.or(base.stale),
            key: self.key.or(base.key),
            vary: self.vary.or(base.vary),
            strip_cookies: self.strip_cookies.or(base.strip_cookies),
            collapse_wait: self.collapse_wait.or(base.collapse_wait),
            min_uses: self.min_uses.or(base.min_uses),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(defaults::ROUTE_TIMEOUT)
    }

    pub(super) fn max_body(&self) -> u64 {
        self.max_body.unwrap_or(defaults::MAX_BODY)
    }

    /// What holds for the cache, defaults filled in.
    pub(super) fn into_cache(self) -> RouteCache {
        let stale = self.stale.unwrap_or_default();
        RouteCache {
            enabled: self.enabled.unwrap_or(true),
            storable: cache::storable::Params { set_cookie: self.strip_cookies.unwrap_or(false) },
            freshness: cache::freshness::Params {
                ttl: self.ttl.unwrap_or_default(),
                while_revalidate: stale.while_revalidate,
                if_error: stale.if_error,
            },
            key: self.key.unwrap_or_default(),
            vary: self.vary.unwrap_or_default(),
            collapse_wait: self.collapse_wait.unwrap_or(defaults::COLLAPSE_WAIT),
            min_uses: self.min_uses.unwrap_or(defaults::MIN_USES),
        }
    }
}

fn present<'a, T>(section: Section<'a>, read: impl FnOnce(Section<'a>) -> T) -> Option<T> {
    section.is_present().then(|| read(section))
}

/// Reads `{ default = "0s", 200 = "10m", 4xx = "0s" }`.
fn ttl(mut section: Section<'_>) -> cache::freshness::Ttl {
    let mut ttl = cache::freshness::Ttl::default();
    for (name, value) in section.entries() {
        let time = value.duration(Duration::ZERO..=MAX_AGE);
        let class = name.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
        let status = Some(name).filter(|name| name.len() == 3).and_then(|name| name.parse::<u16>().ok());
        match (class, status) {
            _ if name == "default" => ttl.default = time.unwrap_or_default(),
            (Some(class @ 2..=5), _) if name.len() == 3 => ttl.class.push((class, time.unwrap_or_default())),
            (_, Some(status @ 200..=599)) => ttl.status.push((status, time.unwrap_or_default())),
            _ => value.spot.error_near(
                "unknown key, expected `default`, a status from 200 to 599, or a class such as `4xx`",
                name,
                ["default", "2xx", "3xx", "4xx", "5xx"],
            ),
        }
    }
    ttl
}

fn stale(mut section: Section<'_>) -> Stale {
    let stale = Stale {
        while_revalidate: section.duration("while_revalidate", Duration::ZERO..=MAX_AGE, Duration::ZERO),
        if_error: section.duration("if_error", Duration::ZERO..=MAX_AGE, Duration::ZERO),
    };
    reserved::stale_if_slow(&mut section);
    section.finish();
    stale
}

fn key(mut section: Section<'_>) -> cache::key::Params {
    let mut query = section.section("query");
    let drop = query.optional("drop").map(|value| value.list("a list of names such as [\"utm_*\"]"));
    let params = cache::key::Params {
        drop: drop.unwrap_or_default().iter().filter_map(parameter).collect(),
        sort: query.boolean("sort", false),
    };
    query.finish();
    section.finish();
    params
}

/// The name of a query parameter as it travels, with `*` at most at its end.
fn parameter(value: &Value<'_>) -> Option<String> {
    let expected = "the name of a query parameter such as \"gclid\" or \"utm_*\"";
    let text = value.text(expected)?;
    let stem = text.strip_suffix('*').unwrap_or(text);
    let is_name = stem.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'&' | b'=' | b'#' | b'*'));
    if text.is_empty() || !is_name {
        value.expected(expected);
        return None;
    }
    Some(text.to_owned())
}

fn vary(mut section: Section<'_>) -> cache::vary::Params {
    let default = cache::vary::Params::default();
    let codings = section.optional("accept_encoding");
    let normalise = codings.and_then(|value| value.word(&[("normalise", true), ("as-is", false)]));
    let max_variants = section.integer("max_variants", 1..=1000, default.max_variants as u64);
    section.finish();
    cache::vary::Params {
        normalise_accept_encoding: normalise.unwrap_or(default.normalise_accept_encoding),
        max_variants: usize::try_from(max_variants).unwrap_or(usize::MAX),
    }
}

fn collapse(mut section: Section<'_>) -> Duration {
    let wait = section.duration("wait", Duration::ZERO..=Duration::from_secs(3600), defaults::COLLAPSE_WAIT);
    section.finish();
    wait
}
