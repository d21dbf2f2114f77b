//! Both ends of HTTP/2: an origin whose answers are written by a test, and a client.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::{eventually, patiently};

/// One request at an origin.
pub struct Call {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
    /// Which of the origin's connections it came on, from 0.
    pub connection: usize,
}

impl Call {
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    pub fn header(&self, name: &str) -> &str {
        self.request.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Reads the whole of the request's body, and the fields after it.
    pub async fn read(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        read_all(self.request.body_mut()).await.expect("a whole body")
    }

    /// Answers with a body.
    pub fn say(mut self, body: impl Into<Bytes>) {
        let mut stream = self.respond.send_response(Response::new(()), false).expect("a head is sent");
        stream.send_data(body.into(), true).expect("a body is sent");
    }

    /// Answers with a body and these fields after it.
    pub fn say_with(mut self, head: Response<()>, body: impl Into<Bytes>, trailers: &[(&'static str, &str)]) {
        let mut stream = self.respond.send_response(head, false).expect("a head is sent");
        stream.send_data(body.into(), false).expect("a body is sent");
        stream.send_trailers(fields(trailers)).expect("trailers are sent");
    }

    /// Gives no answer.
    pub fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Returns when the other side has given it up: why.
    pub async fn given_up(&mut self) -> Reason {
        let reset = poll_fn(|cx| self.respond.poll_reset(cx));
        patiently(reset, || "a reset".to_owned()).await.expect("a reset")
    }
}

/// Fields of a message.
pub fn fields(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn read_all(stream: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok((body, stream.trailers().await?))
}

/// An origin that speaks HTTP/2.
pub struct Http2Origin {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    leaving: watch::Sender<bool>,
}

impl Http2Origin {
    /// Answers every request by `answer`, in clear text.
    pub async fn start<A>(answer: impl Fn(Call) -> A + Send + Sync + 'static) -> Http2Origin
    where
        A: Future<Output = ()> + Send + 'static,
    {
        Http2Origin::with(&Builder::new(), None, answer).await
    }

    /// The same with these settings, and under TLS if there is an acceptor.
    pub async fn with<A>(
        settings: &Builder,
        tls: Option<TlsAcceptor>,
        answer: impl Fn(Call) -> A + Send + Sync + 'static,
    ) -> Http2Origin
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let origin = Http2Origin {
            addr,
            connections: Arc::default(),
            open: Arc::default(),
            requests: Arc::default(),
            leaving: watch::Sender::new(false),
        };
        let (connections, open, requests) = (origin.connections.clone(), origin.open.clone(), origin.requests.clone());
        let (settings, answer, leaving) = (settings.clone(), Arc::new(answer), origin.leaving.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (settings, tls, answer) = (settings.clone(), tls.clone(), answer.clone());
                let (open, requests, leaving) = (open.clone(), requests.clone(), leaving.clone());
                let answer = move |call: Call| {
                    requests.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(answer(call));
                };
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    match tls {
                        None => serve(stream, &settings, connection, leaving, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &settings, connection, leaving, answer).await;
                            }
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        origin
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are open.
    pub async fn has_open(&self, n: usize) {
        eventually(&format!("{n} connections are open"), || async {
            (self.open.load(Ordering::SeqCst) == n).then_some(())
        })
        .await;
    }

    /// Takes no more requests on the connections that are open (GOAWAY), and goes on with those that it has.
    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    settings: &Builder,
    number: usize,
    mut leaving: watch::Receiver<bool>,
    answer: impl Fn(Call),
) {
    let Ok(mut connection) = settings.handshake::<_, Bytes>(stream).await else { return };
    leaving.mark_unchanged();
    loop {
        let next = tokio::select! {
            next = connection.accept() => next,
            Ok(()) = leaving.changed() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = next else { return };
        answer(Call { request, respond, connection: number });
    }
}

/// An origin that speaks in frames: it has shaken hands and says what it is told to, frame by frame.
pub struct Frames {
    stream: TcpStream,
}

/// A frame (RFC 9113 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
        Frame { kind, flags, stream, payload: payload.to_vec() }
    }

    /// No more of what comes after `last` was looked at.
    pub fn goaway(last: u32, reason: Reason) -> Frame {
        let payload = [last.to_be_bytes(), u32::from(reason).to_be_bytes()].concat();
        Frame::new(GOAWAY, 0, 0, &payload)
    }
}

impl Frames {
    /// The next connection that comes.
    pub async fn accept(listener: &TcpListener) -> Frames {
        let (stream, _) = patiently(listener.accept(), || "a connection".to_owned()).await.expect("a connection");
        let mut frames = Frames { stream };
        let mut preface = [0; 24];
        frames.stream.read_exact(&mut preface).await.expect("a preface");
        frames.send(&Frame::new(SETTINGS, 0, 0, &[])).await;
        frames
    }

    pub async fn send(&mut self, frame: &Frame) {
        let length = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[frame.kind, frame.flags], &frame.stream.to_be_bytes()].concat();
        // A peer that is gone is for the test to notice.
        let _gone = self.stream.write_all(&[head, frame.payload.clone()].concat()).await;
    }

    /// The next frame of this kind, whatever comes before it; `None` at the end of the connection.
    pub async fn next(&mut self, kind: u8) -> Option<Frame> {
        patiently(
            async {
                loop {
                    let mut head = [0; 9];
                    self.stream.read_exact(&mut head).await.ok()?;
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                    let mut payload = vec![0; length as usize];
                    self.stream.read_exact(&mut payload).await.ok()?;
                    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                    let frame = Frame { kind: head[3], flags: head[4], stream, payload };
                    if frame.kind == SETTINGS && frame.flags == 0 {
                        self.send(&Frame::new(SETTINGS, 1, 0, &[])).await;
                    }
                    if frame.kind == kind {
                        return Some(frame);
                    }
                }
            },
            || format!("a frame of kind {kind}"),
        )
        .await
    }
}

/// What a client of HTTP/2 got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// What came before it.
    pub interim: Vec<http::Response<()>>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
    /// Whether the head was all of it.
    pub is_head: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn trailer(&self, name: &str) -> &str {
        self.trailers.as_ref().and_then(|fields| fields.get(name)).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client of HTTP/2 on one connection.
#[derive(Clone)]
pub struct Http2Client(SendRequest<Bytes>);

impl Http2Client {
    /// With prior knowledge.
    pub async fn connect(addr: SocketAddr) -> Http2Client {
        Http2Client::over(TcpStream::connect(addr).await.expect("a connection")).await
    }

    pub async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Http2Client {
        let (send, connection) = patiently(h2::client::handshake(stream), || "a preface".to_owned()).await.unwrap();
        tokio::spawn(async move {
            let _ended = connection.await;
        });
        Http2Client(send)
    }

    /// Begins a request.
    pub async fn begin(&self, request: Request<()>, ends: bool) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let mut send = self.0.clone().ready().await.expect("a connection that takes requests");
        send.send_request(request, ends).expect("a request is sent")
    }

    /// Whether the connection takes no more requests.
    pub async fn is_closed(&self) -> bool {
        patiently(self.0.clone().ready(), || "a connection, or its end".to_owned()).await.is_err()
    }

    /// Asks with a body and fields after it.
    pub async fn ask(&self, request: Request<()>, body: &[u8], trailers: Option<HeaderMap>) -> Answer {
        let (response, mut stream) = self.begin(request, body.is_empty() && trailers.is_none()).await;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), trailers.is_none()).expect("a body is sent");
        }
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers).expect("trailers are sent");
        }
        answer(response).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.ask(Request::get(format!("http://edge.test{target}")).body(()).unwrap(), b"", None).await
    }
}

/// Reads an answer to its end.
pub async fn answer(mut response: h2::client::ResponseFuture) -> Answer {
    let mut interim = Vec::new();
    let head = poll_fn(|cx| {
        while let Poll::Ready(Some(head)) = response.poll_informational(cx) {
            interim.push(head.expect("an interim response"));
        }
        Pin::new(&mut response).poll(cx)
    });
    let reading = async {
        let (head, mut stream) = head.await?.into_parts();
        let is_head = stream.is_end_stream();
        let (body, trailers) = read_all(&mut stream).await?;
        let (status, headers) = (head.status.as_u16(), head.headers);
        Ok::<_, h2::Error>(Answer { status, interim: Vec::new(), headers, body, trailers, is_head })
    };
    let answer = patiently(reading, || "an answer".to_owned()).await.expect("a whole answer");
    Answer { interim, ..answer }
}
