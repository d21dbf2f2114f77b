//! How each edge is configured: as those who know it best would for what is measured. The files beside this one say why.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use crate::scenario::Entrant;
use crate::server;

/// What all configurations depend on.
pub(crate) struct Place<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) address: SocketAddr,
    /// A second address.
    pub(crate) admin: SocketAddr,
    /// For TLS.
    pub(crate) secure: SocketAddr,
    pub(crate) origins: &'a [SocketAddr],
}

impl Place<'_> {
    fn fill(&self, text: &str, servers: &str) -> String {
        text.replace("@FOLDER@", &self.folder.display().to_string())
            .replace("@ADDRESS@", &self.address.to_string())
            .replace("@ADMIN@", &self.admin.to_string())
            .replace("@SECURE@", &self.secure.to_string())
            .replace("@SERVERS@", servers)
    }

    fn servers(&self, between: &str, line: impl Fn(usize, &SocketAddr) -> String) -> String {
        let lines: Vec<String> = self.origins.iter().enumerate().map(|(number, origin)| line(number, origin)).collect();
        lines.join(between)
    }
}

pub(crate) fn hedgerow(place: &Place<'_>, entrant: &Entrant) -> String {
    let log = if entrant.log {
        format!("output = \"{}/access.log\"", place.folder.display())
    } else {
        "format = \"off\"".to_owned()
    };
    // The default, but where that many do not fit.
    let memory = if entrant.ask.keys > 500_000 { "8GiB" } else { "1GiB" };
    let servers = place.servers(", ", |_, origin| format!("\"{origin}\""));
    place.fill(include_str!("hedgerow.toml"), &servers).replace("@LOG@", &log).replace("@MEMORY@", memory)
}

pub(crate) fn nginx(place: &Place<'_>, log: bool) -> String {
    let log = if log {
        format!("{}/access.log combined buffer=64k flush=1s", place.folder.display())
    } else {
        "off".to_owned()
    };
    let servers = place.servers("\n        ", |_, origin| format!("server {origin} max_fails=0;"));
    place.fill(include_str!("nginx.conf"), &servers).replace("@LOG@", &log).replace("@USER@", server::nginx_user())
}

pub(crate) fn haproxy(place: &Place<'_>) -> String {
    let servers = place.servers("\n", |number, origin| format!("    server o{number} {origin}"));
    place.fill(include_str!("haproxy.cfg"), &servers)
}

pub(crate) fn varnish(place: &Place<'_>) -> String {
    // It is measured with one.
    let origin = place.origins[0];
    include_str!("varnish.vcl")
        .replace("@HOST@", &origin.ip().to_string())
        .replace("@PORT@", &origin.port().to_string())
}

/// Varnish's command line: one pool of threads, since it has one core; no jail, since nobody else is served.
pub(crate) fn varnish_words(place: &Place<'_>) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["-F".into(), "-j".into(), "none".into(), "-n".into(), place.folder.into()];
    words.extend(["-a".into(), place.address.to_string().into(), "-f".into(), place.folder.join("bench.vcl").into()]);
    words.extend(["-T", "none", "-s", "malloc,1g"].map(Into::into));
    for parameter in ["thread_pools=1", "thread_pool_min=100", "thread_pool_max=5000", "timeout_idle=300"] {
        words.extend(["-p", parameter].map(Into::into));
    }
    words
}
