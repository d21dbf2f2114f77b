//! How much of what is meant for a backend is not sent, since the backend says "not now": adaptive client-side throttling.
//!
//! After the Google SRE book, chapter "Handling Overload": with the requests meant for a backend and those it accepted, over
//! the last seconds, each next one is left out with the probability
//! `max(0, (requests - K * accepts) / (requests + 1))`. What is left out counts as a request too, so the backend gets `K` times
//! as many as it accepts: enough to see at once that it takes more again. An answer that says nothing of the kind is an accept,
//! whatever its status: whether it is any good is the business of [`super::health`].
//!
//! It departs from the book in three figures. The window decays, and within two seconds, not two minutes: the probability is
//! then below 0.1 within five seconds of the backend's accepting everything again, even from the bound (growing from the bound
//! takes 2.2 time constants). The probability is bounded, as somebody has to find that out. And below a certain rate nothing is
//! left out: a handful of requests hurts nobody.

use std::time::Duration;

use super::signals::Kind;
use crate::units::Tick;

/// How many requests are sent for each that is accepted.
pub const K: f64 = 2.0;

/// The most that is left out.
pub const MOST: f64 = 0.8;

/// Time for the weight of what is known to fall to 1/e.
pub const TAU: Duration = Duration::from_secs(2);

/// Requests a second below which nothing is left out.
pub const LEAST_RATE: f64 = 5.0;

/// Above this probability a backend gets no copies: they can be done without.
pub const NO_COPIES: f64 = 0.1;

/// What was meant for one backend, and what of it the backend accepted.
#[derive(Clone, Debug, Default)]
pub struct Throttle {
    /// Requests that were answered or left out; decays.
    requests: f64,
    /// Those that were accepted; decays.
    accepts: f64,
    /// Up to when both have decayed.
    at: Tick,
}

impl Throttle {
    /// The backend answered: it `accepted` the request, or said "not now".
    pub fn answered(&mut self, accepted: bool, now: Tick) {
        self.decay(now);
        self.requests += 1.0;
        self.accepts += f64::from(u8::from(accepted));
    }

    /// The probability that the next request is left out, 0 to [`MOST`].
    pub fn ratio(&self, now: Tick) -> f64 {
        let kept = self.kept(now);
        let (requests, accepts) = (self.requests * kept, self.accepts * kept);
        if requests < LEAST_RATE * TAU.as_secs_f64() {
            return 0.0;
        }
        ((requests - K * accepts) / (requests + 1.0)).clamp(0.0, MOST)
    }

    /// Whether an attempt of this kind that would be made may be made; `chance` is drawn evenly from 0 to 1. A primary that
    /// may not counts as a request that was not accepted.
    pub fn admits(&mut self, kind: Kind, chance: f64, now: Tick) -> bool {
        let ratio = self.ratio(now);
        if kind != Kind::Primary {
            return ratio <= NO_COPIES;
        }
        let admitted = chance >= ratio;
        if !admitted {
            self.answered(false, now);
        }
        admitted
    }

    fn decay(&mut self, now: Tick) {
        let kept = self.kept(now);
        self.requests *= kept;
        self.accepts *= kept;
        self.at = self.at.max(now);
    }

    /// What is left of what was known. Threads read the clock before they get here, so `now` may lie a little behind.
    fn kept(&self, now: Tick) -> f64 {
        (-now.since(self.at).as_secs_f64() / TAU.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend that is meant to get `rate` requests a second, and accepts of those sent what `accepts` says of the time in
    /// seconds and the number sent so far.
    struct Model {
        throttle: Throttle,
        rng: fastrand::Rng,
        now: f64,
        sent: u32,
    }

    fn tick(seconds: f64) -> Tick {
        Tick::from_nanos((seconds * 1e9) as u64)
    }

    impl Model {
        fn new() -> Model {
            Model { throttle: Throttle::default(), rng: fastrand::Rng::with_seed(7), now: 100.0, sent: 0 }
        }

        /// Goes on for `seconds`; returns the share that was sent and the highest probability.
        fn run(&mut self, rate: f64, seconds: f64, mut accepts: impl FnMut(u32) -> bool) -> (f64, f64) {
            let (meant, mut sent, mut highest) = ((rate * seconds) as u32, 0, 0.0_f64);
            for _ in 0..meant {
                self.now += 1.0 / rate;
                let now = tick(self.now);
                if self.throttle.admits(Kind::Primary, self.rng.f64(), now) {
                    sent += 1;
                    self.sent += 1;
                    self.throttle.answered(accepts(self.sent), now);
                }
                highest = highest.max(self.ratio());
            }
            (f64::from(sent) / f64::from(meant), highest)
        }

        fn ratio(&self) -> f64 {
            self.throttle.ratio(tick(self.now))
        }
    }

    #[test]
    fn who_refuses_all_gets_a_fifth_and_not_less() {
        for rate in [10.0, 100.0, 10_000.0] {
            let mut model = Model::new();
            model.run(rate, 10.0, |_| false);
            assert_eq!(model.ratio(), MOST, "at {rate}/s");
            let (sent, highest) = model.run(rate, 60.0, |_| false);
            assert_eq!(highest, MOST);
            assert!((sent - 0.2).abs() < 0.05, "{sent} at {rate}/s");
        }
    }

    #[test]
    fn who_accepts_gets_all_of_it() {
        for rate in [1.0, 100.0, 10_000.0] {
            let (sent, highest) = Model::new().run(rate, 30.0, |_| true);
            assert_eq!((sent, highest), (1.0, 0.0));
        }
        // One in four refused is within what is sent for each that is accepted.
        let (sent, highest) = Model::new().run(100.0, 30.0, |n| n % 4 != 0);
        assert_eq!((sent, highest), (1.0, 0.0));
    }

    #[test]
    fn who_bears_some_gets_twice_as_many() {
        let mut model = Model::new();
        let mut accepted = 0;
        // Forty of two hundred a second.
        for warm in [true, false] {
            let (mut sent, mut meant) = (0.0, 0.0);
            for _ in 0..200 {
                let mut left = 4;
                let (share, _) = model.run(200.0, 0.1, |_| {
                    let takes = left > 0;
                    left -= i32::from(takes);
                    accepted += i32::from(takes);
                    takes
                });
                sent += share * 20.0;
                meant += 20.0;
            }
            let share: f64 = sent / meant;
            assert!(warm || (share - 0.4).abs() < 0.04, "{share}");
        }
        assert!(accepted > 1_500, "it is kept busy: {accepted}");
    }

    #[test]
    fn within_five_seconds_of_accepting_again_it_is_over() {
        for rate in [20.0, 100.0, 10_000.0] {
            let mut model = Model::new();
            model.run(rate, 60.0, |_| false);
            assert_eq!(model.ratio(), MOST);
            model.run(rate, 5.0, |_| true);
            let ratio = model.ratio();
            assert!(ratio <= NO_COPIES, "{ratio} at {rate}/s");
            model.run(rate, 5.0, |_| true);
            assert_eq!(model.ratio(), 0.0, "at {rate}/s");
        }
    }

    #[test]
    fn what_is_known_fades_while_nothing_is_meant_for_it() {
        let mut model = Model::new();
        model.run(100.0, 60.0, |_| false);
        model.now += 5.0;
        assert_eq!(model.ratio(), MOST);
        model.now += 2.0;
        assert_eq!(model.ratio(), 0.0, "too little is left to go by");
    }

    #[test]
    fn a_handful_is_never_left_out() {
        let (sent, highest) = Model::new().run(4.0, 120.0, |_| false);
        assert_eq!((sent, highest), (1.0, 0.0));
    }

    #[test]
    fn copies_are_not_drawn_for_and_not_counted() {
        let mut model = Model::new();
        let now = tick(model.now);
        assert!(model.throttle.admits(Kind::Copy, 0.0, now));
        (0..100).for_each(|_| model.throttle.answered(false, now));
        for kind in [Kind::Copy, Kind::Probe] {
            assert!(!model.throttle.admits(kind, 1.0, now));
        }
        assert_eq!(model.throttle.requests, 100.0);
        assert!(model.throttle.admits(Kind::Primary, MOST, now));
        assert!(!model.throttle.admits(Kind::Primary, MOST - 0.01, now));
        assert_eq!(model.throttle.requests, 101.0);
        // 114 accepts beside 101 others: 215 - 228 < 0.
        (0..114).for_each(|_| model.throttle.answered(true, now));
        assert!(model.throttle.admits(Kind::Primary, 0.0, now));
        assert!(model.throttle.admits(Kind::Copy, 0.0, now));
    }

    #[test]
    fn a_clock_that_was_read_earlier_changes_nothing() {
        let mut throttle = Throttle::default();
        throttle.answered(true, tick(10.0));
        throttle.answered(false, tick(9.0));
        assert_eq!((throttle.requests, throttle.accepts, throttle.at), (2.0, 1.0, tick(10.0)));
    }
}
