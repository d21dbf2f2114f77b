//! A client that sends bytes and reads frames.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::block;
use super::case::Wanted;
use super::code::NO_ERROR;
use super::frame::{
    ACK, DATA, END_STREAM, FRAME_SIZE, GOAWAY, HEADER_TABLE_SIZE, HEADERS, NONE, PADDED, PING, PREFACE, PUSH_PROMISE,
    RST_STREAM, SETTINGS, frame, ping, settings,
};

/// How long an edge may take for what it has to do at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection's bytes.
pub trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// A frame as it came.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// What was heard of a stream.
#[derive(Debug, Default)]
struct Heard {
    status: Option<u16>,
    body: Vec<u8>,
    is_whole: bool,
    reset: Option<u32>,
}

pub struct Client {
    write: WriteHalf<Box<dyn Bytes>>,
    frames: UnboundedReceiver<Frame>,
    reader: JoinHandle<()>,
    /// Barriers that there were.
    barriers: u32,
    streams: HashMap<u32, Heard>,
    settings: Option<Vec<(u16, u32)>>,
    acknowledged: usize,
    pongs: Vec<[u8; 8]>,
    gone: Option<u32>,
    is_closed: bool,
    story: String,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Client {
    pub fn over(stream: Box<dyn Bytes>) -> Client {
        let (read, write) = split(stream);
        let (heard, frames) = unbounded_channel();
        Client {
            write,
            frames,
            reader: tokio::spawn(listen(read, heard)),
            barriers: 0,
            streams: HashMap::new(),
            settings: None,
            acknowledged: 0,
            pongs: Vec::new(),
            gone: None,
            is_closed: false,
            story: String::new(),
        }
    }

    /// Begins as clients do, with an edge that is to have no dynamic table.
    pub async fn handshake(&mut self) -> Result<(), String> {
        self.send(&[PREFACE, &settings(&[(HEADER_TABLE_SIZE, 0)])].concat()).await;
        self.until("SETTINGS", |client| client.settings.is_some()).await?;
        self.send(&frame(SETTINGS, ACK, 0, [])).await;
        self.hear(&Wanted::Acknowledged(1)).await?;
        self.acknowledged = 0;
        Ok(())
    }

    /// What the edge has said of itself.
    pub fn setting(&self, name: u16) -> Option<u32> {
        self.settings.iter().flatten().find(|(n, _)| *n == name).map(|(_, value)| *value)
    }

    /// Sends what can be sent; whether anybody takes it is seen from what comes back.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = async { self.write.write_all(bytes).await.and(self.write.flush().await) };
        let _refused = tokio::time::timeout(PATIENCE, sent).await;
    }

    /// Says that nothing more will be sent.
    pub async fn end(&mut self) {
        let _gone = self.write.shutdown().await;
    }

    /// Waits for this to come.
    pub async fn hear(&mut self, wanted: &Wanted) -> Result<(), String> {
        let what = format!("{wanted:?}");
        match wanted {
            Wanted::Answer(stream, status) => {
                self.until(&what, |client| client.heard(*stream).is_some_and(Heard::is_done)).await?;
                must(self.status(*stream) == Some(*status), &what)
            }
            Wanted::Body(stream, body) => {
                Box::pin(self.hear(&Wanted::Answer(*stream, 200))).await?;
                let is_same = self.heard(*stream).is_some_and(|heard| heard.body == *body);
                must(is_same, &what)
            }
            Wanted::Bytes(stream, count) => {
                let has =
                    |client: &Client| client.heard(*stream).filter(|heard| heard.status.is_some()).map(Heard::length);
                self.until(&what, |client| has(client) >= Some(*count)).await?;
                Box::pin(self.barrier()).await?;
                must(has(self) == Some(*count), &what)
            }
            Wanted::Reset(stream, codes) => {
                let code = self.reset(*stream).await?;
                must(code.is_some_and(|code| codes.contains(&code)), &what)
            }
            Wanted::Acknowledged(count) => self.until(&what, |client| client.acknowledged >= *count).await,
            Wanted::OnlyPong(payload) => {
                self.until(&what, |client| !client.pongs.is_empty()).await?;
                must(self.pongs == [*payload], &what)
            }
            Wanted::Pong(payload) => self.until(&what, |client| client.pongs.contains(payload)).await,
        }
    }

    /// All that was sent has been read, and what is answered to it at once has come.
    async fn barrier(&mut self) -> Result<(), String> {
        // Twice: an answer may be behind the first PING's.
        for _ in 0..2 {
            self.barriers += 1;
            let mut payload = *b"bar_____";
            payload[4..].copy_from_slice(&self.barriers.to_be_bytes());
            self.send(&ping(&payload)).await;
            self.hear(&Wanted::Pong(payload)).await?;
        }
        Ok(())
    }

    /// The code of the edge's farewell, once the connection has ended; nothing if there was none.
    pub async fn farewell(&mut self) -> Result<Option<u32>, String> {
        while !self.is_closed {
            self.next("the end of the connection").await?;
        }
        Ok(self.gone)
    }

    /// Waits for this stream to be answered or reset, or for the end: the code of the reset, if it was one.
    pub async fn outcome(&mut self, stream: u32) -> Result<Option<u32>, String> {
        let is_done =
            |client: &Client| client.heard(stream).is_some_and(|heard| heard.is_whole || heard.reset.is_some());
        while !self.is_closed && !is_done(self) {
            self.next("an outcome").await?;
        }
        Ok(self.heard(stream).and_then(|heard| heard.reset))
    }

    /// Waits for this stream to be reset, or for the end: the code of the reset, if there was one.
    pub async fn reset(&mut self, stream: u32) -> Result<Option<u32>, String> {
        let code = |client: &Client| client.heard(stream).and_then(|heard| heard.reset);
        while !self.is_closed && code(self).is_none() {
            self.next("RST_STREAM").await?;
        }
        Ok(code(self))
    }

    /// The status of the answer on this stream.
    pub fn status(&self, stream: u32) -> Option<u16> {
        self.heard(stream)?.status
    }

    /// What was heard, for messages.
    pub fn story(&self) -> &str {
        &self.story
    }

    fn heard(&self, stream: u32) -> Option<&Heard> {
        self.streams.get(&stream)
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&Client) -> bool) -> Result<(), String> {
        while !holds(self) {
            if self.is_closed {
                return Err(format!("the end instead of {what}"));
            }
            self.next(what).await?;
        }
        Ok(())
    }

    async fn next(&mut self, what: &str) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, self.frames.recv()).await {
            Ok(Some(frame)) => self.take(&frame),
            Ok(None) => {
                self.is_closed = true;
                self.story.push_str(" end");
                Ok(())
            }
            Err(_) => Err(format!("silence instead of {what}")),
        }
    }

    /// Notes what a frame says; fails if an edge may not send it at all.
    fn take(&mut self, frame: &Frame) -> Result<(), String> {
        let Frame { kind, flags, stream, payload } = frame;
        let _ = write!(self.story, " {kind}/{flags:x}/{stream}/{}", payload.len());
        if self.settings.is_none() && (*kind != SETTINGS || flags & ACK != 0) {
            return Err("the first frame is no SETTINGS (§3.4)".to_owned());
        }
        let is_padded = [DATA, HEADERS].contains(kind) && flags & PADDED != 0;
        if payload.len() > FRAME_SIZE || *kind == PUSH_PROMISE || is_padded {
            return Err(format!("a frame that may not be sent: {kind}/{flags:x}/{stream}/{}", payload.len()));
        }
        let number = |at: usize| payload.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        match *kind {
            DATA => {
                let heard = self.streams.entry(*stream).or_default();
                heard.body.extend(payload);
                heard.is_whole |= flags & END_STREAM != 0;
            }
            HEADERS => {
                let heard = self.streams.entry(*stream).or_default();
                if heard.status.is_none_or(|status| status < 200) {
                    heard.status = block::status(payload);
                }
                heard.is_whole |= flags & END_STREAM != 0;
            }
            RST_STREAM => {
                let _ = write!(self.story, "({})", number(0));
                self.streams.entry(*stream).or_default().reset = Some(number(0));
            }
            SETTINGS if flags & ACK != 0 => self.acknowledged += 1,
            SETTINGS => {
                let one = |b: &[u8]| (u16::from_be_bytes([b[0], b[1]]), u32::from_be_bytes([b[2], b[3], b[4], b[5]]));
                self.settings = Some(payload.chunks_exact(6).map(one).collect());
            }
            PING if flags & ACK != 0 => self.pongs.extend(<[u8; 8]>::try_from(&payload[..])),
            GOAWAY => {
                let code = number(4);
                let _ = write!(self.story, "({code} {})", String::from_utf8_lossy(&payload[8..]));
                self.gone = Some(code);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Heard {
    /// All of the answer is there. A reset without an error may follow it (§8.1).
    fn is_done(&self) -> bool {
        self.is_whole || self.reset.is_some_and(|code| code != NO_ERROR)
    }

    fn length(&self) -> usize {
        self.body.len()
    }
}

fn must(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("not {what}")) }
}

/// Reads frames until there are no more.
async fn listen(mut read: ReadHalf<Box<dyn Bytes>>, heard: UnboundedSender<Frame>) {
    loop {
        let mut head = [NONE; 9];
        if read.read_exact(&mut head).await.is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        if read.read_exact(&mut payload).await.is_err() {
            return;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        if heard.send(Frame { kind: head[3], flags: head[4], stream, payload }).is_err() {
            return;
        }
    }
}
