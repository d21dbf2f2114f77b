//! The way to a pool's backends: who may go, who waits, and who is refused.
//!
//! The rules are `tail::queue`'s; here are the lock around them and the waking of who waits. A gate outlives reloads, as
//! its backends do, so that a reload admits nobody twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::clock;
use crate::tail::queue::{Asked, Pace, Place, Queue, Shed};
use crate::units::Tick;

/// One that waits is told that it may go, or why not.
type Guest = oneshot::Sender<Result<(), Shed>>;

/// The gate of one pool.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
    /// What there is to read without the lock.
    admitted: AtomicU32,
    waiting: AtomicU32,
    limit: AtomicU32,
}

#[derive(Debug)]
struct State {
    queue: Queue<Guest>,
    pace: Pace,
    admitted: u32,
}

/// What becomes of one who comes.
#[derive(Debug)]
pub enum Entry {
    /// It may go at once.
    Admitted(Permit),
    /// It is to wait.
    Waiting(Waiting),
    /// It is not to go.
    Refused(Shed),
}

/// A place at the backends, until dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
}

/// A place in the queue; dropped, it is left.
#[derive(Debug)]
pub struct Waiting {
    gate: Arc<Gate>,
    place: Place,
    since: Tick,
    patience: Option<Duration>,
    verdict: oneshot::Receiver<Result<(), Shed>>,
    /// Whether the verdict has been taken.
    settled: bool,
}

impl Default for Gate {
    fn default() -> Gate {
        let pace = Pace { usual: Duration::ZERO, limit: u32::MAX };
        Gate {
            state: Mutex::new(State { queue: Queue::default(), pace, admitted: 0 }),
            admitted: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            limit: AtomicU32::new(u32::MAX),
        }
    }
}

impl Gate {
    /// Asks for a place at the backends.
    pub fn enter(self: &Arc<Self>, asked: Asked, now: Tick) -> Entry {
        let mut state = self.state.lock();
        if state.queue.is_empty() && state.admitted < state.pace.limit {
            state.admitted += 1;
            self.publish(&state);
            return Entry::Admitted(Permit { gate: self.clone() });
        }
        let (tell, verdict) = oneshot::channel();
        let pace = state.pace;
        let entered = state.queue.enter(asked, tell, &pace, now, refuse);
        state.let_in(now);
        self.publish(&state);
        match entered {
            Err(shed) => Entry::Refused(shed),
            Ok(place) => {
                let (gate, patience) = (self.clone(), asked.patience);
                Entry::Waiting(Waiting { gate, place, since: now, patience, verdict, settled: false })
            }
        }
    }

    /// Changes what it goes by.
    pub fn set(&self, pace: Pace, now: Tick) {
        let mut state = self.state.lock();
        state.pace = pace;
        state.let_in(now);
        self.publish(&state);
    }

    /// Requests that have a place.
    pub fn admitted(&self) -> u32 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Requests that wait for one.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many places there are; `None` if there is no limit.
    pub fn limit(&self) -> Option<u32> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit < u32::MAX)
    }

    /// Whether one more would have to wait.
    pub fn is_full(&self) -> bool {
        self.waiting() > 0 || self.admitted() >= self.limit.load(Ordering::Relaxed)
    }

    fn release(&self) {
        let mut state = self.state.lock();
        state.admitted = state.admitted.saturating_sub(1);
        if !state.queue.is_empty() {
            state.let_in(clock::now());
        }
        self.publish(&state);
    }

    fn publish(&self, state: &State) {
        self.admitted.store(state.admitted, Ordering::Relaxed);
        self.limit.store(state.pace.limit, Ordering::Relaxed);
        self.waiting.store(u32::try_from(state.queue.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl State {
    /// Gives free places to who is next.
    fn let_in(&mut self, now: Tick) {
        while self.admitted < self.pace.limit {
            let Some(guest) = self.queue.next(&self.pace, now, refuse) else { return };
            // One that has gone in this moment takes no place.
            self.admitted += u32::from(guest.send(Ok(())).is_ok());
        }
        self.queue.refresh(&self.pace, now, &mut refuse);
    }
}

fn refuse(guest: Guest, why: Shed) {
    // Who has gone needs no answer.
    let _gone = guest.send(Err(why));
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.release();
    }
}

impl Waiting {
    /// Waits for the verdict.
    ///
    /// # Errors
    /// Why it is not to go.
    pub async fn verdict(&mut self) -> Result<Permit, Shed> {
        loop {
            let nap = self.nap(clock::now());
            match tokio::time::timeout(nap, &mut self.verdict).await {
                Ok(verdict) => {
                    self.settled = true;
                    // A sender that is dropped without a word would be one that has been refused.
                    verdict.unwrap_or(Err(Shed::QueueTimeout))?;
                    return Ok(Permit { gate: self.gate.clone() });
                }
                Err(_) => {
                    let now = clock::now();
                    let mut state = self.gate.state.lock();
                    let is_over = self.patience.is_some_and(|patience| now.since(self.since) >= patience);
                    if is_over && state.queue.leave(self.place).is_some() {
                        self.gate.publish(&state);
                        return Err(Shed::Deadline);
                    }
                    state.let_in(now);
                    self.gate.publish(&state);
                }
            }
        }
    }

    /// Until it is to be looked whether it has waited for too long, if nothing happens before.
    fn nap(&self, now: Tick) -> Duration {
        let state = self.gate.state.lock();
        let bound = state.queue.bound(&state.pace, now);
        let most = self.patience.map_or(bound, |patience| patience.min(bound));
        most.saturating_sub(now.since(self.since)) + Duration::from_millis(1)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut state = self.gate.state.lock();
        let has_left = state.queue.leave(self.place).is_some();
        self.gate.publish(&state);
        drop(state);
        if !has_left && matches!(self.verdict.try_recv(), Ok(Ok(()))) {
            self.gate.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::class::Class;

    const DEFAULT: Asked = Asked { class: Class::Default, level: 0, patience: None };

    fn gate(limit: u32) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        gate.set(Pace { usual: Duration::from_millis(20), limit }, clock::now());
        gate
    }

    fn admitted(entry: Entry) -> Permit {
        match entry {
            Entry::Admitted(permit) => permit,
            other => panic!("{other:?}"),
        }
    }

    fn waiting(entry: Entry) -> Waiting {
        match entry {
            Entry::Waiting(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_place_that_gets_free_goes_to_who_waits() {
        let gate = gate(1);
        let first = admitted(gate.enter(DEFAULT, clock::now()));
        let mut second = waiting(gate.enter(DEFAULT, clock::now()));
        let mut third = waiting(gate.enter(Asked { class: Class::Critical, ..DEFAULT }, clock::now()));
        assert_eq!((gate.admitted(), gate.waiting(), gate.is_full()), (1, 2, true));
        drop(first);
        let third = third.verdict().await.unwrap();
        assert_eq!((gate.admitted(), gate.waiting()), (1, 1));
        drop(third);
        drop(second.verdict().await.unwrap());
        assert_eq!((gate.admitted(), gate.waiting(), gate.is_full()), (0, 0, false));
    }

    #[tokio::test]
    async fn one_that_leaves_takes_no_place_along() {
        let gate = gate(1);
        let first = admitted(gate.enter(DEFAULT, clock::now()));
        drop(waiting(gate.enter(DEFAULT, clock::now())));
        assert_eq!(gate.waiting(), 0);
        let told = waiting(gate.enter(DEFAULT, clock::now()));
        drop(first);
        assert_eq!(gate.admitted(), 1);
        drop(told);
        assert_eq!(gate.admitted(), 0);
    }

    #[tokio::test]
    async fn one_whose_time_is_over_is_told_so() {
        let gate = gate(1);
        let _first = admitted(gate.enter(DEFAULT, clock::now()));
        let hurried = Asked { patience: Some(Duration::from_millis(20)), ..DEFAULT };
        assert_eq!(waiting(gate.enter(hurried, clock::now())).verdict().await.unwrap_err(), Shed::Deadline);
        let hopeless = Asked { patience: Some(Duration::from_millis(19)), ..DEFAULT };
        assert!(matches!(gate.enter(hopeless, clock::now()), Entry::Refused(Shed::Deadline)));
        assert_eq!(gate.waiting(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_where_nothing_happens() {
        let gate = gate(1);
        let _first = admitted(gate.enter(DEFAULT, clock::now()));
        assert_eq!(waiting(gate.enter(DEFAULT, clock::now())).verdict().await.unwrap_err(), Shed::QueueTimeout);
    }

    #[tokio::test]
    async fn a_higher_limit_lets_in_who_waits() {
        let gate = gate(1);
        let _first = admitted(gate.enter(DEFAULT, clock::now()));
        let mut second = waiting(gate.enter(DEFAULT, clock::now()));
        gate.set(Pace { usual: Duration::from_millis(20), limit: 2 }, clock::now());
        let _second = second.verdict().await.unwrap();
        assert_eq!(gate.admitted(), 2);
    }
}
