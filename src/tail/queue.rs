//! Who waits for a place at a pool's backends, in which order, and for how long.
//!
//! While places now and then find nobody waiting, for as long as an answer takes, the queue is a buffer: first come, first
//! served within a class, and nobody is sent away who can be served in time. Once it has not been empty for a while, more
//! comes than goes, and some must be refused.
//! Then the newest go first, since they have the most of their patience left, before them the users with a lower level,
//! so that a user is either served or not, and before these the more important class. If it lasts, waiting is cut to a few
//! times what an answer takes (CoDel's two targets, as in "Fail at Scale", ACM Queue 13(8), 2015), and no more may wait than are
//! served in that time: whoever has no prospect is told at once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::class::Class;
use crate::units::Tick;

/// Without an empty moment for so many times of what an answer takes, the newest go first.
const PRESSED_AFTER: u32 = 10;
/// The bounds of that.
const PRESSED_LEAST: Duration = Duration::from_millis(100);
const PRESSED_MOST: Duration = Duration::from_millis(500);
/// Without one for so many times of it, waiting is cut short; until then it may last as long.
const SHRINKS_AFTER: u32 = 30;
/// The bounds of that: who waits for a second has mostly left, unless three answers take longer.
const SHRINKS_LEAST: Duration = Duration::from_millis(300);
const SHRINKS_MOST: Duration = Duration::from_secs(1);
const SHRINKS_MOST_ANSWERS: u32 = 3;
const SHRINKS_EVER: Duration = Duration::from_secs(10);
/// Waiting is cut to so many times of what an answer takes.
const SHORT: u32 = 5;
/// The bounds of that.
const SHORT_LEAST: Duration = Duration::from_millis(20);
const SHORT_MOST: Duration = Duration::from_secs(1);
/// A place that finds nobody waiting for so long, or for as long as an answer takes, has found an end of the queue.
const LEAST_IDLE: Duration = Duration::from_millis(5);
/// While waiting is not cut short, so many may wait for each place.
const DEEP: u32 = 10;
/// So many may always wait.
const LEAST_ROOM: usize = 8;
/// However high the limit, no more wait: memory is bounded too.
const MOST_ROOM: usize = 10_000;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Shed {
    /// More important ones, or newer ones, fill the queue.
    QueueFull,
    /// It has waited as long as is of use.
    QueueTimeout,
    /// Its own time would be over before it could be answered.
    Deadline,
}

impl Shed {
    /// All of them.
    pub const ALL: [Shed; 3] = [Shed::QueueFull, Shed::QueueTimeout, Shed::Deadline];

    /// The word in headers, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Shed::QueueFull => "queue-full",
            Shed::QueueTimeout => "queue-timeout",
            Shed::Deadline => "deadline",
        }
    }

    /// Its place in [`Shed::ALL`].
    pub fn index(self) -> usize {
        match self {
            Shed::QueueFull => 0,
            Shed::QueueTimeout => 1,
            Shed::Deadline => 2,
        }
    }
}

/// Who wants to wait.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How important it is.
    pub class: Class,
    /// Where its user stands among all: the same for all of a user's requests, 0 goes first.
    pub level: u8,
    /// How long it waits at the most; `None` as long as anyone.
    pub patience: Option<Duration>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(u64);

/// What the queue's rules depend on.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// What an answer takes that need not wait.
    pub usual: Duration,
    /// Requests that may be at the backends.
    pub limit: u32,
}

/// The order of two that wait: by class, level and time.
type Rank = (Class, u8, i64, u64);

#[derive(Debug)]
struct Waiting<T> {
    asked: Asked,
    since: Tick,
    rank: Rank,
    guest: T,
}

/// The queue of one pool; `T` is how one that waits is told.
#[derive(Debug)]
pub struct Queue<T> {
    waiting: HashMap<u64, Waiting<T>>,
    order: BTreeSet<Rank>,
    /// By time of coming; may hold some that have left.
    came: VecDeque<u64>,
    next: u64,
    /// Since when somebody has waited, but for moments.
    filled: Option<Tick>,
    /// Since when a place finds nobody waiting.
    idle: Option<Tick>,
    pressed: bool,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue {
            waiting: HashMap::new(),
            order: BTreeSet::new(),
            came: VecDeque::new(),
            next: 0,
            filled: None,
            idle: None,
            pressed: false,
        }
    }
}

impl Pace {
    fn pressed_after(&self) -> Duration {
        self.usual.saturating_mul(PRESSED_AFTER).clamp(PRESSED_LEAST, PRESSED_MOST)
    }

    fn shrinks_after(&self) -> Duration {
        let most = self.usual.saturating_mul(SHRINKS_MOST_ANSWERS).clamp(SHRINKS_MOST, SHRINKS_EVER);
        self.usual.saturating_mul(SHRINKS_AFTER).clamp(SHRINKS_LEAST, most)
    }

    fn short(&self) -> Duration {
        self.usual.saturating_mul(SHORT).clamp(SHORT_LEAST, SHORT_MOST)
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more comes than goes, as far as the queue can tell.
    pub fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// How long one may wait.
    pub fn bound(&self, pace: &Pace, now: Tick) -> Duration {
        if self.is_shrunk(pace, now) { pace.short() } else { pace.shrinks_after() }
    }

    /// Waits from `now` on. `refused` is told of those who are sent away for it, which may be the one that comes.
    ///
    /// # Errors
    /// If its own time would be over before it could be answered.
    pub fn enter(
        &mut self,
        asked: Asked,
        guest: T,
        pace: &Pace,
        now: Tick,
        mut refused: impl FnMut(T, Shed),
    ) -> Result<Place, Shed> {
        if asked.patience.is_some_and(|patience| patience < pace.usual) {
            return Err(Shed::Deadline);
        }
        self.refresh(pace, now, &mut refused);
        self.next += 1;
        let id = self.next;
        self.filled.get_or_insert(now);
        self.idle = None;
        let rank = self.rank(&asked, now, id);
        self.order.insert(rank);
        self.came.push_back(id);
        self.waiting.insert(id, Waiting { asked, since: now, rank, guest });
        let room = self.room(pace, now);
        while self.waiting.len() > room {
            let Some((_, _, _, last)) = self.order.last().copied() else { break };
            if let Some(gone) = self.take(last) {
                refused(gone, Shed::QueueFull);
            }
        }
        Ok(Place(id))
    }

    /// Takes out who goes next.
    pub fn next(&mut self, pace: &Pace, now: Tick, mut refused: impl FnMut(T, Shed)) -> Option<T> {
        self.refresh(pace, now, &mut refused);
        let Some((_, _, _, first)) = self.order.first().copied() else {
            self.idle.get_or_insert(now);
            return None;
        };
        self.take(first)
    }

    /// Leaves without having been served; `None` if it was served or refused.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        self.take(place.0)
    }

    /// Sends away who has waited too long, and changes the order where it is time.
    pub fn refresh(&mut self, pace: &Pace, now: Tick, refused: &mut impl FnMut(T, Shed)) {
        let bound = self.bound(pace, now);
        while let Some(&oldest) = self.came.front() {
            match self.waiting.get(&oldest) {
                Some(waiting) if now.since(waiting.since) <= bound => break,
                Some(_) => {
                    if let Some(gone) = self.take(oldest) {
                        refused(gone, Shed::QueueTimeout);
                    }
                }
                None => {}
            }
            self.came.pop_front();
        }
        if self.idle.is_some_and(|idle| now.since(idle) >= pace.usual.max(LEAST_IDLE)) {
            // It is a buffer again.
            self.filled = None;
        }
        let pressed = self.filled.is_some_and(|filled| now.since(filled) > pace.pressed_after());
        if pressed != self.pressed {
            self.pressed = pressed;
            self.order.clear();
            let ids: Vec<u64> = self.waiting.keys().copied().collect();
            for id in ids {
                let Some((asked, since)) = self.waiting.get(&id).map(|waiting| (waiting.asked, waiting.since)) else {
                    continue;
                };
                let rank = self.rank(&asked, since, id);
                self.order.insert(rank);
                if let Some(waiting) = self.waiting.get_mut(&id) {
                    waiting.rank = rank;
                }
            }
        }
    }

    fn is_shrunk(&self, pace: &Pace, now: Tick) -> bool {
        self.filled.is_some_and(|filled| now.since(filled) > pace.shrinks_after())
    }

    fn room(&self, pace: &Pace, now: Tick) -> usize {
        let each = if self.is_shrunk(pace, now) { SHORT } else { DEEP };
        (pace.limit.saturating_mul(each) as usize).clamp(LEAST_ROOM, MOST_ROOM)
    }

    fn rank(&self, asked: &Asked, since: Tick, id: u64) -> Rank {
        let since = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        match self.pressed {
            true => (asked.class, asked.level, -since, id),
            false => (asked.class, 0, since, id),
        }
    }

    fn take(&mut self, id: u64) -> Option<T> {
        let waiting = self.waiting.remove(&id)?;
        self.order.remove(&waiting.rank);
        Some(waiting.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const PACE: Pace = Pace { usual: Duration::from_millis(20), limit: 4 };

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn any(class: Class, level: u8) -> Asked {
        Asked { class, level, patience: None }
    }

    /// A queue, and what became of whom.
    #[derive(Default)]
    struct Line {
        queue: Queue<&'static str>,
        gone: Vec<(&'static str, Shed)>,
    }

    impl Line {
        fn enter(&mut self, who: &'static str, asked: Asked, millis: u64) -> Result<Place, Shed> {
            let gone = &mut self.gone;
            self.queue.enter(asked, who, &PACE, at(millis), |who, why| gone.push((who, why)))
        }

        fn next(&mut self, millis: u64) -> Option<&'static str> {
            let gone = &mut self.gone;
            self.queue.next(&PACE, at(millis), |who, why| gone.push((who, why)))
        }

        fn all(&mut self, millis: u64) -> Vec<&'static str> {
            std::iter::from_fn(|| self.next(millis)).collect()
        }
    }

    /// One waits all the time, so that the queue is never empty.
    fn kept_full(until: u64) -> Line {
        let mut line = Line::default();
        let mut last = line.enter("old", any(Class::Default, 9), 0).unwrap();
        for millis in (10..=until).step_by(10) {
            let next = line.enter("old", any(Class::Default, 9), millis).unwrap();
            line.queue.leave(last);
            last = next;
        }
        line
    }

    #[test]
    fn at_first_it_is_a_buffer_by_class() {
        let mut line = Line::default();
        line.enter("late", any(Class::Sheddable, 0), 0).unwrap();
        line.enter("first", any(Class::Default, 200), 1).unwrap();
        line.enter("second", any(Class::Default, 0), 2).unwrap();
        line.enter("urgent", any(Class::Critical, 200), 3).unwrap();
        assert_eq!(line.all(50), ["urgent", "first", "second", "late"]);
        assert!(line.gone.is_empty() && !line.queue.is_pressed());
    }

    #[test]
    fn without_an_empty_moment_the_newest_go_first_and_the_lower_levels_before_them() {
        let mut line = kept_full(210);
        line.enter("a1", any(Class::Default, 7), 212).unwrap();
        line.enter("b1", any(Class::Default, 3), 213).unwrap();
        line.enter("a2", any(Class::Default, 7), 214).unwrap();
        line.enter("c1", any(Class::Critical, 99), 215).unwrap();
        assert!(line.queue.is_pressed());
        assert_eq!(line.all(216), ["c1", "b1", "a2", "a1", "old"]);
        line.enter("d1", any(Class::Default, 7), 235).unwrap();
        assert!(line.queue.is_pressed(), "a moment without is none");
        assert_eq!(line.all(236), ["d1"]);
        line.enter("e1", any(Class::Default, 7), 256).unwrap();
        assert!(!line.queue.is_pressed(), "it has been empty for as long as an answer takes");
    }

    #[test]
    fn in_the_end_waiting_is_cut_to_what_an_answer_takes() {
        let mut line = kept_full(1_010);
        line.enter("here", any(Class::Critical, 0), 1_020).unwrap();
        assert_eq!(line.next(1_035), Some("here"));
        assert!(line.gone.is_empty());
        assert_eq!(line.next(1_111), None);
        assert_eq!(line.gone, [("old", Shed::QueueTimeout)]);
    }

    #[test]
    fn no_more_wait_than_have_a_prospect_and_the_least_important_go() {
        let mut line = kept_full(1_010);
        for _ in 0..19 {
            line.enter("new", any(Class::Default, 1), 1_011).unwrap();
        }
        line.enter("sheddable", any(Class::Sheddable, 0), 1_012).unwrap();
        assert_eq!(line.gone, [("sheddable", Shed::QueueFull)]);
        line.gone.clear();
        line.enter("critical", any(Class::Critical, 255), 1_013).unwrap();
        assert_eq!(line.gone, [("old", Shed::QueueFull)]);
        assert_eq!(line.next(1_014), Some("critical"));
    }

    #[test]
    fn a_burst_has_a_deep_queue() {
        let mut line = Line::default();
        for _ in 0..50 {
            line.enter("x", any(Class::Default, 0), 0).unwrap();
        }
        assert_eq!(line.gone.len(), 10);
        assert_eq!(line.queue.len(), 40);
    }

    #[test]
    fn a_request_that_cannot_be_in_time_is_refused_at_once() {
        let mut line = Line::default();
        let hurried = |millis: u32| Asked { patience: Some(millis * MS), ..any(Class::Critical, 0) };
        assert_eq!(line.enter("x", hurried(19), 0), Err(Shed::Deadline));
        assert!(line.enter("x", hurried(20), 0).is_ok());
    }

    #[test]
    fn who_leaves_is_neither_served_nor_refused() {
        let mut line = Line::default();
        let place = line.enter("gone", any(Class::Default, 0), 0).unwrap();
        line.enter("here", any(Class::Default, 0), 0).unwrap();
        assert_eq!(line.queue.leave(place), Some("gone"));
        assert_eq!(line.queue.leave(place), None);
        assert_eq!(line.all(1), ["here"]);
    }

    #[test]
    fn times_are_scaled_by_what_answers_take_and_bounded() {
        let slow = Pace { usual: Duration::from_secs(30), limit: 4 };
        let fast = Pace { usual: Duration::ZERO, limit: 4 };
        let queue = Queue::<()>::default();
        assert_eq!(queue.bound(&slow, at(0)), SHRINKS_EVER);
        assert_eq!(queue.bound(&fast, at(0)), 300 * MS);
        assert_eq!((slow.short(), fast.short()), (SHORT_MOST, SHORT_LEAST));
        assert_eq!(PACE.short(), 100 * MS);
    }

    #[test]
    fn the_queue_forgets_whoever_has_gone() {
        let mut line = Line::default();
        line.enter("stays", any(Class::Default, 0), 0).unwrap();
        for millis in 1..200 {
            let place = line.enter("x", any(Class::Default, 0), millis).unwrap();
            line.queue.leave(place);
        }
        line.next(200);
        line.next(4_000);
        assert!(line.queue.came.is_empty() && line.queue.order.is_empty());
    }
}
