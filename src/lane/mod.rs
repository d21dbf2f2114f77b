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
mod redirect;
mod refusal;
mod reply;
mod stream_hit;
mod streams;
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
use pingora::protocols::http::ServerSession;
use pingora::protocols::{Digest, Stream};
use pingora::proxy::{HttpProxy, ProcessCustomSession, ProxyHttp};
use pingora::server::ShutdownWatch;

use framed::{Framed, Rest};
use front::{Front, Turn};
use head::Head;

use crate::caller::Link;
use crate::config;
use crate::edge::{Edge, Phase};
use crate::last_word::LastWord;
use crate::listener::{Refusal, Spoken};

/// What pingora calls with every new connection at the listener with this place in [`Snapshot::listeners`].
///
/// [`Snapshot::listeners`]: crate::snapshot::Snapshot::listeners
pub fn entrance<SV, C>(edge: Arc<Edge>, listener: usize) -> ProcessCustomSession<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
{
    Arc::new(move |proxy: Arc<HttpProxy<SV, C>>, stream: Stream, shutdown: &ShutdownWatch| {
        // In a task of its own: pingora's, which has room for a TLS handshake and more, is several times as large and would
        // be kept for as long as the connection.
        tokio::spawn(connection(edge.clone(), listener, proxy, stream, shutdown.clone()));
        std::future::ready(None).boxed()
    })
}

async fn connection<SV, C>(
    edge: Arc<Edge>,
    listener: usize,
    proxy: Arc<HttpProxy<SV, C>>,
    stream: Stream,
    shutdown: ShutdownWatch,
) where
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
    let Some((stream, begun)) = Box::pin(begin(&edge, listener, stream)).await else { return };
    let Begun { client, link, spoken, is_told } = begun;
    let told = client.filter(|_| is_told);
    if spoken == Spoken::Http2 {
        let digest = digest(&stream, told);
        return Box::pin(streams::serve(&edge, &proxy, stream, digest, &link, &shutdown)).await;
    }
    let mut framed = Framed::new(stream);
    if let Some(client) = told {
        framed = framed.speaking_for(client);
    }
    if link.secure {
        framed = framed.secure();
    }
    let mut framed = Box::new(framed);
    let mut front = Front::new(&edge, client.map(|client| client.ip()), &link);
    loop {
        let (head, is_last) = match front.turn(&mut framed).await {
            Turn::Handed { head, is_last } => (head, is_last),
            // Boxed, as all that is seldom awaited: a task has room for the largest thing that it may wait for.
            Turn::Refused(refusal) => return Box::pin(refusal::answer(&edge, *framed, refusal, client)).await,
            Turn::Closed => return Box::pin(framed.close()).await,
            Turn::Ended => return,
        };
        if let Some(port) = link.redirect {
            let client = client.map(|client| client.ip());
            return Box::pin(redirect::answer(&edge, *framed, head, port, client)).await;
        }
        let (session, last_word) = match hand_over(&edge, framed, head, is_last) {
            Ok(handed_over) => handed_over,
            Err((framed, refusal)) => return Box::pin(refusal::answer(&edge, *framed, refusal, client)).await,
        };
        let request = link.clone().scope(last_word.scope(proxy.process_new_http(session, &shutdown)));
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

/// A connection on which HTTP begins.
struct Begun {
    client: Option<SocketAddr>,
    link: Arc<Link>,
    spoken: Spoken,
    /// Whether the client is another than the peer.
    is_told: bool,
}

/// What comes before HTTP.
async fn begin(edge: &Edge, listener: usize, stream: Stream) -> Option<(Stream, Begun)> {
    let (listener, timeouts) = {
        let snapshot = edge.peek();
        (snapshot.listeners().get(listener)?.clone(), snapshot.config().server.timeouts.clone())
    };
    let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
    let accepted = listener.accept(stream, timeouts.handshake, timeouts.idle);
    let accepted = tokio::select! {
        accepted = accepted => accepted,
        () = edge.phase_after(Phase::Serving) => return None,
    };
    match accepted {
        Ok(accepted) => {
            let hsts = listener.hsts().filter(|_| accepted.secure);
            let hsts = hsts.map_or_else(String::new, |value| format!("Strict-Transport-Security: {value}\r\n"));
            let link = Link {
                secure: accepted.secure,
                hsts,
                subject: listener.subject_field().cloned().zip(accepted.subject),
                redirect: listener.config().redirect_to_https,
            };
            let is_told = accepted.client != peer;
            let begun = Begun { client: accepted.client, link: Arc::new(link), spoken: accepted.spoken, is_told };
            Some((accepted.stream, begun))
        }
        Err(refusal) => {
            if let (Refusal::Handshake(reason), Some(peer)) = (&refusal, peer) {
                log::debug!("{peer}: TLS handshake at {}: {reason}", listener.address());
            }
            edge.metrics().connection_failed(refusal.as_str());
            None
        }
    }
}

/// What pingora is told of a connection of HTTP/2.
fn digest(stream: &Stream, told: Option<SocketAddr>) -> Arc<Digest> {
    Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: framed::told_digest(stream, told),
    })
}

/// The request at the front of what was read, as pingora sees it.
fn hand_over(
    edge: &Edge,
    mut framed: Box<Framed>,
    head: Head,
    is_last: bool,
) -> Result<(ServerSession, LastWord), (Box<Framed>, head::Refusal)> {
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
    let last_word = framed.last_word();
    Ok((replay(framed, head_bytes, is_last, timeouts), last_word))
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

/// How long the rest of a body that nobody wants is read before the connection is given up.
const DRAIN_TIME: Duration = Duration::from_secs(5);
