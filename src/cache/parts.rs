//! Parts of a body: what a request wants of it, whether what is stored has that, and what to ask for if not.
//! (RFC 9110 §14.1, §15.3.7.3; RFC 9111 §3.3, §3.4)
//!
//! Two parts belong to one body only if the same strong validator says so. Everything else (the same URL, the same length,
//! a weak tag) is a guess, and a wrong one gives a client a file that never existed.

use std::time::SystemTime;

use http::HeaderMap;
use http::header::{ACCEPT_RANGES, ETAG, HeaderValue, RANGE};

use super::content_range::{Span, number};
use super::list;
use super::validate::strong_validator;

/// The one range of a body that a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// `5-9`, or `5-` for all from there on.
    From {
        /// The first position.
        first: u64,
        /// The last position; not before the first.
        last: Option<u64>,
    },
    /// `-5`: that many bytes at the end, at least one.
    Suffix(u64),
}

impl Wanted {
    /// What a request wants, if it wants one range of bytes. `None` for no `Range`, several, malformed ones, `-0`, or numbers
    /// beyond 64 bits: those are for the cutting of a complete body to answer.
    pub fn of(request: &HeaderMap) -> Option<Wanted> {
        let mut lines = request.get_all(RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let (unit, range) = line.as_bytes().split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes=") {
            return None;
        }
        let range = range.trim_ascii();
        let dash = range.iter().position(|b| *b == b'-')?;
        match (&range[..dash], &range[dash + 1..]) {
            (b"", length) => number(length).filter(|length| *length > 0).map(Wanted::Suffix),
            (first, b"") => Some(Wanted::From { first: number(first)?, last: None }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last && last < u64::MAX).then_some(Wanted::From { first, last: Some(last) })
            }
        }
    }

    /// The bytes it selects of a whole of `length` bytes; `None` if there are none (416).
    pub fn of_whole(self, length: u64) -> Option<Span> {
        let span = match self {
            Wanted::From { first, last } => {
                Span { start: first, end: last.map_or(length, |last| length.min(last.saturating_add(1))) }
            }
            Wanted::Suffix(wanted) => Span { start: length.saturating_sub(wanted), end: length },
        };
        (!span.is_empty()).then_some(span)
    }

    /// The bytes it selects of a whole of which only `complete` is known, if that. A range with both ends is taken as it is.
    pub fn select(self, complete: Option<u64>) -> Selection {
        match (complete, self) {
            (Some(complete), _) => self.of_whole(complete).map_or(Selection::Nothing, Selection::Span),
            (None, Wanted::From { first, last: Some(last) }) => {
                Selection::Span(Span { start: first, end: last.saturating_add(1) })
            }
            (None, _) => Selection::Unknown,
        }
    }

    /// The range to ask for so that whole slices of `slice` bytes come back: from the beginning of the first byte's slice to
    /// the end of the last byte's one, but not beyond `complete`. Without `slice` as it is. A suffix can only be aligned
    /// where the length of the whole is known.
    pub fn aligned(self, slice: Option<u64>, complete: Option<u64>) -> Wanted {
        let Some(slice) = slice.filter(|slice| *slice > 0) else { return self };
        let (start, end) = match (self, complete.and_then(|complete| self.of_whole(complete))) {
            // Without a last position it stays so: it streams until the client leaves.
            (Wanted::From { first, last: None }, _) => (first, None),
            (_, Some(span)) => (span.start, Some(span.end)),
            (Wanted::From { first, last: Some(last) }, None) => (first, last.checked_add(1)),
            (Wanted::Suffix(_), None) => return self,
        };
        let last = end.map(|end| {
            let end = end.div_ceil(slice).saturating_mul(slice);
            complete.map_or(end, |complete| if start < complete { end.min(complete) } else { end }).saturating_sub(1)
        });
        Wanted::From { first: start / slice * slice, last }
    }

    /// The value of `Range` that asks for it.
    pub fn field(self) -> Option<HeaderValue> {
        let text = match self {
            Wanted::From { first, last: Some(last) } => format!("bytes={first}-{last}"),
            Wanted::From { first, last: None } => format!("bytes={first}-"),
            Wanted::Suffix(length) => format!("bytes=-{length}"),
        };
        HeaderValue::from_str(&text).ok()
    }
}

/// What a range comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These bytes.
    Span(Span),
    /// The whole has none of them.
    Nothing,
    /// It depends on the length of the whole, which is not known.
    Unknown,
}

/// Whether two responses are parts of one representation: each has a strong validator, and it is the same (RFC 9110 §15.3.7.3).
pub fn is_same(stored: &HeaderMap, new: &HeaderMap, received: SystemTime) -> bool {
    match (strong_validator(stored, received), strong_validator(new, received)) {
        (Some(ours), Some(theirs)) => stored.contains_key(ETAG) == new.contains_key(ETAG) && ours == theirs,
        _ => false,
    }
}

/// Whether the rest of a response that broke off can be asked for: it has a strong validator, and its origin does not refuse
/// ranges (`Accept-Ranges: none`, RFC 9110 §14.3).
pub fn is_resumable(headers: &HeaderMap, received: SystemTime) -> bool {
    let refuses = list::all_members(headers, &ACCEPT_RANGES).any(|unit| unit.eq_ignore_ascii_case(b"none"));
    strong_validator(headers, received).is_some() && !refuses
}

/// How far bytes are there without a gap from `at` on; `at` itself if that byte is not there. `spans` are in order and do not
/// overlap.
pub fn reach(spans: impl IntoIterator<Item = Span>, at: u64) -> u64 {
    let mut reached = at;
    for span in spans {
        if span.start > reached {
            break;
        }
        reached = reached.max(span.end);
    }
    reached
}

/// What of `wanted` is in none of `spans`, in order.
pub fn gaps(spans: impl IntoIterator<Item = Span>, wanted: Span) -> Vec<Span> {
    let mut gaps = Vec::new();
    let mut at = wanted.start;
    for span in spans {
        if span.end <= at {
            continue;
        }
        if span.start >= wanted.end {
            break;
        }
        if span.start > at {
            gaps.push(Span { start: at, end: span.start });
        }
        at = span.end;
    }
    if at < wanted.end {
        gaps.push(Span { start: at, end: wanted.end });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use http::header::{DATE, LAST_MODIFIED};
    use proptest::prelude::*;

    use super::*;

    fn wanted(value: &str) -> Option<Wanted> {
        let headers = [(RANGE, HeaderValue::from_str(value).unwrap())].into_iter().collect();
        Wanted::of(&headers)
    }

    fn aligned(value: &str, complete: Option<u64>) -> String {
        let field = wanted(value).unwrap().aligned(Some(100), complete).field().unwrap();
        field.to_str().unwrap().to_owned()
    }

    #[test]
    fn only_one_range_of_bytes_is_a_part_rfc9110_14_1_2() {
        assert_eq!(wanted("bytes=5-9"), Some(Wanted::From { first: 5, last: Some(9) }));
        assert_eq!(wanted("Bytes=5-"), Some(Wanted::From { first: 5, last: None }));
        assert_eq!(wanted("bytes=-5"), Some(Wanted::Suffix(5)));
        for value in
            ["bytes=1-2,4-5", "bytes=-0", "bytes=5-2", "bytes=", "bytes=-", "lines=1-2", "bytes=1-99999999999999999999"]
        {
            assert_eq!(wanted(value), None, "{value}");
        }
    }

    #[test]
    fn the_whole_cuts_a_range_rfc9110_14_1_2() {
        let cut = |value: &str| wanted(value).unwrap().of_whole(10).map(|s| (s.start, s.end));
        assert_eq!(cut("bytes=5-7"), Some((5, 8)));
        assert_eq!(cut("bytes=5-99"), Some((5, 10)));
        assert_eq!(cut("bytes=5-"), Some((5, 10)));
        assert_eq!(cut("bytes=-3"), Some((7, 10)));
        assert_eq!(cut("bytes=-30"), Some((0, 10)));
        assert_eq!(cut("bytes=10-"), None);
        assert_eq!(wanted("bytes=-3").unwrap().of_whole(0), None);
    }

    #[test]
    fn without_the_length_only_a_range_with_both_ends_is_known() {
        let select = |value: &str| wanted(value).unwrap().select(None);
        assert_eq!(select("bytes=5-7"), Selection::Span(Span { start: 5, end: 8 }));
        assert_eq!(select("bytes=5-"), Selection::Unknown);
        assert_eq!(select("bytes=-5"), Selection::Unknown);
        assert_eq!(wanted("bytes=10-12").unwrap().select(Some(10)), Selection::Nothing);
    }

    #[test]
    fn slices_are_asked_for_whole() {
        for (value, complete, asked) in [
            ("bytes=0-0", None, "bytes=0-99"),
            ("bytes=150-250", None, "bytes=100-299"),
            ("bytes=150-250", Some(270), "bytes=100-269"),
            ("bytes=199-200", Some(1000), "bytes=100-299"),
            ("bytes=150-", Some(1000), "bytes=100-"),
            ("bytes=-1", None, "bytes=-1"),
            ("bytes=-1", Some(250), "bytes=200-249"),
            // Beyond the whole as it was: the origin may have grown.
            ("bytes=1000-1001", Some(270), "bytes=1000-1099"),
        ] {
            assert_eq!(aligned(value, complete), asked, "{value} {complete:?}");
        }
        assert_eq!(wanted("bytes=5-7").unwrap().aligned(None, Some(10)), wanted("bytes=5-7").unwrap());
    }

    #[test]
    fn parts_are_of_one_body_only_by_the_same_strong_validator_rfc9110_15_3_7_3() {
        let headers = |fields: &[(http::HeaderName, &'static str)]| -> HeaderMap {
            fields.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))).collect()
        };
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
        let same = |a: &HeaderMap, b: &HeaderMap| is_same(a, b, now);
        let tag = |value| headers(&[(ETAG, value)]);
        assert!(same(&tag("\"a\""), &tag("\"a\"")));
        assert!(!same(&tag("\"a\""), &tag("\"b\"")));
        assert!(!same(&tag("W/\"a\""), &tag("W/\"a\"")));
        assert!(!same(&headers(&[]), &headers(&[])));
        let (modified, date) = ("Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:37 GMT");
        let strong = headers(&[(LAST_MODIFIED, modified), (DATE, date)]);
        assert!(same(&strong, &strong));
        let weak = headers(&[(LAST_MODIFIED, date), (DATE, date)]);
        assert!(!same(&weak, &weak));
        // A weak tag says that the origin knows no strong validator, whatever the date.
        let both = headers(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, modified), (DATE, date)]);
        assert!(!same(&both, &both));
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        proptest::collection::vec((0..5u64, 1..5u64), 0..8).prop_map(|steps| {
            let mut at = 0;
            let step = |(gap, length): (u64, u64)| {
                let start = at + gap;
                at = start + length;
                Span { start, end: at }
            };
            steps.into_iter().map(step).collect()
        })
    }

    proptest! {
        #[test]
        fn gaps_are_just_what_is_missing(spans in spans(), start in 0..40u64, length in 0..20u64) {
            let wanted = Span { start, end: start + length };
            let gaps = gaps(spans.iter().copied(), wanted);
            let inside = |list: &[Span], at: u64| list.iter().any(|s| s.start <= at && at < s.end);
            for at in 0..80 {
                let missing = wanted.start <= at && at < wanted.end && !inside(&spans, at);
                prop_assert_eq!(inside(&gaps, at), missing, "{}", at);
            }
            let reached = reach(spans.iter().copied(), start);
            prop_assert!((start..reached).all(|at| inside(&spans, at)) && !inside(&spans, reached));
        }

        /// What is asked for in slices holds what is wanted, and no slice more.
        #[test]
        fn aligned_ranges_hold_the_wanted_one(first in 0..5000u64, more in 0..5000u64, slice in 1..600u64, complete in 1..9000u64) {
            let wanted = Wanted::From { first, last: Some(first + more) };
            let Wanted::From { first: from, last: Some(to) } = wanted.aligned(Some(slice), Some(complete)) else {
                return Err(TestCaseError::fail("aligned to something else"));
            };
            prop_assert!(from <= first && first - from < slice);
            if let Some(span) = wanted.of_whole(complete) {
                prop_assert!(to + 1 >= span.end && to < complete && to + 1 - span.end < slice);
            }
        }

        #[test]
        fn no_numbers_panic(first in any::<u64>(), last in any::<u64>(), slice in any::<u64>(), complete in proptest::option::of(any::<u64>())) {
            for wanted in [Wanted::From { first, last: Some(last) }, Wanted::From { first, last: None }, Wanted::Suffix(last)] {
                wanted.aligned(Some(slice), complete);
                wanted.select(complete);
            }
        }
    }
}
