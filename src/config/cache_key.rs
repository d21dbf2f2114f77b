//! `key` of a route's cache: what tells requests apart.

use http::HeaderName;

use super::read::Section;
use super::value::Value;
use crate::cache::{device, key, query};
use crate::uri;

const TEMPLATE: &str = "a template such as \"{scheme}{host}{path}{query}{header:X-Tenant}{cookie:currency}{device}\"";

/// What a template adds to scheme, host and path, which every key has.
#[derive(Debug, Default)]
struct Template {
    query: bool,
    device: bool,
    headers: Vec<HeaderName>,
    cookies: Vec<String>,
}

/// Reads `key = { template, query, host, device }`.
pub(super) fn read(mut section: Section<'_>) -> key::Params {
    let written = section.optional("template");
    let template = match &written {
        Some(value) => template(value).unwrap_or_default(),
        None => Template { query: true, device: section.has("device"), ..Template::default() },
    };
    let devices = section.optional("device").map(|value| value.sections()).unwrap_or_default();
    let devices: Vec<_> = devices.into_iter().filter_map(device).collect();
    if let Some(value) = &written {
        if template.device && !section.has("device") {
            value.spot.error("`{device}` needs rules, expected a list `device` beside it");
        } else if !template.device && section.has("device") {
            section.spot_of("device").error("has no effect, since the template has no `{device}`");
        }
        if !template.query && section.has("query") {
            section.spot_of("query").error("has no effect, since the template has no `{query}`");
        }
    }
    let host = section.optional("host").and_then(|value| host(&value));
    let query = query(section.section("query"));
    section.finish();
    let none = query::Params { select: query::Select::Keep(Vec::new()), sort: false };
    let query = if template.query { query } else { none };
    key::Params { query, host, headers: template.headers, cookies: template.cookies, devices }
}

/// Placeholders in braces; what stands between them separates for the eye only.
fn template(value: &Value<'_>) -> Option<Template> {
    const NAMES: [&str; 7] = ["scheme", "host", "path", "query", "device", "header:NAME", "cookie:NAME"];
    let text = value.text(TEMPLATE)?;
    let mut template = Template::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, next)) = after.split_once('}') else {
            value.spot.error("has a `{` without its `}`");
            return None;
        };
        rest = next;
        if seen.contains(&name) {
            value.spot.error(format_args!("has `{{{name}}}` twice"));
            return None;
        }
        seen.push(name);
        match name.split_once(':') {
            None if matches!(name, "scheme" | "host" | "path") => {}
            None if name == "query" => template.query = true,
            None if name == "device" => template.device = true,
            Some(("header", field)) if HeaderName::try_from(field).is_ok() => {
                template.headers.extend(HeaderName::try_from(field));
            }
            Some(("cookie", cookie)) if is_cookie(cookie) => template.cookies.push(cookie.to_owned()),
            _ => {
                let all = NAMES.map(|name| format!("`{{{name}}}`")).join(", ");
                value.spot.error_near(format_args!("`{{{name}}}` is no part of a key, expected {all}"), name, NAMES);
                return None;
            }
        }
    }
    for needed in ["scheme", "host", "path"] {
        if !seen.contains(&needed) {
            let hint = "for one entry under several hosts, set `key.host`";
            value.spot.error_with(format_args!("lacks `{{{needed}}}`: different resources would share an entry"), hint);
            return None;
        }
    }
    Some(template)
}

/// RFC 6265 §4.1.1: a cookie's name is a token.
fn is_cookie(name: &str) -> bool {
    HeaderName::try_from(name).is_ok()
}

fn device(mut section: Section<'_>) -> Option<device::Rule> {
    const CLASS: &str = "the name of a class: letters, digits, `-` and `_`, at most 32";
    const AGENT: &str = "a User-Agent with `*` for anything, such as \"*Mobile*\"";
    let class = section.required("class", CLASS).and_then(|value| {
        let text = value.text(CLASS)?;
        let is_class = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if !is_class {
            value.expected(CLASS);
        }
        is_class.then(|| text.to_owned())
    });
    let agent = section.required("user_agent", AGENT).and_then(|value| {
        let text = value.text(AGENT)?;
        let is_agent = (1..=256).contains(&text.len());
        if !is_agent {
            value.expected(AGENT);
        }
        is_agent.then(|| text.to_owned())
    });
    section.finish();
    Some(device::Rule { class: class?, user_agent: agent? })
}

fn host(value: &Value<'_>) -> Option<String> {
    const HOST: &str = "a host such as \"www.shop.example\", without scheme, port and path";
    let text = value.text(HOST)?;
    match uri::normalise_host(text) {
        Ok((host, None)) if !host.is_empty() => Some(host.into_owned()),
        _ => {
            value.expected(HOST);
            None
        }
    }
}

fn query(mut section: Section<'_>) -> query::Params {
    const NAMES: &str = "a list of names such as [\"utm_*\"]";
    let names = |value: Value<'_>| value.list(NAMES).iter().filter_map(parameter).collect::<Vec<_>>();
    let drop = section.optional("drop").map(names);
    let keep = section.optional("keep").map(names);
    if drop.as_ref().is_some_and(|names| !names.is_empty()) && keep.is_some() {
        section.spot_of("keep").error("stands beside `drop`, expected one of the two");
    }
    let select = keep.map(query::Select::Keep).unwrap_or_else(|| query::Select::Drop(drop.unwrap_or_default()));
    let params = query::Params { select, sort: section.boolean("sort", false) };
    section.finish();
    params
}

/// The name of a query parameter as it travels, with `*` at most at its end.
fn parameter(value: &Value<'_>) -> Option<String> {
    let expected = "the name of a query parameter such as \"gclid\" or \"utm_*\"";
    let text = value.text(expected)?;
    let stem = text.strip_suffix('*').unwrap_or(text);
    let is_name = stem.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'&' | b'=' | b'#' | b'*'));
    if text.is_empty() || !is_name {
        value.expected(expected);
        return None;
    }
    Some(text.to_owned())
}
