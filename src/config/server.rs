//! `[server]`: listeners and what every connection must keep to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::read::{Located, Section, Spot};
use super::value::Value;
use super::{ClientTimeouts, Limits, Listener, Server, backend, defaults};
use crate::endpoint::{Endpoint, UNIX};

/// A timeout a user may set: shorter than a millisecond nothing works, longer than a day nothing is bounded.
pub(super) const TIMEOUT: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(86_400);

/// Reads `[server]`; `threads` is what the key is when it is not written. Where there are `listeners` of their own, none is assumed.
pub(super) fn read(mut section: Section<'_>, threads: usize, listeners: &[Located<'_, Listener>]) -> Server {
    let listen = match section.optional("listen") {
        Some(value) => addresses(&value),
        None if !listeners.is_empty() => Vec::new(),
        None => vec![Located { value: defaults::LISTEN.into(), spot: section.spot.clone() }],
    };
    let admin = match section.optional("admin") {
        Some(value) if value.as_text() == Some("off") => None,
        Some(value) => address(&value, "\"off\" or an address such as \"127.0.0.1:9090\"", defaults::ADMIN.port())
            .map(|address| Located { value: address, spot: value.spot }),
        None => Some(Located { value: defaults::ADMIN, spot: section.spot_of("listen") }),
    };
    check_clashes(&listen, listeners, admin.as_ref());
    let trusted = section.optional("trusted_proxies");
    let server = Server {
        listen: listen.into_iter().map(|l| l.value).collect(),
        admin: admin.map(|l| l.value),
        threads: small(section.integer("threads", 1..=1024, small_u64(threads))),
        trusted_proxies: trusted.map(|value| networks(&value)).unwrap_or_default(),
        grace_period: section.duration(
            "grace_period",
            Duration::ZERO..=Duration::from_secs(3600),
            defaults::GRACE_PERIOD,
        ),
        limits: limits(section.section("limits")),
        timeouts: timeouts(section.section("timeouts")),
    };
    section.finish();
    server
}

fn limits(mut section: Section<'_>) -> Limits {
    // The substrate's own bounds are 1 MiB and 256 fields; ours stay inside, so that ours answer.
    let head_size = section.size("head_size", 1 << 10..=512 << 10, defaults::HEAD_SIZE);
    let uri_length = section.size("uri_length", 64..=256 << 10, defaults::URI_LENGTH.min(head_size));
    if uri_length > head_size {
        section.spot_of("uri_length").error("is larger than head_size, of which the URI is a part");
    }
    let limits = Limits {
        head_size: small(head_size),
        headers: small(section.integer("headers", 1..=256, defaults::HEADERS)),
        uri_length: small(uri_length),
        connections: small(section.integer("connections", 1..=1_000_000, defaults::CONNECTIONS)),
        requests_per_connection: section
            .integer("requests_per_connection", 1..=u64::from(u32::MAX), defaults::REQUESTS_PER_CONNECTION)
            .try_into()
            .unwrap_or(u32::MAX),
    };
    section.finish();
    limits
}

fn timeouts(mut section: Section<'_>) -> ClientTimeouts {
    let timeouts = ClientTimeouts {
        head: section.duration("head", TIMEOUT, defaults::CLIENT_HEAD),
        idle: section.duration("idle", TIMEOUT, defaults::CLIENT_IDLE),
        body: section.duration("body", TIMEOUT, defaults::CLIENT_BODY),
        write: section.duration("write", TIMEOUT, defaults::CLIENT_WRITE),
        handshake: section.duration("handshake", TIMEOUT, defaults::CLIENT_HANDSHAKE),
    };
    section.finish();
    timeouts
}

fn addresses<'a>(value: &Value<'a>) -> Vec<Located<'a, Endpoint>> {
    let expected = "a list of addresses such as [\"0.0.0.0:8080\"]";
    let items = value.list(expected);
    if items.is_empty() && value.as_text().is_none() {
        value.spot.error(format_args!("is empty, expected {expected}"));
    }
    let read = |item: Value<'a>| {
        let address = endpoint(&item, "an address such as \"0.0.0.0:8080\"", defaults::LISTEN.port())?;
        Some(Located { value: address, spot: item.spot })
    };
    items.into_iter().filter_map(read).collect()
}

/// Reads `host:port` or `unix:path`.
pub(super) fn endpoint(value: &Value<'_>, expected: &str, port: u16) -> Option<Endpoint> {
    match value.as_text().and_then(|text| text.strip_prefix(UNIX)) {
        Some(path) => backend::unix(value, path).map(Endpoint::Unix),
        None => address(value, expected, port).map(Endpoint::Tcp),
    }
}

pub(super) fn address(value: &Value<'_>, expected: &str, port: u16) -> Option<SocketAddr> {
    let text = value.text(expected)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let message = format!("expected {expected}, found {}", value.found());
    let rest = text.strip_prefix("localhost").or_else(|| text.strip_prefix('*')).unwrap_or(text);
    let instead = match (text.parse::<IpAddr>(), rest.strip_prefix(':').unwrap_or(rest).parse::<u16>()) {
        (Ok(ip), _) => Some(SocketAddr::new(ip, port)),
        (_, Ok(port)) if text.starts_with("localhost") => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)),
        (_, Ok(port)) => Some(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        _ => None,
    };
    match instead {
        Some(instead) => value.spot.error_with(message, format_args!("write \"{instead}\"")),
        None => value.spot.error(message),
    }
    None
}

/// Two sockets that the system would refuse to open side by side.
fn check_clashes(
    listen: &[Located<'_, Endpoint>],
    listeners: &[Located<'_, Listener>],
    admin: Option<&Located<'_, SocketAddr>>,
) {
    let listen = listen.iter().map(|l| (&l.value, &l.spot));
    let all: Vec<_> = listen.chain(listeners.iter().map(|l| (&l.value.address, &l.spot))).collect();
    for (i, (address, spot)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..i].iter().find(|(other, _)| clash(other, address)) {
            spot.error(format_args!("`{address}` and `{other}` are the same socket"));
        }
    }
    let own = admin.map(|admin| Endpoint::Tcp(admin.value));
    if let (Some(admin), Some(own)) = (admin, own)
        && let Some((other, _)) = all.iter().find(|(other, _)| clash(other, &own))
    {
        let spot: &Spot<'_> = &admin.spot;
        spot.error_with(
            format_args!("`{}` is the admin address, and clashes with listen `{other}`", admin.value),
            "give `server.admin` another port, or switch it off with \"off\"",
        );
    }
}

fn clash(a: &Endpoint, b: &Endpoint) -> bool {
    let (Endpoint::Tcp(a), Endpoint::Tcp(b)) = (a, b) else { return a == b };
    // Port 0 is any free port. A v4 and a v6 wildcard may stand side by side, depending on the system.
    let same_address =
        a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified()));
    a.port() != 0 && a.port() == b.port() && same_address
}

pub(super) fn networks(value: &Value<'_>) -> Vec<IpNet> {
    let expected = "a network such as \"10.0.0.0/8\" or an address";
    let network = |item: Value<'_>| {
        let text = item.text(expected)?;
        let Some(net) = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) else {
            item.expected(expected);
            return None;
        };
        if net.addr() != net.network() {
            item.spot.warning(format_args!("has bits beyond its prefix, is read as \"{}\"", net.trunc()));
        }
        Some(net.trunc())
    };
    value.list("a list of networks such as [\"10.0.0.0/8\"]").into_iter().filter_map(network).collect()
}

/// A checked, small number as what this machine counts with.
fn small(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn small_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
