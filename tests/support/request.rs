//! What an origin saw.

use super::Headers;
use super::wire::Framing;

/// One request that reached the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub method: String,
    /// As sent: path and query.
    pub target: String,
    /// `1` of `HTTP/1.1`.
    pub minor_version: u8,
    pub headers: Headers,
    /// As much as has come so far.
    pub body: Vec<u8>,
    /// Whether the body has ended as promised.
    pub whole: bool,
    /// Which connection, counted from 1.
    pub connection: usize,
}

impl Seen {
    /// Reads a head; `None` if it is none.
    pub fn parse(head: &[u8], connection: usize) -> Option<Seen> {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Request::new(&mut fields);
        parsed.parse(head).ok()?.is_complete().then(|| Seen {
            method: parsed.method.unwrap_or_default().to_owned(),
            target: parsed.path.unwrap_or_default().to_owned(),
            minor_version: parsed.version.unwrap_or_default(),
            headers: Headers::parsed(parsed.headers),
            body: Vec::new(),
            whole: false,
            connection,
        })
    }

    /// How the body ends.
    pub fn framing(&self) -> Framing {
        Framing::of(&self.headers, Framing::Empty)
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
