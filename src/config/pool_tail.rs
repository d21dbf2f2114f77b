//! `[pool.tail]`: what is done about requests that fail or come late, and what it may cost.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::read::Section;
use super::value::Value;
use super::{Backend, Retry, defaults};
use crate::tail::hedging::Quantile;
use crate::tail::limit::Limit;
use crate::tail::{backoff, budget, copies, hedging, probation};
use crate::units::Ratio;

/// Requests at one time.
pub(super) const IN_FLIGHT: RangeInclusive<u32> = 1..=1_000_000;

/// What `[pool.tail]` says.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) retry: Retry,
    pub(super) hedge: hedging::Params,
    pub(super) probation: probation::Params,
    pub(super) reported_load: bool,
    pub(super) limit: Limit,
}

/// Reads `[pool.tail]` of a pool with these backends.
pub(super) fn read(mut section: Section<'_>, backends: &[Backend]) -> Tail {
    let retry = retry(section.section("retry"));
    let hedge = match section.section_or_off("hedge") {
        Some(table) => hedge(table, backends, &retry),
        None => switched_off(),
    };
    let probation = match section.section_or_off("probation") {
        Some(table) => probation(table),
        None => probation::Params { enabled: false, ..probation::Params::default() },
    };
    let reported_load = section.boolean("reported_load", true);
    let limit = section.optional("limit").and_then(|value| limit(&value)).unwrap_or_default();
    section.finish();
    Tail { retry, hedge, probation, reported_load, limit }
}

/// `hedge = "off"`: a budget of nothing. Delays are still learned, probation needs them.
fn switched_off() -> hedging::Params {
    let default = hedging::Params::default();
    hedging::Params { copies: copies::Params { budget: Ratio::ZERO, ..default.copies }, ..default }
}

fn hedge(mut section: Section<'_>, backends: &[Backend], retry: &Retry) -> hedging::Params {
    const LONGEST: Duration = Duration::from_secs(60);
    const HALF: RangeInclusive<Ratio> = Ratio::ZERO..=Ratio::percent(50);
    let default = hedging::Params::default();
    let quantile = section.optional("quantile").and_then(|value| quantile(&value));
    let budget = section.ratio("budget", HALF, default.copies.budget);
    let min_delay = section.duration("min_delay", Duration::ZERO..=LONGEST, default.min_delay);
    let longer = default.max_delay.max(min_delay);
    let max_delay = section.duration("max_delay", Duration::from_millis(1)..=LONGEST, longer);
    if max_delay < min_delay {
        section.spot_of("max_delay").error("is shorter than `min_delay`");
    }
    let params = hedging::Params {
        quantile: quantile.unwrap_or(default.quantile),
        copies: copies::Params { budget, burst: section.ratio("burst", HALF, default.copies.burst) },
        min_delay,
        max_delay,
        held_out: section.ratio("held_out", HALF, default.held_out),
        in_flight: section.ratio("in_flight", Ratio::ZERO..=Ratio::ONE, default.in_flight),
    };
    // After a mistake, what only seems to be without effect may not be.
    if section.is_present() && section.spot.report.is_usable() && budget > Ratio::ZERO {
        warn_without_effect(&section, budget, backends, retry);
    }
    section.finish();
    params
}

fn warn_without_effect(section: &Section<'_>, budget: Ratio, backends: &[Backend], retry: &Retry) {
    // A name may stand for several.
    if let [only] = backends
        && only.address.name().is_none()
    {
        section.spot.warning("has no effect, since a copy goes to another backend and the pool has one");
    } else if section.has("budget") && budget > retry.budget.ratio {
        let spot = section.spot_of("budget");
        spot.warning("is more than `retry.budget`, which hedges are paid from as well");
    }
}

/// Reads `"adaptive"`, `"off"` or a number.
fn limit(value: &Value<'_>) -> Option<Limit> {
    let limit = match value.as_text() {
        Some("adaptive") => Some(Limit::Adaptive),
        Some("off") => Some(Limit::Off),
        _ => value.as_integer().and_then(|n| u32::try_from(n).ok()).filter(|n| IN_FLIGHT.contains(n)).map(Limit::Fixed),
    };
    if limit.is_none() {
        let (least, most) = (IN_FLIGHT.start(), IN_FLIGHT.end());
        value.expected(format_args!("\"adaptive\", \"off\" or a whole number from {least} to {most}"));
    }
    limit
}

fn quantile(value: &Value<'_>) -> Option<Quantile> {
    if value.as_text() == Some("auto") {
        return Some(Quantile::Auto);
    }
    let quantile = value.as_number().filter(|quantile| (0.9..=0.999).contains(quantile));
    if quantile.is_none() {
        value.expected("\"auto\" or a number from 0.9 to 0.999");
    }
    quantile.map(Quantile::Fixed)
}

fn probation(mut section: Section<'_>) -> probation::Params {
    const HOUR: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
    let default = probation::Params::default();
    let params = probation::Params {
        enabled: true,
        late: section.ratio("late", Ratio::percent(20)..=Ratio::percent(95), default.late),
        share: section.ratio("share", Ratio::ZERO..=Ratio::percent(50), default.share),
        probes: section.ratio("probes", Ratio::ZERO..=Ratio::percent(10), default.probes),
        ramp: section.duration("ramp", HOUR, default.ramp),
        max_time: section.duration("max_time", HOUR, default.max_time),
    };
    section.finish();
    params
}

fn retry(mut section: Section<'_>) -> Retry {
    let (budget, backoff) = (budget::Params::default(), backoff::Params::default());
    let attempts = section.integer("attempts", 0..=5, defaults::RETRY_ATTEMPTS);
    let ratio = section.ratio("budget", Ratio::ZERO..=Ratio::ONE, budget.ratio);
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
        budget: budget::Params { ratio, min_per_second: min_per_second.unwrap_or(defaults::RETRY_MIN_PER_SECOND) },
        backoff: backoff::Params { base, max },
    }
}
