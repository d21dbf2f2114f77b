//! The effective configuration as JSON, under the keys and in the units its user writes.
//!
//! What is shown is what holds, profiles applied and defaults filled in; written back as TOML it is the same
//! configuration, which a test keeps true.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use serde_json::{Map, Value, json};

use super::backend::show_address;
use super::purge::shown_field;
use super::tracing::{PROTOCOLS, TRUSTS};
use super::units::{show_duration, show_quantile, show_rate, show_ratio, show_size};
use super::{
    Admission, Cache, CertificateFiles, ClientCertificate, ClientDirectives, Config, HealthCheck, HealthQuestion,
    Hedge, IfSlow, Listener, ListenerTls, LogFormat, LogOutput, Pool, Protocols, Purge, Retry, Route, RouteCache,
    Server, Tls, TlsVersion, Tracing,
};
use crate::cache::freshness::Ttl;
use crate::cache::storable::{Guard, SetCookie};
use crate::cache::{device, key, query};
use crate::tail::hedging::{self, Quantile};
use crate::tail::limit::Limit;
use crate::tail::{probation, rate};

impl Config {
    /// The effective configuration. In the place of a secret stands where it comes from.
    pub fn to_json(&self) -> Value {
        let mut shown = json!({
            "server": server(&self.server),
            "cache": shared_cache(&self.cache),
            "log": { "level": self.log.level.as_str().to_ascii_lowercase() },
            "access_log": {
                "format": match self.access_log.format {
                    Some(LogFormat::Json) => "json",
                    Some(LogFormat::Logfmt) => "logfmt",
                    Some(LogFormat::Common) => "common",
                    Some(LogFormat::Combined) => "combined",
                    None => "off",
                },
                "output": match &self.access_log.output {
                    LogOutput::Stdout => "stdout".into(),
                    LogOutput::File(path) => file(path),
                },
                "sample": show_ratio(self.access_log.sample),
                "slow": time(self.access_log.slow),
            },
            "listener": self.listeners.iter().map(listener).collect::<Vec<_>>(),
            "slow": {
                "keep": self.slow.keep,
                "window": show_duration(self.slow.window),
                "query": self.slow.query,
            },
            "pool": self.pools.iter().map(|p| pool(p)).collect::<Vec<_>>(),
            "route": self.routes.iter().map(|r| route(r)).collect::<Vec<_>>(),
        });
        if let Some(config) = &self.tracing {
            shown["tracing"] = tracing(config);
        }
        shown
    }
}

fn tracing(tracing: &Tracing) -> Value {
    let keep = &tracing.keep;
    json!({
        "endpoint": url(&tracing.endpoint),
        "protocol": word(&PROTOCOLS, tracing.protocol),
        "sample": show_ratio(tracing.sample),
        "keep": {
            "slow": keep.slow.map_or("off".to_owned(), show_duration),
            "failed": keep.failed,
            "hedged": keep.hedged,
            "shed": keep.shed,
            "rate": show_rate(tracing.keep_rate),
        },
        "trust": word(&TRUSTS, tracing.trust),
        "service_name": tracing.service_name,
        "resource": tracing.resource.iter().cloned().collect::<BTreeMap<_, _>>(),
        "headers": tracing.headers.iter().map(|(name, value)| (name.as_str(), value.shown())).collect::<BTreeMap<_, _>>(),
        "query": tracing.query,
        "queue": tracing.queue,
        "timeout": time(tracing.timeout),
    })
}

/// A URL as a user would write it.
fn url(url: &Uri) -> String {
    let text = url.to_string();
    if url.path() == "/" { text.trim_end_matches('/').to_owned() } else { text }
}

/// The word for one of a few values.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, other)| *other == value).map_or("", |(word, _)| word)
}

fn shared_cache(cache: &Cache) -> Value {
    let mut shown = json!({
        "name": cache.name,
        "memory": show_size(cache.memory),
        "max_object": show_size(cache.max_object),
        "tags": cache.tags.iter().map(shown_field).collect::<Vec<_>>(),
        "admission": match cache.admission {
            Admission::TinyLfu => "tinylfu",
            Admission::Lru => "lru",
        },
        "targets": cache.targets.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        "reveal": { "clients": cache.reveal.clients.iter().map(ToString::to_string).collect::<Vec<_>>() },
    });
    if let Some((header, secret)) = &cache.reveal.secret {
        shown["reveal"]["header"] = json!(header.as_str());
        shown["reveal"]["secret"] = json!(secret.shown());
    }
    shown
}

fn time(duration: Duration) -> Value {
    Value::String(show_duration(duration))
}

/// A path as it could be written: one without a slash or dot would not be taken for one.
fn file(path: &Path) -> String {
    path.display().to_string()
}

fn server(server: &Server) -> Value {
    let (limits, timeouts) = (&server.limits, &server.timeouts);
    json!({
        "listen": server.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "admin": server.admin.map_or("off".to_owned(), |address| address.to_string()),
        "threads": server.threads,
        "trusted_proxies": server.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "grace_period": time(server.grace_period),
        "limits": {
            "head_size": show_size(limits.head_size as u64),
            "headers": limits.headers,
            "uri_length": show_size(limits.uri_length as u64),
            "connections": limits.connections,
            "requests_per_connection": limits.requests_per_connection,
        },
        "timeouts": {
            "head": time(timeouts.head),
            "idle": time(timeouts.idle),
            "body": time(timeouts.body),
            "write": time(timeouts.write),
            "handshake": time(timeouts.handshake),
        },
    })
}

fn listener(listener: &Listener) -> Value {
    let Protocols { http1, http2 } = listener.protocols;
    let protocols = [("h1", http1), ("h2", http2)].into_iter().filter_map(|(word, spoken)| spoken.then_some(word));
    let mut shown = json!({
        "address": listener.address.to_string(),
        "protocols": protocols.collect::<Vec<_>>(),
        "proxy_protocol": listener.proxy_protocol.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    if let Some(port) = listener.redirect_to_https {
        shown["redirect_to_https"] = port.into();
    }
    if let Some(tls) = &listener.tls {
        shown["tls"] = listener_tls(tls);
    }
    shown
}

fn listener_tls(tls: &ListenerTls) -> Value {
    let certificate = |files: &CertificateFiles| {
        let mut shown = json!({ "cert": file(&files.cert), "key": file(&files.key) });
        if let Some(ocsp) = &files.ocsp {
            shown["ocsp"] = file(ocsp).into();
        }
        shown
    };
    let mut shown = json!({
        "certificates": tls.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "min_version": match tls.min_version {
            TlsVersion::V1_2 => "1.2",
            TlsVersion::V1_3 => "1.3",
        },
        "strict_sni": tls.strict_sni,
    });
    if let Some(hsts) = &tls.hsts {
        shown["hsts"] = json!({
            "max_age": time(hsts.max_age),
            "include_subdomains": hsts.include_subdomains,
            "preload": hsts.preload,
        });
    }
    if let Some(auth) = &tls.client_auth {
        shown["client_auth"] = json!({
            "ca": file(&auth.ca),
            "mode": match auth.mode {
                ClientCertificate::Required => "require",
                ClientCertificate::Optional => "optional",
            },
        });
        if let Some(header) = &auth.header {
            shown["client_auth"]["header"] = json!(header.as_str());
        }
    }
    shown
}

fn pool(pool: &Pool) -> Value {
    let timeouts = &pool.timeouts;
    let backend = |b: &super::Backend| {
        let mut shown = json!({ "address": show_address(&b.host, b.port), "weight": b.weight.get() });
        if let Some(most) = b.max_in_flight {
            shown["max_in_flight"] = most.into();
        }
        shown
    };
    let mut shown = json!({
        "name": pool.name,
        "backends": pool.backends.iter().map(backend).collect::<Vec<_>>(),
        "ejection": {
            "consecutive": pool.ejection.consecutive,
            "time": time(pool.ejection.time),
            "max_time": time(pool.ejection.max_time),
        },
        "slow_start": time(pool.slow_start),
        "keepalive": pool.keepalive,
        "tell_deadline": pool.tell_deadline,
        "protocol": if pool.http2.is_some() { "h2" } else { "h1" },
        "timeouts": {
            "connect": time(timeouts.connect),
            "first_byte": time(timeouts.first_byte),
            "between_bytes": time(timeouts.between_bytes),
            "write": time(timeouts.write),
            "total": time(timeouts.total),
            "idle": time(timeouts.idle),
        },
        "tail": {
            "retry": retry(&pool.retry),
            "hedge": hedging(&pool.hedge),
            "probation": probation(&pool.probation),
            "reported_load": pool.reported_load,
            "limit": limit(pool.limit),
        },
    });
    if let Some(most) = pool.max_in_flight {
        shown["max_in_flight"] = most.into();
    }
    if let Some(check) = &pool.health {
        shown["health"] = health(check);
    }
    if let Some(config) = &pool.http2 {
        shown["http2"] = json!({
            "max_streams": config.max_streams,
            "ping_interval": time(config.ping_interval.unwrap_or_default()),
            "ping_timeout": time(config.ping_timeout),
        });
    }
    if let Some(config) = &pool.tls {
        shown["tls"] = tls(config);
    }
    shown
}

fn limit(limit: Limit) -> Value {
    match limit {
        Limit::Adaptive => "adaptive".into(),
        Limit::Fixed(most) => most.into(),
        Limit::Off => "off".into(),
    }
}

fn retry(retry: &Retry) -> Value {
    json!({
        "attempts": retry.attempts,
        "budget": show_ratio(retry.budget.ratio),
        "min_per_second": retry.budget.min_per_second,
        "backoff": time(retry.backoff.base),
        "max_backoff": time(retry.backoff.max),
    })
}

fn hedging(hedging: &hedging::Params) -> Value {
    json!({
        "quantile": match hedging.quantile {
            Quantile::Auto => json!("auto"),
            Quantile::Fixed(quantile) => json!(quantile),
        },
        "budget": show_ratio(hedging.copies.budget),
        "burst": show_ratio(hedging.copies.burst),
        "min_delay": time(hedging.min_delay),
        "max_delay": time(hedging.max_delay),
        "held_out": show_ratio(hedging.held_out),
        "in_flight": show_ratio(hedging.in_flight),
    })
}

fn probation(probation: &probation::Params) -> Value {
    if !probation.enabled {
        return json!("off");
    }
    json!({
        "late": show_ratio(probation.late),
        "share": show_ratio(probation.share),
        "probes": show_ratio(probation.probes),
        "ramp": time(probation.ramp),
        "max_time": time(probation.max_time),
    })
}

fn health(check: &HealthCheck) -> Value {
    let range = |(low, high): &(u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
    let mut shown = json!({
        "interval": time(check.interval),
        "timeout": time(check.timeout),
        "rise": check.rise,
        "fall": check.fall,
    });
    match &check.question {
        HealthQuestion::Get(path) => {
            shown["path"] = json!(path);
            shown["expect"] = check.expect.iter().map(range).collect::<Vec<_>>().into();
        }
        HealthQuestion::Grpc(service) => shown["grpc"] = json!(service),
    }
    if let Some(host) = &check.host {
        shown["host"] = json!(host);
    }
    shown
}

fn tls(tls: &Tls) -> Value {
    let mut shown = json!({ "verify": tls.verify });
    if let Some(name) = &tls.server_name {
        shown["server_name"] = json!(name);
    }
    if let Some(ca) = &tls.ca {
        shown["ca"] = json!(file(ca));
    }
    shown
}

fn route(route: &Route) -> Value {
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
