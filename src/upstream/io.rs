//! The socket of a connection, whatever is spoken on it. TLS is pingora's; without it there is nothing between us and the
//! kernel.

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use pingora::connectors::TransportConnector;
use pingora::protocols::{ALPN, Stream, TcpKeepalive};
use pingora::upstreams::peer::{HttpPeer, Peer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::upstream::Failure;

/// A socket that is connected.
#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Stream),
}

impl Io {
    /// Connects to `peer`, within its time; `tls` makes the handshake where there is one.
    pub(super) async fn connect(peer: &HttpPeer, tls: &TransportConnector) -> Result<Io, Failure> {
        if peer.is_tls() {
            return tls.new_stream(peer).await.map(Io::Tls).map_err(|e| Failure::of_connect(&e));
        }
        let address = peer.address().as_inet().copied().ok_or(Failure::ConnectFailed)?;
        let connecting = plain(address, peer.tcp_keepalive());
        let connected = match peer.total_connection_timeout() {
            Some(limit) => timeout(limit, connecting).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())),
            None => connecting.await,
        };
        connected.map(Io::Plain).map_err(|e| match e.kind() {
            ErrorKind::ConnectionRefused => Failure::ConnectionRefused,
            ErrorKind::TimedOut => Failure::ConnectionTimeout,
            _ => Failure::ConnectFailed,
        })
    }

    /// How long the TLS handshake took, as pingora has timed it; `None` without TLS.
    pub(super) fn handshake(&self) -> Option<Duration> {
        match self {
            Io::Plain(_) => None,
            // The first layer is the socket's.
            Io::Tls(stream) => stream.get_timing_digest().get(1)?.as_ref()?.establishment_duration,
        }
    }

    /// Whether the backend has agreed to HTTP/2 (RFC 7301); nothing is agreed on without TLS, where it is known beforehand.
    pub(super) fn agreed_to_h2(&self) -> bool {
        match self {
            Io::Plain(_) => true,
            Io::Tls(stream) => stream.selected_alpn_proto() == Some(ALPN::H2),
        }
    }

    /// Reads into what room `buffer` has; 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Io::Plain(stream) => stream.read_buf(buffer).await,
            Io::Tls(stream) => stream.read_buf(buffer).await,
        }
    }

    /// Writes all of `parts`, in one go if the kernel takes them.
    pub(super) async fn write(&mut self, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        match self {
            Io::Plain(stream) => {
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
            Io::Plain(stream) => stream.try_read(&mut byte).is_err_and(|e| e.kind() == ErrorKind::WouldBlock),
            Io::Tls(stream) => stream.read(&mut byte).now_or_never().is_none(),
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Io::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Io::Plain(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

fn plain(address: SocketAddr, keepalive: Option<&TcpKeepalive>) -> impl Future<Output = io::Result<TcpStream>> {
    let keepalive = keepalive.map(|keepalive| {
        let probes = socket2::TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
        probes.with_retries(u32::try_from(keepalive.count).unwrap_or(u32::MAX))
    });
    async move {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if let Some(keepalive) = &keepalive {
            SockRef::from(&stream).set_tcp_keepalive(keepalive)?;
        }
        Ok(stream)
    }
}
