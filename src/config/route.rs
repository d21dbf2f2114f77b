//! `[[route]]` and `[profile.NAME]`: what is matched, and what then holds.

use super::policy::Policy;
use super::read::{Located, Section, Spot};
use super::value::Value;
use crate::routing::{BadPattern, HostPattern, PathPattern};

/// A route as written: names not yet looked up, the profile not yet applied.
#[derive(Debug)]
pub(super) struct Written<'a> {
    /// `name`, or made from the match.
    pub(super) name: String,
    pub(super) name_spot: Spot<'a>,
    pub(super) is_named: bool,
    pub(super) host: HostPattern,
    pub(super) path: PathPattern,
    /// Where the match stands.
    pub(super) match_spot: Spot<'a>,
    /// Whether host and path could be read; if not, the two above are made up.
    pub(super) is_matched: bool,
    pub(super) pool: Option<Located<'a, &'a str>>,
    /// Whether `pool` was written at all, readable or not.
    pub(super) has_pool: bool,
    pub(super) profile: Option<Located<'a, &'a str>>,
    pub(super) policy: Policy,
    pub(super) spot: Spot<'a>,
}

/// Reads one `[[route]]`.
pub(super) fn read<'a>(mut section: Section<'a>) -> Written<'a> {
    let name = section.optional("name").map(|value| label(&value));
    let match_spot = if section.has("match") { section.spot_of("match") } else { section.spot.clone() };
    let mut matching = section.section("match");
    let host = pattern(matching.optional("host"), "a host such as \"shop.example\"", HostPattern::parse);
    let path = pattern(matching.optional("path"), "a path such as \"/static/**\"", PathPattern::parse);
    matching.finish();
    let is_matched = host.is_ok() && path.is_ok();
    let host = host.unwrap_or(None).unwrap_or(HostPattern::Any);
    let path = path.unwrap_or(None).unwrap_or(PathPattern::Any);
    let is_named = name.is_some();
    let route = Written {
        name: name.flatten().unwrap_or_else(|| name_of(&host, &path)),
        name_spot: section.spot_of("name"),
        is_named,
        host,
        path,
        match_spot,
        is_matched,
        has_pool: section.has("pool"),
        pool: reference(section.optional("pool"), "the name of a pool"),
        profile: reference(section.optional("profile"), "the name of a profile"),
        policy: Policy::read(&mut section),
        spot: section.spot.clone(),
    };
    section.finish();
    route
}

/// The name of a route that has none: its match, or `default`.
pub(super) fn name_of(host: &HostPattern, path: &PathPattern) -> String {
    match (host, path) {
        (HostPattern::Any, PathPattern::Any) => "default".to_owned(),
        (HostPattern::Any, path) => path.to_string(),
        (host, PathPattern::Any) => host.to_string(),
        (host, path) => format!("{host}{path}"),
    }
}

/// A pattern, if written; `Err` when it is and cannot be read.
fn pattern<T>(
    value: Option<Value<'_>>,
    expected: &str,
    parse: impl Fn(&str) -> Result<T, BadPattern>,
) -> Result<Option<T>, ()> {
    let Some(value) = value else { return Ok(None) };
    let text = value.text(expected).ok_or(())?;
    parse(text).map(Some).map_err(|bad| {
        let message = format!("{} cannot be used, {bad}", value.found());
        match bad.hint() {
            Some(hint) => value.spot.error_with(message, hint),
            None => value.spot.error(message),
        }
    })
}

fn reference<'a>(value: Option<Value<'a>>, expected: &str) -> Option<Located<'a, &'a str>> {
    let value = value?;
    Some(Located { value: value.text(expected)?, spot: value.spot })
}

/// A route's name: a label of metrics and logs, so what a name made from a match can hold.
fn label(value: &Value<'_>) -> Option<String> {
    let expected = "a name of visible ASCII characters but quotes, at most 128 long";
    let text = value.text(expected)?;
    let is_fine = (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\'));
    if !is_fine {
        value.expected(expected);
        return None;
    }
    Some(text.to_owned())
}

/// Reads the tables of `[profile.NAME]`.
pub(super) fn profiles<'a>(value: Value<'a>) -> Vec<(&'a str, Located<'a, Policy>)> {
    let Some(mut section) = value.section() else { return Vec::new() };
    let read = |(name, value): (&'a str, Value<'a>)| {
        if !super::is_name(name) {
            value.spot.error(format_args!("is not usable as a name, expected {}", super::NAME));
        }
        let spot = value.spot.clone();
        let mut section = value.with_schema("route").section()?;
        for key in ["name", "match", "pool", "profile"] {
            if let Some(value) = section.optional(key) {
                value.spot.error(
                    "belongs to a route, expected only policy (timeout, max_body, priority, priority_header, hedge, rescue, grpc, rate, cache) in a profile",
                );
            }
        }
        let policy = Policy::read(&mut section);
        section.finish();
        Some((name, Located { value: policy, spot }))
    };
    section.entries().into_iter().filter_map(read).collect()
}
