//! The cache phases: pingora's state machine asks, the pure half decides, this file translates.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use pingora::cache::key::{CacheHashKey, HashBinary};
use pingora::cache::lock::CacheKeyLockImpl;
use pingora::cache::predictor::CacheablePredictor;
use pingora::cache::{
    CacheKey, CacheMeta, CacheOptionOverrides, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable,
};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{RangeType, Session, range_header_filter};
use pingora::{Error, ErrorType};

use super::ctx::Ctx;
use super::uses;
use crate::cache::directives::{RequestDirectives, ResponseDirectives};
use crate::cache::freshness::{self, Freshness};
use crate::cache::reuse::{self, Reuse};
use crate::cache::status::Fwd;
use crate::cache::storable::{self, NotStorable};
use crate::cache::{key, lookup, range, validate, vary};
use crate::clock;
use crate::snapshot::Route;
use crate::store::Store;

/// Ranges in one request; more are answered with the whole (RFC 9110 §14.2: many small or overlapping ones are abuse).
const MAX_RANGES: usize = 8;

/// What every request's cache shares.
pub(super) struct Shared {
    /// The store.
    pub store: &'static Store,
    /// One fetch per key at a time.
    pub lock: &'static CacheKeyLockImpl,
    /// Keys whose last response could not be stored: nobody queues for them.
    pub predictor: &'static (dyn CacheablePredictor + Sync),
}

/// Switches the cache on for requests that may be answered from it.
pub(super) fn enable(shared: &Shared, session: &mut Session, ctx: &mut Ctx) {
    let Some(route) = &ctx.route else { return };
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
    ctx.cache.only_if_cached = RequestDirectives::from(&request.headers).only_if_cached;
    ctx.cache.looked_up = true;
    let mut overrides = CacheOptionOverrides::default();
    // Who has waited in vain still has half of the route's timeout for a fetch of its own.
    overrides.wait_timeout = Some(policy.collapse_wait.min(route.config.timeout / 2));
    session.cache.enable(shared.store, None, Some(shared.predictor), Some(shared.lock), Some(overrides));
}

/// The key of a request in normal form.
pub(super) fn cache_key(session: &Session, ctx: &Ctx) -> CacheKey {
    let uri = &session.req_header().uri;
    let authority = match ctx.port {
        Some(port) if port != 80 => Cow::Owned(format!("{}:{port}", ctx.host)),
        _ => Cow::Borrowed(ctx.host.as_str()),
    };
    // We speak no TLS to clients, so the scheme is http unless a trusted proxy tells of another. What it tells is passed
    // on to the backend, so it belongs to the key.
    let told = |name: &str| session.req_header().headers.get(name).filter(|_| ctx.client.trusted)?.to_str().ok();
    let scheme = told("x-forwarded-proto").unwrap_or("http");
    let authority = told("x-forwarded-host").map_or(authority, Cow::Borrowed);
    let key = key::Key::new(&key::Parts { scheme, host: &authority, path: uri.path(), query: uri.query() });
    let mut made = CacheKey::new(key.bytes(), "");
    made.set_primary_bin_override(key.hash());
    made
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
    let request = RequestDirectives::from(&session.req_header().headers);
    match reuse::reuse(&freshness, &request, clock::wall()) {
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
pub(super) fn may_serve_stale(session: &Session, error: Option<&Error>) -> bool {
    let Some(freshness) = session.cache.maybe_cache_meta().and_then(stored_freshness) else { return false };
    let request = RequestDirectives::from(&session.req_header().headers);
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

/// May this response, or this stored response as a 304 has updated it, be stored?
pub(super) fn judge_response(
    store: &Store,
    session: &Session,
    response: &ResponseHeader,
    ctx: &mut Ctx,
) -> RespCacheable {
    let Some(route) = ctx.route.clone() else { return RespCacheable::Uncacheable(NoCacheReason::OriginNotCache) };
    let now = clock::wall();
    let asked = ctx.asked.unwrap_or(now);
    if let Some(mismatch) = misfit(session, ctx) {
        // What is stored was not what the origin confirmed: it is used this once, as pingora has no way back, and then gone.
        if let Some(key) = session.cache.maybe_cache_key() {
            store.invalidate(key.primary_bin());
        }
        return RespCacheable::Uncacheable(NoCacheReason::Custom(mismatch.as_str()));
    }
    let merged = merge_not_modified(session, ctx, now);
    let head = merged.as_ref().unwrap_or(response);
    let admitted = admit(store, &route, session, head, asked, now);
    match admitted.and_then(|stored| uses::admit(store, &route, session).map(|()| stored)) {
        Ok((freshness, header)) => RespCacheable::Cacheable(meta(&freshness, header)),
        Err(reason) => {
            ctx.cache.not_storable = Some(reason);
            RespCacheable::Uncacheable(match reason {
                // This request's doing: the predictor, which skips custom reasons, is not to hold it against the key.
                NotStorable::RequestNoStore
                | NotStorable::Authorization
                | NotStorable::TooManyVariants
                | NotStorable::MinUses => NoCacheReason::Custom(reason.as_str()),
                _ => NoCacheReason::OriginNotCache,
            })
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
    if length(&response.headers).is_some_and(|n| n > store.max_object()) {
        return Err(NotStorable::TooLarge);
    }
    if is_new_variant(session, &response.headers) {
        let kept = session.cache.maybe_cache_key().map_or(0, |key| store.variants(key.primary_bin()));
        policy.vary.admit_variant(kept)?;
    }
    let mut header = response.clone();
    let mut kept = response.headers.clone();
    storable::strip(&mut kept, &directives);
    replace_fields(&mut header, &kept);
    Ok((Freshness { lifetime, received: now, initial_age }, header))
}

/// Whether the response varies and is not there to replace a stored variant.
fn is_new_variant(session: &Session, headers: &HeaderMap) -> bool {
    vary::Vary::from(headers) != vary::Vary::None && session.cache.maybe_cache_meta().is_none()
}

/// Why a 304 is not about the stored response (RFC 9111 §4.3.4).
pub(super) fn misfit(session: &Session, ctx: &Ctx) -> Option<validate::Mismatch> {
    let update = ctx.cache.not_modified.as_ref()?;
    validate::check_304(session.cache.maybe_cache_meta()?.headers(), update).err()
}

/// Pingora merges five fields of a 304; the RFC wants all of them (RFC 9111 §3.2).
fn merge_not_modified(session: &Session, ctx: &mut Ctx, now: SystemTime) -> Option<ResponseHeader> {
    let update = ctx.cache.not_modified.take()?;
    let stored = session.cache.maybe_cache_meta()?;
    let mut merged = stored.response_header_copy();
    let fields = validate::merge_304(stored.headers(), &update, now);
    replace_fields(&mut merged, &fields);
    Some(merged)
}

/// Makes the header's fields those of `fields`, through pingora's own type, which keeps their spelling.
fn replace_fields(header: &mut ResponseHeader, fields: &HeaderMap) {
    let same = |name: &HeaderName| header.headers.get_all(name).iter().eq(fields.get_all(name).iter());
    let added = fields.keys().filter(|name| !header.headers.contains_key(*name));
    let changed: Vec<HeaderName> = header.headers.keys().chain(added).filter(|name| !same(name)).cloned().collect();
    for name in &changed {
        header.remove_header(name);
    }
    for name in changed {
        for value in fields.get_all(&name) {
            // Fails only for more fields than a map can hold, of which the response would have had to have as many.
            let _ = header.append_header(name.clone(), value.clone());
        }
    }
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

/// What was judged when the response was stored. The store keeps it with every entry.
pub(super) fn stored_freshness(meta: &CacheMeta) -> Option<Freshness> {
    meta.extensions().get().copied()
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// When the response at hand was received.
fn received(session: &Session) -> SystemTime {
    let stored = session.cache.maybe_cache_meta().and_then(stored_freshness);
    stored.map_or_else(clock::wall, |freshness| freshness.received)
}

/// Does the stored response answer the client's condition with a 304?
pub(super) fn not_modified(session: &Session, response: &ResponseHeader) -> bool {
    let received = received(session);
    let request = &session.req_header().headers;
    validate::answer(request, response.status, &response.headers, received) == validate::Answer::NotModified
}

/// Answers the client's condition on a response that turned out not to be for the cache. Pingora took the condition
/// off the request upstream, and looks at it again only for what is stored.
pub(super) fn answer_condition(session: &Session, ctx: &mut Ctx, response: &mut ResponseHeader) {
    let request = session.req_header();
    if session.cache.enabled()
        || !ctx.cache.looked_up
        || !(request.method == Method::GET || request.method == Method::HEAD)
    {
        return;
    }
    let answer = validate::answer(&request.headers, response.status, &response.headers, clock::wall());
    if answer == validate::Answer::NotModified && response.set_status(StatusCode::NOT_MODIFIED).is_ok() {
        let mut fields = response.headers.clone();
        validate::trim_to_304(&mut fields);
        replace_fields(response, &fields);
        ctx.bodyless = true;
    }
}

/// Which part of the response the client gets.
pub(super) fn range(session: &Session, response: &mut ResponseHeader) -> RangeType {
    let request = session.req_header();
    let Some(wanted) = request.headers.get(RANGE) else { return RangeType::None };
    if validate::if_range(&request.headers, &response.headers, received(session)) == validate::RangeUse::Ignore {
        return RangeType::None;
    }
    match range::judge(wanted.as_bytes()) {
        range::Verdict::Cut => range_header_filter(request, response, Some(MAX_RANGES)),
        range::Verdict::Unsatisfiable if request.method == Method::GET && response.status == StatusCode::OK => {
            refuse_range(response)
        }
        range::Verdict::Unsatisfiable | range::Verdict::Ignore => RangeType::None,
    }
}

fn refuse_range(response: &mut ResponseHeader) -> RangeType {
    let complete = length(&response.headers).map_or("*".to_owned(), |n| n.to_string());
    let told = response.insert_header(CONTENT_RANGE, format!("bytes */{complete}"));
    match told.and_then(|()| response.insert_header(CONTENT_LENGTH, "0")).and_then(|()| response.set_status(416)) {
        Ok(()) => RangeType::Invalid,
        Err(_) => RangeType::None,
    }
}

/// Whether the response is being stored and is known to fit.
pub(super) fn is_kept_whole(session: &Session, store: &Store, response: &ResponseHeader) -> bool {
    matches!(session.cache.phase(), CachePhase::Miss | CachePhase::Expired)
        && length(&response.headers).is_some_and(|n| n <= store.max_object())
}
