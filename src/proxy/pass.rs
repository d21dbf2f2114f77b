//! The short way of a request that the cache has no part in: the same phases in the same order, one after the other.
//!
//! Pingora's proxy carries bodies and messages both ways at once, over channels, with a cache in between. A GET or a HEAD
//! without a body whose answer is not stored needs none of that, which costs more than all that is decided about it. What
//! is decided is decided by the phases (`proxy/mod.rs`), and the backends are asked by the same session (`forward`).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Version};
use pingora::cache::key::HashBinary;
use pingora::cache::{CacheKey, NoCacheReason, RespCacheable};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::proxy::{ProxyHttp, Session};
use pingora::{Error, ErrorType, Result};

use super::Proxy;
use super::ctx::Ctx;
use super::forward::error;
use super::session::UpstreamSession;
use crate::bypass::Bypass;
use crate::upstream::Failure;

impl Bypass for Proxy {
    fn is_never_stored(&self, key: &HashBinary) -> bool {
        let mut named = CacheKey::new("", "");
        named.set_primary_bin_override(*key);
        !self.cache.predictor.cacheable_prediction(&named)
    }

    async fn answer(&self, mut session: Session) -> Option<Stream> {
        if !read(&mut session).await {
            return None;
        }
        let mut ctx = self.new_ctx();
        match self.phases(&mut session, &mut ctx).await {
            Ok(()) => {
                self.logging(&mut session, None, &mut ctx).await;
                session.downstream_session.finish().await.ok().flatten().map(|kept| kept.into_parts().0)
            }
            Err(e) => {
                let _told = self.fail_to_proxy(&mut session, &e, &mut ctx).await;
                self.logging(&mut session, Some(&e), &mut ctx).await;
                None
            }
        }
    }
}

impl Proxy {
    /// From the request to the end of its answer.
    async fn phases(&self, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        if self.request_filter(session, ctx).await? {
            return Ok(());
        }
        self.request_cache_filter(session, ctx)?;
        if session.cache.enabled() {
            let key = self.cache_key_callback(session, ctx)?;
            session.cache.set_cache_key(key);
            // The lane has asked for the prediction; were it another by now, this answer would still not be stored.
            session.cache.bypass();
        }
        if !self.proxy_upstream_filter(session, ctx).await? {
            return Ok(());
        }
        if ctx.shed.is_some() {
            return Err(error(Failure::Shed));
        }
        let mut request = Box::new(session.req_header().clone());
        self.upstream_request_filter(session, &mut request, ctx).await?;
        let mut upstream = UpstreamSession::new(self.connections.clone());
        upstream.ask(request)?;
        let head = self.head(session, &mut upstream, ctx).await?;
        self.begin_answer(session, head, ctx).await?;
        self.body(session, &mut upstream, ctx).await?;
        upstream.release();
        Ok(())
    }

    /// The final head; interim ones are passed on.
    async fn head(
        &self,
        session: &mut Session,
        upstream: &mut UpstreamSession,
        ctx: &mut Ctx,
    ) -> Result<Box<ResponseHeader>> {
        loop {
            unless_gone(session, upstream.next_head()).await?;
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

    /// Decides on the answer and sends its head.
    async fn begin_answer(&self, session: &mut Session, mut head: Box<ResponseHeader>, ctx: &mut Ctx) -> Result<()> {
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
        session.write_response_header(head, is_bodyless).await.map_err(Error::into_down)
    }

    async fn body(&self, session: &mut Session, upstream: &mut UpstreamSession, ctx: &mut Ctx) -> Result<()> {
        loop {
            let mut data: Option<Bytes> = match upstream.is_done() {
                true => None,
                false => unless_gone(session, upstream.next_body()).await?,
            };
            let end = data.is_none() || upstream.is_done();
            if data.is_none() {
                // Its connection writes them with the end.
                upstream.trailers().await;
            }
            self.response_body_filter(session, &mut data, end, ctx)?;
            session.write_response_body(data, end).await.map_err(Error::into_down)?;
            if end {
                return Ok(());
            }
        }
    }
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

/// What the backend has to say, unless the client leaves meanwhile.
async fn unless_gone<T>(session: &mut Session, said: impl Future<Output = Result<T, Failure>>) -> Result<T> {
    tokio::select! {
        biased;
        said = said => said.map_err(error),
        gone = gone(session) => Err(gone),
    }
}

/// Returns when the client leaves.
async fn gone(session: &mut Session) -> Box<Error> {
    loop {
        if let Err(e) = session.downstream_session.read_body_or_idle(true).await {
            return e.into_down();
        }
    }
}
