//! A token bucket for each of any number of clients, in memory of a fixed size: a count-min sketch (Cormode and
//! Muthukrishnan 2005) with buckets for counters and conservative update (Estan and Varghese 2002).
//!
//! A client has one bucket in each row, by hash, and shares it with whoever else falls there. Its own is the fullest
//! of them; the others are emptied as far as that one and no further, so that a shared bucket is as empty as the busiest
//! who shares it and not as all of them together. A client is refused for others' requests only if each of its buckets
//! is shared with somebody who is at the limit: with N such at a time that is a chance of about (N / 16384)⁴, of 1600 one
//! in 12000, of 8000 one in 45. Beyond that, and where all clients together send more than some 39000 times the rate of
//! one, there is no telling them apart.
//!
//! The hash has a secret key: who does not know it cannot choose addresses that share another's buckets.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::token_bucket::Gcra;
use crate::units::Tick;

const ROWS: usize = 4;
/// Buckets in a row, a power of two: 512 KiB in all.
const WIDTH: usize = 1 << 14;

/// The buckets of all clients.
#[derive(Debug)]
pub(super) struct Sketch<S> {
    /// Row after row, each bucket as [`Gcra`] has it.
    cells: Box<[AtomicU64]>,
    keys: S,
}

/// One client's buckets.
#[derive(Debug)]
pub(super) struct Buckets<'a>([&'a AtomicU64; ROWS]);

impl<S: BuildHasher> Sketch<S> {
    /// Full buckets, found by a hash with these keys.
    pub(super) fn new(keys: S) -> Sketch<S> {
        Sketch { cells: (0..ROWS * WIDTH).map(|_| AtomicU64::new(0)).collect(), keys }
    }

    /// The buckets of the client at this address.
    pub(super) fn of(&self, address: IpAddr) -> Buckets<'_> {
        // One hash is enough for all rows: each takes fourteen bits of it.
        let hash = self.keys.hash_one(client(address));
        let place = |row: usize| (hash >> (row * WIDTH.ilog2() as usize)) as usize % WIDTH;
        Buckets(std::array::from_fn(|row| &self.cells[row * WIDTH + place(row)]))
    }
}

impl Buckets<'_> {
    /// The fullest of them: the client's own requests have emptied it at least so far.
    pub(super) fn full_at(&self) -> u64 {
        self.0.iter().map(|cell| cell.load(Ordering::Relaxed)).min().unwrap_or_default()
    }

    /// Takes a token; gives the client's bucket as it then is, or the wait for the next one. Of two requests of one
    /// client at the same instant one may go uncounted, which is what no lock costs.
    pub(super) fn take(&self, gcra: Gcra, now: Tick) -> Result<u64, Duration> {
        loop {
            let after = gcra.take(self.full_at(), now)?;
            let lowered = self.0.iter().filter(|cell| cell.fetch_max(after, Ordering::Relaxed) < after).count();
            // If there was none, the token was another's in the meantime.
            if lowered > 0 {
                return Ok(after);
            }
        }
    }
}

/// Whom an address stands for: IPv4 one by one, IPv6 by the /64 that a host or site has to itself (RFC 6177).
fn client(address: IpAddr) -> (bool, u64) {
    match address.to_canonical() {
        IpAddr::V4(ip) => (false, ip.to_bits().into()),
        IpAddr::V6(ip) => (true, (ip.to_bits() >> 64) as u64),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::hash::DefaultHasher;
    use std::net::Ipv4Addr;

    use super::super::token_bucket::{Per, Quota, Rate};
    use super::*;

    /// Keys that a test can choose.
    #[derive(Clone, Copy, Debug)]
    pub(in super::super) struct Seed(pub(in super::super) u64);

    impl BuildHasher for Seed {
        type Hasher = DefaultHasher;

        fn build_hasher(&self) -> DefaultHasher {
            use std::hash::Hasher;
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(self.0);
            hasher
        }
    }

    fn quota(count: u32, burst: u32) -> Gcra {
        Gcra::new(Quota { rate: Rate { count, per: Per::Second }, burst })
    }

    fn host(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn a_client_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |text: &str| client(text.parse().unwrap());
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("0.0.0.1"), of("0:0:0:1::"));
    }

    #[test]
    fn a_client_alone_has_a_bucket_of_its_own() {
        let (sketch, gcra) = (Sketch::new(Seed(1)), quota(10, 5));
        let now = Tick::from_nanos(77);
        let admitted = (0..100).filter(|_| sketch.of(host(1)).take(gcra, now).is_ok()).count();
        assert_eq!(admitted, 5);
        assert!(sketch.of(host(2)).take(gcra, now).is_ok());
    }

    /// `flooding` clients take all they can get; a thousand others send at half their rate. Gives the share of these
    /// others' requests that is refused.
    fn refused_of_others(seed: u64, flooding: u32) -> f64 {
        let (sketch, gcra) = (Sketch::new(Seed(seed)), quota(10, 10));
        let mut refused = 0;
        let seconds = 3;
        for step in 0..seconds * 20 {
            let now = Tick::from_nanos(1 + step * 50_000_000);
            for n in 0..flooding {
                for _ in 0..if step == 0 { 12 } else { 2 } {
                    let _ = sketch.of(host(n)).take(gcra, now);
                }
            }
            // Each of them every fourth step.
            for n in (0..1000).filter(|n| u64::from(n % 4) == step % 4) {
                refused += u32::from(sketch.of(host(1_000_000 + n)).take(gcra, now).is_err());
            }
        }
        f64::from(refused) / (1000.0 * seconds as f64 * 5.0)
    }

    #[test]
    fn who_keeps_to_the_rate_is_hardly_ever_refused_for_those_who_do_not() {
        for seed in 0..3 {
            for (flooding, most) in [(0, 0.0), (500, 0.0002), (2000, 0.001), (8000, 0.03)] {
                let refused = refused_of_others(seed, flooding);
                assert!(refused <= most, "seed {seed}: {flooding} flood, {refused} of the others' requests refused");
            }
        }
    }

    #[test]
    fn many_within_their_rate_do_not_add_up() {
        let (sketch, gcra) = (Sketch::new(Seed(5)), quota(10, 10));
        let mut refused = 0;
        for step in 0..12u64 {
            let now = Tick::from_nanos(1 + step * 500_000_000);
            refused += (0..60_000).filter(|n| sketch.of(host(*n)).take(gcra, now).is_err()).count();
        }
        assert_eq!(refused, 0, "60000 clients at a fifth of their rate");
    }

    #[test]
    fn another_key_is_another_sharing() {
        let places = |seed| {
            let sketch = Sketch::new(Seed(seed));
            let first = sketch.cells.as_ptr();
            sketch.of(host(1)).0.map(|cell| (std::ptr::from_ref(cell) as usize) - first as usize)
        };
        assert_eq!(places(1), places(1));
        assert_ne!(places(1), places(2));
    }

    #[test]
    fn most_of_what_threads_race_for_is_counted() {
        let (sketch, gcra) = (Sketch::new(Seed(3)), quota(1, 100_000));
        let now = Tick::from_nanos(1);
        let taken: usize = std::thread::scope(|scope| {
            let run = || (0..20_000).filter(|_| sketch.of(host(9)).take(gcra, now).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 80_000);
        let counted = 100_000 - gcra.left(sketch.of(host(9)).full_at(), now).0;
        assert!((40_000..=80_000).contains(&counted), "{counted} of 80000 counted in the worst of races");
    }
}
