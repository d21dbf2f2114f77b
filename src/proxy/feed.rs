//! What a client sends while its answer is waited for: the rest of its request's body, or that it has left.
//!
//! A body is read no faster than the backend takes it, but never keeps the answer waiting: a backend that answers as it
//! reads would take no more of the one before somebody has taken of the other.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use pingora::proxy::{ProxyHttp, Session};
use pingora::{Error, ErrorType, Result};

use super::Proxy;
use super::ctx::Ctx;
use super::forward::error;
use super::upload::Writer;
use crate::upstream::Failure;

/// The largest body of a call that is kept, so that it can be sent again: bytes.
const KEPT: usize = 64 * 1024;

/// The body of a request on its way from the client.
pub(super) struct Feed {
    /// Where it goes, until it has ended.
    writer: Option<Writer>,
    /// What was read of it for an attempt before.
    read_before: Option<Bytes>,
}

impl Feed {
    /// There is none.
    pub(super) fn none() -> Feed {
        Feed { writer: None, read_before: None }
    }

    /// What has been read of it, and the rest.
    pub(super) fn of(read_before: Option<Bytes>, writer: Writer) -> Feed {
        Feed { writer: Some(writer), read_before }
    }

    /// What the backend has to say, unless the client leaves meanwhile.
    ///
    /// Pinned by the caller: an argument is held twice, as what it was and as what is waited for. Never begun anew: what has come
    /// of it would be lost.
    pub(super) async fn until<T, F: Future<Output = Result<T, Failure>>>(
        &mut self,
        mut said: Pin<&mut F>,
        proxy: &Proxy,
        session: &mut Session,
        ctx: &mut Ctx,
    ) -> Result<T> {
        loop {
            tokio::select! {
                biased;
                said = said.as_mut() => return said.map_err(error),
                fed = self.next(proxy, session, ctx) => fed?,
            }
        }
    }

    /// Passes on the next piece; after the last one returns only when the client leaves. May be given up and taken up again.
    async fn next(&mut self, proxy: &Proxy, session: &mut Session, ctx: &mut Ctx) -> Result<()> {
        let Some(writer) = &self.writer else { return Err(gone(session).await) };
        let room = writer.room().await;
        let mut data = match self.read_before.take() {
            Some(data) => Some(data),
            None => session.downstream_session.read_body_or_idle(false).await.map_err(Error::into_down)?,
        };
        let is_last = data.is_none() || session.downstream_session.is_body_done();
        proxy.request_body_filter(session, &mut data, is_last, ctx).await?;
        room.pass(data.unwrap_or_default(), is_last);
        if is_last {
            self.writer = None;
        }
        Ok(())
    }
}

/// What has been read of a body.
pub(super) enum Whole {
    /// All of it.
    Is(Bytes),
    /// The beginning of one that is too large to be kept.
    IsNot(Bytes),
}

/// Reads all of a body, if it is small.
pub(super) async fn whole(
    proxy: &Proxy,
    session: &mut Session,
    ctx: &mut Ctx,
    read_before: Option<Bytes>,
) -> Result<Whole> {
    let mut read = BytesMut::from(read_before.unwrap_or_default());
    while !session.downstream_session.is_body_done() {
        if read.len() > KEPT {
            return Ok(Whole::IsNot(read.freeze()));
        }
        let data = session.downstream_session.read_body_or_idle(false).await.map_err(Error::into_down)?;
        let Some(data) = data else { break };
        read.extend_from_slice(&data);
    }
    let mut counted = Some(read.freeze());
    proxy.request_body_filter(session, &mut counted, true, ctx).await?;
    match counted {
        Some(body) => Ok(Whole::Is(body)),
        None => {
            Error::e_explain(ErrorType::HTTPStatus(413), "the request's body is too large").map_err(Error::into_down)
        }
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
