//! May this response be stored by a shared cache? (RFC 9111 §3)

/// What a route lets be stored.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// Store responses that set cookies, with the `Set-Cookie` fields removed from the stored copy. Default: not stored.
    pub set_cookie: bool,
}
