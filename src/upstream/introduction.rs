//! What a backend is told by the PROXY protocol, before anything else on a connection: whom we speak for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ppp::{v1, v2};

use crate::config::ProxyVersion;

/// Whom a connection speaks for; only their requests may be sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Introduction {
    version: ProxyVersion,
    /// From where and to where; `None` if it speaks for nobody, as for a health check.
    ends: Option<(SocketAddr, SocketAddr)>,
}

impl Introduction {
    /// For the client at the first address, which has connected to the second.
    pub fn of(version: ProxyVersion, client: SocketAddr, server: SocketAddr) -> Introduction {
        let (client, server) = (canonical(client), canonical(server));
        // A header has room for one family.
        let ends = match (client.is_ipv4(), server.is_ipv4()) {
            (true, false) => (client, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), server.port())),
            (false, true) => (client, mapped(server)),
            _ => (client, server),
        };
        Introduction { version, ends: Some(ends) }
    }

    /// For ourselves.
    pub fn of_nobody(version: ProxyVersion) -> Introduction {
        Introduction { version, ends: None }
    }

    /// What connections that are so introduced are kept under, where others have `key`.
    pub fn key(&self, key: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (key, self).hash(&mut hasher);
        hasher.finish()
    }

    /// The header.
    pub(super) fn header(&self) -> Vec<u8> {
        match self.version {
            ProxyVersion::V1 => {
                let addresses = self.ends.map_or(v1::Addresses::Unknown, v1::Addresses::from);
                addresses.to_string().into_bytes()
            }
            ProxyVersion::V2 => {
                let (command, addresses) = match self.ends {
                    Some(ends) => (v2::Command::Proxy, v2::Addresses::from(ends)),
                    None => (v2::Command::Local, v2::Addresses::Unspecified),
                };
                let protocol = if self.ends.is_some() { v2::Protocol::Stream } else { v2::Protocol::Unspecified };
                let header = v2::Builder::with_addresses(v2::Version::Two | command, protocol, addresses);
                // It fails for what is longer than 64 KiB.
                header.build().unwrap_or_default()
            }
        }
    }
}

/// An IPv4 client of an IPv6 socket is the IPv4 client.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: ProxyVersion, client: &str, server: &str) -> Introduction {
        Introduction::of(version, client.parse().unwrap(), server.parse().unwrap())
    }

    fn line(client: &str, server: &str) -> String {
        String::from_utf8(of(ProxyVersion::V1, client, server).header()).unwrap()
    }

    #[test]
    fn version_1_is_a_line() {
        assert_eq!(line("192.0.2.7:5", "198.51.100.1:443"), "PROXY TCP4 192.0.2.7 198.51.100.1 5 443\r\n");
        assert_eq!(line("[2001:db8::7]:5", "[2001:db8::1]:443"), "PROXY TCP6 2001:db8::7 2001:db8::1 5 443\r\n");
        assert_eq!(line("[::ffff:192.0.2.7]:5", "[::ffff:198.51.100.1]:443"), line("192.0.2.7:5", "198.51.100.1:443"));
        assert_eq!(Introduction::of_nobody(ProxyVersion::V1).header(), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn families_are_not_mixed() {
        assert_eq!(line("192.0.2.7:5", "[2001:db8::1]:443"), "PROXY TCP4 192.0.2.7 0.0.0.0 5 443\r\n");
        assert_eq!(line("[2001:db8::7]:5", "198.51.100.1:443"), "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 5 443\r\n");
    }

    #[test]
    fn version_2_is_read_by_its_parser() {
        let bytes = of(ProxyVersion::V2, "192.0.2.7:5", "198.51.100.1:443").header();
        let header = v2::Header::try_from(&bytes[..]).unwrap();
        assert_eq!(
            (header.version, header.command, header.protocol),
            (v2::Version::Two, v2::Command::Proxy, v2::Protocol::Stream)
        );
        assert_eq!(header.addresses, v2::IPv4::new([192, 0, 2, 7], [198, 51, 100, 1], 5, 443).into());
        let bytes = Introduction::of_nobody(ProxyVersion::V2).header();
        assert_eq!(bytes, *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00");
    }

    #[test]
    fn connections_for_others_are_kept_elsewhere() {
        let one = of(ProxyVersion::V2, "192.0.2.7:5", "198.51.100.1:443");
        let other = of(ProxyVersion::V2, "192.0.2.7:6", "198.51.100.1:443");
        assert_ne!(one.key(1), other.key(1));
        assert_ne!(one.key(1), one.key(2));
        assert_eq!(one.key(1), of(ProxyVersion::V2, "192.0.2.7:5", "198.51.100.1:443").key(1));
    }
}
