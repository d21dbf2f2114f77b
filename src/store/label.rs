//! By what a purge can name a stored response, and how far purges have been applied to it.
//!
//! Tags, URLs, hosts and origins are compared as 64-bit SipHashes under a key of the store's own: they come from
//! requests and backends, and nobody must find two that are one. If two are all the same, a copy too many is purged.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::cache::purge::{Name, authority};
use crate::cache::tags::Tags;

/// What a response answers and is tagged with.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// The scheme, as the key has it.
    pub scheme: &'a str,
    /// The host in normal form, without port.
    pub host: &'a str,
    /// Its port.
    pub port: Option<u16>,
    /// The path in normal form.
    pub path: &'a str,
    /// The query as the key has it.
    pub query: Option<&'a str>,
}

/// A label as it travels in a meta's extensions to the store, which takes it out.
#[derive(Clone, Debug)]
pub struct Labelled(pub(super) Arc<Label>);

/// By what a purge can name a response.
#[derive(Clone, Debug)]
pub(super) struct Label {
    /// Authority, path, and query with its `?`.
    text: Box<str>,
    host_end: usize,
    authority_end: usize,
    path_end: usize,
    pub(super) url: u64,
    pub(super) host: u64,
    pub(super) authority: u64,
    pub(super) origin: u64,
    pub(super) tags: Box<[u64]>,
    pub(super) groups: Box<[u64]>,
    /// The newest purge when its request went upstream.
    pub(super) since: u64,
}

/// Tags, and groups, that parts of one body may bring together. One response has at most
/// [`MAX_TAGS`](crate::cache::tags::MAX_TAGS).
const MOST_NAMES: usize = 512;

/// The store's own hash.
#[derive(Debug, Default)]
pub(super) struct Hashes(RandomState);

/// What a hash is of, so that a tag never equals a host.
#[derive(Clone, Copy, Debug)]
enum Of {
    Url,
    Host,
    Authority,
    Origin,
    Tag,
    Group,
    Within,
}

impl Hashes {
    fn hash(&self, of: Of, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u8(of as u8);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }

    pub(super) fn url(&self, authority: &str, path: &str, query: Option<&str>) -> u64 {
        let query = query.map(str::as_bytes);
        let parts = [authority.as_bytes(), path.as_bytes(), query.unwrap_or_default()];
        // No query and an empty one are two URLs.
        self.hash(Of::Url, if query.is_some() { &parts } else { &parts[..2] })
    }

    pub(super) fn host(&self, host: &str) -> u64 {
        self.hash(Of::Host, &[host.as_bytes()])
    }

    pub(super) fn authority(&self, authority: &str) -> u64 {
        self.hash(Of::Authority, &[authority.as_bytes()])
    }

    pub(super) fn origin(&self, scheme: &str, authority: &str) -> u64 {
        self.hash(Of::Origin, &[scheme.as_bytes(), authority.as_bytes()])
    }

    pub(super) fn tag(&self, tag: &[u8]) -> u64 {
        self.hash(Of::Tag, &[tag])
    }

    pub(super) fn group(&self, group: &str) -> u64 {
        self.hash(Of::Group, &[group.as_bytes()])
    }

    /// A tag or group within one origin.
    pub(super) fn within(&self, origin: u64, tag: u64) -> u64 {
        self.hash(Of::Within, &[&origin.to_ne_bytes(), &tag.to_ne_bytes()])
    }

    /// The label of a response whose request went upstream when purge `since` was the newest.
    pub(super) fn label(&self, named: &Named<'_>, tags: &Tags, since: u64) -> Label {
        let authority = authority(named.host, named.port);
        let mut text =
            String::with_capacity(authority.len() + named.path.len() + named.query.map_or(0, |q| q.len() + 1));
        text.push_str(&authority);
        text.push_str(named.path);
        let path_end = text.len();
        if let Some(query) = named.query {
            text.push('?');
            text.push_str(query);
        }
        Label {
            text: text.into(),
            host_end: named.host.len(),
            authority_end: authority.len(),
            path_end,
            url: self.url(&authority, named.path, named.query),
            host: self.host(named.host),
            authority: self.authority(&authority),
            origin: self.origin(named.scheme, &authority),
            tags: tags.tags.iter().map(|tag| self.tag(tag)).collect(),
            groups: tags.groups.iter().map(|group| self.group(group)).collect(),
            since,
        }
    }
}

impl Label {
    pub(super) fn name(&self) -> Name<'_> {
        Name {
            host: &self.text[..self.host_end],
            authority: &self.text[..self.authority_end],
            path: &self.text[self.authority_end..self.path_end],
            query: self.text.get(self.path_end + 1..),
        }
    }

    /// By what either of two parts of one body is named. `None` for more than [`MOST_NAMES`] tags or groups.
    fn joined(self: &Arc<Label>, older: &Label) -> Option<Arc<Label>> {
        let has_all = |ours: &[u64], theirs: &[u64]| theirs.iter().all(|name| ours.contains(name));
        if has_all(&self.tags, &older.tags) && has_all(&self.groups, &older.groups) {
            return Some(Arc::clone(self));
        }
        let both = |ours: &[u64], theirs: &[u64]| -> Option<Box<[u64]>> {
            let mut all = [ours, theirs].concat();
            all.sort_unstable();
            all.dedup();
            (all.len() <= MOST_NAMES).then(|| all.into())
        };
        let (tags, groups) = (both(&self.tags, &older.tags)?, both(&self.groups, &older.groups)?);
        Some(Arc::new(Label { tags, groups, ..Label::clone(self) }))
    }

    /// Bytes of memory it takes.
    fn weight(&self) -> u64 {
        (size_of::<Label>() + 16 + self.text.len() + 8 * (self.tags.len() + self.groups.len())) as u64
    }
}

/// How a response stands to the purges.
#[derive(Debug)]
pub(super) struct Standing {
    /// `None` if the proxy gave none: then only a purge of everything concerns it.
    pub(super) label: Option<Arc<Label>>,
    /// The newest purge that has been applied.
    checked: AtomicU64,
    /// From when on a purge made it stale, in nanoseconds since the epoch; 0 if none did.
    stale: AtomicU64,
}

impl Standing {
    /// Of a response to which no purge later than its label's, or than `newest` without one, has been applied.
    pub(super) fn new(label: Option<Labelled>, newest: u64) -> Standing {
        let label = label.map(|labelled| labelled.0);
        let checked = label.as_ref().map_or(newest, |label| label.since);
        Standing { label, checked: AtomicU64::new(checked), stale: AtomicU64::new(0) }
    }

    /// Of the same response under a new head: with the new label if there is one.
    pub(super) fn renewed(&self, label: Option<Labelled>) -> Standing {
        match label {
            Some(_) => Standing::new(label, 0),
            None => Standing { label: self.label.clone(), checked: self.checked().into(), stale: AtomicU64::new(0) },
        }
    }

    /// Of the same response beside a form that was made of it.
    pub(super) fn same(&self) -> Standing {
        let stale = self.stale.load(Ordering::Acquire);
        Standing { label: self.label.clone(), checked: self.checked().into(), stale: stale.into() }
    }

    /// Of one body put together from this part and an older one: purges know it by what either was tagged with, and those
    /// that have been applied to both are. `None` if it would be known by too much.
    pub(super) fn joined(&self, older: &Standing) -> Option<Standing> {
        let label = match (&self.label, &older.label) {
            (Some(ours), Some(theirs)) => Some(ours.joined(theirs)?),
            (ours, theirs) => ours.as_ref().or(theirs.as_ref()).cloned(),
        };
        let stale = self.stale.load(Ordering::Acquire);
        Some(Standing { label, checked: self.checked().min(older.checked()).into(), stale: stale.into() })
    }

    pub(super) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Acquire)
    }

    /// All purges up to `newest` have been applied.
    pub(super) fn note(&self, newest: u64) {
        self.checked.fetch_max(newest, Ordering::Release);
    }

    /// Since when a purge has made it stale.
    pub(super) fn stale_since(&self) -> Option<SystemTime> {
        let nanos = self.stale.load(Ordering::Acquire);
        (nanos > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
    }

    /// Stale from `at` on, or from an earlier time if it was so already.
    pub(super) fn expire(&self, at: SystemTime) {
        let nanos = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(1);
        let earlier = |had: u64| if had == 0 { Some(nanos) } else { Some(had.min(nanos)) };
        let _always_some = self.stale.fetch_update(Ordering::AcqRel, Ordering::Acquire, earlier);
    }

    /// Bytes of memory it takes beyond its own size.
    pub(super) fn weight(&self) -> u64 {
        self.label.as_ref().map_or(0, |label| label.weight())
    }
}

impl Clone for Standing {
    fn clone(&self) -> Standing {
        let stale = self.stale.load(Ordering::Acquire);
        Standing { label: self.label.clone(), checked: self.checked().into(), stale: stale.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(path: &'a str, query: Option<&'a str>) -> Named<'a> {
        Named { scheme: "http", host: "shop.example", port: Some(8080), path, query }
    }

    #[test]
    fn a_label_gives_back_what_it_names() {
        let hashes = Hashes::default();
        for query in [None, Some(""), Some("a=1")] {
            let label = hashes.label(&named("/a/b", query), &Tags::default(), 3);
            let name = Name { host: "shop.example", authority: "shop.example:8080", path: "/a/b", query };
            assert_eq!(label.name(), name);
            assert_eq!(label.url, hashes.url("shop.example:8080", "/a/b", query));
        }
    }

    #[test]
    fn what_is_written_alike_and_means_another_thing_is_another_hash() {
        let hashes = Hashes::default();
        let all = [
            hashes.host("a"),
            hashes.authority("a"),
            hashes.tag(b"a"),
            hashes.group("a"),
            hashes.url("a", "", None),
            hashes.url("a", "", Some("")),
            hashes.url("", "a", None),
            hashes.origin("a", ""),
            hashes.within(hashes.origin("http", "a"), hashes.tag(b"a")),
            hashes.within(hashes.origin("https", "a"), hashes.tag(b"a")),
        ];
        for (i, hash) in all.iter().enumerate() {
            assert!(!all[..i].contains(hash), "{i}");
        }
        assert_ne!(Hashes::default().tag(b"a"), hashes.tag(b"a"), "each store has a key of its own");
    }

    #[test]
    fn the_earliest_expiry_stands() {
        let standing = Standing::new(None, 0);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(standing.stale_since(), None);
        for (given, stands) in [(20, 20), (30, 20), (10, 10)] {
            standing.expire(at(given));
            assert_eq!(standing.stale_since(), Some(at(stands)));
        }
    }
}
