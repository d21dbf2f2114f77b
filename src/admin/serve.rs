//! The admin listener's HTTP: one answer for a request, but for the live page's stream.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;

use super::{Admin, Answer};

/// How long a connection may be idle, in seconds.
const IDLE: u64 = 60;
/// Where the stream is.
pub(super) const EVENTS: &str = "/live/events";

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(e) => {
                log::debug!("admin: no request could be read: {e}");
                return None;
            }
        }
        session.set_keepalive((!*shutdown.borrow()).then_some(IDLE));
        let request = session.req_header();
        let answer = if request.method == Method::GET && request.uri.path() == EVENTS {
            match self.live.viewer() {
                Some(viewer) => {
                    // Whoever looked has gone, or the edge goes.
                    if let Err(e) = self.live.show(viewer, &mut session).await {
                        log::debug!("admin: a viewer has gone: {e}");
                        return None;
                    }
                    return session.finish().await.ok().flatten().and(None);
                }
                None => Answer::crowded(),
            }
        } else {
            self.respond(&mut session).await
        };
        send(&mut session, answer).await.inspect_err(|e| log::debug!("admin: an answer was not taken: {e}")).ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.inspect_err(|e| log::debug!("admin: {e}")).ok()?;
        stream.map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

async fn send(session: &mut ServerSession, answer: Answer) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(answer.status, Some(8))?;
    for (name, value) in answer.fields() {
        head.insert_header(name, value)?;
    }
    session.write_response_header(Box::new(head)).await?;
    let body = match answer.body {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => text.into(),
    };
    session.write_response_body(body, true).await
}
