//! Purges: how they come in, and how they reach what is stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::entry::Stored;
use super::fill::Fill;
use super::label::{Labelled, Named};
use super::rules::{Full, LAG, Rule, Verdict};
use super::{NotStored, Store};
use crate::cache::purge::{Selector, authority};
use crate::cache::tags::Tags;

/// The part of the room that purges may take before they are swept up in haste.
const HASTE: f64 = 0.25;
/// How long a sweep waits for other purges to share it.
const GATHER: Duration = Duration::from_millis(500);

impl Store {
    /// The number of the newest purge. To be read before a request goes upstream, for the label of its response.
    pub fn newest_purge(&self) -> u64 {
        self.rules.newest()
    }

    /// By what purges know a response that answers `named`: to be put into its meta's extensions. `since` is what
    /// [`Store::newest_purge`] was when the request went upstream.
    pub fn label(&self, named: &Named<'_>, tags: &Tags, since: u64) -> Labelled {
        self.counts.tags_cut.fetch_add(tags.cut as u64, Ordering::Relaxed);
        Labelled(Arc::new(self.rules.hashes.label(named, tags, since)))
    }

    /// Purges what `selector` names, at once and for good; or, if `soft`, makes it stale from that time on. Also what is
    /// still coming in, if it was asked for before. The number of the purge. Takes as long however much is stored.
    ///
    /// # Errors
    /// If so many purges have come that there is no room to note another. Nothing is purged then.
    pub fn purge_by(&self, selector: Selector, soft: Option<SystemTime>) -> Result<u64, Full> {
        let hashes = &self.rules.hashes;
        let is_wide = !matches!(selector, Selector::Url(_));
        let rule = match selector {
            Selector::Url(url) => Rule::Hashed(vec![hashes.url(&url.authority, &url.path, url.query.as_deref())]),
            Selector::Tags(tags) => Rule::Hashed(tags.iter().map(|tag| hashes.tag(tag.as_bytes())).collect()),
            Selector::Host(host) if host.has_port => Rule::Hashed(vec![hashes.authority(&host.text)]),
            Selector::Host(host) => Rule::Hashed(vec![hashes.host(&host.text)]),
            Selector::Prefix(url) => Rule::Prefix(url),
            Selector::Glob(glob) => Rule::Glob(glob),
            Selector::All => Rule::All,
        };
        self.note(rule, soft, is_wide)
    }

    /// Purges what has one of `tags` within the origin of `asked`.
    ///
    /// # Errors
    /// As for [`Store::purge_by`].
    pub fn purge_tags_within(
        &self,
        asked: &Named<'_>,
        tags: &[Vec<u8>],
        soft: Option<SystemTime>,
    ) -> Result<u64, Full> {
        let origin = self.origin(asked);
        let hashes = &self.rules.hashes;
        let tags = tags.iter().map(|tag| hashes.within(origin, hashes.tag(tag)));
        self.note(Rule::Hashed(tags.collect()), soft, true)
    }

    /// Makes URLs and groups of the origin of `asked` invalid. Never refused.
    pub fn invalidate_within(&self, asked: &Named<'_>, uris: &[(String, Option<String>)], groups: &[String]) -> u64 {
        let origin = self.origin(asked);
        let authority = authority(asked.host, asked.port);
        let hashes = &self.rules.hashes;
        let uris = uris.iter().map(|(path, query)| hashes.url(&authority, path, query.as_deref()));
        let groups = groups.iter().map(|group| hashes.within(origin, hashes.group(group)));
        let number = self.rules.insist(uris.chain(groups).collect());
        self.unswept.notify_one();
        number
    }

    fn origin(&self, asked: &Named<'_>) -> u64 {
        self.rules.hashes.origin(asked.scheme, &authority(asked.host, asked.port))
    }

    fn note(&self, rule: Rule, soft: Option<SystemTime>, is_wide: bool) -> Result<u64, Full> {
        let number = self.rules.add(rule, soft)?;
        if is_wide && soft.is_none() {
            self.wide.store(true, Ordering::Release);
        }
        self.unswept.notify_one();
        Ok(number)
    }

    /// Returns when a sweep is due: soon after a purge that may free much memory, or when purges begin to fill their
    /// room; else after a while.
    pub async fn sweep_due(&self) {
        if self.rules.count() == 0 && !self.rules.is_unswept() {
            self.unswept.notified().await;
        }
        tokio::time::sleep(GATHER).await;
        // Over in vain or not: then a sweep is due.
        let _ = timeout(LAG, self.urgent()).await;
    }

    async fn urgent(&self) {
        while !self.wide.swap(false, Ordering::AcqRel) && self.rules.fullness() < HASTE {
            self.unswept.notified().await;
        }
    }

    /// Applies the purges to all that is stored or coming in, and drops those that are no longer needed. Walks over all
    /// entries: not for a runtime's thread.
    pub fn sweep(&self, now: SystemTime) {
        let _no_moves = self.resizing.lock();
        let newest = self.rules.newest();
        if self.rules.is_unswept() {
            let shelves = self.shelves.load();
            for shelf in [Some(&shelves.current), shelves.previous.as_ref()].into_iter().flatten() {
                shelf.entries().filter(|entry| self.is_purged(entry)).for_each(|entry| self.discard(&entry));
            }
            // Noted with each; what is purged is told at its end.
            for fill in self.open.all() {
                let _noted = self.rules.judge(&fill.standing);
            }
        }
        self.rules.swept(newest, now);
    }

    fn is_purged(&self, entry: &Stored) -> bool {
        self.rules.judge(&entry.standing) == Verdict::Gone
    }

    /// Removes `entry` if it is still what is stored in its slot.
    pub(super) fn discard(&self, entry: &Arc<Stored>) {
        let _lock = self.open.lock(&entry.place.primary);
        if self.raw(&entry.place.slot).is_some_and(|stored| Arc::ptr_eq(&stored, entry)) && self.take(&entry.place.slot)
        {
            self.counts.purged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether who asks now may read along: nothing has been purged, even softly, since the fill's request.
    pub(super) fn is_current(&self, fill: &Fill) -> bool {
        self.rules.judge(&fill.standing) == Verdict::Valid
    }

    /// Sees to it that a fill that has come to its end is not stored if it is purged. No sooner: what is not retained
    /// makes the slow client of a download wait for nobody, and a purge is no reason to cut it off.
    pub(super) fn may_retain(&self, fill: &Fill) {
        if self.rules.judge(&fill.standing) == Verdict::Gone {
            fill.pass(NotStored::Purged);
        }
    }
}
