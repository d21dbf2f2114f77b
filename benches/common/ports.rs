//! Free ports below those that systems give out for outgoing connections.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

const FROM: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..COUNT)));

/// A port of loopback that nobody listens at, not given out lately.
pub(crate) fn free() -> io::Result<u16> {
    for _ in 0..COUNT {
        let port = FROM + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
