//! The cache phases: pingora's state machine asks, the pure half decides, this file translates.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method};
use pingora::cache::key::HashBinary;
use pingora::cache::lock::CacheKeyLockImpl;
use pingora::cache::predictor::CacheablePredictor;
use pingora::cache::{CacheKey, CacheMeta, CacheOptionOverrides, ForcedFreshness, NoCacheReason, RespCacheable};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use super::ctx::Ctx;
use crate::cache::directives::{RequestDirectives, ResponseDirectives};
use crate::cache::freshness::{self, Freshness};
use crate::cache::reuse::{self, Reuse};
use crate::cache::status::Fwd;
use crate::cache::storable::{self, NotStorable};
use crate::cache::{key, validate, vary};
use crate::config::RouteCache;
use crate::snapshot::Route;
use crate::store::Store;
use crate::clock;

/// What every request's cache shares.
pub struct Shared {
    /// The store.
    pub store: &'static Store,
    /// One fetch per key at a time.
    pub lock: &'static CacheKeyLockImpl,
    /// Keys whose last response could not be stored: nobody queues for them.
    pub predictor: &'static (dyn CacheablePredictor + Sync),
}

/// Switches the cache on for requests that may be answered from it.
pub fn enable(shared: &Shared, session: &mut Session, ctx: &mut Ctx) {
    let Some(route) = &ctx.route else { return };
    let policy = &route.config.cache;
    let request = session.req_header();
    if !policy.enabled {
        ctx.cache.fwd = Some(Fwd::Bypass);
        ctx.cache.detail = Some("off");
        return;
    }
    if let Err(bypass) = storable::lookup_permitted(&request.method, &request.headers) {
        ctx.cache.fwd = Some(bypass.fwd());
        ctx.cache.detail = Some(bypass.as_str());
        return;
    }
    ctx.cache.only_if_cached = RequestDirectives::from(&request.headers).only_if_cached;
    let mut overrides = CacheOptionOverrides::default();
    overrides.wait_timeout = Some(policy.collapse_wait);
    session.cache.enable(shared.store, None, Some(shared.predictor), Some(shared.lock), Some(overrides));
}

/// The key of a request in normal form.
pub fn cache_key(session: &Session, ctx: &Ctx) -> CacheKey {
    let uri = &session.req_header().uri;
    // TLS ends before us or not at all: what the client sees as its scheme is not known to be https.
    let key = key::Key::new("http", &ctx.host, ctx.port, uri.path(), uri.query());
    let hash = key.hash();
    let mut made = CacheKey::new(key.into_bytes(), "");
    made.set_primary_bin_override(hash);
    made
}

/// Which variant of a stored response's family the request selects; `None` if the response does not vary.
pub fn variance(route: &Route, stored: &HeaderMap, request: &RequestHeader) -> Option<HashBinary> {
    vary::variance(&route.config.cache.vary, stored, &request.headers)
}

/// May the stored response be used as it is?
pub fn judge_hit(session: &Session, meta: &CacheMeta, ctx: &mut Ctx) -> Option<ForcedFreshness> {
    let route = ctx.route.clone()?;
    let request = RequestDirectives::from(&session.req_header().headers);
    let freshness = stored_freshness(&route.config.cache, meta);
    match reuse::reuse(&freshness, &request, clock::wall()) {
        Reuse::Fresh | Reuse::ClientAllows => Some(ForcedFreshness::ForceFresh),
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
pub fn may_serve_stale(session: &Session, ctx: &mut Ctx, error: Option<&Error>) -> bool {
    let (Some(route), Some(meta)) = (ctx.route.clone(), session.cache.maybe_cache_meta()) else { return false };
    let freshness = stored_freshness(&route.config.cache, meta);
    let request = RequestDirectives::from(&session.req_header().headers);
    let Some(error) = error else {
        let allowed = reuse::reuse(&freshness, &request, clock::wall()) == Reuse::WhileRevalidate;
        if allowed {
            ctx.cache.detail = Some("stale-while-revalidate");
        }
        return allowed;
    };
    let upstream_failed = match error.etype() {
        // RFC 5861 §4 names these four.
        ErrorType::HTTPStatus(status) => matches!(status, 500 | 502 | 503 | 504),
        _ => error.esource() == &pingora::ErrorSource::Upstream,
    };
    if upstream_failed && reuse::reuse_on_error(&freshness, &request, clock::wall()).is_ok() {
        ctx.cache.detail = Some("stale-if-error");
        return true;
    }
    false
}

/// May this response, or this stored response as a 304 has updated it, be stored?
pub fn judge_response(store: &Store, session: &Session, response: &ResponseHeader, ctx: &mut Ctx) -> RespCacheable {
    let Some(route) = ctx.route.clone() else { return RespCacheable::Uncacheable(NoCacheReason::OriginNotCache) };
    let now = clock::wall();
    let asked = ctx.asked.unwrap_or(now);
    let merged = merge_not_modified(session, response, ctx);
    let head = merged.as_ref().unwrap_or(response);
    match admit(store, &route, session, head, asked, now) {
        Ok((freshness, header)) => {
            ctx.cache.stored = true;
            RespCacheable::Cacheable(meta(&freshness, header))
        }
        Err(reason) => {
            ctx.cache.not_storable = Some(reason);
            RespCacheable::Uncacheable(NoCacheReason::OriginNotCache)
        }
    }
}

fn admit(
    store: &Store,
    route: &Arc<Route>,
    session: &Session,
    response: &ResponseHeader,
    asked: SystemTime,
    now: SystemTime,
) -> Result<(Freshness, ResponseHeader), NotStorable> {
    let policy = &route.config.cache;
    let directives = ResponseDirectives::from(&response.headers);
    let lifetime = freshness::lifetime(&policy.freshness, response.status, &response.headers, &directives, now);
    let initial_age = freshness::initial_age(&response.headers, asked, now);
    let request = session.req_header();
    // A client's HEAD was sent upstream as a GET.
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    storable::judge(
        &policy.storable,
        storable::Request { method, headers: &request.headers },
        storable::Response {
            status: response.status,
            headers: &response.headers,
            directives: &directives,
            lifetime: &lifetime,
            initial_age,
        },
    )?;
    if length(&response.headers).is_some_and(|n| n > store.params().max_object) {
        return Err(NotStorable::TooLarge);
    }
    let one_more = vary::Vary::from(&response.headers) != vary::Vary::None;
    if one_more && has_no_room(store, session, policy) {
        return Err(NotStorable::TooManyVariants);
    }
    let mut header = response.clone();
    storable::strip(&mut header.headers, &directives);
    Ok((Freshness { lifetime, received: now, initial_age }, header))
}

/// Whether the key has as many variants as it may, and this is not one of them.
fn has_no_room(store: &Store, session: &Session, policy: &RouteCache) -> bool {
    let Some(key) = session.cache.maybe_cache_key() else { return false };
    store.variants(&key.primary_bin()) >= policy.vary.max_variants && session.cache.maybe_cache_meta().is_none()
}

/// Pingora merges five fields of a 304; the RFC wants all of them (RFC 9111 §3.2).
fn merge_not_modified(session: &Session, response: &ResponseHeader, ctx: &mut Ctx) -> Option<ResponseHeader> {
    let update = ctx.cache.not_modified.take()?;
    let stored = session.cache.maybe_cache_meta()?;
    let mut merged = response.clone();
    let fields = validate::merge_304(stored.headers(), &update);
    // Through pingora's own type, which keeps a map of spellings beside the fields.
    let names: Vec<_> = merged.headers.keys().cloned().collect();
    for name in names {
        merged.remove_header(&name);
    }
    for (name, value) in &fields {
        merged.append_header(name.clone(), value.clone()).ok()?;
    }
    Some(merged)
}

fn meta(freshness: &Freshness, header: ResponseHeader) -> CacheMeta {
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
    meta
}

/// What was judged when the response was stored; made anew from its head if it is not there any more.
pub fn stored_freshness(policy: &RouteCache, meta: &CacheMeta) -> Freshness {
    if let Some(freshness) = meta.extensions().get::<Freshness>() {
        return *freshness;
    }
    let directives = ResponseDirectives::from(meta.headers());
    let received = meta.updated();
    let status = meta.response_header().status;
    Freshness {
        lifetime: freshness::lifetime(&policy.freshness, status, meta.headers(), &directives, received),
        received,
        initial_age: received.duration_since(meta.epoch()).unwrap_or_default(),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
