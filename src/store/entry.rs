//! A response in memory, complete or in parts, and what it weighs.
//!
//! The body is kept as it was put together while it came in: a row of segments, each an allocation of its own and
//! each (but the last) of at least [`SEGMENT`] bytes. One contiguous buffer would be simpler to hand out, but to build
//! it a large body is copied in one go at the end of the fill, and 64 MiB take tens of milliseconds on a thread that
//! other requests wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use pingora::cache::key::HashBinary;

use super::form::{ForAll, Form};
use super::label::Standing;
use super::meta::{Meta, Serial};
use super::parts::Parts;
use super::seat::Seat;
use super::wire::{Hidden, Wire};
use crate::cache::content_range::Span;
use crate::cache::freshness::Freshness;
use crate::cache::vary::{Fields, Vary};

/// Smaller pieces than this are copied together as they come: 64 KiB is what pingora reads at once at most, and
/// makes the cost of a segment's own record less than a thousandth of what it holds.
pub(super) const SEGMENT: usize = 64 * 1024;

/// What an entry weighs beside its body and the fields of its head, in bytes: its own record (about 650), moka's nodes
/// and key (about 250), the extensions' map.
///
/// Found by the growth of resident memory over 100 000 entries, with mimalloc, bytes per entry:
///
/// | fields (and `Content-Length`) | body | resident | weight |
/// |---|---|---|---|
/// | 0 | 0 | 1237 | 1359 |
/// | 0 | 1000 | 2371 | 2482 |
/// | 5 | 100 | 3000 | 3369 |
/// | 10 | 100 | 4824 | 5169 |
/// | 20 | 1000 | 9480 | 9682 |
/// | 10 | 200 000 | 238 056 | 234 436 |
///
/// The weight is to be a little above what is taken where entries are many and small, so that `memory` is a bound and
/// not a wish; where they are large, two per cent do not matter.
pub(super) const OVERHEAD: u64 = 1056;
/// What a segment costs beside its bytes: its record and the shared count behind it.
const SEGMENT_OVERHEAD: u64 = 96;

/// What an allocation of `bytes` takes. Allocators keep four sizes to each power of two (mimalloc, jemalloc), which
/// for 33 000 bytes is a quarter more than asked for.
pub(super) fn allocated(bytes: u64) -> u64 {
    let step = 1 << bytes.max(64).ilog2().saturating_sub(2);
    bytes.checked_next_multiple_of(step).unwrap_or(bytes)
}

/// Where an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The resource: hash of the key without variance.
    pub(super) primary: HashBinary,
    /// The slot: the primary hash again, or hash of primary and variance.
    pub(super) slot: HashBinary,
}

impl Place {
    /// Whether this is one of the variants beside the one in the primary slot.
    pub(super) fn is_secondary(&self) -> bool {
        self.primary != self.slot
    }
}

/// A complete response, or parts of one (see `parts.rs`).
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) serial: Serial,
    pub(super) meta: Meta,
    pub(super) body: Body,
    /// What tells parts from a complete response; `None` for the latter.
    pub(super) parts: Option<Parts>,
    /// How it stands to the purges.
    pub(super) standing: Standing,
    pub(super) seat: Seat,
    /// How fresh it is, if who stored it said so.
    pub(super) freshness: Option<Freshness>,
    /// By which request fields it is one variant among others.
    pub(super) varies: Option<Fields>,
    /// Its head as it is sent; of parts there is none.
    pub(super) wire: Wire,
    /// Whether it answers clients of any `Accept-Encoding`.
    pub(super) for_all: bool,
    /// What was made of it for clients that like other codings: one of each.
    pub(super) forms: Vec<Arc<Form>>,
    /// Whether a form of it was found to be larger than anything that is stored.
    pub(super) formless: AtomicBool,
    /// Whether the origin has since answered otherwise, with what may not be stored.
    doubted: AtomicBool,
}

impl Stored {
    /// A complete response that is on no shelf yet.
    pub(super) fn new(
        place: Place,
        serial: Serial,
        meta: Meta,
        body: Body,
        standing: Standing,
        hidden: Hidden,
    ) -> Stored {
        let wire = Wire::new(meta.header(), hidden);
        Stored { wire, ..Stored::without_wire(place, serial, meta, body, standing) }
    }

    /// Parts of a response, on no shelf yet.
    pub(super) fn of_parts(
        place: Place,
        serial: Serial,
        meta: Meta,
        body: Body,
        parts: Parts,
        standing: Standing,
    ) -> Stored {
        Stored { parts: Some(parts), ..Stored::without_wire(place, serial, meta, body, standing) }
    }

    fn without_wire(place: Place, serial: Serial, meta: Meta, body: Body, standing: Standing) -> Stored {
        let freshness = meta.extension();
        let varies = match Vary::from(&meta.header().headers) {
            Vary::Fields(fields) => Some(fields),
            // What varies on `*` is never stored.
            Vary::None | Vary::Star => None,
        };
        Stored {
            for_all: meta.extension::<ForAll>().is_some(),
            place,
            serial,
            meta,
            body,
            parts: None,
            standing,
            seat: Seat::default(),
            freshness,
            varies,
            wire: Wire::default(),
            forms: Vec::new(),
            formless: AtomicBool::new(false),
            doubted: AtomicBool::new(false),
        }
    }

    /// Bytes of memory it takes.
    pub(super) fn weight(&self) -> u64 {
        let head = allocated(self.wire.len() as u64);
        let forms = self.forms.iter().map(|form| form.weight()).sum::<u64>();
        OVERHEAD + self.meta.weight() + head + self.body.weight() + self.standing.weight() + forms
    }

    /// The same body under a newer meta.
    pub(super) fn with_meta(&self, mut meta: Meta, hidden: Hidden) -> Stored {
        let standing = self.standing.renewed(meta.take_label());
        let (place, serial, body) = (self.place, self.serial, self.body.clone());
        match self.parts.clone() {
            Some(parts) => Stored::of_parts(place, serial, meta, body, parts, standing),
            None => {
                let forms = self.forms.iter().filter_map(|form| form.under(meta.header(), hidden.clone())).collect();
                Stored { forms, ..Stored::new(place, serial, meta, body, standing, hidden) }
            }
        }
    }

    /// The same with one more form; it takes the place of another of its coding.
    pub(super) fn with_form(&self, form: Arc<Form>) -> Stored {
        let others = self.forms.iter().filter(|other| other.coding != form.coding).cloned();
        Stored {
            place: self.place,
            serial: self.serial,
            meta: self.meta.clone(),
            body: self.body.clone(),
            parts: None,
            standing: self.standing.same(),
            seat: Seat::default(),
            freshness: self.freshness,
            varies: self.varies.clone(),
            wire: self.wire.clone(),
            for_all: self.for_all,
            forms: others.chain([Arc::clone(&form)]).collect(),
            formless: AtomicBool::new(self.formless.load(Ordering::Relaxed)),
            doubted: AtomicBool::new(self.is_doubted()),
        }
    }

    /// The origin has since answered otherwise, with what may not be stored.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Whether [`Stored::doubt`] was called.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }
}

/// Some of a body's bytes, and where in the body they begin.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

impl Segment {
    /// Where in the body its bytes end.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Which bytes of the body it has.
    pub(super) fn span(&self) -> Span {
        Span { start: self.start, end: self.end() }
    }

    /// Its bytes from `at` on, but not beyond `end`; both are positions in the body.
    pub(super) fn piece(&self, at: u64, end: u64) -> Bytes {
        let within = |position: u64| position.clamp(self.start, self.end()) - self.start;
        // At most the length of `bytes`, which is a usize.
        self.bytes.slice(within(at) as usize..within(end.max(at)) as usize)
    }
}

/// A complete body, or what there is of one.
#[derive(Clone, Debug)]
pub(super) struct Body {
    segments: Segments,
}

/// What is in one segment, as most bodies are, is found without another step through memory: with many entries each step is
/// a wait.
#[derive(Clone, Debug)]
enum Segments {
    One(Segment),
    Many(Arc<[Segment]>),
}

impl Body {
    /// The body that `segments` make, which are in order and do not overlap. Those of a complete body follow each other
    /// from 0 without gaps.
    pub(super) fn new(segments: Vec<Segment>) -> Body {
        let segments = match <[Segment; 1]>::try_from(segments) {
            Ok([only]) => Segments::One(only),
            Err(segments) => Segments::Many(segments.into()),
        };
        Body { segments }
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.segments().last().map_or(0, Segment::end)
    }

    /// What it is made of, in order.
    pub(super) fn segments(&self) -> &[Segment] {
        match &self.segments {
            Segments::One(only) => std::slice::from_ref(only),
            Segments::Many(segments) => segments,
        }
    }

    /// Its bytes from `at` on, segment by segment.
    pub(super) fn from(&self, at: u64) -> impl Iterator<Item = &[u8]> {
        let segments = self.segments();
        let first = segments.partition_point(|s| s.end() <= at);
        segments[first..].iter().map(move |segment| {
            // At most the length of `bytes`, which is a usize.
            let skipped = at.saturating_sub(segment.start) as usize;
            segment.bytes.get(skipped..).unwrap_or_default()
        })
    }

    /// Where its bytes are, in order.
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.segments().iter().map(Segment::span)
    }

    pub(super) fn weight(&self) -> u64 {
        self.segments().iter().map(|segment| allocated(segment.bytes.len() as u64) + SEGMENT_OVERHEAD).sum()
    }

    /// The bytes from `at` to the end of their segment, but not beyond `end`; `None` where there are none.
    pub(super) fn piece(&self, at: u64, end: u64) -> Option<Bytes> {
        let segments = self.segments();
        let segment = segments.get(segments.partition_point(|s| s.end() <= at))?;
        (segment.start <= at && at < end).then(|| segment.piece(at, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allocation_is_rounded_up_to_a_quarter_of_a_power_of_two() {
        for (asked, taken) in [(0, 0), (1, 16), (100, 112), (1000, 1024), (33_000, 40_960), (200_000, 229_376)] {
            assert_eq!(allocated(asked), taken);
        }
        assert_eq!(allocated(1 << 16), 1 << 16);
        assert_eq!(allocated(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_piece_ends_with_its_segment_or_the_range() {
        let segments =
            vec![Segment { start: 0, bytes: Bytes::from("abc") }, Segment { start: 3, bytes: Bytes::from("defg") }];
        let body = Body::new(segments);
        assert_eq!(body.len(), 7);
        assert_eq!(body.piece(0, 7).unwrap(), "abc");
        assert_eq!(body.piece(1, 2).unwrap(), "b");
        assert_eq!(body.piece(3, 100).unwrap(), "defg");
        assert_eq!(body.piece(5, 6).unwrap(), "f");
        assert_eq!(body.piece(7, 7), None);
        assert_eq!(body.piece(6, 6), None);
    }
}
