//! How long the body of a response is, and whether the connection outlives it (RFC 9112 §6.3, §9.3).

use http::{StatusCode, Version};

use super::Broken;
use super::chunked::Chunked;

/// The body that follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// No final head has come.
    Unknown,
    /// So many bytes are to come.
    Length(u64),
    /// In the chunked coding.
    Chunked(Chunked),
    /// All that comes.
    UntilClose,
    /// It has ended.
    Done,
}

/// What the fields of a head say of its message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The length, however often it is given.
    pub length: Option<u64>,
    /// Whether that is given more than once.
    pub repeats_length: bool,
    chunked: bool,
    /// In a coding that is not known here, which the close ends (RFC 9112 §6.3).
    coded: bool,
    close: bool,
    keep_alive: bool,
}

impl Said {
    /// Takes note of one field.
    ///
    /// # Errors
    /// For a length that is none or another than before, for a length beside a transfer coding, and for codings of which
    /// `chunked` is but one: none other was asked for, and another proxy might pass it over.
    pub(super) fn field(&mut self, name: &str, value: &[u8]) -> Result<(), Broken> {
        match name.len() {
            14 if name.eq_ignore_ascii_case("content-length") => self.lengths(value)?,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                let is_chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                if self.chunked || self.coded || (!is_chunked && names_chunked(value)) {
                    return Err(Broken);
                }
                (self.chunked, self.coded) = (is_chunked, !is_chunked);
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => return Ok(()),
        }
        let is_coded = self.chunked || self.coded;
        if is_coded && self.length.is_some() { Err(Broken) } else { Ok(()) }
    }

    fn lengths(&mut self, value: &[u8]) -> Result<(), Broken> {
        for digits in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let length = number(digits).ok_or(Broken)?;
            if self.length.is_some_and(|known| known != length) {
                return Err(Broken);
            }
            self.repeats_length |= self.length.is_some();
            self.length = Some(length);
        }
        Ok(())
    }

    /// The body of the response with this status; `is_head` if it answers a HEAD.
    pub(super) fn body(&self, status: StatusCode, is_head: bool) -> Body {
        match (status.as_u16(), self.length) {
            (100..=199, _) => Body::Unknown,
            (204 | 304, _) => Body::Done,
            _ if is_head => Body::Done,
            _ if self.chunked => Body::Chunked(Chunked::START),
            (_, Some(0)) => Body::Done,
            (_, Some(length)) => Body::Length(length),
            (_, None) => Body::UntilClose,
        }
    }

    /// Whether the backend keeps the connection open. A transfer coding is none of HTTP/1.0's (RFC 9112 §6.1).
    pub(super) fn keeps_open(&self, version: Version) -> bool {
        match version {
            Version::HTTP_11 => !self.close && !self.coded,
            _ => self.keep_alive && !self.close && !self.chunked && !self.coded,
        }
    }
}

/// Whether `chunked` is among the codings of a list.
fn names_chunked(value: &[u8]) -> bool {
    let name = |coding: &[u8]| coding.split(|&b| b == b';').next().unwrap_or_default().trim_ascii().to_vec();
    value.split(|&b| b == b',').map(name).any(|coding| coding.eq_ignore_ascii_case(b"chunked"))
}

/// Digits and nothing else.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    let add = |n: u64, digit: &u8| match digit {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    };
    if digits.is_empty() { None } else { digits.iter().try_fold(0, add) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(fields: &[(&str, &str)]) -> Result<Said, Broken> {
        let mut said = Said::default();
        fields.iter().try_for_each(|(name, value)| said.field(name, value.as_bytes()))?;
        Ok(said)
    }

    fn body(fields: &[(&str, &str)], status: u16, is_head: bool) -> Body {
        said(fields).unwrap().body(StatusCode::from_u16(status).unwrap(), is_head)
    }

    #[test]
    fn a_length_or_chunks_or_the_close_end_a_body() {
        let five = ("Content-Length", "5");
        assert_eq!(body(&[five], 200, false), Body::Length(5));
        assert_eq!(body(&[five, five], 200, false), Body::Length(5));
        assert_eq!(body(&[("content-LENGTH", "5, 5")], 200, false), Body::Length(5));
        assert_eq!(body(&[("Content-Length", "0")], 200, false), Body::Done);
        assert_eq!(body(&[("Transfer-Encoding", "Chunked")], 200, false), Body::Chunked(Chunked::START));
        assert_eq!(body(&[], 200, false), Body::UntilClose);
    }

    #[test]
    fn some_responses_have_none_whatever_they_say() {
        for fields in [&[("Content-Length", "5")][..], &[("Transfer-Encoding", "chunked")], &[]] {
            assert_eq!(body(fields, 204, false), Body::Done);
            assert_eq!(body(fields, 304, false), Body::Done);
            assert_eq!(body(fields, 200, true), Body::Done);
            assert_eq!(body(fields, 103, false), Body::Unknown);
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for fields in [
            &[("Content-Length", "5"), ("Content-Length", "6")][..],
            &[("Content-Length", "5, 6")],
            &[("Content-Length", "+5")],
            &[("Content-Length", "-5")],
            &[("Content-Length", "0x5")],
            &[("Content-Length", "")],
            &[("Content-Length", "5,")],
            &[("Content-Length", "18446744073709551616")],
            &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
            &[("Transfer-Encoding", "chunked"), ("Content-Length", "5")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
            &[("Transfer-Encoding", "gzip, chunked")],
            &[("Transfer-Encoding", "chunked, gzip")],
            &[("Transfer-Encoding", "chunked;a=b")],
            &[("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "gzip")],
            &[("Transfer-Encoding", "identity"), ("Content-Length", "5")],
        ] {
            assert_eq!(said(fields), Err(Broken), "{fields:?}");
        }
    }

    #[test]
    fn a_coding_that_is_not_known_ends_with_the_connection_rfc9112_6_3() {
        for coding in ["identity", "gzip", "xchunked", "x;chunked"] {
            let fields = &[("Transfer-Encoding", coding)];
            assert_eq!(body(fields, 200, false), Body::UntilClose, "{coding}");
            assert!(!said(fields).unwrap().keeps_open(Version::HTTP_11), "{coding}");
        }
    }

    #[test]
    fn a_length_given_twice_is_known_to_be() {
        assert!(said(&[("Content-Length", "5, 5")]).unwrap().repeats_length);
        assert!(!said(&[("Content-Length", "5")]).unwrap().repeats_length);
    }

    #[test]
    fn a_connection_stays_open_by_the_version_and_its_options() {
        let keeps = |fields: &[(&str, &str)], version| said(fields).unwrap().keeps_open(version);
        assert!(keeps(&[], Version::HTTP_11));
        assert!(!keeps(&[("Connection", "X-Y, Close")], Version::HTTP_11));
        assert!(!keeps(&[("Connection", "keep-alive"), ("Connection", "close")], Version::HTTP_11));
        assert!(!keeps(&[], Version::HTTP_10));
        assert!(keeps(&[("Connection", "Keep-Alive")], Version::HTTP_10));
        assert!(!keeps(&[("Connection", "keep-alive"), ("Transfer-Encoding", "chunked")], Version::HTTP_10));
    }
}
