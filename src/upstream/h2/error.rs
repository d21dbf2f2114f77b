//! Errors of the `h2` crate in the words of the edge.

use ::h2::{Error, Reason};

use crate::upstream::Failure;

/// What went wrong with a stream.
pub(super) fn failure(e: &Error) -> Failure {
    if is_unprocessed(e) {
        return Failure::StreamRefused;
    }
    match e.reason() {
        // It is the reader that found what came to be none.
        Some(_) if e.is_library() => Failure::InvalidResponse,
        Some(Reason::PROTOCOL_ERROR | Reason::COMPRESSION_ERROR | Reason::FRAME_SIZE_ERROR) => Failure::InvalidResponse,
        _ => Failure::ClosedEarly,
    }
}

/// Whether the backend says that it has not looked at the request: it refused the stream, or leaves with an earlier one as
/// its last (RFC 9113 §8.7). Those that come before the last one are not told of it by the crate.
fn is_unprocessed(e: &Error) -> bool {
    let is_refused = e.is_reset() && e.reason() == Some(Reason::REFUSED_STREAM);
    e.is_remote() && (is_refused || e.is_go_away())
}

/// Whether it is no error: the response was whole, and no more of the request is wanted (RFC 9113 §8.1).
pub(super) fn is_end(e: &Error) -> bool {
    e.is_remote() && e.is_reset() && e.reason() == Some(Reason::NO_ERROR)
}
