//! Which of the languages a site has does an `Accept-Language` come to? (RFC 9110 §12.5.4, RFC 4647 §3)
//!
//! Browsers send what their user has ticked, in any order and with any weights: as many spellings as there are users.
//! A site has a handful of languages. Of all spellings only this matters: which of them is liked best.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

use super::list;

/// The language of `offered` that the request likes best; of equals the one that stands first. `None` if it accepts
/// none of them.
///
/// A range matches a tag that it equals or begins (`de` matches `de-CH`, RFC 4647 §3.3.1), and, less specifically, one
/// that begins it (`de-AT` is content with `de`, as in lookup, §3.4). The most specific range decides.
pub(super) fn preferred<'o>(request: &HeaderMap, offered: &'o [String]) -> Option<&'o str> {
    let mut best: Option<(u16, &str)> = None;
    for tag in offered {
        let weight = weight_of(request, tag);
        if weight > best.map_or(0, |(most, _)| most) {
            best = Some((weight, tag));
        }
    }
    best.map(|(_, tag)| tag)
}

/// The weight that the request gives a language, in thousandths.
fn weight_of(request: &HeaderMap, tag: &str) -> u16 {
    let mut decided: Option<(usize, u16)> = None;
    for member in list::all_members(request, &ACCEPT_LANGUAGE) {
        let (range, weight) = match member.iter().position(|b| *b == b';') {
            Some(end) => (member[..end].trim_ascii(), thousandths(member[end + 1..].trim_ascii())),
            None => (member, 1000),
        };
        if let Some(specific) = specificity(range, tag.as_bytes())
            && decided.is_none_or(|(most, _)| specific > most)
        {
            decided = Some((specific, weight));
        }
    }
    decided.map_or(0, |(_, weight)| weight)
}

/// How specifically a range is about a tag; `None` if it is not.
fn specificity(range: &[u8], tag: &[u8]) -> Option<usize> {
    let begins = |whole: &[u8], part: &[u8]| {
        whole.len() > part.len() && whole[part.len()] == b'-' && whole[..part.len()].eq_ignore_ascii_case(part)
    };
    if range == b"*" {
        Some(0)
    } else if begins(range, tag) {
        Some(1)
    } else if range.eq_ignore_ascii_case(tag) || begins(tag, range) {
        Some(1 + range.len())
    } else {
        None
    }
}

/// A weight (RFC 9110 §12.4.2); one that cannot be read is a refusal.
fn thousandths(weight: &[u8]) -> u16 {
    let [b'q' | b'Q', b'=', whole @ (b'0' | b'1'), rest @ ..] = weight else { return 0 };
    let decimals = match rest {
        [] => &[][..],
        [b'.', decimals @ ..] if decimals.len() <= 3 && decimals.iter().all(u8::is_ascii_digit) => decimals,
        _ => return 0,
    };
    let fraction = (0..3).fold(0, |sum, i| sum * 10 + decimals.get(i).map_or(0, |d| u16::from(d - b'0')));
    match (whole, fraction) {
        (b'1', 0) => 1000,
        (b'1', _) => 0,
        _ => fraction,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(value: &'static str, offered: &[&str]) -> Option<String> {
        let request = [(ACCEPT_LANGUAGE, HeaderValue::from_static(value))].into_iter().collect();
        let offered: Vec<String> = offered.iter().map(ToString::to_string).collect();
        preferred(&request, &offered).map(ToOwned::to_owned)
    }

    #[test]
    fn the_best_liked_wins_and_of_equals_the_first_offered() {
        for value in ["en, de", "de, en", "eN, De", " en ,   de", "fr;q=0.5, de;q=1.0", "de;q=0.8,en;q=0.3", "*"] {
            assert_eq!(of(value, &["de", "en"]).as_deref(), Some("de"), "{value}");
        }
        assert_eq!(of("de;q=0.3, en", &["de", "en"]).as_deref(), Some("en"));
    }

    #[test]
    fn ranges_match_by_subtags_and_the_most_specific_decides_rfc4647() {
        assert_eq!(of("de", &["de-CH"]).as_deref(), Some("de-CH"));
        assert_eq!(of("de-AT", &["en", "de"]).as_deref(), Some("de"));
        assert_eq!(of("de-AT, en;q=0.9", &["en", "de"]).as_deref(), Some("de"));
        assert_eq!(of("den", &["de"]), None);
        assert_eq!(of("*, de;q=0", &["de", "en"]).as_deref(), Some("en"));
        assert_eq!(of("en, en-GB;q=0.1", &["en-GB", "en-US"]).as_deref(), Some("en-US"));
    }

    #[test]
    fn what_is_refused_or_unreadable_is_not_chosen() {
        for value in ["fr", "", "de;q=0", "de;q=0.0", "de;q=2", "de;q=x", "de;x", "de;q=1.001"] {
            assert_eq!(of(value, &["de"]), None, "{value}");
        }
        assert_eq!(of("de;q=0.001", &["de"]).as_deref(), Some("de"));
    }
}
