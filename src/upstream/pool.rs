//! A pool's members: which backends there are, and which of them gets the next request.
//!
//! Members come from addresses as written and from names resolved in the background. A reload that changes a pool
//! makes a new `Pool` whose unchanged backends are the same `Backend`s, with their signals.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora::upstreams::peer::HttpPeer;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::backend::Backend;
use super::failure::Failure;
use super::peer::Template;
use super::resolve::{self, Resolver};
use crate::balance::exclude::Exclude;
use crate::balance::least_loaded::{self, Candidate};
use crate::balance::slow_start;
use crate::clock;
use crate::config;
use crate::tail::budget::Budget;
use crate::tail::health::{MayEject, State};
use crate::telemetry::{Metrics, PoolMetrics};
use crate::units::{Tick, Weight};

/// A backend with this pool's say about it.
#[derive(Debug)]
pub struct Member {
    /// The live backend.
    pub backend: Arc<Backend>,
    /// The host as written: its address, or the name that resolved to it.
    pub host: String,
    /// How to connect to it.
    pub peer: Arc<HttpPeer>,
    /// Its share as written.
    pub weight: Weight,
}

/// A pool of one snapshot.
pub struct Pool {
    config: Arc<config::Pool>,
    template: Template,
    members: ArcSwap<Vec<Arc<Member>>>,
    /// Answers of the resolver by entry of `config.backends`; `None` for an entry that is not a name.
    resolved: Mutex<Vec<Option<Vec<IpAddr>>>>,
    changed: Notify,
    budget: Budget,
    metrics: Metrics,
    counters: Arc<PoolMetrics>,
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
        let budget = Budget::new(config.retry.budget.clone());
        let pool = Pool {
            template,
            members: ArcSwap::from_pointee(Vec::new()),
            resolved: Mutex::new(resolved),
            changed: Notify::new(),
            budget,
            metrics: metrics.clone(),
            counters: metrics.pool(&config.name),
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
            if backend.host.parse::<IpAddr>().is_ok() {
                continue;
            }
            let pool = Arc::downgrade(self);
            let host = backend.host.clone();
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
        let waiting = waiting.filter(|(written, answer)| answer.is_none() && written.host.parse::<IpAddr>().is_err());
        waiting.map(|(written, _)| format!("{}:{}", written.host, written.port)).collect()
    }

    /// Where its attempts are counted.
    pub fn counters(&self) -> &PoolMetrics {
        &self.counters
    }

    /// The budget of retries.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The member that gets the next request, other than those in `tried`.
    ///
    /// # Errors
    /// [`Failure::DnsError`] when no name has resolved yet, [`Failure::NoBackend`] when none may be used.
    pub fn pick(&self, tried: &[Arc<Member>], now: Tick, rng: &mut fastrand::Rng) -> Result<Arc<Member>, Failure> {
        let members = self.members.load();
        if members.is_empty() {
            return Err(Failure::DnsError);
        }
        let mut excluded = Exclude::none();
        let mut candidates = Vec::with_capacity(members.len());
        for (i, member) in members.iter().enumerate() {
            let (state, since) = member.backend.standing(now);
            if matches!(state, State::Ejected(_)) || tried.iter().any(|t| Arc::ptr_eq(&t.backend, &member.backend)) {
                excluded.add(i);
            }
            candidates.push(Candidate {
                in_flight: member.backend.in_flight().count(),
                cost: member.backend.ewma().cost(now),
                oldest: member.backend.in_flight().oldest(),
                weight: f64::from(member.weight.get()) * slow_start::factor(Some(since), self.config.slow_start, now),
            });
        }
        let chosen = least_loaded::pick(&candidates, &excluded, now, rng).map_err(|_| Failure::NoBackend)?;
        members.get(chosen).cloned().ok_or(Failure::NoBackend)
    }

    /// Whether a failing member may be ejected: only while another can take its load.
    pub fn may_eject(&self, failing: &Backend, now: Tick) -> MayEject {
        let others = self
            .members
            .load()
            .iter()
            .filter(|m| m.backend.address() != failing.address() && !matches!(m.backend.state(now), State::Ejected(_)))
            .count();
        MayEject::others(others)
    }

    /// The 99th percentile of the best member's answers. Answers alone: an average that penalties enter would feed on
    /// itself.
    pub fn usual(&self) -> Option<Duration> {
        let members = self.members.load();
        let answered = members.iter().map(|m| m.backend.window().quantiles()).filter(|q| q.count > 0);
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
            let literal = written.host.parse::<IpAddr>().ok();
            for ip in literal.into_iter().chain(addresses.iter().flatten().copied()) {
                let address = SocketAddr::new(ip, written.port);
                if members.iter().any(|m| m.backend.address() == address) {
                    continue; // two names of one host
                }
                members.push(Arc::new(Member {
                    backend: self.backend(address, known, now),
                    host: written.host.clone(),
                    peer: Arc::new(self.template.peer(address, &written.host)),
                    weight: written.weight,
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

    fn backend(&self, address: SocketAddr, known: &[Arc<Member>], now: Tick) -> Arc<Backend> {
        match known.iter().find(|m| m.backend.address() == address) {
            Some(member) => {
                let mut health = member.backend.health().lock();
                health.set_params(self.config.ejection.clone());
                if self.config.health.is_none() {
                    health.forget_checks();
                }
                drop(health);
                member.backend.clone()
            }
            None => {
                let counters = self.metrics.backend(self.name(), &address.to_string());
                Arc::new(Backend::new(address, counters, self.config.ejection.clone(), now))
            }
        }
    }
}

/// A name that the pool before knew starts with the addresses it had, so that a reload leaves no gap.
fn first_answer(backend: &config::Backend, before: Option<&Pool>) -> Option<Vec<IpAddr>> {
    let before = before?;
    let entry = before.config.backends.iter().position(|b| b.host == backend.host)?;
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
