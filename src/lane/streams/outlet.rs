//! What h2 writes to a connection, held back until it has no more to say.
//!
//! h2 flushes after each frame with a body and before each request that it gives out, so that as many answers as there are at
//! once would be as many records of TLS and calls of the kernel. Held back they are one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that is held back, in bytes: as much as one record of TLS takes.
const ROOM: usize = 16 * 1024;

/// A connection; clones are the same. Nothing is held back but between [`Outlet::hold`] and [`Outlet::poll_release`].
#[derive(Clone)]
pub(super) struct Outlet(Arc<Mutex<Held>>);

struct Held {
    stream: Stream,
    written: BytesMut,
    holds: bool,
}

impl Outlet {
    /// Over this connection.
    pub(super) fn new(stream: Stream) -> Outlet {
        Outlet(Arc::new(Mutex::new(Held { stream, written: BytesMut::new(), holds: false })))
    }

    /// What is written from now on may wait.
    pub(super) fn hold(&self) {
        self.0.lock().holds = true;
    }

    /// Sends what has waited; ready once all of it is with the kernel.
    pub(super) fn poll_release(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        held.holds = false;
        held.poll_flush(cx)
    }
}

impl Held {
    /// Hands on what is held back.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.written.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written.advance(n),
            }
        }
        // An idle connection keeps no room for it.
        self.written = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.holds {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if !self.holds || self.written.len() + length > ROOM {
            ready!(self.poll_drain(cx))?;
        }
        if !self.holds || length > ROOM {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        if self.written.capacity() == 0 {
            self.written.reserve(ROOM);
        }
        bufs.iter().for_each(|buf| self.written.extend_from_slice(buf));
        Poll::Ready(Ok(length))
    }
}

impl AsyncRead for Outlet {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Outlet {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        ready!(held.poll_drain(cx))?;
        Pin::new(&mut held.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    fn outlet(room: usize) -> (Outlet, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        (Outlet::new(Box::new(ours)), theirs)
    }

    /// What has come so far.
    async fn come(stream: &mut DuplexStream) -> Vec<u8> {
        let mut read = vec![0; 1 << 20];
        let length = poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut read);
            let _pending = Pin::new(&mut *stream).poll_read(cx, &mut buf);
            Poll::Ready(buf.filled().len())
        });
        let length = length.await;
        read.truncate(length);
        read
    }

    async fn release(outlet: &Outlet) {
        poll_fn(|cx| outlet.poll_release(cx)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_held_leaves_in_its_order_when_it_is_released() {
        let (mut outlet, mut peer) = outlet(1 << 20);
        outlet.hold();
        for part in ["a", "b", "c"] {
            outlet.write_all(part.as_bytes()).await.unwrap();
            outlet.flush().await.unwrap();
        }
        assert_eq!(come(&mut peer).await, b"");
        release(&outlet).await;
        assert_eq!(come(&mut peer).await, b"abc");
        outlet.write_all(b"d").await.unwrap();
        outlet.flush().await.unwrap();
        assert_eq!(come(&mut peer).await, b"d", "nothing is held any more");
        assert_eq!(outlet.0.lock().written.capacity(), 0);
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_is_not_held() {
        let (mut outlet, mut peer) = outlet(1 << 20);
        outlet.hold();
        outlet.write_all(b"a").await.unwrap();
        outlet.write_all(&[b'b'; ROOM]).await.unwrap();
        assert_eq!(come(&mut peer).await, b"a");
        outlet.write_all(&[b'c'; ROOM + 1]).await.unwrap();
        let come = come(&mut peer).await;
        assert_eq!((come.len(), come.first(), come.last()), (2 * ROOM + 1, Some(&b'b'), Some(&b'c')));
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_waited_for() {
        let (mut outlet, mut peer) = outlet(4);
        outlet.hold();
        outlet.write_all(b"0123456789").await.unwrap();
        let released = tokio::spawn({
            let outlet = outlet.clone();
            async move { release(&outlet).await }
        });
        let mut read = [0; 10];
        peer.read_exact(&mut read).await.unwrap();
        released.await.unwrap();
        assert_eq!(&read, b"0123456789");
    }

    #[tokio::test]
    async fn the_end_takes_along_what_is_held() {
        let (mut outlet, mut peer) = outlet(64);
        outlet.hold();
        outlet.write_all(b"last").await.unwrap();
        outlet.shutdown().await.unwrap();
        let mut read = Vec::new();
        peer.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
    }
}
