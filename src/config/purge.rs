//! `[route.cache.purge]` and `[cache] tags`: who may purge with the method `PURGE`, and which fields hold tags.

use http::HeaderName;
use ipnet::IpNet;

use super::read::Section;
use super::secret::Secret;
use super::server::networks;
use super::value::Value;
use crate::cache::tags;

/// `[route.cache.purge]`: who may purge with the method `PURGE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Clients that may; all if empty, but then there is a token.
    pub allow: Vec<IpNet>,
    /// What they have to know.
    pub token: Option<Secret>,
    /// Whether what is purged stays, stale, for when the backends fail.
    pub soft: bool,
}

/// Fields that must reach the client: what is a tag field does not.
const NO_TAGS: [&str; 12] = [
    "age",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "location",
    "set-cookie",
    "transfer-encoding",
    "vary",
];

/// Reads `[route.cache.purge]`.
pub(super) fn purge(mut section: Section<'_>) -> Purge {
    let allow = section.optional("allow");
    let token = section.optional("token");
    if allow.is_none() && token.is_none() {
        section
            .spot
            .error_with("lets anybody purge", "write `allow = [\"127.0.0.1\"]`, `token = \"env:NAME\"` or both");
    }
    let networks = allow.map(|value| {
        let networks = networks(&value);
        if networks.is_empty() && value.is_list() && value.list("").is_empty() {
            value.spot.error("is empty, so that nobody may purge; leave the table `purge` out instead");
        }
        networks
    });
    let purge = Purge {
        allow: networks.unwrap_or_default(),
        token: token.and_then(|value| Secret::read(&value)),
        soft: section.boolean("soft", false),
    };
    section.finish();
    purge
}

/// Reads `[cache] tags`.
pub(super) fn tag_fields(value: &Value<'_>) -> Vec<HeaderName> {
    let items = value.list("a list of field names such as [\"Surrogate-Key\"]");
    if items.len() > tags::MAX_FIELDS {
        value.spot.error(format_args!("has {} fields, expected at most {}", items.len(), tags::MAX_FIELDS));
    }
    let mut fields: Vec<HeaderName> = Vec::new();
    for item in items {
        let expected = "the name of a response field such as \"Surrogate-Key\"";
        let Some(text) = item.text(expected) else { continue };
        match text.parse::<HeaderName>() {
            Ok(name) if NO_TAGS.contains(&name.as_str()) => {
                item.spot.error(format_args!("clients need `{name}`, and tag fields are not shown to them"));
            }
            Ok(name) if fields.contains(&name) => item.spot.error(format_args!("`{name}` is there twice")),
            Ok(name) => fields.push(name),
            Err(_) => item.expected(expected),
        }
    }
    fields
}

/// The fields that hold tags where nothing is written.
pub(super) fn default_tag_fields() -> Vec<HeaderName> {
    tags::DEFAULT_FIELDS.iter().filter_map(|name| name.parse().ok()).collect()
}

/// A field name as its users write it, where that is known.
pub(super) fn shown_field(name: &HeaderName) -> String {
    let known = tags::DEFAULT_FIELDS.iter().find(|known| known.eq_ignore_ascii_case(name.as_str()));
    known.map_or_else(|| name.as_str().to_owned(), |known| (*known).to_owned())
}
