//! Patterns of hosts.

use std::fmt;
use std::net::IpAddr;

use super::BadPattern;
use crate::uri::{self, BadHost};

/// Which hosts a route serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// One host, lower case, no port.
    Exact(String),
    /// `*.example.com`: every host below the suffix (held as `.example.com`), however deep, but not `example.com` itself.
    Suffix(String),
    /// Every host.
    Any,
}

impl HostPattern {
    /// Reads `example.com`, `*.example.com`, an address, or `*`.
    ///
    /// The pattern gets the normal form of a request's host ([`uri::normalise_host`]), so matching compares bytes.
    pub fn parse(text: &str) -> Result<HostPattern, BadPattern> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return Err(BadPattern::HostWildcard);
        }
        let host = match uri::normalise_host(name) {
            Ok((host, None)) if !name.ends_with(':') => host.into_owned(),
            Ok((host, _)) => {
                let instead = if wildcard { format!("*.{host}") } else { host.into_owned() };
                return Err(BadPattern::HostPort { instead });
            }
            Err(BadHost::Port) if name.parse::<std::net::Ipv6Addr>().is_ok() => {
                return Err(BadPattern::HostPort { instead: format!("[{name}]") });
            }
            Err(reason) => return Err(BadPattern::Host(reason)),
        };
        if !wildcard {
            return Ok(HostPattern::Exact(host));
        }
        if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
            return Err(BadPattern::AddressWildcard);
        }
        Ok(HostPattern::Suffix(format!(".{host}")))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Suffix(suffix) => write!(f, "*{suffix}"),
            HostPattern::Any => f.write_str("*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_the_normal_form_of_a_host() {
        for (text, pattern) in [
            ("Shop.Example.", HostPattern::Exact("shop.example".into())),
            ("[0::1]", HostPattern::Exact("[::1]".into())),
            ("127.0.0.1", HostPattern::Exact("127.0.0.1".into())),
            ("*.Shop.example", HostPattern::Suffix(".shop.example".into())),
            ("*", HostPattern::Any),
        ] {
            assert_eq!(HostPattern::parse(text), Ok(pattern.clone()), "{text}");
            assert_eq!(HostPattern::parse(&pattern.to_string()), Ok(pattern));
        }
    }

    #[test]
    fn a_bad_host_pattern_says_what_to_write() {
        for (text, hint) in [
            ("shop.example:80", Some("write `shop.example`")),
            ("*.shop.example:80", Some("write `*.shop.example`")),
            ("::1", Some("write `[::1]`")),
            ("a.*.example", Some("write `*.example.com` for every host below, or `*` for every host")),
            ("*shop.example", Some("write `*.example.com` for every host below, or `*` for every host")),
            ("*.10.0.0.1", None),
            ("*.", None),
            ("", None),
            ("http://shop.example", None),
            ("b\u{fc}cher.example", None),
        ] {
            assert_eq!(HostPattern::parse(text).unwrap_err().hint().as_deref(), hint, "{text}");
        }
        let bad = HostPattern::parse("b\u{fc}cher.example").unwrap_err();
        assert!(bad.to_string().contains("punycode"), "{bad}");
    }
}
