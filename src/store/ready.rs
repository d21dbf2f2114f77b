//! Finding what can be sent at once.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use pingora::cache::key::HashBinary;
use pingora::http::ResponseHeader;

use super::Store;
use super::entry::{Body, Stored};
use super::form::Form;
use super::parts::variant_slot;
use super::wire::SAID_BY_US;
use crate::cache::freshness::Freshness;
use crate::cache::vary::Fields;

/// A complete response in memory, or a form of one, to be sent as it is if it is fresh.
#[derive(Clone, Debug)]
pub struct Ready {
    pub(super) entry: Arc<Stored>,
    /// `None` for what the origin sent.
    pub(super) form: Option<Arc<Form>>,
}

/// Why there is nothing to be sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// Nothing complete is stored, or not the variant that is asked for.
    Absent,
    /// A newer response is coming in.
    Filling,
    /// It was made stale by a purge.
    Purged,
    /// It has variants, and `selects` did not say which.
    Vary,
    /// The origin has since forbidden to store what it answers here.
    Doubted,
}

impl From<Arc<Stored>> for Ready {
    fn from(entry: Arc<Stored>) -> Ready {
        Ready { entry, form: None }
    }
}

impl Ready {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.header().status
    }

    /// Its fields as they are stored.
    pub fn fields(&self) -> &HeaderMap {
        &self.header().headers
    }

    /// Whether it answers clients of any `Accept-Encoding`, see [`super::ForAll`].
    pub fn is_for_all(&self) -> bool {
        self.entry.for_all
    }

    fn header(&self) -> &ResponseHeader {
        self.form.as_ref().map_or(self.entry.meta.header(), |form| &form.header)
    }

    pub(super) fn body(&self) -> &Body {
        self.form.as_ref().map_or(&self.entry.body, |form| &form.body)
    }

    /// How fresh it is; nothing if who stored it did not say.
    pub fn freshness(&self) -> Option<&Freshness> {
        self.entry.freshness.as_ref()
    }

    /// Status line and fields, each with its line end, but for those that a hit says itself: `Age`, `Connection`,
    /// `X-Cache-Status`, `X-Request-Id`. Without the fields of `hidden`.
    pub fn head(&self, hidden: &[HeaderName]) -> Cow<'_, [u8]> {
        let wire = self.form.as_ref().map_or(&self.entry.wire, |form| &form.wire);
        wire.head(self.header(), hidden)
    }

    /// The length of its body in bytes.
    pub fn length(&self) -> u64 {
        self.body().len()
    }

    /// Its body, piece by piece, shared with the store.
    pub fn bytes(&self) -> impl Iterator<Item = Bytes> {
        self.body().segments().iter().map(|segment| segment.bytes.clone())
    }

    /// Whether a hit says the field of this name itself, whatever is stored by it.
    pub fn is_said_anew(name: &HeaderName) -> bool {
        SAID_BY_US.contains(&name.as_str())
    }

    /// Its body, piece by piece, from byte `at` on.
    pub fn pieces(&self, at: u64) -> impl Iterator<Item = &[u8]> {
        self.body().from(at)
    }
}

impl Store {
    /// What answers a request for the resource `primary` from memory, whatever its age. `selects` says which variant the
    /// request selects where these fields tell variants apart.
    ///
    /// The same as a lookup by pingora finds, but for what is better left to that.
    pub fn ready(
        &self,
        primary: &HashBinary,
        selects: impl FnOnce(&Fields) -> Option<HashBinary>,
    ) -> Result<Ready, NotReady> {
        if self.open.any(primary, |fill| self.is_current(fill)) {
            return Err(NotReady::Filling);
        }
        let first = self.get(primary).ok_or(NotReady::Absent)?;
        let variance = match &first.varies {
            Some(fields) => Some(selects(fields).ok_or(NotReady::Vary)?),
            None => None,
        };
        let entry = if first.meta.variance() == variance {
            first
        } else {
            let slot = variant_slot(primary, variance.ok_or(NotReady::Absent)?);
            let other = self.get(&slot).ok_or(NotReady::Absent)?;
            // pingora takes no variant from before the lineage of the one in the primary slot.
            if other.meta.variance() != variance || other.meta.provenance() < first.meta.provenance() {
                return Err(NotReady::Absent);
            }
            other
        };
        if entry.standing.stale_since().is_some() {
            return Err(NotReady::Purged);
        }
        if entry.is_doubted() { Err(NotReady::Doubted) } else { Ok(Ready::from(entry)) }
    }

    /// The origin has answered a request for the resource with what it forbids to store: what is stored is no longer sent
    /// unasked, until it is replaced.
    pub fn doubt(&self, primary: &HashBinary) {
        let _lock = self.open.lock(primary);
        let mut slots = self.families.slots(primary);
        slots.push(*primary);
        slots.iter().filter_map(|slot| self.raw(slot)).for_each(|entry| entry.doubt());
    }
}
