//! Which query parameters count, and in which order.
//!
//! What is dropped or sorted here is also dropped or sorted in what the backend sees, so that no backend can answer to
//! something the key does not hold.

use std::borrow::Cow;

/// What of the query tells requests apart.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// Which parameters count.
    pub select: Select,
    /// Whether parameters are sorted by name (stable for equal names).
    pub sort: bool,
}

/// Which parameters count. Names are compared as written; a trailing `*` matches any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// All but these.
    Drop(Vec<String>),
    /// Only these.
    Keep(Vec<String>),
}

impl Default for Select {
    fn default() -> Select {
        Select::Drop(Vec::new())
    }
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
        let drops = parameters().any(|p| self.is_dropped(name(p)));
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
        let is_named = |list: &[String]| {
            list.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pattern,
            })
        };
        match &self.select {
            Select::Drop(list) => is_named(list),
            Select::Keep(list) => !is_named(list),
        }
    }
}

/// A parameter's name: what stands before its first `=`.
fn name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params(drop: &[&str], sort: bool) -> Params {
        Params { select: Select::Drop(drop.iter().map(|d| d.to_string()).collect()), sort }
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
    fn only_what_is_to_be_kept_is_kept() {
        let params = Params { select: Select::Keep(vec!["page".into(), "f_*".into()]), sort: true };
        assert_eq!(apply(&params, "x=1&page=2&f_b=1&f_a=2&pages=3").as_deref(), Some("f_a=2&f_b=1&page=2"));
        assert_eq!(apply(&params, "x=1"), None);
        assert_eq!(Params { select: Select::Keep(Vec::new()), sort: false }.apply(Some("x=1")), None);
    }

    #[test]
    fn sorting_is_by_name_and_keeps_the_order_of_equals() {
        assert_eq!(apply(&params(&[], true), "b=1&a=2&b=0&a=1&a").as_deref(), Some("a=2&a=1&a&b=1&b=0"));
        assert_eq!(apply(&params(&["c"], true), "b&c&a").as_deref(), Some("a&b"));
    }

    proptest! {
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
