//! Writing a response into the store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Result;
use pingora::cache::storage::streaming_write::U64WriteId;
use pingora::cache::storage::{HandleMiss, MissFinishType};

use super::Store;
use super::fill::Fill;

/// The writer of a fill. Dropped before it has finished, it takes the fill back: nothing is stored, and what was stored
/// under the key before stays, for stale-if-error.
#[derive(Debug)]
pub(super) struct Filling {
    store: &'static Store,
    fill: Arc<Fill>,
    tag: U64WriteId,
    /// Whether the fill is off the store's list.
    closed: bool,
}

impl Filling {
    pub(super) fn new(store: &'static Store, fill: Arc<Fill>) -> Filling {
        let tag = fill.serial.0.into();
        Filling { store, fill, tag, closed: false }
    }
}

#[async_trait]
impl HandleMiss for Filling {
    async fn write_body(&mut self, data: Bytes, _eof: bool) -> Result<()> {
        // Not even the last chunk ends the fill; `finish` does, once the length was checked.
        self.fill.write(data).await.map_err(|broken| broken.error())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        self.store.close(&self.fill)?;
        self.closed = true;
        let length = usize::try_from(self.fill.length()).unwrap_or(usize::MAX);
        Ok(MissFinishType::Created(length))
    }

    fn streaming_write_tag(&self) -> Option<&[u8]> {
        Some(self.tag.as_bytes())
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.closed {
            self.store.abandon(&self.fill);
        }
    }
}
