//! When a route's requests are hedged: the delay, learned from its answers, and the budget.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::budget::Budget;
use super::copies::{self, Copies, NoCopy};
use super::delays::{Delays, Distribution, WARM};
use super::race::NoHedge;
use super::window::Window;
use crate::units::{Ratio, Tick};

/// Which quantile of the answers' times is the delay.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Quantile {
    /// Between the 95th percentile and twice that, so that the budget lasts (see `copies.rs`), and never more than
    /// twice what three of four answers take: where more than one in twenty stalls, the 95th percentile is a stall.
    #[default]
    Auto,
    /// This one, 0.9 to 0.999.
    Fixed(f64),
}

/// A pool's hedging.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// The delay.
    pub quantile: Quantile,
    /// Copies as a share of the requests that may be copied, and how many of them at once.
    pub copies: copies::Params,
    /// The shortest delay: below it a copy costs more than it can save.
    pub min_delay: Duration,
    /// The longest, also for requests held out as ground truth: an answer that is later than this is not waited for.
    pub max_delay: Duration,
    /// The share of requests that are never hedged, as ground truth of what hedging changes.
    pub held_out: Ratio,
    /// Copies in flight at the pool, as a share of the requests in flight there; two there may always be.
    pub in_flight: Ratio,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            quantile: Quantile::Auto,
            copies: copies::Params { budget: Ratio::percent(5), burst: BURST },
            min_delay: Duration::from_millis(2),
            max_delay: Duration::from_secs(1),
            held_out: Ratio::percent(1),
            in_flight: Ratio::percent(10),
        }
    }
}

/// Copies that may always be in flight: at a few requests in flight a share of them is none.
const IN_FLIGHT_LEAST: u32 = 2;

/// With the budget of 5 % no second sees more than 8.5 %.
const BURST: Ratio = match Ratio::permille(35) {
    Some(burst) => burst,
    None => Ratio::ZERO,
};

/// A late request that asks for a copy.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How long it has waited.
    pub age: Duration,
    /// The route's delay.
    pub delay: Duration,
    /// How many wait for its answer, itself among them.
    pub waiting: u32,
    /// Requests in flight at the pool's backends.
    pub in_flight: u32,
    /// Copies among them.
    pub copies: u32,
    /// Whether requests wait for a place at the pool's backends, or would have to.
    pub queueing: bool,
    /// Whether the pool is slow as a whole (`exceedance.rs`).
    pub all_slow: bool,
}

/// Of the 75th percentile, the most that [`Quantile::Auto`] waits.
const BODY: u32 = 2;

/// What is known of one route's answers, and its budget.
#[derive(Debug)]
pub struct Hedging {
    params: Params,
    /// The primaries' times to first byte.
    pub delays: Delays,
    /// The times after which requests had their answer, whoever gave it.
    pub served: Window,
    /// The budget.
    pub copies: Copies,
    /// Microseconds; zero while too little is known.
    delay: AtomicU64,
    usual: AtomicU64,
    /// The quantile after which an answer is slow, and the time that is.
    slow_from: f64,
    slow: AtomicU64,
}

impl Hedging {
    /// Nothing known. `slow_from` is the quantile of [`Hedging::slow`].
    pub fn new(params: Params, slow_from: f64) -> Hedging {
        Hedging {
            delays: Delays::new(),
            served: Window::new(),
            copies: Copies::new(params.copies),
            delay: AtomicU64::new(0),
            usual: AtomicU64::new(0),
            slow_from,
            slow: AtomicU64::new(0),
            params,
        }
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Publishes what the last second brought. A route of which too little is known borrows the `pool`'s answers. To
    /// be called once a second, by one task.
    pub fn publish(&self, pool: &Distribution, now: Tick) {
        self.delays.publish([self.params.asked(), self.slow_from], now);
        self.served.publish(now);
        self.copies.publish();
        let own = self.delays.distribution();
        let known = [own, *pool].into_iter().find(|known| known.count >= WARM);
        let delay = known.map_or(Duration::ZERO, |known| self.params.delay(&known));
        self.delay.store(micros(delay), Ordering::Relaxed);
        let slow = if own.count >= WARM { own.asked[1] } else { Duration::ZERO };
        self.slow.store(micros(slow), Ordering::Relaxed);
        self.usual.store(known.map_or(0, |known| micros(known.p50)), Ordering::Relaxed);
    }

    /// Takes what a copy costs, from the route's budget and the pool's `ledger`.
    ///
    /// # Errors
    /// Why there is to be no copy now.
    pub fn admit(&self, asked: &Asked, ledger: &Budget, now: Tick) -> Result<(), NoHedge> {
        if asked.queueing {
            return Err(NoHedge::Queueing);
        }
        if asked.all_slow {
            return Err(NoHedge::AllSlow);
        }
        let most = (f64::from(asked.in_flight) * self.params.in_flight.get()) as u32;
        if asked.copies >= most.max(IN_FLIGHT_LEAST) {
            return Err(NoHedge::InFlight);
        }
        self.copies.withdraw(asked.age, asked.delay, asked.waiting).map_err(|none| match none {
            NoCopy::BudgetOff => NoHedge::BudgetOff,
            NoCopy::BudgetSpent => NoHedge::BudgetSpent,
        })?;
        ledger.withdraw(now).map_err(|_| {
            self.copies.restore(asked.waiting);
            NoHedge::LedgerSpent
        })
    }

    /// After how long an answer is slow in the route's own terms; `None` while too little is known.
    pub fn slow(&self) -> Option<Duration> {
        read(&self.slow)
    }

    /// The quantile of [`Hedging::slow`].
    pub fn slow_from(&self) -> f64 {
        self.slow_from
    }

    /// The delay; `None` while too little is known.
    pub fn delay(&self) -> Option<Duration> {
        read(&self.delay)
    }

    /// The median answer; `None` while too little is known.
    pub fn usual(&self) -> Option<Duration> {
        read(&self.usual)
    }
}

impl Params {
    /// The quantile to be published beside the fixed ones.
    pub fn asked(&self) -> f64 {
        match self.quantile {
            Quantile::Auto => 0.95,
            Quantile::Fixed(quantile) => quantile,
        }
    }

    fn delay(&self, known: &Distribution) -> Duration {
        let delay = match self.quantile {
            Quantile::Auto => known.p95.min(known.p75 * BODY),
            Quantile::Fixed(_) => known.asked[0],
        };
        delay.clamp(self.min_delay, self.max_delay.max(self.min_delay)).max(Duration::from_micros(1))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn read(from: &AtomicU64) -> Option<Duration> {
    let micros = from.load(Ordering::Relaxed);
    (micros > 0).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn learned(params: Params, answers: impl Iterator<Item = Duration>) -> Option<Duration> {
        let hedging = Hedging::new(params, 0.5);
        answers.for_each(|took| hedging.delays.answered(took));
        hedging.publish(&Distribution::default(), at(1));
        hedging.delay()
    }

    fn near(delay: Option<Duration>, millis: u32) -> bool {
        delay.is_some_and(|d| d >= millis * MS && d <= (millis * MS).mul_f64(1.04))
    }

    #[test]
    fn there_is_no_delay_before_a_hundred_answers() {
        assert_eq!(learned(Params::default(), (1..100).map(|i| i * MS)), None);
        assert!(near(learned(Params::default(), (1..=100).map(|i| (100 + i) * MS)), 195));
    }

    #[test]
    fn a_route_of_which_little_is_known_borrows_its_pools_answers() {
        let pool = Delays::new();
        (0..1_000).for_each(|_| pool.answered(10 * MS));
        pool.publish([0.95; 2], at(1));
        let hedging = Hedging::new(Params::default(), 0.5);
        hedging.publish(&pool.distribution(), at(1));
        assert!(near(hedging.delay(), 10) && near(hedging.usual(), 10));
    }

    #[test]
    fn where_many_stall_the_delay_is_twice_what_most_take() {
        let answers = (0..1_000).map(|i| if i % 8 == 0 { 1_000 * MS } else { 10 * MS });
        assert!(near(learned(Params::default(), answers), 20));
    }

    #[test]
    fn a_fixed_quantile_is_taken_as_it_is() {
        let params = Params { quantile: Quantile::Fixed(0.9), ..Params::default() };
        assert!(near(learned(params, (1..=1_000).map(|i| i * MS / 10)), 90));
    }

    #[test]
    fn the_delay_keeps_to_its_bounds() {
        let params = Params { min_delay: 20 * MS, max_delay: 30 * MS, ..Params::default() };
        assert_eq!(learned(params.clone(), (0..200).map(|_| MS)), Some(20 * MS));
        assert_eq!(learned(params, (0..200).map(|_| 900 * MS)), Some(30 * MS));
        let zero = Params { min_delay: Duration::ZERO, ..Params::default() };
        assert!(learned(zero, (0..200).map(|_| Duration::ZERO)).is_some_and(|d| !d.is_zero()));
    }
}
