//! The socket of a connection, whatever is spoken on it. TLS is pingora's; without it there is nothing between us and the
//! kernel.

use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::FutureExt;
use pingora::connectors::TransportConnector;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::protocols::{ALPN, Stream, TcpKeepalive};
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::upstream::{Failure, Introduction};

/// A socket that is connected.
#[derive(Debug)]
pub(super) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Stream),
}

impl Io {
    /// Connects to `peer`, within its time; `tls` makes the handshake where there is one. The first that is sent is `opening`.
    pub(super) async fn connect(
        peer: &HttpPeer,
        tls: &TransportConnector,
        opening: Option<Introduction>,
    ) -> Result<Io, Failure> {
        if peer.is_tls() {
            let introduced = opening.map(|opening| introduced(peer, opening));
            let connected = tls.new_stream(introduced.as_ref().unwrap_or(peer)).await;
            return connected.map(Io::Tls).map_err(|e| Failure::of_connect(&e));
        }
        let connecting = plain(peer.address(), peer.tcp_keepalive(), opening);
        let connected = match peer.total_connection_timeout() {
            Some(limit) => timeout(limit, connecting).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())),
            None => connecting.await,
        };
        connected.map_err(|e| match e.kind() {
            ErrorKind::ConnectionRefused => Failure::ConnectionRefused,
            ErrorKind::TimedOut => Failure::ConnectionTimeout,
            _ => Failure::ConnectFailed,
        })
    }

    /// How long the TLS handshake took, as pingora has timed it; `None` without TLS.
    pub(super) fn handshake(&self) -> Option<Duration> {
        match self {
            Io::Tcp(_) | Io::Unix(_) => None,
            // The first layer is the socket's.
            Io::Tls(stream) => stream.get_timing_digest().get(1)?.as_ref()?.establishment_duration,
        }
    }

    /// Whether the backend has agreed to HTTP/2 (RFC 7301); nothing is agreed on without TLS, where it is known beforehand.
    pub(super) fn agreed_to_h2(&self) -> bool {
        match self {
            Io::Tcp(_) | Io::Unix(_) => true,
            Io::Tls(stream) => stream.selected_alpn_proto() == Some(ALPN::H2),
        }
    }

    /// Reads into what room `buffer` has; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Io::Tcp(stream) => stream.read_buf(buffer).await,
            Io::Unix(stream) => stream.read_buf(buffer).await,
            Io::Tls(stream) => stream.read_buf(buffer).await,
        }
    }

    /// Writes all of `parts`, in one go if the kernel takes them.
    pub(super) async fn write(&mut self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        match self {
            Io::Tcp(stream) => write_vectored(stream, parts).await,
            Io::Unix(stream) => write_vectored(stream, parts).await,
            Io::Tls(stream) => {
                for part in parts {
                    stream.write_all(part).await?;
                }
                stream.flush().await
            }
        }
    }

    /// Whether nothing has come, not even the end.
    pub(super) fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        match self {
            Io::Tcp(stream) => is_empty(stream.try_read(&mut byte)),
            Io::Unix(stream) => is_empty(stream.try_read(&mut byte)),
            Io::Tls(stream) => stream.read(&mut byte).now_or_never().is_none(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Tcp(stream) => stream.is_write_vectored(),
            Io::Unix(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

fn is_empty(read: io::Result<usize>) -> bool {
    read.is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

async fn write_vectored(stream: &mut (impl AsyncWrite + Unpin), mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let n = stream.write_vectored(parts).await?;
        if n == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut parts, n);
    }
    Ok(())
}

/// Connects without TLS.
async fn plain(
    address: &SocketAddr,
    keepalive: Option<&TcpKeepalive>,
    opening: Option<Introduction>,
) -> io::Result<Io> {
    let mut io = match address {
        SocketAddr::Inet(address) => Io::Tcp(tcp(*address, keepalive).await?),
        SocketAddr::Unix(address) => {
            Io::Unix(UnixStream::connect(address.as_pathname().unwrap_or(Path::new(""))).await?)
        }
    };
    if let Some(opening) = opening {
        io.write(&mut [IoSlice::new(&opening.header())]).await?;
    }
    Ok(io)
}

async fn tcp(address: std::net::SocketAddr, keepalive: Option<&TcpKeepalive>) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if let Some(keepalive) = keepalive {
        let probes = socket2::TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        let probes = probes.with_retries(u32::try_from(keepalive.count).unwrap_or(u32::MAX));
        SockRef::from(&stream).set_tcp_keepalive(&probes)?;
    }
    Ok(stream)
}

/// The same peer, told whom the connection is for before the handshake.
pub fn introduced(peer: &HttpPeer, opening: Introduction) -> HttpPeer {
    let mut peer = peer.clone();
    peer.group_key = opening.key(peer.group_key);
    let keepalive = peer.options.tcp_keepalive.clone();
    peer.options.custom_l4 = Some(Arc::new(Introducing { opening, keepalive }));
    peer
}

/// Connects and introduces.
#[derive(Debug)]
struct Introducing {
    opening: Introduction,
    keepalive: Option<TcpKeepalive>,
}

#[async_trait]
impl Connect for Introducing {
    async fn connect(&self, address: &SocketAddr) -> pingora::Result<L4Stream> {
        let connected = plain(address, self.keepalive.as_ref(), Some(self.opening)).await;
        let because = |e: io::Error| {
            let kind = match e.kind() {
                ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                ErrorKind::TimedOut => ErrorType::ConnectTimedout,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, "before the handshake", e)
        };
        match connected.map_err(because)? {
            Io::Tcp(stream) => Ok(stream.into()),
            Io::Unix(stream) => Ok(stream.into()),
            Io::Tls(_) => Error::e_explain(ErrorType::InternalError, "TLS in TLS"),
        }
    }
}
