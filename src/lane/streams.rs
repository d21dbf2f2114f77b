//! HTTP/2: many requests at a time on one connection. Frames are read and written by h2.
//!
//! * [`head`] what of a request's head may not enter, [`refused`] what the client is told then
//! * [`hit`] a plain hit, answered on the spot
//! * [`behind`] who answers all others, each in a task of its own; [`asked`] what is read of its request,
//!   [`answer`] what is written
//! * [`outlet`] what is written, and when it leaves

mod active;
mod answer;
mod asked;
mod behind;
mod head;
mod hit;
mod outlet;
mod refused;

use std::future::{pending, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use pingora::connectors::http::custom;
use pingora::protocols::{Digest, Stream};
use pingora::proxy::{HttpProxy, ProxyHttp};
use pingora::server::ShutdownWatch;

use active::Active;
pub(super) use asked::Asked;
use behind::Behind;
use head::Fault;
use outlet::Outlet;

use super::front::Uncached;
use crate::bypass::Bypass;
use crate::caller::Link;
use crate::edge::{Edge, Phase};

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
    let behind = Arc::new(Behind {
        edge: edge.clone(),
        proxy: proxy.clone(),
        short: short.clone(),
        link: link.clone(),
        digest,
        shutdown: shutdown.clone(),
    });
    loop {
        let phase = edge.phase();
        if phase == Phase::Cut {
            return;
        }
        let mut changed = pin!(edge.phase_after(phase));
        loop {
            if (phase != Phase::Serving || requests >= most) && !is_closing {
                // Tells the client to make no more of them, and goes on with those that are there.
                connection.graceful_shutdown();
                is_closing = true;
            }
            let (request, respond) = tokio::select! {
                biased;
                () = changed.as_mut() => break,
                next = accept(&mut connection, &outlet) => match next {
                    Some(Ok(accepted)) => accepted,
                    None | Some(Err(_)) => return,
                },
                // Nobody is in the midst of anything.
                () = rest(&active, idle, is_closing) => return,
            };
            match front(edge, request, respond, client, link) {
                Front::Answered => requests += 1,
                Front::Behind(request, respond, uncached) => {
                    requests += 1;
                    tokio::spawn(behind.clone().answer(request, respond, uncached, active.enter()));
                }
                Front::Malformed => {
                    malformed += 1;
                    if malformed >= MALFORMED {
                        return;
                    }
                }
            }
        }
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
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Front {
    Answered,
    /// It could be read in two ways.
    Malformed,
    /// It is for who is behind the lane.
    Behind(Request<RecvStream>, SendResponse<Bytes>, Uncached),
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
        Ok(()) => Front::Answered,
        Err(uncached) => Front::Behind(request, respond, uncached),
    }
}

/// Returns when nothing has been under way for `idle`. What `is_closing` ends by itself, when its last frame is sent.
async fn rest(active: &Active, idle: Duration, is_closing: bool) {
    if is_closing {
        return pending().await;
    }
    active.none().await;
    tokio::time::sleep(idle).await;
}
