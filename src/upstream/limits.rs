//! How many requests a pool's backends may have: the sum of what each bears, looked at ten times a second.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::gate::Entry;
use super::pool::{Member, Pool};
use crate::tail::health::State;
use crate::tail::limit::{self, Limit, REVIEW};
use crate::tail::queue::{Asked, Pace};
use crate::units::Tick;

impl Pool {
    /// Asks for a place at the pool's backends.
    pub fn admit(&self, asked: Asked, now: Tick) -> Entry {
        self.review(now);
        self.gate().enter(asked, now)
    }

    /// Whether more comes than may go: no time for copies or retries.
    pub fn is_queueing(&self) -> bool {
        self.gate().waiting() > 0
    }

    /// Looks at the limits, if it is time.
    pub(super) fn review(&self, now: Tick) {
        let last = self.reviewed.load(Ordering::Relaxed);
        let is_due = now.since(Tick::from_nanos(last)) >= REVIEW;
        if !is_due
            || self.reviewed.compare_exchange(last, now.as_nanos(), Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let members = self.members();
        let usable =
            |member: &&std::sync::Arc<Member>| matches!(member.backend.state(now), State::Healthy | State::Recovering);
        let mut knees: Vec<f32> = members.iter().filter_map(|member| member.backend.knee()).collect();
        knees.sort_unstable_by(f32::total_cmp);
        let usual = knees.get(knees.len() / 2).copied();
        members.iter().for_each(|member| member.backend.review_limit(usual, now));
        if self.is_queueing() && self.config().limit == Limit::Adaptive {
            let lacking = members.iter().filter(usable).filter_map(|m| Some((m, m.backend.lacks_contrast(now)?)));
            limit::to_dip(lacking).into_iter().for_each(|member| member.backend.dip_limit(now));
        }
        let (mut learned, mut hard, mut count) = (0.0, 0_u32, 0_u32);
        let mut usual = Duration::ZERO;
        for member in members.iter().filter(usable) {
            let most = member.max_in_flight.unwrap_or(u32::MAX);
            learned += member.backend.limit().min(most as f32);
            hard = hard.saturating_add(most);
            usual += member.backend.usual().unwrap_or_default();
            count += 1;
        }
        let limit = match self.config().limit {
            // With nobody to ask there is nothing to wait for.
            _ if count == 0 => u32::MAX,
            Limit::Off => hard,
            Limit::Fixed(most) => most.min(hard),
            Limit::Adaptive => hard.min(limit::of_pool(learned)),
        };
        self.gate().set(Pace { usual: usual / count.max(1), limit }, now);
    }
}
