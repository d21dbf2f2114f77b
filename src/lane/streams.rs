//! HTTP/2: many requests at a time on one connection. Frames are read and written by h2.
//!
//! * [`head`] what of a request's head may not enter, [`refused`] what the client is told then
//! * [`hit`] a plain hit, answered on the spot
//! * [`session`] what pingora or the short way is given of all others, each a task of its own: [`asked`] its body, [`answer`]
//!   its answer
//! * [`outlet`] what is written, and when it leaves

mod active;
mod answer;
mod asked;
mod head;
mod hit;
mod outlet;
mod refused;
mod session;

use std::future::{pending, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{Digest, Stream};
use pingora::proxy::{HttpProxy, ProxyHttp, Session};
use pingora::server::ShutdownWatch;

use active::Active;
use head::Fault;
use outlet::Outlet;
use session::StreamSession;

use crate::bypass::Bypass;
use crate::caller::Link;
use crate::edge::{Edge, Phase};
use crate::grpc;
use crate::pace::Pace;
use crate::postscript::Postscript;

/// Requests at a time on one connection: as many as nginx and pingora allow.
const STREAMS: u32 = 100;
/// What a client may send of a request's body before it is read, and of all of them: bytes.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Requests that can be read in two ways before the connection is given up.
const MALFORMED: u32 = 32;
/// How long the first frames of a connection may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

type Connection = server::Connection<Outlet, Bytes>;

/// A request without its body, and where its answer goes.
type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// What comes next on a connection.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Event {
    Stream(Option<Result<Accepted, h2::Error>>),
    Idle,
    Phase,
}

/// Serves a connection to its end. `digest` tells of it.
pub(super) async fn serve<SV, C, B>(
    edge: &Arc<Edge>,
    proxy: &Arc<HttpProxy<SV, C>>,
    short: &Arc<B>,
    stream: Stream,
    digest: Arc<Digest>,
    link: &Arc<Link>,
    shutdown: &ShutdownWatch,
) where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
    B: Bypass,
{
    let (most, idle, head_size) = {
        let snapshot = edge.peek();
        let server = &snapshot.config().server;
        (server.limits.requests_per_connection, server.timeouts.idle, server.limits.head_size)
    };
    let outlet = Outlet::new(stream);
    let begun = tokio::time::timeout(HANDSHAKE, options(head_size).handshake(outlet.clone())).await;
    let Ok(Ok(mut connection)) = begun else { return };
    let client = digest.socket_digest.as_ref().and_then(|ends| Some(ends.peer_addr()?.as_inet()?.ip()));
    let active = Arc::new(Active::default());
    let (mut requests, mut malformed, mut is_closing) = (0u32, 0u32, false);
    loop {
        let phase = edge.phase();
        if phase == Phase::Cut {
            return;
        }
        if (phase != Phase::Serving || requests >= most) && !is_closing {
            // Tells the client to make no more of them, and goes on with those that are there.
            connection.graceful_shutdown();
            is_closing = true;
        }
        let event = tokio::select! {
            biased;
            () = edge.phase_after(phase) => Event::Phase,
            next = accept(&mut connection, &outlet) => Event::Stream(next),
            () = rest(&active, idle, is_closing) => Event::Idle,
        };
        let (request, respond) = match event {
            Event::Phase => continue,
            // Nobody is in the midst of anything.
            Event::Idle => return,
            Event::Stream(None | Some(Err(_))) => return,
            Event::Stream(Some(Ok(accepted))) => accepted,
        };
        let (request, respond) = match front(edge, request, respond, client, link) {
            Front::Answered => {
                requests += 1;
                continue;
            }
            Front::Malformed => {
                malformed += 1;
                if malformed >= MALFORMED {
                    return;
                }
                continue;
            }
            Front::Behind(request, respond) => (request, respond),
        };
        requests += 1;
        let pace = Pace::default();
        let postscript = Postscript::of_requests();
        let session = StreamSession::new(request, respond, digest.clone(), pace.clone(), postscript.clone());
        let (edge, proxy, short, link) = (edge.clone(), proxy.clone(), short.clone(), link.clone());
        let (shutdown, busy) = (shutdown.clone(), active.enter());
        tokio::spawn(async move {
            let served = answer(&edge, &proxy, &short, session, &shutdown);
            tokio::select! {
                () = link.scope(pace.scope(postscript.scope(served))) => {}
                () = edge.cut() => {}
            }
            drop(busy);
        });
    }
}

/// What a connection may cost. `head_size` is in bytes.
fn options(head_size: usize) -> server::Builder {
    let mut options = server::Builder::new();
    options.max_header_list_size(u32::try_from(head_size).unwrap_or(u32::MAX)).max_concurrent_streams(STREAMS);
    options.initial_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    options
}

/// Waits for the next request, and goes on with all that is under way. What there is to write leaves once all that was read is
/// looked at.
async fn accept(connection: &mut Connection, outlet: &Outlet) -> Option<Result<Accepted, h2::Error>> {
    let mut next = pin!(connection.accept());
    poll_fn(|cx| {
        outlet.hold();
        let next = next.as_mut().poll(cx);
        match next.is_pending().then(|| outlet.poll_release(cx)) {
            Some(Poll::Ready(Err(_))) => Poll::Ready(None),
            _ => next,
        }
    })
    .await
}

/// What became of a request at once.
enum Front {
    Answered,
    /// It could be read in two ways.
    Malformed,
    /// It is for who is behind the lane.
    Behind(Request<RecvStream>, SendResponse<Bytes>),
}

/// Answers what can be answered without a wait; gives back what cannot.
fn front(
    edge: &Edge,
    mut request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    client: Option<IpAddr>,
    link: &Link,
) -> Front {
    match head::judge(&request, &edge.peek().config().server.limits) {
        Ok(()) => {}
        Err(Fault::Stream) => {
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return Front::Malformed;
        }
        Err(Fault::Refused(refusal)) => {
            refused::refuse(edge, &request, respond, client, refusal);
            return if refusal.is_malformed() { Front::Malformed } else { Front::Answered };
        }
    }
    if let Some(port) = link.redirect {
        refused::redirect(edge, &request, respond, client, port);
        return Front::Answered;
    }
    head::join_crumbs(request.headers_mut());
    match hit::answer(edge, &request, &mut respond, client, link) {
        true => Front::Answered,
        false => Front::Behind(request, respond),
    }
}

/// Serves one request behind the lane.
async fn answer<SV, C, B>(
    edge: &Edge,
    proxy: &Arc<HttpProxy<SV, C>>,
    short: &Arc<B>,
    session: StreamSession,
    shutdown: &ShutdownWatch,
) where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
    B: Bypass,
{
    let mut session = ServerSession::new_custom(Box::new(session));
    let timeouts = edge.peek().config().server.timeouts.clone();
    session.set_write_timeout(Some(timeouts.write));
    session.set_total_drain_timeout(Some(super::DRAIN_TIME));
    if !grpc::is_call(&session.req_header().headers) {
        // The messages of a call may be as far apart as its two ends like.
        session.set_read_timeout(Some(timeouts.body));
    }
    match session.req_header().method {
        Method::GET | Method::HEAD => drop(Box::pin(proxy.process_new_http(session, shutdown)).await),
        // The cache has no part in it.
        _ => drop(Box::pin(short.answer(wrapped(session))).await),
    }
}

/// As the short way takes it. Pingora makes such a session only over a connection of HTTP/1.1, for which an empty one does.
fn wrapped(session: ServerSession) -> Session {
    let (nobody, _) = tokio::io::duplex(1);
    let mut wrapped = Session::new_h1(Box::new(nobody));
    *wrapped.downstream_session = session;
    wrapped
}

/// Returns when nothing has been under way for `idle`. What `is_closing` ends by itself, when its last frame is sent.
async fn rest(active: &Active, idle: Duration, is_closing: bool) {
    if is_closing {
        return pending().await;
    }
    active.none().await;
    tokio::time::sleep(idle).await;
}
