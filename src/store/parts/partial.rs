//! A part on its way into the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use pingora::cache::CacheMeta;
use pingora::cache::key::HashBinary;

use super::super::entry::{SEGMENT, Segment};
use super::super::label::Standing;
use super::super::meta::{Meta, Serial};
use super::super::room::Claim;
use super::super::rules::Verdict;
use super::super::{NotStored, Store};
use super::Fetched;
use crate::cache::content_range::Extent;

/// A part on its way in. What has come is stored when all of it has, or when this is dropped before.
#[derive(Debug)]
pub struct Partial {
    store: &'static Store,
    primary: HashBinary,
    meta: Meta,
    standing: Standing,
    extent: Extent,
    max_variants: usize,
    serial: Serial,
    /// Purges of the resource's shard when it began: after another nothing is stored.
    purges: u64,
    /// Bytes kept at most.
    limit: u64,
    claim: Claim,
    segments: Vec<Segment>,
    loose: BytesMut,
    length: u64,
    /// It is stored, or not going to be.
    over: bool,
}

impl Store {
    /// Takes in a part of the resource `primary`: `meta` with the head of the whole, and the variance if it varies. At most
    /// `max_variants` variants are kept.
    pub fn take_part(
        &'static self,
        primary: HashBinary,
        meta: &CacheMeta,
        extent: Extent,
        max_variants: usize,
    ) -> Partial {
        let mut meta = Meta::of(meta);
        let standing = Standing::new(meta.take_label(), self.rules.newest());
        Partial {
            store: self,
            primary,
            meta,
            standing,
            extent,
            max_variants,
            serial: self.next_serial(),
            purges: self.open.purges(&primary),
            limit: self.max_object(),
            claim: Claim::new(Arc::clone(&self.room)),
            segments: Vec::new(),
            loose: BytesMut::new(),
            length: 0,
            over: false,
        }
    }
}

impl Partial {
    /// Whether all of it is going to be stored, if it comes.
    pub fn is_to_be_whole(&self) -> bool {
        !self.over && self.extent.span.len() <= self.limit
    }

    /// Takes the next bytes, but no more than were announced or may be kept: with the last of them it is stored, whatever
    /// else comes. Whether it is over.
    pub fn write(&mut self, data: &Bytes) -> bool {
        if self.over {
            return true;
        }
        let most = self.limit.min(self.extent.span.len());
        let taken = data.len().min(usize::try_from(most - self.length).unwrap_or(usize::MAX));
        if !self.claim.grow(taken as u64) {
            self.drop_all(NotStored::NoRoom);
            return true;
        }
        self.loose.extend_from_slice(&data[..taken]);
        self.length += taken as u64;
        if self.loose.len() >= SEGMENT {
            self.close_segment();
            // Noted with it; what is purged is told at its end. Else it would seem to be older than the purges kept.
            let _noted = self.store.rules.judge(&self.standing);
        }
        if self.length == most {
            self.finish();
        }
        self.over
    }

    fn close_segment(&mut self) {
        if self.loose.is_empty() {
            return;
        }
        let start = self.extent.span.start + self.length - self.loose.len() as u64;
        // Exactly as large as its content, which a buffer that grew is not.
        let bytes = Bytes::copy_from_slice(&self.loose);
        self.loose.clear();
        self.segments.push(Segment { start, bytes });
    }

    fn drop_all(&mut self, reason: NotStored) {
        self.over = true;
        self.segments = Vec::new();
        self.loose = BytesMut::new();
        self.claim.shrink_to(0);
        self.store.counts.count_not_stored(reason);
    }

    fn finish(&mut self) {
        self.close_segment();
        self.over = true;
        let shard = self.store.open.lock(&self.primary);
        let is_purged = self.store.rules.judge(&self.standing) == Verdict::Gone;
        if is_purged || self.store.open.purges(&self.primary) != self.purges {
            drop(shard);
            return self.drop_all(NotStored::Purged);
        }
        let fetched = Fetched {
            meta: self.meta.clone(),
            extent: self.extent,
            standing: self.standing.clone(),
            serial: self.serial,
            segments: std::mem::take(&mut self.segments),
        };
        self.store.put_part(&self.primary, fetched, self.max_variants);
        drop(shard);
        self.claim.shrink_to(0);
        self.store.counts.stored.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Partial {
    /// What came of a part that broke off is a smaller part, unless its fields say nothing certain about its place.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if self.length == 0 || self.extent.doubtful {
            self.drop_all(NotStored::Aborted);
        } else {
            self.finish();
        }
    }
}
