//! A counter for each word of a closed list.
//!
//! The words are the reasons other modules give (`as_str()` of their enums), listed in [`super::names`]. A word that
//! is not listed counts as `other`, the last of each open list: nothing is lost, nothing grows, and no lock is taken.

use std::sync::atomic::{AtomicU64, Ordering};

use super::shards::Sharded;

/// One counter per word.
#[derive(Debug)]
pub struct Tally {
    words: &'static [&'static str],
    counts: Sharded<Box<[AtomicU64]>>,
}

impl Tally {
    /// A tally of `words`, all zero.
    pub fn new(words: &'static [&'static str]) -> Tally {
        Tally { words, counts: Sharded::new(|| words.iter().map(|_| AtomicU64::new(0)).collect()) }
    }

    /// Counts `word`, or the last word if it is not listed.
    pub fn add(&self, word: &str) {
        self.add_at(self.words.iter().position(|w| *w == word).unwrap_or(self.words.len().saturating_sub(1)));
    }

    /// Counts the word at `index`; out of range counts nothing.
    pub fn add_at(&self, index: usize) {
        self.add_many_at(index, 1);
    }

    /// Counts the word at `index` so many times.
    pub fn add_many_at(&self, index: usize, many: u64) {
        if let Some(count) = self.counts.here().get(index) {
            count.fetch_add(many, Ordering::Relaxed);
        }
    }

    /// Every word with its count, in the order of the list.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let of = |index: usize| {
            self.counts.all().filter_map(move |counts| counts.get(index)).map(|c| c.load(Ordering::Relaxed))
        };
        self.words.iter().enumerate().map(move |(index, word)| (*word, of(index).sum()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unlisted_word_counts_as_the_last() {
        let tally = Tally::new(&["connect-failed", "other"]);
        tally.add("connect-failed");
        tally.add("a-new-reason");
        tally.add("other");
        tally.add_at(9);
        assert_eq!(tally.counts().collect::<Vec<_>>(), [("connect-failed", 1), ("other", 2)]);
    }
}
