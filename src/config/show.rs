//! The effective configuration as JSON, under the keys and in the units its user writes.
//!
//! What is shown is what holds, profiles applied and defaults filled in; written back as TOML it is the same
//! configuration, which a test keeps true.

mod pool;
mod route;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http::Uri;
use serde_json::{Value, json};

use super::purge::shown_field;
use super::tracing::{PROTOCOLS, TRUSTS};
use super::units::{show_duration, show_rate, show_ratio, show_size};
use super::{
    Admission, Cache, CertificateFiles, ClientCertificate, Config, Listener, ListenerTls, LogFormat, LogOutput,
    Protocols, Server, TlsVersion, Tracing,
};

use pool::pool;
use route::route;

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
    if let Some(mode) = listener.mode {
        shown["mode"] = json!(format!("{mode:04o}"));
    }
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
