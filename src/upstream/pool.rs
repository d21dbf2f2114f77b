//! A pool's members: which backends there are, and which of them gets the next request.
//!
//! Members come from addresses as written and from names resolved in the background. A reload that changes a pool
//! makes a new `Pool` whose unchanged backends are the same `Backend`s, with their signals.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::attempt::Attempt;
use super::backend::{Backend, Standing};
use super::failure::Failure;
use super::gate::Gate;
use super::peer::Template;
use super::resolve::{self, Resolver};
use crate::balance::exclude::Exclude;
use crate::balance::least_loaded::{self, Candidate};
use crate::balance::load::{self, Load};
use crate::balance::slow_start;
use crate::clock;
use crate::config::{self, Address};
use crate::endpoint::Endpoint;
use crate::tail::amplification::{Amplification, Counts};
use crate::tail::budget::{self, Budget};
use crate::tail::delays::Delays;
use crate::tail::exceedance::Exceedance;
use crate::tail::health::State;
use crate::tail::hedging::Hedging;
use crate::tail::limit::Limit;
use crate::tail::signals::{Expect, Kind};
use crate::telemetry::{Metrics, PoolMetrics};
use crate::units::{Ratio, Tick, Weight};

/// Connections closed because nobody waits for an answer, on HTTP/1.1: a second's, of which ten seconds' worth may come at once.
const CLOSES: budget::Params = budget::Params { ratio: Ratio::ZERO, min_per_second: 20.0 };

/// A backend with this pool's say about it.
#[derive(Debug)]
pub struct Member {
    /// The live backend.
    pub backend: Arc<Backend>,
    /// The host as written: its address, the name that resolved to it, or its socket.
    pub host: String,
    /// How to connect to it.
    pub peer: Arc<HttpPeer>,
    /// What connections to it are kept under: its address and the rules of trust.
    pub key: u64,
    /// Its share as written.
    pub weight: Weight,
    /// The most requests that may be there.
    pub max_in_flight: Option<u32>,
}

/// A pool of one snapshot.
pub struct Pool {
    config: Arc<config::Pool>,
    template: Template,
    pub(super) members: ArcSwap<Vec<Arc<Member>>>,
    /// Answers of the resolver by entry of `config.backends`; `None` for an entry that is not a name.
    resolved: Mutex<Vec<Option<Vec<IpAddr>>>>,
    changed: Notify,
    /// What retries and copies may cost together.
    ledger: Budget,
    /// The times of all routes' answers.
    delays: Delays,
    /// The share of all primaries that were late.
    pub(super) late: Exceedance,
    /// Primaries answered in time, and attempts answered without an error.
    pub(super) in_time: AtomicU64,
    pub(super) good: AtomicU64,
    /// Copies in flight.
    pub(super) copies: AtomicU32,
    /// Connections of losers that may be closed.
    closes: Budget,
    /// How much more its backends are asked than clients ask.
    amplification: Mutex<Amplification>,
    metrics: Metrics,
    counters: Arc<PoolMetrics>,
    gate: Arc<Gate>,
    /// When the limits were looked at, in nanoseconds.
    pub(super) reviewed: AtomicU64,
    watches: Mutex<Vec<AbortHandle>>,
}

impl Pool {
    /// Builds the pool; backends that `before` has too stay what they are.
    ///
    /// # Errors
    /// A sentence for the operator when the pool's certificate authorities cannot be read.
    pub fn new(
        config: Arc<config::Pool>,
        before: Option<&Pool>,
        metrics: &Metrics,
        now: Tick,
    ) -> Result<Arc<Pool>, String> {
        let template = Template::new(&config)?;
        let resolved = config.backends.iter().map(|b| first_answer(b, before)).collect();
        let ledger = Budget::new(config.retry.budget.clone());
        let pool = Pool {
            template,
            members: ArcSwap::from_pointee(Vec::new()),
            resolved: Mutex::new(resolved),
            changed: Notify::new(),
            ledger,
            delays: Delays::new(),
            late: Exceedance::of_all(),
            in_time: AtomicU64::new(0),
            good: AtomicU64::new(0),
            copies: AtomicU32::new(0),
            closes: Budget::new(CLOSES),
            amplification: Mutex::default(),
            metrics: metrics.clone(),
            counters: metrics.pool(&config.name),
            gate: before.map(|before| before.gate.clone()).unwrap_or_default(),
            reviewed: AtomicU64::new(0),
            watches: Mutex::new(Vec::new()),
            config,
        };
        let known = before.map(|b| b.members.load_full()).unwrap_or_default();
        pool.rebuild(&known, now);
        Ok(Arc::new(pool))
    }

    /// Starts to resolve the pool's names; ends with the pool.
    pub fn watch(self: &Arc<Self>, resolver: &Arc<dyn Resolver>) {
        for (entry, backend) in self.config.backends.iter().enumerate() {
            let Some(host) = backend.address.name().map(str::to_owned) else { continue };
            let pool = Arc::downgrade(self);
            let resolver = resolver.clone();
            let task = tokio::spawn(async move {
                let found = |addresses| {
                    if let Some(pool) = pool.upgrade() {
                        pool.resolved(entry, addresses);
                    }
                };
                resolve::watch(&host, &*resolver, resolve::Params::DEFAULT, found).await;
            });
            self.watches.lock().push(task.abort_handle());
        }
    }

    /// The checked configuration.
    pub fn config(&self) -> &Arc<config::Pool> {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The members now.
    pub fn members(&self) -> Arc<Vec<Arc<Member>>> {
        self.members.load_full()
    }

    /// Names that have not resolved yet.
    pub fn unresolved(&self) -> Vec<String> {
        let resolved = self.resolved.lock();
        let waiting = self.config.backends.iter().zip(resolved.iter());
        let waiting = waiting.filter(|(written, answer)| answer.is_none() && written.address.name().is_some());
        waiting.map(|(written, _)| written.address.to_string()).collect()
    }

    /// Where its attempts are counted.
    pub fn counters(&self) -> &PoolMetrics {
        &self.counters
    }

    /// The budget of retries and copies.
    pub fn ledger(&self) -> &Budget {
        &self.ledger
    }

    /// The times to first byte of all routes' primaries.
    pub fn delays(&self) -> &Delays {
        &self.delays
    }

    /// The way to its backends.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// A second passed: publishes what it brought.
    pub fn tick(&self, now: Tick) {
        self.review(now);
        self.delays.publish([self.config.hedge.asked(); 2], now);
        let members = self.members.load();
        members.iter().for_each(|member| member.backend.tick(now));
        // What has begun and not ended has been counted only as in flight.
        let in_flight: u32 = members.iter().map(|member| member.backend.signals().in_flight.count()).sum();
        let attempts = self.metrics.attempts(self.name()) + u64::from(in_flight);
        self.amplification.lock().observe(Counts { attempts, extra: self.counters.extra() });
    }

    /// Attempts for each request over the last ten seconds; `None` while there were no requests.
    pub fn amplification(&self) -> Option<f64> {
        self.amplification.lock().ratio()
    }

    /// Begins an attempt at a member for a request of `route`.
    pub fn begin(self: &Arc<Self>, member: &Member, kind: Kind, route: &Arc<Hedging>, now: Tick) -> Attempt {
        let pool_usual = Some(self.delays.distribution().p50).filter(|usual| !usual.is_zero());
        let expect = Expect { delay: route.delay(), usual: route.usual(), pool_usual };
        let trial = member.backend.signals().begin(kind, expect, now);
        if kind == Kind::Copy {
            self.copies.fetch_add(1, Ordering::Relaxed);
        }
        Attempt::new(self.clone(), member.backend.clone(), route.clone(), trial, kind, now)
    }

    /// Whether the connection of one more loser may be closed: each costs a new one, and a burst of hedges must not
    /// become a storm of connections.
    pub fn may_close(&self, now: Tick) -> bool {
        self.closes.withdraw(now).is_ok()
    }

    /// A copy has ended.
    pub(super) fn copy_ended(&self) {
        self.copies.fetch_sub(1, Ordering::Relaxed);
    }

    /// The member that gets the next attempt of this kind, other than those in `tried`.
    ///
    /// # Errors
    /// [`Failure::DnsError`] when no name has resolved yet, [`Failure::NoBackend`] when none may be used,
    /// [`Failure::Throttled`] when all that may be said "not now" of late and are spared this request.
    pub fn pick(
        &self,
        tried: &[Arc<Member>],
        kind: Kind,
        now: Tick,
        rng: &mut fastrand::Rng,
    ) -> Result<Arc<Member>, Failure> {
        let members = self.members.load();
        if members.is_empty() {
            return Err(Failure::DnsError);
        }
        let (mut out, mut doubtful, mut crowded) = (Exclude::none(), Exclude::none(), Exclude::none());
        let heeds_limits = self.config.limit == Limit::Adaptive;
        let mut candidates = Vec::with_capacity(members.len());
        let usual_load = load::median(members.iter().filter_map(|member| self.reported_load(member, now)));
        for (i, member) in members.iter().enumerate() {
            let Standing { state, since, ramp, .. } = member.backend.standing(now);
            let is_out = matches!(state, State::Ejected(_))
                || member.max_in_flight.is_some_and(|most| member.backend.working() >= most)
                || tried.iter().any(|t| Arc::ptr_eq(&t.backend, &member.backend));
            let is_doubtful = is_out || state == State::Probation;
            let is_crowded = is_doubtful || (heeds_limits && member.backend.is_full());
            for (is_in, set) in [(is_out, &mut out), (is_doubtful, &mut doubtful), (is_crowded, &mut crowded)] {
                if is_in {
                    set.add(i);
                }
            }
            let signals = member.backend.signals();
            let warm = slow_start::factor(Some(since), self.config.slow_start, now);
            let free = load::share(self.reported_load(member, now).or(usual_load));
            candidates.push(Candidate {
                in_flight: signals.in_flight.count(),
                cost: signals.ewma.cost(now),
                oldest: signals.in_flight.oldest(now),
                weight: f64::from(member.weight.get()) * warm * ramp * free,
            });
        }
        // One with room, else one of which nothing bad is known. Where all others are out, one on probation is better than
        // none; a copy to it would be no better.
        let mut tiers = [crowded, doubtful, out];
        let tiers = if kind == Kind::Primary { &mut tiers[..] } else { &mut tiers[..2] };
        let choose = |tier: &Exclude, rng: &mut fastrand::Rng| least_loaded::pick(&candidates, tier, now, rng).ok();
        willing(&members, tiers, choose, kind, now, rng)
    }

    /// What a member says of its load, where the pool heeds that and it was said lately.
    pub fn reported_load(&self, member: &Member, now: Tick) -> Option<Load> {
        member.backend.load().at(now).filter(|_| self.config.reported_load)
    }

    /// The 99th percentile of the best member's answers. Answers alone: an average that penalties enter would feed on
    /// itself.
    pub fn usual(&self) -> Option<Duration> {
        let members = self.members.load();
        let answered = members.iter().map(|m| m.backend.signals().window.quantiles()).filter(|q| q.count > 0);
        answered.map(|quantiles| quantiles.p99).min()
    }

    fn resolved(&self, entry: usize, addresses: Vec<IpAddr>) {
        if let Some(slot) = self.resolved.lock().get_mut(entry) {
            *slot = Some(addresses);
        }
        let known = self.members.load_full();
        self.rebuild(&known, clock::now());
    }

    fn rebuild(&self, known: &[Arc<Member>], now: Tick) {
        let resolved = self.resolved.lock();
        let mut members: Vec<Arc<Member>> = Vec::new();
        for (written, addresses) in self.config.backends.iter().zip(resolved.iter()) {
            for endpoint in endpoints(written, addresses.as_deref()) {
                if members.iter().any(|m| *m.backend.address() == endpoint) {
                    continue; // two names of one host
                }
                let host = match &written.address {
                    Address::Host { name, .. } => name.clone(),
                    Address::Unix(_) => endpoint.to_string(),
                };
                let peer = self.template.peer(&endpoint, &host);
                members.push(Arc::new(Member {
                    backend: self.backend(endpoint, known, now),
                    host,
                    key: peer.reuse_hash(),
                    peer: Arc::new(peer),
                    weight: written.weight,
                    max_in_flight: written.max_in_flight.or(self.config.max_in_flight),
                }));
            }
        }
        self.members.store(Arc::new(members));
        self.changed.notify_waiters();
    }

    /// Returns when there is at least one member.
    pub async fn populated(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.members.load().is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn backend(&self, address: Endpoint, known: &[Arc<Member>], now: Tick) -> Arc<Backend> {
        match known.iter().find(|m| *m.backend.address() == address) {
            Some(member) => {
                let mut health = member.backend.health().lock();
                health.set_params(self.config.ejection.clone(), self.config.probation.clone(), now);
                if self.config.health.is_none() {
                    health.forget_checks();
                }
                drop(health);
                member.backend.clone()
            }
            None => {
                let counters = self.metrics.backend(self.name(), &address.to_string());
                let (ejection, probation) = (self.config.ejection.clone(), self.config.probation.clone());
                Arc::new(Backend::new(address, counters, ejection, probation, now))
            }
        }
    }
}

/// The member that is chosen from the first tier that has one; if it is to be spared, the next best, until there is none.
fn willing(
    members: &[Arc<Member>],
    tiers: &mut [Exclude],
    choose: impl Fn(&Exclude, &mut fastrand::Rng) -> Option<usize>,
    kind: Kind,
    now: Tick,
    rng: &mut fastrand::Rng,
) -> Result<Arc<Member>, Failure> {
    let mut none = Failure::NoBackend;
    loop {
        let chosen = tiers.iter().find_map(|tier| choose(tier, rng)).ok_or(none)?;
        let member = members.get(chosen).ok_or(none)?;
        if member.backend.admits(kind, rng.f64(), now) {
            return Ok(member.clone());
        }
        tiers.iter_mut().for_each(|tier| tier.add(chosen));
        none = Failure::Throttled;
    }
}

/// What an entry stands for, where its name has `resolved` to these.
fn endpoints(written: &config::Backend, resolved: Option<&[IpAddr]>) -> Vec<Endpoint> {
    match &written.address {
        Address::Host { name, port } => {
            let literal = name.parse::<IpAddr>().ok();
            let all = literal.into_iter().chain(resolved.into_iter().flatten().copied());
            all.map(|ip| SocketAddr::new(ip, *port).into()).collect()
        }
        Address::Unix(path) => vec![Endpoint::Unix(path.clone())],
    }
}

/// A name that the pool before knew starts with the addresses it had, so that a reload leaves no gap.
fn first_answer(backend: &config::Backend, before: Option<&Pool>) -> Option<Vec<IpAddr>> {
    let before = before?;
    let name = backend.address.name()?;
    let entry = before.config.backends.iter().position(|b| b.address.name() == Some(name))?;
    before.resolved.lock().get(entry).cloned().flatten()
}

impl Drop for Pool {
    fn drop(&mut self) {
        for watch in self.watches.lock().drain(..) {
            watch.abort();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("name", &self.config.name).finish_non_exhaustive()
    }
}
