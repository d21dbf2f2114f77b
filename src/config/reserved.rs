//! Keys of the contract that this version does not act on.
//!
//! A configuration may already carry them: their form is checked, and each use is told, since a knob that turns nothing
//! is worse than one that is missing. Whoever builds one of these lifts its function out of this file.

use std::time::Duration;

use super::read::Section;
use super::value::Value;
use crate::units::Ratio;

const UNUSED: &str = "accepted, but this version does not act on it";

/// `hedge` and `limit` of `[pool.tail]`.
pub(super) fn pool_tail(section: &mut Section<'_>) {
    if let Some(value) = section.optional("hedge") {
        value.spot.warning(UNUSED);
        if let Some(table) = value.section() {
            hedge(table);
        }
    }
    if let Some(value) = section.optional("limit") {
        value.spot.warning(UNUSED);
        value.word(&[("adaptive", ()), ("off", ())]);
    }
}

fn hedge(mut section: Section<'_>) {
    const DELAY: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);
    if let Some(value) = section.optional("quantile") {
        let is_quantile = value.as_number().is_some_and(|q| (0.9..=0.999).contains(&q));
        if value.as_text() != Some("auto") && !is_quantile {
            value.expected("\"auto\" or a number from 0.9 to 0.999");
        }
    }
    let _: Option<Ratio> = section.optional("budget").and_then(|value| value.ratio());
    let min_delay = section.duration("min_delay", DELAY, Duration::ZERO);
    let max_delay = section.duration("max_delay", DELAY, *DELAY.end());
    if max_delay < min_delay {
        section.spot_of("max_delay").error("is shorter than `min_delay`");
    }
    section.finish();
}

/// `priority` and `priority_header` of a route or profile.
pub(super) fn route_priority(section: &mut Section<'_>) {
    if let Some(value) = section.optional("priority") {
        value.spot.warning(UNUSED);
        value.word(&[("critical", ()), ("default", ()), ("sheddable", ())]);
    }
    if let Some(value) = section.optional("priority_header") {
        value.spot.warning(UNUSED);
        let is_field = value.as_text().is_some_and(|text| http::HeaderName::try_from(text).is_ok());
        if !is_field {
            value.expected("the name of a header field such as \"X-Priority\"");
        }
    }
}

/// `if_slow` of `stale`: a quantile such as `"p95"`.
pub(super) fn stale_if_slow(section: &mut Section<'_>) {
    if let Some(value) = section.optional("if_slow") {
        value.spot.warning(UNUSED);
        if !is_quantile(&value) {
            value.expected("a quantile from \"p50\" to \"p99.9\", such as \"p95\"");
        }
    }
}

fn is_quantile(value: &Value<'_>) -> bool {
    let digits = value.as_text().and_then(|text| text.strip_prefix('p')).unwrap_or("");
    let is_plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    is_plain && digits.parse::<f64>().is_ok_and(|q| (50.0..=99.9).contains(&q))
}
