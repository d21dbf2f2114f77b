//! What both benches do to the store: what pingora does, without HTTP.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hedgerow::store::Store;
use pingora::cache::trace::{Span, SpanHandle};
use pingora::cache::{CacheKey, CacheMeta, Storage};
use pingora::http::ResponseHeader;

/// The store, and what every call to it needs.
pub(crate) struct Driver {
    pub(crate) store: &'static Store,
    trace: SpanHandle,
    runtime: tokio::runtime::Runtime,
}

impl Driver {
    pub(crate) fn new(store: &'static Store) -> Driver {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Driver { store, trace: Span::inactive().handle(), runtime }
    }

    /// Whether the key is found.
    pub(crate) fn lookup(&self, key: &CacheKey) -> bool {
        self.runtime.block_on(self.store.lookup(key, &self.trace)).expect("the store does not fail").is_some()
    }

    /// Stores a response whose body comes in these pieces.
    pub(crate) fn fill(&self, key: &CacheKey, header: ResponseHeader, body: impl Iterator<Item = Bytes>) {
        let epoch = SystemTime::UNIX_EPOCH;
        let meta = CacheMeta::new(epoch + Duration::from_secs(60), epoch, 0, 0, header);
        let stored = self.runtime.block_on(async {
            let mut writer = self.store.get_miss_handler(key, &meta, &self.trace).await?;
            for piece in body {
                writer.write_body(piece, false).await?;
            }
            writer.finish().await
        });
        stored.expect("the store does not fail");
    }
}

/// The lengths of the pieces of at most `piece` bytes that make `length`.
pub(crate) fn pieces(length: usize, piece: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by(piece).map(move |start| piece.min(length - start))
}

/// A head with so many fields of about 40 bytes.
pub(crate) fn header(fields: usize) -> ResponseHeader {
    let mut header = ResponseHeader::build(200, Some(fields)).expect("a status");
    for n in 0..fields {
        header
            .append_header(format!("x-field-{n:02}"), format!("a value of thirty bytes or so {n:02}"))
            .expect("a field");
    }
    header
}
