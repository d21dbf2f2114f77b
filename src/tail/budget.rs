//! Extra work as a share of useful work: a token bucket that requests fill and retries drain.
//!
//! A limit per request ("at most two retries") multiplies the load by three just when every request fails, and a
//! limit in tokens per second fits one rate of traffic only. Here each request deposits a fraction of a token and
//! each extra attempt withdraws a whole one, so extra work stays a fixed share of the real work at any rate
//! (Finagle's `RetryBudget`). A floor of tokens per second lets a quiet pool retry at all; a withdrawal paid by
//! deposits draws on the floor too, so the two do not add up.
//!
//! Credit not spent within one to two [`PERIOD`]s is forgotten: a quiet day must not pay for a storm. The deposit is
//! the hot path and is one atomic addition: it knows no time. Withdrawals, and whoever asks for the balance, turn the
//! periods.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::units::{Ratio, Tick};

/// Credit lives for one to two of these. Asked at least this often, a budget never holds more than ten seconds' worth
/// of deposits; asked less often, no more than fifteen.
pub const PERIOD: Duration = Duration::from_secs(5);

/// A budget's size.
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// Extra attempts allowed per request.
    pub ratio: Ratio,
    /// Extra attempts per second allowed however few requests come.
    pub min_per_second: f64,
}

impl Default for Params {
    /// A fifth of the requests (Envoy, Finagle), and one a second.
    fn default() -> Params {
        Params { ratio: Ratio::percent(20), min_per_second: 1.0 }
    }
}

/// An extra attempt was not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied(pub Reason);

/// Why an extra attempt was not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The budget allows none at all: ratio and floor are zero.
    BudgetOff,
    /// What requests deposited is spent.
    BudgetSpent,
}

impl Reason {
    /// The word for log, metric and header.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::BudgetOff => "budget-off",
            Reason::BudgetSpent => "budget-spent",
        }
    }
}

/// Tokens for extra attempts, shared between threads without a lock.
#[derive(Debug)]
pub struct Budget {
    /// Micro-tokens that one request deposits.
    per_request: u64,
    floor: Floor,
    /// Micro-tokens at hand.
    credit: AtomicU64,
    /// Of `credit`, what was there already when the period began: it expires when the period ends.
    carried: AtomicU64,
    /// When the period began, in nanoseconds.
    began: AtomicU64,
}

/// One token in `credit`.
const TOKEN: u64 = 1_000_000;

impl Budget {
    /// An empty budget; its floor is full.
    pub fn new(params: Params) -> Budget {
        Budget {
            per_request: (params.ratio.get() * TOKEN as f64).round() as u64,
            floor: Floor::new(params.min_per_second),
            credit: AtomicU64::new(0),
            carried: AtomicU64::new(0),
            began: AtomicU64::new(0),
        }
    }

    /// A request came. Not called for extra attempts: they would pay for one another.
    pub fn deposit(&self) {
        self.credit.fetch_add(self.per_request, Ordering::Relaxed);
    }

    /// Takes one token for an extra attempt that starts at `now`.
    pub fn withdraw(&self, now: Tick) -> Result<(), Denied> {
        self.turn(now);
        if take(&self.credit, TOKEN) {
            take_up_to(&self.carried, TOKEN);
            self.floor.owe(now);
            return Ok(());
        }
        if self.floor.take(now) {
            return Ok(());
        }
        let off = self.per_request == 0 && self.floor.interval.is_none();
        Err(Denied(if off { Reason::BudgetOff } else { Reason::BudgetSpent }))
    }

    /// Tokens at hand at `now`, for metrics: the greater of credit and floor.
    pub fn balance(&self, now: Tick) -> f64 {
        self.turn(now);
        let credit = self.credit.load(Ordering::Relaxed) as f64 / TOKEN as f64;
        credit.max(self.floor.balance(now))
    }

    /// Begins a new period if the last one is over: what it carried and nobody spent expires, what it earned is
    /// carried. After a longer gap the time of the deposits is not known; they count as if spread evenly over it.
    fn turn(&self, now: Tick) {
        let began = self.began.load(Ordering::Relaxed);
        let elapsed = now.since(Tick::from_nanos(began));
        if elapsed < PERIOD {
            return;
        }
        // One caller turns the period; the others go on with the credit as they find it.
        if self.began.compare_exchange(began, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        take_up_to(&self.credit, self.carried.load(Ordering::Relaxed));
        let earned = self.credit.load(Ordering::Relaxed);
        let kept = if elapsed <= 2 * PERIOD {
            earned
        } else {
            (earned as f64 * (PERIOD.as_secs_f64() / elapsed.as_secs_f64())) as u64
        };
        take_up_to(&self.credit, earned - kept);
        self.carried.store(kept, Ordering::Relaxed);
    }
}

/// Tokens that come with time alone, as the time at which all of them are back (the generic cell rate algorithm):
/// one word instead of a count and a stamp.
#[derive(Debug)]
struct Floor {
    /// Nanoseconds that bring one token; `None` when there is no floor.
    interval: Option<u64>,
    /// Nanoseconds' worth of tokens held at most: ten seconds, and at least one token.
    most: u64,
    full_at: AtomicU64,
}

impl Floor {
    fn new(per_second: f64) -> Floor {
        let valid = per_second.is_finite() && per_second > 0.0;
        let interval = valid.then(|| ((1e9 / per_second) as u64).clamp(1, FOREVER));
        let most = interval.unwrap_or(0).max(2 * PERIOD.as_nanos() as u64);
        Floor { interval, most, full_at: AtomicU64::new(0) }
    }

    fn take(&self, now: Tick) -> bool {
        let Some(interval) = self.interval else { return false };
        let now = now.as_nanos();
        let next = |full_at: u64| {
            let next = full_at.max(now).saturating_add(interval);
            (next - now <= self.most).then_some(next)
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Takes a token that deposits paid for, or leaves the floor one token in debt: only so do floor and deposits
    /// not add up when each new token is spent at once.
    fn owe(&self, now: Tick) {
        let Some(interval) = self.interval else { return };
        let now = now.as_nanos();
        let debt = now.saturating_add(self.most).saturating_add(interval);
        let next = |full_at: u64| Some(full_at.max(now).saturating_add(interval).min(debt).max(full_at));
        let _ = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn balance(&self, now: Tick) -> f64 {
        let Some(interval) = self.interval else { return 0.0 };
        let missing = self.full_at.load(Ordering::Relaxed).saturating_sub(now.as_nanos());
        self.most.saturating_sub(missing) as f64 / interval as f64
    }
}

/// A hundred years in nanoseconds: longer than any token is waited for, and far from overflow.
const FOREVER: u64 = 100 * 365 * 86_400 * 1_000_000_000;

fn take(from: &AtomicU64, amount: u64) -> bool {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| held.checked_sub(amount)).is_ok()
}

fn take_up_to(from: &AtomicU64, amount: u64) {
    let less = |held: u64| Some(held.saturating_sub(amount));
    let _ = from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn budget(percent: u8, min_per_second: f64) -> Budget {
        Budget::new(Params { ratio: Ratio::percent(percent), min_per_second })
    }

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn drain(budget: &Budget, now: Tick) -> u32 {
        (0..).take_while(|_| budget.withdraw(now).is_ok()).count() as u32
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_retried() {
        let budget = budget(20, 0.0);
        (0..100).for_each(|_| budget.deposit());
        assert_eq!(drain(&budget, at(0)), 20);
        assert_eq!(budget.withdraw(at(0)), Err(Denied(Reason::BudgetSpent)));
    }

    #[test]
    fn with_ratio_one_every_request_may_be_retried_once() {
        let budget = budget(100, 0.0);
        (0..1_000).for_each(|_| budget.deposit());
        assert_eq!(drain(&budget, at(4_900)), 1_000);
    }

    #[test]
    fn with_ratio_zero_only_the_floor_pays() {
        let budget = budget(0, 2.0);
        (0..1_000).for_each(|_| budget.deposit());
        assert_eq!(drain(&budget, at(0)), 20, "ten seconds' worth at the start");
        assert_eq!(drain(&budget, at(3_000)), 6);
        assert_eq!(drain(&budget, at(3_600_000)), 20, "and never more");
    }

    #[test]
    fn nothing_allowed_says_so() {
        for min in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let budget = budget(0, min);
            budget.deposit();
            assert_eq!(budget.withdraw(at(0)), Err(Denied(Reason::BudgetOff)), "{min}");
        }
        assert_eq!(Reason::BudgetOff.as_str(), "budget-off");
    }

    #[test]
    fn a_floor_below_one_per_ten_seconds_still_pays_whole_tokens() {
        let budget = budget(0, 0.05);
        assert_eq!(drain(&budget, at(0)), 1);
        assert_eq!(drain(&budget, at(19_999)), 0);
        assert_eq!(drain(&budget, at(20_001)), 1);
    }

    #[test]
    fn floor_and_ratio_do_not_add_up() {
        let budget = budget(10, 5.0);
        drain(&budget, at(0));
        let mut spent = 0;
        for millis in (0..60_000).step_by(10) {
            budget.deposit(); // 100 requests a second allow 10 retries
            spent += drain(&budget, at(millis));
        }
        assert!((580..=605).contains(&spent), "{spent}");
    }

    #[test]
    fn a_floor_above_the_ratio_fills_up_what_is_missing() {
        let budget = budget(1, 5.0);
        drain(&budget, at(0));
        let mut spent = 0;
        for millis in (0..60_000).step_by(10) {
            budget.deposit(); // 100 requests a second allow one retry
            spent += drain(&budget, at(millis));
        }
        assert!((295..=305).contains(&spent), "{spent}");
    }

    #[test]
    fn credit_never_exceeds_ten_seconds_worth() {
        let budget = budget(20, 0.0);
        for millis in 0..60_000 {
            budget.deposit(); // 200 tokens a second
            if millis % 1_000 == 0 {
                let balance = budget.balance(at(millis));
                assert!(balance <= 2_001.0, "{balance}");
            }
        }
        assert!(drain(&budget, at(60_000)) >= 900);
    }

    #[test]
    fn a_quiet_time_forgets_what_was_earned() {
        let budget = budget(20, 0.0);
        budget.balance(at(0));
        (0..1_000).for_each(|_| budget.deposit());
        assert_eq!(budget.balance(at(5_000)), 200.0);
        assert_eq!(budget.balance(at(10_000)), 0.0);
    }

    #[test]
    fn deposits_of_an_hour_without_a_withdrawal_are_not_an_hours_credit() {
        let budget = budget(10, 0.0);
        (0..36_000).for_each(|_| budget.deposit()); // ten requests a second
        let spent = drain(&budget, at(3_600_000));
        assert!(spent <= 10, "{spent}");
    }

    #[test]
    fn threads_never_spend_a_token_twice() {
        let budget = budget(10, 0.0);
        let start = Barrier::new(4);
        let spent: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let run = || {
                        start.wait();
                        (0..1_000u64)
                            .filter(|_| {
                                budget.deposit();
                                budget.withdraw(at(1)).is_ok()
                            })
                            .count()
                    };
                    scope.spawn(run)
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(spent + drain(&budget, at(1)) as usize, 400);
    }
}
