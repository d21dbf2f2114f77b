//! What clients are offered by TLS.

use std::sync::Arc;

use pingora::listeners::tls::Acceptor;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, version};

use super::names::Names;
use crate::config::{ClientAuth, ClientCertificate, ListenerTls, Protocols, TlsVersion};

/// Sessions of TLS 1.2 remembered for clients that know no tickets.
const SESSIONS: usize = 4096;

/// One listener's, ready for handshakes.
pub(super) struct Terms {
    acceptor: Acceptor,
    tickets: Arc<dyn ProducesTickets>,
}

impl Terms {
    /// As configured. Tickets given out `before` stay good unless other clients are to be let in now.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn new(
        tls: &ListenerTls,
        protocols: Protocols,
        before: Option<(&ListenerTls, &Terms)>,
    ) -> Result<Terms, String> {
        let provider = Arc::new(default_provider());
        let versions: &[_] = match tls.min_version {
            TlsVersion::V1_2 => &[&version::TLS13, &version::TLS12],
            TlsVersion::V1_3 => &[&version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|e| format!("cannot speak TLS: {e}"))?;
        let builder = match &tls.client_auth {
            None => builder.with_no_client_auth(),
            Some(auth) => builder.with_client_cert_verifier(verifier(auth, provider)?),
        };
        let certificates = tls.certificates.iter().map(|files| &files.read);
        let mut config = builder.with_cert_resolver(Arc::new(Names::new(certificates, tls.strict_sni)));
        config.alpn_protocols = alpn(protocols);
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS);
        let kept = before.filter(|(before, _)| before.client_auth == tls.client_auth).map(|(_, terms)| &terms.tickets);
        let tickets = match kept {
            Some(tickets) => tickets.clone(),
            None => Ticketer::new().map_err(|e| format!("cannot make keys for tickets: {e}"))?,
        };
        config.ticketer = tickets.clone();
        Ok(Terms { acceptor: Acceptor::from_server_config(Arc::new(config)), tickets })
    }

    /// What makes the handshakes.
    pub(super) fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }
}

/// By preference.
fn alpn(protocols: Protocols) -> Vec<Vec<u8>> {
    let words = [(protocols.http2, &b"h2"[..]), (protocols.http1, &b"http/1.1"[..])];
    words.into_iter().filter(|(spoken, _)| *spoken).map(|(_, word)| word.to_vec()).collect()
}

fn verifier(
    auth: &ClientAuth,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let file = auth.ca.display();
    let mut roots = RootCertStore::empty();
    for authority in &auth.authorities {
        roots.add(authority.clone()).map_err(|e| format!("{file}: a certificate is not of use: {e}"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match auth.mode {
        ClientCertificate::Required => builder,
        ClientCertificate::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|e| format!("{file}: {e}"))
}
