//! What is measured: how each edge is found, started and ended.

use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hedgerow::clock;

use crate::Bench;
use crate::configs;
use crate::cores::{self, Cores};
use crate::load::expected::Mark;
use crate::ports;
use crate::scenario::{Ask, Entrant};
use crate::server::{self, Folder, Server};

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// A file system in memory.
const MEMORY: &str = "/dev/shm";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A prepared response; see [`crate::serve`].
    Floor,
    Hedgerow,
    Nginx,
    Haproxy,
    Varnish,
}

impl Kind {
    pub(crate) const ALL: [Kind; 5] = [Kind::Floor, Kind::Hedgerow, Kind::Nginx, Kind::Haproxy, Kind::Varnish];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Floor => "floor",
            Kind::Hedgerow => "hedgerow",
            Kind::Nginx => "nginx",
            Kind::Haproxy => "haproxy",
            Kind::Varnish => "varnish",
        }
    }

    pub(crate) fn mark(self) -> Mark {
        match self {
            Kind::Floor => Mark::None,
            Kind::Hedgerow | Kind::Nginx => Mark::CacheStatus,
            Kind::Haproxy => Mark::Age,
            Kind::Varnish => Mark::Varnish,
        }
    }
}

/// A program that can be started.
pub(crate) struct Program {
    pub(crate) kind: Kind,
    path: PathBuf,
    /// What it says of its version; empty for the floor.
    pub(crate) version: String,
}

impl Program {
    /// Looks for it; Hedgerow is at `binary`.
    pub(crate) fn find(kind: Kind, binary: &Path) -> Result<Program, String> {
        let missing = || format!("{} is not installed", kind.name());
        let (path, flag) = match kind {
            Kind::Floor => return Ok(Program { kind, path: own()?, version: String::new() }),
            Kind::Hedgerow => (server::hedgerow(binary)?, "--version"),
            Kind::Varnish => (server::installed("varnishd").ok_or_else(missing)?, "-V"),
            kind => (server::installed(kind.name()).ok_or_else(missing)?, "-v"),
        };
        let version = server::version(&path, flag).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Program { kind, path, version })
    }

    /// Starts it as `entrant` in front of `origins` and waits until it accepts connections.
    pub(crate) fn start(
        &self,
        entrant: &Entrant,
        origins: &[SocketAddr],
        bench: &Bench,
    ) -> Result<Edge, Box<dyn Error>> {
        // Varnish compiles its configuration to a library in its folder, which no file system in memory need execute.
        let memory = Path::new(MEMORY);
        let base = if self.kind != Kind::Varnish && memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = Folder::new(&base)?;
        let (address, admin, secure) = (free()?, free()?, free()?);
        let place = configs::Place { folder: folder.path(), address, admin, secure, origins };
        bench.certificate.write(folder.path())?;
        let mut command = cores::on(bench.cores.edge, &self.path);
        let config = |name: &str, text: String| fs::write(folder.path().join(name), text);
        match self.kind {
            Kind::Floor => {
                let Ask { conditional, body, .. } = entrant.ask;
                let (status, body) = if conditional { (304, 0) } else { (200, body) };
                command.args(["--serve", "floor", &address.to_string(), &status.to_string(), &body.to_string()]);
            }
            Kind::Hedgerow => {
                config("hedgerow.toml", configs::hedgerow(&place, entrant))?;
                command.args(["run", "--config", "hedgerow.toml"]);
            }
            Kind::Nginx => {
                config("nginx.conf", configs::nginx(&place, entrant.log))?;
                command.arg("-p").arg(folder.path()).args(["-c", "nginx.conf"]);
            }
            Kind::Haproxy => {
                config("haproxy.cfg", configs::haproxy(&place))?;
                command.args(["-db", "-f", "haproxy.cfg"]);
            }
            Kind::Varnish => {
                config("bench.vcl", configs::varnish(&place))?;
                command.args(configs::varnish_words(&place));
            }
        }
        let server = Server::start(&mut command, folder)?;
        Ok(Edge { entrant: *entrant, address, secure, server: awaited(self.kind.name(), server, address)? })
    }
}

/// An edge at work; dropped, it is ended.
pub(crate) struct Edge {
    pub(crate) entrant: Entrant,
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub(crate) secure: SocketAddr,
    pub(crate) server: Server,
}

/// The origin at work, on the load's core; it is there for each of its addresses.
pub(crate) struct Origin {
    pub(crate) addresses: Vec<SocketAddr>,
    _server: Server,
}

impl Origin {
    pub(crate) fn start(addresses: usize, cores: Cores) -> Result<Origin, Box<dyn Error>> {
        let addresses = (0..addresses).map(|_| free()).collect::<Result<Vec<_>, _>>()?;
        let mut command = cores::on(cores.load, &own()?);
        command.args(["--serve", "origin"]).args(addresses.iter().map(ToString::to_string));
        let server = Server::start(&mut command, Folder::new(&std::env::temp_dir())?)?;
        let server = awaited("the origin", server, addresses[0])?;
        Ok(Origin { addresses, _server: server })
    }
}

/// Waits until somebody accepts connections there.
fn awaited(name: &str, mut server: Server, address: SocketAddr) -> Result<Server, Box<dyn Error>> {
    let until = clock::now() + PATIENCE;
    loop {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(server);
        }
        if clock::now() > until || server.has_ended()? {
            return Err(format!("{name} does not accept connections:\n{}", server.said()).into());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// This program.
fn own() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program cannot be started again: {error}"))
}

fn free() -> std::io::Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?)))
}
