//! A server that a bench starts: found where distributions put servers, run in a folder of its own, ended with its owner.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hedgerow::clock;

use crate::cpu;

/// How long a server may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks for a program in the PATH and where distributions put servers.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// Where cargo puts Hedgerow's release binary of the project at `root`.
pub(crate) fn release_binary(root: &Path) -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    folder.join("release/hedgerow")
}

/// Hedgerow's `binary` by its whole path, as it is started in another folder than this one.
pub(crate) fn hedgerow(binary: &Path) -> Result<PathBuf, String> {
    let path = fs::canonicalize(binary).ok().filter(|path| path.is_file());
    path.ok_or_else(|| format!("there is no {}; `make build` makes it", binary.display()))
}

/// The first line of what it says when asked by `flag`, shortened to name and version.
pub(crate) fn version(program: &Path, flag: &str) -> io::Result<String> {
    let said = Command::new(program).arg(flag).output()?;
    let said = [said.stdout, said.stderr].concat();
    let line = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
    let line = line.replace("nginx version: nginx/", "nginx ").replace("HAProxy version", "HAProxy");
    let line = line.replace("varnishd (varnish-", "Varnish ");
    // After it come a date, or a revision.
    let short = line.split(" 20").next().and_then(|line| line.split(" revision").next());
    Ok(short.unwrap_or_default().to_owned())
}

/// nginx's line for its `user`. Started by root, its worker cannot enter the folder as the user nginx would choose.
pub(crate) fn nginx_user() -> &'static str {
    // Only root's home has this file's owner's rights.
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if root { "user root;" } else { "" }
}

/// A server at work; dropped, it is ended and its folder removed.
pub(crate) struct Server {
    child: Child,
    folder: Folder,
}

impl Server {
    /// Starts it in `folder`, where it logs to.
    pub(crate) fn start(command: &mut Command, folder: Folder) -> io::Result<Server> {
        let log = File::create(folder.path().join("log"))?;
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Server { child: command.spawn()?, folder })
    }

    pub(crate) fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it wrote to its standard streams.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// It and its children, as they are now.
    pub(crate) fn processes(&self) -> Vec<u32> {
        cpu::family(self.child.id())
    }
}

impl Drop for Server {
    /// Asks it to end, since nginx's workers outlive a master that is killed; then kills it.
    fn drop(&mut self) {
        let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status();
        let until = clock::now() + PATIENCE;
        while asked.is_ok() && clock::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        // It may have ended just now.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A temporary folder, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A new one in `base`; its name begins with `hedgerow-bench-`.
    pub(crate) fn new(base: &Path) -> io::Result<Folder> {
        let path = base.join(format!("hedgerow-bench-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is a few files among temporary ones.
        let _left = fs::remove_dir_all(&self.0);
    }
}
