//! What wakes a connection besides its client: a time, and the end of the edge.
//!
//! A connection that serves hits is woken a hundred thousand times a second, and waits for a minute at the most each time.
//! A timer set and taken back on each of these, and a place in the queue of those who want to hear of the end, would cost
//! more than the answer. So both stay as they are: the alarm, which then rings too early once a minute and is set anew, and
//! the place in the queue. Neither is looked at unless there is reason to.

use std::pin::Pin;
use std::task::{Context, Waker};

use tokio::time::{Instant, Sleep, sleep};

use crate::edge::{Edge, Phase};
use crate::units::Tick;

/// What is over when the edge's phase has changed.
type Change = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One connection's.
#[derive(Default)]
pub(super) struct Vigil {
    alarm: Option<(Tick, Pin<Box<Sleep>>)>,
    change: Option<(Phase, Change)>,
    /// Whom the two will wake.
    waker: Option<Waker>,
}

impl Vigil {
    /// Sees to it that the task is woken at `until` or before, and when the edge's phase changes. `now` is now.
    pub(super) fn keep(&mut self, cx: &mut Context<'_>, edge: &Edge, now: Tick, until: Tick) {
        let is_same = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !is_same {
            self.waker = Some(cx.waker().clone());
        }
        self.set_alarm(cx, is_same, now, until);
        let phase = edge.phase();
        match &mut self.change {
            Some((seen, _)) if *seen == phase && is_same => {}
            Some((seen, change)) if *seen == phase => wake_if_ready(cx, change.as_mut()),
            _ => {
                let mut change: Change = Box::pin(edge.phase_after(phase));
                wake_if_ready(cx, change.as_mut());
                self.change = Some((phase, change));
            }
        }
    }

    fn set_alarm(&mut self, cx: &mut Context<'_>, is_same: bool, now: Tick, until: Tick) {
        let left = until.since(now);
        match &mut self.alarm {
            Some((at, _)) if is_same && now < *at && *at <= until => {}
            Some((at, sleep)) => {
                if now >= *at || *at > until {
                    *at = until;
                    sleep.as_mut().reset(Instant::now() + left);
                }
                wake_if_ready(cx, sleep.as_mut());
            }
            None => {
                let mut sleep = Box::pin(sleep(left));
                wake_if_ready(cx, sleep.as_mut());
                self.alarm = Some((until, sleep));
            }
        }
    }
}

/// Leaves the task's waker with the future; what is over already wakes at once.
fn wake_if_ready(cx: &mut Context<'_>, future: Pin<&mut (impl Future + ?Sized)>) {
    if future.poll(cx).is_ready() {
        cx.waker().wake_by_ref();
    }
}
