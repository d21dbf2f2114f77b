//! What Cache-Control says, in responses and in requests. (RFC 9111 §5.2, RFC 5861, RFC 8246)
//!
//! A search for substrings fails on `ext="max-age=60, no-store"` and on `max-age =60`, so members are read by their
//! grammar. Where that breaks, the reading is the one that stores and reuses less: a directive that forbids counts
//! even with an argument it may not have, one that permits does not; a lifetime that is no number is zero; after a
//! quotation mark that is never closed no argument is believed.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName};

use super::list;

/// What every overlong or overflowing delta-seconds means (§1.2.2).
const MAX_DELTA: u64 = 1 << 31;

/// The directives of a response. Of duplicates the first counts (§4.2.1); unknown ones are ignored (§5.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache` without field names: validate before every reuse.
    pub no_cache: bool,
    /// `no-cache="a, b"`: fields that are not reused, and so not stored.
    pub no_cache_fields: Vec<HeaderName>,
    /// `private` without field names: not for a shared cache.
    pub private: bool,
    /// `private="a, b"`: fields a shared cache does not store.
    pub private_fields: Vec<HeaderName>,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `immutable` (RFC 8246)
    pub immutable: bool,
    /// `max-age`; zero if its value is invalid.
    pub max_age: Option<Duration>,
    /// `s-maxage`; zero if its value is invalid.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3); zero if its value is invalid.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4); zero if its value is invalid.
    pub stale_if_error: Option<Duration>,
    /// They come from a targeted field (RFC 9213), so `Cache-Control` and `Expires` do not count.
    pub is_targeted: bool,
}

impl From<&HeaderMap> for ResponseDirectives {
    fn from(headers: &HeaderMap) -> Self {
        let mut it = ResponseDirectives::default();
        for_each(headers, |name, argument| it.take(name, argument));
        it
    }
}

impl ResponseDirectives {
    /// Fields the origin names as not to be stored here: those of `no-cache="…"` and `private="…"`.
    pub fn fields_not_stored(&self) -> impl Iterator<Item = &HeaderName> {
        self.no_cache_fields.iter().chain(&self.private_fields)
    }

    pub(super) fn take(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("max-age") {
            self.max_age.get_or_insert(argument.delta().unwrap_or_default());
        } else if is("s-maxage") {
            self.s_maxage.get_or_insert(argument.delta().unwrap_or_default());
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache |= argument.fields(&mut self.no_cache_fields);
        } else if is("private") {
            self.private |= argument.fields(&mut self.private_fields);
        } else if is("public") {
            self.public |= argument == Argument::Absent;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand |= argument == Argument::Absent;
        } else if is("immutable") {
            self.immutable |= argument == Argument::Absent;
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate.get_or_insert(argument.delta().unwrap_or_default());
        } else if is("stale-if-error") {
            self.stale_if_error.get_or_insert(argument.delta().unwrap_or_default());
        }
    }
}

/// The directives of a request. They are advice (§5.2.1): a cache that ignores them passes `default()` around.
///
/// `Pragma` is not read: it is deprecated (§5.4), and whoever sends it sends Cache-Control too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`: validate before reuse.
    pub no_cache: bool,
    /// `no-store`: store nothing of the answer. What is already stored may be used (§5.2.1.5).
    pub no_store: bool,
    /// `only-if-cached`: 504 rather than a request upstream (§5.2.1.7).
    pub only_if_cached: bool,
    /// `max-age`: the oldest response wanted; zero if its value is invalid.
    pub max_age: Option<Duration>,
    /// `min-fresh`: for how long the response must still be fresh; absent if its value is invalid.
    pub min_fresh: Option<Duration>,
    /// `max-stale`: how stale the response may be, `Duration::MAX` without a value; absent if its value is invalid.
    pub max_stale: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4): how stale it may be when the origin fails; absent if its value is invalid.
    pub stale_if_error: Option<Duration>,
}

impl From<&HeaderMap> for RequestDirectives {
    fn from(headers: &HeaderMap) -> Self {
        let mut it = RequestDirectives::default();
        for_each(headers, |name, argument| it.take(name, argument));
        it
    }
}

impl RequestDirectives {
    fn take(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age.get_or_insert(argument.delta().unwrap_or_default());
        } else if is("min-fresh") {
            self.min_fresh = self.min_fresh.or_else(|| argument.delta());
        } else if is("max-stale") {
            let any = (argument == Argument::Absent).then_some(Duration::MAX);
            self.max_stale = self.max_stale.or(any).or_else(|| argument.delta());
        } else if is("stale-if-error") {
            self.stale_if_error = self.stale_if_error.or_else(|| argument.delta());
        }
    }
}

/// What follows a directive's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    Absent,
    Token(&'a [u8]),
    /// The inside of a quoted-string, escapes as written.
    Quoted(&'a [u8]),
    /// Not of the grammar, or not to be believed.
    Invalid,
}

impl Argument<'_> {
    /// A delta-seconds (§1.2.2), in either form; `None` if it is none.
    fn delta(self) -> Option<Duration> {
        let (Argument::Token(digits) | Argument::Quoted(digits)) = self else { return None };
        delta_seconds(digits)
    }

    /// Adds a list of field names; says whether the directive is to be read as if it had none: an empty list or a
    /// name that cannot be one leaves nothing to go by (§5.2.2.4, §5.2.2.7).
    fn fields(self, to: &mut Vec<HeaderName>) -> bool {
        let (Argument::Token(names) | Argument::Quoted(names)) = self else { return true };
        let before = to.len();
        for name in list::members(names) {
            match HeaderName::from_bytes(name) {
                Ok(name) => to.push(name),
                Err(_) => return true,
            }
        }
        to.len() == before
    }
}

/// A non-negative number of seconds; what does not fit is 2^31 (§1.2.2). `None` if it is anything but digits.
pub(super) fn delta_seconds(digits: &[u8]) -> Option<Duration> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = digits.iter().fold(0u64, |sum, d| (sum * 10 + u64::from(d - b'0')).min(MAX_DELTA));
    Some(Duration::from_secs(seconds))
}

/// Whether `no-transform` is said, of a message by its sender (§5.2.1.6, §5.2.2.6).
pub fn no_transform(headers: &HeaderMap) -> bool {
    let mut is_said = false;
    for_each(headers, |name, _| is_said |= name.eq_ignore_ascii_case(b"no-transform"));
    is_said
}

/// Calls `take` with each directive of all Cache-Control lines, in order.
fn for_each<'a>(headers: &'a HeaderMap, mut take: impl FnMut(&'a [u8], Argument<'a>)) {
    for line in headers.get_all(CACHE_CONTROL) {
        let mut rest = line.as_bytes();
        let mut believed = true;
        while !rest.is_empty() {
            let (name, argument, next) = directive(rest, &mut believed);
            if !name.is_empty() {
                take(name, if believed { argument } else { Argument::Invalid });
            }
            rest = next;
        }
    }
}

/// The first directive of a line, and what follows its comma.
fn directive<'a>(line: &'a [u8], believed: &mut bool) -> (&'a [u8], Argument<'a>, &'a [u8]) {
    let line = line.trim_ascii_start();
    let (name, after) = line.split_at(token_len(line));
    match after {
        [b'=', b'"', quoted @ ..] if *believed => match closing(quoted) {
            Some(end) => {
                let (clean, next) = to_end(&quoted[end + 1..]);
                (name, if clean { Argument::Quoted(&quoted[..end]) } else { Argument::Invalid }, next)
            }
            None => {
                *believed = false;
                (name, Argument::Invalid, to_end(quoted).1)
            }
        },
        [b'=', token @ ..] => {
            let (value, token) = token.split_at(token_len(token));
            let (clean, next) = to_end(token);
            (name, if clean && !value.is_empty() { Argument::Token(value) } else { Argument::Invalid }, next)
        }
        _ => {
            let (clean, next) = to_end(after);
            (name, if clean { Argument::Absent } else { Argument::Invalid }, next)
        }
    }
}

/// Whether the directive that was read up to here ends cleanly at a comma or the line's end, and what follows.
///
/// A semicolon ends it too, uncleanly: people write `max-age=60; private`, and that must not hide the `private`.
/// Quotes are not heeded: this skips only what the grammar does not know, and splitting it finds more, not less.
fn to_end(rest: &[u8]) -> (bool, &[u8]) {
    let Some(end) = rest.iter().position(|b| matches!(b, b',' | b';')) else {
        return (rest.trim_ascii().is_empty(), &[]);
    };
    (rest[end] == b',' && rest[..end].trim_ascii().is_empty(), &rest[end + 1..])
}

/// Where the quoted-string ends whose inside starts here (RFC 9110 §5.6.4).
fn closing(inside: &[u8]) -> Option<usize> {
    let mut escaped = false;
    inside.iter().position(|b| {
        let end = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        end
    })
}

/// The length of the token here (RFC 9110 §5.6.2).
fn token_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| !is_tchar(*b)).unwrap_or(bytes.len())
}

/// RFC 9110 §5.6.2
pub(super) const fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn lines(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|l| (CACHE_CONTROL, HeaderValue::from_str(l).unwrap())).collect()
    }

    fn response(line: &str) -> ResponseDirectives {
        ResponseDirectives::from(&lines(&[line]))
    }

    fn request(line: &str) -> RequestDirectives {
        RequestDirectives::from(&lines(&[line]))
    }

    fn secs(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn names_are_case_insensitive_and_lines_combine_rfc9111_5_2() {
        let it = ResponseDirectives::from(&lines(&["MaX-aGe=60,  pUbLiC", "", ", ,No-StOrE"]));
        assert_eq!(it.max_age, secs(60));
        assert!(it.public && it.no_store);
    }

    #[test]
    fn arguments_may_be_tokens_or_quoted_rfc9111_5_2() {
        assert_eq!(response("max-age=60").max_age, secs(60));
        assert_eq!(response("max-age=\"60\"").max_age, secs(60));
        assert_eq!(response("max-age=003600").max_age, secs(3600));
    }

    #[test]
    fn a_directive_inside_a_quoted_argument_is_none() {
        for line in ["ext=\"max-age=100, no-store\", max-age=1", "max-age=1, ext=\"a\\\", no-store, max-age=100\""] {
            let it = response(line);
            assert_eq!((it.max_age, it.no_store), (secs(1), false), "{line}");
        }
    }

    #[test]
    fn of_duplicates_the_first_counts_rfc9111_4_2_1() {
        assert_eq!(response("max-age=1, max-age=1800").max_age, secs(1));
        assert_eq!(ResponseDirectives::from(&lines(&["s-maxage=5", "s-maxage=9"])).s_maxage, secs(5));
    }

    #[test]
    fn an_invalid_lifetime_is_zero_rfc9111_4_2_1() {
        for value in
            ["=", "=a1", "=1a", "=-1", "=1.0", "= 60", " =60", "='60'", "=\"60", "=6 0", "", "=\"\"", "=\"6\"0"]
        {
            assert_eq!(response(&format!("max-age{value}")).max_age, secs(0), "max-age{value}");
        }
    }

    #[test]
    fn an_overflowing_lifetime_is_2_to_the_31_rfc9111_1_2_2() {
        for value in ["2147483648", "2147483649", "99999999999", "99999999999999999999999999999999999999"] {
            assert_eq!(response(&format!("max-age={value}")).max_age, secs(2_147_483_648), "{value}");
        }
        assert_eq!(response("max-age=2147483647").max_age, secs(2_147_483_647));
    }

    #[test]
    fn unknown_directives_are_ignored_rfc9111_5_2_3() {
        let it = response("nothing-to-see-here, x=1, y=\"z\", max-age=5, private-ish");
        assert_eq!(it, ResponseDirectives { max_age: secs(5), ..Default::default() });
    }

    #[test]
    fn qualified_no_cache_and_private_are_lists_rfc9111_5_2_2_4() {
        let it = response("no-cache=\"Set-Cookie, X-A\", private=x-b, max-age=9");
        assert!(!it.no_cache && !it.private);
        assert_eq!(it.fields_not_stored().map(HeaderName::as_str).collect::<Vec<_>>(), ["set-cookie", "x-a", "x-b"]);
        let both = response("no-cache=\"a\", no-cache");
        assert!(both.no_cache);
    }

    #[test]
    fn a_qualifier_that_names_nothing_is_no_qualifier() {
        for line in
            ["no-cache=\"\"", "no-cache=", "no-cache=\"a b\"", "no-cache=\"a, @\"", "no-cache=\"a", "no-cache = a"]
        {
            assert!(response(line).no_cache, "{line}");
        }
    }

    #[test]
    fn what_forbids_counts_with_any_argument_and_what_permits_does_not() {
        let it =
            response("no-store=1, must-revalidate=x, proxy-revalidate=\"\", public=1, immutable=1, must-understand=y");
        assert!(it.no_store && it.must_revalidate && it.proxy_revalidate);
        assert!(!it.public && !it.immutable && !it.must_understand);
    }

    #[test]
    fn an_unclosed_quote_hides_no_prohibition_and_grants_no_lifetime() {
        let it = response("ext=\"a, max-age=60, public, no-store");
        assert_eq!((it.max_age, it.public, it.no_store), (secs(0), false, true));
    }

    #[test]
    fn a_semicolon_hides_no_prohibition_and_grants_no_lifetime() {
        let it = response("max-age=60; private; no-store");
        assert_eq!((it.max_age, it.private, it.no_store), (secs(0), true, true));
        assert!(!response("public; max-age=60").public);
    }

    #[test]
    fn request_directives_read_as_advice_rfc9111_5_2_1() {
        let it = request("no-cache, no-store, only-if-cached, max-age=1, min-fresh=2, max-stale=3, stale-if-error=4");
        assert!(it.no_cache && it.no_store && it.only_if_cached);
        assert_eq!((it.max_age, it.min_fresh, it.max_stale, it.stale_if_error), (secs(1), secs(2), secs(3), secs(4)));
        assert_eq!(request("max-stale").max_stale, Some(Duration::MAX));
        let bad = request("max-age=x, min-fresh=x, max-stale=x, stale-if-error=x");
        assert_eq!(bad, RequestDirectives { max_age: secs(0), ..Default::default() });
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let headers: HeaderMap = [(CACHE_CONTROL, value)].into_iter().collect();
                let _ = (ResponseDirectives::from(&headers), RequestDirectives::from(&headers));
            }
        }

        /// Whatever well-formed things stand around it, a prohibition is seen and a lifetime is read.
        #[test]
        fn neighbours_hide_nothing(
            before in proptest::collection::vec("x[a-z-]{0,5}(=([a-z0-9]{1,5}|\"([^\"\\\\\\x00-\\x1f\\x7f-\\xff]|\\\\[ -~]){0,8}\"))?", 0..4),
            gap in "[ \\t,]{0,3},[ \\t,]{0,3}", age in 0u64..1 << 31,
        ) {
            let line = [before.join(&gap), format!("max-age={age}"), "no-store".into()].join(&gap);
            let it = response(&line);
            prop_assert_eq!((it.max_age, it.no_store), (secs(age), true), "{}", line);
        }

        /// However broken the rest is, a directive between bare commas is seen, unless a closed quote holds it.
        #[test]
        fn junk_hides_no_prohibition(junk in "[a-z=, \\\\;@-]{0,20}\"?[a-z=, \\\\;@-]{0,10}") {
            prop_assert!(response(&format!("{junk},no-store,{}", junk.replace('"', ""))).no_store, "{}", junk);
        }
    }
}
