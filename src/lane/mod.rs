//! The front of every client connection: it reads request heads within limits, answers plain hits and hands the rest on.
//!
//! * [`front`] the connection while it is here: [`head`] is it a request, [`plain`] is it plain, [`hit`] what answers it,
//!   [`answer`] and [`reply`] the answer, [`account`] its line and count
//! * [`framed`] the connection while one of its requests is with pingora
//!
//! Pingora's own reader bounds neither a head's total time nor its size before the second read, and it tolerates
//! ambiguities. So the lane takes the raw connection (`ProcessCustomSession`, doc-hidden), reads one head, judges it
//! ([`head`]), and replays it into pingora over a stream that ends where the request ends ([`framed`]).

mod absolute;
mod account;
mod answer;
mod chunks;
mod date;
mod framed;
mod front;
mod head;
mod hit;
mod linger;
mod names;
mod overdue;
mod plain;
mod refusal;
mod reply;
mod traced;
mod vigil;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use futures::future::{Either, select};
use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::{HttpProxy, ProcessCustomSession, ProxyHttp};
use pingora::server::ShutdownWatch;

use framed::{Framed, Rest};
use front::{Front, Turn};
use head::{Head, Refusal};

use crate::config;
use crate::edge::Edge;
use crate::last_word::LastWord;
use crate::pace::Pace;

/// What pingora calls with every new connection.
pub fn entrance<SV, C>(edge: Arc<Edge>) -> ProcessCustomSession<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    Arc::new(move |proxy: Arc<HttpProxy<SV, C>>, stream: Stream, shutdown: &ShutdownWatch| {
        // In a task of its own: pingora's, which has room for a TLS handshake and more, is several times as large and would
        // be kept for as long as the connection.
        tokio::spawn(connection(edge.clone(), proxy, stream, shutdown.clone()));
        std::future::ready(None).boxed()
    })
}

async fn connection<SV, C>(edge: Arc<Edge>, proxy: Arc<HttpProxy<SV, C>>, stream: Stream, shutdown: ShutdownWatch)
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
    let mut front = Front::new(&edge, client.map(|client| client.ip()));
    loop {
        let (head, is_last) = match front.turn(&mut framed).await {
            Turn::Handed { head, is_last } => (head, is_last),
            // Boxed, as all that is seldom awaited: a task has room for the largest thing that it may wait for.
            Turn::Refused(refusal) => return Box::pin(refusal::answer(&edge, *framed, refusal, client)).await,
            Turn::Closed => return Box::pin(framed.close()).await,
            Turn::Ended => return,
        };
        let (session, last_word, pace) = match hand_over(&edge, framed, head, is_last) {
            Ok(handed_over) => handed_over,
            Err((framed, refusal)) => return Box::pin(refusal::answer(&edge, *framed, refusal, client)).await,
        };
        let request = last_word.scope(pace.scope(proxy.process_new_http(session, &shutdown)));
        let cut = pin!(edge.cut());
        let Either::Left((reused, _)) = select(pin!(request), cut).await else { return };
        let Some(reused) = reused else { return };
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

/// The request at the front of what was read, as pingora sees it.
fn hand_over(
    edge: &Edge,
    mut framed: Box<Framed>,
    head: Head,
    is_last: bool,
) -> Result<(ServerSession, LastWord, Pace), (Box<Framed>, Refusal)> {
    let head_bytes = match absolute::rewrite(framed.ahead().get(..head.len).unwrap_or_default()) {
        Ok(None) => framed.ahead().split_to(head.len),
        Ok(Some(rewritten)) => {
            framed.ahead().advance(head.len);
            rewritten
        }
        Err(refusal) => return Err((framed, refusal)),
    };
    framed.expect(head.rest);
    // Limits are those of the snapshot that is current when the request begins.
    let snapshot = edge.peek();
    let timeouts = &snapshot.config().server.timeouts;
    framed.set_patience(timeouts.write);
    // After an upgrade that the backend refuses, what the client has sent meanwhile is no HTTP.
    let is_last = is_last || head.rest == Rest::Upgraded;
    let (last_word, pace) = (framed.last_word(), framed.pace());
    Ok((replay(framed, head_bytes, is_last, timeouts), last_word, pace))
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
