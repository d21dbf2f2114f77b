//! The floor: one prepared response, whatever is asked for.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use super::origin::{ETAG, FILL};

/// Answers with `status` and so many bytes of body.
pub(crate) fn serve(address: SocketAddr, status: u16, body: usize) -> io::Result<()> {
    // As many fields as caches send.
    let fields = format!(
        "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nETag: {ETAG}\r\n\
         Cache-Control: public, max-age=86400\r\nContent-Type: application/octet-stream\r\n\
        Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAge: 1\r\nX-Cache-Status: HIT\r\nConnection: keep-alive\r\n"
    );
    let length = if status == 304 { String::new() } else { format!("Content-Length: {body}\r\n") };
    let mut response = format!("HTTP/1.1 {status} Status\r\n{fields}{length}\r\n").into_bytes();
    response.extend(std::iter::repeat_n(FILL, body));
    let response: Rc<[u8]> = response.into();
    super::serve(&[address], |_| response.clone())
}
