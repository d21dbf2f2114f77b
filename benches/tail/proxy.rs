//! The proxies: how each is found, started and ended.

use std::error::Error;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::answer;
use crate::configs::{self, Setup};
use crate::content::READY;
use crate::ports;
use crate::server::{self, Folder, Server};

/// How long a proxy may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Nginx,
    /// nginx with its connections limited by hand, where backends have workers.
    NginxLimited,
    Haproxy,
    Hedgerow,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Nginx, Kind::NginxLimited, Kind::Haproxy, Kind::Hedgerow];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::NginxLimited => "nginx-limited",
            Kind::Haproxy => "haproxy",
            Kind::Hedgerow => "hedgerow",
        }
    }

    /// What its program is called.
    fn program(self) -> &'static str {
        if self == Kind::NginxLimited { Kind::Nginx.name() } else { self.name() }
    }
}

/// A program that can be started.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) kind: Kind,
    path: PathBuf,
    /// What it says of its version.
    pub(crate) version: String,
}

impl Program {
    /// Looks for it in the PATH and where distributions put servers; Hedgerow is at `binary`.
    pub(crate) fn find(kind: Kind, binary: &Path) -> Result<Program, String> {
        let missing = || format!("{} is not installed; it is left out", kind.name());
        let path = match kind {
            Kind::Hedgerow => server::hedgerow(binary)?,
            _ => server::installed(kind.program()).ok_or_else(missing)?,
        };
        let flag = if kind == Kind::Hedgerow { "--version" } else { "-v" };
        let version = server::version(&path, flag).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Program { kind, path, version })
    }

    /// Starts it in front of `backends`, in a folder of its own, and waits until it passes requests on.
    pub(crate) async fn start(&self, backends: &[SocketAddr], setup: Setup) -> Result<Running, Box<dyn Error>> {
        let folder = Folder::new(&std::env::temp_dir())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let at = folder.path();
        let (name, text, before): (_, _, &[&str]) = match self.kind {
            Kind::Nginx => ("nginx.conf", configs::nginx(at, address, backends, setup, false), &["-p", ".", "-c"]),
            Kind::NginxLimited => {
                ("nginx.conf", configs::nginx(at, address, backends, setup, true), &["-p", ".", "-c"])
            }
            Kind::Haproxy => ("haproxy.cfg", configs::haproxy(address, backends, setup), &["-db", "-f"]),
            Kind::Hedgerow => {
                ("hedgerow.toml", configs::hedgerow(address, admin, backends, setup), &["run", "--config"])
            }
        };
        let config = at.join(name);
        fs::write(&config, text)?;
        let mut command = Command::new(&self.path);
        let server = Server::start(command.args(before).arg(&config), folder)?;
        let mut running = Running { server, address, admin: (self.kind == Kind::Hedgerow).then_some(admin) };
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if answers(address).await {
                return Ok(running);
            }
            if tokio::time::Instant::now() > until || running.server.has_ended()? {
                return Err(format!("{} does not answer:\n{}", self.kind.name(), running.server.said()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn answers(address: SocketAddr) -> bool {
    let asked = tokio::time::timeout(PATIENCE, answer::get(&mut None, address, READY, "ETag")).await;
    matches!(asked, Ok(Ok(answer)) if answer.status == 200)
}

/// A proxy at work.
pub(crate) struct Running {
    server: Server,
    pub(crate) address: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Running {
    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.server.processes()
    }

    /// What Hedgerow's gauges count as in flight: of clients and to backends. `None` for others.
    pub(crate) async fn in_flight(&self) -> io::Result<Option<u64>> {
        let Some(admin) = self.admin else { return Ok(None) };
        let stream = TcpStream::connect(admin).await?;
        let metrics = answer::get(&mut Some(stream), admin, "/metrics", "ETag").await?;
        let gauges = ["hedgerow_requests_in_flight", "hedgerow_backend_in_flight"];
        let text = String::from_utf8_lossy(metrics.body());
        let values = text.lines().filter(|line| gauges.iter().any(|gauge| line.starts_with(gauge)));
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(Some(values.sum::<f64>() as u64))
    }
}
