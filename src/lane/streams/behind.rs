//! Who answers the requests of a connection that the lane does not: pingora's proxy, or the short way.

use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_LENGTH;
use http::{Method, Request};
use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom;
use pingora::protocols::Digest;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{HttpProxy, ProxyHttp};
use pingora::server::ShutdownWatch;

use super::super::DRAIN_TIME;
use super::super::front::Uncached;
use super::super::session::Exchange;
use super::super::wrapped::wrapped;
use super::active::Busy;
use super::answer::Answer;
use super::asked::Asked;
use crate::bypass::Bypass;
use crate::caller::Link;
use crate::edge::Edge;
use crate::grpc;
use crate::pace::Pace;
use crate::postscript::Postscript;

/// What all requests of a connection have in common.
pub(super) struct Behind<SV, C: custom::Connector, B> {
    pub edge: Arc<Edge>,
    pub proxy: Arc<HttpProxy<SV, C>>,
    pub short: Arc<B>,
    pub link: Arc<Link>,
    /// What pingora is told of the connection.
    pub digest: Arc<Digest>,
    pub shutdown: ShutdownWatch,
}

impl<SV, C, B> Behind<SV, C, B>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
    B: Bypass,
{
    /// Serves one request to its end, or until the edge's.
    pub(super) async fn answer(
        self: Arc<Self>,
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        uncached: Uncached,
        busy: Busy,
    ) {
        let (pace, postscript) = (Pace::default(), Postscript::of_requests());
        let (head, body) = request.into_parts();
        let is_said_empty = head.headers.get(CONTENT_LENGTH).is_some_and(|length| length == "0");
        let asked = Asked::new(body, is_said_empty, postscript.clone());
        let answer = Answer::new(respond, pace.clone());
        let session = self.set_up(Exchange::new(head.into(), Some(asked), answer, self.digest.clone()));
        let (is_short, key) = match uncached {
            // The cache has no part in it.
            Uncached::No => (!matches!(session.req_header().method, Method::GET | Method::HEAD), None),
            Uncached::Off => (true, None),
            Uncached::Absent(key) => (self.short.is_never_stored(&key), Some(key)),
        };
        let served = async {
            match is_short {
                true => drop(Box::pin(self.short.answer(wrapped(session), key)).await),
                false => drop(Box::pin(self.proxy.process_new_http(session, &self.shutdown)).await),
            }
        };
        tokio::select! {
            () = self.link.clone().scope(pace.scope(postscript.scope(served))) => {}
            () = self.edge.cut() => {}
        }
        drop(busy);
    }

    fn set_up(&self, session: Exchange<Answer>) -> ServerSession {
        let mut session = ServerSession::new_custom(Box::new(session));
        let snapshot = self.edge.peek();
        let timeouts = &snapshot.config().server.timeouts;
        session.set_write_timeout(Some(timeouts.write));
        session.set_total_drain_timeout(Some(DRAIN_TIME));
        if !grpc::is_call(&session.req_header().headers) {
            // The messages of a call may be as far apart as its two ends like.
            session.set_read_timeout(Some(timeouts.body));
        }
        session
    }
}
