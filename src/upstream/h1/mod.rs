//! HTTP/1.1 to backends: one request at a time on a connection that is kept for the next.
//!
//! * [`request`] a request's head as bytes, and the framing of its body
//! * [`head`] a response's head, and [`framing`] how long its body is; [`chunked`] where a chunked one ends
//! * [`connection`] one exchange on a socket
//! * [`idle`] the connections that wait for their next request
//!
//! An origin may be broken or hostile. What two readers could take for different responses is refused, nothing grows
//! without a limit, and only a connection on which both messages ended where they said is used again.

mod chunked;
pub mod connection;
mod framing;
mod head;
pub mod idle;
pub mod request;

pub use connection::Connection;
pub use idle::Kept;
pub use request::Request;

/// What came is not HTTP, or could be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;
