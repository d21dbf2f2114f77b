//! Which variant of a resource a request selects. (RFC 9111 §4.1)

/// How a route treats `Vary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Reduce `Accept-Encoding` to what the usual codings make of it, so that clients with different spellings share variants.
    pub normalise_accept_encoding: bool,
    /// Variants kept per key.
    pub max_variants: usize,
}

impl Default for Params {
    /// Nothing is normalised unless asked for; sixteen variants are more than honest `Vary` makes.
    fn default() -> Params {
        Params { normalise_accept_encoding: false, max_variants: 16 }
    }
}
