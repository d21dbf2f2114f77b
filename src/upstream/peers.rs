//! One backend beside its peers: whether it is late, failing or both more than they are, and what that makes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backend::Backend;
use super::pool::{Member, Pool};
use crate::tail::exceedance;
use crate::tail::health::{MayEject, State};
use crate::tail::hedging::Asked;
use crate::tail::probation::Room;
use crate::tail::signals::Kind;
use crate::units::Tick;

/// Above this share of its last answers a backend's errors are its own: two in a row are.
const OFTEN: f32 = 0.3;

impl Pool {
    /// What is to be known of the pool where a late request asks for a copy.
    pub fn asked(&self, age: Duration, delay: Duration, waiting: u32, now: Tick) -> Asked {
        let members = self.members.load();
        Asked {
            age,
            delay,
            waiting,
            in_flight: members.iter().map(|m| m.backend.signals().in_flight.count()).sum(),
            copies: self.copies.load(Ordering::Relaxed),
            queueing: self.is_queueing(),
            all_slow: self.late.is_all_slow(now),
        }
    }

    /// The member on probation that a request may now be copied to, if there is one.
    pub fn probed(&self, now: Tick) -> Option<Arc<Member>> {
        let share = self.config().probation.probes;
        let members = self.members.load();
        // The gate last: it counts who is let through.
        let tried = |m: &&Arc<Member>| {
            m.backend.state(now) == State::Probation
                && m.backend.admits(Kind::Probe, 0.0, now)
                && m.backend.signals().probes.admit(share)
        };
        members.iter().find(tried).cloned()
    }

    /// Takes it that an attempt at `backend` was late or in time.
    pub(super) fn judge(&self, backend: &Backend, late: Option<bool>, now: Tick) {
        let Some(late) = late else { return };
        self.late.observe(late, now);
        let in_time = self.in_time.fetch_add(u64::from(!late), Ordering::Relaxed);
        let run = &backend.signals().late_run;
        if !late && !backend.is_suspected() {
            run.over();
            return;
        }
        if late {
            run.bad(in_time);
        }
        let members = self.members.load();
        let (mut shares, mut out) = (Vec::with_capacity(members.len()), 0);
        for member in members.iter() {
            let is_out = matches!(member.backend.state(now), State::Ejected(_) | State::Probation);
            out += usize::from(is_out);
            if !is_out && member.backend.address() != backend.address() {
                shares.push(member.backend.signals().late.share(now));
            }
        }
        // Where requests queue, being late says more of how many there are than of the backend.
        let room = match run.is_enough(in_time) && !self.is_queueing() {
            true => Room::of(members.len(), out, self.config().probation.share),
            false => Room::None,
        };
        backend.timed(late, exceedance::mean(shares.into_iter()), room, now);
    }

    /// Takes it that `backend` gave no answer.
    pub(super) fn failed(&self, backend: &Backend, now: Tick) {
        let (others, _) = self.others(backend, now);
        backend.failed(MayEject::others(others, 0.0), now);
    }

    /// Takes it that `backend` answered, and not that it cannot.
    pub(super) fn succeeded(&self, backend: &Backend, now: Tick) {
        self.good.fetch_add(1, Ordering::Relaxed);
        backend.signals().error_run.over();
        backend.succeeded(now);
    }

    /// Takes it that `backend` answered that it cannot. That may be about the request: it counts only if its peers do
    /// better.
    pub(super) fn errored(&self, backend: &Backend, now: Tick) {
        let (others, failing) = self.others(backend, now);
        let may = MayEject::others(others, failing);
        // One error is as likely the request's fault; to shun its backend for it would send all load to the others. More
        // of them must, heard or not: errors come fast, and who seems fast draws all requests, so that nobody else is heard.
        let fails_often = backend.signals().failing.share(now) > OFTEN;
        if fails_often && may != MayEject::PeersFail {
            backend.signals().penalise(Duration::ZERO, self.usual(), now);
        }
        let (run, good) = (&backend.signals().error_run, self.good.load(Ordering::Relaxed));
        run.bad(good);
        let may = match may {
            MayEject::Yes if !run.is_enough(good) => MayEject::PeersFail,
            may => may,
        };
        backend.failed(may, now);
    }

    /// How many others may be used, and the mean share of their attempts that fail.
    fn others(&self, backend: &Backend, now: Tick) -> (usize, f32) {
        let members = self.members.load();
        let others = members
            .iter()
            .filter(|m| m.backend.address() != backend.address() && !matches!(m.backend.state(now), State::Ejected(_)));
        let failing = exceedance::mean(others.clone().map(|m| m.backend.signals().failing.share(now)));
        (others.count(), failing)
    }
}
