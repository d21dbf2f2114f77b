//! What an `Accept-Encoding` comes to. (RFC 9110 §12.5.3)
//!
//! Browsers and libraries spell the same acceptance in dozens of ways. Of all of them only this matters to what an
//! origin can send: which of the codings in use (br, zstd, gzip) are accepted, and whether `identity` is refused.
//! Other codings are left out, so the reduced value never accepts more than the client did.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::list;

const BR: usize = 1;
const ZSTD: usize = 2;
const GZIP: usize = 4;
const IDENTITY: usize = 8;

/// The codings that a request accepts with any weight but 0, in one order. Weights are dropped: they are a preference,
/// and every client's own would be a variant. `None` if it refuses `identity` and accepts none of these: what it
/// wants cannot be said in them. An absent field reads as an empty one; it is for the caller to tell them apart.
pub(super) fn canonical(request: &HeaderMap) -> Option<&'static str> {
    let (mut accepted, mut refused) = (0, 0);
    let mut others = None;
    for member in list::all_members(request, &ACCEPT_ENCODING) {
        let (coding, weight) = match member.iter().position(|b| *b == b';') {
            Some(end) => (member[..end].trim_ascii(), Some(member[end + 1..].trim_ascii())),
            None => (member, None),
        };
        let is = |known: &[u8]| coding.eq_ignore_ascii_case(known);
        let bit = match coding {
            b"*" => {
                others = others.or(Some(is_positive(weight)));
                continue;
            }
            _ if is(b"br") => BR,
            _ if is(b"zstd") => ZSTD,
            _ if is(b"gzip") || is(b"x-gzip") => GZIP,
            _ if is(b"identity") => IDENTITY,
            _ => continue,
        };
        *if is_positive(weight) { &mut accepted } else { &mut refused } |= bit;
    }
    let unnamed = !(accepted | refused);
    match others {
        Some(true) => accepted |= unnamed,
        Some(false) => refused |= unnamed,
        None => {}
    }
    accepted &= !refused;
    // identity needs no leave, only no refusal.
    Some(match (accepted & (BR | ZSTD | GZIP), refused & IDENTITY == 0) {
        (0, true) => "identity",
        (0, false) => return None,
        (1, true) => "br",
        (2, true) => "zstd",
        (3, true) => "br, zstd",
        (4, true) => "gzip",
        (5, true) => "br, gzip",
        (6, true) => "zstd, gzip",
        (_, true) => "br, zstd, gzip",
        (1, false) => "br, identity;q=0",
        (2, false) => "zstd, identity;q=0",
        (3, false) => "br, zstd, identity;q=0",
        (4, false) => "gzip, identity;q=0",
        (5, false) => "br, gzip, identity;q=0",
        (6, false) => "zstd, gzip, identity;q=0",
        (_, false) => "br, zstd, gzip, identity;q=0",
    })
}

/// Whether a weight (RFC 9110 §12.4.2) is above 0; one that cannot be read is taken for a refusal.
fn is_positive(weight: Option<&[u8]>) -> bool {
    let Some(weight) = weight else { return true };
    let [b'q' | b'Q', b'=', value @ ..] = weight else { return false };
    match value {
        [b'1'] => true,
        [b'1', b'.', zeros @ ..] => zeros.len() <= 3 && zeros.iter().all(|b| *b == b'0'),
        [b'0', b'.', digits @ ..] => {
            digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|b| *b != b'0')
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(value: &str) -> Option<&'static str> {
        canonical(&[(ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap())].into_iter().collect())
    }

    #[test]
    fn a_value_comes_to_the_codings_it_accepts() {
        for (value, expected) in [
            ("", "identity"),
            ("identity", "identity"),
            ("deflate", "identity"),
            ("gzip", "gzip"),
            ("X-GZIP", "gzip"),
            ("gzip, deflate, br", "br, gzip"),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", "br, zstd, gzip"),
            ("zstd ; Q=0.001,gzip;q=0", "zstd"),
            ("gzip, gzip;q=0", "identity"),
            ("*", "br, zstd, gzip"),
            ("*;q=0, gzip", "gzip, identity;q=0"),
            ("*;q=0, gzip, identity", "gzip"),
            ("br, identity;q=0.000", "br, identity;q=0"),
            ("br;q=2, gzip;q=, zstd;level=3", "identity"),
        ] {
            assert_eq!(of(value), Some(expected), "{value}");
        }
        assert_eq!(of("deflate, identity;q=0"), None);
        assert_eq!(of("*;q=0"), None);
    }

    #[test]
    fn lines_combine_and_a_refusal_wins() {
        let lines = [HeaderValue::from_static("gzip, br"), HeaderValue::from_static("zstd, br;q=0")];
        assert_eq!(canonical(&lines.into_iter().map(|l| (ACCEPT_ENCODING, l)).collect()), Some("zstd, gzip"));
    }

    proptest! {
        /// A reduced value names only codings that the client accepts.
        #[test]
        fn reducing_accepts_nothing_new(members in proptest::collection::vec(("(br|zstd|gzip|deflate|identity)", 0u8..3), 0..5)) {
            let value = members.iter().map(|(c, q)| format!("{c};q=0.{q}")).collect::<Vec<_>>().join(", ");
            if let Some(reduced) = of(&value) {
                for coding in list::members(reduced.as_bytes()).filter(|c| !c.starts_with(b"identity")) {
                    let named = members.iter().filter(|(c, _)| c.as_bytes() == coding);
                    prop_assert!(named.clone().count() > 0 && named.clone().all(|(_, q)| *q > 0), "{value}");
                }
            }
        }

        /// What went through once does not change again, so the origin's side may reduce it too.
        #[test]
        fn reducing_is_idempotent(value in "((br|zstd|gzip|\\*|identity|x)(;q=(0|1|0\\.5))?,? ?){0,5}") {
            if let Some(reduced) = of(&value) {
                prop_assert_eq!(of(reduced), Some(reduced));
            }
        }
    }
}
