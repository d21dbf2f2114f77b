//! The head of a hit: what is stored, and what is said of it now.

use std::time::SystemTime;

use super::hit::Hit;
use crate::cache::validate;
use crate::caller::{RequestId, X_REQUEST_ID};
use crate::snapshot::Snapshot;

/// Appends to `out` the head that answers with `hit`, up to what its connection has to say.
pub(super) fn write_head(hit: &Hit<'_>, snapshot: &Snapshot, id: &RequestId<'_>, now: SystemTime, out: &mut Vec<u8>) {
    let head = hit.ready.head(&snapshot.config().cache.tags);
    if hit.not_modified {
        write_304(&head, out)
    } else {
        out.extend_from_slice(&head)
    }
    if hit.varies {
        out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
    }
    let told = snapshot.told_of_hits();
    out.extend_from_slice(b"Age: ");
    write_number(hit.freshness.age(now).as_secs(), out);
    out.extend_from_slice(&told.before_ttl);
    // RFC 9651 §3.3.1: at most fifteen digits.
    write_number(hit.freshness.ttl_seconds(now).clamp(0, MOST).unsigned_abs(), out);
    out.extend_from_slice(&told.after_ttl);
    out.extend_from_slice(X_REQUEST_ID.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends what the connection says, and the empty line. `lines` are whole ones; `keeps` is whether it goes on after this.
pub(super) fn end_head(lines: &str, keeps: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(lines.as_bytes());
    let end: &[u8] = if keeps { b"Connection: keep-alive\r\n\r\n" } else { b"Connection: close\r\n\r\n" };
    out.extend_from_slice(end);
}

const MOST: i64 = 999_999_999_999_999;

/// The stored head with the status and the fields of a 304 (RFC 9110 §15.4.5).
fn write_304(head: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    let lines = head.split_inclusive(|&b| b == b'\n').skip(1);
    for line in lines {
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        if !validate::is_of_the_body(name) {
            out.extend_from_slice(line);
        }
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_304_describes_no_body() {
        let head = b"HTTP/1.1 200 OK\r\nETag: \"a\"\r\nCONTENT-type: x\r\nVary: y\r\nContent-Length: 3\r\n";
        let mut out = Vec::new();
        write_304(head, &mut out);
        assert_eq!(out, b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nVary: y\r\n");
    }
}
