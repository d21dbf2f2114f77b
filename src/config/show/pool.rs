//! A pool as it is shown.

use serde_json::{Value, json};

use super::super::units::show_ratio;
use super::super::{Backend, HealthCheck, HealthQuestion, Pool, ProxyVersion, Retry, Tls};
use super::{file, time};
use crate::tail::hedging::{self, Quantile};
use crate::tail::limit::Limit;
use crate::tail::probation;

pub(super) fn pool(pool: &Pool) -> Value {
    let timeouts = &pool.timeouts;
    let backend = |b: &Backend| {
        let mut shown = json!({ "address": b.address.to_string(), "weight": b.weight.get() });
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
        "proxy_protocol": pool.proxy_protocol.map_or("off", ProxyVersion::as_str),
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
    if let Some(identity) = &tls.identity {
        (shown["cert"], shown["key"]) = (json!(file(&identity.cert)), json!(file(&identity.key)));
    }
    shown
}
