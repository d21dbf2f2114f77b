//! `baggage` (W3C Baggage): what applications tell those behind them. None of it is ours; what is within the bounds that
//! each must pass on (§3.3.2) goes on as it came, anything larger not at all.

/// Members that are passed on.
const MEMBERS: usize = 64;
/// Bytes that are passed on, all fields together.
const BYTES: usize = 8192;

/// Whether the values of all fields named `baggage` may be passed on.
pub fn check<'a>(values: impl Iterator<Item = &'a [u8]>) -> Result<(), Refused> {
    let (mut members, mut bytes) = (0, 0);
    for value in values {
        // The comma that joins it to the one before.
        bytes += value.len() + usize::from(members > 0);
        members += value.split(|&b| b == b',').count();
        if !value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~')) {
            return Err(Refused::Character);
        }
    }
    if members > MEMBERS || bytes > BYTES { Err(Refused::Large) } else { Ok(()) }
}

/// Why it is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It holds what no baggage does: only visible ASCII and spaces are allowed.
    Character,
    /// More than 64 members or 8192 bytes.
    Large,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(values: &[&str]) -> Result<(), Refused> {
        check(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn what_each_must_pass_on_passes() {
        assert_eq!(checked(&["userId=alice;p=1, region=eu%20west", "x=1"]), Ok(()));
        assert_eq!(checked(&[]), Ok(()));
        assert_eq!(checked(&[&"v".repeat(8192)]), Ok(()));
        assert_eq!(checked(&[&vec!["a=1"; 64].join(",")]), Ok(()));
    }

    #[test]
    fn what_is_larger_or_no_text_does_not() {
        assert_eq!(checked(&[&"v".repeat(8193)]), Err(Refused::Large));
        assert_eq!(checked(&[&"v".repeat(4096), &"v".repeat(4096)]), Err(Refused::Large));
        assert_eq!(checked(&[&vec!["a=1"; 64].join(","), "b=1"]), Err(Refused::Large));
        assert_eq!(checked(&["a=\u{e4}"]), Err(Refused::Character));
    }
}
