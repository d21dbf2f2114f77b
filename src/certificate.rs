//! A certificate with its key, as it stands in PEM files, checked before anything relies on it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A file larger than this is none of ours: bytes.
const MAX_FILE: u64 = 1 << 20;

/// A chain of certificates, the key of its first one, and what that one says of itself.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    subject: String,
    valid: (SystemTime, SystemTime),
}

/// What is wrong with which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The certificates.
    Chain(String),
    /// The key.
    Key(String),
    /// The staple.
    Ocsp(String),
}

impl Certificate {
    /// Reads a chain, leaf first, and the leaf's key; and a response of its authority (OCSP, DER) to be stapled.
    ///
    /// # Errors
    /// A file that cannot be read, that holds nothing of its kind, a key that is not the leaf's, a leaf without a name.
    pub fn read(chain: &Path, key: &Path, ocsp: Option<&Path>) -> Result<Certificate, Mistake> {
        let (mut read, _) = Certificate::pair(chain, key)?;
        if read.names.is_empty() {
            return Err(Mistake::Chain("names no host (subjectAltName): no client would accept it".to_owned()));
        }
        if let Some(path) = ocsp {
            let staple = bytes(path).map_err(Mistake::Ocsp)?;
            let certified = CertifiedKey::clone(&read.key);
            read.key = Arc::new(CertifiedKey { ocsp: Some(staple).filter(|staple| !staple.is_empty()), ..certified });
        }
        Ok(read)
    }

    /// A chain, leaf first, and the leaf's key, which is given back too.
    fn pair(chain: &Path, key: &Path) -> Result<(Certificate, PrivateKeyDer<'static>), Mistake> {
        let certificates = authorities(chain).map_err(Mistake::Chain)?;
        let leaf = certificates.first().map(|der| der.as_ref()).unwrap_or_default();
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|e| Mistake::Chain(format!("cannot be read: {e}")))?;
        let names = names(&parsed);
        let valid = (time(parsed.validity().not_before.timestamp()), time(parsed.validity().not_after.timestamp()));
        let subject = parsed.subject().to_string();
        let key = private_key(key).map_err(Mistake::Key)?;
        let signing = any_supported_type(&key).map_err(|_| Mistake::Key("is of a kind not supported".to_owned()))?;
        let certified = CertifiedKey::new(certificates, signing);
        match certified.keys_match() {
            // Unknown: the kind of key cannot tell; the handshake will.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(_) => return Err(Mistake::Key(format!("is not the key of {}", chain.display()))),
        }
        Ok((Certificate { key: Arc::new(certified), names, subject, valid }, key))
    }

    /// Chain and key as a handshake needs them.
    pub fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The hosts it is for, in lower case; one may begin with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Why it is not valid at `now`, if it is not; or that it will not be so for long.
    pub fn complaint(&self, now: SystemTime) -> Option<String> {
        let (from, to) = self.valid;
        let day = |at: SystemTime| httpdate::fmt_http_date(at.max(SystemTime::UNIX_EPOCH));
        if now < from {
            Some(format!("is not valid before {}", day(from)))
        } else if now >= to {
            Some(format!("has expired on {}", day(to)))
        } else if to.duration_since(now).is_ok_and(|left| left < SOON) {
            Some(format!("expires on {}", day(to)))
        } else {
            None
        }
    }

    /// When it ceases to be valid.
    pub fn expires(&self) -> SystemTime {
        self.valid.1
    }
}

/// A certificate with its key as a client of TLS shows it.
#[derive(Clone, PartialEq)]
pub struct ClientIdentity {
    certificate: Certificate,
    key: Arc<[u8]>,
}

impl ClientIdentity {
    /// Reads a chain, leaf first, and the leaf's key.
    ///
    /// # Errors
    /// As [`Certificate::read`]; its leaf need not name a host.
    pub fn read(chain: &Path, key: &Path) -> Result<ClientIdentity, Mistake> {
        let (certificate, key) = Certificate::pair(chain, key)?;
        Ok(ClientIdentity { certificate, key: key.secret_der().into() })
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The key (DER).
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

/// Without the key.
impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificate.fmt(f)
    }
}

/// What is left of a certificate's time when it is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 86_400);

/// The same if it is the same chain with the same staple; a key that fits the leaf makes no difference to anyone.
impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        self.key.cert == other.key.cert && self.key.ocsp == other.key.ocsp
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// All certificates of a PEM file.
///
/// # Errors
/// A sentence for the operator if it cannot be read or holds none.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = bytes(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no certificate (PEM)".to_owned()),
        Ok(found) => Ok(found),
        Err(e) => Err(format!("is no PEM file: {e}")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = bytes(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound if text.windows(9).any(|window| window == b"ENCRYPTED") => {
            "is encrypted; a server starts without anybody to type the password".to_owned()
        }
        pem::Error::NoItemsFound => "holds no private key (PEM)".to_owned(),
        e => format!("is no PEM file: {e}"),
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let length = std::fs::metadata(path).map_err(|e| cannot_read(&e))?.len();
    if length > MAX_FILE {
        return Err(format!("has {length} bytes, which no certificate needs"));
    }
    std::fs::read(path).map_err(|e| cannot_read(&e))
}

fn cannot_read(e: &std::io::Error) -> String {
    format!("cannot be read: {e}")
}

/// The names for which a client would accept it; those of the subject do not count (RFC 9525 §2).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        // Nobody asks for an address by name, but such a certificate has a use.
        GeneralName::IPAddress(octets) => address(octets),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(std::net::IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(std::net::IpAddr::from)).ok().map(|ip| ip.to_string())
}

fn time(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs());
    let at =
        if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(span) } else { SystemTime::UNIX_EPOCH.checked_add(span) };
    at.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Pair {
        _folder: tempfolder::Folder,
        chain: PathBuf,
        key: PathBuf,
    }

    mod tempfolder {
        use std::path::{Path, PathBuf};

        pub(super) struct Folder(PathBuf);

        impl Folder {
            pub(super) fn new() -> Folder {
                let path = std::env::temp_dir().join(format!("certificate-{:x}", fastrand::u64(..)));
                std::fs::create_dir(&path).unwrap();
                Folder(path)
            }

            pub(super) fn path(&self) -> &Path {
                &self.0
            }
        }

        impl Drop for Folder {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    fn pair(names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = tempfolder::Folder::new();
        let (chain, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Pair { _folder: folder, chain, key }
    }

    #[test]
    fn a_pair_is_read_with_its_names() {
        let pair = pair(&["Shop.example", "*.shop.example", "192.0.2.1"]);
        let read = Certificate::read(&pair.chain, &pair.key, None).unwrap();
        assert_eq!(read.names(), ["shop.example", "*.shop.example", "192.0.2.1"]);
        assert_eq!(read, Certificate::read(&pair.chain, &pair.key, None).unwrap());
        assert!(!format!("{read:?}").to_lowercase().contains("private"));
    }

    #[test]
    fn the_key_of_another_is_found_out() {
        let (a, b) = (pair(&["a.example"]), pair(&["a.example"]));
        let mistake = Certificate::read(&a.chain, &b.key, None).unwrap_err();
        assert!(matches!(&mistake, Mistake::Key(text) if text.starts_with("is not the key of")), "{mistake:?}");
        let read = |pair: &Pair| Certificate::read(&pair.chain, &pair.key, None).unwrap();
        assert_ne!(read(&a), read(&b));
    }

    #[test]
    fn what_is_no_certificate_says_which_file() {
        let pair = pair(&["a.example"]);
        let swapped = Certificate::read(&pair.key, &pair.chain, None).unwrap_err();
        assert_eq!(swapped, Mistake::Chain("holds no certificate (PEM)".to_owned()));
        let missing = Certificate::read(&pair.chain, Path::new("/nowhere"), None).unwrap_err();
        assert!(matches!(missing, Mistake::Key(text) if text.starts_with("cannot be read")));
        std::fs::write(&pair.key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
            .unwrap();
        let encrypted = Certificate::read(&pair.chain, &pair.key, None).unwrap_err();
        assert!(matches!(encrypted, Mistake::Key(text) if text.starts_with("is encrypted")));
    }

    #[test]
    fn its_time_is_judged() {
        let pair = pair(&["a.example"]);
        let read = Certificate::read(&pair.chain, &pair.key, None).unwrap();
        let (from, to) = read.valid;
        assert_eq!(read.complaint(from), None);
        assert!(read.complaint(from - Duration::from_secs(1)).unwrap().starts_with("is not valid before"));
        assert!(read.complaint(to).unwrap().starts_with("has expired on"));
        assert!(read.complaint(to - Duration::from_secs(86_400)).unwrap().starts_with("expires on"));
    }
}
