//! One trouble of one backend, from its beginning to its end, in numbers and in words.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::incidents::Seen;
use super::seconds;
use super::trouble::Trouble;
use crate::admin::thousandths;
use crate::telemetry::PoolCounts;
use crate::units::Tick;

/// A backend's trouble.
#[derive(Clone, Debug)]
pub(super) struct Story {
    number: u64,
    pool: String,
    backend: String,
    /// The worst it came to, and why.
    worst: Trouble,
    reason: Option<&'static str>,
    /// Now; `None` while it is calm.
    trouble: Option<Trouble>,
    since: SystemTime,
    began: Tick,
    ended: Option<(SystemTime, Tick)>,
    usual_share: Option<f64>,
    share: Option<f64>,
    p99: Option<f64>,
    peers_p99: Option<f64>,
    clients_p99: Option<f64>,
    unhedged_p99: Option<f64>,
    before: PoolCounts,
    done: PoolCounts,
}

impl Story {
    /// Begins one, the `number`th, of a backend of a pool, both named by `key`.
    pub(super) fn begin(
        number: u64,
        key: (String, String),
        since: SystemTime,
        usual_share: Option<f64>,
        seen: &Seen,
        now: Tick,
    ) -> Story {
        Story {
            number,
            pool: key.0,
            backend: key.1,
            worst: seen.trouble.unwrap_or(Trouble::Slow),
            reason: seen.reason,
            trouble: seen.trouble,
            since,
            began: now,
            ended: None,
            usual_share,
            share: None,
            p99: None,
            peers_p99: None,
            clients_p99: None,
            unhedged_p99: None,
            before: seen.before,
            done: PoolCounts::default(),
        }
    }

    /// Takes in one more second.
    pub(super) fn go_on(&mut self, seen: &Seen, now: Tick) {
        if seen.trouble >= Some(self.worst) {
            self.worst = seen.trouble.unwrap_or(self.worst);
            self.reason = seen.reason.or(self.reason);
            self.peers_p99 = seen.peers_p99.or(self.peers_p99);
            self.share = seen.share;
        }
        self.trouble = seen.trouble;
        self.p99 = worse(self.p99, seen.p99);
        self.clients_p99 = worse(self.clients_p99, seen.clients_p99);
        self.unhedged_p99 = worse(self.unhedged_p99, seen.unhedged_p99);
        // What the pool does once it is calm again is not this story's.
        if seen.trouble.is_some() || self.began == now {
            self.done = seen.counts.since(&self.before);
        }
    }

    /// Ends it.
    pub(super) fn end(&mut self, time: SystemTime, now: Tick) {
        self.trouble = None;
        self.ended = Some((time, now));
    }

    /// Counts from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether it is over.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// It as the page shows it.
    pub(super) fn view(&self, now: Tick) -> Value {
        let end = self.ended.map_or(now, |(_, at)| at);
        json!({
            "number": self.number,
            "pool": self.pool,
            "backend": self.backend,
            "trouble": self.worst.as_str(),
            "reason": self.reason,
            "now": self.trouble.map(Trouble::as_str),
            "since": seconds(self.since),
            "ended": self.ended.map(|(time, _)| seconds(time)),
            "lasts_seconds": end.since(self.began).as_secs(),
            "what": self.what(),
            "did": self.did(),
            "cost": self.cost(),
            "share": self.share.map(thousandths),
            "usual_share": self.usual_share.map(thousandths),
            "p99_ms": self.p99,
            "peers_p99_ms": self.peers_p99,
            "clients_p99_ms": self.clients_p99,
            "clients_p99_without_hedging_ms": self.unhedged_p99,
            "hedges": self.done.hedges,
            "hedges_won": self.done.hedges_won,
            "probes": self.done.probes,
            "retries": self.done.retries,
            "shed": self.done.shed,
            "extra_share": self.extra().map(thousandths),
            "wasted_seconds": thousandths(self.done.wasted),
        })
    }

    fn what(&self) -> String {
        let was = if self.has_ended() { "was" } else { "is" };
        let mut what = match self.worst {
            Trouble::Ejected => {
                let reason = self.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                format!("{was} taken out{reason}")
            }
            Trouble::Probation => format!("{was} slower than its peers"),
            Trouble::Slow => format!("{was} late far more often than its peers"),
            Trouble::Throttled => "says \"not now\"".to_owned(),
            Trouble::Recovering => format!("{was} let back in"),
        };
        if let (Some(own), Some(peers)) = (self.p99, self.peers_p99) {
            what += &format!(": its p99 {was} {}, its peers' {}", millis(own), millis(peers));
        }
        what
    }

    /// What was done about it, a sentence each.
    fn did(&self) -> Vec<String> {
        let done = &self.done;
        let mut did = Vec::new();
        if let Some(share) = self.share {
            let gets = if self.has_ended() { "got" } else { "gets" };
            let before = self.usual_share.map(|usual| format!(", {} before", percent(usual)));
            did.push(format!("it {gets} {} of the pool's requests{}", percent(share), before.unwrap_or_default()));
        }
        if done.hedges > 0 {
            let won = done.hedges_won;
            did.push(format!("{} copied to others, {won} answered by the copy", late(done.hedges)));
        }
        if done.probes > 0 {
            did.push(format!("{} sent to try it", count(done.probes, "copy", "copies")));
        }
        if done.retries > 0 {
            did.push(format!("{} made elsewhere", count(done.retries, "retry", "retries")));
        }
        if let Some(with) = self.clients_p99 {
            // Both are estimates over windows of their own; where nothing was cut off there is nothing to say.
            let without = self.unhedged_p99.filter(|without| *without > with);
            let without = without.map(|without| format!(", {} without hedging", millis(without)));
            did.push(format!("clients' p99 {} at most{}", millis(with), without.unwrap_or_default()));
        }
        did
    }

    /// What that cost, a sentence each.
    fn cost(&self) -> Vec<String> {
        let done = &self.done;
        let mut cost = Vec::new();
        if let Some(extra) = self.extra() {
            cost.push(format!("{} more attempts", percent(extra)));
        }
        if done.wasted > 0.0 {
            let wasted = Duration::from_millis((done.wasted * 1e3) as u64);
            cost.push(format!("{:.1} s of backends' time for answers not used", wasted.as_secs_f64()));
        }
        if done.hedges_unpaid > 0 {
            cost.push(format!("{} got no copy at once, the budget was spent", late(done.hedges_unpaid)));
        }
        cost.push(match done.shed {
            0 => "no request shed".to_owned(),
            shed => format!("{} shed", count(shed, "request", "requests")),
        });
        cost
    }

    /// Attempts that are no client's first, for each that is.
    fn extra(&self) -> Option<f64> {
        let first = self.done.attempts.saturating_sub(self.done.extra);
        (first > 0).then(|| self.done.extra as f64 / first as f64)
    }
}

fn worse(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    [one, other].into_iter().flatten().reduce(f64::max)
}

fn late(n: u64) -> String {
    count(n, "late request", "late requests")
}

fn count(n: u64, one: &str, more: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { more })
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 1e2)
}

fn millis(ms: f64) -> String {
    match ms {
        ms if ms >= 1e4 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}
