//! What happened in the cache, as one value for `Cache-Status`, `X-Cache-Status`, log and metric.

use pingora::cache::{CachePhase, NoCacheReason};
use pingora::proxy::Session;

use super::caching;
use super::ctx::{Ctx, Refreshed};
use super::parts;
use crate::cache::status::{Fwd, Outcome, Path, StaleUse};
use crate::clock;

/// Reads the outcome out of pingora's phase and what the hooks have noted. `sent` is the status the client gets.
pub(super) fn outcome(session: &Session, ctx: &Ctx, sent: u16) -> Outcome {
    if let Some(outcome) = parts::outcome(session, ctx, sent) {
        return outcome;
    }
    let notes = &ctx.cache;
    let ttl = ttl(session);
    let waited = session.cache.lock_duration().is_some();
    let detail = notes.not_storable.map(|reason| reason.as_str()).or(notes.detail);
    let hit = |stale| Outcome { path: Path::Hit, stale, ttl, detail: None };
    let forward = |why: Fwd, stored: bool, collapsed: Option<bool>| Outcome {
        path: Path::Forward { why: notes.fwd.unwrap_or(why), status: notes.fwd_status, sent, stored, collapsed },
        stale: None,
        ttl: if stored { ttl } else { None },
        detail,
    };
    let in_vain = waited.then_some(false);
    match session.cache.phase() {
        // Answered by what another request was fetching meanwhile.
        CachePhase::Hit if waited => Outcome { ttl, ..forward(Fwd::UriMiss, false, Some(true)) },
        CachePhase::Hit if notes.refreshed == Some(Refreshed::InTime) => {
            Outcome { ttl, ..forward(Fwd::Stale, true, None) }
        }
        CachePhase::Hit if notes.refreshed == Some(Refreshed::TooLate) => hit(Some(StaleUse::Slow)),
        CachePhase::Hit if notes.refreshed == Some(Refreshed::Overload) && ttl.is_some_and(|ttl| ttl <= 0) => {
            hit(Some(StaleUse::Overload))
        }
        CachePhase::Hit => hit(notes.client_allows_stale.then_some(StaleUse::ClientAllows)),
        CachePhase::StaleUpdating => hit(Some(StaleUse::Updating)),
        CachePhase::Stale => {
            let why = if ctx.shed.is_some() { StaleUse::Overload } else { StaleUse::Error };
            Outcome { stale: Some(why), ttl, detail: None, ..forward(Fwd::Stale, false, in_vain) }
        }
        CachePhase::Miss => forward(Fwd::UriMiss, true, in_vain),
        CachePhase::Expired | CachePhase::Revalidated => forward(Fwd::Stale, true, in_vain),
        CachePhase::RevalidatedNoCache(_) => forward(Fwd::Stale, false, in_vain),
        CachePhase::Disabled(reason) => {
            // Looked for, or waited for, in vain: that the answer is not stored is told by the detail.
            let why = if notes.looked_up { Fwd::UriMiss } else { Fwd::Bypass };
            Outcome { detail: detail.or(word(reason)), ..forward(why, false, in_vain) }
        }
        CachePhase::Bypass | CachePhase::Uninit | CachePhase::CacheKey => forward(Fwd::Bypass, false, None),
    }
}

/// `Age` after a validation, where pingora adds none (RFC 9111 §4).
pub(super) fn age_after_validation(session: &Session) -> Option<u64> {
    match session.cache.phase() {
        CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => {
            session.cache.maybe_cache_meta().map(|meta| meta.age().as_secs())
        }
        _ => None,
    }
}

fn ttl(session: &Session) -> Option<i64> {
    let freshness = session.cache.maybe_cache_meta().and_then(caching::stored_freshness)?;
    Some(freshness.ttl_seconds(clock::wall()))
}

fn word(reason: NoCacheReason) -> Option<&'static str> {
    match reason {
        NoCacheReason::CacheLockTimeout => Some("collapse-timeout"),
        NoCacheReason::CacheLockGiveUp => Some("collapse-gave-up"),
        NoCacheReason::CacheLockRetryLimit => Some("collapse-retries"),
        NoCacheReason::StorageError => Some("storage-error"),
        NoCacheReason::InternalError => Some("internal-error"),
        NoCacheReason::Deferred => Some("deferred"),
        _ => None,
    }
}
