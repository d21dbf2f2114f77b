//! Ids, and `traceparent` (W3C Trace Context §3.2): read strictly, since what is passed on wrongly breaks a trace for all.

use std::fmt;

/// Length of a `traceparent` of version 00.
pub const LENGTH: usize = 55;
/// The bit of the flags that says that the caller records.
const SAMPLED: u8 = 1;

/// Names a trace: 128 bits, not all of them zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

/// Names a span within its trace: 64 bits, not all of them zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(u64);

impl TraceId {
    /// The id of these bits, which are random; the one id that none may have is made another.
    pub const fn of(bits: u128) -> TraceId {
        TraceId(if bits == 0 { 1 } else { bits })
    }

    /// Its bits.
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// Its bytes, the first one first.
    pub const fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// Its 32 digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl SpanId {
    /// The id of these bits, which are random; the one id that none may have is made another.
    pub const fn of(bits: u64) -> SpanId {
        SpanId(if bits == 0 { 1 } else { bits })
    }

    /// Its bytes, the first one first.
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// The id of its `nth` child, counted from 0: no two of them have the same, and none need be remembered.
    pub const fn child(self, nth: usize) -> SpanId {
        // The finalizer of SplitMix64, a bijection, over steps that do not meet again before 2^64 of them.
        let mut z = self.0.wrapping_add((nth as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        SpanId::of(z ^ (z >> 31))
    }
}

/// What a caller says of itself in `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its trace.
    pub trace: TraceId,
    /// Its span, under which ours belongs.
    pub span: SpanId,
    /// Whether it records the trace.
    pub sampled: bool,
}

impl Parent {
    /// Reads the values of all fields named `traceparent`; `None` unless there is exactly one and it is right.
    pub fn read<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<Parent> {
        let value = values.next()?;
        if values.next().is_some() { None } else { Parent::parse(value) }
    }

    /// Reads one value. A version to come is read as far as it is known (§4.3).
    fn parse(value: &[u8]) -> Option<Parent> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let [version] = read_digits::<1>(known.get(..2)?)?;
        let is_whole = match version {
            0xff => false,
            0 => rest.is_empty(),
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        let dashes = [2, 35, 52].iter().all(|&at| known.get(at) == Some(&b'-'));
        if !is_whole || !dashes {
            return None;
        }
        let trace = u128::from_be_bytes(read_digits(known.get(3..35)?)?);
        let span = u64::from_be_bytes(read_digits(known.get(36..52)?)?);
        let [flags] = read_digits(known.get(53..55)?)?;
        let is_zero = trace == 0 || span == 0;
        (!is_zero).then_some(Parent { trace: TraceId(trace), span: SpanId(span), sampled: flags & SAMPLED != 0 })
    }

    /// The value that says so, of version 00.
    pub fn value(&self) -> [u8; LENGTH] {
        let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_digits(&self.trace.bytes(), &mut value[3..35]);
        write_digits(&self.span.bytes(), &mut value[36..52]);
        value[54] = if self.sampled { b'1' } else { b'0' };
        value
    }
}

/// `N` bytes from twice as many digits; capital ones are none (§3.2.2).
fn read_digits<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    (digits.len() == 2 * N).then_some(bytes)
}

fn write_digits(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[&str]) -> Option<Parent> {
        Parent::read(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_good_value_is_read_and_written_back() {
        let parent = read(&[GOOD]).unwrap();
        assert_eq!(parent.trace, TraceId::of(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        assert_eq!(parent.span, SpanId::of(0x00f0_67aa_0ba9_02b7));
        assert!(parent.sampled);
        assert_eq!(parent.value(), GOOD.as_bytes());
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn flags_that_are_not_known_are_not_passed_on() {
        let parent = read(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe"]).unwrap();
        assert!(!parent.sampled);
        assert!(parent.value().ends_with(b"-00"));
    }

    #[test]
    fn what_is_not_right_is_as_if_not_there() {
        for value in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-001",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
        ] {
            assert_eq!(read(&[value]), None, "{value:?}");
        }
        assert_eq!(read(&[GOOD, GOOD]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        for rest in ["", "-", "-what-comes"] {
            let value = format!("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01{rest}");
            assert_eq!(read(&[&value]), read(&[GOOD]), "{value}");
        }
    }

    #[test]
    fn no_id_is_zero() {
        assert_eq!((TraceId::of(0), SpanId::of(0)), (TraceId::of(1), SpanId::of(1)));
    }

    proptest! {
        #[test]
        fn children_are_distinct(span in any::<u64>(), a in 0usize..1000, b in 0usize..1000) {
            let span = SpanId::of(span);
            prop_assert_eq!(a == b, span.child(a) == span.child(b));
            prop_assert_ne!(span.child(a), span);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _any = Parent::parse(&bytes);
        }

        #[test]
        fn what_is_read_is_what_was_written(trace in any::<u128>(), span in any::<u64>(), sampled in any::<bool>()) {
            let parent = Parent { trace: TraceId::of(trace), span: SpanId::of(span), sampled };
            prop_assert_eq!(Parent::parse(&parent.value()), Some(parent));
        }

        #[test]
        fn one_wrong_byte_is_no_parent_or_another_good_one(at in 0..LENGTH, byte in any::<u8>()) {
            let mut value: [u8; LENGTH] = GOOD.as_bytes().try_into().unwrap();
            value[at] = byte;
            if let Some(parent) = Parent::parse(&value) {
                prop_assert!(byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte) || byte == b'-', "{parent:?}");
            }
        }
    }
}
