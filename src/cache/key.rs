//! What makes two requests ask for the same thing.

/// What of the query tells requests apart; what is dropped or sorted here is also dropped or sorted in what the
/// backend sees, so that no backend can answer to something the key does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// Names of query parameters to drop; a trailing `*` matches any rest.
    pub drop: Vec<String>,
    /// Whether parameters are sorted by name (stable for equal names).
    pub sort: bool,
}
