//! Routes that no request reaches.
//!
//! The order of [`Table`](super::Table) makes one route swallow another only when their matches are the same: of two
//! patterns of one host, the one asked first has the longer literal prefix, or more letters, or fewer `**`, or more slashes,
//! or fewer `*`, and so misses paths of the other. Several routes together can: `/a/*` and `/a/*/**` leave nothing of
//! `/a/**`. These two cases are told apart here; both are mistakes of the writer. General inclusion of regular
//! languages would find stranger unions too, at a price in code that no real table has repaid.

use std::collections::HashMap;

use super::{HostPattern, PathPattern};

/// A route that no request reaches, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadow {
    /// An earlier route has the same match.
    Same {
        /// Index of the route that is never reached.
        route: usize,
        /// Index of the route that is reached instead.
        by: usize,
    },
    /// Globs of other routes take every path.
    Union {
        /// Index of the route that is never reached.
        route: usize,
        /// Index of the glob that takes the deepest paths.
        by: usize,
    },
}

impl Shadow {
    /// The route that is never reached.
    pub const fn route(self) -> usize {
        match self {
            Shadow::Same { route, .. } | Shadow::Union { route, .. } => route,
        }
    }

    /// A route that is reached instead.
    pub const fn by(self) -> usize {
        match self {
            Shadow::Same { by, .. } | Shadow::Union { by, .. } => by,
        }
    }

    /// The reason as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Shadow::Same { .. } => "same-match",
            Shadow::Union { .. } => "shadowed",
        }
    }
}

/// The routes among `routes` that no request reaches, in their order.
pub fn unreachable(routes: &[(&HostPattern, &PathPattern)]) -> Vec<Shadow> {
    let shown: Vec<String> = routes.iter().map(|(_, path)| path.to_string()).collect();
    let mut first: HashMap<(&HostPattern, &str), usize> = HashMap::new();
    for (i, (host, _)) in routes.iter().enumerate() {
        first.entry((host, &shown[i])).or_insert(i);
    }
    let find = |(i, (host, path)): (usize, &(&HostPattern, &PathPattern))| {
        let by = first.get(&(*host, shown[i].as_str())).copied().unwrap_or(i);
        if by != i {
            return Some(Shadow::Same { route: i, by });
        }
        let prefix = match path {
            PathPattern::Prefix(prefix) => prefix.as_str(),
            PathPattern::Any => "/",
            PathPattern::Exact(_) | PathPattern::Glob(_) => return None,
        };
        let by = taken(prefix, |glob| first.get(&(*host, glob)).copied())?;
        Some(Shadow::Union { route: i, by })
    };
    routes.iter().enumerate().filter_map(find).collect()
}

/// Whether `prefix*`, `prefix*/*`, … and a closing `prefix*/…/**` are all there; the index of the last.
fn taken(prefix: &str, glob: impl Fn(&str) -> Option<usize>) -> Option<usize> {
    let mut stem = prefix.to_owned();
    loop {
        stem.push('*');
        glob(&stem)?;
        stem.push('/');
        if let Some(by) = glob(&format!("{stem}**")) {
            return Some(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Table;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn found(routes: &[(&str, &str)]) -> Vec<Shadow> {
        let parsed: Vec<_> =
            routes.iter().map(|r| (HostPattern::parse(r.0).unwrap(), PathPattern::parse(r.1).unwrap())).collect();
        unreachable(&parsed.iter().map(|(h, p)| (h, p)).collect::<Vec<_>>())
    }

    #[test]
    fn the_same_match_in_another_spelling_is_found() {
        assert_eq!(
            found(&[("a", "/x/**"), ("A.", "/x/**/*"), ("b", "/x/**"), ("*", "/x/**")]),
            [Shadow::Same { route: 1, by: 0 }]
        );
    }

    #[test]
    fn globs_that_leave_nothing_are_found() {
        assert_eq!(found(&[("*", "/a/**"), ("*", "/a/*"), ("*", "/a/*/**")]), [Shadow::Union { route: 0, by: 2 }]);
        assert_eq!(
            found(&[("*", "/*"), ("*", "/*/*"), ("*", "/*/*/**"), ("*", "/**")]),
            [Shadow::Union { route: 3, by: 2 }]
        );
        assert_eq!(found(&[("*", "/a/**"), ("*", "/a/*"), ("h", "/a/*/**")]), []);
        assert_eq!(found(&[("*", "/a/**"), ("*", "/a/*/**")]), []);
    }

    #[test]
    fn a_deep_glob_with_a_name_goes_before_one_without() {
        let parsed = ["/*/**", "/**/a/**"].map(|p| (HostPattern::Any, PathPattern::parse(p).unwrap()));
        let table = Table::new(parsed.into_iter().enumerate().map(|(i, (host, path))| (host, path, i)));
        assert_eq!((table.find("h", "/x/a/b"), table.find("h", "/x/b")), (Some(1), Some(0)));
    }

    #[test]
    fn a_narrow_route_beside_a_broad_one_is_reached() {
        assert_eq!(found(&[("*", "/**"), ("a", "/**"), ("*", "/**/*"), ("a", "/x"), ("a", "/x*")]).len(), 1);
    }

    /// Every path over a small alphabet, to ask a table about.
    fn paths() -> Vec<String> {
        let mut all: Vec<String> = vec!["/".into()];
        let mut level = all.clone();
        for _ in 0..6 {
            level = level.iter().flat_map(|p| ["a", "b", "/"].map(|c| format!("{p}{c}"))).collect();
            all.extend_from_slice(&level);
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn of_two_routes_neither_is_swallowed_unless_the_same(
            a in "(/(\\*|\\*\\*|a|b|a\\*|\\*a)){1,3}", b in "(/(\\*|\\*\\*|a|b|a\\*|\\*a)){1,3}",
        ) {
            let parsed = [&a, &b].map(|p| PathPattern::parse(p).unwrap());
            prop_assume!(parsed[0] != parsed[1]);
            let table = Table::new(parsed.into_iter().enumerate().map(|(i, p)| (HostPattern::Any, p, i)));
            let hits: HashSet<usize> = paths().iter().filter_map(|p| table.find("h", p)).collect();
            prop_assert_eq!(hits.len(), 2, "{} {}", a, b);
        }
    }
}
