//! The certificate that all edges show.

use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::CertificateDer;

use crate::load::secure::NAME;

/// One that signed itself, with its key (ECDSA on P-256).
pub(crate) struct Certificate(CertifiedKey<KeyPair>);

impl Certificate {
    pub(crate) fn new() -> Result<Certificate, Box<dyn Error>> {
        Ok(Certificate(rcgen::generate_simple_self_signed([NAME.to_owned()])?))
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.0.cert.der()
    }

    /// Writes `edge.crt`, `edge.key` and both as `edge.pem`.
    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        let (cert, key) = (self.0.cert.pem(), self.0.signing_key.serialize_pem());
        fs::write(folder.join("edge.pem"), format!("{cert}{key}"))?;
        fs::write(folder.join("edge.crt"), cert)?;
        fs::write(folder.join("edge.key"), key)
    }
}
