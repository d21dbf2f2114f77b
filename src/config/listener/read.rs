//! Reading `[[listener]]`.

use std::time::{Duration, SystemTime};

use http::HeaderName;

use super::super::read::{Located, Section};
use super::super::server::{endpoint, networks};
use super::super::value::Value;
use super::super::{Config, defaults};
use super::{CertificateFiles, ClientAuth, ClientCertificate, Hsts, Listener, ListenerTls, Protocols, TlsVersion};
use crate::certificate::{self, Certificate, Mistake};

/// How long browsers may be told to ask by HTTPS alone.
const HSTS_AGE: std::ops::RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10 * 365 * 86_400);

/// Reads one `[[listener]]`; `None` after an error. `now` is when its certificates have to be valid.
pub(in crate::config) fn read<'a>(mut section: Section<'a>, now: SystemTime) -> Option<Located<'a, Listener>> {
    let expected = "an address such as \"0.0.0.0:8443\"";
    let written = section.required("address", expected);
    let spot = written.as_ref().map_or_else(|| section.spot.clone(), |value| value.spot.clone());
    let address = written.and_then(|value| endpoint(&value, expected, defaults::LISTEN.port()));
    let mode = section.optional("mode").and_then(|value| mode(&value));
    if mode.is_some() && address.as_ref().is_some_and(|address| address.tcp().is_some()) {
        section.spot_of("mode").error("is for Unix sockets: an address has no mode");
    }
    let tls = section.section("tls");
    let tls = if tls.is_present() { Some(read_tls(tls, now)) } else { None };
    let protocols = section.optional("protocols").map(|value| protocols(&value));
    let default = Protocols { http1: true, http2: tls.is_some() };
    let proxy_protocol = section.optional("proxy_protocol").map(|value| networks(&value)).unwrap_or_default();
    let redirect = section.optional("redirect_to_https").and_then(|value| port(&value));
    if redirect.is_some() && tls.is_some() {
        section.spot_of("redirect_to_https").error("the listener has `tls`: whoever asks here came by HTTPS");
    }
    section.finish();
    let tls = match tls {
        Some(read) => Some(read?),
        None => None,
    };
    let listener = Listener {
        address: address?,
        mode,
        protocols: protocols.unwrap_or(default),
        proxy_protocol,
        redirect_to_https: redirect,
        tls,
    };
    Some(Located { value: listener, spot })
}

/// Reads permissions as chmod does: `"0660"`.
fn mode(value: &Value<'_>) -> Option<u32> {
    let expected = "permissions such as \"0660\"";
    let text = value.text(expected)?;
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && text.len() <= 4);
    if mode.is_none() {
        value.expected(expected);
    }
    mode
}

fn port(value: &Value<'_>) -> Option<u16> {
    value.integer(1..=u64::from(u16::MAX)).and_then(|port| u16::try_from(port).ok())
}

fn protocols(value: &Value<'_>) -> Protocols {
    let mut found = Protocols { http1: false, http2: false };
    let items = value.list("a list of \"h1\" and \"h2\"");
    if items.is_empty() && value.is_list() {
        value.spot.error("is empty, expected a list of \"h1\" and \"h2\"");
    }
    for item in items {
        match item.word(&[("h1", false), ("h2", true)]) {
            Some(false) => found.http1 = true,
            Some(true) => found.http2 = true,
            None => {}
        }
    }
    found
}

fn read_tls(mut section: Section<'_>, now: SystemTime) -> Option<ListenerTls> {
    let expected = "a list such as [{ cert = \"shop.pem\", key = \"shop.key\" }]";
    let written = section.required("certificates", expected);
    let certificates = written.and_then(|value| {
        let items = value.list(expected);
        if items.is_empty() && value.is_list() {
            value.spot.error(format_args!("is empty, expected {expected}"));
        }
        let count = items.len();
        let read: Vec<_> = items.into_iter().filter_map(|item| certificate(item.section()?, now)).collect();
        (count > 0 && read.len() == count).then_some(read)
    });
    let min_version = section
        .optional("min_version")
        .and_then(|value| value.word(&[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)]));
    let strict_sni = section.boolean("strict_sni", false);
    let hsts = section.section("hsts");
    let hsts = hsts.is_present().then(|| read_hsts(hsts));
    let client_auth = section.section("client_auth");
    let client_auth = if client_auth.is_present() { Some(read_client_auth(client_auth)) } else { None };
    section.finish();
    Some(ListenerTls {
        certificates: certificates?,
        min_version: min_version.unwrap_or(TlsVersion::V1_2),
        strict_sni,
        hsts,
        client_auth: match client_auth {
            Some(read) => Some(read?),
            None => None,
        },
    })
}

fn certificate(mut section: Section<'_>, now: SystemTime) -> Option<CertificateFiles> {
    let cert = section.required("cert", "the path of a PEM file, the server's own certificate first");
    let key = section.required("key", "the path of a PEM file");
    let ocsp = section.optional("ocsp");
    section.finish();
    let (cert, key) = (cert?, key?);
    let (cert_path, key_path) = (cert.path()?, key.path()?);
    let ocsp_path = match &ocsp {
        Some(value) => Some(value.path()?),
        None => None,
    };
    match Certificate::read(&cert_path, &key_path, ocsp_path.as_deref()) {
        Ok(read) => {
            if let Some(complaint) = read.complaint(now) {
                cert.spot.warning(format_args!("{} {complaint}", cert_path.display()));
            }
            Some(CertificateFiles { cert: cert_path, key: key_path, ocsp: ocsp_path, read })
        }
        Err(mistake) => {
            match mistake {
                Mistake::Chain(text) => cert.spot.error(format_args!("{} {text}", cert_path.display())),
                Mistake::Key(text) => key.spot.error(format_args!("{} {text}", key_path.display())),
                Mistake::Ocsp(text) => {
                    if let (Some(value), Some(path)) = (&ocsp, &ocsp_path) {
                        value.spot.error(format_args!("{} {text}", path.display()));
                    }
                }
            }
            None
        }
    }
}

impl Config {
    /// The same with what is in its certificates' files now, if that is something else.
    ///
    /// # Errors
    /// A sentence for each file that is not as it should be.
    pub fn with_certificates_read_anew(&self) -> Result<Option<Config>, Vec<String>> {
        let mut next = self.clone();
        let mut mistakes = Vec::new();
        let tls = next.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut());
        for files in tls.flat_map(|tls| &mut tls.certificates) {
            match Certificate::read(&files.cert, &files.key, files.ocsp.as_deref()) {
                Ok(read) => files.read = read,
                Err(mistake) => {
                    let (path, text) = match mistake {
                        Mistake::Chain(text) => (Some(&files.cert), text),
                        Mistake::Key(text) => (Some(&files.key), text),
                        Mistake::Ocsp(text) => (files.ocsp.as_ref(), text),
                    };
                    mistakes
                        .push(format!("{} {text}", path.map_or_else(String::new, |path| path.display().to_string())));
                }
            }
        }
        if mistakes.is_empty() { Ok((next != *self).then_some(next)) } else { Err(mistakes) }
    }
}

fn read_hsts(mut section: Section<'_>) -> Hsts {
    let hsts = Hsts {
        max_age: section.duration("max_age", HSTS_AGE, defaults::HSTS_MAX_AGE),
        include_subdomains: section.boolean("include_subdomains", false),
        preload: section.boolean("preload", false),
    };
    section.finish();
    hsts
}

fn read_client_auth(mut section: Section<'_>) -> Option<ClientAuth> {
    let authorities = section.required("ca", "the path of a PEM file").and_then(|value| {
        let path = value.path()?;
        match certificate::authorities(&path) {
            Ok(found) => Some((path, found)),
            Err(text) => {
                value.spot.error(format_args!("{} {text}", path.display()));
                None
            }
        }
    });
    let mode = section.optional("mode").and_then(|value| {
        value.word(&[("require", ClientCertificate::Required), ("optional", ClientCertificate::Optional)])
    });
    let header = section.optional("header").and_then(|value| {
        let text = value.text("the name of a header field")?;
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        if name.is_none() {
            value.expected("the name of a header field");
        }
        name
    });
    section.finish();
    let (ca, authorities) = authorities?;
    Some(ClientAuth { ca, authorities, mode: mode.unwrap_or(ClientCertificate::Required), header })
}
