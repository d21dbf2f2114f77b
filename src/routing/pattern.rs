//! Why a pattern is refused.

use std::fmt;

use crate::uri::{BadHost, BadTarget};

/// Why a host or path pattern is refused. `Display` says what is wrong, [`hint`](BadPattern::hint) what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPattern {
    /// No host looks like this.
    Host(BadHost),
    /// A host pattern with a port: routes match hosts, listeners have ports.
    HostPort {
        /// The pattern without its port.
        instead: String,
    },
    /// A `*` elsewhere than as the whole first label.
    HostWildcard,
    /// A wildcard in front of an address.
    AddressWildcard,
    /// A path pattern that does not start with `/`.
    NoSlash {
        /// The pattern with a slash in front.
        instead: String,
    },
    /// A `?`: routes match paths, not queries.
    Query,
    /// No request's path can be this, since it would have been refused.
    Refused(BadTarget),
    /// No request's path can be this, since it would have been normalised to something else.
    NotNormal {
        /// The normal form.
        instead: String,
    },
    /// `**` beside other characters of its segment.
    PartialDeep,
    /// A glob too large to compile.
    TooLarge,
}

impl BadPattern {
    /// What to write instead, where that can be told.
    pub fn hint(&self) -> Option<String> {
        match self {
            BadPattern::HostPort { instead } | BadPattern::NoSlash { instead } | BadPattern::NotNormal { instead } => {
                Some(format!("write `{instead}`"))
            }
            BadPattern::HostWildcard => {
                Some("write `*.example.com` for every host below, or `*` for every host".into())
            }
            BadPattern::Query | BadPattern::Refused(BadTarget::Fragment) => {
                Some("leave it out: only the path is matched".into())
            }
            BadPattern::PartialDeep => {
                Some("use `*` within a segment; `**` stands alone, as in `/a/**` or `/a/**/b`".into())
            }
            BadPattern::Host(_) | BadPattern::AddressWildcard | BadPattern::Refused(_) | BadPattern::TooLarge => None,
        }
    }
}

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPattern::Host(reason) => write!(f, "no host can match: {reason}"),
            BadPattern::HostPort { .. } => f.write_str("a host pattern has no port"),
            BadPattern::HostWildcard => f.write_str("`*` must be the whole first label of a host"),
            BadPattern::AddressWildcard => f.write_str("an address cannot have a wildcard"),
            BadPattern::NoSlash { .. } => f.write_str("a path starts with `/`"),
            BadPattern::Query => f.write_str("no path can match: it contains `?`"),
            BadPattern::Refused(reason) => write!(f, "no path can match: {reason}"),
            BadPattern::NotNormal { .. } => f.write_str("no path can match: requests are normalised first"),
            BadPattern::PartialDeep => f.write_str("`**` must be a whole segment"),
            BadPattern::TooLarge => f.write_str("the pattern is too large"),
        }
    }
}

impl std::error::Error for BadPattern {}
