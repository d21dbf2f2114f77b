//! What pingora writes of an answer, on its way to the socket: its head waits for its body, and the fields after that are put in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::AsyncWrite;

use super::super::chunks::Chunks;
use super::super::date::restore_date;
use super::Framed;
use crate::trailers;

impl Framed {
    /// Keeps the head that `bufs` begin with, if one is due: its length.
    fn take_head(&mut self, bufs: &[io::IoSlice<'_>]) -> Option<usize> {
        if !self.head_due {
            return None;
        }
        let first = bufs.iter().find(|buf| !buf.is_empty())?;
        let Some(length) = head_length(first) else {
            // A head that does not come in one piece is not touched, and what follows it is no head.
            self.head_due = false;
            return None;
        };
        restore_date(&first[..length], &mut self.held);
        self.head_due = is_interim(first);
        let has_room = !self.head_due && self.postscript.is_wanted() && is_chunked(&first[..length]);
        self.answered = has_room.then_some(Chunks::START);
        Some(length)
    }

    /// Puts the fields that are left for it before the end of the answer's body, if that is what is written: its length.
    fn take_end(&mut self, bufs: &[io::IoSlice<'_>]) -> Option<usize> {
        const LAST: &[u8] = b"0\r\n\r\n";
        if self.answered != Some(Chunks::START) {
            return None;
        }
        let mut written = bufs.iter().filter(|buf| !buf.is_empty());
        let is_end = written.next().is_some_and(|first| **first == *LAST) && written.next().is_none();
        let fields = if is_end { self.postscript.take()? } else { return None };
        let mut lines = b"0\r\n".to_vec();
        trailers::write(&fields, &mut lines);
        self.held.extend_from_slice(&lines);
        self.held.extend_from_slice(b"\r\n");
        self.answered = None;
        Some(LAST.len())
    }

    fn poll_write_held(&mut self, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            if self.held.is_empty() {
                return self.inner()?.poll_write_vectored(cx, bufs);
            }
            let held = std::mem::take(&mut self.held);
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            let written = self.inner()?.poll_write_vectored(cx, &[io::IoSlice::new(&held), io::IoSlice::new(first)]);
            self.held = held;
            let n = ready!(written)?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = n.min(self.held.len());
            self.held.advance(of_head);
            if n > of_head {
                return Poll::Ready(Ok(n - of_head));
            }
        }
    }

    pub(super) fn poll_flush_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        self.inner()?.poll_flush(cx)
    }

    /// Sends the head that waits, if one does.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let written = self.inner()?.poll_write(cx, &held);
            self.held = held;
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.held.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The length of the response's head that these bytes begin with, if all of it is there.
fn head_length(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let starts = bytes.starts_with(b"HTTP/1.");
    starts.then(|| memchr::memmem::find(bytes, END).map(|at| at + END.len()))?
}

/// Whether the body after this head is chunked.
fn is_chunked(head: &[u8]) -> bool {
    const FIELD: &[u8] = b"\ntransfer-encoding: chunked\r";
    head.windows(FIELD.len()).any(|window| window.eq_ignore_ascii_case(FIELD))
}

/// Follows the body through the first `n` bytes of what was written.
fn follow(chunks: &mut Chunks, bufs: &[io::IoSlice<'_>], mut n: usize) {
    for buf in bufs {
        let part = n.min(buf.len());
        chunks.take(&buf[..part], &mut Vec::new());
        n -= part;
    }
}

/// Whether another head follows this one: an interim response (RFC 9110 §15.2) but for 101, after which HTTP has ended.
fn is_interim(head: &[u8]) -> bool {
    matches!(head.get(9..12), Some([b'1', rest @ ..]) if rest != b"01")
}

/// The sockets below are unbuffered: pingora flushes a body of known length only at its end, and a buffer would hold
/// back what a backend sends piece by piece. So that a small response is still one packet, its head alone waits here.
impl AsyncWrite for Framed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.overdue.is_said() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(taken) = self.take_head(bufs) {
            return Poll::Ready(Ok(taken));
        }
        if let Some(taken) = self.take_end(bufs) {
            return Poll::Ready(Ok(taken));
        }
        let written = self.poll_write_held(cx, bufs);
        if let (Some(chunks), Poll::Ready(Ok(n))) = (&mut self.answered, &written) {
            follow(chunks, bufs, *n);
        }
        self.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(|s| s.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.poll_flush_held(cx);
        self.unless_stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(cx))?;
        self.inner()?.poll_shutdown(cx)
    }
}
