//! The address, clocks and TLS of a backend as pingora's connector wants them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora::protocols::tls::CaType;
use pingora::protocols::{ALPN, TcpKeepalive};
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config;
use crate::endpoint::Endpoint;

/// A dead host is noticed on an idle connection after about a minute.
const TCP_KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(30),
    interval: Duration::from_secs(10),
    count: 3,
    #[cfg(target_os = "linux")]
    user_timeout: Duration::from_secs(0),
};

/// What all peers of a pool share: read once when the pool is built.
#[derive(Clone)]
pub struct Template {
    tls: Option<config::Tls>,
    ca: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
    timeouts: config::UpstreamTimeouts,
    alpn: ALPN,
    group: u64,
}

impl Template {
    /// Reads the certificate authorities, if any.
    ///
    /// # Errors
    /// A sentence for the operator when the file cannot be read or holds no certificate.
    pub fn new(pool: &config::Pool) -> Result<Template, String> {
        let ca = match pool.tls.as_ref().and_then(|tls| tls.ca.as_deref()) {
            Some(path) => Some(authorities(path)?),
            None => None,
        };
        let identity = pool.tls.as_ref().and_then(|tls| tls.identity.as_ref()).map(shown);
        // Connections made under other rules of trust, or for another protocol, are not shared.
        let mut group = DefaultHasher::new();
        if let Some(tls) = &pool.tls {
            (&tls.server_name, tls.verify, &tls.ca).hash(&mut group);
            if let Some(identity) = &tls.identity {
                identity.read.certificate().key().cert.iter().for_each(|der| der.as_ref().hash(&mut group));
            }
        }
        pool.http2.hash(&mut group);
        let alpn = if pool.http2.is_some() { ALPN::H2 } else { ALPN::H1 };
        let (tls, timeouts) = (pool.tls.clone(), pool.timeouts.clone());
        Ok(Template { alpn, tls, ca, identity, timeouts, group: group.finish() })
    }

    /// The peer at `endpoint`, written in the configuration as `host`.
    pub fn peer(&self, endpoint: &Endpoint, host: &str) -> HttpPeer {
        // The server name is never empty: with an empty one pingora would skip verification.
        let name = self.tls.as_ref().map(|tls| tls.server_name.clone().unwrap_or_else(|| host.to_owned()));
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut peer = HttpPeer::new(endpoint.tcp().unwrap_or(nowhere), self.tls.is_some(), name.unwrap_or_default());
        if let Endpoint::Unix(path) = endpoint {
            // The checker has seen that the path fits.
            peer._address = UnixAddress::from_pathname(path).map_or(peer._address, Address::Unix);
        }
        peer.client_cert_key = self.identity.clone();
        peer.group_key = self.group;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.read_timeout = Some(self.timeouts.between_bytes);
        options.write_timeout = Some(self.timeouts.write);
        options.idle_timeout = Some(self.timeouts.idle);
        options.alpn = self.alpn.clone();
        options.tcp_keepalive = Some(TCP_KEEPALIVE);
        if let Some(tls) = &self.tls {
            options.verify_cert = tls.verify;
            options.verify_hostname = tls.verify;
            options.ca = self.ca.clone();
        }
        peer
    }
}

/// The certificate that backends are shown.
fn shown(identity: &config::Identity) -> Arc<CertKey> {
    let chain = &identity.read.certificate().key().cert;
    let chain = chain.iter().map(|der| der.as_ref().to_vec()).collect();
    Arc::new(CertKey::new(chain, identity.read.key().to_vec()))
}

fn authorities(path: &Path) -> Result<Arc<CaType>, String> {
    let text = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut certificates = Vec::new();
    for pem in Pem::iter_from_buffer(&text) {
        let pem = pem.map_err(|e| format!("{} is not PEM: {e}", path.display()))?;
        // Checked here, because the wrapper below would panic on what is not a certificate.
        X509Certificate::from_der(&pem.contents)
            .map_err(|e| format!("{} holds a block that is not a certificate: {e}", path.display()))?;
        certificates.push(WrappedX509::new(pem.contents, parse_x509));
    }
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate", path.display()));
    }
    Ok(certificates.into())
}
