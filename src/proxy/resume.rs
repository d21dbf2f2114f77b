//! Asking for the rest of what is stored in part, and putting both together before pingora sees them.
//! (RFC 9110 §15.3.7.3; RFC 9111 §3.4)
//!
//! The rest is asked for with `If-Range` and the stored strong validator: an origin with another body answers with all of it
//! (200). A 206 is joined only if its own validator is the stored one, and begins where the stored bytes end. Whatever else
//! comes in answer to a range that the client did not ask for (416, a foreign 206) is asked for again without it, before
//! anybody has seen a byte.
//!
//! A whole body is asked for that way even where the stored part has no strong validator. An origin that does not know ranges
//! answers with all of it and nothing is lost; from one that does, the rest cannot be joined, and the second request is what
//! it costs, once for as long as the part is stored: the whole takes its place.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use http::{HeaderValue, Method, StatusCode};
use pingora::cache::CachePhase;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use bytes::Bytes;
use pingora::cache::key::CacheHashKey;

use super::ctx::Ctx;
use super::parts;
use crate::cache::content_range::{self, Span};
use crate::cache::parts::{Wanted, is_same};
use crate::cache::storable::SetCookie;
use crate::cache::validate;
use crate::clock;
use crate::store::{Found, Store, replace_fields};

/// The plan to complete what is stored.
#[derive(Clone, Debug)]
pub struct Resume {
    store: &'static Store,
    /// What is stored.
    found: Found,
    /// What the answer is to be: all of it, or a range from this position on.
    whole: bool,
    /// Where the stored bytes that are used begin, and end.
    stored: Span,
    /// The last position wanted, if not all.
    last: Option<u64>,
    /// The range that is asked for if it cannot be completed.
    otherwise: Option<HeaderValue>,
}

/// What to do with a response to the request for the rest.
pub(super) enum Verdict {
    /// It is the rest.
    Join(Box<Splice>),
    /// It is an answer of its own.
    PassOn,
    /// It is no answer to what the client asked.
    AskAgain,
}

/// Stored bytes and the rest as one response.
#[derive(Debug)]
pub(super) struct Splice {
    /// The head of both.
    pub head: ResponseHeader,
    found: Found,
    /// The stored bytes not yet given.
    left: Span,
}

impl Splice {
    /// The next of the stored bytes.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let piece = self.found.piece(self.left.start, self.left.end)?;
        self.left.start += piece.len() as u64;
        Some(piece)
    }

    /// Whether there are stored bytes left to give.
    pub(super) fn has_more(&self) -> bool {
        !self.left.is_empty()
    }
}

/// Makes the request one for the rest, if the beginning of what it asks for is stored.
pub(super) fn plan(store: &'static Store, session: &Session, request: &mut RequestHeader, ctx: &Ctx) -> Option<Resume> {
    if request.method != Method::GET || request.headers.contains_key(IF_RANGE) {
        return None;
    }
    let (primary, first, last, whole) = match &ctx.part {
        Some(part) => match part.ask() {
            Wanted::From { first, last } => (*part.primary(), first, last, false),
            Wanted::Suffix(_) => return None,
        },
        None if session.cache.phase() == CachePhase::Miss => (session.cache.cache_key().primary_bin(), 0, None, true),
        None => return None,
    };
    let found = store.peek_parts(&primary, parts::selects(session, ctx))?;
    let reached = found.reach(first);
    if reached == first || found.is_doubtful() || last.is_some_and(|last| reached > last) {
        return None;
    }
    if found.complete().is_some_and(|complete| reached >= complete) {
        return None;
    }
    let validator = validate::strong_validator(&found.head().headers, clock::wall()).cloned();
    if validator.is_none() && !whole {
        return None;
    }
    let otherwise = request.headers.get(RANGE).cloned();
    let rest = Wanted::From { first: reached, last }.field()?;
    request.insert_header(RANGE, rest).ok()?;
    if let Some(validator) = validator {
        request.insert_header(IF_RANGE, validator).ok()?;
    }
    Some(Resume { store, found, whole, stored: Span { start: first, end: reached }, last, otherwise })
}

impl Resume {
    /// Judges the final head that came.
    pub(super) fn judge(&self, head: &ResponseHeader) -> Verdict {
        match head.status {
            StatusCode::PARTIAL_CONTENT => {
                self.join(head).map_or(Verdict::AskAgain, |splice| Verdict::Join(Box::new(splice)))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Verdict::AskAgain,
            _ => Verdict::PassOn,
        }
    }

    /// Makes the request what it was before [`plan`].
    pub(super) fn undo(&self, request: &mut RequestHeader) {
        request.remove_header(&IF_RANGE);
        request.remove_header(&RANGE);
        if let Some(range) = &self.otherwise {
            let _same_name_fits = request.insert_header(RANGE, range.clone());
        }
    }

    fn join(&self, rest: &ResponseHeader) -> Option<Splice> {
        let extent = content_range::extent(&rest.headers)?;
        let stored = self.found.head();
        let now = clock::wall();
        let span = Span { start: self.stored.start, end: extent.span.end };
        let ends = match (self.whole, self.last) {
            (true, _) => extent.complete == Some(span.end),
            (false, Some(last)) => span.end <= last.saturating_add(1),
            (false, None) => true,
        };
        let fits = !extent.doubtful
            && self.store.still_has(&self.found)
            && extent.span.start == self.stored.end
            && self.found.complete().is_none_or(|complete| extent.complete == Some(complete))
            && is_same(&stored.headers, &rest.headers, now);
        if !ends || !fits {
            return None;
        }
        let mut head = stored.clone();
        // Whether a cookie of the rest keeps all from being stored is for the cache to say.
        let mut fields = validate::merge_304(&stored.headers, &rest.headers, SetCookie::Share, now);
        fields.remove(CONTENT_RANGE);
        replace_fields(&mut head, &fields);
        head.set_version(rest.version);
        if self.whole {
            head.insert_header(CONTENT_LENGTH, span.end).ok()?;
        } else {
            parts::describe(&mut head, span, extent.complete).ok()?;
        }
        Some(Splice { head, found: self.found.clone(), left: self.stored })
    }
}
