//! May a body that broke off be gone on with from another backend, and is this the rest of it? (RFC 9110 §13.1.5,
//! §14.4, §15.3.7)
//!
//! A client already has the beginning, so nothing can be taken back: two responses are put together only where a strong
//! entity tag, the length of the whole and the coding all say that they have the same bytes.

use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::content_range::{self, Span, number};
use super::list;
use super::parts::Wanted;

/// A response of which every byte is known by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    etag: HeaderValue,
    length: u64,
    media_type: Option<HeaderValue>,
    /// `Content-Encoding`, line by line.
    coding: Vec<HeaderValue>,
}

impl Whole {
    /// What is to be known of a response (RFC 9110 §15.3.1) before its rest may come from elsewhere; `None` unless it is
    /// a 200 with one strong `ETag`, one `Content-Length` and no transfer coding, whose origin does not refuse ranges.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<Whole> {
        let etag = only(headers, &ETAG).filter(|tag| is_strong(tag))?;
        let length = number(only(headers, &CONTENT_LENGTH)?.as_bytes())?;
        let misfit = status != StatusCode::OK
            || [&TRANSFER_ENCODING, &CONTENT_RANGE].into_iter().any(|name| headers.contains_key(name))
            || list::all_members(headers, &http::header::ACCEPT_RANGES).any(|unit| unit.eq_ignore_ascii_case(b"none"));
        (!misfit).then(|| Whole {
            etag: etag.clone(),
            length,
            media_type: headers.get(CONTENT_TYPE).cloned(),
            coding: headers.get_all(CONTENT_ENCODING).iter().cloned().collect(),
        })
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The fields that ask for the rest from the position `at` on: all of it comes (200) if it is another by now.
    pub fn ask(&self, at: u64) -> Option<[(HeaderName, HeaderValue); 2]> {
        let rest = Wanted::From { first: at, last: None }.field()?;
        Some([(RANGE, rest), (IF_RANGE, self.etag.clone())])
    }

    /// Whether a response with this head carries the bytes from the position `at` to the end, and nothing else.
    ///
    /// `Content-Type` may be missing: what is sent in answer to `If-Range` need not repeat what describes the whole
    /// (RFC 9110 §15.3.7). A missing `Content-Encoding` may be an origin that gives its two codings one tag.
    pub fn is_continued(&self, at: u64, status: StatusCode, headers: &HeaderMap) -> bool {
        let rest = Span { start: at, end: self.length };
        let placed = content_range::extent(headers)
            .is_some_and(|extent| !extent.doubtful && extent.span == rest && extent.complete == Some(self.length));
        status == StatusCode::PARTIAL_CONTENT
            && placed
            && only(headers, &ETAG) == Some(&self.etag)
            && !headers.contains_key(TRANSFER_ENCODING)
            && headers.get_all(CONTENT_ENCODING).iter().eq(&self.coding)
            && headers.get(CONTENT_TYPE).is_none_or(|media_type| Some(media_type) == self.media_type.as_ref())
    }
}

/// The value of a field that stands there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line),
        _ => None,
    }
}

/// A tag in quotes, as `If-Range` wants it; a weak one says that the bytes may differ (RFC 9110 §8.8.3).
fn is_strong(tag: &HeaderValue) -> bool {
    let tag = tag.as_bytes();
    tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\"") && !tag[1..tag.len() - 1].contains(&b'"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const FIRST: [(&str, &str); 4] =
        [("etag", "\"a\""), ("content-length", "10"), ("content-type", "text/css"), ("content-encoding", "gzip")];

    fn whole() -> Whole {
        Whole::of(StatusCode::OK, &headers(&FIRST)).unwrap()
    }

    /// `base` with the fields of `other` in place of its own; an empty value takes one out.
    fn with(base: &[(&'static str, &'static str)], other: &[(&'static str, &'static str)]) -> HeaderMap {
        let kept = base.iter().filter(|(name, _)| other.iter().all(|(changed, _)| changed != name));
        headers(&kept.chain(other).filter(|(_, value)| !value.is_empty()).copied().collect::<Vec<_>>())
    }

    #[test]
    fn only_a_200_of_known_length_with_one_strong_tag_can_be_gone_on_with() {
        assert_eq!(whole().length(), 10);
        assert!(Whole::of(StatusCode::OK, &with(&FIRST, &[("content-encoding", ""), ("content-type", "")])).is_some());
        for status in [201, 203, 206, 404] {
            assert_eq!(Whole::of(StatusCode::from_u16(status).unwrap(), &headers(&FIRST)), None, "{status}");
        }
        for change in [
            &[("etag", "")][..],
            &[("etag", "W/\"a\"")],
            &[("etag", "a")],
            &[("etag", "\"")],
            &[("etag", "\"a\", \"b\"")],
            &[("etag", "\"a\""), ("etag", "\"a\"")],
            &[("content-length", "")],
            &[("content-length", "1x")],
            &[("content-length", "10"), ("content-length", "10")],
            &[("transfer-encoding", "chunked")],
            &[("content-range", "bytes 0-9/10")],
            &[("accept-ranges", "None")],
        ] {
            assert_eq!(Whole::of(StatusCode::OK, &with(&FIRST, change)), None, "{change:?}");
        }
    }

    #[test]
    fn the_rest_is_asked_for_by_tag_rfc9110_13_1_5() {
        let [range, condition] = whole().ask(4).unwrap();
        assert_eq!(range, (RANGE, HeaderValue::from_static("bytes=4-")));
        assert_eq!(condition, (IF_RANGE, HeaderValue::from_static("\"a\"")));
    }

    const REST: [(&str, &str); 4] =
        [("etag", "\"a\""), ("content-range", "bytes 4-9/10"), ("content-length", "6"), ("content-encoding", "gzip")];

    #[test]
    fn the_rest_is_what_agrees_in_everything() {
        let fits = |status, change: &[(&'static str, &'static str)]| {
            whole().is_continued(4, StatusCode::from_u16(status).unwrap(), &with(&REST, change))
        };
        assert!(fits(206, &[]));
        assert!(fits(206, &[("content-type", "text/css")]));
        assert!(fits(206, &[("content-length", "")]));
        for status in [200, 304, 412, 416, 503] {
            assert!(!fits(status, &[]), "{status}");
        }
        for change in [
            &[("etag", "\"b\"")][..],
            &[("etag", "W/\"a\"")],
            &[("etag", "")],
            &[("etag", "\"a\""), ("etag", "\"b\"")],
            &[("content-range", "")],
            &[("content-range", "bytes 3-9/10")],
            &[("content-range", "bytes 5-9/10")],
            &[("content-range", "bytes 4-8/10"), ("content-length", "5")],
            &[("content-range", "bytes 4-9/*")],
            &[("content-range", "bytes 4-9/11")],
            &[("content-range", "bytes 4-10/11"), ("content-length", "7")],
            &[("content-range", "bytes 4-9/10"), ("content-range", "bytes 4-9/10")],
            &[("content-length", "5")],
            &[("content-length", "7")],
            &[("content-encoding", "")],
            &[("content-encoding", "br")],
            &[("content-type", "text/html")],
            &[("transfer-encoding", "chunked")],
            &[("content-range", ""), ("content-type", "multipart/byteranges; boundary=x")],
        ] {
            assert!(!fits(206, change), "{change:?}");
        }
    }

    proptest! {
        /// Whatever is accepted begins where the client stopped and ends where the whole does.
        #[test]
        fn what_is_accepted_fits(at in 0..12u64, start in 0..12u64, last in 0..12u64, complete in 0..12u64) {
            let range = format!("bytes {start}-{last}/{complete}");
            let rest = headers(&[("etag", "\"a\""), ("content-encoding", "gzip"), ("content-range", &range)]);
            let fits = whole().is_continued(at, StatusCode::PARTIAL_CONTENT, &rest);
            prop_assert_eq!(fits, start == at && last == 9 && complete == 10 && at < 10);
        }
    }
}
