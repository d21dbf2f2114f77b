//! Copies as a share of requests: a small bucket, a price that falls with age, and a governor that looks at what
//! copies are good for.
//!
//! **The bucket.** Each request deposits a fraction of a token, each copy takes a whole one. It holds no more than
//! a share of one second's requests, so that no second sees more than budget and burst together, whatever happened
//! before it. There is no floor in tokens per second: at one request in two seconds it would hedge each of them.
//!
//! A token is a copy of usual length. What copies last in the mean, in times of what a request of the route usually
//! does, is how many tokens one takes: a budget in requests would let a route with a few dear ones spend half of its
//! work on copies of those.
//!
//! **The price.** With a fixed delay either the bucket is empty when a fault begins, and the worst requests find no
//! token, or the delay is long and the bucket idle. So the delay depends on the level: a full bucket gives to whoever
//! is as old as the delay, an empty one only to who is twice as old. The level settles where what is asked for at
//! that age is what is deposited; what is left in the bucket then is a reserve for the oldest.
//!
//! **The governor.** A copy of a dear request is as dear as the request and loses, and does so each time. Deposits
//! are scaled by what copies were last worth: each one that wins raises the scale, each that loses lowers it, so that
//! it falls while less than about one in eighteen wins, down to a tenth, which keeps asking. It scales deposits, not
//! what is in the bucket: the reserve stays for the fault that changes the answer.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::units::Ratio;

/// A copy that wins multiplies the governor's scale by this, one that loses by [`LOST`]: they hold each other where
/// one in eighteen wins (1.4 x 0.98^17 = 1). Of healthy answers, lognormal as in docs/tail.md, one in eleven does.
const WON: f32 = 1.4;
const LOST: f32 = 0.98;

/// The governor's lowest scale: of a budget of 5 %, half a per cent.
const LEAST_SCALE: f32 = 0.1;

/// A copy counts as at most this many of usual length: one that stalls as its primary did is not a dear one.
const LONGEST: f32 = 16.0;

/// The weight of one copy's length among all before it.
const LENGTH_WEIGHT: f32 = 1.0 / 16.0;

/// One token.
const TOKEN: u64 = 1_000_000;

/// A budget's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Copies as a share of requests.
    pub budget: Ratio,
    /// The bucket holds this share of one second's requests, and one token at least: what a fault may spend at once.
    /// No second sees more copies than this and the budget together.
    pub burst: Ratio,
}

/// Why there is no copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCopy {
    /// The budget allows none at all.
    BudgetOff,
    /// There is no token for a request of this age.
    BudgetSpent,
}

/// The budget of copies of one route, shared between threads without a lock.
#[derive(Debug)]
pub struct Copies {
    /// Millionths of a token that one request deposits at full scale.
    per_request: u64,
    burst: f64,
    tokens: AtomicU64,
    most: AtomicU64,
    /// What copies last in the mean, in times of a usual request, at least 1; as the bits of an `f32`.
    length: AtomicU32,
    /// The governor's scale, as the bits of an `f32`.
    scale: AtomicU32,
    requests: AtomicU64,
    /// `requests` when the bucket was last sized.
    sized_at: AtomicU64,
}

impl Copies {
    /// A bucket that is empty but for one token's room.
    pub fn new(params: Params) -> Copies {
        Copies {
            per_request: (params.budget.get() * TOKEN as f64).round() as u64,
            burst: params.burst.get(),
            tokens: AtomicU64::new(0),
            most: AtomicU64::new(TOKEN),
            length: AtomicU32::new(1.0f32.to_bits()),
            scale: AtomicU32::new(1.0f32.to_bits()),
            requests: AtomicU64::new(0),
            sized_at: AtomicU64::new(0),
        }
    }

    /// A request came that may be copied. Not called for copies: they would pay for one another.
    pub fn deposit(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let most = self.most.load(Ordering::Relaxed);
        let gift = (self.per_request as f64 * f64::from(self.scale())) as u64;
        let add = |tokens: u64| Some((tokens + gift).min(most));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Sizes the bucket by the requests since the last call. To be called once a second, by one task.
    pub fn publish(&self) {
        let requests = self.requests.load(Ordering::Relaxed);
        let since = requests - self.sized_at.swap(requests, Ordering::Relaxed);
        let most = ((since as f64 * self.burst) as u64).saturating_mul(TOKEN).max(TOKEN);
        // It shrinks slowly: one quiet second does not make what comes after it a quiet time.
        let last = self.most.load(Ordering::Relaxed);
        let most = most.max(last / 2);
        self.most.store(most, Ordering::Relaxed);
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| Some(tokens.min(most)));
    }

    /// Takes a token for a copy of a request that has waited for `age` where `delay` is the delay at a full bucket.
    /// `waiting` requests wait for its answer, itself among them: it pays its share of a token only.
    ///
    /// # Errors
    /// When there is none for a request of this age.
    pub fn withdraw(&self, age: Duration, delay: Duration, waiting: u32) -> Result<(), NoCopy> {
        if self.per_request == 0 {
            return Err(NoCopy::BudgetOff);
        }
        let price = self.price(waiting);
        let held_back = (self.most.load(Ordering::Relaxed) as f64 * reserve(age, delay)) as u64;
        let take = |tokens: u64| (tokens >= held_back.max(price)).then(|| tokens - price);
        let taken = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| ()).map_err(|_| NoCopy::BudgetSpent)
    }

    /// Gives back a token that was not used.
    pub fn restore(&self, waiting: u32) {
        let price = self.price(waiting);
        let most = self.most.load(Ordering::Relaxed);
        let back = |tokens: u64| Some((tokens + price).min(most));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    /// The age from which a request may take a token at the present level: once or up to twice the `delay`.
    pub fn ripe_at(&self, delay: Duration) -> Duration {
        delay.mul_f64(2.0 - self.level())
    }

    /// A copy that `lasted` so long was answered first, or was not; `usual` is what a request of the route lasts.
    pub fn settle(&self, won: bool, lasted: Duration, usual: Option<Duration>) {
        if let Some(usual) = usual {
            let length = (lasted.as_secs_f32() / usual.as_secs_f32()).clamp(1.0, LONGEST);
            let next = |bits| {
                let mean = f32::from_bits(bits);
                Some((mean + (length - mean) * LENGTH_WEIGHT).to_bits())
            };
            let _ = self.length.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        }
        let factor = if won { WON } else { LOST };
        let next = |bits| Some((f32::from_bits(bits) * factor).clamp(LEAST_SCALE, 1.0).to_bits());
        let _ = self.scale.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// What a copy costs for an answer that so many wait for: never more than the bucket can hold.
    fn price(&self, waiting: u32) -> u64 {
        let length = f32::from_bits(self.length.load(Ordering::Relaxed));
        let whole = (TOKEN as f64 * f64::from(length)) as u64;
        whole.min(self.most.load(Ordering::Relaxed)) / u64::from(waiting.max(1))
    }

    /// How full the bucket is, 0 to 1.
    pub fn level(&self) -> f64 {
        let most = self.most.load(Ordering::Relaxed).max(1);
        (self.tokens.load(Ordering::Relaxed) as f64 / most as f64).min(1.0)
    }

    /// The governor's scale, 0.1 to 1.
    pub fn scale(&self) -> f32 {
        f32::from_bits(self.scale.load(Ordering::Relaxed))
    }
}

/// The share of the bucket that a request of `age` must leave: all but what it takes at the `delay`, nothing at twice
/// that.
fn reserve(age: Duration, delay: Duration) -> f64 {
    if delay.is_zero() {
        return 0.0;
    }
    // A hair less at the delay itself: a full bucket is one to the last millionth.
    (2.0 - age.as_secs_f64() / delay.as_secs_f64()).clamp(0.0, 0.8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: Duration = Duration::from_millis(20);

    fn copies(percent: u8) -> Copies {
        Copies::new(Params { budget: Ratio::percent(percent), burst: Ratio::new(0.035).unwrap_or_default() })
    }

    /// `requests` in one second, and the bucket sized by them.
    fn second(copies: &Copies, requests: u32) {
        (0..requests).for_each(|_| copies.deposit());
        copies.publish();
    }

    #[test]
    fn a_new_bucket_is_empty_and_holds_one_token_at_least() {
        let copies = copies(5);
        assert_eq!(copies.withdraw(2 * D, D, 1), Err(NoCopy::BudgetSpent));
        (0..20).for_each(|_| copies.deposit());
        assert_eq!(copies.withdraw(D, D, 1), Ok(()));
        assert_eq!(copies.withdraw(2 * D, D, 1), Err(NoCopy::BudgetSpent));
    }

    #[test]
    fn no_second_sees_more_than_budget_and_burst() {
        let copies = copies(5);
        (0..10).for_each(|_| second(&copies, 400));
        // Everyone is old enough for anything.
        for _ in 0..10 {
            let taken = (0..400).filter(|_| {
                copies.deposit();
                copies.withdraw(3 * D, D, 1).is_ok()
            });
            assert!(taken.count() <= 400 * 85 / 1000);
            copies.publish();
        }
    }

    #[test]
    fn over_time_copies_are_the_budgets_share_of_requests() {
        let copies = copies(5);
        let mut taken = 0;
        for second in 0..100 {
            for _ in 0..400 {
                copies.deposit();
                taken += u32::from(copies.withdraw(3 * D, D, 1).is_ok());
            }
            copies.publish();
            assert!(taken <= (second + 1) * 20 + 1, "{second}: {taken}");
        }
        assert!(taken >= 1_990, "{taken}");
    }

    #[test]
    fn the_emptier_the_bucket_the_older_must_a_request_be() {
        let copies = copies(5);
        (0..3).for_each(|_| second(&copies, 400));
        let mut ages = Vec::new();
        loop {
            ages.push(copies.ripe_at(D));
            let ripe = copies.ripe_at(D) + Duration::from_micros(30);
            if copies.withdraw(ripe, D, 1).is_err() {
                break;
            }
        }
        assert!(ages.len() == 15 && ages.is_sorted(), "{ages:?}");
        assert_eq!((ages[0], ages[14]), (D, 2 * D));
        (0..140).for_each(|_| copies.deposit());
        assert_eq!(copies.withdraw(D, D, 1), Err(NoCopy::BudgetSpent), "young, and the bucket half empty");
        assert_eq!(copies.withdraw(2 * D, D, 1), Ok(()));
    }

    #[test]
    fn those_who_wait_for_one_answer_share_its_price() {
        let copies = copies(5);
        (0..20).for_each(|_| copies.deposit());
        assert_eq!((0..10).filter(|_| copies.withdraw(2 * D, D, 5).is_ok()).count(), 5);
    }

    #[test]
    fn a_budget_of_zero_says_so() {
        let copies = copies(0);
        copies.deposit();
        assert_eq!(copies.withdraw(3 * D, D, 1), Err(NoCopy::BudgetOff));
    }

    #[test]
    fn copies_that_lose_lower_what_is_deposited_and_a_few_that_win_raise_it() {
        let copies = copies(100);
        (0..200).for_each(|_| copies.settle(false, D, None));
        assert_eq!(copies.scale(), LEAST_SCALE);
        (0..9).for_each(|_| copies.deposit());
        assert_eq!(copies.withdraw(2 * D, D, 1), Err(NoCopy::BudgetSpent));
        (0..9).for_each(|_| copies.settle(true, D, None));
        assert_eq!(copies.scale(), 1.0);
    }

    #[test]
    fn one_win_in_ten_keeps_the_full_budget_and_one_in_twenty_does_not() {
        for (every, full) in [(10, true), (20, false)] {
            let copies = copies(5);
            (1..=1_000).for_each(|i| copies.settle(i % every == 0, D, None));
            assert_eq!(copies.scale() > 0.8, full, "{every}: {}", copies.scale());
        }
    }

    #[test]
    fn a_token_given_back_is_there_again() {
        let copies = copies(5);
        (0..20).for_each(|_| copies.deposit());
        assert_eq!(copies.withdraw(2 * D, D, 1), Ok(()));
        copies.restore(1);
        assert_eq!(copies.withdraw(2 * D, D, 1), Ok(()));
    }

    #[test]
    fn where_copies_are_long_each_costs_as_many() {
        let copies = copies(5);
        (0..3).for_each(|_| second(&copies, 400));
        copies.settle(true, 1_000 * D, Some(D));
        assert!(copies.withdraw(2 * D, D, 1).is_ok() && copies.level() > 0.8, "one long copy is an accident");
        (0..60).for_each(|_| copies.settle(true, 30 * D, Some(D)));
        second(&copies, 400);
        assert_eq!(copies.withdraw(2 * D, D, 1), Ok(()));
        assert_eq!(copies.level(), 0.0, "the whole bucket");
        (0..60).for_each(|_| copies.settle(true, D / 2, Some(D)));
        (0..30).for_each(|_| copies.deposit());
        assert_eq!(copies.withdraw(2 * D, D, 1), Ok(()), "they are short again");
    }
}
