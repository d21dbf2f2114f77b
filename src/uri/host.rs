//! The normal form of a host, as `Host`, `:authority` or an absolute-form target carry it.
//!
//! Two spellings of one host must reach the same route and the same cache key. What is not plainly a host is refused
//! rather than repaired: a proxy that reads `a,b` or `user@a` its own way disagrees with some backend about who was asked.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// Why a host is refused; the answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadHost {
    /// Nothing there, or nothing but a port.
    Empty,
    /// `user@host` (RFC 9110 §4.2.4).
    UserInfo,
    /// A character no host has, such as a space, a comma or a slash.
    Character,
    /// Not ASCII: international names travel as punycode (`xn--…`).
    NotAscii,
    /// Two dots in a row, or a dot at the start.
    EmptyLabel,
    /// A label over 63 or a name over 253 characters (RFC 1035 §2.3.4).
    TooLong,
    /// `[…]` around something that is no IPv6 address.
    Ipv6,
    /// A port that is no number from 1 to 65535.
    Port,
}

impl BadHost {
    /// The reason as one word, for the log and the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            BadHost::Empty => "empty-host",
            BadHost::UserInfo => "user-info",
            BadHost::Character => "host-character",
            BadHost::NotAscii => "host-not-ascii",
            BadHost::EmptyLabel => "empty-label",
            BadHost::TooLong => "host-too-long",
            BadHost::Ipv6 => "host-ipv6",
            BadHost::Port => "host-port",
        }
    }
}

impl fmt::Display for BadHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadHost::Empty => "the host is empty",
            BadHost::UserInfo => "a user name before `@` is not part of a host",
            BadHost::Character => "it contains a character that no host has",
            BadHost::NotAscii => "a name outside ASCII must be written as punycode (`xn--...`)",
            BadHost::EmptyLabel => "it has an empty label (a dot too many)",
            BadHost::TooLong => "a label is over 63 characters, or the name over 253",
            BadHost::Ipv6 => "what stands in brackets is not an IPv6 address",
            BadHost::Port => "the port is not a number from 1 to 65535",
        })
    }
}

impl std::error::Error for BadHost {}

/// Brings a host into its normal form and splits its port off.
///
/// Lower case, no trailing dot; an IPv6 literal keeps its brackets and gets the form of RFC 5952. An empty port (`host:`)
/// counts as none (RFC 3986 §3.2.3). Allocates nothing for a name that is already normal.
pub fn normalise_host(text: &str) -> Result<(Cow<'_, str>, Option<u16>), BadHost> {
    if text.bytes().any(|byte| byte == b'@') {
        return Err(BadHost::UserInfo);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(BadHost::Ipv6)?;
        let port = match port.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if port.is_empty() => None,
            None => return Err(BadHost::Port),
        };
        let address: Ipv6Addr = address.parse().map_err(|_| BadHost::Ipv6)?;
        let normal = format!("[{address}]");
        let host = &text[..text.find(']').map_or(0, |at| at + 1)];
        return Ok((if normal == host { Cow::Borrowed(host) } else { Cow::Owned(normal) }, port));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, None),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    check_name(host)?;
    let lower = if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    Ok((lower, port))
}

fn parse_port(text: &str) -> Result<Option<u16>, BadHost> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(BadHost::Port);
    }
    match text.parse() {
        Ok(0) | Err(_) => Err(BadHost::Port),
        Ok(port) => Ok(Some(port)),
    }
}

fn check_name(host: &str) -> Result<(), BadHost> {
    if host.is_empty() {
        return Err(BadHost::Empty);
    }
    if !host.is_ascii() {
        return Err(BadHost::NotAscii);
    }
    // In one pass, since every request goes through it.
    let (mut label, mut has_empty, mut is_long) = (0, false, host.len() > 253);
    for byte in host.bytes() {
        match byte {
            b'.' => {
                has_empty |= label == 0;
                label = 0;
            }
            b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                label += 1;
                is_long |= label > 63;
            }
            _ => return Err(BadHost::Character),
        }
    }
    match (has_empty || label == 0, is_long) {
        (true, _) => Err(BadHost::EmptyLabel),
        (false, true) => Err(BadHost::TooLong),
        (false, false) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_host_become_one() {
        for (given, host, port) in [
            ("shop.example", "shop.example", None),
            ("Shop.Example.", "shop.example", None),
            ("shop.example:", "shop.example", None),
            ("shop.example.:8080", "shop.example", Some(8080)),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]", "[::1]", None),
            ("[0:0::0001]:443", "[::1]", Some(443)),
            ("my_app-1", "my_app-1", None),
        ] {
            assert_eq!(normalise_host(given), Ok((Cow::Borrowed(host), port)), "{given}");
        }
    }

    #[test]
    fn a_normal_host_is_borrowed() {
        for h in ["shop.example", "127.0.0.1", "[2001:db8::1]"] {
            assert!(matches!(normalise_host(h), Ok((Cow::Borrowed(_), None))), "{h}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_by_name() {
        let long = "a".repeat(64);
        for (given, reason) in [
            ("", BadHost::Empty),
            (".", BadHost::Empty),
            (":80", BadHost::Empty),
            ("user@shop.example", BadHost::UserInfo),
            ("a b", BadHost::Character),
            ("a,b", BadHost::Character),
            ("a/b", BadHost::Character),
            ("a%2eb", BadHost::Character),
            ("b\u{fc}cher.example", BadHost::NotAscii),
            ("a..b", BadHost::EmptyLabel),
            (".a", BadHost::EmptyLabel),
            ("a..", BadHost::EmptyLabel),
            (&long, BadHost::TooLong),
            ("[::1", BadHost::Ipv6),
            ("[::1%25eth0]", BadHost::Ipv6),
            ("[127.0.0.1]", BadHost::Ipv6),
            ("[::1]80", BadHost::Port),
            ("a:0", BadHost::Port),
            ("a:+80", BadHost::Port),
            ("a:65536", BadHost::Port),
            ("a:80:90", BadHost::Port),
            ("::1", BadHost::Port),
        ] {
            assert_eq!(normalise_host(given), Err(reason), "{given:?}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_host_stays_as_it_is(text in "[\\[\\]a-cA-C0-9.:_@ -]{0,20}|\\PC{0,8}") {
            if let Ok((host, _)) = normalise_host(&text) {
                prop_assert_eq!(normalise_host(&host), Ok((Cow::Borrowed(&*host), None)));
            }
        }
    }
}
