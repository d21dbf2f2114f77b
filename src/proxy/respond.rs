//! What the client is told: headers on every proxied response, and the answers we give ourselves.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{AGE, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER, VIA};
use http::{HeaderMap, HeaderValue};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::proxy::Session;

use super::caching;
use super::ctx::Ctx;
use super::handling::Sent;
use super::request::Refusal;
use super::{fields, invalidating, notes, purging, rate, timeline};
use crate::cache::server_timing::{self, SERVER_TIMING};
use crate::caller::X_REQUEST_ID;
use crate::clock;
use crate::grpc;
use crate::store::ORIGINAL_DATE;
use crate::telemetry::{CacheResult, Termination};
use crate::upstream::Failure;

// As text: pingora sends a field in the spelling it was given.
const CACHE_STATUS: &str = "Cache-Status";
const X_CACHE_STATUS: &str = "X-Cache-Status";
const PROXY_STATUS: &str = "Proxy-Status";
/// When a client that got a 503 may come again, in seconds: drawn, so that not all come at once.
const COME_AGAIN: std::ops::RangeInclusive<u32> = 1..=5;

/// Adds our fields to a final response.
pub(super) fn add_headers(session: &Session, ctx: &Ctx, response: &mut ResponseHeader) -> Result<()> {
    invalidating::hide_tags(ctx, response);
    let snapshot = &ctx.snapshot;
    let name = snapshot.config().cache.name.as_str();
    let outcome = notes::outcome(session, ctx, response.status.as_u16());
    let mut member = String::with_capacity(64);
    let told = ctx.reveal.then(|| caching::shown_key(session.req_header(), ctx));
    outcome.write_to(name, told.as_deref(), &mut member);
    response.append_header(CACHE_STATUS, member)?;
    response.insert_header(X_CACHE_STATUS, HeaderValue::from_static(outcome.word().as_str()))?;
    let sent = Sent::of(ctx);
    if !sent.told(ctx, None).is_empty() {
        // After those of the proxies behind us (RFC 9209 §2).
        response.append_header(PROXY_STATUS, proxy_status(ctx, &sent, None))?;
    }
    if let Some(age) = notes::age_after_validation(session) {
        response.insert_header(AGE, age)?;
    }
    // Removed even where there is none: an origin must not choose what the lane puts there.
    fields::remove_from(response, |name| name.as_str() == ORIGINAL_DATE);
    // Pingora's own sessions write the time of sending over it, ours do not.
    if !session.downstream_session.is_custom()
        && let Some(date) = response.headers.get(DATE).cloned()
    {
        response.insert_header(ORIGINAL_DATE, date)?;
    }
    if ctx.reveal {
        let taken = clock::now().since(ctx.started);
        let phases = timeline::of(session, ctx, taken).phases;
        let some = phases.iter().filter(|(_, time)| !time.is_zero()).map(|(phase, time)| (phase.as_str(), time));
        let cache = CacheResult::of(outcome.word().as_str()).as_str();
        response.append_header(SERVER_TIMING, server_timing::write(name, cache, taken, some))?;
    }
    rate::tell(ctx, response)?;
    let is_http2 = ctx.route.as_ref().is_some_and(|route| route.pool.config().http2.is_some());
    let received = if is_http2 { http::Version::HTTP_2 } else { http::Version::HTTP_11 };
    response.append_header(VIA, snapshot.via(received).clone())?;
    tell_hsts(ctx, response)?;
    tell_end(ctx, response)?;
    if let Some(id) = &ctx.request_id {
        response.insert_header(X_REQUEST_ID, id.clone())?;
    }
    Ok(())
}

/// Lets the connection end with this answer. Pingora's sessions are told so, ours read it in the head (`lane/bodiless.rs`).
pub(super) fn end_connection(session: &mut Session, ctx: &mut Ctx) {
    session.set_keepalive(None);
    ctx.ends_connection = true;
}

/// Says so, over HTTP/1.1.
fn tell_end(ctx: &Ctx, response: &mut ResponseHeader) -> Result<()> {
    if ctx.ends_connection { response.insert_header(CONNECTION, "close") } else { Ok(()) }
}

/// What browsers are to remember of a host that speaks TLS.
fn tell_hsts(ctx: &Ctx, response: &mut ResponseHeader) -> Result<()> {
    let line = ctx.link.as_ref().map(|link| link.hsts.trim_end()).filter(|line| !line.is_empty());
    let Some((name, value)) = line.and_then(|line| line.split_once(": ")) else { return Ok(()) };
    // An origin may have a better one for its host.
    if response.headers.contains_key(name) {
        return Ok(());
    }
    response.insert_header(name.to_owned(), value)
}

/// Our member of `Proxy-Status`.
fn proxy_status(ctx: &Ctx, sent: &Sent, error: Option<(&'static str, Option<&'static str>)>) -> String {
    let mut member = String::with_capacity(64);
    sent.told(ctx, error).write_to(&ctx.snapshot.config().cache.name, &mut member);
    member
}

/// The answer, head and body, to a client whose time is over, for the connection to say.
pub(super) fn last_word(session: &Session, ctx: &Ctx) -> (String, &'static str) {
    const SENTENCE: &str = "The backend did not answer in time.\n";
    // Written before anything was sent.
    let member = proxy_status(ctx, &Sent::default(), Some((Failure::Deadline.proxy_error(), None)));
    let date = httpdate::fmt_http_date(clock::wall());
    let body = if session.req_header().method == http::Method::HEAD { "" } else { SENTENCE };
    let id = ctx.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 504 Gateway Timeout\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Cache-Control: no-store\r\n{PROXY_STATUS}: {member}\r\n{X_REQUEST_ID}: {id}\r\nDate: {date}\r\n\
         Connection: close\r\n\r\n",
        SENTENCE.len(),
    );
    (head, body)
}

/// Sends an answer of our own.
///
/// # Errors
/// When the client is gone.
pub(super) async fn refuse(session: &mut Session, ctx: &mut Ctx, refusal: &Refusal) -> Result<()> {
    ctx.end(refusal.reason);
    // Also where another's answer was to be sent, and nothing of its body came.
    ctx.answered = false;
    if refusal.status == 400 {
        // Where one request could be read in two ways, the next one cannot be trusted to begin where it seems to.
        end_connection(session, ctx);
    }
    if grpc::is_call(&session.req_header().headers) {
        return refuse_call(session, ctx, refusal).await;
    }
    let mut body = String::new();
    let _infallible = writeln!(body, "{}", refusal.sentence);
    let mut response = ResponseHeader::build(refusal.status, Some(8))?;
    response.insert_header(CONTENT_TYPE, "text/plain; charset=utf-8")?;
    response.insert_header(CONTENT_LENGTH, body.len())?;
    response.insert_header(CACHE_CONTROL, "no-store")?;
    response
        .insert_header(PROXY_STATUS, proxy_status(ctx, &Sent::of(ctx), Some((refusal.proxy_error, refusal.details))))?;
    rate::tell(ctx, &mut response)?;
    tell_hsts(ctx, &mut response)?;
    tell_end(ctx, &mut response)?;
    if refusal.status == 503 {
        response.insert_header(RETRY_AFTER, fastrand::u32(COME_AGAIN))?;
    }
    if refusal.status == 401 {
        purging::challenge(&mut response)?;
    }
    if refusal.status == 405 {
        response.insert_header(ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")?;
    }
    if let Some(id) = &ctx.request_id {
        response.insert_header(X_REQUEST_ID, id.clone())?;
    }
    ctx.headed = Some(clock::now());
    let headless = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(response), false).await?;
    if !headless {
        session.write_response_body(Some(Bytes::from(body)), true).await?;
    }
    Ok(())
}

/// The same to a gRPC call: its status stands in the head, and there is no body ("Trailers-Only").
async fn refuse_call(session: &mut Session, ctx: &mut Ctx, refusal: &Refusal) -> Result<()> {
    let status = match refusal.reason {
        // To come again at once would make it worse, as clients do where nobody is there.
        Termination::Shed => grpc::Status::RESOURCE_EXHAUSTED,
        _ => grpc::Status::of_http(refusal.status),
    };
    ctx.call = Some(status);
    let mut response = ResponseHeader::build(200, Some(8))?;
    response.insert_header(CONTENT_TYPE, grpc::CONTENT)?;
    response.insert_header(grpc::STATUS, u32::from(status.code()))?;
    response.insert_header(grpc::MESSAGE, grpc::message(&refusal.sentence))?;
    response
        .insert_header(PROXY_STATUS, proxy_status(ctx, &Sent::of(ctx), Some((refusal.proxy_error, refusal.details))))?;
    rate::tell(ctx, &mut response)?;
    tell_end(ctx, &mut response)?;
    if ctx.version != http::Version::HTTP_2 {
        response.insert_header(CONTENT_LENGTH, 0)?;
    }
    if let Some(id) = &ctx.request_id {
        response.insert_header(X_REQUEST_ID, id.clone())?;
    }
    ctx.headed = Some(clock::now());
    end_with(session, response).await
}

/// Sends a head and the end of the answer with it, which over HTTP/2 only a task can say.
pub(super) async fn end_with(session: &mut Session, head: ResponseHeader) -> Result<()> {
    session.write_response_tasks(vec![HttpTask::Header(Box::new(head), true)]).await.map(drop)
}

/// Ends an answer over HTTP/2 that cannot be gone on with. A call still gets a status.
pub(super) async fn break_off(session: &mut Session, ctx: &mut Ctx) {
    if ctx.exchange.as_ref().is_none_or(|exchange| exchange.call.is_none()) {
        return session.downstream_session.shutdown().await;
    }
    let status = match ctx.ended {
        Some(Termination::Deadline | Termination::UpstreamTimeout) => grpc::Status::DEADLINE_EXCEEDED,
        _ => grpc::Status::UNAVAILABLE,
    };
    ctx.call = Some(status);
    let mut fields = HeaderMap::new();
    fields.insert(grpc::STATUS, u32::from(status.code()).into());
    fields.insert(grpc::MESSAGE, HeaderValue::from_static("The backend did not end its answer."));
    // The client may be what has ended.
    let _gone = session.downstream_session.write_response_trailers(fields).await;
}
