//! `backends` and `tls` of a pool: where requests go.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pool_tail::IN_FLIGHT;
use super::read::{Located, Section};
use super::value::Value;
use crate::certificate::{ClientIdentity, Mistake};
use crate::clock;
use crate::endpoint::{LONGEST_PATH, UNIX};
use crate::units::Weight;
use crate::uri;

/// Where a backend listens, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A port of a host.
    Host {
        /// IP address, without brackets, or DNS name.
        name: String,
        /// 1 to 65535.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(Arc<Path>),
}

/// One entry of `backends`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: Address,
    /// Share relative to its peers.
    pub weight: Weight,
    /// Requests at one time; `None` as the pool says.
    pub max_in_flight: Option<u32>,
}

/// `tls = { … }`: how backends are verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Name sent as SNI and verified; the backend's host when `None`.
    pub server_name: Option<String>,
    /// Whether certificate and name are verified.
    pub verify: bool,
    /// PEM file of certificate authorities; the system's when `None`.
    pub ca: Option<PathBuf>,
    /// What backends are shown of us, if they ask.
    pub identity: Option<Identity>,
}

/// `cert` and `key` of a pool's `tls`: the certificate that backends are shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// What was in them.
    pub read: ClientIdentity,
}

/// Which version of the PROXY protocol backends are told the client's address by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl ProxyVersion {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            ProxyVersion::V1 => "v1",
            ProxyVersion::V2 => "v2",
        }
    }
}

/// Reads `["host:port", { address = "host:port", weight = 3 }]`; repeated addresses are problems.
pub(super) fn backends(value: &Value<'_>) -> Vec<Backend> {
    let expected = "a list of backends such as [\"127.0.0.1:8001\"]";
    let items = value.list(expected);
    if items.is_empty() && value.as_text().is_none() {
        value.spot.error(format_args!("is empty, expected {expected}"));
    }
    let mut found: Vec<Located<'_, Backend>> = Vec::new();
    for item in items {
        let Some(backend) = backend(item) else { continue };
        let same = |other: &&Located<'_, Backend>| other.value.address == backend.value.address;
        if found.iter().find(same).is_some() {
            backend.spot.error_with(
                format_args!("backend {} stands twice in this pool", backend.value.address),
                "to send it more, write it once with a weight: { address = \"...\", weight = 2 }",
            );
        }
        found.push(backend);
    }
    found.into_iter().map(|backend| backend.value).collect()
}

fn backend(item: Value<'_>) -> Option<Located<'_, Backend>> {
    let spot = item.spot.clone();
    let (address, weight, max_in_flight) = if item.is_table() {
        let mut section = item.section()?;
        let value = section.required("address", "\"host:port\"");
        let weight = section.integer("weight", 1..=u64::from(Weight::MAX), u64::from(Weight::DEFAULT.get()));
        let most = section.optional("max_in_flight").and_then(|value| max_in_flight(&value));
        section.finish();
        (value.and_then(|value| address(&value)), weight, most)
    } else {
        (address(&item), u64::from(Weight::DEFAULT.get()), None)
    };
    let address = address?;
    let weight = u16::try_from(weight).ok().and_then(Weight::new).unwrap_or_default();
    Some(Located { value: Backend { address, weight, max_in_flight }, spot })
}

/// Reads how many requests may be at one backend.
pub(super) fn max_in_flight(value: &Value<'_>) -> Option<u32> {
    let range = u64::from(*IN_FLIGHT.start())..=u64::from(*IN_FLIGHT.end());
    value.integer(range).and_then(|n| u32::try_from(n).ok())
}

/// Reads `host:port` or `unix:path`; an IPv6 address comes out without its brackets.
fn address(value: &Value<'_>) -> Option<Address> {
    let text = value.text("a backend such as \"127.0.0.1:8001\" or { address = \"...\", weight = 2 }")?;
    if let Some(path) = text.strip_prefix(UNIX) {
        return unix(value, path).map(Address::Unix);
    }
    let message = format!("expected \"host:port\", found {}", value.found());
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.split('/').next().unwrap_or(rest);
        let tls = if scheme == "https" { ", and `tls = {}` in the pool" } else { "" };
        value.spot.error_with(message, format_args!("write \"{rest}\"{tls}"));
        return None;
    }
    match uri::normalise_host(text) {
        Ok((host, Some(port))) => {
            let is_numeric = host.split('.').all(|label| label.bytes().all(|b| b.is_ascii_digit()));
            if is_numeric && host.parse::<IpAddr>().is_err() {
                value.spot.error(format_args!("`{host}` is not an IPv4 address, expected \"host:port\""));
                return None;
            }
            Some(Address::Host { name: host.trim_start_matches('[').trim_end_matches(']').to_owned(), port })
        }
        Ok((host, None)) => {
            value.spot.error_with(format_args!("{message}: no port"), format_args!("write \"{host}:8000\""));
            None
        }
        Err(_) if text.matches(':').count() > 1 && !text.starts_with('[') => {
            value.spot.error_with(message, "an IPv6 address stands in brackets: \"[::1]:8000\"");
            None
        }
        Err(reason) => {
            value.spot.error(format_args!("{message}: {reason}"));
            None
        }
    }
}

/// Reads what follows `unix:`: the path of a socket, relative to the file it is written in.
pub(super) fn unix(value: &Value<'_>, written: &str) -> Option<Arc<Path>> {
    if written.is_empty() || written.ends_with('/') || written.contains('\0') {
        value.spot.error_with(
            format_args!("{} names no socket", value.found()),
            "write the path of a Unix socket such as \"unix:/run/app.sock\"",
        );
        return None;
    }
    let path = value.spot.source.directory.join(written);
    if path.as_os_str().len() > LONGEST_PATH {
        value.spot.error(format_args!(
            "the path {} is too long for a Unix socket, which has room for {LONGEST_PATH} bytes",
            path.display()
        ));
        return None;
    }
    Some(path.into())
}

impl Address {
    /// The name that is to be resolved, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Address::Host { name, .. } if name.parse::<IpAddr>().is_err() => Some(name),
            Address::Host { .. } | Address::Unix(_) => None,
        }
    }
}

/// `host:port`, with brackets around an IPv6 address, or `unix:path`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Host { name, port } if name.contains(':') => write!(f, "[{name}]:{port}"),
            Address::Host { name, port } => write!(f, "{name}:{port}"),
            Address::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// Reads `tls = { server_name, verify, ca, cert, key }`; a backend's name is verified, or that of `server_name`.
pub(super) fn tls(mut section: Section<'_>, backends: &[Backend]) -> Tls {
    let server_name = section.optional("server_name").and_then(|value| {
        let text = value.text("a host name")?;
        match uri::normalise_host(text) {
            Ok((host, None)) => Some(host.into_owned()),
            Ok(_) => {
                value.spot.error("expected a host name without a port");
                None
            }
            Err(reason) => {
                value.spot.error(format_args!("expected a host name, found {}: {reason}", value.found()));
                None
            }
        }
    });
    let verify = section.boolean("verify", true);
    let ca = section.optional("ca").and_then(|value| {
        let path = value.spot.source.directory.join(value.text("the path of a PEM file")?);
        if !path.is_file() {
            value.spot.error(format_args!("no such file: {}", path.display()));
            return None;
        }
        Some(path)
    });
    if ca.is_some() && !verify {
        section.spot_of("ca").warning("is not used, since `verify = false`");
    }
    let identity = identity(&mut section);
    let socket = backends.iter().find(|backend| matches!(backend.address, Address::Unix(_)));
    if let (Some(socket), None) = (socket, &server_name) {
        let message =
            format!("`server_name` is missing: `{}` has no name that a certificate could be for", socket.address);
        section.spot.error_with(message, "write the name that the certificate is for");
    }
    section.finish();
    Tls { server_name, verify, ca, identity }
}

/// Reads `cert` and `key`, of which neither is of use alone.
fn identity(section: &mut Section<'_>) -> Option<Identity> {
    let (cert, key) = match (section.optional("cert"), section.optional("key")) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(one), None) => {
            one.spot.error("is of no use without its `key`");
            return None;
        }
        (None, Some(one)) => {
            one.spot.error("is of no use without its `cert`");
            return None;
        }
        (None, None) => return None,
    };
    let (cert_path, key_path) = (cert.path()?, key.path()?);
    match ClientIdentity::read(&cert_path, &key_path) {
        Ok(read) => {
            if let Some(complaint) = read.certificate().complaint(clock::wall()) {
                cert.spot.warning(format_args!("{} {complaint}", cert_path.display()));
            }
            Some(Identity { cert: cert_path, key: key_path, read })
        }
        Err(Mistake::Key(text)) => {
            key.spot.error(format_args!("{} {text}", key_path.display()));
            None
        }
        Err(Mistake::Chain(text) | Mistake::Ocsp(text)) => {
            cert.spot.error(format_args!("{} {text}", cert_path.display()));
            None
        }
    }
}
