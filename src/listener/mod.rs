//! What stands between a socket and HTTP: who may connect, PROXY headers, TLS.
//!
//! * [`accept`] takes a fresh connection to where HTTP begins
//! * [`tls`] what clients are offered; [`names`] which certificate they are shown; [`proxy_header`] whom a proxy speaks for
//!
//! A listener's address is for life, what is spoken there belongs to a generation of the configuration.

mod accept;
mod names;
mod proxy_header;
mod tls;

use std::sync::Arc;

use http::HeaderName;

pub use accept::{Accepted, Refusal, Spoken};

use crate::config;
use crate::endpoint::Endpoint;
use tls::Terms;

/// What is spoken at one address, ready for use.
pub struct Listener {
    config: config::Listener,
    tls: Option<Terms>,
    hsts: Option<String>,
}

impl Listener {
    /// As configured. What clients remember of the one `before` (tickets of TLS) stays good where nothing speaks against it.
    ///
    /// # Errors
    /// A sentence for the operator if TLS cannot be offered so.
    pub fn new(config: &config::Listener, before: Option<&Listener>) -> Result<Listener, String> {
        let before = before.and_then(|before| Some((before.config.tls.as_ref()?, before.tls.as_ref()?)));
        let tls = config.tls.as_ref().map(|tls| Terms::new(tls, config.protocols, before)).transpose()?;
        let hsts = config.tls.as_ref().and_then(|tls| tls.hsts.as_ref()).map(strict_transport_security);
        Ok(Listener { config: config.clone(), tls, hsts })
    }

    /// Where clients connect.
    pub fn address(&self) -> &Endpoint {
        &self.config.address
    }

    /// What it was made from.
    pub fn config(&self) -> &config::Listener {
        &self.config
    }

    /// The field that tells backends the subject of a client's certificate.
    pub fn subject_field(&self) -> Option<&HeaderName> {
        self.config.tls.as_ref()?.client_auth.as_ref()?.header.as_ref()
    }

    /// The value of `Strict-Transport-Security` that goes with every answer, if one does.
    pub fn hsts(&self) -> Option<&str> {
        self.hsts.as_deref()
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The listeners of a new generation in the order of those `before`, which are bound. One whose address is no longer
/// written, or is written anew, waits for the next start.
///
/// # Errors
/// A sentence for each that cannot be.
pub fn next(wanted: &[config::Listener], before: Option<&[Arc<Listener>]>) -> Result<Vec<Arc<Listener>>, Vec<String>> {
    let make = |config: &config::Listener, before: Option<&Listener>| {
        Listener::new(config, before).map(Arc::new).map_err(|e| format!("listener {}: {e}", config.address))
    };
    let mut left: Vec<Option<&config::Listener>> = wanted.iter().map(Some).collect();
    let made: Vec<Result<Arc<Listener>, String>> = match before {
        None => wanted.iter().map(|config| make(config, None)).collect(),
        Some(before) => before
            .iter()
            .map(|old| {
                let place = left.iter().position(|one| one.is_some_and(|one| one.address == *old.address()));
                match place.and_then(|place| left[place].take()) {
                    Some(config) if *config == old.config => Ok(old.clone()),
                    Some(config) => make(config, Some(old)),
                    None => Ok(old.clone()),
                }
            })
            .collect(),
    };
    let (made, failed): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    if failed.is_empty() {
        Ok(made.into_iter().flatten().collect())
    } else {
        Err(failed.into_iter().filter_map(Result::err).collect())
    }
}

/// RFC 6797 §6.1
fn strict_transport_security(hsts: &config::Hsts) -> String {
    let below = if hsts.include_subdomains { "; includeSubDomains" } else { "" };
    let preload = if hsts.preload { "; preload" } else { "" };
    format!("max-age={}{below}{preload}", hsts.max_age.as_secs())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn plain(port: u16) -> config::Listener {
        config::Listener::plain(SocketAddr::from(([127, 0, 0, 1], port)).into())
    }

    #[test]
    fn what_is_bound_keeps_its_place() {
        let first = next(&[plain(1), plain(2), plain(2)], None).unwrap();
        let changed = config::Listener { redirect_to_https: Some(443), ..plain(2) };
        let second = next(&[plain(3), changed.clone(), plain(2)], Some(&first)).unwrap();
        let ports: Vec<u16> = second.iter().map(|listener| listener.address().tcp().unwrap().port()).collect();
        assert_eq!(ports, [1, 2, 2]);
        assert!(Arc::ptr_eq(&first[0], &second[0]) && Arc::ptr_eq(&first[2], &second[2]));
        assert_eq!(second[1].config(), &changed);
    }

    #[test]
    fn hsts_is_said_as_the_rfc_has_it() {
        let max_age = std::time::Duration::from_secs(60);
        let of = |include_subdomains, preload| {
            strict_transport_security(&config::Hsts { max_age, include_subdomains, preload })
        };
        assert_eq!(of(false, false), "max-age=60");
        assert_eq!(of(true, true), "max-age=60; includeSubDomains; preload");
    }
}
