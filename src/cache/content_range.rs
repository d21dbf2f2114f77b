//! Which bytes of a body a 206 carries. (RFC 9110 §14.4)
//!
//! What is read here decides where bytes are put, so nothing is guessed: a field that is not exactly what the RFC says is none.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE};

/// Some bytes of a body: from `start` up to, but not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte's position.
    pub start: u64,
    /// The position behind the last byte.
    pub end: u64,
}

impl Span {
    /// How many bytes; none if the end is before the start.
    pub fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are no bytes in it.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Span) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// What a `Content-Range` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes.
    pub span: Span,
    /// The length of the whole, if it is told.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes 0-4/10` or `bytes 0-4/*`. `None` for another unit, an unsatisfied range, numbers beyond 64 bits, a
    /// last position before the first, or one outside the whole: none of them may be stored (RFC 9110 §14.4).
    pub fn parse(value: &[u8]) -> Option<ContentRange> {
        let (unit, rest) = value.trim_ascii().split_at_checked(6)?;
        if !unit.eq_ignore_ascii_case(b"bytes ") {
            return None;
        }
        let (range, complete) = split(rest.trim_ascii(), b'/')?;
        let (first, last) = split(range, b'-')?;
        let (start, end) = (number(first)?, number(last)?.checked_add(1)?);
        let complete = if complete == b"*" { None } else { Some(number(complete)?) };
        let valid = start < end && complete.is_none_or(|complete| end <= complete);
        valid.then_some(ContentRange { span: Span { start, end }, complete })
    }
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|b| *b == at)?;
    Some((&text[..position], &text[position + 1..]))
}

/// A number of digits only: no sign, no spaces.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The value that says so: `complete` is `*` where it is not known. The span must not be empty.
pub fn content_range(span: Span, complete: Option<u64>) -> String {
    let last = span.end.saturating_sub(1);
    match complete {
        Some(complete) => format!("bytes {}-{last}/{complete}", span.start),
        None => format!("bytes {}-{last}/*", span.start),
    }
}

/// The bytes a 206 carries, as far as they can be placed in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The bytes that came, or are to come.
    pub span: Span,
    /// The length of the whole, if it is known.
    pub complete: Option<u64>,
    /// `Content-Range` and `Content-Length` disagree, see [`extent`]: the whole is taken to end where these bytes end, but
    /// nobody is told so, and nothing is put together with them.
    pub doubtful: bool,
}

impl Extent {
    /// Where ranges without a last position, or counted from the end, end.
    pub fn end_of_whole(&self) -> Option<u64> {
        if self.doubtful { Some(self.span.end) } else { self.complete }
    }
}

/// Which bytes a 206 with these fields carries; `None` if it cannot be told, as for `multipart/byteranges`.
///
/// Some origins count one byte too many (`bytes 4-9/10` before five bytes). Where the message's own framing says that fewer
/// bytes come than the range declares, and the range declares to reach the end of the whole, the bytes are taken to begin
/// where it says and to be the last there are. That is never so for an origin whose fields agree.
pub fn extent(headers: &HeaderMap) -> Option<Extent> {
    let mut ranges = headers.get_all(CONTENT_RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return None };
    let ContentRange { span, complete } = ContentRange::parse(range.as_bytes())?;
    let sound = Extent { span, complete, doubtful: false };
    let Some(length) = headers.get(CONTENT_LENGTH) else { return Some(sound) };
    let length = number(length.as_bytes())?;
    if length == span.len() {
        return Some(sound);
    }
    let reaches_the_end = complete == Some(span.end);
    let fewer = 0 < length && length < span.len();
    let end = span.start.checked_add(length)?;
    (fewer && reaches_the_end).then_some(Extent {
        span: Span { start: span.start, end },
        complete: None,
        doubtful: true,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parsed(value: &str) -> Option<(u64, u64, Option<u64>)> {
        ContentRange::parse(value.as_bytes()).map(|r| (r.span.start, r.span.end, r.complete))
    }

    #[test]
    fn a_range_and_the_length_of_the_whole_rfc9110_14_4() {
        assert_eq!(parsed("bytes 0-4/10"), Some((0, 5, Some(10))));
        assert_eq!(parsed("Bytes  7-9/*"), Some((7, 10, None)));
        for value in [
            "bytes */10",
            "bytes 4-3/10",
            "bytes 0-10/10",
            "bytes 0-4",
            "bytes=0-4/10",
            "lines 0-4/10",
            "bytes 0 - 4/10",
            "bytes +0-4/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-99999999999999999999/*",
            "bytes -4/10",
            "",
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }

    fn fields(range: &'static str, length: Option<&'static str>) -> Option<Extent> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, HeaderValue::from_static(range));
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        extent(&headers)
    }

    #[test]
    fn fields_that_disagree_are_refused_or_doubted() {
        let span = |start, end| Span { start, end };
        let sound = |start, end| Some(Extent { span: span(start, end), complete: Some(10), doubtful: false });
        assert_eq!(fields("bytes 4-9/10", None), sound(4, 10));
        assert_eq!(fields("bytes 4-9/10", Some("6")), sound(4, 10));
        let doubted = fields("bytes 4-9/10", Some("5")).unwrap();
        assert_eq!(doubted, Extent { span: span(4, 9), complete: None, doubtful: true });
        assert_eq!(doubted.end_of_whole(), Some(9));
        // Too many bytes, too few in the midst of the whole, none at all.
        assert_eq!(fields("bytes 4-9/10", Some("7")), None);
        assert_eq!(fields("bytes 4-8/10", Some("4")), None);
        assert_eq!(fields("bytes 4-9/*", Some("5")), None);
        assert_eq!(fields("bytes 4-9/10", Some("0")), None);
        assert_eq!(fields("bytes */10", Some("0")), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(start in 0..u64::MAX - 1, more in 1..1_000_000u64, rest in proptest::option::of(0..100u64)) {
            let end = start.saturating_add(more).min(u64::MAX - 1);
            let complete = rest.map(|rest| end.saturating_add(rest));
            let written = content_range(Span { start, end }, complete);
            prop_assert_eq!(parsed(&written), Some((start, end, complete)));
        }

        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            ContentRange::parse(&value);
            ContentRange::parse(&[b"bytes ".as_slice(), &value].concat());
        }
    }
}
