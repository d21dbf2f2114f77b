//! `[[listener]]`: where clients connect, and what is spoken there.

mod read;

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;

pub(super) use read::read;

use crate::certificate::Certificate;
use crate::endpoint::Endpoint;

/// `[[listener]]`: an address where clients connect, and what is spoken there.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The address.
    pub address: Endpoint,
    /// Who may connect to a Unix socket: the mode of its file.
    pub mode: Option<u32>,
    /// Which versions of HTTP.
    pub protocols: Protocols,
    /// Who begins each connection with a PROXY header; nobody else may connect then. Empty: nobody does.
    pub proxy_protocol: Vec<IpNet>,
    /// Every request is answered with a redirect to HTTPS at this port.
    pub redirect_to_https: Option<u16>,
    /// TLS, if it is spoken.
    pub tls: Option<ListenerTls>,
}

impl Listener {
    /// One of `[server] listen`.
    pub fn plain(address: Endpoint) -> Listener {
        let protocols = Protocols { http1: true, http2: false };
        Listener { address, mode: None, protocols, proxy_protocol: Vec::new(), redirect_to_https: None, tls: None }
    }
}

/// The versions of HTTP a listener speaks; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1 (and 1.0).
    pub http1: bool,
    /// HTTP/2; in clear text with prior knowledge (RFC 9113 §3.3).
    pub http2: bool,
}

/// `tls = { … }` of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// At least one; the first is for clients that ask for no name, or for an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// Whether clients that ask for no known name are refused.
    pub strict_sni: bool,
    /// `Strict-Transport-Security`, if it is sent.
    pub hsts: Option<Hsts>,
    /// Which certificates clients must or may have, if they are asked for one.
    pub client_auth: Option<ClientAuth>,
}

/// A certificate with its key, and the files they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
    /// The staple (DER).
    pub ocsp: Option<PathBuf>,
    /// What was in them.
    pub read: Certificate,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246
    V1_2,
    /// RFC 8446
    V1_3,
}

/// `hsts = { … }`: what browsers remember of a host (RFC 6797).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// For how long.
    pub max_age: Duration,
    /// Whether it holds for the hosts below, too.
    pub include_subdomains: bool,
    /// Whether the owner consents to be on the lists that browsers bring along.
    pub preload: bool,
}

/// `client_auth = { … }`: certificates of clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAuth {
    /// Where the authorities came from.
    pub ca: PathBuf,
    /// Who has to have signed them.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Whether one is needed.
    pub mode: ClientCertificate,
    /// The field that tells backends the subject; nobody else can set it.
    pub header: Option<HeaderName>,
}

/// Whether a client needs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Without one there is no connection.
    Required,
    /// Without one there is no subject.
    Optional,
}
