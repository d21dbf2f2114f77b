//! Values of keys that are not written, where configuration owns them. Policy owns the rest (`Params::default()`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::HeaderName;

use crate::tail::rate::{Per, Rate};
use crate::units::Ratio;

/// `server.listen`
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// `server.admin`: loopback, since whoever reaches it can read the configuration and reload it.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// `server.grace_period`: what container platforms allow before they kill, halved.
pub const GRACE_PERIOD: Duration = Duration::from_secs(10);

/// `server.limits.head_size`
pub const HEAD_SIZE: u64 = 16 << 10;
/// `server.limits.headers`
pub const HEADERS: u64 = 100;
/// `server.limits.uri_length`
pub const URI_LENGTH: u64 = 8 << 10;
/// `server.limits.connections`
pub const CONNECTIONS: u64 = 10_000;
/// `server.limits.requests_per_connection`
pub const REQUESTS_PER_CONNECTION: u64 = 1_000;

/// `server.timeouts.head`
pub const CLIENT_HEAD: Duration = Duration::from_secs(10);
/// `server.timeouts.idle`
pub const CLIENT_IDLE: Duration = Duration::from_secs(60);
/// `server.timeouts.body`
pub const CLIENT_BODY: Duration = Duration::from_secs(30);
/// `server.timeouts.write`
pub const CLIENT_WRITE: Duration = Duration::from_secs(30);

/// `server.timeouts.handshake`
pub const CLIENT_HANDSHAKE: Duration = Duration::from_secs(10);
/// `listener.tls.hsts.max_age`: two years, as the lists of browsers want.
pub const HSTS_MAX_AGE: Duration = Duration::from_secs(2 * 365 * 86_400);

/// `cache.name`
pub const CACHE_NAME: &str = "hedgerow";
/// `cache.memory`
pub const CACHE_MEMORY: u64 = 1 << 30;
/// `cache.max_object`
pub const MAX_OBJECT: u64 = 64 << 20;

/// `cache.targets`
pub const TARGETS: [HeaderName; 2] =
    [HeaderName::from_static("hedgerow-cache-control"), HeaderName::from_static("cdn-cache-control")];
/// `log.level`
pub const LOG_LEVEL: log::LevelFilter = log::LevelFilter::Info;
/// `access_log.sample`
pub const SAMPLE: Ratio = Ratio::ONE;

/// `slow.keep`
pub const SLOW_KEEP: u64 = 20;
/// `slow.window`
pub const SLOW_WINDOW: Duration = Duration::from_secs(600);
/// `tracing.sample`
pub const TRACE_SAMPLE: Ratio = Ratio::percent(1);
/// `tracing.keep.rate`: a fault keeps every request; this is enough to see what it is.
pub const TRACE_KEEP_RATE: Rate = Rate { count: 100, per: Per::Second };
/// `tracing.service_name`
pub const SERVICE_NAME: &str = "hedgerow";
/// `tracing.queue`: what a few seconds of a busy edge bring, in a few megabytes.
pub const TRACE_QUEUE: u64 = 4096;
/// `tracing.timeout`
pub const TRACE_TIMEOUT: Duration = Duration::from_secs(10);

/// `access_log.slow`
pub const LOG_SLOW: Duration = Duration::from_secs(1);

/// `pool.health.interval`
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// `pool.health.timeout`
pub const HEALTH_TIMEOUT: Duration = Duration::from_millis(500);
/// `pool.health.expect`: a redirect to a login page still shows a live application.
pub const HEALTH_EXPECT: (u16, u16) = (200, 399);
/// `pool.health.rise`
pub const HEALTH_RISE: u64 = 2;
/// `pool.health.fall`
pub const HEALTH_FALL: u64 = 3;
/// `pool.slow_start`
pub const SLOW_START: Duration = Duration::from_secs(10);

/// `pool.http2.max_streams`: what most servers allow.
pub const STREAMS: u64 = 100;
/// `pool.http2.ping_timeout`
pub const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// `pool.timeouts.connect`
pub const CONNECT: Duration = Duration::from_secs(2);
/// `pool.timeouts.first_byte`
pub const FIRST_BYTE: Duration = Duration::from_secs(30);
/// `pool.timeouts.between_bytes`
pub const BETWEEN_BYTES: Duration = Duration::from_secs(30);
/// `pool.timeouts.write`
pub const UPSTREAM_WRITE: Duration = Duration::from_secs(30);
/// `pool.timeouts.total`: longer than any download; it bounds what trickles for ever.
pub const TOTAL: Duration = Duration::from_secs(3600);
/// `pool.timeouts.idle`
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(60);
/// `pool.tail.retry.attempts`
pub const RETRY_ATTEMPTS: u64 = 2;
/// `pool.tail.retry.min_per_second`: enough for a quiet site, whose share of requests is less than one retry.
pub const RETRY_MIN_PER_SECOND: f64 = 3.0;

/// `route.timeout`
pub const ROUTE_TIMEOUT: Duration = Duration::from_secs(60);
/// `route.max_body`
pub const MAX_BODY: u64 = 100 << 20;
/// `route.rescue`: it hides from the client that a backend stalled, and asks another one for what nobody planned.
pub const RESCUE: bool = false;
/// `route.cache.min_uses`: the first answer is stored.
pub const MIN_USES: u8 = 1;
/// `route.cache.collapse.wait`
pub const COLLAPSE_WAIT: Duration = Duration::from_secs(5);
