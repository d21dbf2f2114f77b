//! `health` and `ejection` of a pool: when a backend counts as healthy.

use std::time::Duration;

use super::read::Section;
use super::server::TIMEOUT;
use super::value::Value;
use super::{HealthCheck, HealthQuestion, defaults};
use crate::{tail, uri};

/// Reads `health = { … }`; `None` when it is not written: then there are no active checks. A pool that speaks HTTP/2 may be
/// checked by a gRPC call.
pub(super) fn check(mut section: Section<'_>, is_http2: bool) -> Option<HealthCheck> {
    if !section.is_present() {
        return None;
    }
    let question = match section.optional("grpc") {
        Some(value) => service(&value, is_http2, &section).map(HealthQuestion::Grpc),
        None => section
            .required("path", "a path such as \"/healthz\"")
            .and_then(|value| path(&value))
            .map(HealthQuestion::Get),
    };
    let host = section.optional("host").and_then(|value| host(&value));
    let interval = section.duration("interval", Duration::from_millis(100)..=*TIMEOUT.end(), defaults::HEALTH_INTERVAL);
    let timeout = section.duration("timeout", TIMEOUT, defaults::HEALTH_TIMEOUT.min(interval));
    if timeout > interval {
        section.spot_of("timeout").error("is longer than the interval, so that checks would overlap");
    }
    let expect = section.optional("expect").map(|value| statuses(&value));
    let rise = section.integer("rise", 1..=100, defaults::HEALTH_RISE);
    let fall = section.integer("fall", 1..=100, defaults::HEALTH_FALL);
    section.finish();
    Some(HealthCheck {
        question: question?,
        host,
        interval,
        timeout,
        expect: expect.unwrap_or_else(|| vec![defaults::HEALTH_EXPECT]),
        rise: u32::try_from(rise).unwrap_or(u32::MAX),
        fall: u32::try_from(fall).unwrap_or(u32::MAX),
    })
}

/// The name of a service, or nothing for the server as a whole.
fn service(value: &Value<'_>, is_http2: bool, section: &Section<'_>) -> Option<String> {
    let text = value.text("the name of a service such as \"package.Service\", or \"\" for the server as a whole")?;
    if !is_http2 {
        value.spot.error("is asked by gRPC, which needs `protocol = \"h2\"` in the pool");
        return None;
    }
    for other in ["path", "expect"] {
        if section.has(other) {
            section.spot_of(other).error("is of a check by GET, and this one is by gRPC");
        }
    }
    if text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        value.expected("the name of a service such as \"package.Service\"");
        return None;
    }
    Some(text.to_owned())
}

fn path(value: &Value<'_>) -> Option<String> {
    let text = value.text("a path such as \"/healthz\"")?;
    match uri::normalise(text) {
        Ok(target) if target.authority.is_none() && text.starts_with('/') => Some(match target.query {
            Some(query) => format!("{}?{query}", target.path),
            None => target.path.into_owned(),
        }),
        Ok(_) => {
            value.expected("a path such as \"/healthz\"");
            None
        }
        Err(reason) => {
            value.spot.error(format_args!("{} cannot be requested: {reason}", value.found()));
            None
        }
    }
}

fn host(value: &Value<'_>) -> Option<String> {
    let text = value.text("a host name")?;
    match uri::normalise_host(text) {
        Ok(_) => Some(text.to_owned()),
        Err(reason) => {
            value.spot.error(format_args!("expected a host name, found {}: {reason}", value.found()));
            None
        }
    }
}

/// Reads `200`, `"200"`, `"200-299"`, `"200,204"` or a list of these, into inclusive ranges.
fn statuses(value: &Value<'_>) -> Vec<(u16, u16)> {
    let items = if value.is_list() { value.list("") } else { vec![value.clone()] };
    if items.is_empty() {
        value.expected(EXPECTED);
    }
    items.iter().flat_map(status_ranges).collect()
}

const EXPECTED: &str = "statuses such as 200, \"200-299\" or [\"200\", \"301-302\"], each from 100 to 599";

fn status_ranges(value: &Value<'_>) -> Vec<(u16, u16)> {
    let text = match (value.as_text(), value.as_integer()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => String::new(),
    };
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some((status(low)?, status(high)?)).filter(|(low, high)| low <= high)
    };
    let ranges: Option<Vec<_>> = text.split(',').map(range).collect();
    if ranges.is_none() {
        value.expected(EXPECTED);
    }
    ranges.unwrap_or_default()
}

/// Reads `ejection = { … }`.
pub(super) fn ejection(mut section: Section<'_>) -> tail::health::Params {
    let default = tail::health::Params::default();
    let consecutive = section.integer("consecutive", 0..=1000, u64::from(default.consecutive));
    let time = section.duration("time", TIMEOUT, default.time);
    let max_time = section.duration("max_time", TIMEOUT, default.max_time.max(time));
    if max_time < time {
        section.spot_of("max_time").error("is shorter than `time`, the first ejection");
    }
    section.finish();
    tail::health::Params { consecutive: u32::try_from(consecutive).unwrap_or(u32::MAX), time, max_time }
}
