//! The route table.
//!
//! The host decides before the path: exact, then the longest suffix, then any. Among the paths of one host: exact, then
//! the longest literal prefix (what stands before the first wildcard), and at equal literal prefix a glob before
//! `/prefix/**`, since it says more; among such globs the one with more literal characters besides slashes, then with
//! fewer `**`, then with more slashes, then with fewer `*`. (What stars stand for may be letters that no pattern has: a
//! pattern with more letters cannot take all that one with fewer has.) With that order no route takes all of another's paths (see `shadow.rs` for the two exceptions).
//!
//! Where no path of the more specific host matches, the less specific host is asked. The other choice, "a host's routes
//! are all it has", would make `[[route]] match = { host = "shop.example", path = "/api/**" }` answer 404 for the rest of
//! the shop although a default route stands in the file.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::{HostPattern, PathPattern};

/// Finds the most specific route. One hash lookup for an exact host, one per label for suffixes; no allocation.
#[derive(Clone, Debug)]
pub struct Table<T> {
    exact: HashMap<String, Paths<T>>,
    /// By suffix with its leading dot.
    suffix: HashMap<String, Paths<T>>,
    any: Paths<T>,
}

/// The routes of one host pattern.
#[derive(Clone, Debug)]
struct Paths<T> {
    exact: HashMap<String, T>,
    /// Globs, prefixes and any, the most specific first.
    ranked: Vec<(PathPattern, T)>,
}

impl<T: Copy> Table<T> {
    /// A table of these routes. Of two with the same match the first counts; `unreachable` tells of the other.
    pub fn new(routes: impl IntoIterator<Item = (HostPattern, PathPattern, T)>) -> Table<T> {
        let mut table = Table { exact: HashMap::new(), suffix: HashMap::new(), any: Paths::new() };
        for (host, path, route) in routes {
            let paths = match host {
                HostPattern::Exact(host) => table.exact.entry(host).or_insert_with(Paths::new),
                HostPattern::Suffix(suffix) => table.suffix.entry(suffix).or_insert_with(Paths::new),
                HostPattern::Any => &mut table.any,
            };
            match path {
                PathPattern::Exact(path) => {
                    paths.exact.entry(path).or_insert(route);
                }
                path => paths.ranked.push((path, route)),
            }
        }
        let all = table.exact.values_mut().chain(table.suffix.values_mut()).chain([&mut table.any]);
        // Stable: equal patterns stay in the order written.
        all.for_each(|paths| paths.ranked.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b))));
        table
    }

    /// The route of a normalised `host` (no port) and `path`; `None` when no route matches.
    pub fn find(&self, host: &str, path: &str) -> Option<T> {
        if let Some(route) = self.exact.get(host).and_then(|paths| paths.find(path)) {
            return Some(route);
        }
        if !self.suffix.is_empty() {
            // From the left, so the longest suffix comes first.
            for (dot, _) in host.match_indices('.') {
                if let Some(route) = self.suffix.get(&host[dot..]).and_then(|paths| paths.find(path)) {
                    return Some(route);
                }
            }
        }
        self.any.find(path)
    }
}

impl<T: Copy> Paths<T> {
    fn new() -> Paths<T> {
        Paths { exact: HashMap::new(), ranked: Vec::new() }
    }

    fn find(&self, path: &str) -> Option<T> {
        if let Some(route) = self.exact.get(path) {
            return Some(*route);
        }
        let matching = self.ranked.iter().find(|(pattern, _)| match pattern {
            PathPattern::Exact(exact) => exact == path,
            PathPattern::Prefix(prefix) => path.starts_with(prefix.as_str()),
            PathPattern::Glob(glob) => glob.matches(path),
            PathPattern::Any => true,
        });
        matching.map(|(_, route)| *route)
    }
}

/// Least first: literal prefix, globs before prefixes, more letters, fewer `**`, more slashes, fewer `*`, then the text, so that the
/// order is total. `Any` is the prefix of length zero.
fn rank(pattern: &PathPattern) -> (Reverse<usize>, usize, Reverse<usize>, usize, Reverse<usize>, usize, &str) {
    let none = Reverse(0);
    match pattern {
        PathPattern::Exact(path) => (Reverse(usize::MAX), 0, none, 0, none, 0, path),
        PathPattern::Prefix(prefix) => (Reverse(prefix.len()), 1, none, 0, none, 0, prefix),
        PathPattern::Any => (none, 1, none, 0, none, 0, ""),
        PathPattern::Glob(glob) => {
            let text = glob.as_str();
            let literal = text.find('*').unwrap_or(text.len());
            let deep = text.matches("**").count();
            let (stars, slashes) = (text.matches('*').count(), text.matches('/').count());
            let letters = text.len() - stars - slashes;
            (Reverse(literal), 0, Reverse(letters), deep, Reverse(slashes), stars, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(routes: &[(&'static str, &'static str)]) -> Table<(&'static str, &'static str)> {
        Table::new(routes.iter().map(|r| (HostPattern::parse(r.0).unwrap(), PathPattern::parse(r.1).unwrap(), *r)))
    }

    #[test]
    fn the_more_specific_host_is_asked_first() {
        let t = table(&[("*", "/**"), ("*.example", "/**"), ("*.shop.example", "/**"), ("a.shop.example", "/**")]);
        for (host, found) in [
            ("a.shop.example", "a.shop.example"),
            ("b.shop.example", "*.shop.example"),
            ("x.a.shop.example", "*.shop.example"),
            ("shop.example", "*.example"),
            ("example", "*"),
            ("[::1]", "*"),
            ("", "*"),
        ] {
            assert_eq!(t.find(host, "/").unwrap().0, found, "{host}");
        }
    }

    #[test]
    fn the_more_specific_path_wins_whatever_the_order() {
        let mut routes = vec![
            ("*", "/**"),
            ("*", "/static/**"),
            ("*", "/static/*.css"),
            ("*", "/static/**/*.css"),
            ("*", "/static/img/**"),
            ("*", "/static/a.css"),
            ("*", "/**/*.css"),
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            let t = table(&routes);
            for (path, found) in [
                ("/", "/**"),
                ("/static", "/**"),
                ("/static/", "/static/**"),
                ("/static/x", "/static/**"),
                ("/static/b.css", "/static/*.css"),
                ("/static/a.css", "/static/a.css"),
                ("/static/x/b.css", "/static/**/*.css"),
                ("/static/img/b.css", "/static/img/**"),
                ("/b.css", "/**/*.css"),
            ] {
                assert_eq!(t.find("h", path).unwrap().1, found, "{path}");
            }
        }
    }

    #[test]
    fn a_host_without_a_matching_path_falls_back_to_the_less_specific_host() {
        let t = table(&[("shop.example", "/api/**"), ("*.example", "/img/**"), ("*", "/**")]);
        assert_eq!(t.find("shop.example", "/api/x").unwrap().0, "shop.example");
        assert_eq!(t.find("shop.example", "/img/x").unwrap().0, "*.example");
        assert_eq!(t.find("shop.example", "/x").unwrap().0, "*");
    }

    #[test]
    fn nothing_matches_an_empty_table() {
        assert_eq!(table(&[]).find("h", "/"), None);
        assert_eq!(table(&[("a", "/x")]).find("a", "/y"), None);
    }

    #[test]
    fn of_two_equal_routes_the_first_counts() {
        let same = || (HostPattern::Any, PathPattern::Prefix("/a/".into()));
        let t = Table::new([(same().0, same().1, 1), (same().0, same().1, 2)]);
        assert_eq!(t.find("h", "/a/"), Some(1));
    }

    proptest! {
        #[test]
        fn the_order_written_never_matters(
            mut routes in prop::collection::vec(("\\*|(\\*\\.)?(a\\.)?b", "(/(\\*|\\*\\*|a|b|a\\*)){1,3}"), 1..8),
            host in "(a\\.){0,2}b|c", path in "(/(a|b|ab|)){1,4}",
        ) {
            let build = |routes: &[(String, String)]| Table::new(routes.iter().enumerate().map(|(i, (h, p))| {
                (HostPattern::parse(h).unwrap(), PathPattern::parse(p).unwrap(), i)
            }));
            let meaning = |routes: &[(String, String)]| build(routes).find(&host, &path).map(|i| {
                (HostPattern::parse(&routes[i].0).unwrap(), PathPattern::parse(&routes[i].1).unwrap())
            });
            let before = meaning(&routes);
            routes.reverse();
            prop_assert_eq!(before, meaning(&routes));
        }
    }
}
