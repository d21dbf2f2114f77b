//! Values that each request writes, as text, without the machinery for formatting: it costs more than all else in a line of
//! the log.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// The longest text of an address: IPv6 with an IPv4 address mapped into it.
const LONGEST: usize = 45;

/// An address as text.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Address {
    /// `ip` as [`fmt::Display`] has it.
    pub fn of(ip: IpAddr) -> Address {
        let mut text = Address { bytes: [0; LONGEST], length: 0 };
        match ip {
            IpAddr::V4(ip) => {
                for (place, octet) in ip.octets().into_iter().enumerate() {
                    text.push(if place > 0 { "." } else { "" });
                    text.push(itoa::Buffer::new().format(octet));
                }
            }
            IpAddr::V6(ip) => {
                // It has room for all of them.
                let _infallible = write!(text, "{ip}");
            }
        }
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The same as bytes, all of ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, part: &str) {
        let end = self.length + part.len();
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(part.as_bytes());
            self.length = end;
        }
    }
}

impl fmt::Write for Address {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.push(part);
        Ok(())
    }
}

/// The length of `YYYY-MM-DDThh:mm:ss`.
const TO_THE_SECOND: usize = 19;

thread_local! {
    /// The last second that was written, and its text.
    static SECOND: Cell<(u64, [u8; TO_THE_SECOND])> = const { Cell::new((u64::MAX, [0; TO_THE_SECOND])) };
}

/// A time of the years 1970 to 9999 in milliseconds, as RFC 3339 has it in UTC: `YYYY-MM-DDThh:mm:ss.mmmZ`. What is before or
/// after them is cut to them.
pub fn millis(time: SystemTime) -> [u8; TO_THE_SECOND + 5] {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().min(LAST);
    let (mut second, mut text) = SECOND.get();
    if second != since.as_secs() {
        second = since.as_secs();
        let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let written = humantime::format_rfc3339_seconds(whole).to_string();
        for (to, from) in text.iter_mut().zip(written.bytes()) {
            *to = from;
        }
        SECOND.set((second, text));
    }
    let mut millis = [b'.', b'0', b'0', b'0', b'Z'];
    let mut rest = since.subsec_millis();
    for digit in millis[1..4].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let mut all = [0; TO_THE_SECOND + 5];
    all[..TO_THE_SECOND].copy_from_slice(&text);
    all[TO_THE_SECOND..].copy_from_slice(&millis);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_everywhere(v4 in any::<u32>(), v6 in any::<u128>(), small in any::<u16>()) {
            for ip in [
                IpAddr::V4(v4.into()),
                IpAddr::V6(v6.into()),
                IpAddr::V6(u128::from(small).into()),
                IpAddr::V4(v4.into()).to_canonical(),
                IpAddr::V6(std::net::Ipv4Addr::from(v4).to_ipv6_mapped()),
            ] {
                prop_assert_eq!(Address::of(ip).as_str().to_owned(), ip.to_string());
            }
        }

        #[test]
        fn times_are_written_as_everywhere(millis in 0..253_402_300_799_000u64, later in 0..3000u64) {
            for since in [millis, millis + later] {
                let time = SystemTime::UNIX_EPOCH + Duration::from_millis(since.min(253_402_300_799_000));
                let expected = humantime::format_rfc3339_millis(time).to_string();
                prop_assert_eq!(String::from_utf8(super::millis(time).to_vec()).unwrap(), expected);
            }
        }
    }

    #[test]
    fn the_longest_address_fits() {
        let ip: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        assert_eq!(Address::of(ip).as_str(), ip.to_string());
        assert_eq!(Address::of("::ffff:255.255.255.255".parse().unwrap()).as_str(), "::ffff:255.255.255.255");
    }

    #[test]
    fn times_outside_of_what_can_be_written_are_cut() {
        let text = |time| String::from_utf8(millis(time).to_vec()).unwrap();
        assert_eq!(text(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
        let late = SystemTime::UNIX_EPOCH + Duration::from_secs(300_000_000_000);
        assert_eq!(text(late), "9999-12-31T23:59:59.000Z");
    }
}
