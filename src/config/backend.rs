//! `backends` and `tls` of a pool: where requests go.

use std::net::IpAddr;

use super::pool_tail::IN_FLIGHT;
use super::read::{Located, Section};
use super::value::Value;
use super::{Backend, Tls};
use crate::units::Weight;
use crate::uri;

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
        let same = |other: &&Located<'_, Backend>| {
            (&other.value.host, other.value.port) == (&backend.value.host, backend.value.port)
        };
        if found.iter().find(same).is_some() {
            let Backend { host, port, .. } = &backend.value;
            backend.spot.error_with(
                format_args!("backend {} stands twice in this pool", show_address(host, *port)),
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
    let (host, port) = address?;
    let weight = u16::try_from(weight).ok().and_then(Weight::new).unwrap_or_default();
    Some(Located { value: Backend { host, port, weight, max_in_flight }, spot })
}

/// Reads how many requests may be at one backend.
pub(super) fn max_in_flight(value: &Value<'_>) -> Option<u32> {
    let range = u64::from(*IN_FLIGHT.start())..=u64::from(*IN_FLIGHT.end());
    value.integer(range).and_then(|n| u32::try_from(n).ok())
}

/// Reads `host:port`; an IPv6 address comes out without its brackets.
fn address(value: &Value<'_>) -> Option<(String, u16)> {
    let text = value.text("a backend such as \"127.0.0.1:8001\" or { address = \"...\", weight = 2 }")?;
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
            Some((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
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

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn show_address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Reads `tls = { server_name, verify, ca }`.
pub(super) fn tls(mut section: Section<'_>) -> Tls {
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
    section.finish();
    Tls { server_name, verify, ca }
}
