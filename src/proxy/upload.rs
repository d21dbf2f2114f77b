//! A request's body on its way to the backend, while the response may already be coming.
//!
//! The client's side and the session run at once, but an HTTP/1 connection has one owner. So the writer only passes chunks on,
//! and the session, which owns the connection, writes them between reads.

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::protocols::http::custom::BodyWrite;
use pingora::{Error, ErrorType, Result};
use tokio::sync::mpsc;

use super::attempts::Attempts;
use super::deadlines;
use super::exchange::Exchange;
use super::leg::Leg;
use crate::postscript::Postscript;
use crate::trailers;
use crate::upstream::{Came, Failure};

/// Chunks under way from the client's side to the backend's: enough to overlap a read with a write.
const CHUNKS: usize = 2;

/// A piece of a body, which may be empty.
pub(super) struct Chunk {
    data: Bytes,
    is_last: bool,
}

/// Makes both ends.
pub(super) fn channel() -> (Writer, Upload) {
    let (tx, rx) = mpsc::channel(CHUNKS);
    (Writer { tx }, Upload { rx, state: State::Open, has_last: false })
}

/// The client's end.
pub(super) struct Writer {
    tx: mpsc::Sender<Chunk>,
}

impl Writer {
    /// Waits until there is room for a chunk.
    pub(super) async fn room(&self) -> Room<'_> {
        Room(self.tx.reserve().await.ok())
    }
}

/// Room for a chunk; nothing if the session needs no more of the body.
pub(super) struct Room<'w>(Option<mpsc::Permit<'w, Chunk>>);

impl Room<'_> {
    /// Passes it on, or drops it.
    pub(super) fn pass(self, data: Bytes, is_last: bool) {
        if let Some(permit) = self.0 {
            permit.send(Chunk { data, is_last });
        }
    }
}

#[async_trait]
impl BodyWrite for Writer {
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        // A closed channel means that the session needs no more of the body; the rest is read and dropped.
        let _ = self.tx.send(Chunk { data: std::mem::take(data), is_last: false }).await;
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        let _ = self.tx.send(Chunk { data: Bytes::new(), is_last: true }).await;
        Ok(())
    }

    async fn cleanup(&mut self) -> Result<()> {
        Ok(())
    }

    fn upgrade_body_writer(&mut self) {}
}

/// The fields that came after the body and may pass.
fn trailers() -> Option<HeaderMap> {
    Postscript::of_this_connection()?.received().and_then(trailers::passing)
}

/// The writer of a request without body.
pub(super) struct NoBody;

#[async_trait]
impl BodyWrite for NoBody {
    async fn write_all_buf(&mut self, data: &mut Bytes) -> Result<()> {
        if data.is_empty() {
            Ok(())
        } else {
            Error::e_explain(ErrorType::InternalError, "a body that was not announced")
        }
    }

    async fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    async fn cleanup(&mut self) -> Result<()> {
        Ok(())
    }

    fn upgrade_body_writer(&mut self) {}
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// All of it was written.
    Done,
    /// The backend takes no more of it.
    Broken,
}

/// The backend's end.
pub(super) struct Upload {
    rx: mpsc::Receiver<Chunk>,
    state: State,
    /// Whether what is sent now is the last of it.
    has_last: bool,
}

impl Upload {
    /// Whether all of the body was written.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes no more of the body; the client's side drops the rest.
    pub(super) fn close(&mut self) {
        self.rx.close();
    }

    /// Writes the body until a response's head comes.
    pub(super) async fn until_head(&mut self, leg: &mut Leg, attempts: &mut Attempts) -> Result<(), Failure> {
        let exchange = attempts.exchange().clone();
        while self.state == State::Open {
            let is_sending = leg.http.is_sending();
            tokio::select! {
                biased;
                () = exchange.body_refused() => return Err(Failure::BodyRefused),
                () = deadlines::passes(&exchange) => return Err(Failure::Deadline),
                chunk = self.rx.recv(), if !is_sending => self.write(chunk, leg).await,
                came = leg.http.read_head_or_send() => match came? {
                    Came::Read(()) => return attempts.judge(leg).map(|_| ()),
                    Came::Sent(sent) => self.went(sent, leg).await,
                },
            }
            if self.is_done() {
                // The backend's time to answer begins when it has the whole request.
                attempts.restart_deadline();
            }
        }
        let broken = self.state == State::Broken;
        // A backend that stops reading may still say why (413, 401).
        attempts.read_head(leg).await.map_err(|e| if broken { Failure::WriteFailed } else { e })
    }

    /// Writes the body until a chunk of the response's body comes.
    pub(super) async fn until_body(
        &mut self,
        leg: &mut Leg,
        exchange: &Exchange,
    ) -> std::result::Result<Option<Bytes>, Failure> {
        while self.state == State::Open {
            let is_sending = leg.http.is_sending();
            tokio::select! {
                biased;
                () = exchange.body_refused() => return Err(Failure::BodyRefused),
                came = leg.http.read_body_or_send() => match came? {
                    Came::Read(data) => return Ok(data),
                    Came::Sent(sent) => self.went(sent, leg).await,
                },
                chunk = self.rx.recv(), if !is_sending => self.write(chunk, leg).await,
            }
        }
        leg.http.read_body().await
    }

    async fn write(&mut self, chunk: Option<Chunk>, leg: &mut Leg) {
        let sent = match chunk {
            Some(Chunk { data, is_last }) => {
                self.has_last = is_last;
                leg.http.send_body(data).await
            }
            // The client's side went away without an end: the request stays incomplete.
            None => Err(Failure::WriteFailed),
        };
        if sent.is_err() || !leg.http.is_sending() {
            self.went(sent, leg).await;
        }
    }

    /// A piece of the body has gone, or has not.
    async fn went(&mut self, sent: std::result::Result<(), Failure>, leg: &mut Leg) {
        let sent = match sent {
            Ok(()) if self.has_last => leg.http.end_body(trailers()).await,
            sent => sent,
        };
        match sent {
            Ok(()) if self.has_last => self.state = State::Done,
            Ok(()) => {}
            Err(_) => {
                self.state = State::Broken;
                self.rx.close();
            }
        }
    }
}
