//! Where the time of one request went, gathered from what its phases have noted.

use std::time::Duration;

use pingora::proxy::Session;

use super::ctx::Ctx;
use crate::pace::Pace;
use crate::telemetry::{Course, Timeline};

/// The split of the first `duration` of a request.
pub(super) fn of(session: &Session, ctx: &Ctx, duration: Duration) -> Timeline {
    // Pingora's own wait for whoever fetches the same.
    let locked = session.cache.lock_duration().unwrap_or_default();
    course(ctx, ctx.collapsed + locked, duration)
}

/// The same of a request that was dropped in its midst: its wait for who fetched the same is not known any more.
pub(super) fn of_dropped(ctx: &Ctx, duration: Duration) -> Timeline {
    course(ctx, ctx.collapsed, duration)
}

fn course(ctx: &Ctx, collapsed: Duration, duration: Duration) -> Timeline {
    let (body, uploaded) = ctx.exchange.as_ref().map_or((Duration::ZERO, None), |exchange| {
        let seen = exchange.seen.lock();
        (seen.body_wait, seen.uploaded)
    });
    Timeline::of(Course {
        started: ctx.started,
        duration,
        queued: ctx.queued.unwrap_or_default(),
        collapsed,
        uploaded,
        body,
        client: ctx.pace.as_ref().map(Pace::held_up).unwrap_or_default(),
        visits: ctx.visits.list(),
    })
}
