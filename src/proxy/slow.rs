//! A stale copy in place of an answer that takes too long (`stale.if_slow`).
//!
//! The refresh is always a request of its own, which nobody's patience ends: it is hedged, it fills the cache, and it
//! goes on when its client has been served. Who wants the resource waits for it as long as the route says, and then
//! takes the copy that is there. Only one refresh is under way at a time. While there is no place at the backends nobody
//! waits: the refresh does, in its turn.

use std::time::Duration;

use http::Method;
use pingora::cache::key::HashBinary;
use pingora::proxy::Session;
use pingora::proxy::subrequest;

use super::caching::{self, Shared};
use super::ctx::{Ctx, Refreshed};
use super::deadlines::Patience;
use super::flights::Place;
use crate::cache::lookup;
use crate::cache::reuse::{self, Reuse};
use crate::clock;
use crate::config::IfSlow;
use crate::snapshot::Route;

/// How long a copy is not refreshed again while there is no place at the backends.
const BETWEEN_REFRESHES: Duration = Duration::from_millis(200);

/// Waits for a refresh of what the request would find stale, if it may be answered by that copy.
pub(super) async fn refresh(shared: &Shared, session: &Session, ctx: &mut Ctx) {
    let Some(route) = ctx.route.clone() else { return };
    let is_full = route.pool.gate().is_full();
    let patience = if is_full { Some(Duration::ZERO) } else { patience(&route) };
    let Some(patience) = patience else { return };
    let request = session.req_header();
    let is_plain = request.method == Method::GET && !request.headers.contains_key(http::header::RANGE);
    // The refresh itself comes here, too.
    if session.subrequest_ctx.is_some()
        || !is_plain
        || !route.config.cache.enabled
        || lookup::lookup_permitted(&request.method, &request.headers).is_err()
        || caching::wishes(request, &route).only_if_cached
    {
        return;
    }
    let primary = caching::key_of(request, ctx).hash();
    match look(shared, session, ctx, &route, &primary) {
        Copy::Usable => {}
        Copy::Updating if is_full => {}
        _ => return,
    }
    let ahead = match shared.refreshes.enter(primary) {
        Place::Other(ahead) => ahead,
        Place::First(flight) => {
            let Some(spawner) = &session.subrequest_spawner else { return };
            let (ahead, pool) = (flight.ahead(), route.pool.clone());
            let refresh = spawner.spawn_background_subrequest(session.as_ref(), subrequest::Ctx::builder().build());
            tokio::spawn(async move {
                // However it ended: who waits looks again.
                let _ended = refresh.await;
                if pool.gate().is_full() {
                    // It may have been shed, and the next would be as well.
                    tokio::time::sleep(BETWEEN_REFRESHES).await;
                }
                drop(flight);
            });
            ahead
        }
    };
    // Not longer than the client waits for anything.
    let begun = clock::now();
    ahead.wait(Patience::clamp(ctx.patience, patience, begun)).await;
    ctx.collapsed += clock::now().since(begun);
    ctx.cache.refreshed = Some(match look(shared, session, ctx, &route, &primary) {
        Copy::Fresh => Refreshed::InTime,
        Copy::Updating | Copy::Usable if is_full => Refreshed::Overload,
        Copy::Usable => Refreshed::TooLate,
        Copy::Updating | Copy::None => return,
    });
}

/// How long the route waits for a refresh; `None` if it does not say, or too little is known of its answers.
fn patience(route: &Route) -> Option<Duration> {
    match route.config.cache.if_slow? {
        IfSlow::After(patience) => Some(patience),
        IfSlow::Quantile(_) => route.hedging.slow(),
    }
}

#[derive(PartialEq, Eq)]
enum Copy {
    Fresh,
    /// Stale, and may be used while it is refreshed.
    Updating,
    /// Stale, but better than nothing.
    Usable,
    None,
}

fn look(shared: &Shared, session: &Session, ctx: &Ctx, route: &Route, primary: &HashBinary) -> Copy {
    let request = session.req_header();
    let found = shared.store.peek(primary, |head| caching::variance(route, head, request));
    let Some(freshness) = found.and_then(|found| found.freshness()) else { return Copy::None };
    let (wishes, now) = (caching::wishes_of(session, ctx), clock::wall());
    match reuse::reuse(&freshness, &wishes, now) {
        Reuse::Fresh => Copy::Fresh,
        Reuse::WhileRevalidate => Copy::Updating,
        // A client that asks for a validated answer is willing to wait for it.
        Reuse::Revalidate(reuse::Reason::Stale)
            if !wishes.no_cache && reuse::reuse_on_error(&freshness, &wishes, now).is_ok() =>
        {
            Copy::Usable
        }
        _ => Copy::None,
    }
}
