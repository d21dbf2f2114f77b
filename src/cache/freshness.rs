//! How long is a stored response fresh, and how stale may it be served? (RFC 9111 §4.2, RFC 5861)

use std::time::Duration;

/// A route's say in freshness: only where the origin is silent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// Time to live by status where the origin gives none.
    pub ttl: Ttl,
    /// `stale.while_revalidate` where the origin gives none.
    pub while_revalidate: Duration,
    /// `stale.if_error` where the origin gives none.
    pub if_error: Duration,
}

/// `ttl = { default = "0s", 200 = "10m", 5xx = "0s" }`: the exact status wins over its class, the class over the default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ttl {
    /// For every status not named.
    pub default: Duration,
    /// By class (1 to 5).
    pub class: Vec<(u16, Duration)>,
    /// By exact status.
    pub status: Vec<(u16, Duration)>,
}
