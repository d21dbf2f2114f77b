//! A timer that keeps its time to some tens of microseconds. Tokio's round up to the next millisecond, and two of them in
//! each request, one at the load and one at a backend, would be most of what this bench adds to a latency.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// A thread that wakes whoever waits for a moment; it lasts as long as the bench.
pub(crate) struct Timer {
    waiting: Mutex<BinaryHeap<Reverse<Wait>>>,
    earlier: Condvar,
}

struct Wait {
    until: Instant,
    wake: oneshot::Sender<()>,
}

impl Timer {
    pub(crate) fn start() -> Arc<Timer> {
        let timer = Arc::new(Timer { waiting: Mutex::default(), earlier: Condvar::new() });
        let own = timer.clone();
        std::thread::spawn(move || own.run());
        timer
    }

    /// Waits until then.
    pub(crate) async fn until(&self, until: Instant) {
        let (wake, woken) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting.lock();
            let first = waiting.peek().is_none_or(|Reverse(next)| until < next.until);
            waiting.push(Reverse(Wait { until, wake }));
            first
        };
        if first {
            self.earlier.notify_one();
        }
        // The thread never ends, so this is not an error.
        let _woken = woken.await;
    }

    fn run(&self) {
        let mut waiting = self.waiting.lock();
        loop {
            let now = tokio::time::Instant::now().into_std();
            match waiting.peek() {
                None => self.earlier.wait(&mut waiting),
                Some(Reverse(next)) if next.until > now => {
                    let until = next.until;
                    self.earlier.wait_until(&mut waiting, until);
                }
                Some(_) => {
                    if let Some(Reverse(due)) = waiting.pop() {
                        // Whoever waited may have gone.
                        let _gone = due.wake.send(());
                    }
                }
            }
        }
    }
}

impl PartialEq for Wait {
    fn eq(&self, other: &Wait) -> bool {
        self.until == other.until
    }
}

impl Eq for Wait {}

impl PartialOrd for Wait {
    fn partial_cmp(&self, other: &Wait) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Wait {
    fn cmp(&self, other: &Wait) -> std::cmp::Ordering {
        self.until.cmp(&other.until)
    }
}
