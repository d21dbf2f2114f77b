//! The front of every client connection: it reads request heads within limits and hands each request on.
//!
//! Pingora's own reader bounds neither a head's total time nor its size before the second read, and it tolerates
//! ambiguities. So the lane takes the raw connection (`ProcessCustomSession`, doc-hidden), reads one head, judges it
//! ([`head`]), and replays it into pingora over a stream that ends where the request ends ([`framed`]).

mod absolute;
mod chunks;
mod date;
mod framed;
mod head;
mod overdue;
mod refusal;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{HttpProxy, ProcessCustomSession, ProxyHttp};
use pingora::server::ShutdownWatch;
use tokio::time::{Instant, timeout, timeout_at};

use framed::{Framed, Rest};
use head::{Head, Refusal, Verdict};

use crate::config;
use crate::edge::Edge;

/// What pingora calls with every new connection.
pub fn entrance<SV, C>(edge: Arc<Edge>) -> ProcessCustomSession<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    Arc::new(move |proxy: Arc<HttpProxy<SV, C>>, stream: Stream, shutdown: &ShutdownWatch| {
        let (edge, shutdown) = (edge.clone(), shutdown.clone());
        async move {
            let cut = edge.cut();
            tokio::select! {
                () = connection(edge, proxy, stream, shutdown) => {}
                () = cut => {}
            }
            None
        }
        .boxed()
    })
}

async fn connection<SV, C>(edge: Arc<Edge>, proxy: Arc<HttpProxy<SV, C>>, stream: Stream, mut shutdown: ShutdownWatch)
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    let limit = edge.peek().config().server.limits.connections;
    let Some(_open) = edge.connections().enter(limit) else {
        edge.metrics().connection_refused();
        return;
    };
    let _counted = edge.metrics().connection();
    let client = client_of(&stream);
    let mut framed = Box::new(Framed::new(stream));
    let last_word = framed.last_word();
    let mut served = 0;
    loop {
        // Limits are those of the snapshot that is current when the request begins.
        let snapshot = edge.snapshot();
        let server = &snapshot.config().server;
        let head = match next_head(&mut framed, server, &mut shutdown).await {
            Next::Request(head) => head,
            Next::Refused(refusal) => return refusal::answer(&edge, *framed, refusal, client).await,
            Next::Ended => return,
        };
        let head_bytes = match absolute::rewrite(&framed.ahead()[..head.len]) {
            Ok(None) => framed.ahead().split_to(head.len),
            Ok(Some(rewritten)) => {
                framed.ahead().advance(head.len);
                rewritten
            }
            Err(refusal) => return refusal::answer(&edge, *framed, refusal, client).await,
        };
        framed.expect(head.rest);
        framed.set_patience(server.timeouts.write);
        served += 1;
        // After an upgrade that the backend refuses, what the client has sent meanwhile is no HTTP.
        let last = served >= server.limits.requests_per_connection || head.rest == Rest::Upgraded;
        let session = replay(framed, head_bytes, last, &server.timeouts);
        drop(snapshot);
        let request = last_word.clone().scope(proxy.process_new_http(session, &shutdown));
        let Some(reused) = request.await else { return };
        let (stream, _) = reused.consume();
        match stream.into_any().downcast::<Framed>() {
            Ok(same) => framed = same,
            Err(_) => return,
        }
        if !framed.at_request_end() {
            return;
        }
    }
}

enum Next {
    Request(Head),
    Refused(Refusal),
    Ended,
}

async fn next_head(framed: &mut Framed, server: &config::Server, shutdown: &mut ShutdownWatch) -> Next {
    if framed.ahead().is_empty() {
        tokio::select! {
            biased;
            first = timeout(server.timeouts.idle, framed.fill()) => match first {
                Ok(Ok(n)) if n > 0 => {}
                _ => return Next::Ended,
            },
            _ = shutdown.wait_for(|down| *down) => return Next::Ended,
        }
    }
    let deadline = Instant::now() + server.timeouts.head;
    loop {
        match head::judge(framed.ahead(), &server.limits) {
            Verdict::Complete(head) => return Next::Request(head),
            Verdict::Refused(refusal) => return Next::Refused(refusal),
            Verdict::Partial => {}
        }
        match timeout_at(deadline, framed.fill()).await {
            Ok(Ok(n)) if n > 0 => {}
            Ok(_) => return Next::Ended,
            Err(_) => return Next::Refused(Refusal::Timeout),
        }
    }
}

/// Pingora's view of one request.
fn replay(framed: Box<Framed>, head: BytesMut, last: bool, timeouts: &config::ClientTimeouts) -> ServerSession {
    // A tunnel may be silent for as long as a connection between requests.
    let patience = if framed.is_tunnel() { timeouts.idle } else { timeouts.body };
    let mut session = ServerSession::new_http1(framed);
    session.set_read_timeout(Some(patience));
    // Pingora's write timeout is for a whole buffer, however large; the clock of `Framed` is for progress.
    session.set_write_timeout(None);
    session.set_total_drain_timeout(Some(DRAIN_TIME));
    if last {
        session.set_keepalive_reuses_remaining(Some(0));
    }
    session.set_pipelined_prefix(head);
    session
}

fn client_of(stream: &Stream) -> Option<SocketAddr> {
    stream.get_socket_digest()?.peer_addr()?.as_inet().copied()
}

/// How long the rest of a body that nobody wants is read before the connection is given up.
const DRAIN_TIME: Duration = Duration::from_secs(5);
