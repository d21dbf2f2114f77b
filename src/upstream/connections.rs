//! How backends are reached: over HTTP/1.1 on connections that are kept from one request to the next, over HTTP/2 on ones that
//! requests share.

use std::sync::Arc;

use pingora::connectors::TransportConnector;
use pingora::upstreams::peer::HttpPeer;

use super::{Connection, Failure, Introduction, Member, Request, h1, h2};
use crate::config::Http2;

/// Connections to all backends.
pub struct Connections {
    tls: Arc<TransportConnector>,
    kept: Arc<h1::Kept>,
    links: Arc<h2::Links>,
}

impl Connections {
    /// None yet.
    pub fn new() -> Arc<Connections> {
        let tls = Arc::new(TransportConnector::new(None));
        Arc::new(Connections { kept: h1::Kept::new(), links: h2::Links::new(tls.clone()), tls })
    }

    /// The connection with this `key` that was used last, if it is still open.
    pub fn take(&self, key: u64) -> Option<Box<h1::Connection>> {
        self.kept.take(key)
    }

    /// A new connection, introduced by `opening`; it may be taken again by `key`.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connect(
        &self,
        key: u64,
        peer: &HttpPeer,
        opening: Option<Introduction>,
    ) -> Result<Box<h1::Connection>, Failure> {
        h1::Connection::connect(key, peer, &self.tls, opening).await
    }

    /// Keeps a connection to `member` for its next exchange, if there may be one.
    pub fn put(&self, member: &Member, http: Connection) {
        // A stream has its connection from the start, and gives back its place as it is dropped.
        if let Connection::Http1(http) = http {
            self.kept.put(&member.peer, http);
        }
    }

    /// A place on a connection to `member` that others share.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn enter(&self, member: &Member, config: &Http2) -> Result<h2::Place, Failure> {
        self.links.enter(member.key, &member.peer, config).await
    }

    /// Asks on a connection of its own, introduced by `opening`; `http2` says that and how HTTP/2 is spoken, where nobody is introduced.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn ask_alone(
        &self,
        member: &Member,
        http2: Option<&Http2>,
        opening: Option<Introduction>,
        request: &Request,
    ) -> Result<Connection, Failure> {
        match (request, http2) {
            (Request::Http1(request), _) => {
                let mut http = self.connect(member.key, &member.peer, opening).await?;
                http.send(request, &[]).await?;
                Ok(Connection::Http1(http))
            }
            (Request::Http2(request), Some(config)) => {
                let stream = self.links.ask_alone(&member.peer, config, request).await?;
                Ok(Connection::Http2(Box::new(stream)))
            }
            (Request::Http2(_), None) => Err(Failure::WriteFailed),
        }
    }
}
