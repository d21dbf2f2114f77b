//! Requests for one range of what is not stored whole.
//!
//! Fetching all of a file for a byte of it, which is what pingora's cache does, is right for a page and wrong for a film.
//! Such a request therefore goes upstream with its range, and what comes is kept as a part ([`crate::store::Partial`]), from
//! which later ranges are answered. Pingora's cache is in its bypassing state meanwhile: the range passes it, and a 200
//! (from an origin that does not know ranges, or has another body for `If-Range`) is stored and cut by it as ever.
//!
//! A range is asked for as it is wanted, or, on a route with slices, from the beginning of its first slice to the end of its
//! last one, and cut for the client as it streams. What is stored of its beginning is not fetched again ([`super::resume`]).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, Method, StatusCode};
use pingora::Result;
use pingora::cache::key::{CacheHashKey, HashBinary};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::caching::{self, Shared};
use super::ctx::Ctx;
use super::deadlines::Patience;
use super::flights::{Flight, Place};
use super::{forward, invalidating, respond, uses};
use crate::cache::content_range::{self, Extent, Span, content_range};
use crate::cache::parts::{Selection, Wanted};
use crate::cache::reuse::{self, Reuse};
use crate::cache::status::{Fwd, Outcome, Path, StaleUse};
use crate::cache::storable::NotStorable;
use crate::cache::validate;
use crate::clock;
use crate::store::{Found, Partial, Refusal, Store, replace_fields};
use crate::upstream::Failure;

/// A request for one range.
#[derive(Debug)]
pub struct Part {
    /// What the client wants.
    wanted: Wanted,
    /// What is asked for upstream.
    ask: Wanted,
    /// The resource.
    primary: HashBinary,
    /// Answered from memory: what is left of the stored response's lifetime, and whether it is over.
    hit: Option<(i64, Option<StaleUse>)>,
    /// Waited for another's fetch, in vain or not.
    waited: bool,
    /// Those behind this one wait until it is dropped.
    flight: Option<Flight<(HashBinary, Wanted)>>,
    /// What comes, on its way into the store.
    coming: Option<Partial>,
    /// Whether it was to be stored; then, its time to live.
    stored: Option<i64>,
    /// What of it the client gets.
    cut: Option<Cut>,
}

/// What to do with a request.
enum Look {
    /// It is answered with this.
    Answer(Box<ResponseHeader>, Option<(Found, Span)>),
    /// It goes upstream.
    Forward(Fwd, Option<&'static str>),
}

/// Takes the request on, if it is one for a range of what is neither stored nor coming in whole. Pingora's cache is then to be
/// left alone.
pub(super) fn begin(shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> bool {
    let request = session.req_header();
    if session.subrequest_ctx.is_some() || request.method != Method::GET {
        return false;
    }
    let Some(wanted) = Wanted::of(&request.headers) else { return false };
    let key = caching::cache_key(session, ctx);
    let primary = key.primary_bin();
    if shared.store.is_filling(&primary) || shared.store.peek(&primary, selects(session, ctx)).is_some() {
        return false;
    }
    uses::note(shared.store, session, ctx, &key.primary_bin());
    session.cache.enable(shared.store, None, Some(shared.predictor), None, None);
    session.cache.set_cache_key(key);
    session.cache.bypass();
    ctx.part = Some(Part {
        wanted,
        ask: wanted,
        primary,
        hit: None,
        waited: false,
        flight: None,
        coming: None,
        stored: None,
        cut: None,
    });
    true
}

/// Which variant the request selects of a family with such a head.
pub(super) fn selects<'s>(session: &'s Session, ctx: &Ctx) -> impl Fn(&HeaderMap) -> Option<HashBinary> + use<'s> {
    let (route, request) = (ctx.route.clone(), session.req_header());
    move |stored| caching::variance(route.as_ref()?, stored, request)
}

/// Answers the request from memory if it can be; else plans its way upstream, after waiting for another that asks for the
/// same. Whether it was answered.
///
/// # Errors
/// When the client is gone.
pub(super) async fn answer(shared: &Shared, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
    let Some(route) = ctx.route.clone() else { return Ok(false) };
    loop {
        let (why, detail) = match look(shared.store, session, ctx) {
            Look::Answer(head, body) => return send(session, ctx, *head, body).await.map(|()| true),
            Look::Forward(why, detail) => (why, detail),
        };
        let alone = ctx.cache.only_if_cached || is_conditional(&session.req_header().headers);
        let selects = selects(session, ctx);
        let Some(part) = &mut ctx.part else { return Ok(false) };
        let complete = shared.store.peek_parts(&part.primary, selects).and_then(|found| found.complete());
        part.ask = part.wanted.aligned(route.config.cache.slice, complete);
        (ctx.cache.fwd, ctx.cache.detail) = (Some(why), detail);
        if alone || part.waited {
            return Ok(false);
        }
        match shared.flights.enter((part.primary, part.ask)) {
            Place::First(flight) => {
                part.flight = Some(flight);
                return Ok(false);
            }
            Place::Other(ahead) => {
                part.waited = true;
                let wait = route.config.cache.collapse_wait.min(route.config.timeout / 2);
                let begun = clock::now();
                ahead.wait(Patience::clamp(ctx.patience, wait, begun)).await;
                ctx.collapsed += clock::now().since(begun);
            }
        }
    }
}

/// Whether the answer depends on more than the range.
fn is_conditional(request: &HeaderMap) -> bool {
    [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE].iter().any(|name| request.contains_key(name))
}

fn look(store: &Store, session: &Session, ctx: &mut Ctx) -> Look {
    let (selects, wishes) = (selects(session, ctx), caching::wishes_of(session, ctx));
    let Some(part) = &mut ctx.part else { return Look::Forward(Fwd::Bypass, None) };
    // After a wait for another's fetch what was not there may be there in whole.
    let found = store.peek(&part.primary, &selects).or_else(|| store.peek_parts(&part.primary, &selects));
    let stored = found.and_then(|found| Some((found.freshness()?, found)));
    let Some((freshness, found)) = stored else {
        let others = store.part_variants(&part.primary) > 0;
        return Look::Forward(if others { Fwd::VaryMiss } else { Fwd::UriMiss }, None);
    };
    let request = &session.req_header().headers;
    let now = clock::wall();
    let stale = match reuse::reuse(&freshness, &wishes, now) {
        Reuse::Fresh => None,
        Reuse::ClientAllows => Some(StaleUse::ClientAllows),
        // There is no refresh behind a part.
        Reuse::WhileRevalidate => return Look::Forward(Fwd::Stale, Some("stale")),
        Reuse::Revalidate(reason) => return Look::Forward(reason.fwd(), Some(reason.as_str())),
    };
    let mut head = found.head().clone();
    let _same_name_fits = head.insert_header(AGE, freshness.age(now).as_secs());
    let answered = part_of(&found, part.wanted, request, freshness.received, &mut head);
    let Some(body) = answered else { return Look::Forward(Fwd::Partial, None) };
    part.hit = Some((freshness.ttl_seconds(now), stale));
    Look::Answer(Box::new(head), body.map(|span| (found, span)))
}

/// Makes `head` that of the answer; which bytes go with it, if any. `None` if what is stored cannot answer.
fn part_of(
    found: &Found,
    wanted: Wanted,
    request: &HeaderMap,
    received: std::time::SystemTime,
    head: &mut ResponseHeader,
) -> Option<Option<Span>> {
    if validate::answer(request, StatusCode::OK, &head.headers, received) == validate::Answer::NotModified {
        let mut fields = head.headers.clone();
        validate::trim_to_304(&mut fields);
        replace_fields(head, &fields);
        head.set_status(StatusCode::NOT_MODIFIED).ok()?;
        return Some(None);
    }
    if validate::if_range(request, &head.headers, received) == validate::RangeUse::Ignore {
        return None;
    }
    match wanted.select(found.end_of_whole()) {
        Selection::Span(span) if found.reach(span.start) >= span.end => {
            describe(head, span, found.complete()).ok()?;
            Some(Some(span))
        }
        Selection::Nothing if !found.is_doubtful() => {
            refuse(head, found.complete()).ok()?;
            Some(None)
        }
        _ => None,
    }
}

/// Makes a head that of these bytes.
pub(super) fn describe(head: &mut ResponseHeader, span: Span, complete: Option<u64>) -> Result<()> {
    head.insert_header(CONTENT_RANGE, content_range(span, complete))?;
    head.insert_header(CONTENT_LENGTH, span.len())?;
    head.set_status(StatusCode::PARTIAL_CONTENT)
}

/// Makes a head a 416 (RFC 9110 §15.5.17).
fn refuse(head: &mut ResponseHeader, complete: Option<u64>) -> Result<()> {
    let complete = complete.map_or_else(|| "*".to_owned(), |complete| complete.to_string());
    head.insert_header(CONTENT_RANGE, format!("bytes */{complete}"))?;
    head.insert_header(CONTENT_LENGTH, 0)?;
    head.set_status(StatusCode::RANGE_NOT_SATISFIABLE)
}

async fn send(
    session: &mut Session,
    ctx: &mut Ctx,
    mut head: ResponseHeader,
    body: Option<(Found, Span)>,
) -> Result<()> {
    ctx.answered = true;
    ctx.headed = Some(clock::now());
    respond::add_headers(session, ctx, &mut head)?;
    session.write_response_header(Box::new(head), body.is_none()).await?;
    let Some((found, Span { start: mut at, end })) = body else { return Ok(()) };
    while let Some(piece) = found.piece(at, end) {
        at += piece.len() as u64;
        session.write_response_body(Some(piece), at == end).await?;
    }
    Ok(())
}

/// The response's head, if it is for the client as it came: takes a part into the store, and cuts what is more than wanted.
///
/// # Errors
/// If the backend has answered with other bytes than were asked for in place of the client's.
pub(super) fn receive(shared: &Shared, session: &Session, response: &mut ResponseHeader, ctx: &mut Ctx) -> Result<()> {
    let Some(mut part) = ctx.part.take() else { return Ok(()) };
    let received = if session.cache.enabled() || response.status.is_informational() {
        Ok(()) // a 200, which pingora stores and cuts; others wait for it
    } else if response.status == StatusCode::PARTIAL_CONTENT {
        part.receive(shared, session, response, ctx)
    } else {
        part.flight = None;
        Ok(())
    };
    ctx.part = Some(part);
    received
}

impl Part {
    /// What is asked for upstream.
    pub(super) fn ask(&self) -> Wanted {
        self.ask
    }

    /// The resource.
    pub(super) fn primary(&self) -> &HashBinary {
        &self.primary
    }

    fn receive(
        &mut self,
        shared: &Shared,
        session: &Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        let extent = content_range::extent(&response.headers);
        let taken = extent
            .ok_or(NotStorable::Partial)
            .and_then(|extent| take(shared.store, self.primary, session, response, extent, ctx));
        let refused = taken.as_ref().map(|_| ()).map_err(|reason| Refusal { reason: *reason, at: clock::wall() });
        shared.refusals.note(self.primary, refused);
        match taken {
            Ok((coming, ttl)) => (self.coming, self.stored) = (Some(coming), Some(ttl)),
            Err(reason) => ctx.cache.not_storable = Some(reason),
        }
        if !self.coming.as_ref().is_some_and(Partial::is_to_be_whole) {
            self.flight = None;
        }
        if self.ask == self.wanted {
            return Ok(());
        }
        let wanted = extent.and_then(|extent| placed(self.wanted, extent));
        let (Some(extent), Some(wanted)) = (extent, wanted) else {
            if let Some(exchange) = &ctx.exchange {
                exchange.seen.lock().failure = Some(Failure::InvalidResponse);
            }
            return Err(forward::error(Failure::InvalidResponse));
        };
        if wanted.is_empty() {
            // The slice ends before what is wanted of it. The client learns so; the slice is taken in all the same.
            ctx.bodyless = true;
            return refuse(response, extent.complete);
        }
        self.cut = Some(Cut { skip: wanted.start - extent.span.start, left: wanted.len(), last: None });
        describe(response, wanted, extent.complete)
    }

    /// The next bytes that come, made those that the client gets.
    pub(super) fn pass(&mut self, body: &mut Option<Bytes>, end: bool) {
        if let (Some(data), Some(coming)) = (body.as_ref(), self.coming.as_mut())
            && coming.write(data)
        {
            // Stored: who waits may look now.
            (self.coming, self.flight) = (None, None);
        }
        if let Some(cut) = &mut self.cut {
            let more = !end && self.coming.as_ref().is_some_and(Partial::is_to_be_whole);
            *body = cut.pass(body.take().unwrap_or_default(), more);
        }
    }
}

/// Where in what came the client's bytes are; none at the end of the whole if there are none of them. `None` if what came is
/// something else.
fn placed(wanted: Wanted, extent: Extent) -> Option<Span> {
    let Span { start, end } = extent.span;
    let span = match (wanted.select(extent.end_of_whole()), wanted) {
        (Selection::Span(span), _) => Span { start: span.start, end: span.end.min(end) },
        (Selection::Nothing, _) => return Some(Span { start: end, end }),
        (Selection::Unknown, Wanted::From { first, .. }) => Span { start: first, end },
        (Selection::Unknown, Wanted::Suffix(_)) => return None,
    };
    (start <= span.start && !span.is_empty()).then_some(span)
}

/// Begins to store a part, and says how long it is fresh.
fn take(
    store: &'static Store,
    primary: HashBinary,
    session: &Session,
    response: &ResponseHeader,
    extent: Extent,
    ctx: &Ctx,
) -> std::result::Result<(Partial, i64), NotStorable> {
    let route: &Arc<_> = ctx.route.as_ref().ok_or(NotStorable::Partial)?;
    let (now, request) = (clock::wall(), session.req_header());
    // Judged and kept as the head of the whole.
    let mut whole = response.clone();
    whole.remove_header(&CONTENT_RANGE);
    whole.remove_header(&CONTENT_LENGTH);
    whole.set_status(StatusCode::OK).map_err(|_| NotStorable::Status)?;
    let (freshness, head) = caching::admit(store, route, session, ctx, &whole, ctx.asked.unwrap_or(now), now)?;
    let policy = &route.config.cache.vary;
    let variance = caching::variance(route, &head.headers, request);
    let is_new = store.peek_parts(&primary, selects(session, ctx)).is_none();
    if is_new {
        uses::enough(store, route, &primary)?;
    }
    if variance.is_some() && is_new {
        policy.admit_variant(store.part_variants(&primary))?;
    }
    let label = invalidating::label(store, request, &head.headers, ctx);
    let mut meta = caching::meta(&freshness, head, label);
    if let Some(variance) = variance {
        meta.set_variance(variance);
    }
    Ok((store.take_part(primary, &meta, extent, policy.max_variants), freshness.ttl_seconds(now)))
}

/// Cuts the client's bytes out of those that come.
#[derive(Debug)]
struct Cut {
    /// Bytes to come before the first one.
    skip: u64,
    /// Bytes still to be given.
    left: u64,
    /// The last byte, see [`Cut::pass`].
    last: Option<Bytes>,
}

impl Cut {
    /// What the client gets of `data`; `more` if there is more to come that is to be stored.
    ///
    /// Pingora stops reading upstream when the client has all that its head promised. The last byte is therefore given only
    /// when the slice is in.
    fn pass(&mut self, data: Bytes, more: bool) -> Option<Bytes> {
        let length = data.len() as u64;
        let skipped = self.skip.min(length);
        let taken = self.left.min(length - skipped);
        self.skip -= skipped;
        self.left -= taken;
        // Both are at most the length of `data`, which is a usize.
        let mut piece = data.slice(skipped as usize..(skipped + taken) as usize);
        if self.left == 0 && more && !piece.is_empty() {
            self.last = Some(piece.split_off(piece.len() - 1));
        }
        if self.left == 0
            && !more
            && let Some(last) = self.last.take()
        {
            piece = [piece, last].concat().into();
        }
        (!piece.is_empty()).then_some(piece)
    }
}

/// What happened, where pingora's phases do not tell. `sent` is the status the client gets.
pub(super) fn outcome(session: &Session, ctx: &Ctx, sent: u16) -> Option<Outcome> {
    let part = ctx.part.as_ref().filter(|_| !session.cache.enabled())?;
    let notes = &ctx.cache;
    let forward = |status, stored, collapsed| Path::Forward {
        why: notes.fwd.unwrap_or(Fwd::UriMiss),
        status,
        sent,
        stored,
        collapsed,
    };
    Some(match part.hit {
        Some((ttl, stale)) if part.waited => {
            Outcome { path: forward(None, false, Some(true)), stale, ttl: Some(ttl), detail: None }
        }
        Some((ttl, stale)) => Outcome { path: Path::Hit, stale, ttl: Some(ttl), detail: None },
        None => Outcome {
            path: forward(notes.fwd_status, part.stored.is_some(), part.waited.then_some(false)),
            stale: None,
            ttl: part.stored,
            detail: notes.not_storable.map(NotStorable::as_str).or(notes.detail),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the bytes come, the client gets its own, the last one not before the slice is in.
        #[test]
        fn the_cut_is_exact(skip in 0..40usize, left in 1..40usize, behind in 0..40usize, sizes in proptest::collection::vec(0..20usize, 1..40)) {
            let body: Vec<u8> = (0..(skip + left + behind) as u8).collect();
            let mut cut = Cut { skip: skip as u64, left: left as u64, last: None };
            let (mut at, mut given) = (0, Vec::new());
            for size in sizes.into_iter().chain([body.len()]) {
                let end = body.len().min(at + size);
                given.extend(cut.pass(Bytes::copy_from_slice(&body[at..end]), end < body.len()).unwrap_or_default());
                at = end;
                prop_assert!(at == body.len() || given.len() < left);
            }
            prop_assert_eq!(&given[..], &body[skip..skip + left]);
        }
    }
}
