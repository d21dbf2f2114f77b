//! The short way of a request that the cache has no part in: the same phases in the same order, one after the other.
//!
//! Pingora's proxy carries bodies and messages both ways over channels, with a cache in between. A request whose answer is
//! not stored needs none of that, which costs more than all that is decided about it. What is decided is decided by the
//! phases (`proxy/mod.rs`), and the backends are asked by the same session (`forward`). A request's body goes its own way
//! beside that ([`super::feed`]).

use std::pin::pin;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Version};
use pingora::cache::key::HashBinary;
use pingora::cache::{CacheKey, NoCacheReason, RespCacheable};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::proxy::{ProxyHttp, Session};
use pingora::{Error, ErrorType, Result};

use super::caching;
use super::ctx::Ctx;
use super::feed::{self, Feed, Whole};
use super::forward::error;
use super::respond;
use super::session::UpstreamSession;
use super::{Proxy, uses};
use crate::bypass::Bypass;
use crate::upstream::Failure;

impl Bypass for Proxy {
    fn is_never_stored(&self, key: &HashBinary) -> bool {
        !self.cache.predictor.cacheable_prediction(&named(*key))
    }

    async fn answer(&self, mut session: Box<Session>, key: Option<HashBinary>) -> Option<Stream> {
        if !read(&mut session).await {
            return None;
        }
        let mut ctx = self.new_ctx();
        match self.phases(&mut session, key, &mut ctx).await {
            Ok(()) => {
                self.logging(&mut session, None, &mut ctx).await;
                // What is left of a request that was answered before its end; a client that goes on with it is left.
                session.downstream_session.drain_request_body().await.ok()?;
                // Boxed: it has room for a body that is still to be read.
                Box::pin(session.downstream_session.finish()).await.ok().flatten().map(|kept| kept.into_parts().0)
            }
            Err(e) => {
                let has_begun = session.response_written().is_some_and(|head| !head.status.is_informational());
                let _told = self.fail_to_proxy(&mut session, &e, &mut ctx).await;
                if has_begun && ctx.version == Version::HTTP_2 {
                    respond::break_off(&mut session, &mut ctx).await;
                }
                self.logging(&mut session, Some(&e), &mut ctx).await;
                None
            }
        }
    }
}

impl Proxy {
    /// From the request to the end of its answer.
    async fn phases(&self, session: &mut Session, key: Option<HashBinary>, ctx: &mut Ctx) -> Result<()> {
        if self.request_filter(session, ctx).await? {
            return Ok(());
        }
        self.request_cache_filter(session, ctx)?;
        if session.cache.enabled() {
            let hash = key.unwrap_or_else(|| caching::key_of(session.req_header(), ctx).hash());
            uses::note(self.cache.store, session, ctx, &hash);
            session.cache.set_cache_key(named(hash));
            // The lane has asked for the prediction; were it another by now, this answer would still not be stored.
            session.cache.bypass();
        }
        if !self.proxy_upstream_filter(session, ctx).await? {
            return Ok(());
        }
        if ctx.shed.is_some() {
            return Err(error(Failure::Shed));
        }
        if !session.as_mut().is_body_empty() {
            session.as_mut().enable_retry_buffering();
        }
        loop {
            let mut upstream = UpstreamSession::new(self.connections.clone());
            let mut feed = self.ask(session, &mut upstream, ctx).await?;
            let answered = self.answered(session, &mut upstream, &mut feed, ctx).await;
            // The body is kept as long as it is small.
            if answered.is_err() && upstream.again && !session.as_ref().retry_buffer_truncated() {
                continue;
            }
            answered?;
            upstream.release();
            return Ok(());
        }
    }

    /// Asks the backends; what of the request is still to come is for the feed.
    async fn ask(&self, session: &mut Session, upstream: &mut UpstreamSession, ctx: &mut Ctx) -> Result<Feed> {
        let mut request = Box::new(session.req_header().clone());
        self.upstream_request_filter(session, &mut request, ctx).await?;
        if session.as_mut().is_body_empty() {
            upstream.ask(request)?;
            return Ok(Feed::none());
        }
        let is_safe = ctx.exchange.as_ref().is_some_and(|exchange| exchange.call.is_some_and(|call| call.is_safe));
        let mut read_before = session.as_ref().get_retry_buffer();
        if is_safe {
            // What is small enough to be kept can be asked of two.
            match feed::whole(self, session, ctx, read_before).await? {
                Whole::Is(body) => return upstream.ask_with(request, body).map(|()| Feed::none()),
                Whole::IsNot(read) => read_before = Some(read),
            }
        }
        upstream.open(&mut request).await?;
        Ok(Feed::of(read_before, upstream.writer()))
    }

    async fn answered(
        &self,
        session: &mut Session,
        upstream: &mut UpstreamSession,
        feed: &mut Feed,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let head = self.head(session, upstream, feed, ctx).await?;
        if !self.begin_answer(session, head, upstream.is_done(), ctx).await? {
            self.body(session, upstream, feed, ctx).await?;
        }
        Ok(())
    }

    /// The final head; interim ones are passed on.
    async fn head(
        &self,
        session: &mut Session,
        upstream: &mut UpstreamSession,
        feed: &mut Feed,
        ctx: &mut Ctx,
    ) -> Result<Box<ResponseHeader>> {
        loop {
            feed.until(pin!(upstream.next_head()), self, session, ctx).await?;
            let mut head = upstream.take_head().ok_or_else(|| error(Failure::InvalidResponse))?;
            self.upstream_response_filter(session, &mut head, ctx).await?;
            if !head.status.is_informational() {
                return Ok(head);
            }
            self.response_filter(session, &mut head, ctx).await?;
            head.set_version(Version::HTTP_11);
            session.write_response_header(head, false).await.map_err(Error::into_down)?;
        }
    }

    /// Decides on the answer and sends its head; whether that is all. `is_whole` says that nothing follows it.
    async fn begin_answer(
        &self,
        session: &mut Session,
        mut head: Box<ResponseHeader>,
        is_whole: bool,
        ctx: &mut Ctx,
    ) -> Result<bool> {
        if session.cache.bypassing() {
            let reason = match self.response_cache_filter(session, &head, ctx)? {
                RespCacheable::Cacheable(_) => {
                    // The next request for it takes the long way, and has it stored.
                    session.cache.response_became_cacheable();
                    NoCacheReason::Deferred
                }
                RespCacheable::Uncacheable(reason) => reason,
            };
            session.cache.disable(reason);
        }
        self.response_filter(session, &mut head, ctx).await?;
        head.set_version(Version::HTTP_11);
        let is_bodyless = session.req_header().method == Method::HEAD || matches!(head.status.as_u16(), 204 | 304);
        if !is_bodyless && !head.headers.contains_key(CONTENT_LENGTH) {
            head.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
        if is_whole && ctx.version == Version::HTTP_2 {
            // The status of a call may stand in a head only if that is all there is.
            return respond::end_with(session, *head).await.map(|()| true).map_err(Error::into_down);
        }
        session.write_response_header(head, is_bodyless).await.map(|()| false).map_err(Error::into_down)
    }

    async fn body(
        &self,
        session: &mut Session,
        upstream: &mut UpstreamSession,
        feed: &mut Feed,
        ctx: &mut Ctx,
    ) -> Result<()> {
        loop {
            let mut data: Option<Bytes> = match upstream.is_done() {
                true => None,
                false => feed.until(pin!(upstream.next_body()), self, session, ctx).await?,
            };
            let end = data.is_none() || upstream.is_done();
            if data.is_none()
                && let Some(fields) = upstream.trailers().await
            {
                return session.downstream_session.write_response_trailers(fields).await.map_err(Error::into_down);
            }
            self.response_body_filter(session, &mut data, end, ctx)?;
            session.write_response_body(data, end).await.map_err(Error::into_down)?;
            if end {
                return Ok(());
            }
        }
    }
}

/// The key of which no more is known, nor wanted, than its hash.
fn named(hash: HashBinary) -> CacheKey {
    let mut key = CacheKey::new("", "");
    key.set_primary_bin_override(hash);
    key
}

/// Reads the head, which the lane has read and judged before.
async fn read(session: &mut Session) -> bool {
    match session.downstream_session.read_request().await {
        Ok(read) => read,
        Err(e) => {
            if *e.etype() == ErrorType::InvalidHTTPHeader {
                // The client may be gone; then there is nobody to tell.
                let _told = session.downstream_session.respond_error(400).await;
            }
            false
        }
    }
}
