//! Keys of the contract that this version does not act on.
//!
//! A configuration may already carry them: their form is checked, and each use is told, since a knob that turns nothing
//! is worse than one that is missing. Whoever builds one of these lifts its function out of this file.

use super::read::Section;

const UNUSED: &str = "accepted, but this version does not act on it";

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
