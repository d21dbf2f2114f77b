//! What an operator names to be purged, read from what was written.
//!
//! Stored responses are compared by the text of what was asked for, not by their keys: a route's key may hold headers
//! and cookies as well, and a purge of a URL means all of them. The scheme is left out for the same reason: who purges
//! `http://shop.example/a` and has TLS terminated before the cache means the page, and to fetch a copy too many costs
//! little.

use std::borrow::Cow;
use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use super::tags;
use crate::uri::{self, BadHost, BadTarget};

/// Bytes of a URL, prefix, glob or host. More than any request line may have by default.
pub const MAX_TEXT: usize = 8192;
/// Bytes of a glob: it is compiled.
pub const MAX_GLOB: usize = 1024;

/// What a stored response answers, in normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The host without port.
    pub host: &'a str,
    /// The host with its port, if that is neither 80 nor 443.
    pub authority: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query.
    pub query: Option<&'a str>,
}

/// What is purged.
#[derive(Clone, Debug)]
pub enum Selector {
    /// One URL, whatever its scheme, with all its variants.
    Url(Url),
    /// All that have one of these tags.
    Tags(Vec<String>),
    /// All of a host: on every port, or on the one that was written.
    Host(Host),
    /// All URLs that begin so.
    Prefix(Url),
    /// All URLs that match.
    Glob(Glob),
    /// Everything.
    All,
}

/// A URL without its scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// As in [`Name::authority`].
    pub authority: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: Option<String>,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The host, with its port if one was written.
    pub text: String,
    /// Whether one was.
    pub has_port: bool,
}

/// A pattern for host and path.
#[derive(Clone, Debug)]
pub struct Glob {
    matcher: GlobMatcher,
    has_port: bool,
}

/// Why what was written names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSelector {
    /// No URL with a host.
    Url,
    /// Its host is none.
    Host(BadHost),
    /// Its path is none.
    Target(BadTarget),
    /// Longer than [`MAX_TEXT`] (or [`MAX_GLOB`]).
    TooLong(usize),
    /// No tag, an empty one or one of over [`tags::MAX_TAG`] bytes.
    Tag,
    /// More than [`tags::MAX_TAGS`] tags.
    TooManyTags,
    /// A glob that has no path or cannot be compiled.
    Glob(String),
}

impl fmt::Display for BadSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSelector::Url => f.write_str("expected a URL with a host, such as http://shop.example/a"),
            BadSelector::Host(bad) => write!(f, "the host cannot be used: {bad}"),
            BadSelector::Target(bad) => write!(f, "the URL cannot be used: {bad}"),
            BadSelector::TooLong(most) => write!(f, "it is longer than {most} bytes"),
            BadSelector::Tag => write!(f, "a tag has 1 to {} bytes", tags::MAX_TAG),
            BadSelector::TooManyTags => write!(f, "at most {} tags can be purged at once", tags::MAX_TAGS),
            BadSelector::Glob(why) => write!(f, "the glob cannot be used: {why}"),
        }
    }
}

impl std::error::Error for BadSelector {}

/// The host with its port, unless that is the one of `http` or `https`.
pub fn authority(host: &str, port: Option<u16>) -> Cow<'_, str> {
    match port {
        None | Some(80 | 443) => Cow::Borrowed(host),
        Some(port) => Cow::Owned(format!("{host}:{port}")),
    }
}

impl Selector {
    /// One URL. Without a scheme it begins with the host. The query, or its absence, belongs to it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn url(text: &str) -> Result<Selector, BadSelector> {
        Url::read(text).map(Selector::Url)
    }

    /// All URLs that begin with `text`: host, and the path's first bytes; or the whole path and the query's first bytes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn prefix(text: &str) -> Result<Selector, BadSelector> {
        Url::read(text).map(Selector::Prefix)
    }

    /// All URLs whose host and path match `text`, such as `*.shop.example/img/**`: `*` and `?` match within a segment,
    /// `**` across. A scheme is left out, queries do not count, a host without a port matches every port.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn glob(text: &str) -> Result<Selector, BadSelector> {
        if text.len() > MAX_GLOB {
            return Err(BadSelector::TooLong(MAX_GLOB));
        }
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        let Some((host, path)) = text.split_once('/').filter(|(host, _)| !host.is_empty()) else {
            return Err(BadSelector::Glob("expected HOST/PATH, such as shop.example/img/**".to_owned()));
        };
        let whole = format!("{}/{path}", host.to_ascii_lowercase());
        let glob = GlobBuilder::new(&whole).literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|e| BadSelector::Glob(e.kind().to_string()))?;
        Ok(Selector::Glob(Glob { matcher: glob.compile_matcher(), has_port: host.contains(':') }))
    }

    /// All of a host.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn host(text: &str) -> Result<Selector, BadSelector> {
        if text.len() > MAX_TEXT {
            return Err(BadSelector::TooLong(MAX_TEXT));
        }
        let (host, port) = uri::normalise_host(text).map_err(BadSelector::Host)?;
        Ok(Selector::Host(Host { text: authority(&host, port).into_owned(), has_port: port.is_some() }))
    }

    /// All that have one of `tags`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn tags(tags: Vec<String>) -> Result<Selector, BadSelector> {
        if tags.len() > tags::MAX_TAGS {
            return Err(BadSelector::TooManyTags);
        }
        if tags.is_empty() || tags.iter().any(|tag| tag.is_empty() || tag.len() > tags::MAX_TAG) {
            return Err(BadSelector::Tag);
        }
        Ok(Selector::Tags(tags))
    }

    /// The word for logs and metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Selector::Url(_) => "url",
            Selector::Tags(_) => "tag",
            Selector::Host(_) => "host",
            Selector::Prefix(_) => "prefix",
            Selector::Glob(_) => "glob",
            Selector::All => "all",
        }
    }
}

impl Url {
    fn read(text: &str) -> Result<Url, BadSelector> {
        if text.len() > MAX_TEXT {
            return Err(BadSelector::TooLong(MAX_TEXT));
        }
        let text = text.trim();
        let absolute = if text.contains("://") { Cow::Borrowed(text) } else { Cow::Owned(format!("http://{text}")) };
        let target = uri::normalise(&absolute).map_err(BadSelector::Target)?;
        let (host, port) = uri::normalise_host(target.authority.ok_or(BadSelector::Url)?).map_err(BadSelector::Host)?;
        Ok(Url {
            authority: authority(&host, port).into_owned(),
            path: target.path.into_owned(),
            query: target.query.map(Cow::into_owned),
        })
    }

    /// Whether `name` begins with this.
    pub fn is_prefix_of(&self, name: &Name<'_>) -> bool {
        self.authority == name.authority
            && match &self.query {
                None => name.path.starts_with(&self.path),
                Some(query) => self.path == name.path && name.query.is_some_and(|q| q.starts_with(query.as_str())),
            }
    }
}

impl Glob {
    /// Whether `name` matches.
    pub fn matches(&self, name: &Name<'_>) -> bool {
        let host = if self.has_port { name.authority } else { name.host };
        self.matcher.is_match(format!("{host}{}", name.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(url: &str) -> (String, Url) {
        let url = Url::read(url).unwrap();
        let (host, _) = uri::normalise_host(&url.authority).unwrap();
        (host.into_owned(), url)
    }

    fn matches(selector: Result<Selector, BadSelector>, url: &str) -> bool {
        let (host, url) = name(url);
        let name = Name { host: &host, authority: &url.authority, path: &url.path, query: url.query.as_deref() };
        match selector.unwrap() {
            Selector::Prefix(prefix) => prefix.is_prefix_of(&name),
            Selector::Glob(glob) => glob.matches(&name),
            other => panic!("{other:?} is no pattern"),
        }
    }

    #[test]
    fn a_url_is_read_in_normal_form_without_scheme_and_usual_port() {
        for text in ["http://Shop.example/%7Ea/./b?q", "https://shop.example:443/~a/b?q", "shop.example/~a/b?q"] {
            let Selector::Url(url) = Selector::url(text).unwrap() else { panic!("{text}") };
            assert_eq!((url.authority.as_str(), url.path.as_str()), ("shop.example", "/~a/b"), "{text}");
            assert_eq!(url.query.as_deref(), Some("q"), "{text}");
        }
        let Selector::Url(url) = Selector::url("http://localhost:8080").unwrap() else { panic!() };
        assert_eq!((url.authority.as_str(), url.path.as_str(), url.query), ("localhost:8080", "/", None));
    }

    #[test]
    fn what_names_nothing_is_refused_with_a_sentence() {
        for (bad, part) in [
            (Selector::url("/only/a/path"), "no host"),
            (Selector::url("ftp://shop.example/a"), "URL"),
            (Selector::url("http://shop.example/a#b"), "#"),
            (Selector::url("http://a b/"), "space"),
            (Selector::url(&"a".repeat(MAX_TEXT + 1)), "8192"),
            (Selector::host("shop.example/a"), "character"),
            (Selector::host(""), "empty"),
            (Selector::glob("shop.example"), "HOST/PATH"),
            (Selector::glob("/img/**"), "HOST/PATH"),
            (Selector::glob("shop.example/[a"), "glob"),
            (Selector::glob(&format!("h/{}", "*".repeat(MAX_GLOB))), "1024"),
            (Selector::tags(vec![]), "1 to 1024"),
            (Selector::tags(vec![String::new()]), "1 to 1024"),
            (Selector::tags(vec!["a".into(); tags::MAX_TAGS + 1]), "128"),
        ] {
            let sentence = bad.expect_err(part).to_string();
            assert!(sentence.contains(part), "{part} is not in: {sentence}");
        }
    }

    #[test]
    fn a_prefix_is_one_of_bytes_within_one_host() {
        let hit = |prefix, url| matches(Selector::prefix(prefix), url);
        assert!(hit("http://shop.example/img/", "https://shop.example/img/a/b?c"));
        assert!(hit("http://shop.example/img", "shop.example/img2"));
        assert!(hit("http://shop.example/a?x=", "shop.example/a?x=1&y"));
        assert!(hit("http://shop.example", "shop.example/a?x"));
        assert!(!hit("http://shop.example/a?x=", "shop.example/ab?x=1"));
        assert!(!hit("http://shop.example/img/", "shop.example/img"));
        assert!(!hit("http://shop.example/", "other.example/"));
        assert!(!hit("http://shop.example/", "shop.example:8080/"));
    }

    #[test]
    fn a_glob_matches_host_and_path() {
        let hit = |glob, url| matches(Selector::glob(glob), url);
        assert!(hit("shop.example/img/**", "shop.example/img/a/b.png"));
        assert!(hit("Shop.example/img/*.png", "shop.example:8080/img/a.png?v=2"));
        assert!(hit("*.example/**", "shop.example/a"));
        assert!(hit("https://shop.example/**", "shop.example/a/b"));
        assert!(hit("localhost:8080/**", "localhost:8080/a"));
        assert!(hit("shop.example/{a,b}/?", "shop.example/b/x"));
        assert!(!hit("shop.example/img/*.png", "shop.example/img/a/b.png"));
        assert!(!hit("localhost:8080/**", "localhost:9090/a"));
        assert!(!hit("shop.example/img/**", "shop.example/images/a"));
    }
}
