//! The body of a request over HTTP/2, and the fields after it.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use pingora::protocols::http::body_buffer::FixedBuffer;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::time::timeout;

use crate::postscript::Postscript;
use crate::trailers;

/// The most of a body that is kept, so that it can be sent again: bytes, as over HTTP/1.1.
const KEPT: usize = 64 * 1024;

/// What is read of a request after its head.
pub(in crate::lane) struct Asked {
    stream: RecvStream,
    /// Whether the head says that there is nothing.
    is_said_empty: bool,
    /// Whether it was read to its end.
    has_ended: bool,
    /// Bytes of it that were read.
    pub(in crate::lane) read: usize,
    /// What was read of it, for another attempt.
    pub(in crate::lane) kept: Option<FixedBuffer>,
    /// How long one read may wait for the client.
    pub(in crate::lane) patience: Option<Duration>,
    /// How long the rest of one that nobody wants may take.
    pub(in crate::lane) drain_time: Option<Duration>,
    postscript: Postscript,
}

impl Asked {
    /// Nothing of it read yet; fields after it are left with `postscript`.
    pub(in crate::lane) fn new(stream: RecvStream, is_said_empty: bool, postscript: Postscript) -> Asked {
        Asked {
            stream,
            is_said_empty,
            has_ended: false,
            read: 0,
            kept: None,
            patience: None,
            drain_time: None,
            postscript,
        }
    }

    /// Whether there is no body, as far as is known by now.
    pub(in crate::lane) fn is_empty(&self) -> bool {
        self.read == 0 && self.is_done()
    }

    /// Whether there is no more to read.
    pub(in crate::lane) fn is_done(&self) -> bool {
        self.has_ended || self.is_said_empty || self.stream.is_end_stream()
    }

    /// Keeps what is read from now on.
    pub(in crate::lane) fn keep(&mut self) {
        self.kept.get_or_insert_with(|| FixedBuffer::new(KEPT));
    }

    /// The next bytes; `None` at the end, when the fields after them are there as well. May be given up and taken up again.
    pub(in crate::lane) async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(patience) = self.patience else { return poll_fn(|cx| self.poll_next(cx)).await };
        match timeout(patience, poll_fn(|cx| self.poll_next(cx))).await {
            Ok(next) => next,
            Err(_) => Error::e_explain(ErrorType::ReadTimedout, "waiting for the request's body"),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        const WHILE: &str = "while reading the request's body";
        if let Some(data) = ready!(self.stream.poll_data(cx)) {
            let data = data.or_err(ErrorType::ReadError, WHILE)?;
            self.read += data.len();
            if let Some(kept) = &mut self.kept {
                kept.write_to_buffer(&data);
            }
            // A stream that has ended meanwhile has no window to be opened.
            let _ = self.stream.flow_control().release_capacity(data.len());
            return Poll::Ready(Ok(Some(data)));
        }
        let fields = ready!(self.stream.poll_trailers(cx)).or_err(ErrorType::ReadError, WHILE)?;
        // What is too much is dropped, as over HTTP/1.1.
        if let Some(fields) = fields.filter(|fields| trailers::size(fields) <= trailers::MAX) {
            self.postscript.receive(fields);
        }
        self.has_ended = true;
        Poll::Ready(Ok(None))
    }

    /// Reads what is left, and drops it.
    pub(in crate::lane) async fn drain(&mut self) -> Result<()> {
        let time = self.drain_time;
        let all = async {
            while !self.is_done() {
                poll_fn(|cx| self.poll_next(cx)).await?;
            }
            Ok(())
        };
        let Some(time) = time else { return all.await };
        match timeout(time, all).await {
            Ok(drained) => drained,
            Err(_) => Error::e_explain(ErrorType::ReadTimedout, "draining the request's body"),
        }
    }
}
