//! The plainest list syntax of RFC 9110 §5.6.1: comma-separated tokens over any number of field lines.
//!
//! Only for fields whose members cannot hold a quoted comma (Connection, Vary, Accept-Encoding, Age). Cache-Control
//! and entity tags can, each with its own quoting, and have their own readers.

use http::HeaderMap;
use http::header::HeaderName;

/// The members of one field line, without the whitespace around them; empty members are left out (§5.6.1.2).
pub(super) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|m| !m.is_empty())
}

/// The members of all lines of a field, in order.
pub(super) fn all_members<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|line| members(line.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::header::{CONNECTION, HeaderValue};

    use super::*;

    #[test]
    fn members_of_all_lines_are_trimmed_and_empty_ones_left_out() {
        let mut headers = HeaderMap::new();
        headers.append(CONNECTION, HeaderValue::from_static(" close ,, a\t"));
        headers.append(CONNECTION, HeaderValue::from_static(""));
        headers.append(CONNECTION, HeaderValue::from_static("b"));
        let members: Vec<&[u8]> = all_members(&headers, &CONNECTION).collect();
        assert_eq!(members, [&b"close"[..], b"a", b"b"]);
    }
}
