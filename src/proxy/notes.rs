//! What happened in the cache, as one value for `Cache-Status`, `X-Cache-Status`, log and metric.

use pingora::cache::{CachePhase, NoCacheReason};
use pingora::proxy::Session;

use super::caching;
use super::ctx::Ctx;
use crate::cache::status::{Fwd, Outcome};
use crate::clock;

/// Reads the outcome out of pingora's phase and what the hooks have noted.
pub fn outcome(session: &Session, ctx: &Ctx) -> Outcome {
    let notes = &ctx.cache;
    let collapsed = session.cache.lock_duration().is_some();
    let ttl = ttl(session, ctx);
    let fwd = |token: Fwd| Outcome {
        fwd: Some(notes.fwd.unwrap_or(token)),
        fwd_status: notes.fwd_status,
        detail: notes.not_storable.map(|r| r.as_str()).or(notes.detail),
        collapsed: collapsed.then_some(false),
        ..Outcome::default()
    };
    match session.cache.phase() {
        // Answered by what another request had fetched meanwhile.
        CachePhase::Hit if collapsed => {
            Outcome { ttl, collapsed: Some(true), detail: notes.detail, ..fwd(Fwd::UriMiss) }
        }
        CachePhase::Hit => Outcome { hit: true, ttl, ..Outcome::default() },
        CachePhase::StaleUpdating => Outcome { hit: true, ttl, detail: notes.detail, ..Outcome::default() },
        CachePhase::Stale => Outcome { ttl, stale: true, ..fwd(Fwd::Stale) },
        CachePhase::Miss => Outcome { stored: true, ttl, ..fwd(Fwd::UriMiss) },
        CachePhase::Expired => Outcome { stored: true, ttl, ..fwd(Fwd::Stale) },
        CachePhase::Revalidated => Outcome { stored: true, ttl, validated: true, ..fwd(Fwd::Stale) },
        CachePhase::RevalidatedNoCache(_) => Outcome { validated: true, ..fwd(Fwd::Stale) },
        CachePhase::Bypass => Outcome { detail: Some("hit-for-miss"), ..fwd(Fwd::UriMiss) },
        CachePhase::Disabled(reason) => {
            let why = reason_word(reason);
            let known = notes.not_storable.map(|r| r.as_str()).or(notes.detail);
            Outcome { detail: known.or(why), ..fwd(Fwd::Bypass) }
        }
        CachePhase::Uninit | CachePhase::CacheKey => fwd(Fwd::Bypass),
    }
}

/// `Age` after a validation, where pingora adds none (RFC 9111 §4).
pub fn age_after_validation(session: &Session) -> Option<u64> {
    match session.cache.phase() {
        CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => {
            session.cache.maybe_cache_meta().map(|meta| meta.age().as_secs())
        }
        _ => None,
    }
}

fn ttl(session: &Session, ctx: &Ctx) -> Option<i64> {
    let meta = session.cache.maybe_cache_meta()?;
    let route = ctx.route.as_ref()?;
    Some(caching::stored_freshness(&route.config.cache, meta).ttl_seconds(clock::wall()))
}

fn reason_word(reason: NoCacheReason) -> Option<&'static str> {
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
