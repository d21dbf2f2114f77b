//! One immutable generation of everything a request needs to know.
//!
//! A request takes the current snapshot once and keeps it, so that a reload in its midst cannot change its rules.
//! What must outlive reloads (a backend's signals, counters) is shared between snapshots.

use std::borrow::Cow;
use std::hash::RandomState;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Version};

use crate::cache::status::Outcome;
use crate::config::{self, Config};
use crate::listener::{self, Listener};
use crate::routing::Table;
use crate::tail::hedging::Hedging;
use crate::tail::rate::Limiter;
use crate::tail::stalls::Stalls;
use crate::telemetry::{Metrics, RouteMetrics};
use crate::units::Tick;
use crate::upstream::Pool;
use crate::upstream::deferrals::Deferrals;
use crate::upstream::resolve::Resolver;

/// One generation of the configuration, ready for use.
#[derive(Debug)]
pub struct Snapshot {
    generation: u64,
    config: Arc<Config>,
    table: Table<usize>,
    routes: Vec<Arc<Route>>,
    pools: Vec<Arc<Pool>>,
    listeners: Vec<Arc<Listener>>,
    subject_fields: Vec<HeaderName>,
    via: Via,
    told_of_hits: ToldOfHits,
}

/// What every hit is told, between what is its own: the fields from the end of `Age` to the ttl of `Cache-Status`, and from
/// there to the name of the next field.
#[derive(Debug)]
pub struct ToldOfHits {
    /// Begins with the line end of `Age`.
    pub before_ttl: Vec<u8>,
    /// Ends with a line end.
    pub after_ttl: Vec<u8>,
}

impl ToldOfHits {
    fn new(name: &str, via: &Via) -> ToldOfHits {
        let outcome = Outcome { ttl: None, ..Outcome::hit(0) };
        let mut member = String::new();
        outcome.write_to(name, None, &mut member);
        let before_ttl = format!("\r\nCache-Status: {member}; ttl=").into_bytes();
        let word = outcome.word().as_str();
        let mut after_ttl = format!("\r\nX-Cache-Status: {word}\r\nVia: ").into_bytes();
        after_ttl.extend_from_slice(via.http_11.as_bytes());
        after_ttl.extend_from_slice(b"\r\n");
        ToldOfHits { before_ttl, after_ttl }
    }
}

/// Our member of `Via` (RFC 9110 §7.6.3), by the version of the message received.
#[derive(Debug)]
struct Via {
    http_10: HeaderValue,
    http_11: HeaderValue,
    http_2: HeaderValue,
}

impl Via {
    fn new(name: &str) -> Via {
        // A checked name is a token; were it not, we would still be a hop.
        let member = |version| {
            HeaderValue::from_str(&format!("{version} {name}")).unwrap_or(HeaderValue::from_static("1.1 proxy"))
        };
        Via { http_10: member("1.0"), http_11: member("1.1"), http_2: member("2.0") }
    }
}

/// A route with what it leads to.
#[derive(Debug)]
pub struct Route {
    /// The checked configuration.
    pub config: Arc<config::Route>,
    /// Where its requests go.
    pub pool: Arc<Pool>,
    /// Where they are counted.
    pub metrics: Arc<RouteMetrics>,
    /// When they are hedged.
    pub hedging: Arc<Hedging>,
    /// Those that were denied a copy.
    pub deferrals: Arc<Deferrals>,
    /// How many requests are admitted; nothing where all are.
    pub rate: Option<Arc<Limiter>>,
    /// When a body has stalled; nothing where bodies are not rescued.
    pub stalls: Option<Arc<Stalls>>,
}

impl Snapshot {
    /// Builds the generation after `before`. Pools whose configuration is unchanged are the same pools; in a changed
    /// pool, backends that stay are the same backends.
    ///
    /// # Errors
    /// A sentence for the operator for every pool that cannot be built.
    pub fn build(
        config: Config,
        before: Option<&Snapshot>,
        resolver: &Arc<dyn Resolver>,
        metrics: &Metrics,
        now: Tick,
    ) -> Result<Snapshot, Vec<String>> {
        let config = Arc::new(config);
        let mut errors = Vec::new();
        let mut pools = Vec::new();
        for pool in &config.pools {
            let old = before.and_then(|b| b.pools.iter().find(|p| p.name() == pool.name));
            if let Some(same) = old.filter(|old| old.config() == pool) {
                pools.push(same.clone());
                continue;
            }
            match Pool::new(pool.clone(), old.map(Arc::as_ref), metrics, now) {
                Ok(pool) => {
                    pool.watch(resolver);
                    pools.push(pool);
                }
                Err(e) => errors.push(format!("pool {:?}: {e}", pool.name)),
            }
        }
        let wanted: Vec<_> = config.all_listeners().collect();
        let listeners = listener::next(&wanted, before.map(|b| b.listeners.as_slice())).unwrap_or_else(|mistakes| {
            errors.extend(mistakes);
            Vec::new()
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let subject_fields = listeners.iter().filter_map(|listener| listener.subject_field().cloned()).collect();
        let old = before.map_or(&[][..], |b| &b.routes);
        let routes: Vec<_> = config.routes.iter().filter_map(|route| route_of(route, &pools, old, metrics)).collect();
        let table =
            Table::new(routes.iter().enumerate().map(|(i, r)| (r.config.host.clone(), r.config.path.clone(), i)));
        let generation = before.map_or(1, |b| b.generation + 1);
        let via = Via::new(&config.cache.name);
        let told_of_hits = ToldOfHits::new(&config.cache.name, &via);
        Ok(Snapshot { generation, config, table, routes, pools, listeners, subject_fields, via, told_of_hits })
    }

    /// Counts from 1; a reload adds 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The checked configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The most specific route for a normalised host and path.
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.table.find(host, path).and_then(|i| self.routes.get(i))
    }

    /// A query as the route of this host and path keys it and forwards it.
    pub fn keyed_query<'q>(&self, host: &str, path: &str, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        match self.route(host, path) {
            Some(route) => route.config.cache.key.query.apply(query),
            None => query.map(Cow::Borrowed),
        }
    }

    /// The host that the route of this host and path keys in its place, if it does.
    pub fn keyed_host(&self, host: &str, path: &str) -> Option<&str> {
        self.route(host, path)?.config.cache.key.host.as_deref()
    }

    /// Our member of `Via` for a message received in this version.
    pub fn via(&self, received: Version) -> &HeaderValue {
        match received {
            Version::HTTP_10 => &self.via.http_10,
            Version::HTTP_2 => &self.via.http_2,
            _ => &self.via.http_11,
        }
    }

    /// What every hit is told.
    pub fn told_of_hits(&self) -> &ToldOfHits {
        &self.told_of_hits
    }

    /// All routes, in the order written.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// It is in use from now on: what its pools share with those before goes by its configuration.
    pub fn take_effect(&self, now: Tick) {
        self.pools.iter().for_each(|pool| pool.take_effect(now));
    }

    /// A second passed: publishes what it brought.
    pub fn tick(&self, now: Tick) {
        self.pools.iter().for_each(|pool| pool.tick(now));
        self.routes.iter().for_each(|route| route.hedging.publish(&route.pool.delays().distribution(), now));
        self.routes.iter().filter_map(|route| route.stalls.as_ref()).for_each(|stalls| stalls.publish(now));
    }

    /// The listeners in the order in which they are bound; see [`listener::next`].
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// The fields that tell backends of a client's certificate: no client's own word by these names counts.
    pub fn subject_fields(&self) -> &[HeaderName] {
        &self.subject_fields
    }

    /// All pools, in the order written.
    pub fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }
}

/// The checked configuration names only pools that exist, so nothing is left out here. A route of the generation before
/// with the same name, pool and hedging goes on with what it has learned, and one with the same name and rate with what it
/// has counted: a reload fills nobody's bucket.
fn route_of(
    route: &Arc<config::Route>,
    pools: &[Arc<Pool>],
    before: &[Arc<Route>],
    metrics: &Metrics,
) -> Option<Arc<Route>> {
    let pool = pools.iter().find(|p| p.name() == route.pool)?.clone();
    let hedge = &pool.config().hedge;
    let slow_from = match route.cache.if_slow {
        Some(config::IfSlow::Quantile(quantile)) => quantile,
        _ => 0.95,
    };
    let old = before.iter().find(|old| {
        old.config.name == route.name
            && old.config.pool == route.pool
            && old.hedging.params() == hedge
            && old.hedging.slow_from().to_bits() == slow_from.to_bits()
    });
    let hedging = old.map_or_else(|| Arc::new(Hedging::new(hedge.clone(), slow_from)), |old| old.hedging.clone());
    let deferrals = old.map_or_else(Arc::default, |old| old.deferrals.clone());
    let known = || old.and_then(|old| old.stalls.clone()).unwrap_or_else(|| Arc::new(Stalls::new(hedge.min_delay)));
    let stalls = route.rescue.then(known);
    let rate = route.rate.map(|params| {
        let counting = before.iter().find(|old| old.config.name == route.name).and_then(|old| old.rate.clone());
        let same = counting.filter(|limiter| *limiter.params() == params);
        same.unwrap_or_else(|| Arc::new(Limiter::new(params, RandomState::new())))
    });
    let metrics = metrics.route(&route.name);
    Some(Arc::new(Route { config: route.clone(), pool, metrics, hedging, deferrals, rate, stalls }))
}
