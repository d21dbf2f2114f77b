//! What is true: the checked configuration. It cannot hold a bad value, and it is never built by hand outside this
//! module and tests.
//!
//! On the way here: `load.rs` finds the files, `recover.rs` saves what can be read of them, `read.rs` and `value.rs` type
//! it, one file per section gives it its meaning (`server.rs`, `output.rs`, `pool.rs`, `route.rs` and theirs), `check.rs`
//! does what spans sections. All of them report and go on; what they report is an [`Problem`].

mod backend;
mod cache_key;
mod check;
pub mod defaults;
mod diff;
mod error;
mod file;
mod health;
mod http2;
mod keys;
mod listener;
mod load;
mod output;
mod policy;
mod pool;
mod pool_tail;
mod purge;
mod rate;
mod read;
mod recover;
mod route;
mod secret;
mod server;
mod show;
mod tracing;
mod units;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;

use crate::grpc::SafeMethods;
use crate::routing::{HostPattern, PathPattern};
use crate::units::{Ratio, Weight};
use crate::{cache, tail};

pub use diff::{Change, Diff, Kind};
pub use error::{Problem, Severity};
pub use keys::KEYS;
pub use listener::{
    CertificateFiles, ClientAuth, ClientCertificate, Hsts, Listener, ListenerTls, Protocols, TlsVersion,
};
pub use load::{DEFAULT, Loaded, load, parse_str};
pub use purge::Purge;
pub use secret::Secret;
pub use tracing::{Protocol, Tracing, Trust};

/// The whole configuration of one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[cache]`
    pub cache: Cache,
    /// `[log]`
    pub log: Log,
    /// `[access_log]`
    pub access_log: AccessLog,
    /// `[slow]`
    pub slow: Slow,
    /// `[tracing]`; `None` if it is not there: no request is recorded.
    pub tracing: Option<Arc<Tracing>>,
    /// `[[listener]]`, in the order written; addresses are different.
    pub listeners: Vec<Listener>,
    /// `[[pool]]`, in the order written; names are unique.
    pub pools: Vec<Arc<Pool>>,
    /// `[[route]]`, in the order written; no two have the same match.
    pub routes: Vec<Arc<Route>>,
}

impl Config {
    /// Everywhere that clients connect: `[server] listen`, then `[[listener]]`.
    pub fn all_listeners(&self) -> impl Iterator<Item = Listener> {
        let plain = self.server.listen.iter().copied().map(Listener::plain);
        plain.chain(self.listeners.iter().cloned())
    }
}

/// `[server]`: listeners and what every connection must keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where clients connect in clear text by HTTP/1.1. Empty only where there is a `[[listener]]`.
    pub listen: Vec<SocketAddr>,
    /// Where the operator connects; `None` when `"off"`.
    pub admin: Option<SocketAddr>,
    /// Worker threads, 1 to 1024.
    pub threads: usize,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long SIGTERM waits for requests in flight.
    pub grace_period: Duration,
    /// `[server.limits]`
    pub limits: Limits,
    /// `[server.timeouts]`
    pub timeouts: ClientTimeouts,
}

/// `[server.limits]`: what one client may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of request line and headers together; more is answered 431.
    pub head_size: usize,
    /// Number of header fields; more is answered 431.
    pub headers: usize,
    /// Bytes of the request target; more is answered 414.
    pub uri_length: usize,
    /// Client connections at once; more are closed at once.
    pub connections: usize,
    /// Requests on one connection before it is closed.
    pub requests_per_connection: u32,
}

/// `[server.timeouts]`: how long a client may take.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientTimeouts {
    /// From the first byte of a head to its last; then 408 and close.
    pub head: Duration,
    /// Between requests of a kept-alive connection.
    pub idle: Duration,
    /// Between two reads of a request's body.
    pub body: Duration,
    /// For one write to make progress.
    pub write: Duration,
    /// For a TLS handshake, and for a PROXY header before it.
    pub handshake: Duration,
}

/// `[cache]`: the one store all routes share.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// The token that names this cache in `Cache-Status` and `Via`.
    pub name: String,
    /// Hard bound in bytes for bodies, heads and keys.
    pub memory: u64,
    /// Largest body stored, in bytes; larger ones are streamed, never truncated.
    pub max_object: u64,
    /// Fields that go before Cache-Control, the first usable one (RFC 9213).
    pub targets: Vec<HeaderName>,
    /// `[cache.reveal]`
    pub reveal: Reveal,
    /// The response fields that hold tags to purge by; clients do not see them.
    pub tags: Vec<HeaderName>,
    /// What gets in where something else has to leave for it.
    pub admission: Admission,
}

/// What gets into a full cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// What is asked for more often than what it would displace; the rest shares a small part of the memory.
    #[default]
    TinyLfu,
    /// Everything, in the place of what has not been used for longest.
    Lru,
}

/// `[cache.reveal]`: who is told `key` and `detail` in `Cache-Status`. Nobody unless said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reveal {
    /// Clients, as `trusted_proxies` tell them.
    pub clients: Vec<IpNet>,
    /// Whoever sends this in the request field.
    pub secret: Option<(HeaderName, Secret)>,
}

/// `[log]`: the operator's log on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level shown; `RUST_LOG` overrides it.
    pub level: log::LevelFilter,
}

/// `[access_log]`: one line per request.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// The line's form; `None` when `"off"`.
    pub format: Option<LogFormat>,
    /// Where lines go.
    pub output: LogOutput,
    /// The share of requests that are logged.
    pub sample: Ratio,
    /// What took as long as this is logged whatever the share.
    pub slow: Duration,
}

/// `[slow]`: the slowest requests of each route, for whoever operates the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// How many of a route are kept; with 0 none is.
    pub keep: usize,
    /// How far back they reach.
    pub window: Duration,
    /// Whether their queries are kept, too.
    pub query: bool,
}

/// The form of an access log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// Common Log Format.
    Common,
    /// The same with `Referer` and `User-Agent`.
    Combined,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// `[[pool]]`: backends that serve the same content.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Unique name.
    pub name: String,
    /// At least one; addresses are unique.
    pub backends: Vec<Backend>,
    /// Active checks, if any.
    pub health: Option<HealthCheck>,
    /// Passive ejection after consecutive failures.
    pub ejection: tail::health::Params,
    /// Weight grows from a tenth to all over this time after a join or a recovery.
    pub slow_start: Duration,
    /// Upstream clocks.
    pub timeouts: UpstreamTimeouts,
    /// Whether connections to backends are kept and used again.
    pub keepalive: bool,
    /// Whether backends are told how long an answer is waited for, see `proxy::deadlines`.
    pub tell_deadline: bool,
    /// How HTTP/2 is spoken to the backends; nothing for HTTP/1.1.
    pub http2: Option<Http2>,
    /// TLS to the backends, if any.
    pub tls: Option<Tls>,
    /// `[pool.tail] retry`
    pub retry: Retry,
    /// `[pool.tail] hedge`
    pub hedge: tail::hedging::Params,
    /// `[pool.tail] probation`
    pub probation: tail::probation::Params,
    /// `[pool.tail] reported_load`: whether what backends say of their load changes their share.
    pub reported_load: bool,
    /// `[pool.tail] limit`: what bounds the requests at its backends.
    pub limit: tail::limit::Limit,
    /// Requests at any one of its backends, unless the backend says otherwise.
    pub max_in_flight: Option<u32>,
}

/// One entry of `backends`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// IP address or DNS name.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Share relative to its peers.
    pub weight: Weight,
    /// Requests at one time; `None` as the pool says.
    pub max_in_flight: Option<u32>,
}

/// `protocol = "h2"` and `http2 = { … }`: many requests at a time on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Http2 {
    /// Requests at a time on one connection, 1 to 1000; the backend may allow fewer.
    pub max_streams: u32,
    /// How often a backend is asked whether it is there while requests wait for it, if it is.
    pub ping_interval: Option<Duration>,
    /// How long its answer may take.
    pub ping_timeout: Duration,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthQuestion {
    /// For this origin-form path, e.g. `/healthz`.
    Get(String),
    /// How this service is, by `grpc.health.v1.Health/Check`; empty for the server as a whole.
    Grpc(String),
}

/// `health = { … }`: a GET every `interval` to every backend.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub question: HealthQuestion,
    /// `Host` sent; the backend's own address when `None`.
    pub host: Option<String>,
    /// From one check's start to the next's.
    pub interval: Duration,
    /// For connect, request and head together; at most `interval`.
    pub timeout: Duration,
    /// Inclusive ranges of statuses that mean healthy; at least one.
    pub expect: Vec<(u16, u16)>,
    /// Successes in a row before an unhealthy backend is used again.
    pub rise: u32,
    /// Failures in a row before a healthy backend is no longer used.
    pub fall: u32,
}

/// `[pool.timeouts]`
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTimeouts {
    /// TCP (and TLS) connect.
    pub connect: Duration,
    /// From the request written to the first byte of the response's head.
    pub first_byte: Duration,
    /// Between two reads of a response.
    pub between_bytes: Duration,
    /// For one write of the request to make progress.
    pub write: Duration,
    /// The whole exchange, from the request's first byte written to the response's last byte read.
    pub total: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
}

/// `tls = { … }`: how backends are verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Name sent as SNI and verified; the backend's host when `None`.
    pub server_name: Option<String>,
    /// Whether certificate and name are verified.
    pub verify: bool,
    /// PEM file of certificate authorities; the system's when `None`.
    pub ca: Option<PathBuf>,
}

/// `[pool.tail] retry = { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Attempts after the first, 0 to 5.
    pub attempts: u32,
    /// Retries as a share of requests.
    pub budget: tail::budget::Params,
    /// Wait before each.
    pub backoff: tail::backoff::Params,
}

/// `[[route]]`: what is matched and what then holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// `name`, or made from the match; unique. The label in metrics and logs.
    pub name: String,
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Name of an existing pool.
    pub pool: String,
    /// How long a client waits for a response's head, over all attempts, counted from the last byte of its request.
    pub timeout: Duration,
    /// Largest request body in bytes; more is answered 413.
    pub max_body: u64,
    /// How important its requests are, unless `priority_header` says otherwise.
    pub priority: tail::class::Class,
    /// Where trusted proxies say how important a request is.
    pub priority_header: Option<HeaderName>,
    /// Which requests may be hedged.
    pub hedge: Hedge,
    /// Whether a body that stalls is fetched to its end from another backend.
    pub rescue: bool,
    /// `[route.grpc] safe_methods`: calls that may be asked more than once.
    pub safe_methods: SafeMethods,
    /// How many requests are admitted; `None`: all.
    pub rate: Option<tail::rate::Params>,
    /// `[route.cache]`
    pub cache: RouteCache,
}

/// Which requests of a route may be copied to a second backend while the first one is slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hedge {
    /// GET and HEAD without a body.
    #[default]
    On,
    /// None.
    Off,
}

/// When a stale copy is sent in place of an answer that does not come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IfSlow {
    /// When it takes longer than this share of the route's answers, 0.5 to 0.999.
    Quantile(f64),
    /// When it takes longer than this.
    After(Duration),
}

/// `[route.cache]`: how the cache treats this route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteCache {
    /// Whether responses may be stored and reused at all.
    pub enabled: bool,
    /// Whether the Cache-Control of requests counts.
    pub client_directives: ClientDirectives,
    /// What may be stored.
    pub storable: cache::storable::Params,
    /// How long it is fresh and how stale it may be served.
    pub freshness: cache::freshness::Params,
    /// When a copy that may be used if the origin fails is used since it is slow.
    pub if_slow: Option<IfSlow>,
    /// What tells requests apart.
    pub key: cache::key::Params,
    /// What tells variants apart.
    pub vary: cache::vary::Params,
    /// How long a request waits for another's fetch of the same key before it fetches for itself.
    pub collapse_wait: Duration,
    /// Size in bytes of the slices in which ranges are fetched and kept; `None` to fetch them as they are asked for.
    pub slice: Option<u64>,
    /// Who may purge with the method `PURGE`; `None`: it is forwarded like any other.
    pub purge: Option<Purge>,
    /// Stored only if the key was asked for that often recently, 1 to 100.
    pub min_uses: u8,
}

/// What becomes of the directives of requests (RFC 9111 §5.2.1), which are advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientDirectives {
    /// They are followed.
    #[default]
    Honour,
    /// They are as if not there: a storm of reloads does not reach the origin.
    Ignore,
}

/// What a name of a pool, profile or cache is.
const NAME: &str = "a name of letters, digits, `-`, `_` and `.`, at most 64 long";

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn name(value: &value::Value<'_>) -> Option<String> {
    let text = value.text(NAME)?;
    if !is_name(text) {
        value.expected(NAME);
        return None;
    }
    Some(text.to_owned())
}
