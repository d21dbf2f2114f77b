//! Other forms of a stored response: decoded, or in codings that clients like better.
//!
//! A form is made once and kept with the entry it was made of, which stays what the origin sent: that is validated with
//! the origin's own tag, refreshed by its 304, purged by its key. A form goes and is refreshed with it, is weighed with it,
//! and is no variant of its own. Who keeps forms as variants has to ask the origin for each of them, and to refresh and to
//! purge them one by one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::Result;
use pingora::cache::storage::HitHandler;
use pingora::http::ResponseHeader;
use tokio::time::timeout;

use super::Store;
use super::entry::{Body, SEGMENT, Segment, allocated};
use super::head::{compact, replace_fields};
use super::hit::{Following, Whole};
use super::meta::fields_weight;
use super::ready::Ready;
use super::wire::{Hidden, Wire};
use crate::cache::codings::Coding;
use crate::cache::compression;

/// Said of a stored response, in the extensions of its meta: it answers clients of any `Accept-Encoding`, since it is decoded
/// for those who cannot read it. Its `Vary` does not name that field.
#[derive(Clone, Copy, Debug)]
pub struct ForAll;

/// What a form weighs beside its body and the fields of its head, in bytes: its record, and two maps of fields.
const RECORD: u64 = 512;

/// A form.
#[derive(Debug)]
pub(super) struct Form {
    /// Its coding.
    pub(super) coding: Option<Coding>,
    pub(super) header: ResponseHeader,
    pub(super) wire: Wire,
    pub(super) body: Body,
}

impl Form {
    /// The form with this body of a response with this head.
    ///
    /// # Errors
    /// If pingora refuses the fields, which its own cannot cause.
    fn new(coding: Option<Coding>, head: &ResponseHeader, body: Body, hidden: Hidden) -> Result<Form> {
        let mut fields = head.headers.clone();
        compression::describe(&mut fields, coding, Some(body.len()));
        compression::vary(&mut fields);
        let mut header = head.clone();
        replace_fields(&mut header, &fields);
        let header = compact(&header)?;
        let wire = Wire::new(&header, hidden);
        Ok(Form { coding, header, wire, body })
    }

    /// Bytes of memory it takes.
    pub(super) fn weight(&self) -> u64 {
        RECORD + fields_weight(&self.header.headers) + allocated(self.wire.len() as u64) + self.body.weight()
    }

    /// The same body under a newer head; `None` if that forbids it.
    pub(super) fn under(&self, head: &ResponseHeader, hidden: Hidden) -> Option<Arc<Form>> {
        if !compression::is_transformable(head.status, &head.headers) {
            return None;
        }
        Form::new(self.coding, head, self.body.clone(), hidden).ok().map(Arc::new)
    }
}

impl Ready {
    /// What a hit is about to be sent from, if that is complete.
    pub fn of(hit: &HitHandler) -> Option<Ready> {
        hit.as_any().downcast_ref().map(Whole::ready)
    }

    /// The form of it in this coding, if it is kept.
    pub fn form(&self, coding: Option<Coding>) -> Option<Ready> {
        let form = self.entry.forms.iter().find(|form| form.coding == coding)?;
        Some(Ready { entry: Arc::clone(&self.entry), form: Some(Arc::clone(form)) })
    }

    /// A reader of its body.
    pub fn reader(&self) -> HitHandler {
        Box::new(Whole::new(self.clone()))
    }

    /// The coding it was given, if it is a form.
    pub fn coding(&self) -> Option<Coding> {
        self.form.as_ref().and_then(|form| form.coding)
    }

    /// Notes that a form of it is larger than anything that is stored: it need not be made again.
    pub fn has_no_room(&self) {
        self.entry.formless.store(true, Ordering::Relaxed);
    }

    /// Whether forms of it have room.
    pub fn may_have_forms(&self) -> bool {
        !self.entry.formless.load(Ordering::Relaxed)
    }

    /// What tells it from all other responses that were ever stored.
    pub fn number(&self) -> u64 {
        self.entry.serial.0
    }
}

impl Store {
    /// Keeps the form of `ready` in `coding`, if the response is still stored and may have one.
    pub fn keep_form(&self, ready: &Ready, coding: Option<Coding>, body: &[Bytes]) {
        let body = together(body);
        if body.len() > self.max_object() {
            return ready.has_no_room();
        }
        let place = ready.entry.place;
        let _lock = self.open.lock(&place.primary);
        let Some(entry) = self.valid(&place.slot).filter(|entry| entry.serial == ready.entry.serial) else { return };
        let head = entry.meta.header();
        if !compression::is_transformable(head.status, &head.headers) {
            return;
        }
        if let Ok(form) = Form::new(coding, head, body, self.hidden()) {
            self.put(entry.with_form(Arc::new(form)));
        }
    }

    /// Drops a response of which no form can be made.
    pub fn reject(&self, ready: &Ready) {
        if let Some(now) = self.again(ready) {
            self.discard(&now.entry);
        }
    }

    /// The response that is coming in where `hit` is read from, once it is stored; `None` if that takes longer than `patience`.
    pub async fn settled(&self, hit: &HitHandler, patience: Duration) -> Option<Ready> {
        let following: &Following = hit.as_any().downcast_ref()?;
        let fill = following.fill();
        timeout(patience, fill.over()).await.ok()?;
        let entry = self.get(&fill.place.slot).filter(|entry| entry.serial == fill.serial)?;
        Some(Ready::from(entry))
    }

    /// What is stored now of the same response.
    pub fn again(&self, ready: &Ready) -> Option<Ready> {
        self.get(&ready.entry.place.slot).filter(|entry| entry.serial == ready.entry.serial).map(Ready::from)
    }
}

/// Pieces as a body, in segments that are not too small.
fn together(pieces: &[Bytes]) -> Body {
    let mut segments: Vec<Segment> = Vec::new();
    let mut open = BytesMut::new();
    let mut start = 0;
    let mut close = |open: &mut BytesMut| {
        // Exactly as large as its content, which a buffer that grew is not.
        let bytes = Bytes::copy_from_slice(open);
        open.clear();
        segments.push(Segment { start, bytes });
        start = segments.last().map_or(0, Segment::end);
    };
    for piece in pieces {
        open.extend_from_slice(piece);
        if open.len() >= SEGMENT {
            close(&mut open);
        }
    }
    if !open.is_empty() {
        close(&mut open);
    }
    Body::new(segments)
}
