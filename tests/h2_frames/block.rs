//! Field blocks as bytes (RFC 7541 §6), right or wrong.

/// How a literal field is to be kept (RFC 7541 §6.2): the first bits, and how many of the byte are left.
#[derive(Clone, Copy)]
pub enum Kept {
    Indexed,
    Unindexed,
    NeverIndexed,
}

impl Kept {
    fn bits(self) -> (u8, u8) {
        match self {
            Kept::Indexed => (0x40, 6),
            Kept::Unindexed => (0x00, 4),
            Kept::NeverIndexed => (0x10, 4),
        }
    }
}

/// An integer in the last `bits` of a byte that begins with `first`, and what follows (RFC 7541 §5.1).
pub fn integer(first: u8, bits: u8, value: usize) -> Vec<u8> {
    let most = (1 << bits) - 1;
    if value < most {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(most).unwrap()];
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// A string as it is (RFC 7541 §5.2).
pub fn plain(text: impl AsRef<[u8]>) -> Vec<u8> {
    [&integer(0, 7, text.as_ref().len())[..], text.as_ref()].concat()
}

/// A string whose Huffman code is this.
pub fn coded(code: &[u8]) -> Vec<u8> {
    [&integer(0x80, 7, code.len())[..], code].concat()
}

/// A field of a table (RFC 7541 §6.1).
pub fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// A field whose name is in a table; `value` is a string of [`plain`] or [`coded`].
pub fn named(kept: Kept, index: usize, value: &[u8]) -> Vec<u8> {
    let (first, bits) = kept.bits();
    [&integer(first, bits, index)[..], value].concat()
}

/// A field with a name of its own.
pub fn literal(kept: Kept, name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[kept.bits().0], name, value].concat()
}

/// A field in the plainest way.
pub fn field(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    literal(Kept::Unindexed, &plain(name), &plain(value))
}

/// Fields in the plainest way.
pub fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    list.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A new size of the dynamic table (RFC 7541 §6.3): bytes.
pub fn table_size(size: usize) -> Vec<u8> {
    integer(0x20, 5, size)
}

/// The status of an answer whose encoder has no dynamic table. It comes first (RFC 9113 §8.3.2).
pub fn status(block: &[u8]) -> Option<u16> {
    match block {
        // The encoder owns up to having no table.
        [0x20, rest @ ..] => status(rest),
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500].get(usize::from(index - 0x88)).copied(),
        // Named by the table's entry 8, in each of the three ways.
        [0x08 | 0x18 | 0x48, length, rest @ ..] => {
            let text = rest.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { std::str::from_utf8(text).ok()?.parse().ok() } else { digits(text) }
        }
        _ => None,
    }
}

/// Three digits in Huffman code (RFC 7541 Appendix B): 0, 1 and 2 have five bits, the others six.
fn digits(code: &[u8]) -> Option<u16> {
    let bits: String = code.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let read = |length: usize| u16::from_str_radix(bits.get(at..at + length)?, 2).ok();
        let (digit, length) = match (read(5)?, read(6)) {
            (digit @ 0..=2, _) => (digit, 5),
            (_, Some(code @ 0b01_1001..=0b01_1111)) => (code - 0b01_1001 + 3, 6),
            _ => return None,
        };
        number = number * 10 + digit;
        at += length;
    }
    Some(number)
}

#[test]
fn statuses_are_read_in_each_way() {
    for (block, expected) in [
        (&[0x20, 0x88][..], 200),
        (&[0x8d], 404),
        (&[0x48, 3, b'4', b'3', b'1'], 431),
        // RFC 7541 C.6.1 and C.6.2.
        (&[0x48, 0x82, 0x64, 0x02], 302),
        (&[0x48, 0x83, 0x64, 0x0e, 0xff], 307),
    ] {
        assert_eq!(status(block), Some(expected));
    }
}
