//! Requests with trailers, which only HTTP/2 brings here: their end, of which pingora does not know.
//!
//! It asks h2 whether the body has ended, which says no as long as trailers wait, reads again at once, and so on: without a
//! pause in which anything else could run. Only an error stops it to read. The answer goes its way all the same, and at
//! its end pingora tells of the error once more.

use pingora::{Error, ErrorType, Result};

use super::ctx::Ctx;

/// What pingora says at the end of a request that it stopped to read.
const STOPPED: &str = "downstream_state is_errored";

/// Takes note that a read found nothing more, although the body has not ended. The first time the backend is to be told of
/// the end; an error from then on.
pub(super) fn found(ctx: &mut Ctx) -> Result<()> {
    if std::mem::replace(&mut ctx.has_trailers, true) {
        return Error::e_explain(ErrorType::InternalError, "trailers, which are not passed on");
    }
    Ok(())
}

/// Whether this is no more than the end of an answered request that had some.
pub(super) fn are_all_of_it(e: &Error, ctx: &Ctx) -> bool {
    let context = e.context.as_ref().map(|context| context.as_str());
    ctx.has_trailers && e.etype() == &ErrorType::WriteError && context == Some(STOPPED)
}
