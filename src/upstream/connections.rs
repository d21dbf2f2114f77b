//! How backends are reached: over HTTP/1.1 on connections that are kept from one request to the next, over HTTP/2 on ones that
//! requests share.

use std::sync::Arc;

use pingora::connectors::TransportConnector;
use pingora::upstreams::peer::HttpPeer;

use super::{Connection, Failure, Member, Request, h1, h2};
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

    /// The connection to `member` that was used last, if it is still open.
    pub fn take(&self, member: &Member) -> Option<Box<h1::Connection>> {
        self.kept.take(member.key)
    }

    /// A new connection.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn connect(&self, peer: &HttpPeer) -> Result<Box<h1::Connection>, Failure> {
        h1::Connection::connect(peer, &self.tls).await
    }

    /// Keeps a connection to `member` for its next exchange, if there may be one.
    pub fn put(&self, member: &Member, http: Connection) {
        // A stream has its connection from the start, and gives back its place as it is dropped.
        if let Connection::Http1(http) = http {
            self.kept.put(member.key, &member.peer, http);
        }
    }

    /// A place on a connection to `member` that others share.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn enter(&self, member: &Member, config: &Http2) -> Result<h2::Place, Failure> {
        self.links.enter(member.key, &member.peer, config).await
    }

    /// Asks on a connection of its own; `http2` says that and how HTTP/2 is spoken.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn ask_alone(
        &self,
        peer: &HttpPeer,
        http2: Option<&Http2>,
        request: &Request,
    ) -> Result<Connection, Failure> {
        match (request, http2) {
            (Request::Http1(request), _) => {
                let mut http = self.connect(peer).await?;
                http.send(request, &[]).await?;
                Ok(Connection::Http1(http))
            }
            (Request::Http2(request), Some(config)) => {
                let stream = self.links.ask_alone(peer, config, request).await?;
                Ok(Connection::Http2(Box::new(stream)))
            }
            (Request::Http2(_), None) => Err(Failure::WriteFailed),
        }
    }
}
