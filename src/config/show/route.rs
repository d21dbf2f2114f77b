//! A route as it is shown.

use serde_json::{Map, Value, json};

use super::super::compression::LEVELS;
use super::super::units::{show_quantile, show_rate, show_ratio, show_size};
use super::super::{ClientDirectives, Hedge, IfSlow, Purge, Route, RouteCache};
use super::{time, word};
use crate::cache::compression::Params;
use crate::cache::freshness::Ttl;
use crate::cache::storable::{Guard, SetCookie};
use crate::cache::{device, key, query};
use crate::tail::rate;

pub(super) fn route(route: &Route) -> Value {
    let mut shown = json!({
        "name": route.name,
        "match": { "host": route.host.to_string(), "path": route.path.to_string() },
        "pool": route.pool,
        "timeout": time(route.timeout),
        "max_body": show_size(route.max_body),
        "priority": route.priority.as_str(),
        "hedge": match route.hedge {
            Hedge::On => "on",
            Hedge::Off => "off",
        },
        "rescue": route.rescue,
        "grpc": { "safe_methods": route.safe_methods.patterns() },
        "rate": rate(route.rate.as_ref()),
        "compression": compression(route.compression.as_ref()),
        "cache": cache(&route.cache),
    });
    if let Some(field) = &route.priority_header {
        shown["priority_header"] = field.as_str().into();
    }
    shown
}

fn rate(params: Option<&rate::Params>) -> Value {
    let Some(params) = params else { return json!("off") };
    let mut shown = Map::new();
    for (quota, rate, burst) in [(params.client, "per_client", "client_burst"), (params.total, "total", "burst")] {
        if let Some(quota) = quota {
            shown.insert(rate.into(), show_rate(quota.rate).into());
            shown.insert(burst.into(), quota.burst.into());
        }
    }
    Value::Object(shown)
}

fn compression(params: Option<&Params>) -> Value {
    let Some(params) = params else { return json!("off") };
    json!({
        "codings": params.codings.iter().map(|coding| coding.as_str()).collect::<Vec<_>>(),
        "types": params.types.as_slice(),
        "min_size": show_size(params.min_size),
        "level": word(&LEVELS, params.level),
        "decompress": params.decompress,
        "max_decompressed": show_size(params.max_decompressed),
    })
}

fn cache(cache: &RouteCache) -> Value {
    let mut shown = json!({
        "enabled": cache.enabled,
        "client_directives": match cache.client_directives {
            ClientDirectives::Honour => "honour",
            ClientDirectives::Ignore => "ignore",
        },
        "ttl": ttl(&cache.freshness.ttl),
        "stale": {
            "while_revalidate": time(cache.freshness.while_revalidate),
            "if_error": time(cache.freshness.if_error),
            "override_origin": cache.freshness.override_origin,
        },
        "key": key(&cache.key),
        "vary": {
            "accept_encoding": if cache.vary.normalise_accept_encoding { "normalise" } else { "as-is" },
            "accept_language": cache.vary.languages,
            "max_variants": cache.vary.max_variants,
        },
        "set_cookie": match cache.storable.set_cookie {
            SetCookie::Refuse => "pass",
            SetCookie::Strip => "strip",
            SetCookie::Share => "share",
        },
        "deception_guard": match cache.storable.deception_guard {
            Guard::WithoutConsent => "auto",
            Guard::Always => "on",
            Guard::Off => "off",
        },
        "collapse": { "wait": time(cache.collapse_wait) },
        "slice": cache.slice.map_or_else(|| "off".to_owned(), show_size),
        "min_uses": cache.min_uses,
    });
    match cache.if_slow {
        Some(IfSlow::Quantile(quantile)) => shown["stale"]["if_slow"] = json!(show_quantile(quantile)),
        Some(IfSlow::After(after)) => shown["stale"]["if_slow"] = time(after),
        None => {}
    }
    if let Some(heuristic) = &cache.freshness.heuristic {
        shown["heuristic"] = json!({ "fraction": show_ratio(heuristic.fraction), "max": time(heuristic.max) });
    }
    if let Some(config) = &cache.purge {
        shown["purge"] = purge(config);
    }
    shown
}

fn key(key: &key::Params) -> Value {
    let none = query::Select::Keep(Vec::new());
    let has_query = key.query.select != none;
    let mut template = String::from("{scheme}{host}{path}");
    if has_query {
        template += "{query}";
    }
    key.headers.iter().for_each(|name| template += &format!("{{header:{name}}}"));
    key.cookies.iter().for_each(|name| template += &format!("{{cookie:{name}}}"));
    if !key.devices.is_empty() {
        template += "{device}";
    }
    let mut shown = json!({ "template": template });
    if has_query {
        shown["query"] = match &key.query.select {
            query::Select::Drop(names) => json!({ "drop": names, "sort": key.query.sort }),
            query::Select::Keep(names) => json!({ "keep": names, "sort": key.query.sort }),
        };
    }
    if let Some(host) = &key.host {
        shown["host"] = json!(host);
    }
    if !key.devices.is_empty() {
        let rule = |rule: &device::Rule| json!({ "class": rule.class, "user_agent": rule.user_agent });
        shown["device"] = key.devices.iter().map(rule).collect();
    }
    shown
}

fn purge(purge: &Purge) -> Value {
    let mut shown = json!({ "soft": purge.soft });
    if !purge.allow.is_empty() {
        shown["allow"] = purge.allow.iter().map(ToString::to_string).collect();
    }
    if let Some(token) = &purge.token {
        shown["token"] = token.shown().into();
    }
    shown
}

fn ttl(ttl: &Ttl) -> Value {
    let mut shown = Map::new();
    shown.insert("default".into(), time(ttl.default));
    shown.extend(ttl.class.iter().map(|(class, t)| (format!("{class}xx"), time(*t))));
    shown.extend(ttl.status.iter().map(|(status, t)| (status.to_string(), time(*t))));
    Value::Object(shown)
}
