//! The slowest requests of a route, of late.
//!
//! A request that ends compares its duration with one number, and mostly that is all. The window is a ring of slots, each
//! with its own slowest: what is dropped for something slower would else be missed when that has become too old.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::labels::CacheResult;
use super::spectrum::{Mark, Spectrum, Tail};
use super::termination::Termination;
use super::timeline::{Phases, Timeline};
use crate::cache::server_timing::Said;
use crate::config;
use crate::units::Tick;

/// Bytes that are kept of a text.
const LONGEST: usize = 1024;

/// Parts of the window.
const SLOTS: u32 = 5;

/// A slow request.
#[derive(Clone, Debug)]
pub struct SlowRequest {
    /// When its head was read.
    pub time: SystemTime,
    /// Its method.
    pub method: String,
    /// The host asked for; `None` where it is not known any more.
    pub host: Option<String>,
    /// Its path, and its query if that is configured; `None` where it is not known any more.
    pub path: Option<String>,
    /// What the client got; 0 if no response was begun.
    pub status: u16,
    /// What the cache did.
    pub cache: CacheResult,
    /// Why it ended.
    pub reason: Termination,
    /// The backend that answered, or was asked last.
    pub backend: Option<Arc<str>>,
    /// The value of `X-Request-Id`; empty where it is not known any more.
    pub request_id: String,
    /// The trace it is part of, if it is sampled.
    pub trace_id: Option<u128>,
    /// What its origin said of its own time.
    pub origin: Vec<Said>,
    /// Where its time went.
    pub timeline: Timeline,
}

/// The slowest requests of one route, and what the slowest hundredth of all waited for.
#[derive(Debug)]
pub(super) struct Slowest {
    /// Nanoseconds that a request must exceed to be among them.
    floor: AtomicU64,
    spectrum: Spectrum,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    params: Option<config::Slow>,
    /// The oldest first.
    slots: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    /// What had been summed up when it began.
    before: Mark,
    /// The slowest first.
    slowest: Vec<SlowRequest>,
}

/// The part of a request's target that is kept: its path, and its query if that is wanted.
pub fn target(target: &str, wanted: config::Slow) -> String {
    let end = target.find('?').filter(|_| !wanted.query).unwrap_or(target.len());
    clipped(target.get(..end).unwrap_or_default())
}

/// The beginning of a text, as much as is kept of any.
pub fn clipped(text: &str) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    text.get(..end).unwrap_or_default().to_owned()
}

/// What there is to show of a route.
#[derive(Clone, Debug, Default)]
pub struct Slow {
    /// The slowest first.
    pub slowest: Vec<SlowRequest>,
    /// What the slowest hundredth of all waited for; `None` without requests.
    pub tail: Option<Tail>,
}

impl Slowest {
    /// None, and none to be kept until the first [`Slowest::turn`].
    pub(super) fn new() -> Slowest {
        Slowest { floor: AtomicU64::new(u64::MAX), spectrum: Spectrum::new(), kept: Mutex::default() }
    }

    /// Counts what a request waited for.
    pub(super) fn add(&self, duration: Duration, phases: &Phases) {
        self.spectrum.add(duration, phases);
    }

    /// Whether a request of this duration is among them.
    pub(super) fn takes(&self, duration: Duration) -> bool {
        nanos(duration) > self.floor.load(Ordering::Relaxed)
    }

    /// Keeps a request, unless slower ones have come meanwhile.
    pub(super) fn keep(&self, request: SlowRequest) {
        let mut kept = self.kept.lock();
        let Some(keep) = kept.params.map(|params| params.keep).filter(|keep| *keep > 0) else { return };
        let Some(slot) = kept.slots.back_mut() else { return };
        let place = slot.slowest.partition_point(|other| other.timeline.duration >= request.timeline.duration);
        slot.slowest.insert(place, request);
        slot.slowest.truncate(keep);
        self.floor.store(slot.floor(keep), Ordering::Relaxed);
    }

    /// Turns the ring to `now`, with `instant` requests that have taken no time since the start. To be called once a
    /// second; other `params` begin anew.
    pub(super) fn turn(&self, params: config::Slow, instant: u64, now: Tick) {
        let number = now.as_nanos() / nanos(params.window / SLOTS).max(1);
        let mut kept = self.kept.lock();
        if kept.params.is_some_and(|before| before != params) {
            kept.slots.clear();
        } else if kept.slots.back().is_some_and(|slot| slot.number >= number) {
            return;
        }
        // What there was before the first slot counts: nobody has looked yet.
        let before =
            if kept.params.replace(params).is_none() { Mark::default() } else { self.spectrum.sums(instant).mark() };
        kept.slots.push_back(Slot { number, before, slowest: Vec::new() });
        while kept.slots.front().is_some_and(|slot| slot.number + u64::from(SLOTS) <= number) {
            kept.slots.pop_front();
        }
        self.floor.store(if params.keep == 0 { u64::MAX } else { 0 }, Ordering::Relaxed);
    }

    /// What there is; `instant` as in [`Slowest::turn`].
    pub(super) fn read(&self, instant: u64) -> Slow {
        let kept = self.kept.lock();
        let keep = kept.params.map_or(0, |params| params.keep);
        let mut slowest: Vec<SlowRequest> = kept.slots.iter().flat_map(|slot| &slot.slowest).cloned().collect();
        slowest.sort_by_key(|request| std::cmp::Reverse(request.timeline.duration));
        slowest.truncate(keep);
        let before = kept.slots.front().map(|slot| &slot.before);
        let tail = before.and_then(|before| self.spectrum.sums(instant).since(before).tail());
        Slow { slowest, tail }
    }
}

impl Slot {
    fn floor(&self, keep: usize) -> u64 {
        let least = self.slowest.get(keep.saturating_sub(1));
        least.map_or(0, |request| nanos(request.timeline.duration))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::timeline::Course;
    use super::*;

    const PARAMS: config::Slow = config::Slow { keep: 2, window: Duration::from_secs(50), query: false };

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn request(millis: u64) -> SlowRequest {
        SlowRequest {
            time: SystemTime::UNIX_EPOCH,
            method: "GET".to_owned(),
            host: None,
            path: None,
            status: 200,
            cache: CacheResult::Miss,
            reason: Termination::Done,
            backend: None,
            request_id: String::new(),
            trace_id: None,
            origin: Vec::new(),
            timeline: Timeline::of(Course { duration: Duration::from_millis(millis), ..Course::default() }),
        }
    }

    fn offer(slowest: &Slowest, millis: u64) {
        let request = request(millis);
        slowest.add(request.timeline.duration, &request.timeline.phases);
        if slowest.takes(request.timeline.duration) {
            slowest.keep(request);
        }
    }

    fn shown(slowest: &Slowest) -> Vec<u128> {
        slowest.read(0).slowest.iter().map(|request| request.timeline.duration.as_millis()).collect()
    }

    #[test]
    fn the_slowest_are_kept_and_the_rest_is_turned_away_by_a_number() {
        let slowest = Slowest::new();
        offer(&slowest, 9);
        assert!(shown(&slowest).is_empty(), "not before it is known how many are wanted");
        slowest.turn(PARAMS, 0, at(1));
        for millis in [3, 1, 7, 5, 2] {
            offer(&slowest, millis);
        }
        assert_eq!(shown(&slowest), [7, 5]);
        assert!(!slowest.takes(Duration::from_millis(5)) && slowest.takes(Duration::from_millis(6)));
        assert!(!slowest.takes(Duration::ZERO));
    }

    #[test]
    fn what_is_older_than_the_window_goes_and_lets_the_next_slowest_be_seen() {
        let slowest = Slowest::new();
        slowest.turn(PARAMS, 0, at(1));
        [90, 80, 70].into_iter().for_each(|millis| offer(&slowest, millis));
        slowest.turn(PARAMS, 0, at(10));
        [6, 5, 4].into_iter().for_each(|millis| offer(&slowest, millis));
        assert_eq!(shown(&slowest), [90, 80]);
        slowest.turn(PARAMS, 0, at(50));
        assert_eq!(shown(&slowest), [6, 5]);
        assert_eq!(slowest.read(0).tail.map(|tail| tail.requests), Some(3));
        slowest.turn(PARAMS, 0, at(1_000));
        assert!(shown(&slowest).is_empty() && slowest.read(0).tail.is_none());
    }

    #[test]
    fn none_are_kept_where_none_are_wanted() {
        let slowest = Slowest::new();
        slowest.turn(PARAMS, 0, at(1));
        offer(&slowest, 9);
        slowest.turn(config::Slow { keep: 0, ..PARAMS }, 0, at(2));
        offer(&slowest, 9);
        assert!(shown(&slowest).is_empty());
        assert!(slowest.read(0).tail.is_some(), "what the tail waits for is told all the same");
    }

    #[test]
    fn other_params_begin_anew() {
        let slowest = Slowest::new();
        slowest.turn(PARAMS, 0, at(40));
        offer(&slowest, 9);
        slowest.turn(config::Slow { window: Duration::from_secs(5_000), ..PARAMS }, 0, at(41));
        offer(&slowest, 8);
        assert_eq!(shown(&slowest), [8]);
        slowest.turn(config::Slow { window: Duration::from_secs(5_000), ..PARAMS }, 0, at(42));
        assert_eq!(shown(&slowest), [8]);
    }
}
