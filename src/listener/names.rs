//! Which certificate a client is shown, by the name it asks for (SNI).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Certificate;

/// Certificates by name. Of several for one name the first is shown that the client can verify.
#[derive(Debug)]
pub(super) struct Names {
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`, which stands for one label (RFC 9525 §6.3).
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For who asks for nothing that is known.
    others: Vec<Arc<CertifiedKey>>,
}

impl Names {
    /// Of these certificates. Unless `strict`, the first is shown to who asks for no name, or for an unknown one, and
    /// with it others for the same names.
    pub(super) fn new<'a>(certificates: impl Iterator<Item = &'a Certificate>, strict: bool) -> Names {
        let mut names = Names { exact: HashMap::new(), wildcard: HashMap::new(), others: Vec::new() };
        let mut first: Option<&Certificate> = None;
        for certificate in certificates {
            for name in certificate.names() {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut names.wildcard, parent),
                    None => (&mut names.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(certificate.key().clone());
            }
            if !strict && first.is_none_or(|first| first.names() == certificate.names()) {
                first.get_or_insert(certificate);
                names.others.push(certificate.key().clone());
            }
        }
        names
    }

    fn known(&self, name: &str) -> Option<&[Arc<CertifiedKey>]> {
        let parent = || name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent));
        self.exact.get(name).or_else(parent).map(Vec::as_slice)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls gives the name in lower case and without a dot at its end.
        let known = hello.server_name().and_then(|name| self.known(name)).unwrap_or(&self.others);
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        known.iter().find(fits).or(known.first()).cloned()
    }
}
