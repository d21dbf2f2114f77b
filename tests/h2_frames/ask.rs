//! The request that a case is about.

use super::block::{field, fields};
use super::frame::{END_HEADERS, END_STREAM, NONE, data, headers};

/// A way through the edge.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub path: &'static str,
    pub scheme: &'static str,
}

/// Whom requests are for.
pub const AUTHORITY: &str = "shop.example";

impl Ask {
    /// The pseudo-fields.
    pub fn pseudo(&self) -> [(&'static str, &'static str); 4] {
        [(":method", self.method), (":scheme", self.scheme), (":authority", AUTHORITY), (":path", self.path)]
    }

    /// The block with these fields after the pseudo-fields.
    pub fn block(&self, more: &[(&str, &str)]) -> Vec<u8> {
        [fields(&self.pseudo()), fields(more)].concat()
    }

    /// The block with another value for a pseudo-field, or without it.
    pub fn altered(&self, name: &str, value: Option<&str>) -> Vec<u8> {
        let one = |(n, v): (&str, &str)| if n == name { value.map(|v| field(n, v)) } else { Some(field(n, v)) };
        self.pseudo().into_iter().filter_map(one).flatten().collect()
    }

    /// All frames of the request.
    pub fn whole(&self, stream: u32) -> Vec<u8> {
        self.with(stream, &[])
    }

    /// The same with more fields.
    pub fn with(&self, stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
        self.of(stream, &self.block(more))
    }

    /// The same with this block.
    pub fn of(&self, stream: u32, block: &[u8]) -> Vec<u8> {
        match self.body() {
            "" => headers(stream, END_HEADERS | END_STREAM, block),
            body => [headers(stream, END_HEADERS, block), data(stream, END_STREAM, body)].concat(),
        }
    }

    /// The same with HEAD.
    pub fn head(&self, stream: u32) -> Vec<u8> {
        Ask { method: "HEAD", ..*self }.whole(stream)
    }

    /// What the request carries.
    pub fn body(&self) -> &'static str {
        if self.method == "POST" { "body" } else { "" }
    }

    /// What its HEADERS may say beside END_HEADERS.
    pub fn end(&self) -> u8 {
        if self.body().is_empty() { END_STREAM } else { NONE }
    }

    /// What comes after its HEADERS.
    pub fn rest(&self, stream: u32) -> Vec<u8> {
        if self.body().is_empty() { Vec::new() } else { data(stream, END_STREAM, self.body()) }
    }

    /// A request whose body is still to come, whatever the way.
    pub fn post(&self) -> Ask {
        Ask { method: "POST", path: "/post", ..*self }
    }

    /// The HEADERS of such a request.
    pub fn open(&self, stream: u32) -> Vec<u8> {
        headers(stream, END_HEADERS, self.post().block(&[]))
    }
}
