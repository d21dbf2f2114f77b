//! What pingora's `CacheMeta` says, in a form that can be kept and shared.
//!
//! `CacheMeta` is neither `Clone` nor cheap to serialise (msgpack and zstd), yet every lookup has to hand out one of
//! its own. So its parts are kept and one is built per lookup.
//!
//! Two fields of it cannot be set from outside: `updated` and `provenance`. pingora drops every variant whose
//! `created` is before the `provenance` of the entry in the primary slot, which is how a purge of that slot takes the
//! whole family with it. A new `CacheMeta` has `provenance = created`; rebuilt with the true `created`, each refresh
//! of the primary variant would move the family's birth to now and orphan its siblings. Hence `created` is rebuilt as
//! the provenance, on both sides of that comparison, and the point from which age is counted travels in the epoch
//! override, which takes precedence over `updated` in `age` and `fresh_sec`.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use pingora::Result;
use pingora::cache::CacheMeta;
use pingora::cache::key::HashBinary;
use pingora::http::ResponseHeader;

use super::head::{compact, replace_fields};
use super::label::Labelled;
use crate::cache::freshness::Freshness;

/// Which body a meta belongs to.
///
/// Rides in the meta's extensions, which pingora carries from the lookup to `update_meta`. There it keeps a 304 for
/// one body from being written over the head of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serial(pub(super) u64);

/// What one header field costs beside its name and value: its slots in pingora's two maps (104 bytes with the values, 96
/// with the spellings), their index entries, and the name's own copy and share count. See [`super::entry::OVERHEAD`].
const FIELD: u64 = 320;
/// What one value in the extensions may cost: a boxed value and its slot in the map. Larger ones are not accounted.
const EXTENSION: u64 = 128;

/// The parts of a `CacheMeta`.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    fresh_until: SystemTime,
    provenance: SystemTime,
    epoch: SystemTime,
    while_revalidate: u32,
    if_error: u32,
    variance: Option<HashBinary>,
    header: ResponseHeader,
    extensions: http::Extensions,
}

/// What a head says about the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    /// No `Content-Length`.
    Nothing,
    /// That many bytes.
    Length(u64),
    /// A `Content-Length` that is not one number.
    Nonsense,
}

impl Declared {
    /// Whether a complete body of `length` bytes belies the head.
    pub(super) fn contradicts(self, length: u64) -> bool {
        match self {
            Declared::Nothing => false,
            Declared::Length(declared) => declared != length,
            Declared::Nonsense => true,
        }
    }
}

impl Meta {
    /// The parts of `meta`, extensions included.
    pub(super) fn of(meta: &CacheMeta) -> Meta {
        Meta {
            fresh_until: meta.fresh_until(),
            provenance: meta.provenance(),
            epoch: meta.epoch(),
            while_revalidate: meta.stale_while_revalidate_sec(),
            if_error: meta.stale_if_error_sec(),
            variance: meta.variance(),
            header: meta.response_header_copy(),
            extensions: meta.extensions().clone(),
        }
    }

    /// A `CacheMeta` that says the same.
    pub(super) fn build(&self) -> CacheMeta {
        let mut meta = CacheMeta::new(
            self.fresh_until,
            self.provenance,
            self.while_revalidate,
            self.if_error,
            self.header.clone(),
        );
        if let Some(variance) = self.variance {
            meta.set_variance(variance);
        }
        meta.set_epoch_override(self.epoch);
        *meta.extensions_mut() = self.extensions.clone();
        meta
    }

    /// A `CacheMeta` that says the same, but that it is stale since `since` at the latest.
    pub(super) fn build_stale(&self, since: SystemTime) -> CacheMeta {
        let mut stale = self.clone();
        stale.expire(since);
        stale.build()
    }

    /// Takes out what purges know the response by.
    pub(super) fn take_label(&mut self) -> Option<Labelled> {
        self.extensions.remove()
    }

    /// The same meta for the body `serial`.
    pub(super) fn of_body(mut self, serial: Serial) -> Meta {
        self.extensions.insert(serial);
        self
    }

    /// Which body it belongs to, if it came from this store.
    pub(super) fn serial(&self) -> Option<Serial> {
        self.extensions.get().copied()
    }

    /// When the entry's lineage began: pingora's reference point between the variants of one resource.
    pub(super) fn provenance(&self) -> SystemTime {
        self.provenance
    }

    /// Which variant it is, if its resource varies.
    pub(super) fn variance(&self) -> Option<HashBinary> {
        self.variance
    }

    /// The head.
    pub(super) fn header(&self) -> &ResponseHeader {
        &self.header
    }

    /// A value of the extensions.
    pub(super) fn extension<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.extensions.get().cloned()
    }

    /// Takes a field off the head.
    pub(super) fn remove_field(&mut self, name: &HeaderName) {
        self.header.remove_header(name);
    }

    /// Makes the head share no memory with the connection it came on.
    ///
    /// # Errors
    /// If pingora refuses the fields, which its own cannot cause.
    pub(super) fn compact(&mut self) -> Result<()> {
        self.header = compact(&self.header)?;
        Ok(())
    }

    /// Makes the fields of the head those of `fields`.
    ///
    /// # Errors
    /// As for [`Meta::compact`].
    pub(super) fn set_fields(&mut self, fields: &HeaderMap) -> Result<()> {
        replace_fields(&mut self.header, fields);
        self.compact()
    }

    /// What the head says about the body's length.
    pub(super) fn declared(&self) -> Declared {
        let mut values = self.header.headers.get_all(CONTENT_LENGTH).iter();
        match (values.next(), values.next()) {
            (None, _) => Declared::Nothing,
            (Some(one), None) => match one.to_str().ok().and_then(|v| v.parse().ok()) {
                Some(length) => Declared::Length(length),
                None => Declared::Nonsense,
            },
            (Some(_), Some(_)) => Declared::Nonsense,
        }
    }

    /// Makes it the meta of a complete body of `length` bytes, to be kept: a stored response is no longer chunked, a
    /// range can only be cut from a body whose length the head tells, and the head shares no memory with the
    /// connection it came on. (RFC 9112 §6.1: no `Content-Length` with 1xx or 204; a 304 has none of its own.)
    ///
    /// # Errors
    /// If pingora refuses the fields, which its own cannot cause.
    pub(super) fn settle(&mut self, length: u64) -> Result<()> {
        self.header.remove_header(&TRANSFER_ENCODING);
        let status = self.header.status;
        if status.is_informational() || status == 204 || status == 304 {
            self.header.remove_header(&CONTENT_LENGTH);
        } else {
            self.header.insert_header(CONTENT_LENGTH, length.to_string())?;
        }
        self.header = compact(&self.header)?;
        Ok(())
    }

    /// Stale from `now` on, for pingora as for the policy. The windows for serving stale then run from `now`.
    fn expire(&mut self, now: SystemTime) {
        if let Some(freshness) = self.extensions.get_mut::<Freshness>() {
            freshness.expire(now);
        }
        // `is_fresh` includes the instant itself.
        let before = now.checked_sub(Duration::from_nanos(1)).unwrap_or(SystemTime::UNIX_EPOCH);
        self.fresh_until = self.fresh_until.min(before);
    }

    /// Bytes of memory it takes beyond its own size.
    pub(super) fn weight(&self) -> u64 {
        fields_weight(&self.header.headers) + self.extensions.len() as u64 * EXTENSION
    }
}

/// Bytes of memory that the fields of a head take.
pub(super) fn fields_weight(fields: &HeaderMap) -> u64 {
    let text = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    text as u64 + fields.len() as u64 * FIELD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn meta(fields: &[(&'static str, &'static str)]) -> CacheMeta {
        let mut header = ResponseHeader::build(200, None).unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        CacheMeta::new(at(160), at(100), 30, 600, header)
    }

    #[test]
    fn what_is_built_says_what_was_kept() {
        let mut given = meta(&[("etag", "\"a\"")]);
        given.set_variance([7; 16]);
        given.set_epoch_override(at(90));
        given.extensions_mut().insert("typed");
        let built = Meta::of(&given).build();
        assert_eq!(built.fresh_until(), at(160));
        assert_eq!((built.stale_while_revalidate_sec(), built.stale_if_error_sec()), (30, 600));
        assert_eq!(built.variance(), Some([7; 16]));
        assert_eq!((built.epoch(), built.fresh_sec()), (at(90), 70));
        assert_eq!(built.headers()["etag"], "\"a\"");
        assert_eq!(built.extensions().get::<&str>(), Some(&"typed"));
    }

    #[test]
    fn the_length_is_only_known_from_one_number() {
        assert_eq!(Meta::of(&meta(&[])).declared(), Declared::Nothing);
        assert_eq!(Meta::of(&meta(&[("content-length", "12")])).declared(), Declared::Length(12));
        assert_eq!(Meta::of(&meta(&[("content-length", "-1")])).declared(), Declared::Nonsense);
        let two = Meta::of(&meta(&[("content-length", "1"), ("content-length", "2")]));
        assert_eq!(two.declared(), Declared::Nonsense);
        assert!(two.declared().contradicts(1));
    }

    #[test]
    fn a_chunked_head_is_framed_by_length_once_it_is_known() {
        let mut chunked = Meta::of(&meta(&[("transfer-encoding", "chunked")]));
        chunked.settle(5).unwrap();
        let built = chunked.build();
        assert_eq!(built.headers()["content-length"], "5");
        assert!(!built.headers().contains_key("transfer-encoding"));
    }

    #[test]
    fn a_204_gets_no_content_length() {
        let empty = CacheMeta::new(at(160), at(100), 0, 0, ResponseHeader::build(204, None).unwrap());
        let mut empty = Meta::of(&empty);
        empty.settle(0).unwrap();
        assert!(!empty.build().headers().contains_key("content-length"));
    }

    #[test]
    fn expiry_makes_stale_at_that_very_instant_and_never_fresher() {
        let mut expired = Meta::of(&meta(&[]));
        expired.expire(at(120));
        assert!(!expired.build().is_fresh(at(120)));
        expired.expire(at(150));
        assert!(!expired.build().is_fresh(at(130)));
    }
}
