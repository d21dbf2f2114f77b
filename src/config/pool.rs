//! `[[pool]]`: backends that serve the same content, and how they are asked.

use std::time::Duration;

use super::read::{Located, Section};
use super::server::TIMEOUT;
use super::{Pool, UpstreamTimeouts, backend, defaults, health, http2, pool_tail};

/// Reads one `[[pool]]`; `None` when it has no usable name, under which alone it could be referred to.
pub(super) fn read<'a>(mut section: Section<'a>) -> Option<Located<'a, Pool>> {
    let name = section.required("name", "a name for routes to refer to").and_then(|value| super::name(&value));
    let backends = section.required("backends", "a list of backends such as [\"127.0.0.1:8001\"]");
    let backends = backends.map(|value| backend::backends(&value)).unwrap_or_default();
    let tls = section.section("tls");
    let tail = pool_tail::read(section.section("tail"), &backends);
    let http2 = http2::read(&mut section);
    let keepalive = section.boolean("keepalive", true);
    if http2.is_some() && !keepalive {
        section
            .spot_of("keepalive")
            .error("cannot be false with `protocol = \"h2\"`, whose connections are shared by requests");
    }
    let max_in_flight = section.optional("max_in_flight").and_then(|value| backend::max_in_flight(&value));
    let pool = Pool {
        name: name.clone().unwrap_or_default(),
        backends,
        health: health::check(section.section("health"), http2.is_some()),
        ejection: health::ejection(section.section("ejection")),
        slow_start: section.duration("slow_start", Duration::ZERO..=Duration::from_secs(3600), defaults::SLOW_START),
        timeouts: timeouts(section.section("timeouts")),
        keepalive,
        tell_deadline: section.boolean("tell_deadline", true),
        http2,
        tls: tls.is_present().then(|| backend::tls(tls)),
        retry: tail.retry,
        hedge: tail.hedge,
        probation: tail.probation,
        reported_load: tail.reported_load,
        limit: tail.limit,
        max_in_flight,
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
