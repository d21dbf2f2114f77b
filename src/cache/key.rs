//! What makes two requests ask for the same thing.
//!
//! Parts glued with a separator let one request be read as another (`a` + `b/c`, `a/b` + `c`): the way to serve one
//! host's page to the next. Each part is preceded by its length instead, so different parts give different bytes.
//!
//! The hash is BLAKE2b cut to 128 bits. Clients choose hosts, paths and queries freely, so a table hash will not do,
//! keyed or not: nobody must find a URL that lands on another's entry. That takes 2^128 trials here. It is also the
//! hash that the substrate combines keys with, so it adds no other assumption, and a key of up to 128 bytes costs one
//! compression.

use std::borrow::Cow;

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};

/// What of the query tells requests apart; what is dropped or sorted here is also dropped or sorted in what the
/// backend sees, so that no backend can answer to something the key does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// Names of query parameters to drop; a trailing `*` matches any rest.
    pub drop: Vec<String>,
    /// Whether parameters are sorted by name (stable for equal names).
    pub sort: bool,
}

impl Params {
    /// The query for key and backend alike, without its `?`: borrowed if nothing changes, `None` if there is none or
    /// every parameter was dropped.
    ///
    /// Parameters are separated by `&` and compared as they are written, percent-encoding and all: an odd spelling
    /// is kept and is another key, which costs a miss and never mixes two.
    pub fn apply<'q>(&self, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        let query = query?;
        let parameters = || query.split('&');
        let drops = !self.drop.is_empty() && parameters().any(|p| self.is_dropped(name(p)));
        let sorts = self.sort && !parameters().map(name).is_sorted();
        if !drops && !sorts {
            return Some(Cow::Borrowed(query));
        }
        let mut kept: Vec<&str> = parameters().filter(|p| !self.is_dropped(name(p))).collect();
        if kept.is_empty() {
            return None;
        }
        if sorts {
            kept.sort_by_key(|p| name(p));
        }
        Some(Cow::Owned(kept.join("&")))
    }

    fn is_dropped(&self, name: &str) -> bool {
        self.drop.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }
}

/// A parameter's name: what stands before its first `=`.
fn name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// The parts of a primary key, each already normalised: the key must hold just what is routed by and forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Lower-case host, with its port unless that is the scheme's own.
    pub host: &'a str,
    /// The path as the backend will see it.
    pub path: &'a str,
    /// The query as the backend will see it, after [`Params::apply`]; none is not the same as an empty one.
    pub query: Option<&'a str>,
}

impl Parts<'_> {
    /// The key's hash, straight from the parts: what a lookup needs, without allocating.
    pub fn hash(&self) -> [u8; 16] {
        let mut hash = Blake2b::<U16>::new();
        self.write(|bytes| hash.update(bytes));
        hash.finalize().into()
    }

    fn write(&self, mut sink: impl FnMut(&[u8])) {
        for part in [Some(self.scheme), Some(self.host), Some(self.path), self.query].into_iter().flatten() {
            sink(&(part.len() as u64).to_be_bytes());
            sink(part.as_bytes());
        }
    }
}

/// A primary key: what is asked for, before any `Vary`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    bytes: Vec<u8>,
    hash: [u8; 16],
}

impl Key {
    /// The key of these parts, hashed once.
    pub fn new(parts: &Parts<'_>) -> Key {
        let mut bytes = Vec::new();
        parts.write(|part| bytes.extend_from_slice(part));
        let hash = Blake2b::<U16>::digest(&bytes).into();
        Key { bytes, hash }
    }

    /// The length-prefixed parts; different for different parts.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The 128-bit hash of the bytes, equal to [`Parts::hash`].
    pub fn hash(&self) -> [u8; 16] {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(drop: &[&str], sort: bool) -> Params {
        Params { drop: drop.iter().map(|d| d.to_string()).collect(), sort }
    }

    fn apply(params: &Params, query: &str) -> Option<String> {
        params.apply(Some(query)).map(Cow::into_owned)
    }

    #[test]
    fn an_unchanged_query_is_borrowed() {
        for query in ["", "a=1&b=2", "a", "a=1&a=0&b", "&&", "x=utm_a"] {
            let out = params(&["utm_*", "gclid"], true).apply(Some(query));
            assert!(matches!(out, Some(Cow::Borrowed(q)) if q == query), "{query}");
        }
        assert_eq!(params(&["utm_*"], true).apply(None), None);
    }

    #[test]
    fn parameters_are_dropped_by_name_or_by_its_start() {
        let params = params(&["utm_*", "gclid"], false);
        assert_eq!(apply(&params, "b=1&utm_source=x&a=2&gclid&utm_").as_deref(), Some("b=1&a=2"));
        assert_eq!(apply(&params, "gclid2=1&UTM_a=1&a=gclid").as_deref(), Some("gclid2=1&UTM_a=1&a=gclid"));
        assert_eq!(apply(&params, "utm_source=x&gclid=1"), None);
    }

    #[test]
    fn sorting_is_by_name_and_keeps_the_order_of_equals() {
        assert_eq!(apply(&params(&[], true), "b=1&a=2&b=0&a=1&a").as_deref(), Some("a=2&a=1&a&b=1&b=0"));
        assert_eq!(apply(&params(&["c"], true), "b&c&a").as_deref(), Some("a&b"));
    }

    #[test]
    fn hosts_schemes_and_empty_queries_are_told_apart() {
        let parts = Parts { scheme: "http", host: "a", path: "/p", query: None };
        let others = [
            Parts { scheme: "https", ..parts },
            Parts { host: "b", ..parts },
            Parts { host: "a:8080", ..parts },
            Parts { path: "/P", ..parts },
            Parts { query: Some(""), ..parts },
        ];
        for other in others {
            assert_ne!(Key::new(&parts), Key::new(&other), "{other:?}");
            assert_ne!(parts.hash(), other.hash(), "{other:?}");
        }
    }

    prop_compose! {
        fn part()(part in prop_oneof!["[a/?&:\\x00]{0,4}", "\\PC{0,12}"]) -> String { part }
    }

    proptest! {
        /// The same letters, cut into parts at different places: what a separator would mix up.
        #[test]
        fn different_parts_give_different_bytes(
            letters in "[a/?&:|\\x00]{0,8}", cuts in proptest::array::uniform6(0usize..9), queries in any::<[bool; 2]>(),
        ) {
            let cut = |a: usize, b: usize, c: usize, query: bool| {
                let mut at = [a, b, c].map(|i| i.min(letters.len()));
                at.sort_unstable();
                let (host, path) = (&letters[at[0]..at[1]], &letters[at[1]..at[2]]);
                Parts { scheme: &letters[..at[0]], host, path, query: query.then_some(&letters[at[2]..]) }
            };
            let a = cut(cuts[0], cuts[1], cuts[2], queries[0]);
            let b = cut(cuts[3], cuts[4], cuts[5], queries[1]);
            prop_assert_eq!(a == b, Key::new(&a).bytes() == Key::new(&b).bytes());
            prop_assert_eq!(a == b, a.hash() == b.hash());
        }

        /// The parts can be read back, whatever they hold.
        #[test]
        fn the_bytes_can_be_taken_apart_again(
            scheme in part(), host in part(), path in part(), query in proptest::option::of(part()),
        ) {
            let key = Key::new(&Parts { scheme: &scheme, host: &host, path: &path, query: query.as_deref() });
            let mut rest = key.bytes();
            let mut read = Vec::new();
            while let Some((len, tail)) = rest.split_first_chunk::<8>() {
                let (part, tail) = tail.split_at(u64::from_be_bytes(*len) as usize);
                read.push(String::from_utf8(part.to_vec()).unwrap());
                rest = tail;
            }
            prop_assert!(rest.is_empty());
            let written: Vec<String> = [Some(scheme), Some(host), Some(path), query].into_iter().flatten().collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn the_hash_needs_no_key(scheme in part(), host in part(), path in part(), query in proptest::option::of(part())) {
            let parts = Parts { scheme: &scheme, host: &host, path: &path, query: query.as_deref() };
            prop_assert_eq!(parts.hash(), Key::new(&parts).hash());
        }

        /// What is applied twice is applied once, and sorting shares exactly the queries with the same parameters.
        #[test]
        fn applying_is_idempotent(query in "[abu_&=]{0,20}", drop in any::<bool>(), sort in any::<bool>()) {
            let params = params(if drop { &["u_*", "b"] } else { &[] }, sort);
            let once = apply(&params, &query);
            let twice = once.as_deref().and_then(|q| apply(&params, q));
            prop_assert_eq!(&once, &twice);
            let mut left: Vec<&str> = query.split('&').filter(|p| !params.is_dropped(name(p))).collect();
            let mut kept: Vec<&str> = once.as_deref().map(|q| q.split('&').collect()).unwrap_or_default();
            left.sort_unstable();
            kept.sort_unstable();
            prop_assert_eq!(left, kept);
        }
    }
}
