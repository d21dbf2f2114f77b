//! The front of every client connection: it reads request heads within limits, answers plain hits and hands the rest on.
//!
//! * [`front`] the connection while it is here: [`head`] is it a request, [`plain`] is it plain, [`hit`] what answers it,
//!   [`answer`] and [`reply`] the answer, [`account`] its line and count
//! * [`framed`] the connection while one of its requests is with pingora
//! * [`session`] what pingora is shown in the place of a session of its own: of a request without a body ([`bodiless`]) and of
//!   one over HTTP/2
//! * [`streams`] a connection of HTTP/2
//!
//! Pingora's own reader bounds neither a head's total time nor its size before the second read, and it tolerates
//! ambiguities. So the lane takes the raw connection (`ProcessCustomSession`, doc-hidden), reads one head, judges it
//! ([`head`]), and replays it into pingora over a stream that ends where the request ends ([`framed`]).

mod absolute;
mod account;
mod answer;
mod begin;
mod bodiless;
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
mod response;
mod session;
mod streams;
mod traced;
mod vigil;
mod wrapped;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures::FutureExt;
use futures::future::{Either, select};
use http::Method;
use pingora::apps::HttpServerApp;
use pingora::connectors::http::custom;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{Digest, Stream};
use pingora::proxy::{HttpProxy, ProcessCustomSession, ProxyHttp, Session};
use pingora::server::ShutdownWatch;

use begin::{Begun, begin};
use bodiless::{Answer, Place};
use framed::{Framed, Rest};
use front::{Front, Turn, Uncached};
use head::{Head, Refusal};
use session::Exchange;
use wrapped::wrapped;

use crate::bypass::Bypass;
use crate::edge::Edge;
use crate::listener::Spoken;

/// What pingora calls with every new connection at the listener with this place in [`Snapshot::listeners`].
///
/// [`Snapshot::listeners`]: crate::snapshot::Snapshot::listeners
pub fn entrance<SV, C, B>(edge: Arc<Edge>, listener: usize, short: Arc<B>) -> ProcessCustomSession<SV, C>
where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
    B: Bypass,
{
    Arc::new(move |proxy: Arc<HttpProxy<SV, C>>, stream: Stream, shutdown: &ShutdownWatch| {
        // In a task of its own: pingora's, which has room for a TLS handshake and more, is several times as large and would
        // be kept for as long as the connection.
        tokio::spawn(connection(edge.clone(), listener, proxy, short.clone(), stream, shutdown.clone()));
        std::future::ready(None).boxed()
    })
}

async fn connection<SV, C, B>(
    edge: Arc<Edge>,
    listener: usize,
    proxy: Arc<HttpProxy<SV, C>>,
    short: Arc<B>,
    stream: Stream,
    shutdown: ShutdownWatch,
) where
    SV: ProxyHttp + Send + Sync + 'static,
    SV::CTX: Send + Sync,
    C: custom::Connector,
    B: Bypass,
{
    let limit = edge.peek().config().server.limits.connections;
    let Some(_open) = edge.connections().enter(limit) else {
        edge.metrics().connection_refused();
        return;
    };
    let _counted = edge.metrics().connection();
    let Some(begun) = Box::pin(begin(&edge, listener, stream)).await else { return };
    if begun.spoken == Spoken::Http2 {
        let digest = begun.digest();
        let Begun { stream, link, .. } = begun;
        return Box::pin(streams::serve(&edge, &proxy, &short, stream, digest, &link, &shutdown)).await;
    }
    let Begun { stream, client, link, told, .. } = begun;
    let mut framed = Framed::new(stream);
    if let Some(client) = told {
        framed = framed.speaking_for(client);
    }
    if link.secure {
        framed = framed.secure();
    }
    let mut framed = Box::new(framed);
    // One for all requests of the connection.
    let mut cut = pin!(edge.cut());
    let mut front = Front::new(&edge, client.map(|client| client.ip()), &link);
    let (place, mut digest) = (Place::default(), None);
    loop {
        let (head, is_last, uncached) = match front.turn(&mut framed).await {
            Turn::Handed { head, is_last, uncached } => (head, is_last, uncached),
            // Boxed, as all that is seldom awaited: a task has room for the largest thing that it may wait for.
            Turn::Refused(refusal) => return Box::pin(refusal::answer(&edge, *framed, refusal, client)).await,
            Turn::Closed => return Box::pin(framed.close()).await,
            Turn::Ended => return,
        };
        if let Some(port) = link.redirect {
            let client = client.map(|client| client.ip());
            return Box::pin(redirect::answer(&edge, *framed, head, port, client)).await;
        }
        let handed = match hand_over(&edge, framed, head, is_last) {
            Ok(handed) => handed,
            Err((framed, refusal)) => return Box::pin(refusal::answer(&edge, *framed, refusal, client)).await,
        };
        let (is_short, key) = match uncached {
            Uncached::No => (handed.is_never_cached, None),
            Uncached::Off => (true, None),
            Uncached::Absent(key) => (short.is_never_stored(&key), Some(key)),
        };
        let (pace, postscript) = (handed.framed.pace(), handed.framed.postscript());
        // Both boxed: a task has room for the largest thing that it may wait for, and most of the time it waits for none. The
        // box is innermost, since what is wrapped is moved.
        let answer: UnderWay<'_> = match is_short {
            true => {
                let is_last = *shutdown.borrow();
                match bodiless::parse(&handed.head).filter(|_| handed.is_bodiless()) {
                    Some(request) => {
                        let digest = digest.get_or_insert_with(|| Arc::new(handed.framed.digest()));
                        let session = handed.into_bodiless(request, &place, digest, is_last);
                        Box::pin(short.answer(session, key))
                    }
                    None => Box::pin(short.answer(handed.into_short(is_last), key)),
                }
            }
            false => {
                let last_word = handed.framed.last_word();
                let answer = proxy.process_new_http(handed.into_session(), &shutdown);
                Box::pin(last_word.scope(async { answer.await.map(|reused| reused.consume().0) }))
            }
        };
        let answer = pin!(link.clone().scope(pace.scope(postscript.scope(answer))));
        let Either::Left((stream, _)) = select(answer, cut.as_mut()).await else { return };
        // A session of ours leaves it in its place.
        let Some(stream) = stream.or_else(|| place.take().map(|framed| framed as Stream)) else { return };
        match stream.into_any().downcast::<Framed>() {
            Ok(same) => framed = same,
            Err(_) => return,
        }
        if !framed.at_request_end() {
            return;
        }
    }
}

/// The answer under way: the connection, if it can carry another request.
type UnderWay<'a> = Pin<Box<dyn Future<Output = Option<Stream>> + Send + 'a>>;

/// One request, to be replayed into pingora.
struct Handed {
    framed: Box<Framed>,
    head: BytesMut,
    is_last: bool,
    /// Whether it is a request over HTTP/1.1 whose method the cache has no part in.
    is_never_cached: bool,
    /// How long a read may wait for the client.
    patience: Duration,
}

/// The request at the front of what was read, as pingora sees it.
fn hand_over(
    edge: &Edge,
    mut framed: Box<Framed>,
    head: Head,
    is_last: bool,
) -> Result<Handed, (Box<Framed>, Refusal)> {
    let head_bytes: BytesMut = match absolute::rewrite(framed.ahead().get(..head.len).unwrap_or_default()) {
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
    // A tunnel may be silent for as long as a connection between requests.
    let patience = if framed.is_tunnel() { timeouts.idle } else { timeouts.body };
    let is_never_cached = is_never_cached(&head_bytes);
    Ok(Handed { framed, head: head_bytes, is_last, is_never_cached, patience })
}

/// Whether the cache has no part in the request with this head by its method, nor pingora's own way, which is that of upgrades
/// and of clients of HTTP/1.0.
fn is_never_cached(head: &[u8]) -> bool {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let first = lines.next().unwrap_or_default();
    let is_read = first.starts_with(b"GET ") || first.starts_with(b"HEAD ");
    let is_upgrade = |line: &[u8]| line.get(..8).is_some_and(|name| name.eq_ignore_ascii_case(b"upgrade:"));
    !is_read && first.ends_with(b" HTTP/1.1") && !lines.any(is_upgrade)
}

impl Handed {
    /// Pingora's view of it.
    fn into_session(self) -> ServerSession {
        let mut session = ServerSession::new_http1(self.framed);
        set_up(&mut session, self.head, self.is_last, self.patience);
        session
    }

    /// Whether nothing of it follows its head.
    fn is_bodiless(&self) -> bool {
        self.framed.at_request_end()
    }

    /// The same for the short way, as a session of ours; `is_last` if there are to be no more requests.
    fn into_bodiless(self, request: RequestHeader, place: &Place, digest: &Arc<Digest>, is_last: bool) -> Box<Session> {
        let keeps = !(is_last || self.is_last || response::closes(&request.headers));
        let answer = Answer::new(self.framed, place.clone(), request.method == Method::HEAD, keeps);
        let exchange = Exchange::new(request, None, answer, digest.clone());
        wrapped(ServerSession::new_custom(Box::new(exchange)))
    }

    /// The same for the short way, which has more of pingora's session; `is_last` if there are to be no more requests.
    fn into_short(self, is_last: bool) -> Box<Session> {
        let mut session = Box::new(Session::new_h1(self.framed));
        set_up(&mut session.downstream_session, self.head, self.is_last, self.patience);
        if is_last {
            session.set_keepalive(None);
        }
        session
    }
}

fn set_up(session: &mut ServerSession, head: BytesMut, is_last: bool, patience: Duration) {
    session.set_read_timeout(Some(patience));
    // Pingora's write timeout is for a whole buffer, however large; the clock of `Framed` is for progress.
    session.set_write_timeout(None);
    session.set_total_drain_timeout(Some(DRAIN_TIME));
    if is_last {
        session.set_keepalive_reuses_remaining(Some(0));
    }
    session.set_pipelined_prefix(head);
}

/// How long the rest of a body that nobody wants is read before the connection is given up.
const DRAIN_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cache_has_no_part_in_is_known_by_its_head() {
        let is = |head: &str| is_never_cached(head.as_bytes());
        assert!(is("POST / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(is("POST /upgrade: HTTP/1.1\r\nX-Upgrade: a\r\n\r\n"));
        assert!(!is("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!is("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(!is("POST / HTTP/1.0\r\n\r\n"));
        assert!(!is("POST / HTTP/1.1\r\nUPGRADE: x\r\n\r\n"));
    }
}
