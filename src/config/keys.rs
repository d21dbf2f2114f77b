//! Every key of the configuration, once: what the reader knows, what the documentation must describe, and where a
//! misspelt key finds its neighbours.

/// Every key, dotted, without the brackets of lists: `pool.health.interval` is `interval` in `[[pool]] health = { … }`.
///
/// The keys of `[profile.NAME]` are those of `route` that are policy. A test holds this list equal to docs/configuration.md.
pub const KEYS: &[&str] = &[
    "server.listen",
    "server.admin",
    "server.threads",
    "server.trusted_proxies",
    "server.grace_period",
    "server.limits.head_size",
    "server.limits.headers",
    "server.limits.uri_length",
    "server.limits.connections",
    "server.limits.requests_per_connection",
    "server.timeouts.head",
    "server.timeouts.idle",
    "server.timeouts.body",
    "server.timeouts.write",
    "server.timeouts.handshake",
    "listener.address",
    "listener.protocols",
    "listener.proxy_protocol",
    "listener.redirect_to_https",
    "listener.tls.certificates.cert",
    "listener.tls.certificates.key",
    "listener.tls.certificates.ocsp",
    "listener.tls.min_version",
    "listener.tls.strict_sni",
    "listener.tls.hsts.max_age",
    "listener.tls.hsts.include_subdomains",
    "listener.tls.hsts.preload",
    "listener.tls.client_auth.ca",
    "listener.tls.client_auth.mode",
    "listener.tls.client_auth.header",
    "cache.name",
    "cache.memory",
    "cache.max_object",
    "cache.targets",
    "cache.reveal.clients",
    "cache.reveal.header",
    "cache.reveal.secret",
    "cache.tags",
    "cache.admission",
    "log.level",
    "access_log.format",
    "access_log.output",
    "access_log.sample",
    "access_log.slow",
    "slow.keep",
    "slow.window",
    "slow.query",
    "tracing.endpoint",
    "tracing.protocol",
    "tracing.sample",
    "tracing.keep.slow",
    "tracing.keep.failed",
    "tracing.keep.hedged",
    "tracing.keep.shed",
    "tracing.keep.rate",
    "tracing.trust",
    "tracing.service_name",
    "tracing.resource",
    "tracing.headers",
    "tracing.query",
    "tracing.queue",
    "tracing.timeout",
    "pool.name",
    "pool.backends",
    "pool.backends.address",
    "pool.backends.weight",
    "pool.backends.max_in_flight",
    "pool.max_in_flight",
    "pool.health.path",
    "pool.health.grpc",
    "pool.health.host",
    "pool.health.interval",
    "pool.health.timeout",
    "pool.health.expect",
    "pool.health.rise",
    "pool.health.fall",
    "pool.ejection.consecutive",
    "pool.ejection.time",
    "pool.ejection.max_time",
    "pool.slow_start",
    "pool.keepalive",
    "pool.protocol",
    "pool.http2.max_streams",
    "pool.http2.ping_interval",
    "pool.http2.ping_timeout",
    "pool.tell_deadline",
    "pool.tls.server_name",
    "pool.tls.verify",
    "pool.tls.ca",
    "pool.timeouts.connect",
    "pool.timeouts.first_byte",
    "pool.timeouts.between_bytes",
    "pool.timeouts.write",
    "pool.timeouts.total",
    "pool.timeouts.idle",
    "pool.tail.retry.attempts",
    "pool.tail.retry.budget",
    "pool.tail.retry.min_per_second",
    "pool.tail.retry.backoff",
    "pool.tail.retry.max_backoff",
    "pool.tail.reported_load",
    "pool.tail.limit",
    "pool.tail.hedge.quantile",
    "pool.tail.hedge.budget",
    "pool.tail.hedge.min_delay",
    "pool.tail.hedge.max_delay",
    "pool.tail.hedge.burst",
    "pool.tail.hedge.held_out",
    "pool.tail.hedge.in_flight",
    "pool.tail.probation.late",
    "pool.tail.probation.share",
    "pool.tail.probation.probes",
    "pool.tail.probation.ramp",
    "pool.tail.probation.max_time",
    "route.name",
    "route.match.host",
    "route.match.path",
    "route.pool",
    "route.profile",
    "route.timeout",
    "route.max_body",
    "route.hedge",
    "route.rescue",
    "route.grpc.safe_methods",
    "route.rate.per_client",
    "route.rate.client_burst",
    "route.rate.total",
    "route.rate.burst",
    "route.priority",
    "route.priority_header",
    "route.cache.enabled",
    "route.cache.ttl",
    "route.cache.ttl.default",
    "route.cache.stale.while_revalidate",
    "route.cache.stale.if_error",
    "route.cache.stale.if_slow",
    "route.cache.stale.override_origin",
    "route.cache.heuristic.fraction",
    "route.cache.heuristic.max",
    "route.cache.client_directives",
    "route.cache.key.template",
    "route.cache.key.query.drop",
    "route.cache.key.query.keep",
    "route.cache.key.query.sort",
    "route.cache.key.host",
    "route.cache.key.device.class",
    "route.cache.key.device.user_agent",
    "route.cache.vary.accept_encoding",
    "route.cache.vary.accept_language",
    "route.cache.vary.max_variants",
    "route.cache.set_cookie",
    "route.cache.deception_guard",
    "route.cache.collapse.wait",
    "route.cache.slice",
    "route.cache.purge.allow",
    "route.cache.purge.token",
    "route.cache.purge.soft",
    "route.cache.min_uses",
    "profile",
];

/// The names directly below `parent` (empty for the top), each once.
pub(super) fn children(parent: &str) -> Vec<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for key in KEYS {
        let below = if parent.is_empty() {
            Some(*key)
        } else {
            key.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(name) = below.and_then(|rest| rest.split('.').next())
            && !names.contains(&name)
        {
            names.push(name);
        }
    }
    names
}

/// The candidate nearest to what was written, if one is near enough to be meant.
pub(super) fn nearest<'c>(written: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    // A third of the word may be wrong: `lisen` finds `listen`, `ttl` does not find `tls`.
    let allowed = (written.chars().count() / 3).max(1);
    // Case is the commonest slip, and no distance at all.
    let written = written.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A key with this last name elsewhere below the same top-level name: a key written one table too high or too low.
pub(super) fn elsewhere(parent: &str, name: &str) -> Option<&'static str> {
    let top = parent.split('.').next().unwrap_or("");
    KEYS.iter().copied().find(|key| key.split('.').next() == Some(top) && key.rsplit('.').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_stands_twice() {
        let mut sorted = KEYS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), KEYS.len());
    }

    #[test]
    fn children_are_the_next_names_only() {
        assert_eq!(children("pool.tls"), ["server_name", "verify", "ca"]);
        assert_eq!(
            children(""),
            ["server", "listener", "cache", "log", "access_log", "slow", "tracing", "pool", "route", "profile"]
        );
        assert_eq!(children("pool.backends"), ["address", "weight", "max_in_flight"]);
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(nearest("lisen", children("server")), Some("listen"));
        assert_eq!(nearest("treads", children("server")), Some("threads"));
        assert_eq!(nearest("tsl", children("pool")), Some("tls"));
        assert_eq!(nearest("colour", children("server")), None);
        assert_eq!(nearest("x", ["a"]), None);
        assert_eq!(elsewhere("route", "ttl"), Some("route.cache.ttl"));
        assert_eq!(elsewhere("route", "weight"), None);
    }
}
