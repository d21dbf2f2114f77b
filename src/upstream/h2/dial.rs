//! Making a connection: the socket, TLS, and the first word of the backend.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use ::h2::client::{Builder, Connection, SendRequest};
use bytes::Bytes;
use pingora::connectors::TransportConnector;
use pingora::upstreams::peer::{HttpPeer, Peer};
use tokio::time::timeout;

use super::head::MAX_HEAD;
use crate::clock;
use crate::config::Http2;
use crate::upstream::Failure;
use crate::upstream::io::Io;

/// What a backend may send of a response's body before it is read on: bytes. On a connection as much for each of its streams,
/// so that no slow client holds up what others wait for.
const WINDOW: u32 = 512 * 1024;

/// A connection that is agreed on.
pub(super) struct Dialled {
    pub(super) send: SendRequest<Bytes>,
    pub(super) connection: Connection<Io>,
    /// How long its TLS handshake took; `None` without TLS.
    pub(super) handshake: Option<Duration>,
}

/// Connects to `peer`, and waits until it has said how many streams it takes: that it speaks HTTP/2 at all is known before a
/// request is entrusted to it, so that any may go elsewhere if it does not.
pub(super) async fn dial(peer: &HttpPeer, tls: &TransportConnector, config: &Http2) -> Result<Dialled, Failure> {
    let begun = clock::now();
    // Requests of many clients share it: it is introduced as nobody's.
    let io = Io::connect(peer, tls, None).await?;
    if !io.agreed_to_h2() {
        return Err(Failure::NotHttp2);
    }
    let handshake = io.handshake();
    let limit = peer.total_connection_timeout().unwrap_or(Duration::MAX);
    let greeted = timeout(limit.saturating_sub(clock::now().since(begun)), greet(io, config)).await;
    let (send, connection) = greeted.unwrap_or(Err(Failure::ConnectionTimeout))?;
    Ok(Dialled { send, connection, handshake })
}

async fn greet(io: Io, config: &Http2) -> Result<(SendRequest<Bytes>, Connection<Io>), Failure> {
    let all = WINDOW.saturating_mul(config.max_streams);
    let mut builder = Builder::new();
    builder.enable_push(false).max_header_list_size(MAX_HEAD);
    builder.initial_window_size(WINDOW).initial_connection_window_size(all);
    // None before the backend has said how many.
    builder.initial_max_send_streams(0);
    let (send, mut connection) = builder.handshake(io).await.map_err(|_| Failure::NotHttp2)?;
    poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Ready(_) => Poll::Ready(Err(Failure::NotHttp2)),
        Poll::Pending if send.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((send, connection))
}
