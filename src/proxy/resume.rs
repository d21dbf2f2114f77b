//! Asking for the rest of what is stored in part, and putting both together before pingora sees them.
//! (RFC 9110 §15.3.7.3; RFC 9111 §3.4)
//!
//! The rest is asked for with `If-Range` and the stored strong validator: an origin with another body answers with all of it
//! (200). A 206 is joined only if its own validator is the stored one, and begins where the stored bytes end. Whatever else
//! comes in answer to a range that the client did not ask for (416, a foreign 206) is asked for again without it, before
//! anybody has seen a byte.
//!
//! Where all of a range is stored but may not be used as it is, the origin is asked whether it still holds; a 304 makes it the
//! answer (RFC 9111 §4.3).
//!
//! A whole body is asked for that way even where the stored part has no strong validator. An origin that does not know ranges
//! answers with all of it and nothing is lost; from one that does, the rest cannot be joined, and the second request is what
//! it costs, once for as long as the part is stored: the whole takes its place.

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use pingora::cache::CachePhase;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use bytes::Bytes;
use pingora::cache::key::CacheHashKey;

use super::ctx::Ctx;
use super::parts;
use crate::cache::content_range::{self, Span};
use crate::cache::parts::{Selection, Wanted, is_same};
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
    /// What is asked.
    question: Question,
    /// Which of the stored bytes are used.
    stored: Span,
    /// Where what is wanted ends, if that is known.
    end: Option<u64>,
    /// The range that is asked for if it cannot be completed.
    otherwise: Option<HeaderValue>,
}

/// What is asked instead of what the client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// The rest of the whole.
    Whole,
    /// The rest of a range.
    Rest,
    /// Whether what is stored of a range, which is all of it, still holds.
    Holds,
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

/// Makes the request one for the rest, if the beginning of what it asks for is stored; or a question whether it still holds, if
/// all of the range is.
pub(super) fn plan(store: &'static Store, session: &Session, request: &mut RequestHeader, ctx: &Ctx) -> Option<Resume> {
    if request.method != Method::GET || request.headers.contains_key(IF_RANGE) {
        return None;
    }
    let (primary, ask) = match &ctx.part {
        Some(part) => (*part.primary(), Some(part.ask())),
        None if session.cache.phase() == CachePhase::Miss => (session.cache.cache_key().primary_bin(), None),
        None => return None,
    };
    let found = store.peek_parts(&primary, parts::selects(session, ctx)).filter(|found| !found.is_doubtful())?;
    let (first, end) = match (ask.map(|ask| ask.select(found.complete())), ask) {
        (None, _) => (0, None),
        (Some(Selection::Span(span)), _) => (span.start, Some(span.end)),
        (Some(Selection::Unknown), Some(Wanted::From { first, .. })) => (first, None),
        _ => return None,
    };
    let stored = Span { start: first, end: found.reach(first).min(end.unwrap_or(u64::MAX)) };
    let question = match ask {
        _ if stored.is_empty() || (ask.is_none() && Some(stored.end) == found.complete()) => return None,
        None => Question::Whole,
        Some(_) if Some(stored.end) == end => Question::Holds,
        Some(_) => Question::Rest,
    };
    let resume = Resume { store, question, stored, end, otherwise: request.headers.get(RANGE).cloned(), found };
    resume.ask(request).then_some(resume)
}

impl Resume {
    /// Puts the question into the request. Whether it can be asked.
    fn ask(&self, request: &mut RequestHeader) -> bool {
        let validator = validate::strong_validator(&self.found.head().headers, clock::wall());
        match (self.question, validator) {
            (Question::Rest | Question::Holds, None) => false,
            (Question::Holds, Some(validator)) => {
                let conditions = [IF_NONE_MATCH, IF_MODIFIED_SINCE];
                // The client's own condition is about its own copy.
                let is_asked = conditions.iter().any(|name| request.headers.contains_key(name));
                let by_tag = self.found.head().headers.contains_key(ETAG);
                let name = if by_tag { IF_NONE_MATCH } else { IF_MODIFIED_SINCE };
                !is_asked && request.insert_header(name, validator).is_ok()
            }
            (Question::Whole | Question::Rest, _) => {
                let last = self.end.map(|end| end.saturating_sub(1));
                let Some(rest) = (Wanted::From { first: self.stored.end, last }).field() else { return false };
                request.insert_header(RANGE, rest).is_ok()
                    && validator.is_none_or(|validator| request.insert_header(IF_RANGE, validator).is_ok())
            }
        }
    }

    /// The head whose validator the request is conditional on, if it is.
    pub(super) fn condition(&self) -> Option<&HeaderMap> {
        (self.question == Question::Holds).then(|| &self.found.head().headers)
    }

    /// Judges the final head that came. A 304 about another response has been sorted out before.
    pub(super) fn judge(&self, head: &ResponseHeader) -> Verdict {
        let splice = match (self.question, head.status) {
            (Question::Holds, StatusCode::NOT_MODIFIED) => self.confirm(head),
            (Question::Holds, _) => return Verdict::PassOn,
            (_, StatusCode::PARTIAL_CONTENT) => self.join(head),
            (_, StatusCode::RANGE_NOT_SATISFIABLE) => None,
            _ => return Verdict::PassOn,
        };
        splice.map_or(Verdict::AskAgain, |splice| Verdict::Join(Box::new(splice)))
    }

    /// Makes the request what it was before [`plan`].
    pub(super) fn undo(&self, request: &mut RequestHeader) {
        if self.question == Question::Holds {
            request.remove_header(&IF_NONE_MATCH);
            request.remove_header(&IF_MODIFIED_SINCE);
        }
        request.remove_header(&IF_RANGE);
        request.remove_header(&RANGE);
        if let Some(range) = &self.otherwise {
            let _same_name_fits = request.insert_header(RANGE, range.clone());
        }
    }

    fn join(&self, rest: &ResponseHeader) -> Option<Splice> {
        let extent = content_range::extent(&rest.headers)?;
        let stored = self.found.head();
        let span = Span { start: self.stored.start, end: extent.span.end };
        let ends = match self.question {
            Question::Whole => extent.complete == Some(span.end),
            Question::Rest | Question::Holds => self.end.is_none_or(|end| span.end <= end),
        };
        let fits = !extent.doubtful
            && self.store.still_has(&self.found)
            && extent.span.start == self.stored.end
            && self.found.complete().is_none_or(|complete| extent.complete == Some(complete))
            && is_same(&stored.headers, &rest.headers, clock::wall());
        if !ends || !fits {
            return None;
        }
        let mut head = self.updated(rest);
        if self.question == Question::Whole {
            head.insert_header(CONTENT_LENGTH, span.end).ok()?;
        } else {
            parts::describe(&mut head, span, extent.complete).ok()?;
        }
        Some(Splice { head, found: self.found.clone(), left: self.stored })
    }

    /// What is stored, as a 304 has confirmed it.
    fn confirm(&self, update: &ResponseHeader) -> Option<Splice> {
        let mut head = self.updated(update);
        parts::describe(&mut head, self.stored, self.found.complete()).ok()?;
        let splice = Splice { head, found: self.found.clone(), left: self.stored };
        self.store.still_has(&self.found).then_some(splice)
    }

    /// The stored head with the fields of `update`.
    fn updated(&self, update: &ResponseHeader) -> ResponseHeader {
        let mut head = self.found.head().clone();
        // Whether a cookie of the update keeps all from being stored is for the cache to say.
        let mut fields = validate::merge_304(&head.headers, &update.headers, SetCookie::Share, clock::wall());
        fields.remove(CONTENT_RANGE);
        replace_fields(&mut head, &fields);
        head.set_version(update.version);
        head
    }
}
