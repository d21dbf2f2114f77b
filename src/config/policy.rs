//! What a route or a profile says about its requests, and what holds when both speak.
//!
//! The route's own keys win, key by key, and inside `cache` table by table: a `ttl` table replaces the profile's whole.
//! Merging deeper looks kind and is a trap: nobody could take back a `404 = "30s"` of the profile, and what a route does
//! would stand in no one place.

use std::time::Duration;

use http::HeaderName;

use super::read::Section;
use super::server::TIMEOUT;
use super::value::Value;
use super::{ClientDirectives, Hedge, IfSlow, Purge, RouteCache, cache_key, defaults, purge, rate, units};
use crate::cache;
use crate::cache::storable::{Guard, SetCookie};
use crate::grpc::SafeMethods;
use crate::tail;
use crate::tail::class::Class;

/// The policy keys that were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    timeout: Option<Duration>,
    max_body: Option<u64>,
    priority: Option<Class>,
    priority_header: Option<HeaderName>,
    hedge: Option<Hedge>,
    rescue: Option<bool>,
    safe_methods: Option<SafeMethods>,
    /// Written: limits, or `"off"`.
    rate: Option<Option<tail::rate::Params>>,
    enabled: Option<bool>,
    ttl: Option<cache::freshness::Ttl>,
    stale: Option<Stale>,
    key: Option<cache::key::Params>,
    vary: Option<cache::vary::Params>,
    heuristic: Option<cache::freshness::Heuristic>,
    client_directives: Option<ClientDirectives>,
    set_cookie: Option<cache::storable::SetCookie>,
    deception_guard: Option<cache::storable::Guard>,
    collapse_wait: Option<Duration>,
    slice: Option<Option<u64>>,
    purge: Option<Purge>,
    min_uses: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stale {
    while_revalidate: Duration,
    if_error: Duration,
    if_slow: Option<IfSlow>,
    override_origin: bool,
}

const CLASSES: [(&str, Class); 3] =
    [("critical", Class::Critical), ("default", Class::Default), ("sheddable", Class::Sheddable)];

/// Fields by which a request is framed, routed or allowed: what holds priorities is removed from most requests.
const NO_PRIORITY: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
];

/// Each is compared with every range of a request.
const MAX_LANGUAGES: usize = 64;

/// Ten years: RFC 9111 §1.2.2 lets a cache treat more as infinity.
const MAX_AGE: Duration = Duration::from_secs(3650 * 86_400);

/// Smaller slices cost more in requests than they save in bytes; larger ones are what slices are there to avoid.
const SLICE: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

impl Policy {
    /// Reads the policy keys of a `[[route]]` or `[profile.NAME]`.
    pub(super) fn read(section: &mut Section<'_>) -> Policy {
        let timeout = section.optional("timeout").and_then(|value| value.duration(TIMEOUT));
        let max_body = section.optional("max_body").and_then(|value| value.size(0..=1 << 50));
        let hedge = section.optional("hedge").and_then(|value| value.word(&[("on", Hedge::On), ("off", Hedge::Off)]));
        let rescue = section.optional("rescue").and_then(|value| value.boolean());
        let priority = section.optional("priority").and_then(|value| value.word(&CLASSES));
        let priority_header = section.optional("priority_header").and_then(|value| priority_header(&value));
        let rate = match section.section_or_off("rate") {
            Some(table) => present(table, rate::read),
            None => Some(None),
        };
        let safe_methods = present(section.section("grpc"), grpc_of);
        let mut cache = section.section("cache");
        let policy = Policy {
            timeout,
            max_body,
            priority,
            priority_header,
            hedge,
            rescue,
            safe_methods,
            rate,
            enabled: cache.optional("enabled").and_then(|value| value.boolean()),
            ttl: present(cache.section("ttl"), ttl),
            stale: present(cache.section("stale"), stale),
            key: present(cache.section("key"), cache_key::read),
            vary: present(cache.section("vary"), vary),
            heuristic: present(cache.section("heuristic"), heuristic),
            client_directives: cache.optional("client_directives").and_then(|value| {
                value.word(&[("honour", ClientDirectives::Honour), ("ignore", ClientDirectives::Ignore)])
            }),
            set_cookie: cache.optional("set_cookie").and_then(|value| {
                value.word(&[("pass", SetCookie::Refuse), ("strip", SetCookie::Strip), ("share", SetCookie::Share)])
            }),
            deception_guard: cache.optional("deception_guard").and_then(|value| {
                value.word(&[("auto", Guard::WithoutConsent), ("on", Guard::Always), ("off", Guard::Off)])
            }),
            collapse_wait: present(cache.section("collapse"), collapse),
            slice: cache.optional("slice").and_then(|value| slice(&value)),
            purge: present(cache.section("purge"), purge::purge),
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
            priority: self.priority.or(base.priority),
            priority_header: self.priority_header.or(base.priority_header),
            hedge: self.hedge.or(base.hedge),
            rescue: self.rescue.or(base.rescue),
            safe_methods: self.safe_methods.or(base.safe_methods),
            rate: self.rate.or(base.rate),
            enabled: self.enabled.or(base.enabled),
            ttl: self.ttl.or(base.ttl),
            stale: self.stale.or(base.stale),
            key: self.key.or(base.key),
            vary: self.vary.or(base.vary),
            heuristic: self.heuristic.or(base.heuristic),
            client_directives: self.client_directives.or(base.client_directives),
            set_cookie: self.set_cookie.or(base.set_cookie),
            deception_guard: self.deception_guard.or(base.deception_guard),
            collapse_wait: self.collapse_wait.or(base.collapse_wait),
            slice: self.slice.or(base.slice),
            purge: self.purge.or(base.purge),
            min_uses: self.min_uses.or(base.min_uses),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(defaults::ROUTE_TIMEOUT)
    }

    pub(super) fn max_body(&self) -> u64 {
        self.max_body.unwrap_or(defaults::MAX_BODY)
    }

    pub(super) fn priority(&self) -> Class {
        self.priority.unwrap_or_default()
    }

    pub(super) fn priority_header(&self) -> Option<HeaderName> {
        self.priority_header.clone()
    }

    pub(super) fn hedge(&self) -> Hedge {
        self.hedge.unwrap_or_default()
    }

    pub(super) fn rescue(&self) -> bool {
        self.rescue.unwrap_or(defaults::RESCUE)
    }

    pub(super) fn safe_methods(&self) -> SafeMethods {
        self.safe_methods.clone().unwrap_or_default()
    }

    pub(super) fn rate(&self) -> Option<tail::rate::Params> {
        self.rate.flatten()
    }

    /// What holds for the cache, defaults filled in.
    pub(super) fn into_cache(self) -> RouteCache {
        let stale = self.stale.unwrap_or_default();
        RouteCache {
            enabled: self.enabled.unwrap_or(true),
            client_directives: self.client_directives.unwrap_or_default(),
            storable: cache::storable::Params {
                set_cookie: self.set_cookie.unwrap_or_default(),
                deception_guard: self.deception_guard.unwrap_or_default(),
            },
            freshness: cache::freshness::Params {
                ttl: self.ttl.unwrap_or_default(),
                while_revalidate: stale.while_revalidate,
                if_error: stale.if_error,
                override_origin: stale.override_origin,
                heuristic: self.heuristic,
            },
            if_slow: stale.if_slow,
            key: self.key.unwrap_or_default(),
            vary: self.vary.unwrap_or_default(),
            collapse_wait: self.collapse_wait.unwrap_or(defaults::COLLAPSE_WAIT),
            slice: self.slice.flatten(),
            purge: self.purge,
            min_uses: self.min_uses.unwrap_or(defaults::MIN_USES),
        }
    }
}

fn priority_header(value: &Value<'_>) -> Option<HeaderName> {
    let Some(field) = value.as_text().and_then(|text| HeaderName::try_from(text).ok()) else {
        value.expected("the name of a header field such as \"X-Priority\"");
        return None;
    };
    if NO_PRIORITY.contains(&field.as_str()) {
        value
            .spot
            .error(format_args!("requests need `{field}`, and from clients that are not trusted the field is removed"));
        return None;
    }
    Some(field)
}

/// Reads `{ safe_methods = ["/package.Service/Method", "/package.Service/*"] }`.
fn grpc_of(mut section: Section<'_>) -> SafeMethods {
    const METHOD: &str = "a method such as \"/package.Service/Method\", or all of a service, \"/package.Service/*\"";
    let list = section.optional("safe_methods");
    let methods = list.map(|value| value.list(&format!("a list of {METHOD}"))).unwrap_or_default();
    let method = |value: &Value<'_>| match value.as_text().filter(|text| SafeMethods::is_pattern(text)) {
        Some(text) => Some(text.to_owned()),
        None => {
            value.expected(METHOD);
            None
        }
    };
    let methods = methods.iter().filter_map(method).collect();
    section.finish();
    SafeMethods::new(methods)
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
        if_slow: section.optional("if_slow").and_then(|value| if_slow(&value)),
        override_origin: section.boolean("override_origin", false),
    };
    section.finish();
    stale
}

/// Reads `"p95"` or `"200ms"`.
fn if_slow(value: &Value<'_>) -> Option<IfSlow> {
    let text = value.as_text().unwrap_or_default();
    let quantile = units::quantile(text).filter(|quantile| (0.5..=0.999).contains(quantile)).map(IfSlow::Quantile);
    let after = || {
        let after = units::duration(text).ok();
        after.filter(|after| (Duration::from_millis(1)..=Duration::from_secs(60)).contains(after)).map(IfSlow::After)
    };
    let found = quantile.or_else(after);
    if found.is_none() {
        value.expected(
            "a quantile from \"p50\" to \"p99.9\" or a duration from 1ms to 1m, such as \"p95\" or \"200ms\"",
        );
    }
    found
}

fn heuristic(mut section: Section<'_>) -> cache::freshness::Heuristic {
    let default = cache::freshness::Heuristic::DEFAULT;
    let fraction = section.optional("fraction").and_then(|value| value.ratio());
    let max = section.duration("max", Duration::ZERO..=MAX_AGE, default.max);
    section.finish();
    cache::freshness::Heuristic { fraction: fraction.unwrap_or(default.fraction), max }
}

fn vary(mut section: Section<'_>) -> cache::vary::Params {
    let default = cache::vary::Params::default();
    let codings = section.optional("accept_encoding");
    let normalise = codings.and_then(|value| value.word(&[("normalise", true), ("as-is", false)]));
    let languages = section.optional("accept_language").map(|value| languages(&value)).unwrap_or_default();
    let max_variants = section.integer("max_variants", 1..=1000, default.max_variants as u64);
    section.finish();
    cache::vary::Params {
        normalise_accept_encoding: normalise.unwrap_or(default.normalise_accept_encoding),
        languages,
        max_variants: usize::try_from(max_variants).unwrap_or(usize::MAX),
    }
}

/// Language tags, best first.
fn languages(value: &Value<'_>) -> Vec<String> {
    const TAG: &str = "a language tag such as \"de\" or \"en-GB\"";
    let is_tag = |text: &str| {
        text.len() <= 35
            && text
                .split('-')
                .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    let tag = |value: &Value<'_>| {
        let text = value.text(TAG)?;
        if !is_tag(text) {
            value.expected(TAG);
            return None;
        }
        Some(text.to_owned())
    };
    let all: Vec<Value<'_>> = value.list("a list of language tags, best first, such as [\"en\", \"de\"]");
    if all.len() > MAX_LANGUAGES {
        value.expected(format_args!("at most {MAX_LANGUAGES} language tags"));
    }
    all.iter().filter_map(tag).collect()
}

/// The size of slices, or `"off"`.
fn slice(value: &Value<'_>) -> Option<Option<u64>> {
    if value.as_text() == Some("off") {
        return Some(None);
    }
    value.size(SLICE).map(Some)
}

fn collapse(mut section: Section<'_>) -> Duration {
    let wait = section.duration("wait", Duration::ZERO..=Duration::from_secs(3600), defaults::COLLAPSE_WAIT);
    section.finish();
    wait
}
