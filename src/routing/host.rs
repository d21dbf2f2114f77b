//! Patterns of hosts.

/// Which hosts a route serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// One host, lower case, no port.
    Exact(String),
    /// `*.example.com`: every host below the suffix (held as `.example.com`).
    Suffix(String),
    /// Every host.
    Any,
}
