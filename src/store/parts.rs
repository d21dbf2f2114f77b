//! Parts of bodies: what 206 responses and broken transfers have left, kept until it covers what is asked for.
//!
//! A resource's parts are one entry on the same shelf as the complete ones, in a slot of their own: weighed, evicted and
//! purged with them. An entry holds the segments of one representation, in order and without overlaps, each with the
//! number of the fetch that brought it. A fetch with the same strong validator adds to them; any other replaces them, since
//! nothing says that they belong together. Beyond `max_object` bytes, or too many of them, the oldest segments go. When the
//! segments are the whole body, the entry becomes a complete one in the ordinary slot.

mod partial;
mod segments;

use std::sync::Arc;

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use pingora::cache::key::HashBinary;
use pingora::http::ResponseHeader;

use super::Store;
use super::entry::{Body, Place, Segment, Stored};
use super::fill::Fill;
use super::label::Standing;
use super::meta::{Declared, Meta, Serial};
use super::rules::Verdict;
use crate::cache::content_range::{Extent, Span};
use crate::cache::freshness::Freshness;
use crate::cache::storable::SetCookie;
use crate::cache::{parts, validate};
use crate::clock;

pub use partial::Partial;
use segments::Segments;

/// What makes an entry one of parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// Length and place of the whole, as far as they are known; the span is that of the last fetch.
    extent: Extent,
    /// For each segment, which fetch brought it.
    births: Arc<[u64]>,
}

/// What the store has for a request, held so that its eviction does not cut a transfer.
#[derive(Clone, Debug)]
pub struct Found {
    entry: Arc<Stored>,
    /// Purges of the resource's shard before it was found.
    purges: u64,
}

impl Found {
    /// The stored head. That of parts is the head of the whole: 200, without `Content-Range` and `Content-Length`.
    pub fn head(&self) -> &ResponseHeader {
        self.entry.meta.header()
    }

    /// How fresh it is, a purge that made it stale included; `None` if it was stored without.
    pub fn freshness(&self) -> Option<Freshness> {
        let mut freshness: Freshness = self.entry.meta.extension()?;
        if let Some(since) = self.entry.standing.stale_since() {
            freshness.expire(since);
        }
        Some(freshness)
    }

    /// Where its body ends; `None` for parts of a whole of unknown length.
    pub fn end_of_whole(&self) -> Option<u64> {
        match &self.entry.parts {
            Some(parts) => parts.extent.end_of_whole(),
            None => Some(self.entry.body.len()),
        }
    }

    /// The length of the whole as it may be told to others.
    pub fn complete(&self) -> Option<u64> {
        match &self.entry.parts {
            Some(parts) => parts.extent.complete,
            None => Some(self.entry.body.len()),
        }
    }

    /// Whether its fields disagree about its place: it is to be given out as it came, and not to be built upon.
    pub fn is_doubtful(&self) -> bool {
        self.entry.parts.as_ref().is_some_and(|parts| parts.extent.doubtful)
    }

    /// How far its bytes are there without a gap from `at` on.
    pub fn reach(&self, at: u64) -> u64 {
        parts::reach(self.entry.body.spans(), at)
    }

    /// The bytes from `at` to the end of their segment, but not beyond `end`; `None` where there are none.
    pub fn piece(&self, at: u64, end: u64) -> Option<Bytes> {
        self.entry.body.piece(at, end)
    }
}

/// The slot of a resource's parts, or of those of one more variant of it.
fn slot(primary: &HashBinary, variance: Option<HashBinary>) -> HashBinary {
    let mut hash = Blake2b::<U16>::new();
    hash.update(primary);
    hash.update(b"parts");
    hash.update(variance.unwrap_or_default());
    hash.finalize().into()
}

/// The slot of a further variant's complete entry, as pingora's keys make it.
pub(super) fn variant_slot(primary: &HashBinary, variance: HashBinary) -> HashBinary {
    let mut hash = Blake2b::<U16>::new();
    hash.update(primary);
    hash.update(variance);
    hash.finalize().into()
}

impl Store {
    /// The complete entry that a request for the resource `primary` selects, if there is one, whatever its age.
    /// `selects` says which variant the request selects of a family with such a head.
    pub fn peek(&self, primary: &HashBinary, selects: impl Fn(&HeaderMap) -> Option<HashBinary>) -> Option<Found> {
        let purges = self.open.purges(primary);
        let first = self.get(primary)?;
        self.variant(first, purges, selects, |variance| variant_slot(primary, variance))
    }

    /// The same for parts.
    pub fn peek_parts(
        &self,
        primary: &HashBinary,
        selects: impl Fn(&HeaderMap) -> Option<HashBinary>,
    ) -> Option<Found> {
        let purges = self.open.purges(primary);
        let first = self.get(&slot(primary, None))?;
        self.variant(first, purges, selects, |variance| slot(primary, Some(variance)))
    }

    fn variant(
        &self,
        first: Arc<Stored>,
        purges: u64,
        selects: impl Fn(&HeaderMap) -> Option<HashBinary>,
        other: impl Fn(HashBinary) -> HashBinary,
    ) -> Option<Found> {
        let variance = selects(&first.meta.header().headers);
        if first.meta.variance() == variance {
            return Some(Found { entry: first, purges });
        }
        let entry = self.get(&other(variance?))?;
        (entry.meta.variance() == variance).then_some(Found { entry, purges })
    }

    /// Whether what was found may still be built upon: it has not been purged since.
    pub fn still_has(&self, found: &Found) -> bool {
        let Stored { place, standing, .. } = &*found.entry;
        self.rules.judge(standing) != Verdict::Gone && self.open.purges(&place.primary) == found.purges
    }

    /// Whether a complete response for the resource is coming in that others may still read along.
    pub fn is_filling(&self, primary: &HashBinary) -> bool {
        self.open.any(primary, |fill| fill.is_open() && self.is_current(fill))
    }

    /// How many variants of a resource have parts stored.
    pub fn part_variants(&self, primary: &HashBinary) -> usize {
        self.families.parts(primary)
    }

    /// Keeps what has come of a fill that broke off, if the rest can be asked for by a strong validator.
    pub(super) fn salvage(&self, fill: &Fill, body: &Body) {
        let head = fill.meta.header();
        let Declared::Length(complete) = fill.meta.declared() else { return };
        let resumable = parts::is_resumable(&head.headers, fill.meta.provenance());
        let span = Span { start: 0, end: body.len() };
        if head.status != 200 || span.is_empty() || span.end >= complete || !resumable {
            return;
        }
        let standing = fill.standing.clone();
        if self.rules.judge(&standing) == Verdict::Gone {
            return;
        }
        let mut meta = fill.meta.clone();
        meta.remove_field(&CONTENT_LENGTH);
        let extent = Extent { span, complete: Some(complete), doubtful: false };
        let fetched = Fetched { meta, extent, standing, serial: fill.serial, segments: body.segments().to_vec() };
        self.put_part(&fill.place.primary, fetched, usize::MAX);
    }

    /// Adds what was fetched to the parts of its resource. The resource's lock must be held.
    fn put_part(&self, primary: &HashBinary, fetched: Fetched, max_variants: usize) {
        let Fetched { mut meta, extent, mut standing, serial, segments } = fetched;
        let Ok(()) = meta.compact() else { return };
        let now = clock::wall();
        let variance = meta.variance();
        let first = self.valid(&slot(primary, None));
        let at = match &first {
            // Where variants are told apart, the first keeps the slot that all of them are found by.
            Some(first) if variance.is_some() && first.meta.variance() != variance => slot(primary, variance),
            _ => slot(primary, None),
        };
        let before = if at == slot(primary, None) { first } else { self.valid(&at) };
        let adds_to = |old: &&Arc<Stored>| {
            old.parts.as_ref().is_some_and(|p| p.extent.complete == extent.complete && !p.extent.doubtful)
                && !extent.doubtful
                && old.meta.variance() == variance
                && parts::is_same(&old.meta.header().headers, &meta.header().headers, now)
        };
        let old = before.as_ref().filter(adds_to);
        let together = old.and_then(|old| standing.joined(&old.standing));
        let mut all = Segments::default();
        if let (Some(old), Some(parts), Some(together)) = (old, old.and_then(|old| old.parts.as_ref()), together) {
            standing = together;
            all.add_known(old.body.segments(), &parts.births);
            let received = meta.provenance();
            let merged = validate::merge_304(
                &old.meta.header().headers,
                &meta.header().headers,
                SetCookie::Share, // what must not be stored was taken off both
                received,
            );
            let Ok(()) = meta.set_fields(&merged) else { return };
        }
        all.add(&segments, serial.0);
        all.keep_within(self.max_object());
        let (segments, births) = all.into_parts();
        let body = Body::new(segments);
        if extent.complete.is_some_and(|complete| parts::reach(body.spans(), 0) == complete)
            && self.promote(primary, &meta, &body, serial, &standing, max_variants)
        {
            self.take(&at);
            return;
        }
        let place = Place { primary: *primary, slot: at };
        let parts = Parts { extent, births: births.into() };
        self.put(Stored::of_parts(place, serial, meta, body, parts, standing));
    }

    /// Makes parts that are the whole a complete entry. Whether it was.
    fn promote(
        &self,
        primary: &HashBinary,
        meta: &Meta,
        body: &Body,
        serial: Serial,
        standing: &Standing,
        max_variants: usize,
    ) -> bool {
        let place = match (self.valid(primary), meta.variance()) {
            (Some(first), Some(variance)) if first.meta.variance() != Some(variance) => {
                let slot = variant_slot(primary, variance);
                if self.valid(&slot).is_none() && self.variants(*primary) >= max_variants {
                    return false;
                }
                Place { primary: *primary, slot }
            }
            _ => Place { primary: *primary, slot: *primary },
        };
        let mut meta = meta.clone().of_body(serial);
        let Ok(()) = meta.settle(body.len()) else { return false };
        self.put(Stored::new(place, serial, meta, body.clone(), standing.clone(), self.hidden()));
        true
    }
}

/// What one fetch has brought.
struct Fetched {
    meta: Meta,
    extent: Extent,
    /// Not gone.
    standing: Standing,
    serial: Serial,
    segments: Vec<Segment>,
}
