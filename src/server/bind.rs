//! Sockets where clients connect, bound before anything else can fail.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::server::{Fds, ListenFds};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::StartError;
use crate::endpoint::Endpoint;

/// Connections the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;
/// Unsent bytes below which a client's socket takes more.
const UNSENT: u32 = 128 * 1024;
/// Who may connect to a Unix socket if nothing else is said: our user and group.
const MODE: u32 = 0o660;

/// A socket that listens. The file of a Unix socket goes with it.
pub(super) struct Bound {
    socket: Socket,
    mode: u32,
    file: Option<SocketFile>,
}

/// The file of a socket, which is removed when nobody listens any more.
pub(super) struct SocketFile(Arc<Path>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone; and at the end there is nobody to tell.
        let _ = fs::remove_file(&self.0);
    }
}

impl Bound {
    /// Listens there; `mode` is for the file of a Unix socket.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) fn new(endpoint: &Endpoint, mode: Option<u32>) -> Result<Bound, StartError> {
        let mode = mode.unwrap_or(MODE);
        let bound = match endpoint {
            Endpoint::Tcp(address) => tcp(*address).map(|socket| (socket, None)),
            Endpoint::Unix(path) => unix(path, mode).map(|socket| (socket, Some(SocketFile(path.clone())))),
        };
        let (socket, file) = bound.map_err(|e| StartError(vec![format!("cannot listen on {endpoint}: {e}")]))?;
        Ok(Bound { socket, mode, file })
    }

    /// Gives the socket to a pingora service, under the name it really has.
    pub(super) fn hand_over(self, add: impl FnOnce(ListenerConfig)) -> Result<Listening, StartError> {
        let (endpoint, config) = match &self.file {
            Some(SocketFile(path)) => {
                let permissions = fs::Permissions::from_mode(self.mode);
                (Endpoint::Unix(path.clone()), ListenerConfig::uds(path.to_string_lossy()).permissions(permissions))
            }
            None => {
                let address = self.socket.local_addr().ok().and_then(|address| address.as_socket());
                let address = address.ok_or_else(|| StartError(vec!["a socket without an address".to_owned()]))?;
                (Endpoint::Tcp(address), ListenerConfig::tcp(address.to_string()))
            }
        };
        let mut fds = Fds::new();
        let name = match &endpoint {
            Endpoint::Tcp(address) => address.to_string(),
            Endpoint::Unix(path) => path.to_string_lossy().into_owned(),
        };
        fds.add(name, self.socket.into_raw_fd());
        // The lane buffers what is worth buffering; 64 KiB per connection would be pingora's way.
        add(config.l4_buffer(L4BufferSettings::unbuffered()));
        Ok(Listening { endpoint, file: self.file, fds: Arc::new(Mutex::new(fds)) })
    }
}

/// A socket that a service has.
pub(super) struct Listening {
    /// Where.
    pub endpoint: Endpoint,
    /// Its file, if it has one.
    pub file: Option<SocketFile>,
    /// It, as the service wants it.
    pub fds: ListenFds,
}

fn tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it. A socket is then writable as soon as little is unsent, so that a slow reader shows
    // as slow progress and not as none, and a fast one costs less kernel memory.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn unix(path: &Path, mode: u32) -> io::Result<Socket> {
    clear(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Removes a socket's file that was left behind by a process that ended without a chance to.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"))
        }
        Ok(_) => match UnixStream::connect(path) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
            Err(e) => Err(e),
            Ok(_) => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn bind(path: &Path) -> Result<Bound, StartError> {
        Bound::new(&Endpoint::Unix(path.into()), Some(0o600))
    }

    #[test]
    fn a_file_left_behind_is_replaced_and_no_other() {
        let path = std::env::temp_dir().join(format!("hedgerow-{}-bind.sock", std::process::id()));
        drop(UnixListener::bind(&path).unwrap());
        let bound = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let StartError(sentences) = bind(&path).err().unwrap();
        assert_eq!(sentences, [format!("cannot listen on unix:{}: another process listens there", path.display())]);
        drop(bound);
        assert!(!path.exists());

        fs::write(&path, "precious").unwrap();
        let StartError(sentences) = bind(&path).err().unwrap();
        assert!(sentences[0].ends_with("there is a file that is no socket"), "{sentences:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }
}
