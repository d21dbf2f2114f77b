//! The cache phases: pingora's state machine asks, the pure half decides, this file translates.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use pingora::cache::key::{CacheHashKey, HashBinary};
use pingora::cache::predictor::CacheablePredictor;
use pingora::cache::{
    CacheKey, CacheMeta, CacheOptionOverrides, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable,
};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use super::crowd::Crowd;
use super::ctx::{Ctx, Refreshed};
use super::deadlines::Patience;
use super::flights::Flights;
use super::forms::Forms;
use super::identity;
use super::invalidating;
use super::parts;
use super::uses;
use crate::cache::directives::{RequestDirectives, ResponseDirectives};
use crate::cache::freshness::{self, Freshness, Lifetime};
use crate::cache::parts::Wanted;
use crate::cache::reuse::{self, Reuse};
use crate::cache::status::Fwd;
use crate::cache::storable::{self, NotStorable};
use crate::cache::{compression, date, key, lookup, targeted, validate, vary};
use crate::clock;
use crate::config::ClientDirectives;
use crate::snapshot::Route;
use crate::store::{ForAll, Labelled, Refusal, Refusals, Store, replace_fields};

/// What every request's cache shares.
#[derive(Clone)]
pub(super) struct Shared {
    /// The store.
    pub store: &'static Store,
    /// Why responses were not stored.
    pub refusals: Arc<Refusals>,
    /// One fetch per key at a time.
    pub lock: &'static Crowd,
    /// One fetch per range at a time.
    pub flights: Arc<Flights<(HashBinary, Wanted)>>,
    /// One refresh per stale copy that is waited for.
    pub refreshes: Arc<Flights<HashBinary>>,
    /// Where other codings of stored responses are made.
    pub forms: Arc<Forms>,
    /// Keys whose last response could not be stored: nobody queues for them.
    pub predictor: &'static (dyn CacheablePredictor + Sync),
}

/// Switches the cache on for requests that may be answered from it.
pub(super) fn enable(shared: &Shared, session: &mut Session, ctx: &mut Ctx) {
    let Some(route) = ctx.route.clone() else { return };
    let policy = &route.config.cache;
    let request = session.req_header();
    if !policy.enabled {
        ctx.cache.fwd = Some(Fwd::Bypass);
        ctx.cache.detail = Some("off");
        return;
    }
    if let Err(bypass) = lookup::lookup_permitted(&request.method, &request.headers) {
        ctx.cache.fwd = Some(bypass.fwd());
        ctx.cache.detail = Some(bypass.as_str());
        return;
    }
    ctx.cache.only_if_cached = wishes(session.req_header(), &route).only_if_cached;
    ctx.cache.looked_up = true;
    if parts::begin(shared, session, ctx) || is_head_of_nothing(shared.store, session, ctx) {
        return;
    }
    let mut overrides = CacheOptionOverrides::default();
    // Who has waited in vain still has half of the route's timeout for a fetch of its own.
    let wait = policy.collapse_wait.min(route.config.timeout / 2);
    overrides.wait_timeout = Some(Patience::clamp(ctx.patience, wait, clock::now()));
    session.cache.enable(shared.store, None, Some(shared.predictor), Some(shared.lock), Some(overrides));
}

/// Whether a HEAD is about what is neither stored nor coming in: it is then forwarded as it is. To fetch all of a large
/// file for the sake of its head would be dear, and nothing can be stored of a head alone.
fn is_head_of_nothing(store: &Store, session: &Session, ctx: &mut Ctx) -> bool {
    let request = session.req_header();
    let Some(route) = ctx.route.as_ref().filter(|_| request.method == Method::HEAD) else { return false };
    let primary = key_of(request, ctx).hash();
    if store.is_filling(&primary) || store.peek(&primary, |head| variance(route, head, request)).is_some() {
        return false;
    }
    uses::note(store, session, ctx, &primary);
    ctx.cache.fwd = Some(Fwd::UriMiss);
    ctx.cache.detail = Some(NotStorable::Method.as_str());
    true
}

/// What the client asks of the cache, where the route heeds that.
pub(super) fn wishes(request: &RequestHeader, route: &Route) -> RequestDirectives {
    match route.config.cache.client_directives {
        ClientDirectives::Honour => RequestDirectives::from(&request.headers),
        ClientDirectives::Ignore => RequestDirectives::default(),
    }
}

/// The same, for a request that surely has a route by now.
pub(super) fn wishes_of(session: &Session, ctx: &Ctx) -> RequestDirectives {
    ctx.route.as_ref().map_or_else(RequestDirectives::default, |route| wishes(session.req_header(), route))
}

/// The key of a request in normal form.
pub(super) fn cache_key(session: &Session, ctx: &Ctx) -> CacheKey {
    let key = key_of(session.req_header(), ctx);
    let mut made = CacheKey::new(key.bytes(), "");
    made.set_primary_bin_override(key.hash());
    made
}

/// The same, before pingora has it.
pub(super) fn key_of(request: &RequestHeader, ctx: &Ctx) -> key::Key {
    with_key_parts(request, ctx, key::Key::new)
}

/// The same for people to read.
pub(super) fn shown_key(request: &RequestHeader, ctx: &Ctx) -> String {
    with_key_parts(request, ctx, key::shown)
}

fn with_key_parts<T>(request: &RequestHeader, ctx: &Ctx, make: impl FnOnce(&key::Parts<'_>, &key::Extras) -> T) -> T {
    let params = ctx.route.as_ref().map(|route| &route.config.cache.key);
    let asked = key::Asked {
        host: &ctx.host,
        port: ctx.port,
        scheme: identity::scheme(&ctx.client, request),
        told_host: identity::told_host(&ctx.client, request),
        path: request.uri.path(),
        query: request.uri.query(),
    };
    let extras = params.map(|params| params.extras(&request.headers)).unwrap_or_default();
    asked.with_parts(params, |parts| make(parts, &extras))
}

/// Which variant of a stored response's family the request selects; `None` if the response does not vary.
pub(super) fn variance(route: &Route, stored: &HeaderMap, request: &RequestHeader) -> Option<HashBinary> {
    match vary::Vary::from(stored) {
        vary::Vary::Fields(fields) => Some(vary::Variance::new(&route.config.cache.vary, &fields, &request.headers).0),
        // What varies on `*` is never stored.
        vary::Vary::None | vary::Vary::Star => None,
    }
}

/// May the stored response be used as it is?
pub(super) fn judge_hit(session: &Session, meta: &CacheMeta, ctx: &mut Ctx) -> Option<ForcedFreshness> {
    let Some(freshness) = stored_freshness(meta) else { return Some(ForcedFreshness::ForceMiss) };
    let reuse = reuse::reuse(&freshness, &wishes_of(session, ctx), clock::wall());
    match ctx.cache.refreshed {
        Some(Refreshed::Overload) if reuse == Reuse::WhileRevalidate => return Some(ForcedFreshness::ForceFresh),
        Some(Refreshed::Overload | Refreshed::TooLate) if stands_in(meta, session, ctx) => {
            return Some(ForcedFreshness::ForceFresh);
        }
        _ => {}
    }
    match reuse {
        Reuse::Fresh => Some(ForcedFreshness::ForceFresh),
        Reuse::ClientAllows => {
            ctx.cache.client_allows_stale = true;
            Some(ForcedFreshness::ForceFresh)
        }
        Reuse::WhileRevalidate => None,
        Reuse::Revalidate(reason) => {
            ctx.cache.fwd = Some(reason.fwd());
            ctx.cache.detail = Some(reason.as_str());
            // Keeps the windows: the stale copy may still stand in if the origin fails.
            Some(ForcedFreshness::ForceExpiredServeStale { expired_at: None })
        }
    }
}

/// May the stale copy be served: while another request refreshes it (`error` is `None`), or because the origin failed?
pub(super) fn may_serve_stale(session: &Session, ctx: &Ctx, error: Option<&Error>) -> bool {
    let Some(freshness) = session.cache.maybe_cache_meta().and_then(stored_freshness) else { return false };
    let request = wishes_of(session, ctx);
    let Some(error) = error else {
        return reuse::reuse(&freshness, &request, clock::wall()) == Reuse::WhileRevalidate;
    };
    let upstream_failed = match error.etype() {
        // RFC 5861 §4 names these four.
        ErrorType::HTTPStatus(status) => matches!(status, 500 | 502 | 503 | 504),
        _ => error.esource() == &pingora::ErrorSource::Upstream,
    };
    upstream_failed && reuse::reuse_on_error(&freshness, &request, clock::wall()).is_ok()
}

/// Whether a stale copy is at hand that may stand in if the origin fails.
pub(super) fn has_fallback(session: &Session, ctx: &Ctx) -> bool {
    session.cache.maybe_cache_meta().is_some_and(|stored| stands_in(stored, session, ctx))
}

/// Whether the stored response may stand in if the origin fails.
fn stands_in(stored: &CacheMeta, session: &Session, ctx: &Ctx) -> bool {
    stored_freshness(stored)
        .is_some_and(|freshness| reuse::reuse_on_error(&freshness, &wishes_of(session, ctx), clock::wall()).is_ok())
}

/// May this response, or this stored response as a 304 has updated it, be stored?
pub(super) fn judge_response(
    shared: &Shared,
    session: &Session,
    response: &ResponseHeader,
    ctx: &mut Ctx,
) -> RespCacheable {
    let Some(route) = ctx.route.clone() else { return RespCacheable::Uncacheable(NoCacheReason::OriginNotCache) };
    let now = clock::wall();
    let asked = ctx.asked.unwrap_or(now);
    if ctx.part.is_some() && response.status == StatusCode::PARTIAL_CONTENT {
        // Taken in by `parts`.
        return RespCacheable::Uncacheable(NoCacheReason::Custom(NotStorable::Partial.as_str()));
    }
    if ctx.exchange.as_ref().is_some_and(|exchange| exchange.seen.lock().bodyless) {
        ctx.cache.not_storable = Some(NotStorable::Method);
        return RespCacheable::Uncacheable(NoCacheReason::Custom(NotStorable::Method.as_str()));
    }
    let merged = merge_not_modified(session, &route, ctx, now);
    let head = merged.as_ref().unwrap_or(response);
    let admitted = admit(shared.store, &route, session, ctx, head, asked, now)
        .and_then(|stored| uses::admit(shared.store, &route, session).map(|()| stored));
    if let Some(key) = session.cache.maybe_cache_key() {
        let refused = admitted.as_ref().map(|_| ()).map_err(|reason| Refusal { reason: *reason, at: now });
        shared.refusals.note(key.primary_bin(), refused);
    }
    match admitted {
        Ok((freshness, mut header)) => {
            let for_all = for_all(session, &route, merged.is_some(), &mut header);
            let label = invalidating::label(shared.store, session.req_header(), &header.headers, ctx);
            let mut meta = meta(&freshness, header, label);
            if for_all {
                meta.extensions_mut().insert(ForAll);
            }
            RespCacheable::Cacheable(meta)
        }
        Err(reason) => {
            ctx.cache.not_storable = Some(reason);
            RespCacheable::Uncacheable(match reason {
                // This request's doing: the predictor, which skips custom reasons, is not to hold it against the key.
                NotStorable::RequestNoStore
                | NotStorable::Authorization
                | NotStorable::TooManyVariants
                | NotStorable::MinUses => NoCacheReason::Custom(reason.as_str()),
                _ => {
                    if let (Some(key), Some(_)) = (session.cache.maybe_cache_key(), session.cache.maybe_cache_meta()) {
                        // The predictor sends all who ask now past what is stored; the lane, which does not ask it, shall too.
                        shared.store.doubt(&key.primary_bin());
                    }
                    NoCacheReason::OriginNotCache
                }
            })
        }
    }
}

/// Whether a response that is about to be stored answers clients of any `Accept-Encoding`; then its `Vary` no longer names
/// that. One that a 304 has brought up to date is what it was.
fn for_all(session: &Session, route: &Route, is_merged: bool, header: &mut ResponseHeader) -> bool {
    let stored = session.cache.maybe_cache_meta().filter(|_| is_merged);
    let was = stored.is_some_and(|stored| stored.extensions().get::<ForAll>().is_some());
    if !compression::is_for_all(route.config.compression.as_ref(), header.status, &header.headers) {
        return was;
    }
    let mut fields = header.headers.clone();
    let varied = compression::unvary(&mut fields);
    if varied {
        replace_fields(header, &fields);
    }
    was || varied
}

/// May this response be stored? How fresh it is, and its head as it is kept.
pub(super) fn admit(
    store: &Store,
    route: &Arc<Route>,
    session: &Session,
    ctx: &Ctx,
    response: &ResponseHeader,
    asked: SystemTime,
    now: SystemTime,
) -> Result<(Freshness, ResponseHeader), NotStorable> {
    let policy = &route.config.cache;
    let targets = &ctx.snapshot.config().cache.targets;
    let (directives, lifetime, initial_age) = judge(route, targets, session.req_header(), response, asked, now)?;
    if length(&response.headers).is_some_and(|n| n > store.max_object()) {
        return Err(NotStorable::TooLarge);
    }
    if is_new_variant(session, &response.headers) {
        let kept = session.cache.maybe_cache_key().map_or(0, |key| store.variants(key.primary_bin()));
        policy.vary.admit_variant(kept)?;
    }
    let mut header = response.clone();
    let mut kept = response.headers.clone();
    storable::strip(&mut kept, &directives, policy.storable.set_cookie);
    if let (false, Some(date)) = (kept.contains_key(DATE), date::field(now)) {
        // RFC 9110 §6.6.1: what is kept gets the time of its receipt.
        kept.insert(DATE, date);
    }
    replace_fields(&mut header, &kept);
    Ok((Freshness { lifetime, received: now, initial_age }, header))
}

/// May this response be stored by what it and its request say, whatever there is room for? What it says of its lifetime,
/// and its age.
pub(super) fn judge(
    route: &Route,
    targets: &[HeaderName],
    request: &RequestHeader,
    response: &ResponseHeader,
    asked: SystemTime,
    now: SystemTime,
) -> Result<(ResponseDirectives, Lifetime, Duration), NotStorable> {
    let policy = &route.config.cache;
    let directives = targeted::directives(&response.headers, targets);
    let lifetime = freshness::lifetime(&policy.freshness, response.status, &response.headers, &directives, now);
    // A client's HEAD was sent upstream as a GET.
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    storable::judge(
        &policy.storable,
        storable::Request {
            method,
            path: request.uri.path(),
            headers: &request.headers,
            is_authenticated: identity::has_subject(request),
            directives: &wishes(request, route),
        },
        storable::Response {
            status: response.status,
            headers: &response.headers,
            directives: &directives,
            lifetime: &lifetime,
            asked,
            received: now,
        },
    )?;
    Ok((directives, lifetime, freshness::initial_age(&response.headers, asked, now)))
}

/// Whether the response varies and is not there to replace a stored variant.
fn is_new_variant(session: &Session, headers: &HeaderMap) -> bool {
    vary::Vary::from(headers) != vary::Vary::None && session.cache.maybe_cache_meta().is_none()
}

/// Pingora merges five fields of a 304; the RFC wants all of them (RFC 9111 §3.2).
fn merge_not_modified(session: &Session, route: &Route, ctx: &mut Ctx, now: SystemTime) -> Option<ResponseHeader> {
    let update = ctx.cache.not_modified.take()?;
    let stored = session.cache.maybe_cache_meta()?;
    let mut merged = stored.response_header_copy();
    let set_cookie = route.config.cache.storable.set_cookie;
    let fields = validate::merge_304(stored.headers(), &update, set_cookie, now);
    replace_fields(&mut merged, &fields);
    Some(merged)
}

/// What the cache keeps of a response beside its body.
pub(super) fn meta(freshness: &Freshness, header: ResponseHeader, label: Labelled) -> CacheMeta {
    let seconds = |d: Duration| u32::try_from(d.as_secs()).unwrap_or(u32::MAX);
    let lifetime = &freshness.lifetime;
    let mut meta = CacheMeta::new(
        freshness.fresh_until(),
        freshness.received,
        seconds(lifetime.while_revalidate),
        seconds(lifetime.if_error),
        header,
    );
    if let Some(born) = freshness.received.checked_sub(freshness.initial_age) {
        meta.set_epoch_override(born);
    }
    meta.extensions_mut().insert(*freshness);
    meta.extensions_mut().insert(label);
    meta
}

/// What was judged when the response was stored. The store keeps it with every entry.
pub(super) fn stored_freshness(meta: &CacheMeta) -> Option<Freshness> {
    meta.extensions().get().copied()
}

pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the response is being stored and is known to fit.
pub(super) fn is_kept_whole(session: &Session, store: &Store, response: &ResponseHeader) -> bool {
    matches!(session.cache.phase(), CachePhase::Miss | CachePhase::Expired)
        && length(&response.headers).is_some_and(|n| n <= store.max_object())
}
