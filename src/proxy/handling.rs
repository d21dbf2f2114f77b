//! What came of a request upstream, read out for `Proxy-Status` and the log.

use std::sync::Arc;
use std::time::Duration;

use super::ctx::Ctx;
use crate::cache::proxy_status::Handling;
use crate::upstream::backend::Backend;

/// What was sent upstream for a request.
#[derive(Default)]
pub(super) struct Sent {
    /// The backend that answered, or was asked last.
    pub backend: Option<Arc<Backend>>,
    /// Requests sent.
    pub attempts: u32,
    /// What became of the copy, if the request was late.
    pub hedge: Option<&'static str>,
    delay: Option<Duration>,
}

impl Sent {
    /// What has been sent so far.
    pub(super) fn of(ctx: &Ctx) -> Sent {
        if let Some(attempt) = &ctx.upgraded {
            return Sent { backend: Some(attempt.backend().clone()), attempts: 1, ..Sent::default() };
        }
        let Some(exchange) = &ctx.exchange else { return Sent::default() };
        let seen = exchange.seen.lock();
        Sent {
            backend: seen.tried.last().map(|member| member.backend.clone()),
            attempts: u32::try_from(seen.tried.len()).unwrap_or(u32::MAX),
            hedge: seen.hedge.as_str(),
            delay: seen.hedge_delay,
        }
    }

    /// The same as it is told to the client, with the type and the detail of our error if the answer is one. Where the backends are is
    /// for those to know who may know the cache's keys.
    pub(super) fn told(&self, ctx: &Ctx, error: Option<(&'static str, Option<&'static str>)>) -> Handling<'_> {
        Handling {
            error: error.map(|(error, _)| error),
            details: error.and_then(|(_, details)| details),
            next_hop: self.backend.as_ref().filter(|_| ctx.reveal).map(|backend| backend.name()),
            attempts: self.attempts,
            hedge: self.hedge,
            hedge_delay: self.delay,
        }
    }
}
