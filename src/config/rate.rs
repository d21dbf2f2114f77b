//! `rate` of a route or profile: how many requests are admitted, of each client and of all.

use super::read::Section;
use crate::tail::rate::{Params, Quota, Rate};

/// Reads `{ per_client = "20/s", client_burst = 40, total = "500/s", burst = 1000 }`.
pub(super) fn read(mut section: Section<'_>) -> Option<Params> {
    let client = quota(&mut section, "per_client", "client_burst");
    let total = quota(&mut section, "total", "burst");
    if !section.has("per_client") && !section.has("total") {
        section.spot.error("limits nothing, expected `per_client` or `total` in it, or \"off\"");
    }
    section.finish();
    Some(Params { client, total })
}

/// A rate with its burst, which is one second's worth where nothing is said.
fn quota(section: &mut Section<'_>, rate: &'static str, burst: &'static str) -> Option<Quota> {
    let found = section.optional(rate).and_then(|value| value.rate());
    let saved = section.optional(burst).and_then(|value| value.integer(1..=Rate::MAX.into()));
    if section.has(burst) && !section.has(rate) {
        section.spot_of(burst).error(format_args!("is the burst of `{rate}`, which is missing"));
    }
    let rate = found?;
    let saved = saved.and_then(|burst| u32::try_from(burst).ok());
    Some(Quota { rate, burst: saved.unwrap_or(rate.in_a_second()) })
}
