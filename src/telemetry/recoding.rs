//! How much went through compressors and decoders.

use super::names;
use super::tally::Tally;
use crate::cache::codings::Coding;
use crate::coding::{Amount, Broken};

/// Bytes in and out, and what could not be decoded, each by coding in the order of [`Coding::ALL`].
#[derive(Debug)]
pub(super) struct RecodingMetrics {
    pub(super) compressed: [Tally; 3],
    pub(super) decoded: [Tally; 3],
    pub(super) broken: [Tally; 3],
}

impl RecodingMetrics {
    pub(super) fn new() -> RecodingMetrics {
        let bytes = || Coding::ALL.map(|_| Tally::new(names::DIRECTIONS));
        RecodingMetrics {
            compressed: bytes(),
            decoded: bytes(),
            broken: Coding::ALL.map(|_| Tally::new(names::DECODING_FAILURES)),
        }
    }

    /// Counts what was compressed by `coding`.
    pub(super) fn compressed(&self, coding: Coding, amount: Amount) {
        add(&self.compressed[coding as usize], amount);
    }

    /// Counts what was decoded of `coding`.
    pub(super) fn decoded(&self, coding: Coding, amount: Amount) {
        add(&self.decoded[coding as usize], amount);
    }

    /// Counts a body of `coding` that could not be decoded.
    pub(super) fn broken(&self, coding: Coding, broken: Broken) {
        self.broken[coding as usize].add(broken.as_str());
    }
}

/// In the order of [`names::DIRECTIONS`].
fn add(tally: &Tally, amount: Amount) {
    tally.add_many_at(0, amount.input);
    tally.add_many_at(1, amount.output);
}
