//! The origin behind all edges. The path says what is asked for: `/CLASS/SIZE/KEY`, where `hit` may be stored for a day and
//! all else may not be stored.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

/// The validator of everything.
pub(crate) const ETAG: &str = "\"bench\"";
/// What bodies consist of.
pub(crate) const FILL: u8 = b'x';

pub(crate) fn serve(addresses: &[SocketAddr]) -> io::Result<()> {
    let mut prepared: HashMap<Vec<u8>, Rc<[u8]>> = HashMap::new();
    super::serve(addresses, |head| {
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let kind = &path[..slashes.nth(2).unwrap_or(path.len())];
        match prepared.get(kind) {
            Some(response) => response.clone(),
            None => prepared.entry(kind.to_vec()).or_insert_with(|| response(kind)).clone(),
        }
    })
}

/// To `/CLASS/SIZE`.
fn response(kind: &[u8]) -> Rc<[u8]> {
    let kind = String::from_utf8_lossy(kind);
    let mut parts = kind.split('/').skip(1);
    let class = parts.next().unwrap_or_default();
    let size: usize = parts.next().and_then(|size| size.parse().ok()).unwrap_or_default();
    let lifetime = if class == "hit" { "public, max-age=86400" } else { "no-store" };
    let mut response = format!(
        "HTTP/1.1 200 OK\r\nDate: {}\r\nETag: {ETAG}\r\nCache-Control: {lifetime}\r\n\
         Content-Type: application/octet-stream\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Length: {size}\r\n\r\n",
        httpdate::fmt_http_date(hedgerow::clock::wall())
    )
    .into_bytes();
    response.extend(std::iter::repeat_n(FILL, size));
    response.into()
}
