//! Conditional requests, on both sides of a stored response. (RFC 9110 §8.8, §13; RFC 9111 §4.3)
//!
//! Downstream a client asks whether its copy is still good, and the stored response answers. Upstream this cache asks
//! the same of the origin, and a 304 freshens the stored response. The traps: entity tags compare in two ways, weakly
//! for `If-None-Match` and strongly for ranges and for choosing what a 304 updates; a 304 updates every field and not
//! a favoured few, or `Date` stays old and the copy stays stale; and what must not be stored must not come in by a 304.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED,
};
use http::{HeaderMap, StatusCode};

use super::directives::ResponseDirectives;
use super::etag::{EntityTag, EntityTags};
use super::{date, storable};

/// How a stored response answers a client's conditional request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The client's copy is good: 304, after [`trim_to_304`].
    NotModified,
    /// All of it.
    Full,
}

/// Evaluates `If-None-Match`, or else `If-Modified-Since`, against a stored response received at `received`
/// (RFC 9110 §13.2.2, RFC 9111 §4.3.2). Only for GET and HEAD. Whatever is not a 200 is sent whole: preconditions
/// are for what would succeed (RFC 9110 §13.2.1).
pub fn answer(request: &HeaderMap, status: StatusCode, stored: &HeaderMap, received: SystemTime) -> Answer {
    if status != StatusCode::OK {
        return Answer::Full;
    }
    let good = if request.contains_key(IF_NONE_MATCH) {
        none_match_fails(request, stored)
    } else {
        unmodified_since(request, stored, received)
    };
    if good { Answer::NotModified } else { Answer::Full }
}

/// RFC 9110 §13.1.2: `*` or a tag in the list weakly equal to the stored one.
fn none_match_fails(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let stored = stored.get(ETAG).map(|tag| EntityTag::parse(tag.as_bytes()));
    request.get_all(IF_NONE_MATCH).iter().any(|line| {
        line.as_bytes().trim_ascii() == b"*"
            || stored.is_some_and(|stored| EntityTags(line.as_bytes()).any(|tag| tag.weakly_equals(stored)))
    })
}

/// RFC 9110 §13.1.3, with `Date` or the time of receipt for want of `Last-Modified` (RFC 9111 §4.3.2).
fn unmodified_since(request: &HeaderMap, stored: &HeaderMap, received: SystemTime) -> bool {
    let mut lines = request.get_all(IF_MODIFIED_SINCE).iter();
    let (Some(since), None) = (lines.next(), lines.next()) else { return false };
    if stored.get(LAST_MODIFIED) == Some(since) {
        return date::parse(since, received).is_some();
    }
    let Some(since) = date::parse(since, received) else { return false };
    let time = |name| stored.get(name).and_then(|value| date::parse(value, received));
    time(LAST_MODIFIED).or_else(|| time(DATE)).unwrap_or(received) <= since
}

/// Removes from a copy of the stored fields what a 304 does not carry (RFC 9110 §15.4.5): the description of a body
/// that is not there. Everything else stays, so that the client's copy is freshened as the stored one would be.
pub fn trim_to_304(headers: &mut HeaderMap) {
    for name in OF_THE_BODY {
        headers.remove(name);
    }
}

/// Whether [`trim_to_304`] removes the field of this name, in any case.
pub fn is_of_the_body(name: &[u8]) -> bool {
    OF_THE_BODY.iter().any(|field| field.len() == name.len() && field.as_bytes().eq_ignore_ascii_case(name))
}

const OF_THE_BODY: [&str; 9] = [
    "accept-ranges",
    "content-digest",
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-range",
    "content-type",
    "transfer-encoding",
];

/// Whether a `Range` is to be honoured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeUse {
    /// The client's part is of what is stored, or it did not ask.
    Honour,
    /// It is of something else: send all.
    Ignore,
}

/// Evaluates `If-Range` (RFC 9110 §13.1.5): an equal strong tag, or the very `Last-Modified` if that is a strong
/// validator. Only for a request with `Range`.
pub fn if_range(request: &HeaderMap, stored: &HeaderMap, received: SystemTime) -> RangeUse {
    let mut lines = request.get_all(IF_RANGE).iter();
    let equal = match (lines.next(), lines.next()) {
        (None, _) => return RangeUse::Honour,
        (Some(_), Some(_)) => false,
        (Some(value), None) if value.as_bytes().iter().take(3).any(|b| *b == b'"') => stored
            .get(ETAG)
            .is_some_and(|tag| EntityTag::parse(tag.as_bytes()).strongly_equals(EntityTag::parse(value.as_bytes()))),
        (Some(value), None) => stored.get(LAST_MODIFIED) == Some(value) && has_strong_date(stored, received),
    };
    if equal { RangeUse::Honour } else { RangeUse::Ignore }
}

/// The validator by which parts of this response may be put together, and others asked for (RFC 9110 §13.1.5, §15.3.7.3):
/// a strong `ETag`, or without any `ETag` a `Last-Modified` that is strong (§8.8.2.2).
pub fn strong_validator(headers: &HeaderMap, received: SystemTime) -> Option<&HeaderValue> {
    match headers.get(ETAG) {
        Some(tag) if tag.as_bytes().first() == Some(&b'"') => Some(tag),
        Some(_) => None,
        None => headers.get(LAST_MODIFIED).filter(|_| has_strong_date(headers, received)),
    }
}

/// Whether `Last-Modified` is a strong validator: at least a second before `Date` (RFC 9110 §8.8.2.2).
fn has_strong_date(headers: &HeaderMap, received: SystemTime) -> bool {
    let time = |name| headers.get(name).and_then(|value| date::parse(value, received));
    let (Some(modified), Some(date)) = (time(LAST_MODIFIED), time(DATE)) else { return false };
    date.duration_since(modified).is_ok_and(|gap| gap >= Duration::from_secs(1))
}

/// The fields that make a request upstream conditional on a stored response (RFC 9111 §4.3.1), in place of the
/// client's own. With neither there is nothing to validate by: the request goes unconditional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditionals {
    /// The stored `ETag`, as it is.
    pub if_none_match: Option<HeaderValue>,
    /// The stored `Last-Modified`, as it is, if it is a date.
    pub if_modified_since: Option<HeaderValue>,
}

/// What to send upstream to validate a stored response received at `received`.
pub fn upstream_conditionals(stored: &HeaderMap, received: SystemTime) -> Conditionals {
    Conditionals {
        if_none_match: stored.get(ETAG).cloned(),
        if_modified_since: stored.get(LAST_MODIFIED).filter(|date| date::parse(date, received).is_some()).cloned(),
    }
}

/// Why a 304 says nothing about the stored response: it must be fetched again, unconditionally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Its entity tag is not the stored one's.
    ETag,
    /// Its modification date is not the stored one's.
    LastModified,
    /// The answer to a HEAD does not confirm the stored response ([`head_confirms`]).
    Head,
}

impl Mismatch {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mismatch::ETag => "etag-mismatch",
            Mismatch::LastModified => "last-modified-mismatch",
            Mismatch::Head => "head-mismatch",
        }
    }
}

/// Is this 304, the answer to [`upstream_conditionals`], about the stored response? (RFC 9111 §4.3.4)
///
/// A 304 without a validator is taken to be: the one it answers was the only one asked about.
pub fn check_304(stored: &HeaderMap, from_304: &HeaderMap) -> Result<(), Mismatch> {
    let tag = |headers: &HeaderMap| headers.get(ETAG).cloned();
    match (tag(stored), tag(from_304)) {
        (Some(ours), Some(theirs)) => {
            let (ours, theirs) = (EntityTag::parse(ours.as_bytes()), EntityTag::parse(theirs.as_bytes()));
            let equal = if theirs.weak { ours.weakly_equals(theirs) } else { ours.strongly_equals(theirs) };
            return if equal { Ok(()) } else { Err(Mismatch::ETag) };
        }
        // A strong tag that nothing stored has.
        (None, Some(theirs)) if !EntityTag::parse(theirs.as_bytes()).weak => return Err(Mismatch::ETag),
        _ => {}
    }
    match (stored.get(LAST_MODIFIED), from_304.get(LAST_MODIFIED)) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Mismatch::LastModified),
        _ => Ok(()),
    }
}

/// Does this 200 to a HEAD say that the stored response to a GET still holds? (RFC 9111 §4.3.5)
///
/// Its validators must be those of the stored response, of which there must be one, and so must its length.
pub fn head_confirms(stored: &HeaderMap, from_head: &HeaderMap) -> bool {
    let has = |name: &HeaderName| stored.contains_key(name) && from_head.contains_key(name);
    let length = |headers: &HeaderMap| headers.get(CONTENT_LENGTH).cloned();
    let same_length = match (length(stored), length(from_head)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    };
    (has(&ETAG) || has(&LAST_MODIFIED)) && same_length && check_304(stored, from_head).is_ok()
}

/// The stored fields, freshened by a 304 that was received at `received` (RFC 9111 §3.2, §4.3.4).
///
/// Every field of the 304 replaces the stored ones of its name, but for what must not be stored
/// ([`storable::strip`]), `Content-Length`, and what says how the stored body is to be read (`Content-Encoding`,
/// `Content-Range`). An `Age` that the 304 does not repeat is gone, and a `Date` it lacks is the time of receipt
/// (RFC 9110 §6.6.1), or the copy would be as old as before.
pub fn merge_304(
    stored: &HeaderMap,
    from_304: &HeaderMap,
    set_cookie: storable::SetCookie,
    received: SystemTime,
) -> HeaderMap {
    let mut update = from_304.clone();
    storable::strip(&mut update, &ResponseDirectives::from(from_304), set_cookie);
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE] {
        update.remove(name);
    }
    let mut merged = stored.clone();
    merged.remove(AGE);
    merged.remove(DATE);
    for name in update.keys() {
        merged.remove(name);
    }
    for (name, value) in &update {
        merged.append(name, value.clone());
    }
    if !merged.contains_key(DATE)
        && let Some(date) = date::field(received)
    {
        merged.insert(DATE, date);
    }
    // A 304 may bring a new no-cache="…" or private="…", whose fields must not stay.
    let directives = ResponseDirectives::from(&merged);
    storable::strip(&mut merged, &directives, set_cookie);
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::storable::SetCookie;
    use super::*;

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const NOON: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn received() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn is_304(request: &[(&'static str, &str)], stored: &[(&'static str, &str)]) -> bool {
        answer(&map(request), StatusCode::OK, &map(stored), received()) == Answer::NotModified
    }

    #[test]
    fn if_none_match_compares_weakly_rfc9110_13_1_2() {
        for (asked, stored, expected) in [
            ("\"a\"", "\"a\"", true),
            ("W/\"a\"", "\"a\"", true),
            ("\"a\"", "W/\"a\"", true),
            ("W/\"a\"", "W/\"b\"", false),
            ("\"1\", \"a\" ,\"2\"", "\"a\"", true),
            (",, \"a\",", "\"a\"", true),
            ("\"x,\\\", \"a\"", "\"a\"", true),
            ("\"x, \"a\"\"", "\"a\"", false),
            ("\"a,b\"", "\"a,b\"", true),
            ("\"a\", \"b\"", "\"a,b\"", false),
            ("*", "\"a\"", true),
            ("\"*\"", "\"a\"", false),
            ("w/\"a\"", "\"a\"", false),
            ("\"A\"", "\"a\"", false),
            ("", "\"a\"", false),
            ("a", "a", true),
        ] {
            assert_eq!(is_304(&[("if-none-match", asked)], &[("etag", stored)]), expected, "{asked} {stored}");
        }
        assert!(is_304(&[("if-none-match", "\"1\""), ("if-none-match", "\"a\"")], &[("etag", "\"a\"")]));
        assert!(is_304(&[("if-none-match", "*")], &[]));
        assert!(!is_304(&[("if-none-match", "\"a\"")], &[]));
    }

    #[test]
    fn if_none_match_beats_if_modified_since_rfc9110_13_1_3() {
        let stored = [("etag", "\"a\""), ("last-modified", NOON)];
        assert!(is_304(&[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)], &stored));
        assert!(!is_304(&[("if-none-match", "\"b\""), ("if-modified-since", LATER)], &stored));
        assert!(!is_304(&[("if-none-match", "\"b\""), ("if-modified-since", LATER)], &[("last-modified", NOON)]));
    }

    #[test]
    fn if_modified_since_compares_dates_rfc9110_13_1_3() {
        for (since, expected) in [
            (NOON, true),
            (LATER, true),
            (EARLIER, false),
            ("Sunday, 06-Nov-94 08:49:37 GMT", true),
            ("yesterday", false),
            ("0", false),
        ] {
            assert_eq!(is_304(&[("if-modified-since", since)], &[("last-modified", NOON)]), expected, "{since}");
        }
        assert!(!is_304(&[("if-modified-since", NOON), ("if-modified-since", NOON)], &[("last-modified", NOON)]));
        assert!(!is_304(&[("if-modified-since", "x")], &[("last-modified", "x")]));
        assert!(!is_304(&[], &[("last-modified", NOON), ("etag", "\"a\"")]));
    }

    #[test]
    fn date_or_receipt_stand_in_for_last_modified_rfc9111_4_3_2() {
        assert!(is_304(&[("if-modified-since", NOON)], &[("date", NOON)]));
        assert!(!is_304(&[("if-modified-since", NOON)], &[("date", LATER)]));
        assert!(is_304(&[("if-modified-since", NOON)], &[]));
        assert!(!is_304(&[("if-modified-since", EARLIER)], &[]));
    }

    #[test]
    fn only_what_would_succeed_is_conditional_rfc9110_13_2_1() {
        let (request, stored) = (map(&[("if-none-match", "*")]), map(&[]));
        for status in [203, 301, 404, 500] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(answer(&request, status, &stored, received()), Answer::Full);
        }
    }

    #[test]
    fn a_304_carries_no_description_of_a_body_rfc9110_15_4_5() {
        let kept = [
            ("etag", "\"a\""),
            ("date", NOON),
            ("vary", "accept"),
            ("cache-control", "max-age=1"),
            ("expires", NOON),
            ("content-location", "/a"),
            ("content-security-policy", "default-src 'self'"),
            ("last-modified", NOON),
        ];
        let mut headers = map(&kept);
        for name in ["content-type", "content-length", "content-encoding", "content-language", "content-range"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        trim_to_304(&mut headers);
        assert_eq!(headers, map(&kept));
    }

    #[test]
    fn if_range_needs_a_strong_validator_rfc9110_13_1_5() {
        let stored = [("etag", "\"a\""), ("last-modified", NOON), ("date", LATER)];
        let ask = |value: &str, stored: &[(&'static str, &str)]| {
            if_range(&map(&[("if-range", value)]), &map(stored), received())
        };
        assert_eq!(if_range(&map(&[]), &map(&stored), received()), RangeUse::Honour);
        assert_eq!(ask("\"a\"", &stored), RangeUse::Honour);
        assert_eq!(ask("\"b\"", &stored), RangeUse::Ignore);
        assert_eq!(ask("W/\"a\"", &[("etag", "W/\"a\"")]), RangeUse::Ignore);
        assert_eq!(ask("\"a\"", &[("etag", "W/\"a\"")]), RangeUse::Ignore);
        assert_eq!(ask(NOON, &stored), RangeUse::Honour);
        // Exact, not "earlier or equal".
        assert_eq!(ask(LATER, &stored), RangeUse::Ignore);
        assert_eq!(ask(NOON, &[("last-modified", NOON), ("date", NOON)]), RangeUse::Ignore);
        assert_eq!(ask(NOON, &[("last-modified", NOON)]), RangeUse::Ignore);
        assert_eq!(ask("a", &[("etag", "a")]), RangeUse::Ignore);
    }

    #[test]
    fn validation_sends_both_validators_rfc9111_4_3_1() {
        let sent = upstream_conditionals(&map(&[("etag", "W/\"a\""), ("last-modified", NOON)]), received());
        assert_eq!(sent.if_none_match.unwrap(), "W/\"a\"");
        assert_eq!(sent.if_modified_since.unwrap(), NOON);
        assert_eq!(upstream_conditionals(&map(&[("last-modified", "x")]), received()), Conditionals::default());
    }

    #[test]
    fn a_304_about_another_response_updates_nothing_rfc9111_4_3_4() {
        let check = |stored: &[_], from_304: &[_]| check_304(&map(stored), &map(from_304));
        let (strong, weak) = (("etag", "\"a\""), ("etag", "W/\"a\""));
        assert_eq!(check(&[strong], &[strong]), Ok(()));
        assert_eq!(check(&[strong], &[weak]), Ok(()));
        assert_eq!(check(&[weak], &[weak]), Ok(()));
        assert_eq!(check(&[weak], &[strong]), Err(Mismatch::ETag));
        assert_eq!(check(&[strong], &[("etag", "\"b\"")]), Err(Mismatch::ETag));
        assert_eq!(check(&[("last-modified", NOON)], &[strong, ("last-modified", NOON)]), Err(Mismatch::ETag));
        assert_eq!(check(&[("last-modified", NOON)], &[("last-modified", NOON)]), Ok(()));
        assert_eq!(check(&[("last-modified", NOON)], &[("last-modified", LATER)]), Err(Mismatch::LastModified));
        assert_eq!(check(&[strong, ("last-modified", NOON)], &[]), Ok(()));
    }

    #[test]
    fn a_head_confirms_by_validator_and_length_rfc9111_4_3_5() {
        let stored = map(&[("etag", "\"a\""), ("content-length", "5")]);
        for (fields, confirms) in [
            (&[("etag", "\"a\""), ("content-length", "5")][..], true),
            (&[("etag", "\"a\"")], true),
            (&[("etag", "\"a\""), ("content-length", "6")], false),
            (&[("etag", "\"b\""), ("content-length", "5")], false),
            (&[("content-length", "5")], false),
            (&[("last-modified", EARLIER), ("content-length", "5")], false),
        ] {
            assert_eq!(head_confirms(&stored, &map(fields)), confirms, "{fields:?}");
        }
        assert!(!head_confirms(&map(&[]), &map(&[])));
    }

    #[test]
    fn a_304_updates_every_field_but_those_of_the_body_rfc9111_3_2() {
        let stored = map(&[
            ("cache-control", "max-age=1"),
            ("date", EARLIER),
            ("age", "100"),
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain"),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("x-only-stored", "1"),
        ]);
        let from_304 = map(&[
            ("cache-control", "max-age=3600"),
            ("date", NOON),
            ("etag", "\"a\""),
            ("content-length", "10"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-1/2"),
            ("content-type", "text/plain;charset=utf-8"),
            ("content-foo", "b"),
            ("x-twice", "3"),
            ("x-twice", "4"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("set-cookie", "s=1"),
            ("proxy-authenticate", "x"),
        ]);
        let expected = map(&[
            ("cache-control", "max-age=3600"),
            ("date", NOON),
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("content-encoding", "gzip"),
            ("content-type", "text/plain;charset=utf-8"),
            ("content-foo", "b"),
            ("x-twice", "3"),
            ("x-twice", "4"),
            ("x-only-stored", "1"),
        ]);
        assert_eq!(merge_304(&stored, &from_304, SetCookie::Strip, received()), expected);
    }

    #[test]
    fn a_304_without_date_or_age_makes_the_copy_young_rfc9110_6_6_1() {
        let merged = merge_304(&map(&[("date", EARLIER), ("age", "100")]), &map(&[]), SetCookie::Strip, received());
        assert_eq!(merged, map(&[("date", NOON)]));
        let merged =
            merge_304(&map(&[("age", "100")]), &map(&[("age", "7"), ("date", LATER)]), SetCookie::Strip, received());
        assert_eq!(merged, map(&[("age", "7"), ("date", LATER)]));
    }

    #[test]
    fn a_field_that_a_304_makes_private_does_not_stay() {
        let stored = map(&[("x-user", "1"), ("cache-control", "max-age=1"), ("date", NOON)]);
        let from_304 = map(&[("cache-control", "max-age=1, private=\"x-user\""), ("x-user", "2"), ("date", NOON)]);
        assert!(!merge_304(&stored, &from_304, SetCookie::Strip, received()).contains_key("x-user"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(ours in proptest::collection::vec(any::<u8>(), 0..20), theirs in proptest::collection::vec(any::<u8>(), 0..30)) {
            if let (Ok(ours), Ok(theirs)) = (HeaderValue::from_bytes(&ours), HeaderValue::from_bytes(&theirs)) {
                let stored: HeaderMap = [(ETAG, ours.clone()), (LAST_MODIFIED, ours)].into_iter().collect();
                for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, ETAG, LAST_MODIFIED] {
                    let request: HeaderMap = [(name, theirs.clone())].into_iter().collect();
                    let _ = answer(&request, StatusCode::OK, &stored, received());
                    let _ = if_range(&request, &stored, received());
                    let _ = check_304(&stored, &request);
                    let _ = merge_304(&stored, &request, SetCookie::Strip, received());
                }
            }
        }

        #[test]
        fn a_tag_is_found_wherever_it_stands(tags in proptest::collection::vec("[!#-~ ,\\\\]{0,6}", 1..5), pick in any::<proptest::sample::Index>()) {
            let list = tags.iter().map(|t| format!("\"{t}\"")).collect::<Vec<_>>().join(", ");
            let stored = format!("\"{}\"", pick.get(&tags));
            prop_assert!(is_304(&[("if-none-match", &list)], &[("etag", &stored)]), "{} {}", list, stored);
            prop_assert!(!is_304(&[("if-none-match", &list)], &[("etag", "\"not in it\"")]));
        }
    }
}
