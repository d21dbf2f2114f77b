//! What an `Accept-Encoding` comes to. (RFC 9110 §12.5.3)
//!
//! Browsers and libraries spell the same acceptance in dozens of ways. Of all of them only this matters to what an
//! origin can send: which of the codings in use (br, zstd, gzip) are accepted, and whether `identity` is refused.
//! Other codings are left out, so the reduced value never accepts more than the client did. What this proxy codes itself
//! is chosen by the weights, too ([`Accepted`]).

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::list;

/// A content coding that is read and written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 7932.
    Br,
    /// RFC 8878, with the window of RFC 9659.
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them.
    pub const ALL: [Coding; 3] = [Coding::Br, Coding::Zstd, Coding::Gzip];

    /// Its name in `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Coding::Br => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The coding of this name, in any case. `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub fn of(name: &[u8]) -> Option<Coding> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let known = Coding::ALL.into_iter().find(|coding| is(coding.as_str()));
        known.or_else(|| is("x-gzip").then_some(Coding::Gzip))
    }
}

/// How much a client wants each coding, in thousandths; 0 is a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// In the order of [`Coding::ALL`].
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    /// Of what is not named.
    others: Option<u16>,
}

impl Accepted {
    /// What the lines of `Accept-Encoding` say. Without any the client is taken to know none, though it has not said so: what
    /// sends no such field mostly does not.
    pub fn of<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Accepted {
        let mut accepted = Accepted::default();
        for member in lines.into_iter().flat_map(list::members) {
            let (coding, weight) = match member.iter().position(|b| *b == b';') {
                Some(end) => (member[..end].trim_ascii(), weight(member[end + 1..].trim_ascii())),
                None => (member, ALL),
            };
            let place = match (coding, Coding::of(coding)) {
                (b"*", _) => {
                    accepted.others = accepted.others.or(Some(weight));
                    continue;
                }
                (_, Some(coding)) => &mut accepted.codings[coding as usize],
                _ if coding.eq_ignore_ascii_case(b"identity") => &mut accepted.identity,
                _ => continue,
            };
            // One refusal is enough.
            *place = Some(place.map_or(weight, |other| if other.min(weight) == 0 { 0 } else { other.max(weight) }));
        }
        accepted
    }

    /// The weight of a coding; 0 if it is refused or nothing is said of it.
    pub fn weight(&self, coding: Coding) -> u16 {
        self.codings[coding as usize].or(self.others).unwrap_or(0)
    }

    /// Whether a body without a coding will do: that needs no leave, only no refusal.
    pub fn takes_identity(&self) -> bool {
        self.identity.or(self.others) != Some(0)
    }

    /// The coding of `offered`, which come in the order of preference, that the client wants most; `None` if it wants no
    /// coding as much as it has said to want none.
    pub fn best(&self, offered: &[Coding]) -> Option<Coding> {
        let least = self.identity.unwrap_or(0).max(1);
        let wanted = offered.iter().copied().filter(|coding| self.weight(*coding) >= least);
        // Of equals the last is taken.
        wanted.rev().max_by_key(|coding| self.weight(*coding))
    }
}

/// The codings that a request accepts with any weight but 0, in one order. Weights are dropped: they are a preference,
/// and every client's own would be a variant. `None` if it refuses `identity` and accepts none of these: what it
/// wants cannot be said in them. An absent field reads as an empty one; it is for the caller to tell them apart.
pub(super) fn canonical(request: &HeaderMap) -> Option<&'static str> {
    let accepted = Accepted::of(request.get_all(ACCEPT_ENCODING).iter().map(|line| line.as_bytes()));
    let [br, zstd, gzip] = Coding::ALL.map(|coding| accepted.weight(coding) > 0);
    Some(match (usize::from(br) + 2 * usize::from(zstd) + 4 * usize::from(gzip), accepted.takes_identity()) {
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

/// What is wanted as much as anything.
const ALL: u16 = 1000;

/// A weight (RFC 9110 §12.4.2) in thousandths; one that cannot be read is taken for a refusal.
fn weight(text: &[u8]) -> u16 {
    let [b'q' | b'Q', b'=', value @ ..] = text else { return 0 };
    match value {
        [b'1'] => ALL,
        [b'1', b'.', zeros @ ..] if zeros.len() <= 3 && zeros.iter().all(|b| *b == b'0') => ALL,
        [b'0', b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            let place = [100, 10, 1];
            digits.iter().zip(place).map(|(digit, worth)| u16::from(digit - b'0') * worth).sum()
        }
        _ => 0,
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

    #[test]
    fn the_best_coding_is_what_the_client_wants_most_and_of_equals_the_first_offered() {
        let offered = [Coding::Zstd, Coding::Br, Coding::Gzip];
        for (value, expected) in [
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, br;q=0.9", Some(Coding::Gzip)),
            ("gzip;q=0.5, br;q=0.501", Some(Coding::Br)),
            ("*;q=0.1, gzip;q=0.2", Some(Coding::Gzip)),
            ("*", Some(Coding::Zstd)),
            ("zstd;q=0, *", Some(Coding::Br)),
            ("gzip;q=0.5, identity", None),
            ("identity;q=1, *;q=0", None),
            ("gzip, identity;q=1", Some(Coding::Gzip)),
            ("identity;q=0, gzip;q=0.001", Some(Coding::Gzip)),
            ("deflate", None),
            ("", None),
        ] {
            let accepted = Accepted::of([value.as_bytes()]);
            assert_eq!(accepted.best(&offered), expected, "{value}");
        }
        assert_eq!(Accepted::of([&b"br, gzip"[..]]).best(&[Coding::Gzip, Coding::Br]), Some(Coding::Gzip));
    }

    proptest! {
        /// A coding that is chosen was accepted, and nothing that is offered is wanted more.
        #[test]
        fn the_best_is_accepted(value in "((br|zstd|gzip|\\*|identity|x)(;q=(0|1|0\\.[0-9]{1,3}))?, ?){0,6}") {
            let accepted = Accepted::of([value.as_bytes()]);
            if let Some(best) = accepted.best(&Coding::ALL) {
                prop_assert!(accepted.weight(best) > 0);
                prop_assert!(Coding::ALL.iter().all(|other| accepted.weight(*other) <= accepted.weight(best)));
            }
        }

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
