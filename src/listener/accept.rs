//! A fresh connection on its way to HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::HeaderValue;
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::protocols::tls::TlsRef;
use pingora::protocols::{ALPN, Ssl, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Listener;
use super::proxy_header::{self, Read};
use super::tls::Terms;
use crate::config::Protocols;
use crate::endpoint::Endpoint;

/// How a client of HTTP/2 begins in clear text (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a client is told that speaks HTTP where TLS is spoken.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 45\r\n\
Connection: close\r\n\r\nThis port speaks HTTPS, the request is HTTP.\n";

/// Who comes by a Unix socket: somebody on this machine, whom the mode of its file has let in.
const BESIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A connection on which HTTP begins.
pub struct Accepted {
    /// It, with TLS taken off.
    pub stream: Stream,
    /// The client: the peer, or whom a proxy speaks for.
    pub client: Option<SocketAddr>,
    /// What comes next.
    pub spoken: Spoken,
    /// Whether it is under TLS.
    pub secure: bool,
    /// The subject of the client's certificate, verified.
    pub subject: Option<HeaderValue>,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2; the preface is still to be read.
    Http2,
}

/// Why HTTP does not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// PROXY headers are spoken, and not by this peer.
    NotListed,
    /// What should be a PROXY header is none.
    ProxyHeader,
    /// It is HTTP in clear text and should be TLS.
    NotTls,
    /// The handshake failed, for this reason.
    Handshake(String),
    /// It took too long.
    Timeout,
    /// The peer has left.
    Closed,
}

impl Refusal {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Refusal::NotListed => "not-listed",
            Refusal::ProxyHeader => "proxy-header",
            Refusal::NotTls => "not-tls",
            Refusal::Handshake(_) => "handshake",
            Refusal::Timeout => "timeout",
            Refusal::Closed => "closed",
        }
    }
}

impl Listener {
    /// Whether HTTP/1 begins with the first byte, so that there is nothing to wait for.
    pub fn is_bare(&self) -> bool {
        self.tls.is_none() && self.config.proxy_protocol.is_empty() && !self.config.protocols.http2
    }

    /// Takes a connection to where HTTP begins, within `patience`; `for_preface` is how long a client may be silent that
    /// has yet to show which HTTP it speaks.
    ///
    /// # Errors
    /// Why there is no HTTP. Who speaks HTTP to a TLS port has been told so.
    pub async fn accept(&self, stream: Stream, patience: Duration, for_preface: Duration) -> Result<Accepted, Refusal> {
        let peer = match self.config.address {
            Endpoint::Tcp(_) => stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied()),
            Endpoint::Unix(_) => Some(BESIDE),
        };
        if self.is_bare() {
            return Ok(Accepted { stream, client: peer, spoken: Spoken::Http1, secure: false, subject: None });
        }
        // What accepts gives a socket.
        let mut socket = *stream.into_any().downcast::<Socket>().map_err(|_| Refusal::Closed)?;
        let begun = tokio::time::timeout(patience, self.client_of(&mut socket, peer));
        let client = begun.await.unwrap_or(Err(Refusal::Timeout))?;
        match &self.tls {
            Some(terms) => {
                let shaken = tokio::time::timeout(patience, self.shake(terms, socket, client));
                shaken.await.unwrap_or(Err(Refusal::Timeout))
            }
            None => {
                let looked = tokio::time::timeout(for_preface, self.look(&mut socket));
                let spoken = looked.await.unwrap_or(Err(Refusal::Timeout))?;
                Ok(Accepted { stream: Box::new(socket), client, spoken, secure: false, subject: None })
            }
        }
    }

    /// The peer, or whom it speaks for.
    async fn client_of(&self, socket: &mut Socket, peer: Option<SocketAddr>) -> Result<Option<SocketAddr>, Refusal> {
        if self.config.proxy_protocol.is_empty() {
            Ok(peer)
        } else if peer.is_some_and(|peer| self.speaks_for_others(peer.ip())) {
            Ok(told(socket).await?.or(peer))
        } else {
            Err(Refusal::NotListed)
        }
    }

    /// TLS.
    async fn shake(&self, terms: &Terms, mut socket: Socket, client: Option<SocketAddr>) -> Result<Accepted, Refusal> {
        if is_clear_text(&mut socket).await? {
            // Nobody is left to tell if it fails.
            let _ = socket.write_all(NOT_TLS).await;
            let _ = socket.flush().await;
            return Err(Refusal::NotTls);
        }
        let shaken = terms.acceptor().tls_handshake(socket).await;
        let stream = shaken.map_err(|e| Refusal::Handshake(e.root_cause().to_string()))?;
        let spoken = match stream.selected_alpn_proto() {
            Some(ALPN::H2) => Spoken::Http2,
            _ if self.config.protocols.http1 => Spoken::Http1,
            // Who names no protocol knows what is spoken here.
            _ => Spoken::Http2,
        };
        let subject = stream.get_ssl().and_then(TlsRef::peer_certificate_der).and_then(subject);
        Ok(Accepted { stream: Box::new(stream), client, spoken, secure: true, subject })
    }

    /// Which HTTP comes in clear text: that of the preface, where both are spoken.
    async fn look(&self, socket: &mut Socket) -> Result<Spoken, Refusal> {
        match self.config.protocols {
            Protocols { http2: false, .. } => Ok(Spoken::Http1),
            Protocols { http1: false, .. } => Ok(Spoken::Http2),
            Protocols { .. } => preface(socket).await,
        }
    }

    fn speaks_for_others(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.config.proxy_protocol.iter().any(|net| net.contains(&peer))
    }
}

/// Reads a PROXY header: whom it speaks for, if it says.
async fn told(socket: &mut Socket) -> Result<Option<SocketAddr>, Refusal> {
    let mut read = Vec::new();
    loop {
        more(socket, &mut read).await?;
        match proxy_header::read(&read) {
            Read::Partial => {}
            Read::Whole(length, client) => {
                socket.rewind(read.get(length..).unwrap_or_default());
                return Ok(client);
            }
            Read::Broken => return Err(Refusal::ProxyHeader),
        }
    }
}

/// Whether the client begins like a request and not like a handshake, which begins with byte 22 (RFC 8446 §5.1).
async fn is_clear_text(socket: &mut Socket) -> Result<bool, Refusal> {
    let mut read = Vec::new();
    more(socket, &mut read).await?;
    socket.rewind(&read);
    Ok(read.first().is_some_and(u8::is_ascii_uppercase))
}

/// Whether the client begins with the preface of HTTP/2.
async fn preface(socket: &mut Socket) -> Result<Spoken, Refusal> {
    let mut read = Vec::new();
    let spoken = loop {
        more(socket, &mut read).await?;
        let length = read.len().min(PREFACE.len());
        if read[..length] != PREFACE[..length] {
            break Spoken::Http1;
        }
        if length == PREFACE.len() {
            break Spoken::Http2;
        }
    };
    socket.rewind(&read);
    Ok(spoken)
}

/// Reads what has come.
async fn more(socket: &mut Socket, read: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut bytes = [0; 512];
    match socket.read(&mut bytes).await {
        Ok(count) if count > 0 => {
            read.extend_from_slice(&bytes[..count]);
            Ok(())
        }
        _ => Err(Refusal::Closed),
    }
}

/// The subject of a certificate (RFC 4514), as a field can hold it.
fn subject(der: &[u8]) -> Option<HeaderValue> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let mut text = String::new();
    for c in certificate.subject().to_string().chars() {
        match c {
            ' '..='~' => text.push(c),
            c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| text.push_str(&format!("\\{b:02x}"))),
        }
    }
    HeaderValue::from_str(&text).ok()
}
