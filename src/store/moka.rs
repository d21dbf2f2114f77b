//! pingora's view of the store.

use std::any::Any;

use async_trait::async_trait;
use pingora::cache::key::CacheHashKey;
use pingora::cache::storage::streaming_write::U64WriteId;
use pingora::cache::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget};
use pingora::cache::trace::SpanHandle;
use pingora::cache::{CacheKey, CacheMeta, PurgeType, Storage};
use pingora::{Error, ErrorType, Result};

use super::Store;
use super::entry::Place;
use super::flow::Who;
use super::hit::{Following, Whole};
use super::meta::{Meta, Serial};
use super::miss::Filling;
use super::ready::Ready;
use crate::clock;

/// Where the entry for `key` is kept.
fn place(key: &impl CacheHashKey) -> Place {
    let primary = key.primary_bin();
    let slot = if key.variance_bin().is_some() { key.combined_bin() } else { primary };
    Place { primary, slot }
}

/// Whether `target` names an entry by an identity, which this store does not give out.
fn is_foreign(target: PurgeTarget<'_>) -> bool {
    matches!(target, PurgeTarget::Exact(entry) if entry.entry_id().is_some())
}

#[async_trait]
impl Storage for Store {
    /// A fill comes before the entry it is to replace: its head is the newer one.
    async fn lookup(&'static self, key: &CacheKey, _: &SpanHandle) -> Result<Option<(CacheMeta, HitHandler)>> {
        let place = place(key);
        let following = self.open.latest(&place, |fill| {
            if !self.is_current(fill) {
                return None;
            }
            let reader = Following::attach(fill, Who::Other)?;
            Some((fill.meta.build(), Box::new(reader) as HitHandler))
        });
        Ok(following.or_else(|| {
            let entry = self.get(&place.slot)?;
            let meta = match entry.standing.stale_since() {
                Some(since) => entry.meta.build_stale(since),
                None => entry.meta.build(),
            };
            Some((meta, Box::new(Whole::new(Ready::from(entry))) as HitHandler))
        }))
    }

    async fn lookup_streaming_write(
        &'static self,
        key: &CacheKey,
        tag: Option<&[u8]>,
        _: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let Some(tag) = tag.and_then(|tag| U64WriteId::try_from(tag).ok()) else {
            return Error::e_explain(ErrorType::InternalError, "no tag of a fill of this store");
        };
        let Some(fill) = self.open.find(&place(key), Serial(tag.into())) else { return Ok(None) };
        let reader = Following::attach(&fill, Who::Own);
        Ok(reader.map(|reader| (fill.meta.build(), Box::new(reader) as HitHandler)))
    }

    async fn get_miss_handler(&'static self, key: &CacheKey, meta: &CacheMeta, _: &SpanHandle) -> Result<MissHandler> {
        let fill = self.begin(place(key), Meta::of(meta));
        Ok(Box::new(Filling::new(self, fill)))
    }

    /// With the key of a resource: all its variants. With the key of a variant: that one.
    async fn purge(&'static self, target: PurgeTarget<'_>, _: PurgeType, _: &SpanHandle) -> Result<PurgeOutcome> {
        if is_foreign(target) {
            return Ok(PurgeOutcome::NotFound);
        }
        let gone = self.remove(&place(target.key()));
        Ok(if gone > 0 { PurgeOutcome::Purged(None) } else { PurgeOutcome::NotFound })
    }

    /// As for [`Storage::purge`], but the entries stay, stale from now on. A fill in progress is newer and not touched.
    async fn expire(&'static self, target: PurgeTarget<'_>, _: &SpanHandle) -> Result<PurgeOutcome> {
        if is_foreign(target) {
            return Ok(PurgeOutcome::NotFound);
        }
        let expired = self.outdate(&place(target.key()), clock::wall());
        Ok(if expired > 0 { PurgeOutcome::Expired } else { PurgeOutcome::NotFound })
    }

    /// False if the entry that `meta` was looked up from is no longer the one that is stored.
    async fn update_meta(&'static self, key: &CacheKey, meta: &CacheMeta, _: &SpanHandle) -> Result<bool> {
        self.replace_meta(&place(key), Meta::of(meta))
    }

    fn support_streaming_partial_write(&self) -> bool {
        true
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}
