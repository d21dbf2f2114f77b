//! `min_uses`: a response is stored once its key was asked for that often.

use pingora::cache::key::{CacheHashKey, HashBinary};
use pingora::proxy::Session;

use super::ctx::Ctx;
use crate::cache::storable::{self, NotStorable};
use crate::snapshot::Route;
use crate::store::Store;

/// Counts the request for its key. Pingora asks for the key once per request, however often it then looks it up. A
/// refresh in the background is no client's request and not counted; nor is anything where one use is enough.
pub(super) fn note(store: &Store, session: &Session, ctx: &Ctx, primary: &HashBinary) {
    let wanted = ctx.route.as_ref().map_or(1, |route| route.config.cache.min_uses);
    if wanted > 1 && session.subrequest_ctx.is_none() {
        store.note_use(primary);
    }
}

/// Was the key asked for often enough? What replaces a stored response has shown that before.
pub(super) fn admit(store: &Store, route: &Route, session: &Session) -> Result<(), NotStorable> {
    match session.cache.maybe_cache_key() {
        Some(key) if session.cache.maybe_cache_meta().is_none() => enough(store, route, &key.primary_bin()),
        _ => Ok(()),
    }
}

/// Was what is about to be stored for the first time asked for often enough?
pub(super) fn enough(store: &Store, route: &Route, primary: &HashBinary) -> Result<(), NotStorable> {
    let wanted = route.config.cache.min_uses;
    if wanted <= 1 { Ok(()) } else { storable::used_enough(store.uses(primary), wanted) }
}
