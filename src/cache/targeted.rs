//! Cache-Control for some caches only: `CDN-Cache-Control` and the like. (RFC 9213)
//!
//! A targeted field is no Cache-Control under another name. It is a Structured Field dictionary, and a strict one: a
//! single stray character and the whole field does not count, so that no two caches read it differently (§2.1). The
//! first field of the target list that is valid and not empty is the policy, and Cache-Control and Expires are then as
//! if they were not there (§2.2).

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::directives::{Argument, ResponseDirectives};

/// The directives that hold for a response: those of the first usable field of `targets`, else of Cache-Control.
///
/// In a dictionary of a repeated key the last one counts (RFC 8941 §3.2), which is not so in Cache-Control. A known
/// directive whose value has a type it may not have is not consumed (§2.1), and read as in Cache-Control: one that
/// forbids still counts, one that permits does not, a lifetime is zero.
pub fn directives(headers: &HeaderMap, targets: &[HeaderName]) -> ResponseDirectives {
    targets.iter().find_map(|target| targeted(headers, target)).unwrap_or_else(|| ResponseDirectives::from(headers))
}

/// The directives of one targeted field; `None` if it is absent, empty or not a dictionary.
fn targeted(headers: &HeaderMap, target: &HeaderName) -> Option<ResponseDirectives> {
    let mut lines = headers.get_all(target).iter();
    let first = lines.next()?;
    let mut whole = first.as_bytes().to_vec();
    for line in lines {
        // Several lines are one field (RFC 8941 §4.2).
        whole.extend_from_slice(b", ");
        whole.extend_from_slice(line.as_bytes());
    }
    let dictionary: Dictionary = Parser::new(&whole).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives { is_targeted: true, ..ResponseDirectives::default() };
    for (key, entry) in &dictionary {
        match entry {
            // `no-store=?0` says that it is not meant.
            ListEntry::Item(item) if item.bare_item == BareItem::Boolean(false) => {}
            ListEntry::Item(item) => with_argument(&item.bare_item, |argument| {
                directives.take(key.as_str().as_bytes(), argument);
            }),
            ListEntry::InnerList(_) => directives.take(key.as_str().as_bytes(), Argument::Invalid),
        }
    }
    Some(directives)
}

/// The value as Cache-Control would have it (§2.1): no value is `true`, a number is an integer and nothing else.
fn with_argument(value: &BareItem, take: impl FnOnce(Argument<'_>)) {
    match value {
        BareItem::Boolean(_) => take(Argument::Absent),
        BareItem::Integer(number) => take(Argument::Token(number.to_string().as_bytes())),
        // A list of field names; digits in quotes are no number here.
        BareItem::String(text) if text.as_str().bytes().any(|b| !b.is_ascii_digit()) => {
            take(Argument::Quoted(text.as_str().as_bytes()));
        }
        BareItem::Token(token) => take(Argument::Token(token.as_str().as_bytes())),
        _ => take(Argument::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use http::header::CACHE_CONTROL;
    use proptest::prelude::*;

    use super::*;

    const CDN: HeaderName = HeaderName::from_static("cdn-cache-control");
    const OURS: HeaderName = HeaderName::from_static("hedgerow-cache-control");

    fn of(fields: &[(HeaderName, &str)]) -> ResponseDirectives {
        let headers = fields.iter().map(|(n, v)| (n.clone(), HeaderValue::from_str(v).unwrap())).collect();
        directives(&headers, &[OURS, CDN])
    }

    fn secs(n: u64) -> Option<Duration> {
        Some(Duration::from_secs(n))
    }

    #[test]
    fn the_first_usable_target_is_the_policy_rfc9213_2_2() {
        let it = of(&[(CACHE_CONTROL, "no-store"), (CDN, "max-age=20"), (OURS, "max-age=10")]);
        assert_eq!((it.max_age, it.no_store, it.is_targeted), (secs(10), false, true));
        let it = of(&[(CACHE_CONTROL, "no-store"), (CDN, "max-age=20"), (OURS, "")]);
        assert_eq!((it.max_age, it.no_store), (secs(20), false));
        let it = of(&[(CACHE_CONTROL, "max-age=5"), (OURS, "max-age=10, &&&&")]);
        assert_eq!((it.max_age, it.is_targeted), (secs(5), false));
    }

    #[test]
    fn a_field_that_is_no_dictionary_does_not_count_rfc9213_2_1() {
        for value in ["max-age=10000, &&&&&", "MaX-aGe=3600", "max-age =100", "max-age= 100", "max-age=1,", "\"x\"", ""]
        {
            let it = of(&[(CACHE_CONTROL, "no-store"), (CDN, value)]);
            assert_eq!((it.no_store, it.max_age, it.is_targeted), (true, None, false), "{value}");
        }
    }

    #[test]
    fn a_lifetime_is_an_integer_and_nothing_else_rfc9213_2_1() {
        for value in ["max-age=\"10000\"", "max-age=1.5", "max-age=-1", "max-age", "max-age=(1)", "max-age=x"] {
            assert_eq!(of(&[(CDN, value)]).max_age, secs(0), "{value}");
        }
        assert_eq!(of(&[(CDN, "max-age=99999999999")]).max_age, secs(1 << 31));
        assert_eq!(of(&[(CDN, "foobar, max-age=3600;x=1")]).max_age, secs(3600));
        assert_eq!(of(&[(CDN, "max-age=1"), (CDN, "max-age=2")]).max_age, secs(2));
    }

    #[test]
    fn what_forbids_counts_and_what_is_denied_does_not() {
        let it = of(&[(CDN, "no-store, private, no-cache, must-revalidate")]);
        assert!(it.no_store && it.private && it.no_cache && it.must_revalidate);
        assert!(of(&[(CDN, "no-store=\"x\"")]).no_store);
        assert!(!of(&[(CDN, "no-store=?0, max-age=1")]).no_store);
        let it = of(&[(CDN, "private=\"x-user\", max-age=1")]);
        assert_eq!((it.private, it.private_fields[0].as_str()), (false, "x-user"));
        assert!(!of(&[(CDN, "public=1")]).public);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                directives(&[(CDN, value)].into_iter().collect(), &[CDN]);
            }
        }
    }
}
