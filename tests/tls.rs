//! TLS to backends: who is believed, and what a client is told when nobody is.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use support::edge::Edge;
use support::{Folder, Response};

/// A backend of that name over TLS, and a folder with its authority's certificate in `ca.pem`.
async fn backend(name: &str) -> (SocketAddr, Folder) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &authority).expect("a certificate");
    let folder = Folder::new();
    folder.write("ca.pem", &authority.pem());

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a server's configuration")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not believe us is gone here.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let _gone =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecure").await;
                let _gone = stream.shutdown().await;
            });
        }
    });
    (addr, folder)
}

async fn asked(addr: SocketAddr, tls: &str) -> Response {
    let conf = format!("[[pool]]\nname = \"web\"\nbackends = [\"{addr}\"]\ntls = {tls}\n[[route]]\npool = \"web\"\n");
    Edge::start(&conf).await.get("/").await
}

fn path(folder: &Folder) -> String {
    folder.path().join("ca.pem").display().to_string()
}

#[tokio::test]
async fn a_backend_is_believed_by_its_name_and_its_authority() {
    let (addr, folder) = backend("backend.test").await;
    let tls = format!("{{ server_name = \"backend.test\", ca = \"{}\" }}", path(&folder));
    assert_eq!(asked(addr, &tls).await.expect(200).text(), "secure");
}

#[tokio::test]
async fn another_name_or_authority_is_not_believed() {
    let (addr, folder) = backend("backend.test").await;
    let ca = path(&folder);
    for tls in [format!("{{ ca = \"{ca}\" }}"), "{ server_name = \"backend.test\" }".to_owned()] {
        let answer = asked(addr, &tls).await.expect(502);
        assert_eq!(answer.proxy_error(), "tls_certificate_error", "{tls}");
    }
}

#[tokio::test]
async fn verification_can_be_switched_off() {
    let (addr, _folder) = backend("backend.test").await;
    assert_eq!(asked(addr, "{ verify = false }").await.expect(200).text(), "secure");
}

#[tokio::test]
async fn a_backend_without_tls_is_a_failed_handshake() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let answer = asked(addr, "{ verify = false }").await.expect(502);
    assert_eq!(answer.proxy_error(), "tls_protocol_error");
}
