//! One connection's bytes: heads, then bodies by their framing, with a memory of what came for the failure's message.

use std::future::pending;
use std::io::ErrorKind;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{Headers, PATIENCE};

/// How much of what was read a failure prints.
const REMEMBERED: usize = 4096;

/// How the peer ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

/// A connection with its read buffer.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buf: BytesMut,
    end: Option<End>,
    deadline: Option<Instant>,
    remembered: BytesMut,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a TCP option on a TCP socket");
        Wire { stream, buf: BytesMut::new(), end: None, deadline: None, remembered: BytesMut::new() }
    }

    /// Starts one step: what follows, up to the next step, must be done within [`PATIENCE`].
    pub fn start_step(&mut self) {
        self.deadline = Some(Instant::now() + PATIENCE);
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether all that came was also read.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// What came last, for messages.
    pub fn story(&self) -> String {
        format!("end {:?}, last read: {:?}", self.end, String::from_utf8_lossy(&self.remembered))
    }

    /// Reads once more; false when the peer has ended.
    pub async fn fill(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        let before = self.buf.len();
        let read = match self.deadline {
            Some(deadline) => match timeout_at(deadline, self.stream.read_buf(&mut self.buf)).await {
                Ok(read) => read,
                Err(_) => panic!("nothing more came within {PATIENCE:?}; {}", self.story()),
            },
            None => self.stream.read_buf(&mut self.buf).await,
        };
        match read {
            Ok(0) => self.end = Some(End::Closed),
            Ok(_) => self.remember(before),
            Err(_) => self.end = Some(End::Reset),
        }
        self.end.is_none()
    }

    /// Writes all of `bytes`, reading what comes meanwhile so that neither side waits for the other's buffers;
    /// false when the peer took no more.
    pub async fn send(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let interest =
                if self.end.is_some() { Interest::WRITABLE } else { Interest::READABLE | Interest::WRITABLE };
            let ready = match self.deadline {
                Some(deadline) => match timeout_at(deadline, self.stream.ready(interest)).await {
                    Ok(ready) => ready,
                    Err(_) => panic!("{} bytes could not be sent within {PATIENCE:?}; {}", bytes.len(), self.story()),
                },
                None => self.stream.ready(interest).await,
            };
            let Ok(ready) = ready else { return false };
            if ready.is_readable() && self.end.is_none() {
                let before = self.buf.len();
                match self.stream.try_read_buf(&mut self.buf) {
                    Ok(0) => self.end = Some(End::Closed),
                    Ok(_) => self.remember(before),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => self.end = Some(End::Reset),
                }
            }
            if ready.is_writable() {
                match self.stream.try_write(bytes) {
                    Ok(n) => bytes = &bytes[n..],
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return false,
                }
            }
        }
        true
    }

    /// Ends our side; the peer's may go on.
    pub async fn finish(&mut self) {
        // A peer that is gone already needs no goodbye.
        let _ = self.stream.shutdown().await;
    }

    /// Ends both sides at once, so that the peer sees a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).expect("SO_LINGER");
    }

    /// The next head, through its blank line; `None` when the peer ended before it was whole.
    pub async fn head(&mut self) -> Option<BytesMut> {
        loop {
            // Tolerated between messages (RFC 9112 §2.2).
            while self.buf.starts_with(b"\r\n") {
                self.buf.advance(2);
            }
            if let Some(at) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") {
                return Some(self.buf.split_to(at + 4));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Waits until the peer ends; gives what came before and was not asked for.
    pub async fn until_end(&mut self) -> Vec<u8> {
        while self.fill().await {}
        self.buf.split().to_vec()
    }

    /// Returns when the peer has ended; keeps what comes. Safe to drop at any time.
    pub async fn peer_gone(&mut self) {
        while self.fill().await {}
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buf.windows(2).position(|w| w == b"\r\n") {
                let line = self.buf.split_to(at + 2);
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    fn remember(&mut self, before: usize) {
        self.remembered.extend_from_slice(&self.buf[before..]);
        let excess = self.remembered.len().saturating_sub(REMEMBERED);
        self.remembered.advance(excess);
    }
}

/// How a body's end is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    /// What the header fields say; `otherwise` when they say nothing.
    pub fn of(headers: &Headers, otherwise: Framing) -> Framing {
        if headers.lists("Transfer-Encoding", "chunked") {
            return Framing::Chunked;
        }
        match headers.get("Content-Length").map(|n| n.trim().parse()) {
            Some(Ok(n)) => Framing::Length(n),
            Some(Err(_)) => panic!("not a Content-Length: {headers}"),
            None => otherwise,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Up to the close.
    Open,
    /// So many bytes to come; then the state named.
    Data(u64),
    /// Before a chunk's size; true after an earlier chunk.
    Size(bool),
    Whole,
    Broken,
}

/// A body as it arrives.
#[derive(Debug)]
pub struct Body {
    stage: Stage,
    chunked: bool,
    /// Trailer fields of a chunked body.
    pub trailers: Vec<String>,
}

impl Body {
    pub fn new(framing: Framing) -> Body {
        let stage = match framing {
            Framing::Empty | Framing::Length(0) => Stage::Whole,
            Framing::Length(n) => Stage::Data(n),
            Framing::Chunked => Stage::Size(false),
            Framing::UntilClose => Stage::Open,
        };
        Body { stage, chunked: framing == Framing::Chunked, trailers: Vec::new() }
    }

    /// Whether the end came as the framing promised.
    pub fn complete(&self) -> bool {
        self.stage == Stage::Whole
    }

    /// The next bytes, as many as are there; `None` at the end, whole or broken.
    pub async fn piece(&mut self, wire: &mut Wire) -> Option<Vec<u8>> {
        loop {
            match self.stage {
                Stage::Whole | Stage::Broken => return None,
                Stage::Size(after_data) => self.stage = self.next_chunk(wire, after_data).await,
                Stage::Open | Stage::Data(_) if wire.buf.is_empty() => {
                    if !wire.fill().await {
                        let clean = self.stage == Stage::Open && wire.end == Some(End::Closed);
                        self.stage = if clean { Stage::Whole } else { Stage::Broken };
                    }
                }
                Stage::Open => return Some(wire.buf.split().to_vec()),
                Stage::Data(left) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(wire.buf.len());
                    self.stage = match left - take as u64 {
                        0 if self.chunked => Stage::Size(true),
                        0 => Stage::Whole,
                        left => Stage::Data(left),
                    };
                    return Some(wire.buf.split_to(take).to_vec());
                }
            }
        }
    }

    /// All that is left.
    pub async fn rest(&mut self, wire: &mut Wire) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(piece) = self.piece(wire).await {
            rest.extend_from_slice(&piece);
        }
        rest
    }

    async fn next_chunk(&mut self, wire: &mut Wire, after_data: bool) -> Stage {
        if after_data && wire.line().await.as_deref() != Some("") {
            return Stage::Broken;
        }
        let Some(line) = wire.line().await else { return Stage::Broken };
        let digits = line.split(';').next().unwrap_or_default().trim();
        match u64::from_str_radix(digits, 16) {
            Err(_) => Stage::Broken,
            Ok(0) => loop {
                match wire.line().await.as_deref() {
                    None => return Stage::Broken,
                    Some("") => return Stage::Whole,
                    Some(trailer) => self.trailers.push(trailer.to_owned()),
                }
            },
            Ok(n) => Stage::Data(n),
        }
    }
}

/// Never ends; for a peer that is to be left waiting.
pub async fn forever() {
    pending().await
}
