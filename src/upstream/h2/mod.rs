//! HTTP/2 to backends (RFC 9113): many requests at a time on a connection.
//!
//! * [`request`] a request's head, and [`head`] a response's; [`error`] what went wrong in the words of the edge
//! * [`stream`] one exchange: [`body`] the request's body within the backend's window, [`answer`] the response
//! * [`link`] one connection, the task that drives it, and how it is found dead; [`dial`] how it is made
//! * [`shared`] the connections to all backends
//!
//! The protocol itself is the `h2` crate's. What two readers could take for different responses is refused there (RFC 9113
//! §8.1.1); what is left to us is that heads are no larger than over HTTP/1.1, and that a request is repeated only where the
//! backend has said that it was not looked at (§8.7).

mod answer;
mod body;
mod dial;
mod error;
mod head;
mod link;
pub mod request;
pub mod shared;
pub mod stream;

pub use request::Request;
pub use shared::{Links, Place};
pub use stream::Stream;
