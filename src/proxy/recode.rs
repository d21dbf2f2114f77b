//! Bodies on their way to a client in another coding than they come in.
//!
//! What is decided is [`compression::plan`]'s. Here the head is changed accordingly, and the body piece by piece: each is
//! flushed, so that nothing a backend has sent waits for more, and none is read before the one before it was taken. What is
//! stored whole is not compressed on its way, see `forms`.
//!
//! The end of a body that pingora reads from a fill is told to modules alone, hence the module.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{IF_RANGE, RANGE};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use pingora::cache::{CacheMeta, CachePhase};
use pingora::http::ResponseHeader;
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::caching::{self, Shared};
use super::ctx::Ctx;
use crate::cache::compression::{self, Asked, Plan, Recode, Said};
use crate::coding::{Broken, Recoder};
use crate::store::{Coming, ForAll, Ready, replace_fields};
use crate::telemetry::Metrics;
use crate::upstream::Failure;

/// What was made of a response in this many pieces is kept whatever their size.
const FEW: u64 = 4;
/// Pieces of this size, in bytes, are not made larger by their flushes to speak of.
const LARGE: u64 = 8 << 10;

/// What is known of the coding in which a response goes out.
#[derive(Debug, Default)]
pub struct Coded {
    /// What of the stored response is to be sent in its place.
    pub(super) form: Option<Ready>,
    /// That has taken its place.
    is_form: bool,
    /// The body that is changed on its way.
    stream: Option<Arc<Mutex<Stream>>>,
}

/// A body that is changed on its way.
pub(super) struct Stream {
    /// `None` at its end.
    recoder: Option<Recoder>,
    /// Whether nothing may be held back.
    flush: bool,
    /// How many have been read.
    pieces: u64,
    /// What has come of them, to be kept.
    coming: Option<Coming>,
    metrics: Metrics,
}

/// Leaves a range out of account whose condition cannot tell the forms of a response apart.
pub(super) fn enter(session: &mut Session, ctx: &Ctx) {
    let params = ctx.route.as_ref().and_then(|route| route.config.compression.as_ref());
    if compression::is_range_ambiguous(params, &session.req_header().headers) {
        let request = session.req_header_mut();
        request.remove_header(&RANGE);
        request.remove_header(&IF_RANGE);
    }
}

/// In which form a response with this head goes out, which is not that of a 304.
fn plan_for(session: &Session, ctx: &Ctx, head: &ResponseHeader, for_all: bool) -> Plan {
    let params = ctx.route.as_ref().and_then(|route| route.config.compression.as_ref());
    if params.is_none() && !for_all {
        return Plan::AsIs { varies: false };
    }
    let length = caching::length(&head.headers);
    let said = Said { status: head.status, headers: &head.headers, length, for_all };
    compression::plan(params, &Asked::of(&session.req_header().headers), &said)
}

/// The same for a stored response.
pub(super) fn plan_of_stored(session: &Session, ctx: &Ctx, meta: &CacheMeta) -> Plan {
    let for_all = meta.extensions().get::<ForAll>().is_some();
    plan_for(session, ctx, meta.response_header(), for_all)
}

/// The same for a response on its way to the client.
pub(super) fn plan(session: &Session, ctx: &Ctx, response: &ResponseHeader) -> Plan {
    if session.subrequest_ctx.is_some() {
        // Nobody reads what a refresh sends.
        return Plan::AsIs { varies: false };
    }
    if ctx.coded.is_form {
        return Plan::AsIs { varies: true };
    }
    let stored = session.cache.maybe_cache_meta().filter(|_| session.cache.enabled());
    match stored {
        Some(stored) if response.status == StatusCode::NOT_MODIFIED => plan_of_stored(session, ctx, stored),
        _ => {
            let for_all = stored.is_some_and(|stored| stored.extensions().get::<ForAll>().is_some());
            plan_for(session, ctx, response, for_all)
        }
    }
}

/// Puts the form that was found in the place of the stored response, if that is what is about to be sent.
pub(super) fn take_form(session: &mut Session, response: &mut ResponseHeader, ctx: &mut Ctx) {
    let Some(form) = ctx.coded.form.take().filter(|_| is_stored(session)) else { return };
    let Plan::Recode(recode) = plan(session, ctx, response) else { return };
    if form.coding() != recode.to {
        return;
    }
    change(response, |fields| compression::describe(fields, recode.to, Some(form.length())));
    *session.cache.hit_handler() = form.reader();
    ctx.coded.is_form = true;
}

/// Whether what is sent was stored before the request.
fn is_stored(session: &Session) -> bool {
    matches!(
        session.cache.phase(),
        CachePhase::Hit
            | CachePhase::Stale
            | CachePhase::StaleUpdating
            | CachePhase::Revalidated
            | CachePhase::RevalidatedNoCache(_)
    )
}

/// Makes the head of a response, whose `plan` was made before a condition was answered, that of what is sent, and sees to the body.
pub(super) fn apply(shared: &Shared, session: &mut Session, ctx: &mut Ctx, response: &mut ResponseHeader, plan: Plan) {
    let recode = match plan {
        Plan::AsIs { varies } => {
            let request = session.req_header();
            let is_compressed_here = ctx.route.as_ref().is_some_and(|route| route.config.compression.is_some());
            let is_ours = is_compressed_here
                && response.status == StatusCode::NOT_MODIFIED
                && !session.cache.enabled()
                && compression::is_of_our_form(&request.headers, &response.headers);
            if is_ours {
                change(response, compression::weaken);
            }
            if varies || is_ours {
                change(response, compression::vary);
            }
            return;
        }
        // Only a reload between the lookup and this can bring it here.
        Plan::Unreadable => return,
        Plan::Recode(recode) => recode,
    };
    if response.status == StatusCode::NOT_MODIFIED {
        change(response, compression::weaken);
        change(response, compression::vary);
        return;
    }
    let has_body = session.req_header().method != Method::HEAD && !ctx.bodyless;
    if has_body && let Err(broken) = begin(shared, session, ctx, recode) {
        ::log::warn!("{}: not compressed: {}", session.request_summary(), broken.as_str());
        return change(response, compression::vary);
    }
    change(response, |fields| {
        compression::describe(fields, recode.to, None);
        compression::vary(fields);
    });
}

fn begin(shared: &Shared, session: &mut Session, ctx: &mut Ctx, recode: Recode) -> std::result::Result<(), Broken> {
    let params = ctx.route.as_ref().and_then(|route| route.config.compression.clone()).unwrap_or_default();
    let recoder = Recoder::new(recode, params.level, params.max_decompressed)?;
    // What is complete is read as fast as the client takes it: nothing to wait for.
    let flush = !is_stored(session) || Ready::of(session.cache.hit_handler()).is_none();
    let coming = match session.cache.phase() {
        CachePhase::Miss | CachePhase::Expired => {
            session.cache.miss_body_reader().and_then(|reader| Coming::of(shared.store, reader))
        }
        _ => None,
    };
    let metrics = shared.forms.metrics().clone();
    let stream = Stream { recoder: Some(recoder), flush, pieces: 0, coming, metrics };
    let stream = Arc::new(Mutex::new(stream));
    if let Some(ending) = session.downstream_modules_ctx.get_mut::<Ending>() {
        ending.stream = Some(Arc::clone(&stream));
    }
    ctx.coded.stream = Some(stream);
    Ok(())
}

/// Changes a piece of the body.
///
/// # Errors
/// If it cannot be decoded: then the response is broken off.
pub(super) fn pass(session: &Session, ctx: &Ctx, body: &mut Option<Bytes>, end: bool) -> Result<()> {
    let Some(stream) = &ctx.coded.stream else { return Ok(()) };
    let made = stream.lock().pass(body.take(), end);
    *body = made.map_err(|broken| {
        ::log::warn!("{}: the body cannot be decoded: {}", session.request_summary(), broken.as_str());
        error()
    })?;
    Ok(())
}

impl Stream {
    fn pass(&mut self, piece: Option<Bytes>, end: bool) -> std::result::Result<Option<Bytes>, Broken> {
        let Some(recoder) = &mut self.recoder else { return Ok(None) };
        let mut made = match piece {
            Some(piece) => recoder.push(&piece, self.flush && !end),
            None => Ok(Bytes::new()),
        };
        self.pieces += 1;
        if end && let Ok(last) = &made {
            made = recoder.finish().map(|rest| if last.is_empty() { rest } else { [&last[..], &rest].concat().into() });
        }
        if let Ok(made) = &made {
            // Without room for all of it none is kept.
            self.coming.take_if(|coming| !coming.add(made));
        }
        if end || made.is_err() {
            self.close(made.as_ref().err().copied(), end);
        }
        made.map(|made| (!made.is_empty()).then_some(made))
    }

    /// Counts, and changes nothing from now on. What was made is kept if it is `whole`.
    fn close(&mut self, broken: Option<Broken>, whole: bool) {
        let Some(recoder) = self.recoder.take() else { return };
        self.metrics.recoded(&recoder, broken);
        let read = recoder.read();
        // Many flushes make it larger than it need be for all who come.
        let is_dense = self.pieces <= FEW || read / self.pieces >= LARGE;
        if let Some(coming) = self.coming.take().filter(|_| whole && broken.is_none() && is_dense) {
            coming.keep(recoder.recode().to);
        }
    }
}

/// The client may leave before the end.
impl Drop for Stream {
    fn drop(&mut self) {
        self.close(None, false);
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("flush", &self.flush).finish_non_exhaustive()
    }
}

fn change(response: &mut ResponseHeader, make: impl FnOnce(&mut HeaderMap)) {
    let mut fields = response.headers.clone();
    make(&mut fields);
    replace_fields(response, &fields);
}

fn error() -> Box<Error> {
    let mut e = Error::new(ErrorType::Custom(Failure::ContentCoding.as_str()));
    e.as_up();
    e
}

/// Makes the module of each request.
pub(super) struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Ending { stream: None })
    }
}

/// Ends a body where pingora says its end to nobody else.
struct Ending {
    stream: Option<Arc<Mutex<Stream>>>,
}

#[async_trait]
impl HttpModule for Ending {
    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        let Some(stream) = self.stream.take() else { return Ok(None) };
        stream.lock().pass(None, true).map_err(|_| error())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
