//! `protocol` and `http2` of a pool: whether its backends are spoken to by HTTP/2, and how.

use std::time::Duration;

use super::read::Section;
use super::server::TIMEOUT;
use super::value::Value;
use super::{Http2, defaults};

/// The protocols that backends may speak.
const PROTOCOLS: &str = "\"h1\" or \"h2\"";
/// Streams on one connection.
const STREAMS: std::ops::RangeInclusive<u64> = 1..=1000;

/// Reads `protocol` and `http2 = { … }` of a pool; nothing for HTTP/1.1.
pub(super) fn read(pool: &mut Section<'_>) -> Option<Http2> {
    let is_http2 = pool.optional("protocol").is_some_and(|value| is_http2(&value));
    let mut section = pool.section("http2");
    let interval = section.duration("ping_interval", Duration::ZERO..=*TIMEOUT.end(), Duration::ZERO);
    let config = Http2 {
        max_streams: u32::try_from(section.integer("max_streams", STREAMS, defaults::STREAMS)).unwrap_or(u32::MAX),
        ping_interval: (!interval.is_zero()).then_some(interval),
        ping_timeout: section.duration("ping_timeout", TIMEOUT, defaults::PING_TIMEOUT),
    };
    if section.is_present() && !is_http2 {
        section.spot.warning("is not used, since `protocol` is not \"h2\"");
    }
    section.finish();
    is_http2.then_some(config)
}

fn is_http2(value: &Value<'_>) -> bool {
    match value.as_text() {
        Some("h1") => false,
        Some("h2") => true,
        _ => {
            value.expected(PROTOCOLS);
            false
        }
    }
}
