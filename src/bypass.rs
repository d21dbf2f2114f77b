//! Who answers requests that the cache has no part in: asked by the lane, which reads them, and given by the proxy.

use std::future::Future;

use pingora::protocols::Stream;
use pingora::proxy::Session;

/// The short way to the backends.
pub trait Bypass: Send + Sync + 'static {
    /// Whether the last answer for the cache key with this hash was one that may not be stored.
    fn is_never_stored(&self, key: &[u8; 16]) -> bool;

    /// Answers the one request of `session`, whose cache key has this hash if that is known; returns the connection if it can
    /// carry another.
    fn answer(&self, session: Box<Session>, key: Option<[u8; 16]>) -> impl Future<Output = Option<Stream>> + Send;
}
