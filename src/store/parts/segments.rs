//! What there is of one body: segments in order, each with the fetch that brought it.

use std::cmp::Reverse;
use std::collections::HashSet;

use bytes::{Bytes, BytesMut};

use super::super::entry::{SEGMENT, Segment};
use crate::cache::content_range::Span;
use crate::cache::parts;

/// Segments kept of one body beside those that `max_object` bytes make: many small ranges far apart cost more in records
/// than in bytes, and each fetch looks at all of them.
const SMALL_SEGMENTS: u64 = 1024;

/// Segments in order, without overlaps, and which fetch brought each.
#[derive(Debug, Default)]
pub(super) struct Segments(Vec<(Segment, u64)>);

impl Segments {
    pub(super) fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        self.0.iter().map(|(segment, _)| segment.span())
    }

    pub(super) fn add_known(&mut self, segments: &[Segment], births: &[u64]) {
        self.0.extend(segments.iter().cloned().zip(births.iter().copied()));
    }

    /// Adds what is not there yet of `new`, which follow each other without gaps.
    pub(super) fn add(&mut self, new: &[Segment], birth: u64) {
        let (Some(first), Some(last)) = (new.first(), new.last()) else { return };
        for gap in parts::gaps(self.spans().collect::<Vec<_>>(), Span { start: first.start, end: last.end() }) {
            let from = new.partition_point(|segment| segment.end() <= gap.start);
            for segment in new[from..].iter().take_while(|segment| segment.start < gap.end) {
                let bytes = segment.piece(gap.start, gap.end);
                // A slice would keep all of the segment alive.
                let bytes = if bytes.len() == segment.bytes.len() { bytes } else { Bytes::copy_from_slice(&bytes) };
                self.0.push((Segment { start: segment.start.max(gap.start), bytes }, birth));
            }
        }
        self.0.sort_by_key(|(segment, _)| segment.start);
        self.join();
    }

    /// Puts small neighbours together.
    fn join(&mut self) {
        let mut joined: Vec<(Segment, u64)> = Vec::with_capacity(self.0.len());
        for (segment, birth) in self.0.drain(..) {
            match joined.last_mut() {
                Some((last, of))
                    if last.end() == segment.start && last.bytes.len() + segment.bytes.len() <= SEGMENT =>
                {
                    let mut bytes = BytesMut::with_capacity(last.bytes.len() + segment.bytes.len());
                    bytes.extend_from_slice(&last.bytes);
                    bytes.extend_from_slice(&segment.bytes);
                    last.bytes = bytes.freeze();
                    *of = (*of).max(birth);
                }
                _ => joined.push((segment, birth)),
            }
        }
        self.0 = joined;
    }

    /// Drops the oldest until no more than `bytes` are left; of one fetch, the last first, so that a beginning stays.
    pub(super) fn keep_within(&mut self, bytes: u64) {
        let most = SMALL_SEGMENTS + bytes / SEGMENT as u64;
        let (mut held, mut count) = (self.spans().map(Span::len).sum::<u64>(), self.0.len() as u64);
        if held <= bytes && count <= most {
            return;
        }
        let mut ages: Vec<_> =
            self.0.iter().map(|(segment, birth)| (*birth, Reverse(segment.start), segment.span().len())).collect();
        ages.sort_unstable();
        let mut gone = HashSet::new();
        for (_, Reverse(start), length) in ages {
            if held <= bytes && count <= most {
                break;
            }
            gone.insert(start);
            held -= length;
            count -= 1;
        }
        self.0.retain(|(segment, _)| !gone.contains(&segment.start));
    }

    pub(super) fn into_parts(self) -> (Vec<Segment>, Vec<u64>) {
        self.0.into_iter().unzip()
    }
}
