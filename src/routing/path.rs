//! Patterns of paths.

use std::fmt;
use std::hash::{Hash, Hasher};

use globset::{GlobBuilder, GlobMatcher};

use super::BadPattern;
use crate::uri;

/// Which normalised paths a route serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// One path.
    Exact(String),
    /// `/static/**`: the path `/static/` and all below (held as `/static/`). Not `/static`: to a backend that is another
    /// resource, usually a redirect, and relative links on it resolve elsewhere.
    Prefix(String),
    /// A glob: `*` within a segment, `**` across segments.
    Glob(Glob),
    /// Every path.
    Any,
}

/// A path pattern with wildcards, compiled.
///
/// `*` stands for any characters but `/`, also for none; `**` as a whole segment stands for any number of segments, also
/// for none. No other character is special.
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    matcher: GlobMatcher,
}

impl PathPattern {
    /// Reads `/about`, `/static/**`, `/img/*.png`, `/**/feed.xml`, or `/**` for every path.
    ///
    /// The text must already be what requests are normalised to ([`uri::normalise`]): a pattern that no path can match is
    /// refused rather than repaired, since its writer expects something that does not happen. Patterns that say the same
    /// become equal: `/a/**/**` and `/a/**/*` are `/a/**`.
    pub fn parse(text: &str) -> Result<PathPattern, BadPattern> {
        if !text.starts_with('/') {
            return Err(BadPattern::NoSlash { instead: format!("/{text}") });
        }
        if text.contains('?') {
            return Err(BadPattern::Query);
        }
        let normal = uri::normalise(text).map_err(BadPattern::Refused)?.path;
        if normal != text {
            return Err(BadPattern::NotNormal { instead: normal.into_owned() });
        }
        if !text.contains('*') {
            return Ok(PathPattern::Exact(text.to_owned()));
        }
        let text = canonical(text)?;
        match text.strip_suffix("**") {
            Some("/") => Ok(PathPattern::Any),
            Some(prefix) if !prefix.contains('*') => Ok(PathPattern::Prefix(prefix.to_owned())),
            _ => Glob::compile(text).map(PathPattern::Glob),
        }
    }
}

impl Glob {
    fn compile(text: String) -> Result<Glob, BadPattern> {
        let glob = GlobBuilder::new(&text).literal_separator(true).build().map_err(|_| BadPattern::TooLarge)?;
        Ok(Glob { matcher: glob.compile_matcher(), text })
    }

    /// The pattern in its one spelling.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the normalised `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        self.matcher.is_match(path)
    }
}

/// One spelling for patterns that match the same paths. A run of `*` and `**` segments becomes its stars, then one `**`;
/// where a star ends the pattern, the `**` before it already stands for one segment and swallows it.
fn canonical(text: &str) -> Result<String, BadPattern> {
    let mut out: Vec<&str> = Vec::new();
    // Set while a `**` waits for the end of its run; how many stars came after it.
    let mut deep: Option<usize> = None;
    for segment in text.split('/').skip(1) {
        match segment {
            "**" => deep = deep.or(Some(0)),
            "*" => {
                out.push(segment);
                deep = deep.map(|stars| stars + 1);
            }
            _ if segment.contains("**") => return Err(BadPattern::PartialDeep),
            _ => {
                if deep.take().is_some() {
                    out.push("**");
                }
                out.push(segment);
            }
        }
    }
    if let Some(stars) = deep {
        // Where `**` ends it, a segment for each star must be there, and a slash behind it.
        if stars > 0 && text.ends_with("/*") {
            out.pop();
        }
        out.push("**");
    }
    Ok(out.iter().fold(String::with_capacity(text.len()), |text, segment| text + "/" + segment))
}

impl PartialEq for Glob {
    fn eq(&self, other: &Glob) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

impl Hash for Glob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Prefix(prefix) => write!(f, "{prefix}**"),
            PathPattern::Glob(glob) => f.write_str(&glob.text),
            PathPattern::Any => f.write_str("/**"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        PathPattern::parse(text).unwrap().to_string()
    }

    #[test]
    fn patterns_that_say_the_same_are_equal() {
        for (text, canonical) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/**", "/**"),
            ("/**/*", "/**"),
            ("/**/**", "/**"),
            ("/a/**/**", "/a/**"),
            ("/a/**/*", "/a/**"),
            ("/a/**/*/*", "/a/*/**"),
            ("/a/*/**", "/a/*/**"),
            ("/**/*/x", "/*/**/x"),
            ("/*/**/x", "/*/**/x"),
            ("/a*/**", "/a*/**"),
            ("/**/*.css", "/**/*.css"),
        ] {
            assert_eq!(shown(text), canonical, "{text}");
            assert_eq!(PathPattern::parse(canonical), PathPattern::parse(text));
        }
        assert_eq!(PathPattern::parse("/**"), Ok(PathPattern::Any));
        assert_eq!(PathPattern::parse("/a/**"), Ok(PathPattern::Prefix("/a/".into())));
        assert_eq!(PathPattern::parse("/a//b"), Ok(PathPattern::Exact("/a//b".into())));
    }

    #[test]
    fn a_star_keeps_to_its_segment() {
        for (pattern, path, expected) in [
            ("/img/*.png", "/img/a.png", true),
            ("/img/*.png", "/img/.png", true),
            ("/img/*.png", "/img/a/b.png", false),
            ("/img/*.png", "/img/apng", false),
            ("/*/edit", "/a/edit", true),
            ("/*/edit", "//edit", true),
            ("/*/edit", "/a/b/edit", false),
            ("/**/feed.xml", "/feed.xml", true),
            ("/**/feed.xml", "/a/b/feed.xml", true),
            ("/**/feed.xml", "/a/myfeed.xml", false),
            ("/a/*/**", "/a/b", false),
            ("/a/*/**", "/a/b/", true),
            ("/a/*/**", "/a/b/c/d", true),
            ("/a(b)+*!", "/a(b)+x!", true),
            ("/a,b*", "/a,bc", true),
        ] {
            let PathPattern::Glob(glob) = PathPattern::parse(pattern).unwrap() else { panic!("{pattern}") };
            assert_eq!(glob.matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_that_nothing_can_match_is_refused_with_the_right_spelling() {
        for (text, hint) in [
            ("static/**", Some("write `/static/**`")),
            ("", Some("write `/`")),
            ("/a/../b", Some("write `/b`")),
            ("/a/./**", Some("write `/a/**`")),
            ("/%7euser", Some("write `/~user`")),
            ("/%c3%a4", Some("write `/%C3%A4`")),
            ("/ä", Some("write `/%C3%A4`")),
            ("/{a,b}", Some("write `/%7Ba,b%7D`")),
            ("/a?b=c", Some("leave it out: only the path is matched")),
            ("/a#b", Some("leave it out: only the path is matched")),
            ("/a**", Some("use `*` within a segment; `**` stands alone, as in `/a/**` or `/a/**/b`")),
            ("/../a", None),
            ("/%zz", None),
            ("/a b", None),
        ] {
            assert_eq!(PathPattern::parse(text).unwrap_err().hint().as_deref(), hint, "{text}");
        }
    }

    #[test]
    fn a_star_between_two_deep_segments_is_a_segment_that_must_be_there() {
        let PathPattern::Glob(glob) = PathPattern::parse("/a*/**/*/**").unwrap() else { panic!("a glob") };
        assert_eq!((glob.as_str(), glob.matches("/ab/a"), glob.matches("/ab/a/")), ("/a*/*/**", false, true));
    }

    proptest! {
        #[test]
        fn every_canonical_pattern_matches_what_the_written_one_matches(
            pattern in "(/(\\*|\\*\\*|a|b|a\\*|)){1,5}", path in "(/(a|b|ab|)){1,5}",
        ) {
            let written = GlobBuilder::new(&pattern).literal_separator(true).build().unwrap().compile_matcher();
            let matches = match PathPattern::parse(&pattern).unwrap() {
                PathPattern::Exact(exact) => exact == path,
                PathPattern::Prefix(prefix) => path.starts_with(&prefix),
                PathPattern::Glob(glob) => glob.matches(&path),
                PathPattern::Any => true,
            };
            prop_assert_eq!(matches, written.is_match(&path));
        }

        #[test]
        fn a_shown_pattern_parses_to_itself(pattern in "(/(\\*{0,2}|[a-c*]{1,3})){0,5}|\\PC{0,10}") {
            if let Ok(parsed) = PathPattern::parse(&pattern) {
                prop_assert_eq!(PathPattern::parse(&parsed.to_string()), Ok(parsed));
            }
        }
    }
}
