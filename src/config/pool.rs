//! `[[pool]]`: backends that serve the same content, and how they are asked.

use std::time::Duration;

use super::read::{Located, Section};
use super::server::TIMEOUT;
use super::{Pool, Retry, UpstreamTimeouts, backend, defaults, health, reserved};
use crate::tail;

/// Reads one `[[pool]]`; `None` when it has no usable name, under which alone it could be referred to.
pub(super) fn read<'a>(mut section: Section<'a>) -> Option<Located<'a, Pool>> {
    let name = section.required("name", "a name for routes to refer to").and_then(|value| super::name(&value));
    let backends = section.required("backends", "a list of backends such as [\"127.0.0.1:8001\"]");
    let tls = section.section("tls");
    let (retry, reported_load) = tail(section.section("tail"));
    let pool = Pool {
        name: name.clone().unwrap_or_default(),
        backends: backends.map(|value| backend::backends(&value)).unwrap_or_default(),
        health: health::check(section.section("health")),
        ejection: health::ejection(section.section("ejection")),
        slow_start: section.duration("slow_start", Duration::ZERO..=Duration::from_secs(3600), defaults::SLOW_START),
        timeouts: timeouts(section.section("timeouts")),
        keepalive: section.boolean("keepalive", true),
        tell_deadline: section.boolean("tell_deadline", true),
        tls: tls.is_present().then(|| backend::tls(tls)),
        retry,
        hedge: tail::hedging::Params::default(),
        probation: tail::probation::Params::default(),
        reported_load,
    };
    let spot = section.spot_of("name");
    section.finish();
    name.map(|_| Located { value: pool, spot })
}

fn timeouts(mut section: Section<'_>) -> UpstreamTimeouts {
    let timeouts = UpstreamTimeouts {
        connect: section.duration("connect", TIMEOUT, defaults::CONNECT),
        first_byte: section.duration("first_byte", TIMEOUT, defaults::FIRST_BYTE),
        between_bytes: section.duration("between_bytes", TIMEOUT, defaults::BETWEEN_BYTES),
        write: section.duration("write", TIMEOUT, defaults::UPSTREAM_WRITE),
        total: section.duration("total", TIMEOUT, defaults::TOTAL),
        idle: section.duration("idle", TIMEOUT, defaults::UPSTREAM_IDLE),
    };
    section.finish();
    timeouts
}

fn tail(mut section: Section<'_>) -> (Retry, bool) {
    let retry = retry(section.section("retry"));
    let reported_load = section.boolean("reported_load", true);
    reserved::pool_tail(&mut section);
    section.finish();
    (retry, reported_load)
}

fn retry(mut section: Section<'_>) -> Retry {
    let (budget, backoff) = (tail::budget::Params::default(), tail::backoff::Params::default());
    let attempts = section.integer("attempts", 0..=5, defaults::RETRY_ATTEMPTS);
    let ratio = section.optional("budget").and_then(|value| value.ratio());
    let min_per_second = section.optional("min_per_second").and_then(|value| {
        let number = value.as_number().filter(|number| (0.0..=1000.0).contains(number));
        if number.is_none() {
            value.expected("a number from 0 to 1000");
        }
        number
    });
    let base = section.duration("backoff", Duration::ZERO..=Duration::from_secs(60), backoff.base);
    let max = section.duration("max_backoff", Duration::ZERO..=Duration::from_secs(60), backoff.max.max(base));
    if max < base {
        section.spot_of("max_backoff").error("is shorter than `backoff`, the first wait");
    }
    section.finish();
    Retry {
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        budget: tail::budget::Params {
            ratio: ratio.unwrap_or(budget.ratio),
            min_per_second: min_per_second.unwrap_or(defaults::RETRY_MIN_PER_SECOND),
        },
        backoff: tail::backoff::Params { base, max },
    }
}
