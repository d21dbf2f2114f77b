//! PROXY headers, version 1 and 2: a proxy in front says whom it speaks for before the first byte of the client.

use std::net::SocketAddr;

use ppp::{PartialResult, v1, v2};

/// The most that is read of a header of version 2: 16 bytes, two addresses, and what a proxy adds.
const LONGEST: usize = 16 + 216 + 1024;
/// The most of a line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// What the bytes so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The header is not there in whole.
    Partial,
    /// It was so long; whom it speaks for, if it says.
    Whole(usize, Option<SocketAddr>),
    /// It is none.
    Broken,
}

/// Looks for a header at the front of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Read {
    let begins_like = |start: &[u8]| bytes.iter().zip(start).all(|(a, b)| a == b);
    match bytes.first() {
        None => Read::Partial,
        Some(b'P') if begins_like(b"PROXY ") => version_1(bytes),
        Some(b'\r') if begins_like(v2::PROTOCOL_PREFIX) => version_2(bytes),
        Some(_) => Read::Broken,
    }
}

/// A line. The parser is given all of it: of a piece it cannot always tell that more is to come.
fn version_1(bytes: &[u8]) -> Read {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n").map(|at| at + 2) else {
        return if bytes.len() < LONGEST_LINE { Read::Partial } else { Read::Broken };
    };
    let line = bytes.get(..end).unwrap_or_default();
    match v1::Header::try_from(line).map(|header| header.addresses) {
        Ok(v1::Addresses::Tcp4(a)) => Read::Whole(end, Some((a.source_address, a.source_port).into())),
        Ok(v1::Addresses::Tcp6(a)) => Read::Whole(end, Some((a.source_address, a.source_port).into())),
        Ok(v1::Addresses::Unknown) => Read::Whole(end, None),
        Err(_) => Read::Broken,
    }
}

fn version_2(bytes: &[u8]) -> Read {
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(e) if e.is_incomplete() && bytes.len() < LONGEST => return Read::Partial,
        Err(_) => return Read::Broken,
    };
    let source = match (header.command, header.addresses) {
        // The proxy's own connection, as for a health check.
        (v2::Command::Local, _) => None,
        (_, v2::Addresses::IPv4(a)) => Some((a.source_address, a.source_port).into()),
        (_, v2::Addresses::IPv6(a)) => Some((a.source_address, a.source_port).into()),
        (_, v2::Addresses::Unix(_) | v2::Addresses::Unspecified) => None,
    };
    Read::Whole(header.header.len(), source)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_1_tells_the_client() {
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n";
        assert_eq!(read(line), Read::Whole(45, Some("192.0.2.7:56324".parse().unwrap())));
        let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 5 443\r\n";
        assert_eq!(read(line), Read::Whole(line.len(), Some("[2001:db8::7]:5".parse().unwrap())));
        assert_eq!(read(b"PROXY UNKNOWN\r\nx"), Read::Whole(15, None));
    }

    #[test]
    fn version_2_tells_the_client() {
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let header = v2(0x21, 0x11, &addresses);
        assert_eq!(read(&[&header[..], b"GET"].concat()), Read::Whole(28, Some("192.0.2.7:56324".parse().unwrap())));
        // What a proxy adds is passed over.
        let with_more = v2(0x21, 0x11, &[&addresses[..], &[4, 0, 3, 1, 2, 3]].concat());
        assert_eq!(read(&with_more), Read::Whole(34, Some("192.0.2.7:56324".parse().unwrap())));
        assert_eq!(read(&v2(0x20, 0x00, &[])), Read::Whole(16, None));
    }

    #[test]
    fn a_piece_is_a_piece() {
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n";
        for end in 0..line.len() {
            assert_eq!(read(&line[..end]), Read::Partial, "{end}");
        }
        let header = v2(0x21, 0x11, &[0; 12]);
        for end in 0..header.len() {
            assert_eq!(read(&header[..end]), Read::Partial, "{end}");
        }
    }

    #[test]
    fn what_is_none_is_none() {
        for text in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 99999\r\n",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        ] {
            assert_eq!(read(text), Read::Broken, "{text:?}");
        }
        assert_eq!(read(&v2(0x31, 0x11, &[0; 12])), Read::Broken);
        assert_eq!(read(&v2(0x21, 0x11, &[0; 2])), Read::Broken);
    }

    #[test]
    fn a_header_without_end_is_given_up() {
        assert_eq!(read(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 2000]].concat()), Read::Broken);
        let mut long = v2(0x21, 0x11, &vec![0; 20_000]);
        long.truncate(LONGEST);
        assert_eq!(read(&long), Read::Broken);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0usize..3) {
            let front = [&b""[..], b"PROXY TCP4 ", V2][start];
            if let Read::Whole(length, _) = read(&[front, &bytes].concat()) {
                prop_assert!(length <= front.len() + bytes.len());
            }
        }
    }
}
