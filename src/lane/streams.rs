//! HTTP/2: many requests at a time on one connection, each a task of its own behind the lane.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{self, H2Accept, HttpSession};
use pingora::protocols::{Digest, Stream};
use pingora::proxy::{HttpProxy, ProxyHttp, Session};
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;

use super::head::Refusal;
use super::redirect::Redirect;
use super::{refusal, stream_head, stream_hit};
use crate::bypass::Bypass;
use crate::caller::Link;
use crate::edge::{Edge, Phase};

/// Requests at a time on one connection: as many as nginx and pingora allow.
const STREAMS: u32 = 100;
/// What a client may send of a request's body before it is read, and of all of them: bytes.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Requests that can be read in two ways before the connection is given up, as in pingora's own loop.
const MALFORMED: u32 = 32;
/// How long the first frames of a connection may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What comes next on a connection.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Event {
    Stream(Result<Option<H2Accept>, ()>),
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
    let (most, idle, mut options) = {
        let snapshot = edge.peek();
        let server = &snapshot.config().server;
        let mut options = server::default_h2_options();
        options.max_header_list_size(u32::try_from(server.limits.head_size).unwrap_or(u32::MAX));
        (server.limits.requests_per_connection, server.timeouts.idle, options)
    };
    options.max_concurrent_streams(STREAMS);
    options.initial_window_size(WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    let begun = tokio::time::timeout(HANDSHAKE, server::handshake(stream, Some(options))).await;
    let Ok(Ok(mut connection)) = begun else { return };
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
            next = HttpSession::from_h2_conn(&mut connection, digest.clone()) => Event::Stream(next.map_err(drop)),
            () = rest(&active, idle, is_closing) => Event::Idle,
        };
        match event {
            Event::Phase => {}
            // Nobody is in the midst of anything.
            Event::Idle => return,
            Event::Stream(Err(()) | Ok(None)) => return,
            Event::Stream(Ok(Some(H2Accept::Rejected))) => {
                malformed += 1;
                if malformed >= MALFORMED {
                    return;
                }
            }
            Event::Stream(Ok(Some(H2Accept::Session(session)))) => {
                requests += 1;
                let Some(session) = front(edge, session, link) else { continue };
                let (edge, proxy, short, link) = (edge.clone(), proxy.clone(), short.clone(), link.clone());
                let (shutdown, busy) = (shutdown.clone(), active.enter());
                tokio::spawn(async move {
                    request(&edge, &proxy, &short, session, link, &shutdown).await;
                    drop(busy);
                });
            }
        }
    }
}

/// Answers what can be answered without a wait; gives back what cannot.
fn front(edge: &Edge, mut session: HttpSession, link: &Link) -> Option<HttpSession> {
    let refusal = stream_head::refusal(session.req_header(), &edge.peek().config().server.limits);
    if let Some(refusal) = refusal {
        refuse(edge, session, refusal);
        return None;
    }
    if let Some(port) = link.redirect {
        redirect(edge, session, port);
        return None;
    }
    stream_head::join_crumbs(session.req_header_mut());
    let client = client_of(&session);
    stream_hit::answer(edge, session, client, link)
}

/// Serves one request behind the lane.
async fn request<SV, C, B>(
    edge: &Edge,
    proxy: &Arc<HttpProxy<SV, C>>,
    short: &Arc<B>,
    mut session: HttpSession,
    link: Arc<Link>,
    shutdown: &ShutdownWatch,
) where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
    B: Bypass,
{
    session.set_write_timeout(Some(edge.peek().config().server.timeouts.write));
    session.set_total_drain_timeout(Some(super::DRAIN_TIME));
    let is_read = matches!(session.req_header().method, Method::GET | Method::HEAD);
    let session = ServerSession::new_http2(session);
    let served = async {
        match is_read {
            true => drop(Box::pin(proxy.process_new_http(session, shutdown)).await),
            // The cache has no part in it.
            false => drop(Box::pin(short.answer(wrapped(session), None)).await),
        }
    };
    tokio::select! {
        () = link.scope(served) => {}
        () = edge.cut() => {}
    }
}

/// As the short way takes it. Pingora makes such a session only over a connection of HTTP/1.1, for which an empty one does.
fn wrapped(session: ServerSession) -> Box<Session> {
    let (nobody, _) = tokio::io::duplex(1);
    let mut wrapped = Box::new(Session::new_h1(Box::new(nobody)));
    *wrapped.downstream_session = session;
    wrapped
}

/// Sends the client to HTTPS.
fn redirect(edge: &Edge, mut session: HttpSession, port: u16) {
    let client = client_of(&session);
    let request = session.req_header();
    let host = request.uri.host().unwrap_or_default().to_owned();
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let method = request.method.as_str().to_owned();
    let Some(redirect) = Redirect::new(&method, &host, target, port) else { return };
    redirect.log(edge, client, &method, &host, "HTTP/2");
    let head = ResponseHeader::build(redirect.status, Some(1)).and_then(|mut head| {
        head.insert_header(http::header::LOCATION, redirect.location.clone())?;
        Ok(head)
    });
    if let Ok(head) = head {
        // Whoever has left needs no answer.
        let _ = session.write_response_header(Box::new(head), true);
    }
}

fn client_of(session: &HttpSession) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip())
}

/// Answers a head that may not enter.
fn refuse(edge: &Edge, mut session: HttpSession, refusal: Refusal) {
    let request = session.req_header();
    let (method, path) = (request.method.as_str().to_owned(), request.uri.path().to_owned());
    let client = client_of(&session);
    let (status, body) = refusal::said(refusal);
    refusal::log(edge, refusal, client, (&method, &path), body.len());
    let head = ResponseHeader::build(status, Some(2)).and_then(|mut head| {
        head.insert_header(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
        head.insert_header(http::header::CONTENT_LENGTH, body.len())?;
        Ok(head)
    });
    // Whoever has left needs no answer.
    if let Ok(head) = head
        && session.write_response_header(Box::new(head), false).is_ok()
        && let Some(mut writer) = session.take_response_body_writer()
    {
        // Not through pingora, which would wait for the client to have room, and this is what reads that it has.
        let _ = writer.send_data(body.into(), true);
    }
}

/// How many requests are under way.
#[derive(Default)]
struct Active {
    count: AtomicUsize,
    changed: Notify,
}

/// One that is.
struct Busy(Arc<Active>);

impl Active {
    fn enter(self: &Arc<Active>) -> Busy {
        self.count.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.changed.notify_one();
        }
    }
}

/// Returns when nothing has been under way for `idle`. What `is_closing` ends by itself, when its last frame is sent.
async fn rest(active: &Active, idle: Duration, is_closing: bool) {
    if is_closing {
        return pending().await;
    }
    while active.count.load(Ordering::Relaxed) != 0 {
        active.changed.notified().await;
    }
    tokio::time::sleep(idle).await;
}
