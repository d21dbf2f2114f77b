//! One client connection, seen by pingora as one request at a time.
//!
//! Pingora reads ahead: bytes of a pipelined next request reach it together with the present one, and it then
//! either closes the connection or keeps the bytes where the lane cannot see them. Handing it the raw stream
//! would therefore lose the limits on every pipelined head. This wrapper knows how long the present request is
//! and keeps what follows for the lane: pingora sees the body and then silence, or the end when the client leaves.

mod underlying;
mod writing;

pub(super) use underlying::told_digest;

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::chunks::Chunks;
use super::linger;
use super::overdue::Overdue;
use crate::clock;
use crate::last_word::LastWord;
use crate::pace::Pace;
use crate::postscript::Postscript;
use crate::trailers;
use crate::units::Tick;

/// Bytes of the next requests kept while a response is pending; then the client waits.
const READ_AHEAD: usize = 64 * 1024;

/// What of the present request is still to come after its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// This many bytes of body.
    Length(u64),
    /// A chunked body, read this far.
    Chunked(Chunks),
    /// Whatever comes belongs to an upgraded connection.
    Upgraded,
}

/// The wrapper; see the module.
#[derive(Debug)]
pub(super) struct Framed {
    stream: Option<Stream>,
    ahead: BytesMut,
    rest: Rest,
    /// A response's head that waits for the first bytes of its body, to leave with them in one packet.
    held: BytesMut,
    /// Whether what is written next begins with a response's head.
    head_due: bool,
    /// How long a write may wait for the client; pingora gives bodies a clock, but neither heads nor flushes.
    patience: Duration,
    stall: Option<(Tick, Pin<Box<tokio::time::Sleep>>)>,
    /// How long writes of the present request have waited for the client.
    pace: Pace,
    /// The fields after its bodies: their lines as they come, and where they are left.
    trailers: Vec<u8>,
    postscript: Postscript,
    /// How far the answer's body has come, if fields may follow it.
    answered: Option<Chunks>,
    /// The answer in case that none comes in time.
    overdue: Overdue,
    /// Whom the peer speaks for, if it has said so.
    told: Option<SocketAddr>,
    /// Whether what is written waits for a flush, as under TLS where the socket takes no more.
    holds_back: bool,
}

impl Framed {
    /// Wraps a fresh connection.
    pub(super) fn new(stream: Stream) -> Framed {
        Framed {
            stream: Some(stream),
            ahead: BytesMut::new(),
            rest: Rest::Length(0),
            held: BytesMut::new(),
            head_due: false,
            patience: linger::TIME,
            stall: None,
            pace: Pace::default(),
            trailers: Vec::new(),
            postscript: Postscript::default(),
            answered: None,
            overdue: Overdue::default(),
            told: None,
            holds_back: false,
        }
    }

    /// The same under TLS.
    pub(super) fn secure(mut self) -> Framed {
        self.holds_back = true;
        self
    }

    /// The same, for another than the peer.
    pub(super) fn speaking_for(mut self, client: SocketAddr) -> Framed {
        self.told = Some(client);
        self
    }

    /// What requests on this connection leave their last word with.
    pub(super) fn last_word(&self) -> LastWord {
        self.overdue.word().clone()
    }

    /// Where the client's slowness is noted.
    pub(super) fn pace(&self) -> Pace {
        self.pace.clone()
    }

    /// Where fields after bodies are taken and left.
    pub(super) fn postscript(&self) -> Postscript {
        self.postscript.clone()
    }

    /// How long one write may wait for the client.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Sets how long one write may wait for the client.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// What a write came to, or a timeout when it has waited for too long.
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            if let Some((since, _)) = self.stall.take() {
                self.pace.waited(clock::now().since(since));
            }
            return polled;
        }
        let patience = self.patience;
        let (since, stall) = self.stall.get_or_insert_with(|| (clock::now(), Box::pin(tokio::time::sleep(patience))));
        let since = *since;
        stall.as_mut().poll(cx).map(|()| {
            self.pace.waited(clock::now().since(since));
            Err(io::ErrorKind::TimedOut.into())
        })
    }

    /// Bytes read but not yet part of a request.
    pub(super) fn ahead(&mut self) -> &mut BytesMut {
        &mut self.ahead
    }

    /// Announces the body that follows a head which the caller took out of [`Framed::ahead`].
    pub(super) fn expect(&mut self, rest: Rest) {
        self.rest = rest;
        self.head_due = true;
        self.pace.clear();
        self.trailers.clear();
        self.postscript.clear();
        self.answered = None;
        self.overdue.begin();
    }

    /// Whether the request asks for another protocol.
    pub(super) fn is_tunnel(&self) -> bool {
        self.rest == Rest::Upgraded
    }

    /// Whether the request announced by [`Framed::expect`] was read to its end.
    pub(super) fn at_request_end(&self) -> bool {
        matches!(self.rest, Rest::Length(0) | Rest::Chunked(Chunks::Done))
    }

    /// Puts back what was taken out of [`Framed::ahead`], but for the first `used` bytes of it.
    pub(super) fn put_back(&mut self, mut taken: BytesMut, used: usize) {
        taken.advance(used);
        if !taken.is_empty() {
            self.ahead = taken;
        }
    }

    /// Reads what comes between requests; 0 at the client's end of stream.
    pub(super) fn poll_some(&mut self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(bytes);
        ready!(self.inner()?.poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Sends a part of a reply of the lane's own, or fails when the client has taken nothing for too long.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut stream = self.inner()?;
        let sent = match bufs {
            [only] => stream.as_mut().poll_write(cx, only),
            several => stream.as_mut().poll_write_vectored(cx, several),
        };
        self.unless_stalled(cx, sent)
    }

    /// Sends what of it is held back; nothing where nothing is.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.holds_back {
            return Poll::Ready(Ok(()));
        }
        let flushed = self.inner()?.poll_flush(cx);
        self.unless_stalled(cx, flushed)
    }

    /// Ready when the client leaves; what else comes is kept for the next request.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch(cx)
    }

    /// Closes after the last reply, gently if the client has sent more.
    pub(super) async fn close(mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        if self.ahead.is_empty() {
            Shutdown::shutdown(stream.as_mut()).await;
        } else {
            linger::close(stream).await;
        }
    }

    /// Writes all of `reply`, then closes so that the client can still read it: closing a socket with unread bytes
    /// resets the connection and may take the reply with it (RFC 9112 §9.6).
    pub(super) async fn refuse(mut self, reply: &[u8]) {
        let Some(mut stream) = self.stream.take() else { return };
        let said = async { stream.write_all(reply).await.is_ok() && stream.flush().await.is_ok() };
        if tokio::time::timeout(linger::TIME, said).await.unwrap_or(false) {
            linger::close(stream).await;
        }
    }

    fn inner(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn read_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, limit: usize) -> Poll<io::Result<usize>> {
        let limit = limit.min(buf.remaining());
        if !self.ahead.is_empty() {
            let n = self.ahead.len().min(limit);
            buf.put_slice(&self.ahead[..n]);
            self.ahead.advance(n);
            return Poll::Ready(Ok(n));
        }
        let before = buf.filled().len();
        if limit == buf.remaining() {
            return self.inner()?.poll_read(cx, buf).map_ok(|()| buf.filled().len() - before);
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(limit));
        let read = self.inner()?.poll_read(cx, &mut part);
        let n = part.filled().len();
        buf.advance(n);
        read.map_ok(|()| n)
    }

    /// Reads ahead, since where the body ends is known only when its bytes are there.
    fn read_chunks(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, mut chunks: Chunks) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            ready!(self.poll_ahead(cx))?;
        }
        let front = self.ahead.len().min(buf.remaining());
        let n = chunks.take(&self.ahead[..front], &mut self.trailers);
        if chunks == Chunks::Done && !self.trailers.is_empty() {
            // What are no fields is dropped, as pingora drops all of them.
            if let Ok(fields) = trailers::parse(&self.trailers) {
                self.postscript.receive(fields);
            }
        }
        buf.put_slice(&self.ahead[..n]);
        self.ahead.advance(n);
        self.rest = Rest::Chunked(chunks);
        Poll::Ready(Ok(()))
    }

    /// Reads once into `ahead`; 0 bytes at the client's end of stream.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; 4096];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(self.inner()?.poll_read(cx, &mut buf))?;
        self.ahead.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// After the request's end: keeps what comes for the next, tells only of the client's leaving.
    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < READ_AHEAD {
            match self.poll_ahead(cx)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        self.poll_last_word(cx)
    }

    /// Says the last word if it is due and no final answer has begun; that done, the client counts as gone.
    fn poll_last_word(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.overdue.is_said() {
            if !self.head_due {
                return Poll::Pending;
            }
            let word = ready!(self.overdue.poll(cx));
            self.held.extend_from_slice(&word);
        }
        let said = self.poll_flush_held(cx);
        ready!(self.unless_stalled(cx, said))?;
        self.inner()?.poll_shutdown(cx)
    }
}

impl Drop for Framed {
    /// A connection that ends with a request unread (a body refused half-way) is closed gently, as in [`Framed::refuse`].
    fn drop(&mut self) {
        let unread = !self.at_request_end() && self.rest != Rest::Upgraded;
        if let (true, Some(stream), Ok(runtime)) = (unread, self.stream.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(linger::close(stream));
        }
    }
}

impl AsyncRead for Framed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.rest {
            Rest::Length(0) | Rest::Chunked(Chunks::Done) => self.watch(cx),
            Rest::Length(left) => {
                let limit = usize::try_from(left).unwrap_or(usize::MAX);
                self.read_body(cx, buf, limit).map_ok(|n| self.rest = Rest::Length(left - n as u64))
            }
            Rest::Chunked(chunks) => self.read_chunks(cx, buf, chunks),
            Rest::Upgraded => self.read_body(cx, buf, usize::MAX).map_ok(|_| ()),
        }
    }
}
