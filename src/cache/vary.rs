//! Which variant of a resource a request selects. (RFC 9111 §4.1)

/// How a route treats `Vary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Reduce `Accept-Encoding` to what the usual codings make of it, so that clients with different spellings share variants.
    pub normalise_accept_encoding: bool,
    /// Variants kept per key.
    pub max_variants: usize,
}
