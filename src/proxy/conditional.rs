//! What the client's conditions and ranges make of a response: a 304, a part, or the whole.

use std::time::SystemTime;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use http::{Method, StatusCode};
use pingora::http::ResponseHeader;
use pingora::proxy::{RangeType, Session, range_header_filter};

use super::caching::{length, stored_freshness};
use super::ctx::Ctx;
use crate::cache::{range, validate};
use crate::clock;
use crate::store::replace_fields;

/// Ranges in one request; more are answered with the whole (RFC 9110 §14.2: many small or overlapping ones are abuse).
const MAX_RANGES: usize = 8;

/// When the response at hand was received.
fn received(session: &Session) -> SystemTime {
    let stored = session.cache.maybe_cache_meta().and_then(stored_freshness);
    stored.map_or_else(clock::wall, |freshness| freshness.received)
}

/// Does the stored response answer the client's condition with a 304?
pub(super) fn not_modified(session: &Session, response: &ResponseHeader) -> bool {
    let received = received(session);
    let request = &session.req_header().headers;
    validate::answer(request, response.status, &response.headers, received) == validate::Answer::NotModified
}

/// Answers the client's condition on a response that turned out not to be for the cache. Pingora took the condition
/// off the request upstream, and looks at it again only for what is stored.
pub(super) fn answer_condition(session: &Session, ctx: &mut Ctx, response: &mut ResponseHeader) {
    let request = session.req_header();
    if session.cache.enabled()
        || !ctx.cache.looked_up
        || !(request.method == Method::GET || request.method == Method::HEAD)
    {
        return;
    }
    let answer = validate::answer(&request.headers, response.status, &response.headers, clock::wall());
    if answer == validate::Answer::NotModified && response.set_status(StatusCode::NOT_MODIFIED).is_ok() {
        let mut fields = response.headers.clone();
        validate::trim_to_304(&mut fields);
        replace_fields(response, &fields);
        name_anew(response);
        ctx.bodyless = true;
    }
}

/// Takes the description of the body off a 304 that pingora made of a stored response: it leaves some of that on.
pub(super) fn trim(session: &Session, response: &mut ResponseHeader) {
    if response.status == StatusCode::NOT_MODIFIED && session.cache.enabled() {
        let mut fields = response.headers.clone();
        validate::trim_to_304(&mut fields);
        replace_fields(response, &fields);
        name_anew(response);
    }
}

/// Which part of the response the client gets.
pub(super) fn cut(session: &Session, response: &mut ResponseHeader) -> RangeType {
    let request = session.req_header();
    let Some(wanted) = request.headers.get(RANGE) else { return RangeType::None };
    if validate::if_range(&request.headers, &response.headers, received(session)) == validate::RangeUse::Ignore {
        return RangeType::None;
    }
    if response.headers.contains_key(CONTENT_ENCODING) && wanted.as_bytes().contains(&b',') {
        // The body that several ranges come in is in no coding, and its parts cannot say theirs (RFC 9110 §14.6).
        return RangeType::None;
    }
    match range::judge(wanted.as_bytes()) {
        range::Verdict::Cut => {
            let part = range_header_filter(request, response, Some(MAX_RANGES));
            if response.status != StatusCode::OK {
                name_anew(response);
            }
            part
        }
        range::Verdict::Unsatisfiable if request.method == Method::GET && response.status == StatusCode::OK => {
            refuse_range(response)
        }
        range::Verdict::Unsatisfiable | range::Verdict::Ignore => RangeType::None,
    }
}

/// Gives the status the words that are its own: an origin's are those of the status it sent.
fn name_anew(response: &mut ResponseHeader) {
    // Nothing is refused: there is no phrase.
    let _ = response.set_reason_phrase(None);
}

fn refuse_range(response: &mut ResponseHeader) -> RangeType {
    let complete = length(&response.headers).map_or("*".to_owned(), |n| n.to_string());
    let told = response.insert_header(CONTENT_RANGE, format!("bytes */{complete}"));
    match told.and_then(|()| response.insert_header(CONTENT_LENGTH, "0")).and_then(|()| response.set_status(416)) {
        Ok(()) => {
            name_anew(response);
            RangeType::Invalid
        }
        Err(_) => RangeType::None,
    }
}
