//! A request's body on its way: as fast as the backend's window opens.

use std::future::poll_fn;
use std::time::Duration;

use ::h2::SendStream;
use bytes::Bytes;
use http::HeaderMap;
use tokio::time::timeout;

use crate::upstream::Failure;

/// The body of a request, as far as it is not sent.
pub(super) struct Body {
    send: SendStream<Bytes>,
    /// What waits for the window to open.
    waits: Bytes,
    /// What is still to come, if that was announced.
    left: Option<u64>,
    /// For the window to open.
    patience: Duration,
}

impl Body {
    /// A body of `length` bytes, if that was announced.
    pub(super) fn new(send: SendStream<Bytes>, length: Option<u64>) -> Body {
        Body { send, waits: Bytes::new(), left: length, patience: Duration::MAX }
    }

    /// How long the window may stay closed.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Whether something waits to be sent: then nothing more may be given to it.
    pub(super) fn is_sending(&self) -> bool {
        !self.waits.is_empty()
    }

    /// Takes a piece of it.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`] if it is more than was announced.
    pub(super) fn push(&mut self, data: Bytes) -> Result<(), Failure> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(data.len() as u64).ok_or(Failure::WriteFailed)?;
        }
        self.waits = data;
        Ok(())
    }

    /// Sends what waits. May be given up and taken up again.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`] when the backend takes no more of it, or for too long.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        while !self.waits.is_empty() {
            let sent = timeout(self.patience, self.flush_some()).await;
            if !matches!(sent, Ok(Ok(()))) {
                self.waits.clear();
                return Err(Failure::WriteFailed);
            }
        }
        Ok(())
    }

    async fn flush_some(&mut self) -> Result<(), Failure> {
        let send = &mut self.send;
        send.reserve_capacity(self.waits.len());
        // A window that is open does not open.
        if send.capacity() == 0 {
            let opened = poll_fn(|cx| send.poll_capacity(cx)).await;
            opened.and_then(Result::ok).ok_or(Failure::WriteFailed)?;
        }
        let part = self.waits.split_to(send.capacity().min(self.waits.len()));
        if part.is_empty() { Ok(()) } else { send.send_data(part, false).map_err(|_| Failure::WriteFailed) }
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`Failure::WriteFailed`], also if it is less than was announced.
    pub(super) fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Failure> {
        if self.left.take().is_some_and(|left| left > 0) {
            return Err(Failure::WriteFailed);
        }
        let ended = match trailers {
            Some(trailers) => self.send.send_trailers(trailers),
            None => self.send.send_data(Bytes::new(), true),
        };
        ended.map_err(|_| Failure::WriteFailed)
    }
}
