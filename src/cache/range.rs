//! What a `Range` field asks for, before it meets a length. (RFC 9110 §14)
//!
//! Pingora cuts the ranges; it takes `bytes=-0`, which asks for the last nothing, for a range, and `bytes=5-2`, which is no
//! range at all, for one that cannot be satisfied. Both are told apart here first.

/// What is to be done with a `Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is for the cutting to decide.
    Cut,
    /// It is malformed or in another unit: it does not count (§14.2).
    Ignore,
    /// All it asks for is a suffix of no bytes: 416 (§14.1.2).
    Unsatisfiable,
}

/// Judges the value of a `Range` field.
pub fn judge(value: &[u8]) -> Verdict {
    let Some((unit, set)) = value.split_at_checked(6) else { return Verdict::Ignore };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return Verdict::Ignore;
    }
    let mut empty_suffixes_only = true;
    for spec in set.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
        let Some(dash) = spec.iter().position(|&b| b == b'-') else { return Verdict::Ignore };
        let (first, last) = (&spec[..dash], &spec[dash + 1..]);
        let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
        if !digits(first) || !digits(last) || (first.is_empty() && last.is_empty()) || is_less(last, first) {
            return Verdict::Ignore;
        }
        empty_suffixes_only &= first.is_empty() && last.iter().all(|&b| b == b'0');
    }
    if empty_suffixes_only { Verdict::Unsatisfiable } else { Verdict::Cut }
}

/// Whether the number `last` is given and less than the number `first`, however long both are.
fn is_less(last: &[u8], first: &[u8]) -> bool {
    let bare = |text: &'_ [u8]| text.iter().position(|&b| b != b'0').map_or(0, |zeros| text.len() - zeros);
    let (a, b) = (bare(last), bare(first));
    !last.is_empty() && (a < b || (a == b && last[last.len() - a..] < first[first.len() - b..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_range_does_not_count_rfc9110_14_2() {
        for value in
            ["bytes=5-2", "bytes=", "bytes=-", "bytes=a-b", "lines=1-2", "bytes 1-2", "bytes=1-2,x", "bytes=010-9"]
        {
            assert_eq!(judge(value.as_bytes()), Verdict::Ignore, "{value}");
        }
    }

    #[test]
    fn a_suffix_of_nothing_cannot_be_satisfied_rfc9110_14_1_2() {
        for value in ["bytes=-0", "bytes=-00", "bytes=-0, -0"] {
            assert_eq!(judge(value.as_bytes()), Verdict::Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn ranges_are_for_the_cutting() {
        for value in ["bytes=0-0", "bytes=5-", "bytes=-5", "Bytes=1-2, 3-4", "bytes=0-0,-0", "bytes=9-0010"] {
            assert_eq!(judge(value.as_bytes()), Verdict::Cut, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in prop::collection::vec(any::<u8>(), 0..40)) {
            judge(&value);
            judge(&[b"bytes=".as_slice(), &value].concat());
        }

        #[test]
        fn order_is_that_of_the_numbers(first in any::<u64>(), last in any::<u64>()) {
            let expected = if last < first { Verdict::Ignore } else { Verdict::Cut };
            prop_assert_eq!(judge(format!("bytes={first}-{last}").as_bytes()), expected);
        }
    }
}
