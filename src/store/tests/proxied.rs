//! The store under pingora's own proxy loop, over sockets: what `flow.rs` counts on is a property of that loop.

use std::sync::Arc;

use pingora::apps::ServerApp;
use pingora::cache::RespCacheable;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as L4;
use pingora::proxy::{HttpProxy, ProxyHttp, Session, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::*;

const CHUNK: usize = 64 * 1024;
const LIMIT: usize = 4 << 20;

struct Edge {
    store: &'static Store,
    origin: std::net::SocketAddr,
}

#[async_trait::async_trait]
impl ProxyHttp for Edge {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }

    fn request_cache_filter(&self, session: &mut Session, (): &mut ()) -> pingora::Result<()> {
        session.cache.enable(self.store, None, None, None, None);
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, (): &mut ()) -> pingora::Result<CacheKey> {
        Ok(key(session.req_header().uri.path()))
    }

    fn response_cache_filter(
        &self,
        _: &Session,
        response: &ResponseHeader,
        (): &mut (),
    ) -> pingora::Result<RespCacheable> {
        let now = crate::clock::wall();
        let meta = CacheMeta::new(now + Duration::from_secs(60), now, 0, 0, response.clone());
        Ok(RespCacheable::Cacheable(meta))
    }
}

/// An edge before an origin that sends each chunk it is told to, and closes when told no more.
struct House {
    store: &'static Store,
    proxy: Arc<HttpProxy<Edge>>,
    /// One per connection to the origin: how the test sends chunks.
    origins: mpsc::Receiver<mpsc::Sender<Bytes>>,
    _running: watch::Sender<bool>,
    shutdown: watch::Receiver<bool>,
}

impl House {
    async fn new() -> House {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap();
        let (connected, origins) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (chunks, script) = mpsc::channel(1);
                tokio::spawn(answer(socket, script));
                if connected.send(chunks).await.is_err() {
                    return;
                }
            }
        });
        let store = Store::new(Params { memory: 64 * MIB, max_object: LIMIT as u64, admission: Admission::TinyLfu });
        let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), Edge { store, origin }));
        let (running, shutdown) = watch::channel(false);
        House { store, proxy, origins, _running: running, shutdown }
    }

    /// A client that has asked with `method`.
    async fn client(&self, method: &str) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let stream: Stream = Box::new(L4::from(accepted.unwrap().0));
        let (proxy, shutdown) = (Arc::clone(&self.proxy), self.shutdown.clone());
        tokio::spawn(async move { proxy.process_new(stream, &shutdown).await });
        let mut client = client.unwrap();
        let request = format!("{method} /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }
}

async fn answer(mut socket: TcpStream, mut script: mpsc::Receiver<Bytes>) {
    let mut head = [0; 4096];
    let _ = socket.read(&mut head).await;
    let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    while let Some(chunk) = script.recv().await {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(&chunk);
        wire.extend_from_slice(b"\r\n");
        if socket.write_all(&wire).await.is_err() {
            return;
        }
        wire.clear();
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    let _ = socket.write_all(&wire).await;
}

/// Reads a chunked response to its end: the body, and whether the end was clean.
async fn receive(client: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut wire = Vec::new();
    let _ = client.read_to_end(&mut wire).await;
    unchunk(&wire)
}

fn unchunk(wire: &[u8]) -> (Vec<u8>, bool) {
    let head = wire.windows(4).position(|w| w == b"\r\n\r\n").map_or(wire.len(), |at| at + 4);
    let (mut rest, mut body) = (&wire[head..], Vec::new());
    loop {
        let Some(line) = rest.windows(2).position(|w| w == b"\r\n") else { return (body, false) };
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        rest = &rest[line + 2..];
        if length == 0 {
            return (body, true);
        }
        if rest.len() < length + 2 {
            return (body, false);
        }
        body.extend_from_slice(&rest[..length]);
        rest = &rest[length + 2..];
    }
}

fn chunk(n: usize) -> Bytes {
    Bytes::from(vec![n as u8; CHUNK])
}

fn chunks(n: usize) -> Vec<u8> {
    (0..n).flat_map(|n| vec![n as u8; CHUNK]).collect()
}

#[tokio::test]
async fn two_clients_get_all_of_what_is_too_large_within_bounded_memory() {
    let mut house = House::new().await;
    let mut first = house.client("GET").await;
    let origin = house.origins.recv().await.unwrap();
    origin.send(chunk(0)).await.unwrap();
    // The head has come through, so the fill is there to be joined.
    first.readable().await.unwrap();
    let mut second = house.client("GET").await;
    second.readable().await.unwrap();
    let store = house.store;
    let send = async move {
        let mut most = 0;
        for n in 1..400 {
            origin.send(chunk(n)).await.unwrap();
            most = most.max(store.stats().filling);
        }
        most
    };
    let (most, one, two) = tokio::join!(send, receive(&mut first), receive(&mut second));
    assert!(one == (chunks(400), true));
    assert!(two == (chunks(400), true));
    assert!(most <= (LIMIT + (2 << 20)) as u64, "{most}");
    let stats = house.store.stats();
    assert_eq!((stats.objects, stats.cut, stats.fills), (0, 0, 0));
    assert_eq!(stats.not_stored[NotStored::TooLarge as usize], 1);
    assert!(house.origins.try_recv().is_err(), "one fetch for both");
}

#[tokio::test]
async fn a_slow_client_holds_back_the_origin_and_gets_all() {
    let mut house = House::new().await;
    let mut client = house.client("GET").await;
    let origin = house.origins.recv().await.unwrap();
    let (mut wire, mut buffer) = (Vec::new(), vec![0; CHUNK]);
    for n in 0..300 {
        let mut send = std::pin::pin!(origin.send(chunk(n)));
        // Reads only when nothing else moves.
        while futures::poll!(send.as_mut()).is_pending() {
            tokio::task::yield_now().await;
            if let Ok(length) = client.try_read(&mut buffer) {
                wire.extend_from_slice(&buffer[..length]);
            }
        }
        assert!(house.store.stats().filling <= (LIMIT + (2 << 20)) as u64);
    }
    drop(origin);
    client.read_to_end(&mut wire).await.unwrap();
    assert!(unchunk(&wire) == (chunks(300), true));
    assert_eq!(house.store.stats().cut, 0);
}

#[tokio::test]
async fn a_client_that_leaves_ends_a_transfer_too_large_to_store() {
    let mut house = House::new().await;
    let client = house.client("GET").await;
    let origin = house.origins.recv().await.unwrap();
    origin.send(chunk(0)).await.unwrap();
    client.readable().await.unwrap();
    drop(client);
    let mut sent = 0;
    while origin.send(chunk(sent)).await.is_ok() {
        sent += 1;
        assert!(sent < 1000);
    }
    while house.store.stats().fills > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_one_that_is_stored() {
    let mut house = House::new().await;
    let client = house.client("GET").await;
    let origin = house.origins.recv().await.unwrap();
    origin.send(chunk(0)).await.unwrap();
    client.readable().await.unwrap();
    drop(client);
    for n in 1..20 {
        origin.send(chunk(n)).await.unwrap();
    }
    drop(origin);
    let mut second = house.client("GET").await;
    let mut wire = Vec::new();
    second.read_to_end(&mut wire).await.unwrap();
    assert!(house.origins.try_recv().is_err());
    let head = String::from_utf8_lossy(&wire[..wire.len().min(300)]).to_lowercase();
    let body = if head.contains("transfer-encoding: chunked") {
        unchunk(&wire).0
    } else {
        wire.split_off(wire.len() - 20 * CHUNK)
    };
    assert!(body == chunks(20));
}
