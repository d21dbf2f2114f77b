//! Rate limits of a route: so many requests of each client, and so many of all of them.
//!
//! A request that is refused costs nothing: neither its client nor the others pay for what was not served.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

pub use super::token_bucket::{Per, Quota, Rate};

use super::sketch::Sketch;
use super::token_bucket::{Gcra, TokenBucket};
use crate::units::Tick;

/// What is limited; what is `None` is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// Requests of one client.
    pub client: Option<Quota>,
    /// Requests of all clients together.
    pub total: Option<Quota>,
}

/// Whose requests a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One client's.
    Client,
    /// All of the route's.
    Route,
}

impl Scope {
    /// The word for metric and header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Client => "client",
            Scope::Route => "route",
        }
    }
}

/// Whether a request is admitted, and what the limit then has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may go on.
    pub admitted: bool,
    /// The limit that refused it; of a request that is admitted, the one that has least left.
    pub scope: Scope,
    /// That limit.
    pub quota: Quota,
    /// Requests that it would still admit now.
    pub left: u64,
    /// How long it takes until it would admit one more than that.
    pub next: Duration,
}

/// The limits of one route and what they have counted. `S` makes the hashes that clients are found by; its keys must be
/// random, and are the caller's to choose.
#[derive(Debug)]
pub struct Limiter<S = RandomState> {
    params: Params,
    clients: Option<(Quota, Gcra, Sketch<S>)>,
    total: Option<(Quota, Gcra, TokenBucket)>,
}

impl<S: BuildHasher> Limiter<S> {
    /// Nothing counted yet.
    pub fn new(params: Params, keys: S) -> Limiter<S> {
        Limiter {
            params,
            clients: params.client.map(|quota| (quota, Gcra::new(quota), Sketch::new(keys))),
            total: params.total.map(|quota| (quota, Gcra::new(quota), TokenBucket::default())),
        }
    }

    /// What it limits.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Counts a request of the client at `address`; `None` if nothing is limited.
    pub fn admit(&self, address: IpAddr, now: Tick) -> Option<Decision> {
        let mut decision = None;
        let clients = self.clients.as_ref().map(|(quota, gcra, sketch)| (*quota, *gcra, sketch.of(address)));
        // Looked at first and taken from last: one client's flood takes no token of all, and a route that is full none
        // of its clients'.
        if let Some((quota, gcra, buckets)) = &clients
            && let Err(wait) = gcra.take(buckets.full_at(), now)
        {
            return Some(refused(Scope::Client, *quota, wait));
        }
        if let Some((quota, gcra, bucket)) = &self.total {
            match bucket.take(*gcra, now) {
                Ok(full_at) => decision = Some(admitted(Scope::Route, *quota, gcra.left(full_at, now))),
                Err(wait) => return Some(refused(Scope::Route, *quota, wait)),
            }
        }
        if let Some((quota, gcra, buckets)) = &clients {
            match buckets.take(*gcra, now) {
                Ok(full_at) => {
                    let own = admitted(Scope::Client, *quota, gcra.left(full_at, now));
                    decision = decision.filter(|total| total.left < own.left).or(Some(own));
                }
                Err(wait) => {
                    // Another request of this client was faster.
                    if let Some((_, gcra, bucket)) = &self.total {
                        bucket.give_back(*gcra);
                    }
                    return Some(refused(Scope::Client, *quota, wait));
                }
            }
        }
        decision
    }
}

fn admitted(scope: Scope, quota: Quota, (left, next): (u64, Duration)) -> Decision {
    Decision { admitted: true, scope, quota, left, next }
}

fn refused(scope: Scope, quota: Quota, next: Duration) -> Decision {
    Decision { admitted: false, scope, quota, left: 0, next }
}

#[cfg(test)]
mod tests {
    use super::super::sketch::tests::Seed;
    use super::*;

    const fn quota(count: u32, burst: u32) -> Option<Quota> {
        Some(Quota { rate: Rate { count, per: Per::Second }, burst })
    }

    fn limiter(client: Option<Quota>, total: Option<Quota>) -> Limiter<Seed> {
        Limiter::new(Params { client, total }, Seed(11))
    }

    fn host(n: u8) -> IpAddr {
        [192, 0, 2, n].into()
    }

    fn at(ms: u64) -> Tick {
        Tick::from_nanos(ms * 1_000_000)
    }

    /// Scope, whether admitted, what is left.
    fn told<S: BuildHasher>(limiter: &Limiter<S>, n: u8, ms: u64) -> (&'static str, bool, u64) {
        let decision = limiter.admit(host(n), at(ms)).unwrap();
        (decision.scope.as_str(), decision.admitted, decision.left)
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        assert_eq!(limiter(None, None).admit(host(1), at(0)), None);
    }

    #[test]
    fn one_client_over_its_rate_leaves_the_others_theirs() {
        let limiter = limiter(quota(2, 2), None);
        assert_eq!(told(&limiter, 1, 0), ("client", true, 1));
        assert_eq!(told(&limiter, 1, 0), ("client", true, 0));
        let refused = limiter.admit(host(1), at(100)).unwrap();
        assert_eq!((refused.admitted, refused.left, refused.next), (false, 0, Duration::from_millis(400)));
        assert_eq!(told(&limiter, 2, 100), ("client", true, 1));
        assert_eq!(told(&limiter, 1, 500), ("client", true, 0));
    }

    #[test]
    fn the_limit_with_less_left_is_the_one_that_is_told() {
        let limiter = limiter(quota(10, 3), quota(10, 4));
        assert_eq!(told(&limiter, 1, 0), ("client", true, 2));
        assert_eq!(told(&limiter, 2, 0), ("client", true, 2), "of two with as much left, the client's own");
        assert_eq!(told(&limiter, 3, 0), ("route", true, 1));
        assert_eq!(told(&limiter, 3, 0), ("route", true, 0));
        assert_eq!(told(&limiter, 4, 0), ("route", false, 0));
    }

    #[test]
    fn what_is_refused_costs_nobody_anything() {
        let limiter = limiter(quota(1, 1), quota(1, 2));
        assert_eq!(told(&limiter, 1, 0), ("client", true, 0));
        for _ in 0..50 {
            assert_eq!(told(&limiter, 1, 0), ("client", false, 0));
        }
        assert_eq!(told(&limiter, 2, 0), ("client", true, 0), "the flood took nothing of the total");
        for _ in 0..50 {
            assert_eq!(told(&limiter, 3, 0), ("route", false, 0));
        }
        assert_eq!(told(&limiter, 3, 1000), ("client", true, 0), "a full route took nothing of the client's");
    }

    #[test]
    fn the_total_alone_is_exact_between_threads() {
        let limiter = limiter(quota(1000, 1000), quota(1, 500));
        let run = |n: u8| (0..1000).filter(|_| limiter.admit(host(n), at(1)).unwrap().admitted).count();
        let run = &run;
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || run(n))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 500);
    }
}
