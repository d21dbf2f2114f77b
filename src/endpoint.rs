//! Where something listens on this machine or another.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// How the path of a Unix socket is marked in text.
pub const UNIX: &str = "unix:";
/// The longest path of a Unix socket, in bytes, as Linux has it (unix(7): 108 with the closing NUL).
pub const LONGEST_PATH: usize = 107;

/// A port of an IP address, or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(Arc<Path>),
}

impl Endpoint {
    /// The address and port, if it has them.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint::Tcp(address)
    }
}

/// `192.0.2.1:80`, `[2001:db8::1]:80`, `unix:/run/app.sock`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_it_is_read() {
        let tcp = Endpoint::from(SocketAddr::from(([192, 0, 2, 1], 80)));
        assert_eq!((tcp.to_string().as_str(), tcp.tcp().is_some()), ("192.0.2.1:80", true));
        let unix = Endpoint::Unix(Path::new("/run/app.sock").into());
        assert_eq!((unix.to_string().as_str(), unix.tcp()), ("unix:/run/app.sock", None));
    }
}
