//! Patterns of paths.

/// Which normalised paths a route serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// One path.
    Exact(String),
    /// `/static/**`: the path `/static/` and all below (held as `/static/`).
    Prefix(String),
    /// A glob: `*` within a segment, `**` across segments.
    Glob(String),
    /// Every path.
    Any,
}
