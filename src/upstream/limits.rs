//! How many requests a pool's backends may have: the sum of what each bears, looked at ten times a second.

use std::sync::Arc;
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

    /// Whether a member other than those in `tried` could be asked, had it not as many requests as it may have.
    pub fn has_busy(&self, tried: &[Arc<Member>], now: Tick) -> bool {
        let is_busy = |member: &&Arc<Member>| {
            member.max_in_flight.is_some_and(|most| member.backend.working() >= most)
                && !matches!(member.backend.state(now), State::Ejected(_))
                && !tried.iter().any(|tried| Arc::ptr_eq(&tried.backend, &member.backend))
        };
        self.members().iter().any(|member| is_busy(&member))
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
        self.look(now);
    }

    /// Lets the pool's own limits hold from now on: its configuration was put in use. Those who wait already might else
    /// wait in vain for a place that there is.
    pub fn take_effect(&self, now: Tick) {
        self.reviewed.store(now.as_nanos(), Ordering::Relaxed);
        self.look(now);
    }

    fn look(&self, now: Tick) {
        let members = self.members();
        let usable = |member: &&Arc<Member>| matches!(member.backend.state(now), State::Healthy | State::Recovering);
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
            // What is left out for a backend that says "not now" is not to be its peers' on top of what they bear.
            let share = 1.0 - member.backend.throttle(now) as f32;
            learned += member.backend.limit().min(most as f32) * share;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::parse_str;
    use crate::tail::class::Class;
    use crate::telemetry::Metrics;

    const ASKED: Asked = Asked { class: Class::Default, level: 0, patience: None };

    fn pool(keys: &str, before: Option<&Pool>) -> Arc<Pool> {
        let text = format!(
            "[[pool]]\nname = \"a\"\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n{keys}\n[[route]]\npool = \"a\"\n"
        );
        let config = parse_str("t", &text).unwrap().config.pools[0].clone();
        let pool = Pool::new(config, before, &Metrics::new(), Tick::from_nanos(0)).unwrap();
        pool.take_effect(Tick::from_nanos(0));
        pool
    }

    #[test]
    fn a_limit_holds_from_the_first_request_on() {
        for (keys, limit) in [
            ("tail = { limit = 3 }", Some(3)),
            ("tail = { limit = 3 }\nmax_in_flight = 1", Some(2)),
            ("tail = { limit = \"off\" }\nmax_in_flight = 4", Some(8)),
            ("tail = { limit = \"off\" }", None),
            ("", None),
        ] {
            assert_eq!(pool(keys, None).gate().limit(), limit, "{keys}");
        }
    }

    #[test]
    fn a_new_limit_is_of_use_to_those_who_wait_already() {
        let before = pool("tail = { limit = 1 }", None);
        let entries: Vec<Entry> = (0..5).map(|_| before.admit(ASKED, Tick::from_nanos(0))).collect();
        assert_eq!((before.gate().admitted(), before.gate().waiting()), (1, 4));
        let after = pool("tail = { limit = 3 }", Some(&before));
        assert_eq!((after.gate().admitted(), after.gate().waiting()), (3, 2));
        drop(entries);
        assert_eq!((after.gate().admitted(), after.gate().waiting()), (0, 0));
    }
}
