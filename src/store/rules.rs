//! The purges that are not yet applied to everything.
//!
//! To find what a purge concerns by looking at every entry takes as long as there are entries, and a fill that is still
//! to come would be missed. So a purge is only noted here, under the next number of a count. Each entry and each fill
//! knows the number that was the newest when its request went upstream; whoever finds it later compares one number, and
//! if there are newer purges applies these once. Tags, URLs and hosts are looked up by hash, patterns are gone through.
//!
//! # Bounds
//!
//! A sweep in the background applies the purges to everything, whereupon they are dropped. Until then they take memory,
//! so their number is bounded. When there is no room an operator's purge is refused. What the requests of clients
//! invalidate must not be forgotten and cannot be refused: it goes into a small table of numbers by hash, where it may
//! take with it entries that share the place.
//!
//! A request under way is neither entry nor fill, so no sweep sees it. Purges are therefore kept for a while ([`LAG`]);
//! what was asked for before the oldest that is kept is not stored.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;

use super::hashed::AsIs;
use super::label::{Hashes, Label, Standing};
use crate::cache::purge::{Glob, Name, Url};

/// Purges by hash: 4 MiB.
pub(super) const MOST_HASHED: usize = 1 << 16;
/// Purges by pattern. Each is tried on an entry that has not seen it: a fraction of a microsecond.
pub(super) const MOST_PATTERNS: usize = 256;
/// Places in the table for what finds no room.
const SPILL: usize = 4096;
/// How long purges are kept after they have been applied to everything: longer than backends may take to answer by
/// default (`pool.timeouts.first_byte`).
pub(super) const LAG: Duration = Duration::from_secs(60);

/// There is no room for another purge until a sweep is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "too many purges are still being applied; try again in a few seconds, or purge by host or everything",
        )
    }
}

impl std::error::Error for Full {}

/// What one purge concerns.
#[derive(Debug)]
pub(super) enum Rule {
    /// What has one of these hashes.
    Hashed(Vec<u64>),
    Prefix(Url),
    Glob(Glob),
    All,
}

/// What the purges say of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Valid,
    /// Stale from then on.
    Stale(SystemTime),
    Gone,
}

/// The newest purges of one thing.
#[derive(Clone, Copy, Debug)]
struct Strike {
    hard: u64,
    soft: u64,
    /// When the soft one was.
    at: SystemTime,
}

impl Strike {
    const NONE: Strike = Strike { hard: 0, soft: 0, at: SystemTime::UNIX_EPOCH };

    fn add(&mut self, number: u64, soft: Option<SystemTime>) {
        match soft {
            None => self.hard = number,
            Some(at) => (self.soft, self.at) = (number, at),
        }
    }

    fn newest(&self) -> u64 {
        self.hard.max(self.soft)
    }

    /// Takes part in the verdict on something to which purge `checked` was applied last.
    fn judge(&self, checked: u64, verdict: &mut Verdict) {
        if self.hard > checked {
            *verdict = Verdict::Gone;
        } else if self.soft > checked {
            *verdict = match *verdict {
                Verdict::Valid => Verdict::Stale(self.at),
                Verdict::Stale(at) => Verdict::Stale(at.min(self.at)),
                Verdict::Gone => Verdict::Gone,
            };
        }
    }
}

#[derive(Debug)]
enum Pattern {
    Prefix(Url),
    Glob(Glob),
}

impl Pattern {
    fn matches(&self, name: &Name<'_>) -> bool {
        match self {
            Pattern::Prefix(url) => url.is_prefix_of(name),
            Pattern::Glob(glob) => glob.matches(name),
        }
    }
}

#[derive(Debug)]
struct Book {
    hashed: HashMap<u64, Strike, AsIs>,
    /// Oldest first.
    patterns: VecDeque<(Strike, Pattern)>,
    all: Strike,
    /// Purges up to this one may be gone from here.
    floor: u64,
    /// Sweeps: up to which purge, and when.
    swept: VecDeque<(u64, SystemTime)>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) hashes: Hashes,
    /// The number of the newest purge.
    newest: AtomicU64,
    book: RwLock<Book>,
    spill: Box<[AtomicU64]>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            hashes: Hashes::default(),
            newest: AtomicU64::new(0),
            book: RwLock::new(Book {
                hashed: HashMap::default(),
                patterns: VecDeque::new(),
                all: Strike::NONE,
                floor: 0,
                swept: VecDeque::new(),
            }),
            spill: (0..SPILL).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Rules {
    /// The number of the newest purge.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        let book = self.book.read();
        book.hashed.len() + book.patterns.len() + usize::from(book.all.newest() > book.floor)
    }

    /// Notes a purge: a soft one at `soft`, else a hard one. Its number.
    ///
    /// # Errors
    /// If there is no room. Then nothing is noted.
    pub(super) fn add(&self, rule: Rule, soft: Option<SystemTime>) -> Result<u64, Full> {
        let mut book = self.book.write();
        let number = self.newest() + 1;
        match rule {
            Rule::Hashed(hashes) => {
                let more = hashes.iter().filter(|hash| !book.hashed.contains_key(hash)).count();
                if book.hashed.len() + more > MOST_HASHED {
                    return Err(Full);
                }
                for hash in hashes {
                    book.hashed.entry(hash).or_insert(Strike::NONE).add(number, soft);
                }
            }
            Rule::Prefix(url) => book.add_pattern(Pattern::Prefix(url), number, soft)?,
            Rule::Glob(glob) => book.add_pattern(Pattern::Glob(glob), number, soft)?,
            Rule::All => book.all.add(number, soft),
        }
        // Published last: who sees the number finds the purge.
        self.newest.store(number, Ordering::Release);
        Ok(number)
    }

    /// Notes a hard purge of what has one of `hashes`, in any case.
    pub(super) fn insist(&self, hashes: Vec<u64>) -> u64 {
        let again = hashes.clone();
        self.add(Rule::Hashed(hashes), None).unwrap_or_else(|Full| {
            let _one_at_a_time = self.book.write();
            let number = self.newest() + 1;
            for hash in again {
                self.place(hash).store(number, Ordering::Release);
            }
            self.newest.store(number, Ordering::Release);
            number
        })
    }

    /// What the purges say of a response. Unless it is gone this is noted with it, so that it is not asked again.
    pub(super) fn judge(&self, standing: &Standing) -> Verdict {
        if standing.checked() == self.newest() {
            return standing.stale_since().map_or(Verdict::Valid, Verdict::Stale);
        }
        let book = self.book.read();
        let (newest, checked) = (self.newest(), standing.checked());
        match self.apply(&book, standing.label.as_deref(), checked) {
            Verdict::Gone => return Verdict::Gone,
            Verdict::Stale(at) => standing.expire(at),
            Verdict::Valid => {}
        }
        standing.note(newest);
        standing.stale_since().map_or(Verdict::Valid, Verdict::Stale)
    }

    fn apply(&self, book: &Book, label: Option<&Label>, checked: u64) -> Verdict {
        if checked < book.floor {
            return Verdict::Gone;
        }
        let mut verdict = Verdict::Valid;
        book.all.judge(checked, &mut verdict);
        let Some(label) = label else { return verdict };
        let within = |tag: &u64| self.hashes.within(label.origin, *tag);
        let hashes = [label.url, label.host, label.authority]
            .into_iter()
            .chain(label.tags.iter().flat_map(|tag| [*tag, within(tag)]))
            .chain(label.groups.iter().map(within));
        for hash in hashes {
            if let Some(strike) = book.hashed.get(&hash) {
                strike.judge(checked, &mut verdict);
            }
            if self.place(hash).load(Ordering::Acquire) > checked {
                verdict = Verdict::Gone;
            }
        }
        let name = label.name();
        let newer = book.patterns.iter().rev().take_while(|(strike, _)| strike.newest() > checked);
        for (strike, pattern) in newer {
            if verdict != Verdict::Gone && pattern.matches(&name) {
                strike.judge(checked, &mut verdict);
            }
        }
        verdict
    }

    /// Whether purges have come since the last sweep.
    pub(super) fn is_unswept(&self) -> bool {
        self.book.read().swept.back().map_or(0, |(number, _)| *number) < self.newest()
    }

    /// How much room is taken, from 0 to 1.
    pub(super) fn fullness(&self) -> f64 {
        self.book.read().fullness()
    }

    /// All that is stored has seen the purges up to `number`: drops those that are old enough, and if room is scarce
    /// all of them.
    pub(super) fn swept(&self, number: u64, now: SystemTime) {
        let mut book = self.book.write();
        if book.swept.back().is_none_or(|(last, _)| *last < number) {
            book.swept.push_back((number, now));
        }
        let is_scarce = book.fullness() > 0.75;
        let is_old = |at: SystemTime| is_scarce || now.duration_since(at).is_ok_and(|age| age >= LAG);
        // The last one stays, to tell what the next sweep need not do.
        while let Some((number, _)) = book.swept.front().copied().filter(|(_, at)| is_old(*at)) {
            book.floor = book.floor.max(number);
            if book.swept.len() == 1 {
                break;
            }
            book.swept.pop_front();
        }
        let floor = book.floor;
        book.hashed.retain(|_, strike| strike.newest() > floor);
        book.patterns.retain(|(strike, _)| strike.newest() > floor);
        if book.hashed.capacity() > 4 * book.hashed.len().max(1024) {
            book.hashed.shrink_to_fit();
        }
    }

    /// Where a hash is noted when there is no room.
    fn place(&self, hash: u64) -> &AtomicU64 {
        // Less than `SPILL`.
        &self.spill[(hash % SPILL as u64) as usize]
    }
}

impl Book {
    fn add_pattern(&mut self, pattern: Pattern, number: u64, soft: Option<SystemTime>) -> Result<(), Full> {
        if self.patterns.len() >= MOST_PATTERNS {
            return Err(Full);
        }
        let mut strike = Strike::NONE;
        strike.add(number, soft);
        self.patterns.push_back((strike, pattern));
        Ok(())
    }

    fn fullness(&self) -> f64 {
        let hashed = self.hashed.len() as f64 / MOST_HASHED as f64;
        hashed.max(self.patterns.len() as f64 / MOST_PATTERNS as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::label::{Labelled, Named};
    use super::*;
    use crate::cache::purge::Selector;
    use crate::cache::tags::Tags;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What was asked for now, at `http://h.example/a/b?q`, with the tag `t` and the group `g`.
    fn stored(rules: &Rules) -> Standing {
        let named = Named { scheme: "http", host: "h.example", port: None, path: "/a/b", query: Some("q") };
        let tags = Tags { groups: vec!["g".into()], tags: vec![b"t".to_vec()], cut: 0 };
        Standing::new(Some(Labelled(rules.hashes.label(&named, &tags, rules.newest()).into())), 0)
    }

    fn pattern(selector: Selector) -> Rule {
        match selector {
            Selector::Prefix(url) => Rule::Prefix(url),
            Selector::Glob(glob) => Rule::Glob(glob),
            other => panic!("{other:?}"),
        }
    }

    fn hashed(hash: u64) -> Rule {
        Rule::Hashed(vec![hash])
    }

    #[test]
    fn a_purge_concerns_what_it_names_and_what_was_asked_for_before() {
        type Made = fn(&Hashes) -> Rule;
        let hits: [Made; 8] = [
            |h| hashed(h.url("h.example", "/a/b", Some("q"))),
            |h| hashed(h.host("h.example")),
            |h| hashed(h.authority("h.example")),
            |h| hashed(h.tag(b"t")),
            |h| hashed(h.within(h.origin("http", "h.example"), h.group("g"))),
            |_| pattern(Selector::prefix("h.example/a").unwrap()),
            |_| pattern(Selector::glob("*.example/**").unwrap()),
            |_| Rule::All,
        ];
        let misses: [Made; 6] = [
            |h| hashed(h.url("h.example", "/a/b", None)),
            |h| hashed(h.host("example")),
            |h| hashed(h.tag(b"g")),
            |h| hashed(h.within(h.origin("https", "h.example"), h.group("g"))),
            |_| pattern(Selector::prefix("h.example/b").unwrap()),
            |_| pattern(Selector::glob("h.example/*").unwrap()),
        ];
        for (made, expected) in hits.map(|m| (m, Verdict::Gone)).into_iter().chain(misses.map(|m| (m, Verdict::Valid)))
        {
            let rules = Rules::default();
            let before = stored(&rules);
            rules.add(made(&rules.hashes), None).unwrap();
            let after = stored(&rules);
            assert_eq!(rules.judge(&before), expected);
            assert_eq!(rules.judge(&after), Verdict::Valid);
        }
    }

    #[test]
    fn a_soft_purge_counts_from_its_own_time_and_a_hard_one_beats_it() {
        let rules = Rules::default();
        let entry = stored(&rules);
        rules.add(hashed(rules.hashes.tag(b"t")), Some(at(50))).unwrap();
        rules.add(Rule::All, Some(at(40))).unwrap();
        assert_eq!(rules.judge(&entry), Verdict::Stale(at(40)));
        assert_eq!(rules.judge(&entry), Verdict::Stale(at(40)), "it is remembered");
        rules.add(hashed(rules.hashes.tag(b"t")), None).unwrap();
        assert_eq!(rules.judge(&entry), Verdict::Gone);
    }

    #[test]
    fn what_is_applied_is_not_applied_again() {
        let rules = Rules::default();
        let entry = stored(&rules);
        rules.add(hashed(rules.hashes.tag(b"other")), None).unwrap();
        assert_eq!(rules.judge(&entry), Verdict::Valid);
        assert_eq!(entry.checked(), rules.newest());
    }

    #[test]
    fn applied_purges_are_dropped_after_a_while_and_what_has_not_seen_them_is_gone() {
        let rules = Rules::default();
        let (seen, unseen) = (stored(&rules), stored(&rules));
        rules.add(hashed(rules.hashes.tag(b"x")), None).unwrap();
        rules.add(pattern(Selector::prefix("h.example/x").unwrap()), None).unwrap();
        assert!(rules.is_unswept());
        assert_eq!(rules.judge(&seen), Verdict::Valid);
        rules.swept(rules.newest(), at(0));
        assert!(!rules.is_unswept());
        assert_eq!(rules.count(), 2, "a request under way may still need them");
        rules.swept(rules.newest(), at(59));
        assert_eq!(rules.count(), 2);
        rules.swept(rules.newest(), at(60));
        assert_eq!(rules.count(), 0);
        assert_eq!(rules.judge(&seen), Verdict::Valid);
        assert_eq!(rules.judge(&unseen), Verdict::Gone, "what it was to see is forgotten");
        assert_eq!(rules.judge(&stored(&rules)), Verdict::Valid);
    }

    #[test]
    fn when_full_an_operator_is_refused_and_a_client_spills() {
        let rules = Rules::default();
        let (entry, other) = (stored(&rules), Standing::new(None, 0));
        let all: Vec<u64> = (0..MOST_HASHED as u64).map(|n| n * 7 + 1).collect();
        rules.add(Rule::Hashed(all), None).unwrap();
        let url = rules.hashes.url("h.example", "/a/b", Some("q"));
        let before = rules.newest();
        assert_eq!(rules.add(hashed(url), None), Err(Full));
        assert_eq!(rules.newest(), before, "a refused purge changes nothing");
        assert_eq!(rules.judge(&entry), Verdict::Valid);
        rules.insist(vec![url]);
        assert_eq!(rules.judge(&entry), Verdict::Gone);
        assert_eq!(rules.judge(&other), Verdict::Valid);
        assert_eq!(rules.judge(&stored(&rules)), Verdict::Valid);
        assert_eq!(rules.count(), MOST_HASHED);
        // Room is scarce: a sweep makes some at once.
        rules.swept(rules.newest(), at(0));
        assert_eq!(rules.count(), 0);
        rules.add(hashed(url), None).unwrap();
    }

    #[test]
    fn patterns_are_bounded() {
        let rules = Rules::default();
        for _ in 0..MOST_PATTERNS {
            rules.add(pattern(Selector::prefix("h.example/x").unwrap()), None).unwrap();
        }
        assert_eq!(rules.add(pattern(Selector::glob("h.example/**").unwrap()), None), Err(Full));
        assert_eq!(rules.judge(&stored(&rules)), Verdict::Valid);
    }
}
