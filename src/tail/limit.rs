//! How many requests may be at one backend: followed from what its answers tell (`knee.rs`).
//!
//! Known to wait at the backend beyond its knee, requests are held back here, where they can be put in order and given up.
//! Where nothing tells of a knee the limit grows whenever it is used, and where too little is known it stays.

use std::time::Duration;

use super::knee::{Curve, Knee};
use crate::units::Tick;

/// What bounds the requests at a pool's backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// What the backends' answers tell.
    #[default]
    Adaptive,
    /// So many at all backends together.
    Fixed(u32),
    /// Nothing but what is said of single backends.
    Off,
}

/// How often a limit is looked at.
pub const REVIEW: Duration = Duration::from_millis(100);

const START: Tick = Tick::from_nanos(0);

/// Answers before the limit is one.
const WARM: u32 = 16;
/// The least limit of a backend. What makes all answers slow for a moment also leaves more of them in flight, which can look like
/// a knee at one or two; to wait at a backend that really works on fewer than this costs less than to shed what it would do.
const LEAST: f32 = 4.0;
/// Where no knee is known, the least limit of a backend: below it there is hardly a server.
const LEAST_UNKNOWN: f32 = 10.0;
/// Of a backend of which nothing is known, this many times what its peers bear is thought, if that is less.
const MORE_THAN_PEERS: f32 = 1.5;
/// Answers between two steps of growth: before them nothing new is known.
const PACE: u32 = 8;
/// A step of growth where nothing speaks of a knee.
const STEP: f32 = 2.0;
/// A step of fall.
const FALL: f32 = 0.65;
/// The weight of one answer in what answers take of late.
const RECENT: f32 = 1.0 / 16.0;
/// A limit is used above this share of it.
const USED: f32 = 0.8;
/// A limit that is used while nothing at all is answered is stretched up to so many times, so that answers that take
/// very long do not keep all others out.
const STRETCH: f32 = 4.0;
/// For how many reviews there is to be no answer before that.
const SILENT: u32 = 5;
/// Where fewer samples than this tell what answers take that do not wait, the limit is lowered for a moment.
const CONTRAST: f32 = 10.0;
/// How far it is lowered, so that some do not wait.
const DIP: f32 = 0.5;
/// How long a dip lasts, in times of what an answer takes: what was sent before is to be answered, and then some that were
/// sent during it.
const DIP_LASTS: u32 = 2;
/// The bounds of that.
const DIP_LEAST: Duration = REVIEW;
const DIP_MOST: Duration = Duration::from_secs(1);
/// From one dip to the next, where the first has led to a lower limit, and where it has not.
const BETWEEN_DIPS: [Duration; 2] = [Duration::from_millis(400), Duration::from_secs(5)];
/// A limit that is lower than this share of what it was before a dip is due to that.
const LOWER: f32 = 0.9;

/// What is sent to a pool on top of the sum of its backends' limits, in square roots of it: else a backend that is done with
/// one request waits for the next.
const HEADROOM: f32 = 0.5;
/// How much more than its limit a backend should get, before it is rounded up: the limit is a mean.
const ROOM: f32 = 0.6;

/// The limit of a pool whose backends' limits have this sum; `u32::MAX` while they have none.
pub fn of_pool(sum: f32) -> u32 {
    // A conversion that saturates.
    (sum + HEADROOM * sum.sqrt()).round() as u32
}

/// Which of a pool's backends are to dip, by what each [lacks](Limiter::lacks_contrast): all whose limits are falling, and
/// of the others the one that lacks it most, so that little is lost while all places are taken.
pub fn to_dip<T>(lacking: impl Iterator<Item = (T, Lack)>) -> Vec<T> {
    let (mut chosen, others): (Vec<_>, Vec<_>) = lacking.partition(|(_, lack)| lack.is_falling);
    chosen.extend(others.into_iter().min_by(|(_, a), (_, b)| a.seen.total_cmp(&b.seen)));
    chosen.into_iter().map(|(place, _)| place).collect()
}

/// Too little is known of a backend's answers that do not wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lack {
    /// How many of them were seen.
    seen: f32,
    /// Whether the limit was lower after the last dip than before, or there was none yet: it is not where it belongs.
    is_falling: bool,
}

/// One backend's limit and what it is made from.
#[derive(Clone, Debug)]
pub struct Limiter {
    curve: Curve,
    /// The mean of the logarithms of microseconds that answers took; zero before the first.
    recent: f32,
    limit: f32,
    /// Answers in all, up to [`WARM`].
    answers: u32,
    /// Answers since the last growth.
    fresh: u32,
    /// The most in flight since the last review.
    high: u32,
    /// Reviews without an answer.
    silent: u32,
    answered: bool,
    stretch: f32,
    has_knee: bool,
    is_dipped: bool,
    dip: Dip,
}

/// The last dip.
#[derive(Clone, Copy, Debug)]
struct Dip {
    /// Until then the limit is lowered.
    end: Tick,
    /// Then it is asked what came of it.
    judged: Option<Tick>,
    /// The earliest time of the next one.
    next: Tick,
    /// The limit before it.
    before: f32,
    /// Whether the limit was lower afterwards, or there was no dip yet: it is not where it belongs.
    is_falling: bool,
}

impl Default for Limiter {
    fn default() -> Limiter {
        Limiter {
            curve: Curve::new(),
            recent: 0.0,
            limit: f32::INFINITY,
            answers: 0,
            fresh: 0,
            high: 0,
            silent: 0,
            answered: false,
            stretch: 1.0,
            has_knee: false,
            is_dipped: false,
            dip: Dip { end: START, judged: None, next: START, before: f32::INFINITY, is_falling: true },
        }
    }
}

impl Limiter {
    /// A request was sent; so many are with the backend now, it among them.
    pub fn sent(&mut self, in_flight: u32) {
        self.high = self.high.max(in_flight);
    }

    /// A primary that was sent as the `in_flight`th was answered, without an error, after so long.
    pub fn answered(&mut self, in_flight: u32, took: Duration) {
        self.curve.observe(in_flight, took);
        let log = (took.as_secs_f32() * 1e6).max(1.1).ln();
        self.recent = if self.recent > 0.0 { self.recent + (log - self.recent) * RECENT } else { log };
        self.answers = (self.answers + 1).min(WARM);
        self.fresh = self.fresh.saturating_add(1);
        self.answered = true;
    }

    /// Looks at the limit. To be called every [`REVIEW`]; `in_flight` are with the backend, and its peers bear `peers`, if
    /// anything is known of them.
    pub fn review(&mut self, in_flight: u32, peers: Option<f32>, now: Tick) {
        self.curve.fade(now);
        self.is_dipped = now < self.dip.end;
        let high = std::mem::replace(&mut self.high, in_flight) as f32;
        self.silent = if std::mem::take(&mut self.answered) { 0 } else { self.silent.saturating_add(1) };
        if self.answers < WARM {
            return;
        }
        let unknown = peers.map_or(LEAST_UNKNOWN, |peers| (peers * MORE_THAN_PEERS).min(LEAST_UNKNOWN));
        if self.limit.is_infinite() {
            self.limit = high.max(unknown);
        }
        let is_used = high >= USED * self.limit;
        let knee = self.curve.knee();
        self.has_knee = matches!(knee, Knee::At(_));
        match knee {
            // It falls step by step: what seemed a queue may have been dear requests, and the next answers tell.
            Knee::At(knee) if knee >= self.limit => self.limit = knee,
            Knee::At(knee) if self.fresh >= PACE => {
                self.fresh = 0;
                self.limit = knee.max(self.limit * FALL).max(LEAST);
            }
            Knee::At(_) => {}
            knee if self.fresh >= PACE => {
                self.fresh = 0;
                if let Knee::Beyond(seen) = knee {
                    self.limit = self.limit.max(seen as f32);
                    self.limit *= if is_used { STEP } else { 1.0 };
                }
                if !is_used {
                    // Unused, it goes back to where an unknown one begins, from either side.
                    self.limit += (unknown.max(high * STEP) - self.limit) / 4.0;
                }
            }
            _ => {}
        }
        if self.dip.judged.is_some_and(|when| now >= when) {
            self.dip.judged = None;
            self.dip.is_falling = self.limit < LOWER * self.dip.before;
            self.dip.next = self.dip.end + BETWEEN_DIPS[usize::from(!self.dip.is_falling)];
        }
        self.stretch = match is_used && self.silent > SILENT {
            true => (self.stretch * 1.25).min(STRETCH),
            false => 1.0,
        };
    }

    /// The number from which on its answers wait, if that is known.
    pub fn knee(&self) -> Option<f32> {
        self.has_knee.then_some(self.limit)
    }

    /// How many may be there, at least 1; infinite while nothing is known.
    pub fn limit(&self) -> f32 {
        (self.limit * self.stretch * if self.is_dipped { DIP } else { 1.0 }).max(1.0)
    }

    /// The most that should be there, where others have room; `u32::MAX` while nothing is known.
    pub fn room(&self) -> u32 {
        (self.limit() + ROOM).ceil() as u32
    }

    /// What answers take of late, typically; `None` if nothing is known.
    pub fn usual(&self) -> Option<Duration> {
        (self.recent > 0.0).then(|| Duration::from_secs_f32((self.recent.exp() / 1e6).min(3_600.0)))
    }

    /// Whether too little is known of answers that do not wait, so that it should [dip](Limiter::dip).
    pub fn lacks_contrast(&self, now: Tick) -> Option<Lack> {
        let seen = self.curve.seen_below(self.limit * 0.85);
        let may_dip = self.limit.is_finite() && self.dip.judged.is_none() && now >= self.dip.next;
        (may_dip && seen < CONTRAST).then_some(Lack { seen, is_falling: self.dip.is_falling })
    }

    /// Lowers the limit for a while.
    pub fn dip(&mut self, now: Tick) {
        let lasts = self.usual().unwrap_or_default().saturating_mul(DIP_LASTS).clamp(DIP_LEAST, DIP_MOST);
        self.dip.end = now + lasts;
        self.dip.judged = Some(now + lasts * 2);
        self.dip.before = self.limit;
        self.is_dipped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(reviews: u64) -> Tick {
        Tick::from_nanos(reviews * 100_000_000)
    }

    /// Answers as of a backend with so many workers, over numbers in flight up to `most`, with a review now and then.
    fn learned(limiter: &mut Limiter, workers: f32, most: u32, reviews: std::ops::Range<u64>) {
        for review in reviews {
            for number in (1..=most).chain(1..=most) {
                limiter.sent(number);
                let own = 8 + u32::try_from(review % 5).unwrap();
                limiter.answered(number, (own * MS).mul_f32((number as f32 / workers).max(1.0)));
            }
            limiter.review(1, None, at(review));
        }
    }

    #[test]
    fn nothing_is_limited_before_the_first_answers() {
        let mut limiter = Limiter::default();
        limiter.sent(5_000);
        limiter.review(5_000, None, at(1));
        assert!(limiter.limit().is_infinite());
        assert_eq!(limiter.lacks_contrast(at(1)), None);
    }

    #[test]
    fn it_follows_the_workers() {
        let mut limiter = Limiter::default();
        learned(&mut limiter, 4.0, 8, 0..50);
        assert!((3.5..5.2).contains(&limiter.limit()), "{}", limiter.limit());
        learned(&mut limiter, 8.0, 12, 50..400);
        assert!((7.0..10.0).contains(&limiter.limit()), "{}", limiter.limit());
    }

    #[test]
    fn without_a_knee_it_grows_while_it_is_used_and_only_then() {
        let mut limiter = Limiter::default();
        learned(&mut limiter, f32::INFINITY, 4, 0..30);
        let idle = limiter.limit();
        assert!((LEAST_UNKNOWN..=12.0).contains(&idle), "{idle}");
        learned(&mut limiter, f32::INFINITY, 12, 30..40);
        assert!(limiter.limit() > 15.0, "{}", limiter.limit());
        learned(&mut limiter, f32::INFINITY, 2, 40..240);
        assert!(limiter.limit() < 14.0, "{}", limiter.limit());
    }

    #[test]
    fn where_all_meet_the_same_it_stays_and_asks_for_contrast() {
        let mut limiter = Limiter::default();
        for review in 0..100 {
            (0..20).for_each(|_| {
                limiter.sent(20);
                limiter.answered(20, 10 * MS);
            });
            limiter.review(20, None, at(review));
        }
        assert!((18.0..=25.0).contains(&limiter.limit()), "{}", limiter.limit());
        assert!(limiter.lacks_contrast(at(101)).is_some());
        let before = limiter.limit();
        limiter.dip(at(101));
        assert!(limiter.limit() < before * 0.7);
        assert_eq!(limiter.lacks_contrast(at(101)), None, "not twice at once");
        limiter.review(20, None, at(103));
        assert!(limiter.limit() > before * 0.9);
    }

    #[test]
    fn slow_moments_that_come_with_more_in_flight_do_not_shut_it() {
        let mut limiter = Limiter::default();
        for review in 0..200 {
            // Slow and quick moments of two tenths of a second by turns; nobody waits for anybody.
            let (numbers, millis) = if review % 4 < 2 { (2..=3, 30) } else { (1..=2, 10) };
            numbers.cycle().take(12).for_each(|number| {
                limiter.sent(number);
                limiter.answered(number, millis * MS);
            });
            limiter.review(1, None, at(review));
            assert!(limiter.limit() >= LEAST, "{review}: {}", limiter.limit());
        }
    }

    #[test]
    fn answers_that_do_not_come_do_not_shut_it() {
        let mut limiter = Limiter::default();
        learned(&mut limiter, 4.0, 8, 0..50);
        let before = limiter.limit();
        for review in 50..100 {
            limiter.sent(8);
            limiter.review(8, None, at(review));
        }
        assert!(limiter.limit() > before * 2.0 && limiter.limit() < before * 6.0, "{}", limiter.limit());
    }
}
