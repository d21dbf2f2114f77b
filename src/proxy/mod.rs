//! A request, phase by phase, in the order in which pingora calls them.
//!
//! Each phase is short and names what it does; the doing is in the files beside this one.

mod admission;
mod attempts;
mod caching;
mod conditional;
mod crowd;
mod ctx;
mod deadlines;
mod exchange;
pub mod explain;
mod feed;
mod fields;
mod flights;
mod forms;
mod forward;
mod handling;
mod hedge;
mod http10;
mod identity;
mod invalidating;
mod leg;
mod log;
mod notes;
mod parts;
mod pass;
mod priority;
mod purging;
mod rate;
mod recode;
mod reported;
mod request;
mod rescue;
mod respond;
mod resume;
mod session;
mod slow;
mod timeline;
mod traced;
mod upload;
mod upstream;
mod uses;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Version;
use http::header::CONTENT_LENGTH;
use pingora::cache::key::{CacheHashKey, HashBinary};
use pingora::cache::predictor::Predictor;
use pingora::cache::{CacheKey, CacheMeta, ForcedFreshness, HitHandler, RespCacheable};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, RangeType, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

pub use ctx::Ctx;
pub use forward::Forward;

use crate::cache::compression::Plan;
use crate::cache::status::Fwd;
use crate::edge::Edge;
use crate::upstream::{Connections, Failure};

/// How long one fetch may hold its key before another request may compete for it.
const COLLAPSE_AGE: Duration = Duration::from_secs(60);
/// Keys remembered as not storable, in each of 32 shards.
const UNSTORABLE_KEYS: usize = 1024;

/// The proxy of one edge; clones are the same.
#[derive(Clone)]
pub struct Proxy {
    edge: Arc<Edge>,
    cache: caching::Shared,
    /// Selects the path on which sessions choose their backend themselves.
    marker: HttpPeer,
    connections: Arc<Connections>,
}

impl Proxy {
    /// The proxy of `edge`. What pingora's cache wants to be `'static` is leaked, once per edge.
    pub fn new(edge: Arc<Edge>) -> Proxy {
        let cache = caching::Shared {
            store: edge.store(),
            refusals: edge.refusals().clone(),
            lock: Box::leak(Box::new(crowd::Crowd::new(COLLAPSE_AGE))),
            flights: Arc::default(),
            refreshes: Arc::default(),
            forms: Arc::new(forms::Forms::new(edge.metrics().clone())),
            predictor: Box::leak(Box::new(Predictor::<32>::new(UNSTORABLE_KEYS, Some(|_| true)))),
        };
        Proxy { edge, cache, marker: forward::marker_peer(), connections: Connections::new() }
    }

    /// The connector whose sessions carry the forwarded requests.
    pub fn connector(&self) -> Forward {
        Forward::new(self.connections.clone())
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        let mut ctx = Ctx::new(self.edge.snapshot());
        ctx.in_flight = Some(self.edge.metrics().request());
        ctx
    }

    /// In place of pingora's default, a compression that would be switched off.
    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Box::new(recode::Builder));
        modules.add_module(Box::new(http10::Builder));
    }

    /// A refresh that a client waits for only so long is a request of its own (`slow`).
    fn allow_spawning_subrequest(&self, _session: &Session, _ctx: &Ctx) -> bool {
        true
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        if session.subrequest_ctx.is_none() {
            let request = session.req_header();
            ctx.unlogged = Some(ctx::Unlogged {
                edge: self.edge.clone(),
                method: request.method.clone(),
                uri: request.uri.clone(),
            });
        }
        if let Err(refusal) = request::enter(session, ctx).and_then(|()| rate::admit(session, ctx)) {
            return respond::refuse(session, ctx, &refusal).await.map(|()| true);
        }
        recode::enter(session, ctx);
        match purging::access(session, ctx) {
            Some(access) => purging::answer(&self.edge, session, ctx, &access).await.map(|()| true),
            None => {
                slow::refresh(&self.cache, session, ctx).await;
                Ok(false)
            }
        }
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        caching::enable(&self.cache, session, ctx);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, ctx: &mut Ctx) -> Result<CacheKey> {
        let key = caching::cache_key(session, ctx);
        uses::note(self.cache.store, session, ctx, &key.primary_bin());
        Ok(key)
    }

    fn cache_vary_filter(&self, meta: &CacheMeta, ctx: &mut Ctx, request: &RequestHeader) -> Option<HashBinary> {
        let variance = caching::variance(ctx.route.as_ref()?, meta.headers(), request);
        if variance.is_some() {
            ctx.cache.note_variants();
        }
        variance
    }

    fn cache_miss(&self, session: &mut Session, ctx: &mut Ctx) {
        ctx.cache.fwd.get_or_insert(Fwd::UriMiss);
        session.cache.cache_miss();
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        hit: &mut HitHandler,
        _fresh: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<ForcedFreshness>> {
        let judged = caching::judge_hit(session, meta, ctx);
        let is_sent = matches!(judged, Some(ForcedFreshness::ForceFresh));
        let answers = forms::find(&self.cache, session, meta, hit, is_sent, ctx).await;
        Ok(if answers { judged } else { Some(ForcedFreshness::ForceMiss) })
    }

    fn should_serve_stale(&self, session: &mut Session, ctx: &mut Ctx, error: Option<&Error>) -> bool {
        let serves = caching::may_serve_stale(session, ctx, error);
        let has_failed = ctx.exchange.as_ref().is_some_and(|exchange| exchange.seen.lock().failure.is_some());
        if serves && (has_failed || (ctx.shed.is_some() && error.is_some())) {
            // Pingora keeps no connection on which an exchange failed, whatever is answered; the client is told.
            respond::end_connection(session, ctx);
        }
        serves
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        if ctx.part.is_some() {
            if self.edge.is_draining() {
                respond::end_connection(session, ctx);
            }
            if parts::answer(&self.cache, session, ctx).await? {
                return Ok(false);
            }
        } else if session.cache.bypassing() {
            // The predictor remembers that the last response for this key could not be stored.
            ctx.cache.fwd.get_or_insert(Fwd::UriMiss);
            ctx.cache.detail.get_or_insert("hit-for-miss");
        }
        if !ctx.cache.only_if_cached {
            return admission::admit(session, ctx).await;
        }
        respond::refuse(session, ctx, &request::not_cached()).await.map(|()| false)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        if ctx.shed.is_some() {
            return Err(forward::error(Failure::Shed));
        }
        if session.is_upgrade_req() {
            return upstream::upgraded_peer(ctx).map_err(forward::error);
        }
        Ok(Box::new(self.marker.clone()))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        // Before the request is on its way: a purge that comes while it is concerns its response.
        ctx.newest_purge = self.cache.store.newest_purge();
        upstream::prepare(&self.cache, session, request, ctx)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if session.was_upgraded() {
            return Ok(());
        }
        ctx.received += body.as_ref().map_or(0, |b| b.len() as u64);
        let limit = ctx.route.as_ref().map_or(u64::MAX, |r| r.config.max_body);
        match &ctx.exchange {
            // Pingora would only stop to read; the session, which waits for the rest, must be told.
            Some(exchange) if ctx.received > limit => {
                exchange.refuse_body();
                body.take();
            }
            None if ctx.received > limit => return Err(Error::new_down(ErrorType::HTTPStatus(413))),
            _ => {}
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        upstream::receive(session, response, ctx);
        invalidating::after_change(&self.edge, session.req_header(), ctx, response);
        Ok(())
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<RespCacheable> {
        Ok(caching::judge_response(&self.cache, session, response, ctx))
    }

    fn cache_not_modified_filter(&self, session: &Session, response: &ResponseHeader, _ctx: &mut Ctx) -> Result<bool> {
        Ok(conditional::not_modified(session, response))
    }

    fn range_header_filter(&self, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> RangeType {
        recode::take_form(session, response, ctx);
        match recode::plan(session, ctx, response) {
            // Where in the body that is made on the way a range would begin nobody knows.
            Plan::Recode(_) => RangeType::None,
            Plan::AsIs { .. } | Plan::Unreadable => conditional::cut(session, response),
        }
    }

    async fn response_filter(&self, session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
        if response.status.is_informational() {
            if let Some(exchange) = &ctx.exchange {
                exchange.pass_on_interim();
            }
            return Ok(());
        }
        if self.edge.is_draining() {
            respond::end_connection(session, ctx);
        }
        parts::receive(&self.cache, session, response, ctx)?;
        let plan = recode::plan(session, ctx, response);
        conditional::answer_condition(session, ctx, response);
        conditional::trim(session, response);
        if caching::is_kept_whole(session, self.cache.store, response) {
            // A slow reader then holds up neither the fill nor those who read it along.
            session.set_proxy_tasks_enabled(true);
        }
        if let Some(exchange) = &ctx.exchange {
            exchange.decide(session.cache.enabled() && !session.cache.bypassing());
        }
        recode::apply(&self.cache, session, ctx, response, plan);
        if session.req_header().version == Version::HTTP_10 && !response.headers.contains_key(CONTENT_LENGTH) {
            // Its body ends with the connection, see `http10`.
            respond::end_connection(session, ctx);
        }
        ctx.answered = true;
        ctx.headed.get_or_insert_with(crate::clock::now);
        respond::add_headers(session, ctx, response)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        if let Some(part) = &mut ctx.part {
            part.pass(body, end);
        }
        if ctx.bodyless {
            *body = None;
        }
        recode::pass(session, ctx, body, end)?;
        Ok(None)
    }

    /// The session has decided whether there is another attempt; only a body that was too long to be kept forbids it.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut e: Box<Error>,
        _ctx: &mut Ctx,
        _reused: bool,
    ) -> Box<Error> {
        // The native path leaves this open, and pingora panics on what is not decided.
        e.retry.decide_reuse(false);
        if session.as_ref().retry_buffer_truncated() {
            e.set_retry(false);
        }
        e
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        mut e: Box<Error>,
    ) -> Box<Error> {
        upstream::upgrade_failed(ctx, Failure::of_connect(&e));
        e.set_retry(false);
        e
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Ctx) -> FailToProxy {
        if e.esource() == &ErrorSource::Upstream && ctx.upgraded.as_ref().is_some_and(|attempt| !attempt.has_answered())
        {
            upstream::upgrade_failed(ctx, Failure::of_read(e, Failure::FirstByteTimeout));
        }
        let refusal = log::fault(e, session, ctx);
        let error_code = match refusal {
            Some(refusal) if session.response_written().is_none_or(|r| r.status.is_informational()) => {
                // Pingora keeps no connection on which a request failed; the client is told.
                respond::end_connection(session, ctx);
                let sent = respond::refuse(session, ctx, &refusal).await;
                sent.map_or(0, |()| refusal.status)
            }
            Some(refusal) => {
                ctx.end(refusal.reason);
                0
            }
            None => 0,
        };
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Ctx) {
        log::request(&self.edge, session, e, ctx);
    }

    /// Every failure is logged once, by us, with the request's line.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Ctx, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}
