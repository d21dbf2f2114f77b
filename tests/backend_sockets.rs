//! Backends behind Unix sockets, and what connections to backends begin with.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::edge::Edge;
use support::{Folder, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Answers each head on the connection with 204; tells what came before the end of each.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, heads: mpsc::UnboundedSender<Vec<u8>>) {
    let mut read = Vec::new();
    let mut room = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut room).await {
        read.extend_from_slice(&room[..n]);
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) {
            // A header of version 2 begins so.
            let end = if read.starts_with(b"\r\n\r\n\0") && end == 4 {
                let Some(at) = read[16..].windows(4).position(|four| four == b"\r\n\r\n") else { break };
                16 + at + 4
            } else {
                end
            };
            // The test may look at something else.
            let _ = heads.send(read.drain(..end).collect());
            stream.write_all(b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n\r\n").await.unwrap();
        }
    }
}

/// A backend that takes note of what it reads, connection by connection.
async fn backend() -> (SocketAddr, mpsc::UnboundedReceiver<(usize, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (noted, notes) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            let (heads, mut told) = mpsc::unbounded_channel();
            tokio::spawn(answer(stream, heads));
            let noted = noted.clone();
            tokio::spawn(async move {
                while let Some(head) = told.recv().await {
                    // The test may have seen enough.
                    let _ = noted.send((connection, head));
                }
            });
        }
    });
    (addr, notes)
}

fn conf(backends: &str, more: &str) -> String {
    format!("[[pool]]\nname = \"p\"\nbackends = [\"{backends}\"]\n{more}\n[[route]]\npool = \"p\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_may_be_a_unix_socket() {
    let folder = Folder::new();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (heads, mut told) = mpsc::unbounded_channel();
    let accepting = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer(stream, heads.clone()));
        }
    });
    let name = format!("unix:{}", path.display());
    let edge = Edge::start(&conf(&name, "keepalive = false")).await;
    assert_eq!(edge.get("/one").await.status, 204);
    assert!(told.recv().await.unwrap().starts_with(b"GET /one HTTP/1.1\r\n"));
    assert_eq!(edge.admin_get("/pools").await.json()["pools"][0]["backends"][0]["address"], name);
    assert!(edge.admin_get("/metrics").await.text().contains(&format!("backend=\"{name}\"")));

    // A socket that nobody listens on is one that refuses.
    accepting.abort();
    let _ = accepting.await;
    let gone = edge.get("/two").await;
    assert_eq!((gone.status, gone.proxy_error()), (502, "connection_refused".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_told_the_client_by_version_1() {
    let (addr, mut notes) = backend().await;
    let edge = Edge::start(&conf(&addr.to_string(), "proxy_protocol = \"v1\"")).await;
    let mut clients = [edge.client().await, edge.client().await];
    let ours = edge.addr().port();
    for client in &mut clients {
        client.get("/").await;
        let (_, head) = notes.recv().await.unwrap();
        let head = String::from_utf8(head).unwrap();
        let line = head.lines().next().unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!((words[..4].join(" "), words[5]), ("PROXY TCP4 127.0.0.1 127.0.0.1".to_owned(), &*ours.to_string()));
        assert!(head.contains("\r\nGET / HTTP/1.1\r\n"), "{head}");
    }
    // Each goes on on its own connection, without a header; a connection is nobody else's.
    for connection in [0, 1, 0] {
        clients[connection].get("/again").await;
        let (on, head) = notes.recv().await.unwrap();
        assert_eq!(on, connection);
        assert!(head.starts_with(b"GET /again HTTP/1.1\r\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_a_trusted_proxy_speaks_for_is_told_and_nobody_for_a_check() {
    let (addr, mut notes) = backend().await;
    let more = "proxy_protocol = \"v2\"\nhealth = { path = \"/health\", interval = \"1h\" }";
    let conf = format!("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n{}", conf(&addr.to_string(), more));
    let edge = Edge::start(&conf).await;
    let (_, check) = notes.recv().await.unwrap();
    assert!(check.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00GET /health HTTP/1.1\r\n"), "{check:?}");
    let told = |client: &str| Request::get("/").header("X-Forwarded-For", client);
    edge.fetch(&told("192.0.2.7")).await;
    let (_, head) = notes.recv().await.unwrap();
    assert!(
        head.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x00\x00"),
        "{head:?}"
    );
    edge.fetch(&told("2001:db8::7")).await;
    let (_, head) = notes.recv().await.unwrap();
    assert!(head.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24\x20\x01\x0d\xb8"), "{head:?}");
    assert!(head[28..].starts_with(b"\0\0\0\x07"), "{head:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_is_introduced_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Edge::start(&conf(&listener.local_addr().unwrap().to_string(), "proxy_protocol = \"v1\"")).await;
    let mut client = TcpStream::connect(edge.addr()).await.unwrap();
    client
        .write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
    }
    let head = String::from_utf8(read).unwrap();
    let from = client.local_addr().unwrap().port();
    assert!(
        head.starts_with(&format!(
            "PROXY TCP4 127.0.0.1 127.0.0.1 {from} {}\r\nGET /ws HTTP/1.1\r\n",
            edge.addr().port()
        )),
        "{head}"
    );
}

/// A backend that wants certificates which it has signed itself; tells the PROXY header before the handshake, and whose
/// certificate it was shown.
async fn strict_backend(folder: &Folder) -> (SocketAddr, mpsc::UnboundedReceiver<(Vec<u8>, bool)>) {
    let ca = CertifiedIssuer::self_signed(authority(), KeyPair::generate().unwrap()).unwrap();
    let sign = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
        (cert, key)
    };
    let (ours, key) = sign("edge.internal");
    folder.write("ca.pem", &ca.pem());
    folder.write("edge.pem", &ours.pem());
    folder.write("edge.key", &key.serialize_pem());
    let (cert, key) = sign("app.internal");
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![cert.der().clone()], key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (noted, notes) = mpsc::unbounded_channel();
    let ours = ours.der().clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut header = Vec::new();
            while !header.ends_with(b"\r\n") {
                header.push(stream.read_u8().await.unwrap());
            }
            let Ok(stream) = acceptor.accept(stream).await else {
                let _ = noted.send((header, false));
                continue;
            };
            let shown = stream.get_ref().1.peer_certificates().is_some_and(|chain| chain == [ours.clone()]);
            let _ = noted.send((header, shown));
            tokio::spawn(answer(stream, mpsc::unbounded_channel().0));
        }
    });
    (addr, notes)
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_is_shown_our_certificate_after_the_header() {
    let folder = Folder::new();
    let (addr, mut notes) = strict_backend(&folder).await;
    let path = |file: &str| folder.path().join(file).display().to_string();
    let tls = format!("server_name = \"app.internal\", ca = \"{}\"", path("ca.pem"));
    let own = format!("cert = \"{}\", key = \"{}\"", path("edge.pem"), path("edge.key"));
    let pool = |tls: &str| conf(&addr.to_string(), &format!("proxy_protocol = \"v1\"\ntls = {{ {tls} }}"));

    let edge = Edge::start(&pool(&format!("{tls}, {own}"))).await;
    assert_eq!(edge.get("/").await.status, 204);
    let (header, shown) = notes.recv().await.unwrap();
    assert!(header.starts_with(b"PROXY TCP4 127.0.0.1 127.0.0.1 ") && shown, "{header:?}");

    // Without one there is no answer, and the backend is not taken for a good one.
    let edge = Edge::start(&pool(&tls)).await;
    assert_eq!(edge.get("/").await.status, 502);
    assert!(!notes.recv().await.unwrap().1);
}
