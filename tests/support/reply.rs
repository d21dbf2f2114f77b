//! What an origin answers: a script for one response, right or wrong.

use std::time::{Duration, SystemTime};

use super::request::Seen;
use super::wire::{Wire, forever};
use super::{Gate, client};

/// One answer. Well-formed unless told otherwise; a `Date` is added, as origins do.
#[derive(Clone, Debug)]
pub struct Reply {
    held_by: Option<Gate>,
    after: Duration,
    interim: Vec<String>,
    status: u16,
    reason: &'static str,
    fields: Vec<(String, String)>,
    dated: bool,
    etag: Option<String>,
    shape: Shape,
    parts: Vec<Part>,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// `Content-Length` of what is written.
    Length,
    /// `Content-Length` as claimed.
    Declared(u64),
    Chunked,
    UntilClose,
    /// No head of ours: the parts are all that is written.
    Raw,
}

#[derive(Clone, Debug)]
enum Part {
    Bytes(Vec<u8>),
    Gate(Gate),
    Pause(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    KeepAlive,
    Close,
    /// Close without what the framing still owes.
    Cut,
    /// The same with a reset.
    Reset,
    /// Keep the connection open and say nothing more.
    Silence,
}

/// What becomes of the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    KeepAlive,
    Close,
    Reset,
    /// The peer left before the reply was out.
    Abandoned,
}

impl Reply {
    pub fn new(status: u16) -> Reply {
        Reply {
            held_by: None,
            after: Duration::ZERO,
            interim: Vec::new(),
            status,
            reason: "Scripted",
            fields: Vec::new(),
            dated: true,
            etag: None,
            shape: Shape::Length,
            parts: Vec::new(),
            ending: Ending::KeepAlive,
        }
    }

    /// 200 with this body.
    pub fn ok(body: impl AsRef<[u8]>) -> Reply {
        Reply::new(200).body(body)
    }

    /// 200 with this body, fresh for `seconds`.
    pub fn fresh(seconds: u64, body: impl AsRef<[u8]>) -> Reply {
        Reply::ok(body).header("Cache-Control", &format!("max-age={seconds}"))
    }

    /// Bytes as they are, then the close.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Reply {
        Reply { shape: Shape::Raw, ending: Ending::Close, ..Reply::new(0) }.body(bytes)
    }

    /// Reads the request, says nothing, closes.
    pub fn hang_up() -> Reply {
        Reply::raw("")
    }

    /// Reads the request, says nothing, resets the connection.
    pub fn reset() -> Reply {
        Reply { ending: Ending::Reset, ..Reply::raw("") }
    }

    /// Reads the request and never answers.
    pub fn never() -> Reply {
        Reply::raw("").then_silence()
    }

    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// More bytes of the body.
    pub fn body(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.parts.push(Part::Bytes(bytes.as_ref().to_vec()));
        self
    }

    /// More bytes of the body as one chunk; the length is not told.
    pub fn chunk(mut self, bytes: impl AsRef<[u8]>) -> Reply {
        self.shape = Shape::Chunked;
        self.body(bytes)
    }

    /// Waits here, within the body, for the gate. What came before has been sent.
    pub fn gate(mut self, gate: &Gate) -> Reply {
        self.parts.push(Part::Gate(gate.clone()));
        self
    }

    /// Takes its time here, within the body: for tests of what slowness itself does, never to wait for an event.
    pub fn pause(mut self, time: Duration) -> Reply {
        self.parts.push(Part::Pause(time));
        self
    }

    /// Waits for the gate before anything is said.
    pub fn held_by(mut self, gate: &Gate) -> Reply {
        self.held_by = Some(gate.clone());
        self
    }

    /// Takes its time before anything is said: for tests of what slowness itself does, never to wait for an event.
    pub fn after(mut self, time: Duration) -> Reply {
        self.after = time;
        self
    }

    /// An interim response first, e.g. `(103, "Link: </a>; rel=preload\r\n")`.
    pub fn interim(mut self, status: u16, fields: &str) -> Reply {
        self.interim.push(format!("HTTP/1.1 {status} Interim\r\n{fields}\r\n"));
        self
    }

    /// Answers 304 when the request names this entity tag in `If-None-Match`.
    pub fn etag(mut self, etag: &str) -> Reply {
        self.etag = Some(etag.to_owned());
        self.header("ETag", etag)
    }

    /// No `Date` of ours.
    pub fn undated(mut self) -> Reply {
        self.dated = false;
        self
    }

    /// Claims this length whatever is written.
    pub fn declares(mut self, length: u64) -> Reply {
        self.shape = Shape::Declared(length);
        self
    }

    /// The length is not told; the close ends the body.
    pub fn until_close(mut self) -> Reply {
        (self.shape, self.ending) = (Shape::UntilClose, Ending::Close);
        self
    }

    /// Says `Connection: close` and does it.
    pub fn close(mut self) -> Reply {
        self.ending = Ending::Close;
        self.header("Connection", "close")
    }

    /// Closes after the last part, although the framing owes more.
    pub fn cut(mut self) -> Reply {
        self.ending = Ending::Cut;
        self
    }

    /// Resets after the last part, although the framing owes more.
    pub fn cut_by_reset(mut self) -> Reply {
        self.ending = Ending::Reset;
        self
    }

    /// Stays connected after the last part and says nothing more, although the framing owes more.
    pub fn then_silence(mut self) -> Reply {
        self.ending = Ending::Silence;
        self
    }

    /// Writes it out as the answer to `seen`.
    pub(crate) async fn play(&self, wire: &mut Wire, seen: &Seen) -> After {
        match self.write(wire, seen).await {
            Some(()) => match self.ending {
                Ending::KeepAlive if seen.headers.lists("Connection", "close") => After::Close,
                Ending::KeepAlive => After::KeepAlive,
                Ending::Close | Ending::Cut => After::Close,
                Ending::Reset => After::Reset,
                Ending::Silence => {
                    tokio::select! { () = wire.peer_gone() => After::Abandoned, () = forever() => After::Close }
                }
            },
            None => After::Abandoned,
        }
    }

    async fn write(&self, wire: &mut Wire, seen: &Seen) -> Option<()> {
        if let Some(gate) = &self.held_by {
            wait(gate, wire).await?;
        }
        pause(self.after, wire).await?;
        for interim in &self.interim {
            wire.send(interim.as_bytes()).await.then_some(())?;
        }
        let unchanged = self.etag.as_deref().is_some_and(|etag| seen.headers.lists("If-None-Match", etag));
        let status = if unchanged { 304 } else { self.status };
        if self.shape != Shape::Raw {
            wire.send(self.head(status).as_bytes()).await.then_some(())?;
            if seen.method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
                return Some(());
            }
        }
        for part in &self.parts {
            match part {
                Part::Gate(gate) => wait(gate, wire).await?,
                Part::Pause(time) => pause(*time, wire).await?,
                Part::Bytes(bytes) if self.shape == Shape::Chunked => {
                    wire.send(&client::chunk_of(bytes)).await.then_some(())?;
                }
                Part::Bytes(bytes) => wire.send(bytes).await.then_some(())?,
            }
        }
        if self.shape == Shape::Chunked && matches!(self.ending, Ending::KeepAlive | Ending::Close) {
            wire.send(b"0\r\n\r\n").await.then_some(())?;
        }
        Some(())
    }

    fn head(&self, status: u16) -> String {
        let mut head = format!("HTTP/1.1 {status} {}\r\n", self.reason);
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if self.dated && !self.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("Date")) {
            head += &format!("Date: {}\r\n", date_after(0));
        }
        if !matches!(status, 100..200 | 204 | 304) {
            head += &match self.shape {
                Shape::Length => format!("Content-Length: {}\r\n", self.length()),
                Shape::Declared(length) => format!("Content-Length: {length}\r\n"),
                Shape::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
                Shape::UntilClose | Shape::Raw => String::new(),
            };
        }
        head + "\r\n"
    }

    fn length(&self) -> usize {
        let len = |part: &Part| if let Part::Bytes(bytes) = part { bytes.len() } else { 0 };
        self.parts.iter().map(len).sum()
    }
}

/// Passes the gate, or gives `None` when the peer leaves first.
async fn wait(gate: &Gate, wire: &mut Wire) -> Option<()> {
    tokio::select! {
        () = gate.pass() => Some(()),
        () = wire.peer_gone() => None,
    }
}

/// Lets so much time pass, or gives `None` when the peer leaves first.
async fn pause(time: Duration, wire: &mut Wire) -> Option<()> {
    if time.is_zero() {
        return Some(());
    }
    tokio::select! {
        () = tokio::time::sleep(time) => Some(()),
        () = wire.peer_gone() => None,
    }
}

/// The date so many seconds from now, as a header's value.
pub fn date_after(seconds: i64) -> String {
    let away = Duration::from_secs(seconds.unsigned_abs());
    let now: SystemTime = hedgerow::clock::wall();
    httpdate::fmt_http_date(if seconds < 0 { now - away } else { now + away })
}
