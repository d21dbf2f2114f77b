//! Reading a body: a complete one, in whole or in ranges, or one that is still coming in.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::cache::storage::HandleHit;
use pingora::cache::trace::SpanHandle;
use pingora::cache::{CacheKey, Storage};
use pingora::{Error, ErrorType, Result};

use super::Broken;
use super::fill::Fill;
use super::flow::{Read, Who};
use super::ready::Ready;

/// A reader of a complete entry. Holds the entry, so that its eviction does not cut a transfer.
#[derive(Debug)]
pub(super) struct Whole {
    ready: Ready,
    at: u64,
    end: u64,
}

impl Whole {
    pub(super) fn new(ready: Ready) -> Whole {
        let end = ready.length();
        Whole { ready, at: 0, end }
    }

    /// What it reads.
    pub(super) fn ready(&self) -> Ready {
        self.ready.clone()
    }
}

#[async_trait]
impl HandleHit for Whole {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let piece = self.ready.body().piece(self.at, self.end);
        self.at += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Ok(piece)
    }

    async fn finish(self: Box<Self>, _: &'static (dyn Storage + Sync), _: &CacheKey, _: &SpanHandle) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    /// May be called again for the next range, before or behind the last one.
    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let length = self.ready.length();
        let start = start as u64;
        let end = end.map_or(length, |end| length.min(end as u64));
        if start >= length || end < start {
            return Error::e_explain(ErrorType::InternalError, format!("no range {start}-{end} in {length} bytes"));
        }
        (self.at, self.end) = (start, end);
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// A reader of a fill.
#[derive(Debug)]
pub(super) struct Following {
    fill: Arc<Fill>,
    seat: u64,
}

impl Following {
    /// A reader from the first byte, if the fill still has that.
    pub(super) fn attach(fill: &Arc<Fill>, who: Who) -> Option<Following> {
        let seat = fill.sit(who)?;
        Some(Following { fill: Arc::clone(fill), seat })
    }
}

impl Following {
    /// What it reads.
    pub(super) fn fill(&self) -> Arc<Fill> {
        Arc::clone(&self.fill)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.fill.stand(self.seat);
    }
}

#[async_trait]
impl HandleHit for Following {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        match self.fill.next(self.seat).await {
            Read::Bytes(bytes) => Ok(Some(bytes)),
            Read::End => Ok(None),
            Read::Broken(broken) => Err(broken.error()),
            Read::Pending => Err(Broken::Aborted.error()),
        }
    }

    async fn finish(self: Box<Self>, _: &'static (dyn Storage + Sync), _: &CacheKey, _: &SpanHandle) -> Result<()> {
        Ok(())
    }

    fn should_count_access(&self) -> bool {
        false
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}
