//! What is asked for, and what must come back: bodies follow from the path, so that the client knows every byte.

use crate::scenario::Caching;

const BODY_BYTES: usize = 2048;

/// Where a proxy is asked whether it is up; it must ask a backend.
pub(crate) const READY: &str = "/ready";
const HOT: &str = "/hot";
const OWN: &str = "/own/";
const KEPT: &str = "/kept/";

#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Something of its own for each request.
    Own(usize),
    Hot,
    /// One of many keys that may be stored, and used stale.
    Kept(usize),
}

impl Target {
    pub(crate) fn read(path: &str) -> Option<Target> {
        if path == HOT {
            return Some(Target::Hot);
        }
        if let Some(key) = path.strip_prefix(KEPT) {
            return key.parse().ok().map(Target::Kept);
        }
        path.strip_prefix(OWN)?.parse().ok().map(Target::Own)
    }

    pub(crate) fn path(self) -> String {
        match self {
            Target::Own(request) => format!("{OWN}{request}"),
            Target::Hot => HOT.to_owned(),
            Target::Kept(key) => format!("{KEPT}{key}"),
        }
    }

    /// The number of a request that is one of its kind.
    pub(crate) fn request(self) -> Option<usize> {
        match self {
            Target::Own(request) => Some(request),
            Target::Hot | Target::Kept(_) => None,
        }
    }
}

pub(crate) fn head(path: &str, target: Target, caching: Caching) -> String {
    let control = match (target, caching) {
        (Target::Own(_), _) | (_, Caching::Off) => "no-store",
        (Target::Kept(_), _) => "max-age=1, stale-while-revalidate=60, stale-if-error=60",
        (Target::Hot, Caching::Fresh) => "max-age=1, must-revalidate",
        (Target::Hot, Caching::Stale) => "max-age=1, stale-while-revalidate=30",
    };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nCache-Control: {control}\r\nETag: {}\r\n\
         Content-Length: {BODY_BYTES}\r\n\r\n",
        etag(path)
    )
}

pub(crate) fn etag(path: &str) -> String {
    format!("\"{:016x}\"", hash(path))
}

pub(crate) fn body(path: &str) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(hash(path));
    let mut body = vec![0; BODY_BYTES];
    rng.fill(&mut body);
    body
}

/// FNV-1a.
fn hash(path: &str) -> u64 {
    path.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
