//! What backends say of their own load: heard with the head of every response that is used, and kept from the cache and from clients.

use http::{HeaderMap, HeaderName};
use pingora::http::ResponseHeader;

use super::fields;
use crate::balance::reported;
use crate::clock;
use crate::upstream::{Backend, Pool};

const X_BACKEND_LOAD: HeaderName = HeaderName::from_static("x-backend-load");
const ORCA: HeaderName = HeaderName::from_static("endpoint-load-metrics");
/// ORCA's form in protobuf: not read, but no more for clients than the other.
const ORCA_BINARY: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

/// Notes what `backend` says in the head of a response. What is said to us goes before what is said to all.
pub(super) fn hear(pool: &Pool, backend: &Backend, headers: &HeaderMap) {
    if !pool.config().reported_load {
        return;
    }
    let plain = headers.get(X_BACKEND_LOAD).and_then(|value| reported::read_plain(value.as_bytes()));
    let load = plain.or_else(|| headers.get(ORCA).and_then(|value| reported::read_orca(value.as_bytes())));
    if let Some(load) = load {
        backend.load().report(load, clock::now());
    }
}

/// Removes it from the response. A pool that does not heed it leaves it to whom it is meant for.
pub(super) fn strip(pool: &Pool, response: &mut ResponseHeader) {
    if pool.config().reported_load {
        fields::remove_from(response, |name| [X_BACKEND_LOAD, ORCA, ORCA_BINARY].contains(name));
    }
}
