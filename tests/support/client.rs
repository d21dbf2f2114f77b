//! A client that says exactly what it is told, and hides nothing of what it gets.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::patiently;
use super::response::Response;
use super::wire::{Body, Wire};

/// A request to send.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    version: &'static str,
    host: Option<String>,
    fields: Vec<(String, String)>,
    body: Payload,
}

#[derive(Clone, Debug)]
enum Payload {
    None,
    Sized(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
}

impl Request {
    /// A request with `Host: edge.test` and no body.
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            host: Some("edge.test".to_owned()),
            fields: Vec::new(),
            body: Payload::None,
        }
    }

    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    pub fn head(target: &str) -> Request {
        Request::new("HEAD", target)
    }

    pub fn post(target: &str, body: impl AsRef<[u8]>) -> Request {
        Request::new("POST", target).body(body)
    }

    pub fn header(mut self, name: &str, value: impl fmt::Display) -> Request {
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    pub fn host(mut self, host: &str) -> Request {
        self.host = Some(host.to_owned());
        self
    }

    pub fn without_host(mut self) -> Request {
        self.host = None;
        self
    }

    pub fn http10(mut self) -> Request {
        self.version = "HTTP/1.0";
        self
    }

    /// A body with its `Content-Length`.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = Payload::Sized(body.as_ref().to_vec());
        self
    }

    /// A chunked body.
    pub fn chunks(mut self, chunks: &[&[u8]]) -> Request {
        self.body = Payload::Chunks(chunks.iter().map(|c| c.to_vec()).collect());
        self
    }

    /// The bytes of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} {}\r\n", self.method, self.target, self.version);
        if let Some(host) = &self.host {
            head += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            Payload::None => [head.as_bytes(), b"\r\n"].concat(),
            Payload::Sized(body) => [format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat(),
            Payload::Chunks(chunks) => {
                let mut bytes = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                chunks.iter().for_each(|chunk| bytes.extend(chunk_of(chunk)));
                bytes.extend(b"0\r\n\r\n");
                bytes
            }
        }
    }
}

/// `data` as one chunk of a chunked body.
pub fn chunk_of(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// One connection to an edge (or to an origin).
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    /// For each request sent and not yet answered: was it a HEAD?
    unanswered: VecDeque<bool>,
    body: Option<Body>,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Client {
        let connected = patiently(TcpStream::connect(addr), || format!("a connection to {addr}")).await;
        let stream = connected.unwrap_or_else(|e| panic!("cannot connect to {addr}: {e}"));
        Client { wire: Wire::new(stream), unanswered: VecDeque::new(), body: None }
    }

    /// This end's address.
    pub fn addr(&self) -> SocketAddr {
        self.wire.stream().local_addr().expect("a connected socket has an address")
    }

    /// Sends bytes as they are. A peer that takes no more is no failure: it may have answered already.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.start_step();
        let _ = self.wire.send(bytes.as_ref()).await;
    }

    /// Sends a request without waiting for its answer.
    pub async fn ask(&mut self, request: &Request) {
        self.unanswered.push_back(request.method == "HEAD");
        self.send(request.bytes()).await;
    }

    /// Sends a request and reads its answer.
    pub async fn request(&mut self, request: &Request) -> Response {
        self.ask(request).await;
        self.answer().await
    }

    /// GETs `target`.
    pub async fn get(&mut self, target: &str) -> Response {
        self.request(&Request::get(target)).await
    }

    /// The answer to the oldest request that has none, read to its end.
    pub async fn answer(&mut self) -> Response {
        let head = self.head().await;
        self.whole(head).await
    }

    /// The next answer, or `None` when the connection ends without one.
    pub async fn answer_or_close(&mut self) -> Option<Response> {
        let head = self.head_or_close().await?;
        Some(self.whole(head).await)
    }

    /// The next 1xx response.
    pub async fn interim(&mut self) -> Response {
        self.wire.start_step();
        match self.wire.head().await {
            Some(head) => Response::parse(&head),
            None => panic!("the connection ended before an answer; {}", self.wire.story()),
        }
    }

    /// The next answer's head only; then [`Client::piece`], [`Client::exactly`] or [`Client::rest`].
    pub async fn head(&mut self) -> Response {
        match self.head_or_close().await {
            Some(head) => head,
            None => panic!("the connection ended before an answer; {}", self.wire.story()),
        }
    }

    async fn head_or_close(&mut self) -> Option<Response> {
        self.wire.start_step();
        let mut interim = Vec::new();
        loop {
            let mut response = Response::parse(&self.wire.head().await?);
            if (100..200).contains(&response.status) && response.status != 101 {
                response.complete = true;
                interim.push(response);
                continue;
            }
            let to_head = self.unanswered.pop_front().unwrap_or(false);
            let body = Body::new(response.framing(to_head));
            response.interim = interim;
            response.complete = body.complete();
            self.body = Some(body);
            return Some(response);
        }
    }

    async fn whole(&mut self, mut response: Response) -> Response {
        (response.body, response.complete) = self.rest().await;
        response
    }

    /// The next bytes of the body, as many as are there; `None` at its end.
    pub async fn piece(&mut self) -> Option<Vec<u8>> {
        self.wire.start_step();
        self.body.as_mut().expect("a head was read first").piece(&mut self.wire).await
    }

    /// Exactly `text` as the next bytes of the body, in however many pieces; a byte more is a failure.
    #[track_caller]
    pub fn exactly(&mut self, text: &str) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let mut got = Vec::new();
            while got.len() < text.len() {
                match self.piece().await {
                    Some(piece) => got.extend(piece),
                    None => panic!("{at}: body ended after {:?}; {}", String::from_utf8_lossy(&got), self.wire.story()),
                }
            }
            assert_eq!(String::from_utf8_lossy(&got), text, "{at}");
        }
    }

    /// What is left of the body, and whether it ended as promised.
    pub async fn rest(&mut self) -> (Vec<u8>, bool) {
        self.wire.start_step();
        let body = self.body.as_mut().expect("a head was read first");
        let rest = body.rest(&mut self.wire).await;
        (rest, body.complete())
    }

    /// The trailer lines of the last body.
    pub fn trailers(&self) -> &[String] {
        self.body.as_ref().map_or(&[], |body| &body.trailers)
    }

    /// Whether nothing comes from the other side for this long.
    pub async fn quiet_for(&mut self, time: Duration) -> bool {
        self.wire.is_empty() && tokio::time::timeout(time, self.wire.fill()).await.is_err()
    }

    /// Ends this side; the answer may still come.
    pub async fn finish(&mut self) {
        self.wire.finish().await;
    }

    /// Waits until the other side has closed; gives what else it sent. Panics if it stays open.
    pub async fn closed(&mut self) -> Vec<u8> {
        self.wire.start_step();
        self.wire.until_end().await
    }

    /// Leaves at once; the other side sees a reset.
    pub fn abort(self) {
        self.wire.reset();
    }
}

/// One GET on a connection of its own.
pub async fn get(addr: SocketAddr, target: &str) -> Response {
    fetch(addr, &Request::get(target)).await
}

/// One request on a connection of its own.
pub async fn fetch(addr: SocketAddr, request: &Request) -> Response {
    Client::connect(addr).await.request(request).await
}
