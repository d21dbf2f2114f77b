//! Who asks: the same answer for the fast lane, which has a head's bytes, and for the phases behind it, which have a map.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use tokio::task::futures::TaskLocalFuture;

/// The name of a request's identity. As text: pingora sends a field in the spelling it was given.
pub const X_REQUEST_ID: &str = "X-Request-Id";
/// Longer identities are replaced by our own.
const MAX_REQUEST_ID: usize = 128;

tokio::task_local! {
    static OF_THIS_CONNECTION: Arc<Link>;
}

/// What is known of a connection from before its first request.
#[derive(Clone, Debug, Default)]
pub struct Link {
    /// Whether it is under TLS.
    pub secure: bool,
    /// `Strict-Transport-Security`, as a whole line of a head with its end; empty where none is sent.
    pub hsts: String,
    /// The subject of the client's certificate, and the field that tells backends.
    pub subject: Option<(HeaderName, HeaderValue)>,
    /// The client's address and ours, as far as they are known.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// Where requests are sent to HTTPS: the port.
    pub redirect: Option<u16>,
}

impl Link {
    /// Runs what belongs to a connection with this as its own.
    pub fn scope<F: Future>(self: Arc<Link>, connection: F) -> TaskLocalFuture<Arc<Link>, F> {
        OF_THIS_CONNECTION.scope(self, connection)
    }

    /// That of the connection this is called for; `None` for a request that has none, as a refresh.
    pub fn of_this_connection() -> Option<Arc<Link>> {
        OF_THIS_CONNECTION.try_with(Clone::clone).ok()
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client {
    /// Whether it came by TLS, here.
    pub secure: bool,
    /// The peer's address; `None` for a refresh that nobody waits for.
    pub peer: Option<IpAddr>,
    /// Whether the peer is one of `trusted_proxies`.
    pub trusted: bool,
    /// The address told by trusted proxies, or the peer's.
    pub address: Option<IpAddr>,
}

impl Client {
    /// Who the peer is, and whom it speaks for if it is trusted; in clear text. `forwarded_for` are the lines of `X-Forwarded-For`.
    pub fn new<'a>(
        peer: Option<IpAddr>,
        trusted_proxies: &[IpNet],
        forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    ) -> Client {
        // An IPv4 client of an IPv6 socket is the IPv4 client.
        let peer = peer.map(|ip| ip.to_canonical());
        let is_trusted = |ip: IpAddr| trusted_proxies.iter().any(|net| net.contains(&ip));
        let trusted = peer.is_some_and(is_trusted);
        let address = if trusted { told_address(forwarded_for, is_trusted).or(peer) } else { peer };
        Client { secure: false, peer, trusted, address }
    }
}

/// The last address of `X-Forwarded-For` that is not itself a trusted proxy.
fn told_address<'a>(
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let told = lines.rev().filter_map(text).flat_map(|line| line.rsplit(','));
    let mut last = None;
    for text in told {
        let Ok(ip) = text.trim().parse::<IpAddr>() else { break };
        last = Some(ip.to_canonical());
        if !is_trusted(ip.to_canonical()) {
            break;
        }
    }
    last
}

/// A field's value, if it is text that can be read: visible ASCII, spaces and tabs.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    std::str::from_utf8(value).ok().filter(|_| is_text)
}

/// A request's identity, as it is told to client, backend and log.
#[derive(Clone, Copy, Debug)]
pub enum RequestId<'a> {
    /// The client's own, in visible ASCII.
    Given(&'a [u8]),
    /// 128 random bits in hexadecimal digits.
    Drawn([u8; 32]),
}

impl<'a> RequestId<'a> {
    /// What the client gave if it can do no harm, else one of our own.
    pub fn of(given: Option<&'a [u8]>) -> RequestId<'a> {
        let is_harmless =
            |id: &&[u8]| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.iter().all(u8::is_ascii_graphic);
        given.filter(is_harmless).map_or_else(|| RequestId::Drawn(digits(fastrand::u128(..))), RequestId::Given)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            RequestId::Given(id) => id,
            RequestId::Drawn(id) => id,
        }
    }

    /// The same as a field's value.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(self.as_bytes()).unwrap_or(HeaderValue::from_static("0"))
    }
}

fn digits(id: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(id >> (124 - 4 * place) & 15) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> Client {
        let nets: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        Client::new(peer.parse().ok(), &nets, lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn a_client_cannot_choose_its_address() {
        let client = client("192.0.2.1", &["203.0.113.9"]);
        assert_eq!((client.address, client.trusted), ("192.0.2.1".parse().ok(), false));
    }

    #[test]
    fn a_trusted_chain_is_walked_to_the_first_stranger() {
        let client = client("10.0.0.1", &["198.51.100.7, 203.0.113.9", "10.1.1.1"]);
        assert_eq!(client.address, "203.0.113.9".parse().ok());
    }

    #[test]
    fn what_is_no_address_ends_the_chain() {
        assert_eq!(client("10.0.0.1", &["203.0.113.9, unknown, 10.1.1.1"]).address, "10.1.1.1".parse().ok());
    }

    #[test]
    fn a_line_that_is_no_text_is_left_out() {
        assert_eq!(client("10.0.0.1", &["203.0.113.9", "198.51.100.7, \u{e4}"]).address, "203.0.113.9".parse().ok());
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_the_ipv4_client() {
        assert!(client("::ffff:10.0.0.1", &[]).trusted);
    }

    #[test]
    fn an_identity_is_kept_only_if_it_can_do_no_harm() {
        let value = |given: Option<&'static [u8]>| RequestId::of(given).value();
        assert_eq!(value(Some(b"abc-123")), "abc-123");
        assert_eq!(value(Some(b"two words")).len(), 32);
        assert_eq!(value(Some(b"")).len(), 32);
        assert_eq!(value(Some(&[b'a'; 129])).len(), 32);
        assert_ne!(value(None), value(None));
    }

    #[test]
    fn an_identity_of_ours_is_32_digits() {
        assert_eq!(&digits(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), b"0123456789abcdef0123456789abcdef");
    }
}
