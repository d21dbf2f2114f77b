//! From a socket to where HTTP begins, and what is known by then.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use pingora::protocols::{Digest, Stream};

use super::framed::told_digest;
use crate::caller::Link;
use crate::edge::{Edge, Phase};
use crate::listener::{Refusal, Spoken};

/// Our end of a connection that has no address.
const UNKNOWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A connection on which HTTP begins.
pub(super) struct Begun {
    pub stream: Stream,
    /// The peer, or whom it speaks for.
    pub client: Option<SocketAddr>,
    /// The latter.
    pub told: Option<SocketAddr>,
    pub link: Arc<Link>,
    pub spoken: Spoken,
}

/// Takes a connection at the listener in this place through what comes before HTTP; counts why if HTTP does not begin.
pub(super) async fn begin(edge: &Edge, listener: usize, stream: Stream) -> Option<Begun> {
    let (listener, timeouts) = {
        let snapshot = edge.peek();
        (snapshot.listeners().get(listener)?.clone(), snapshot.config().server.timeouts.clone())
    };
    let peer = stream.get_socket_digest().and_then(|digest| digest.peer_addr()?.as_inet().copied());
    let server = stream.get_socket_digest().and_then(|digest| digest.local_addr()?.as_inet().copied());
    let accepted = tokio::select! {
        accepted = listener.accept(stream, timeouts.handshake, timeouts.idle) => accepted,
        () = edge.phase_after(Phase::Serving) => return None,
    };
    match accepted {
        Ok(accepted) => {
            let hsts = listener.hsts().filter(|_| accepted.secure);
            let link = Link {
                secure: accepted.secure,
                hsts: hsts.map_or_else(String::new, |value| format!("Strict-Transport-Security: {value}\r\n")),
                subject: listener.subject_field().cloned().zip(accepted.subject),
                ends: accepted.client.map(|client| (client, server.unwrap_or(UNKNOWN))),
                redirect: listener.config().redirect_to_https,
            };
            let told = accepted.client.filter(|_| accepted.client != peer);
            let (client, spoken) = (accepted.client, accepted.spoken);
            Some(Begun { stream: accepted.stream, client, told, link: Arc::new(link), spoken })
        }
        Err(refusal) => {
            if let (Refusal::Handshake(reason), Some(peer)) = (&refusal, peer) {
                log::debug!("{peer}: TLS handshake at {}: {reason}", listener.address());
            }
            edge.metrics().connection_failed(refusal.as_str());
            None
        }
    }
}

impl Begun {
    /// What pingora is told of it where it speaks HTTP/2.
    pub(super) fn digest(&self) -> Arc<Digest> {
        Arc::new(Digest {
            ssl_digest: self.stream.get_ssl_digest(),
            timing_digest: self.stream.get_timing_digest(),
            proxy_digest: self.stream.get_proxy_digest(),
            socket_digest: told_digest(&self.stream, self.told),
        })
    }
}
