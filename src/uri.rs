//! The one normalisation of a request target, and of a host.
//!
//! Route, cache key and backend must see the same path. Where each of them normalises for itself, `/static/%2e%2e/admin`
//! is an asset for the route, a key of its own for the cache and the admin page for the backend; so it is done once, at
//! the door, and everything behind it compares bytes. What is left alone is what a backend may rightly tell apart:
//! `%2F` against `/`, and `//` against `/`.
//!
//! The simpler way, RFC 3986 §6.2.2 word for word, drops a `..` that climbs above the root and keeps `..%2F`: the first
//! hides an attack, the second hands it to any backend that decodes before it resolves. Both are refused here.

mod host;

use std::borrow::Cow;
use std::fmt;

pub use host::{BadHost, normalise_host};

/// A request target in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The scheme of an absolute-form target (RFC 9112 §3.2.2).
    pub scheme: Option<Scheme>,
    /// The authority of an absolute-form target, as sent: it takes the place of `Host` and goes through [`normalise_host`].
    pub authority: Option<&'a str>,
    /// Starts with `/` and holds only `pchar`, `/` and upper-case escapes; or `*`, the asterisk-form of OPTIONS.
    pub path: Cow<'a, str>,
    /// What follows the first `?`, without it; `Some("")` when nothing follows.
    pub query: Option<Cow<'a, str>>,
}

/// The scheme of an absolute-form target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port where none is written.
    pub const fn port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Why a request target is refused; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadTarget {
    /// Nothing there.
    Empty,
    /// Neither `/…`, `http://…` nor `*`.
    Form,
    /// An absolute-form target without an authority.
    Authority,
    /// A `#`: fragments are never sent (RFC 9110 §7.1).
    Fragment,
    /// A space or a control character, raw, or a control character escaped in the path.
    ControlCharacter,
    /// A `%` in the path that two hexadecimal digits do not follow.
    Escape,
    /// More `..` than segments.
    AboveRoot,
    /// A `.` or `..` beside an escaped slash or a backslash: harmless here, a climb for who decodes first.
    HiddenDots,
}

impl BadTarget {
    /// The reason as one word, for the log and the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            BadTarget::Empty => "empty-target",
            BadTarget::Form => "target-form",
            BadTarget::Authority => "target-authority",
            BadTarget::Fragment => "fragment",
            BadTarget::ControlCharacter => "control-character",
            BadTarget::Escape => "invalid-escape",
            BadTarget::AboveRoot => "above-root",
            BadTarget::HiddenDots => "hidden-dots",
        }
    }
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadTarget::Empty => "it is empty",
            BadTarget::Form => "it does not start with `/`",
            BadTarget::Authority => "it has no host",
            BadTarget::Fragment => "it contains `#`",
            BadTarget::ControlCharacter => "it contains a space or a control character",
            BadTarget::Escape => "it contains a `%` that two hexadecimal digits do not follow",
            BadTarget::AboveRoot => "it climbs above the root",
            BadTarget::HiddenDots => "it hides `.` or `..` beside `%2F` or a backslash",
        })
    }
}

impl std::error::Error for BadTarget {}

/// Brings a request target into its normal form. Idempotent; allocates nothing for a target that already has it, unless
/// it holds `%2F` or `%5C`.
///
/// In the path, escapes of unreserved characters are decoded, other escapes get upper-case digits, bytes that RFC 3986
/// does not allow raw are escaped, and dot segments are removed (§6.2.2, §5.2.4). Empty segments stay. In the query only
/// bytes outside ASCII are escaped: its syntax belongs to the application.
pub fn normalise(target: &str) -> Result<Target<'_>, BadTarget> {
    if target.is_empty() {
        return Err(BadTarget::Empty);
    }
    for &b in target.as_bytes() {
        match b {
            b'#' => return Err(BadTarget::Fragment),
            0..=0x20 | 0x7f => return Err(BadTarget::ControlCharacter),
            _ => {}
        }
    }
    if target == "*" {
        return Ok(Target { scheme: None, authority: None, path: Cow::Borrowed(target), query: None });
    }
    let (scheme, authority, rest) = split_absolute(target)?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let path = if path.is_empty() { Cow::Borrowed("/") } else { normalise_path(path)? };
    Ok(Target { scheme, authority, path, query: query.map(escape_non_ascii) })
}

/// Scheme and authority of an absolute-form target, and what follows them.
fn split_absolute(target: &str) -> Result<(Option<Scheme>, Option<&str>, &str), BadTarget> {
    if target.starts_with('/') {
        return Ok((None, None, target));
    }
    let (scheme, rest) = target.split_once("://").ok_or(BadTarget::Form)?;
    let scheme = if scheme.eq_ignore_ascii_case("http") {
        Scheme::Http
    } else if scheme.eq_ignore_ascii_case("https") {
        Scheme::Https
    } else {
        return Err(BadTarget::Form);
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err(BadTarget::Authority);
    }
    Ok((Some(scheme), Some(authority), rest))
}

fn escape_non_ascii(query: &str) -> Cow<'_, str> {
    if query.is_ascii() {
        return Cow::Borrowed(query);
    }
    let mut out = String::with_capacity(query.len() * 2);
    for &b in query.as_bytes() {
        if b.is_ascii() { out.push(char::from(b)) } else { push_escape(&mut out, b) }
    }
    Cow::Owned(out)
}

fn normalise_path(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut out = String::with_capacity(path.len() + 8);
    // Where each segment kept so far starts in `out`, at its slash.
    let mut starts = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        out.push('/');
        push_segment(&mut out, segment)?;
        let is_last = segments.peek().is_none();
        match &out[start + 1..] {
            "." => {
                out.truncate(start);
                if is_last {
                    out.push('/');
                }
            }
            ".." => {
                out.truncate(starts.pop().ok_or(BadTarget::AboveRoot)?);
                if is_last {
                    out.push('/');
                }
            }
            _ => starts.push(start),
        }
    }
    Ok(if out == path { Cow::Borrowed(path) } else { Cow::Owned(out) })
}

/// Whether the path needs no work, in one pass. An escaped slash or backslash counts as work: what stands beside it must
/// be looked at.
fn is_plain(path: &[u8]) -> bool {
    let mut segment = 0;
    let mut i = 0;
    while i < path.len() {
        match path[i] {
            b'/' => {
                if matches!(&path[segment..i], b"." | b"..") {
                    return false;
                }
                segment = i + 1;
            }
            b'%' => {
                let digits = (path.get(i + 1).copied(), path.get(i + 2).copied());
                let (Some(high @ (b'0'..=b'9' | b'A'..=b'F')), Some(low @ (b'0'..=b'9' | b'A'..=b'F'))) = digits else {
                    return false;
                };
                let b = hex(high).unwrap_or(0) << 4 | hex(low).unwrap_or(0);
                if is_unreserved(b) || matches!(b, 0..=0x1f | 0x7f | b'/' | b'\\') {
                    return false;
                }
                i += 2;
            }
            b if !is_pchar(b) => return false,
            _ => {}
        }
        i += 1;
    }
    !matches!(&path[segment..], b"." | b"..")
}

/// Appends one segment with its escapes in normal form.
fn push_segment(out: &mut String, segment: &str) -> Result<(), BadTarget> {
    let bytes = segment.as_bytes();
    // The part since the last hidden slash, to find dots that only a later decoder would see.
    let mut piece = out.len();
    let mut has_hidden_slash = false;
    let mut i = 0;
    while i < bytes.len() {
        let b = match bytes[i] {
            b'%' => {
                let escaped = bytes.get(i + 1).zip(bytes.get(i + 2)).and_then(|(&h, &l)| Some(hex(h)? << 4 | hex(l)?));
                i += 2;
                escaped.ok_or(BadTarget::Escape)?
            }
            b if is_pchar(b) => {
                out.push(char::from(b));
                i += 1;
                continue;
            }
            b => b,
        };
        i += 1;
        match b {
            0..=0x1f | 0x7f => return Err(BadTarget::ControlCharacter),
            b if is_unreserved(b) => out.push(char::from(b)),
            b'/' | b'\\' => {
                if matches!(&out[piece..], "." | "..") {
                    return Err(BadTarget::HiddenDots);
                }
                push_escape(out, b);
                has_hidden_slash = true;
                piece = out.len();
            }
            b => push_escape(out, b),
        }
    }
    if has_hidden_slash && matches!(&out[piece..], "." | "..") {
        return Err(BadTarget::HiddenDots);
    }
    Ok(())
}

fn push_escape(out: &mut String, b: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(b >> 4)]));
    out.push(char::from(DIGITS[usize::from(b & 0xf)]));
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 §2.3.
const fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 §3.3, escapes apart.
const fn is_pchar(b: u8) -> bool {
    is_unreserved(b)
        || matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(target: &str) -> String {
        normalise(target).unwrap().path.into_owned()
    }

    #[test]
    fn a_normal_target_is_borrowed() {
        for t in ["/", "/a/b.css?x=1&y=%zz", "//a//b/", "/a%2Fb", "/a%20b", "/-._~!$&'()*+,;=:@", "/..a/a../.a."] {
            let target = normalise(t).unwrap();
            assert!(matches!(target.path, Cow::Borrowed(_)), "{t}");
            assert!(matches!(target.query, None | Some(Cow::Borrowed(_))), "{t}");
            assert_eq!(target.path, t.split('?').next().unwrap());
        }
    }

    #[test]
    fn escapes_take_one_form() {
        assert_eq!(path("/%7euser/%41%2d%c3%a4"), "/~user/A-%C3%A4");
        assert_eq!(path("/a%2fb"), "/a%2Fb");
        assert_eq!(path("/%25zz"), "/%25zz");
        assert_eq!(path("/ä\"<>[]^`{|}"), "/%C3%A4%22%3C%3E%5B%5D%5E%60%7B%7C%7D");
        assert_eq!(path("/a\\b"), "/a%5Cb");
        assert_eq!(path("/%21"), "/%21", "an escaped sub-delimiter is not the raw one (RFC 3986 2.2)");
    }

    #[test]
    fn dot_segments_are_removed_and_slashes_kept() {
        for (given, normal) in [
            ("/.", "/"),
            ("/./", "/"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/../c", "/a/c"),
            ("/a/b/%2e%2E/c", "/a/c"),
            ("/a/%2e/c", "/a/c"),
            ("/a//../b", "/a/b"),
            ("/a//b", "/a//b"),
            ("//..", "/"),
            ("/a/b/c/./../../g", "/a/g"),
            ("/...", "/..."),
        ] {
            assert_eq!(path(given), normal, "{given}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for (given, reason) in [
            ("", BadTarget::Empty),
            ("a", BadTarget::Form),
            ("ftp://a/", BadTarget::Form),
            ("example.com:443", BadTarget::Form),
            ("**", BadTarget::Form),
            ("http:///a", BadTarget::Authority),
            ("http://?a", BadTarget::Authority),
            ("/a#b", BadTarget::Fragment),
            ("/a?b#c", BadTarget::Fragment),
            ("/a b", BadTarget::ControlCharacter),
            ("/a?b\n", BadTarget::ControlCharacter),
            ("/%00", BadTarget::ControlCharacter),
            ("/%0d%0a", BadTarget::ControlCharacter),
            ("/%7f", BadTarget::ControlCharacter),
            ("/%", BadTarget::Escape),
            ("/%2", BadTarget::Escape),
            ("/%2/", BadTarget::Escape),
            ("/%zz", BadTarget::Escape),
            ("/..", BadTarget::AboveRoot),
            ("/a/../../b", BadTarget::AboveRoot),
            ("/%2e%2e/", BadTarget::AboveRoot),
            ("/static/..%2fadmin", BadTarget::HiddenDots),
            ("/static/x%2f%2e%2e", BadTarget::HiddenDots),
            ("/static/..\\admin", BadTarget::HiddenDots),
            ("/static/.%5cadmin", BadTarget::HiddenDots),
        ] {
            assert_eq!(normalise(given), Err(reason), "{given:?}");
        }
    }

    #[test]
    fn the_absolute_form_gives_its_authority() {
        let t = normalise("HTTP://Shop.example:80/a/../b?c").unwrap();
        assert_eq!((t.scheme, t.authority), (Some(Scheme::Http), Some("Shop.example:80")));
        assert_eq!((&*t.path, t.query.as_deref()), ("/b", Some("c")));
        let t = normalise("https://shop.example").unwrap();
        assert_eq!((t.scheme, &*t.path, t.query), (Some(Scheme::Https), "/", None));
        let t = normalise("http://shop.example?x=/").unwrap();
        assert_eq!((t.authority, &*t.path, t.query.as_deref()), (Some("shop.example"), "/", Some("x=/")));
    }

    #[test]
    fn the_asterisk_form_is_a_path_of_its_own() {
        assert_eq!(path("*"), "*");
        assert_eq!(path("/*"), "/*");
    }

    #[test]
    fn the_query_belongs_to_the_application() {
        let t = normalise("/?a=%zz&b=[/../]%00&c=ä?").unwrap();
        assert_eq!(t.query.as_deref(), Some("a=%zz&b=[/../]%00&c=%C3%A4?"));
        assert_eq!(normalise("/?").unwrap().query.as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(target in "(/|\\.|%2[eEfF5]|%5c|%[0-9a-f]{2}|[a-z]|ä|[\\\\?&;{}~]|\\PC){0,24}") {
            for target in [format!("/{target}"), format!("http://h/{target}"), target] {
                let Ok(once) = normalise(&target) else { continue };
                let text = match &once.query {
                    Some(query) => format!("{}?{query}", once.path),
                    None => once.path.to_string(),
                };
                let twice = normalise(&text).unwrap();
                prop_assert_eq!(&twice.path, &once.path);
                prop_assert_eq!(&twice.query, &once.query);
                prop_assert!(matches!(twice.path, Cow::Borrowed(_)));
                prop_assert!(once.path.split('/').all(|s| s != "." && s != ".."));
                prop_assert!(once.path.bytes().all(|b| b == b'/' || b == b'%' || is_pchar(b)));
            }
        }

        #[test]
        fn no_text_panics(target in any::<String>()) {
            let _ = normalise(&target);
        }
    }
}
