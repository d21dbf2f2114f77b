//! What a client got.

use std::fmt;

use super::wire::Framing;
use super::{Headers, Member};

/// One response, as far as it was read.
#[derive(Clone, Debug)]
pub struct Response {
    /// `1` of `HTTP/1.1`.
    pub minor_version: u8,
    pub status: u16,
    pub reason: String,
    pub headers: Headers,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing promised.
    pub complete: bool,
    /// The 1xx responses that came before.
    pub interim: Vec<Response>,
}

impl Response {
    /// Reads a head; panics if it is none, or says two things about its length.
    pub fn parse(head: &[u8]) -> Response {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Response::new(&mut fields);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(_)) => {}
            other => panic!("not a response head ({other:?}): {:?}", String::from_utf8_lossy(head)),
        }
        let headers = Headers::parsed(parsed.headers);
        let lengths = headers.all("Content-Length").len() + headers.all("Transfer-Encoding").len();
        assert!(lengths <= 1, "ambiguous length: {headers}");
        Response {
            minor_version: parsed.version.unwrap_or_default(),
            status: parsed.code.unwrap_or_default(),
            reason: parsed.reason.unwrap_or_default().to_owned(),
            headers,
            body: Vec::new(),
            complete: false,
            interim: Vec::new(),
        }
    }

    /// How the body of this answer to a request ends (RFC 9112 §6.3).
    pub fn framing(&self, to_head: bool) -> Framing {
        match self.status {
            _ if to_head => Framing::Empty,
            100..200 | 204 | 304 => Framing::Empty,
            _ => Framing::of(&self.headers, Framing::UntilClose),
        }
    }

    /// Itself, if it has this status and is whole; else panics and shows all of it.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "unexpected status of\n{self}");
        assert!(self.complete, "cut short:\n{self}");
        self
    }

    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}):\n{self}"))
    }

    /// What the cache nearest to the client said: the last member of `Cache-Status`.
    #[track_caller]
    pub fn cache_status(&self) -> Member {
        self.headers.members("Cache-Status").pop().unwrap_or_else(|| panic!("no Cache-Status in\n{self}"))
    }

    /// What the proxy nearest to the client said: the last member of `Proxy-Status`.
    #[track_caller]
    pub fn proxy_status(&self) -> Member {
        self.headers.members("Proxy-Status").pop().unwrap_or_else(|| panic!("no Proxy-Status in\n{self}"))
    }

    /// The error type (RFC 9209 §2.3) the edge names.
    #[track_caller]
    pub fn proxy_error(&self) -> String {
        let said = self.proxy_status();
        assert_eq!(said.name, "hedgerow", "somebody else's Proxy-Status in\n{self}");
        said.param("error").unwrap_or_else(|| panic!("no error in Proxy-Status of\n{self}")).to_owned()
    }

    /// `X-Cache-Status`: HIT, MISS, …
    #[track_caller]
    pub fn verdict(&self) -> &str {
        self.header("X-Cache-Status").unwrap_or_else(|| panic!("no X-Cache-Status in\n{self}"))
    }

    /// `Age` in seconds.
    pub fn age(&self) -> Option<u64> {
        self.header("Age").map(|age| age.parse().unwrap_or_else(|_| panic!("not an Age in\n{self}")))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.interim.iter().try_for_each(|interim| write!(f, "{interim}"))?;
        writeln!(f, "HTTP/1.{} {} {}", self.minor_version, self.status, self.reason)?;
        let shown = &self.body[..self.body.len().min(500)];
        writeln!(f, "{}\n{}", self.headers, String::from_utf8_lossy(shown))?;
        writeln!(f, "({} bytes of body, {})", self.body.len(), if self.complete { "whole" } else { "not whole" })
    }
}
