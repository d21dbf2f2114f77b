//! Certificates of a test's own, and clients that trust them.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Folder, patiently};

/// An authority that signs certificates into a folder.
pub struct Authority {
    pub issuer: CertifiedIssuer<'static, KeyPair>,
    pub folder: Folder,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = Folder::new();
        folder.write("ca.pem", &issuer.pem());
        Authority { issuer, folder }
    }

    pub fn sign(&self, names: &[&str]) -> (CertificateDer<'static>, KeyPair, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, names[0].clone());
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.der().clone(), key, signed.pem())
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write(&self, file: &str, names: &[&str]) -> CertificateDer<'static> {
        let (der, key, pem) = self.sign(names);
        self.folder.write(&format!("{file}.pem"), &pem);
        self.folder.write(&format!("{file}.key"), &key.serialize_pem());
        der
    }

    pub fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }

    /// The certificates of these files as a configuration has them.
    pub fn certificates(&self, files: &[&str]) -> String {
        let one = |file: &&str| {
            let (cert, key) = (self.path(&format!("{file}.pem")), self.path(&format!("{file}.key")));
            format!("{{ cert = \"{cert}\", key = \"{key}\" }}")
        };
        format!("certificates = [{}]", files.iter().map(one).collect::<Vec<_>>().join(", "))
    }

    /// A client that trusts it, offers these protocols, and shows this certificate.
    pub fn client(&self, alpn: &[&str], own: Option<&[&str]>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(names) => {
                let (der, key, _) = self.sign(names);
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(vec![der], key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|word| word.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// A connection to an edge under TLS, to the server of this name.
pub async fn connect(connector: &TlsConnector, addr: SocketAddr, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    patiently(connector.connect(name, stream), || "a handshake".to_owned()).await
}
