//! What pingora asks of a connection besides its bytes: the one underneath answers.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::protocols::l4::socket::SocketAddr as SocketAddress;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};

use super::Framed;

#[async_trait]
impl Shutdown for Framed {
    async fn shutdown(&mut self) {
        if let Some(stream) = &mut self.stream {
            Shutdown::shutdown(stream.as_mut()).await;
        }
    }
}

impl UniqueID for Framed {
    fn id(&self) -> UniqueIDType {
        self.stream.as_ref().map_or(-1, |s| s.id())
    }
}

impl Ssl for Framed {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.as_ref()?.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.as_ref()?.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.as_ref()?.selected_alpn_proto()
    }
}

impl GetTimingDigest for Framed {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.as_ref().map_or_else(Vec::new, |s| s.get_timing_digest())
    }
}

impl GetProxyDigest for Framed {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.as_ref()?.get_proxy_digest()
    }
}

impl GetSocketDigest for Framed {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        let stream = self.stream.as_ref()?;
        told_digest(stream, self.told)
    }
}

impl Framed {
    /// What pingora is told of the connection.
    pub(in crate::lane) fn digest(&self) -> Digest {
        Digest {
            ssl_digest: self.get_ssl_digest(),
            timing_digest: self.get_timing_digest(),
            proxy_digest: self.get_proxy_digest(),
            socket_digest: self.get_socket_digest(),
        }
    }
}

/// What pingora is told of the ends of a connection whose peer speaks for another.
pub(in crate::lane) fn told_digest(stream: &Stream, told: Option<SocketAddr>) -> Option<Arc<SocketDigest>> {
    let Some(client) = told else { return stream.get_socket_digest() };
    let digest = SocketDigest::from_raw_fd(stream.id());
    // Nobody has asked it yet.
    let _ = digest.peer_addr.set(Some(SocketAddress::Inet(client)));
    Some(Arc::new(digest))
}

impl Peek for Framed {}
