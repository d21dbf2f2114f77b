//! The method `PURGE`, where a route allows it: purges the URL it is sent to, or what its tag fields name.
//!
//! Tags are purged within the origin asked only. Who may purge on one route of one site does not thereby hold the keys
//! of the others; for those there is the admin address.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, Method};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::invalidating::Asked;
use super::request::Refusal;
use super::{rate, respond};
use crate::cache::purge::{Selector, Url, authority};
use crate::cache::tags;
use crate::caller::X_REQUEST_ID;
use crate::clock;
use crate::config::Purge;
use crate::edge::Edge;
use crate::telemetry::Termination;

/// The request fields by which other caches are told to purge softly.
const SOFT: [&str; 2] = ["purge-soft", "fastly-soft-purge"];

/// Who may purge on the request's route, if it is a purge.
pub(super) fn access(session: &Session, ctx: &Ctx) -> Option<Purge> {
    let method: &Method = &session.req_header().method;
    if method.as_str() != "PURGE" {
        return None;
    }
    ctx.route.as_ref()?.config.cache.purge.clone()
}

/// Answers a purge.
///
/// # Errors
/// When the client is gone.
pub(super) async fn answer(edge: &Edge, session: &mut Session, ctx: &mut Ctx, access: &Purge) -> Result<()> {
    let done = match permit(access, session, ctx) {
        Ok(()) => purge(edge, session, ctx, access.soft),
        Err(refused) => Err(refused),
    };
    match done {
        Ok(done) => tell(session, ctx, &done).await,
        Err((reason, refusal)) => {
            edge.metrics().purge_refused(reason);
            respond::refuse(session, ctx, &refusal).await
        }
    }
}

type Refused = (&'static str, Refusal);

/// Both conditions hold, where they are set. The address is the client's as trusted proxies tell it, and nobody else.
fn permit(access: &Purge, session: &Session, ctx: &Ctx) -> std::result::Result<(), Refused> {
    let address = ctx.client.address;
    let is_allowed = access.allow.is_empty() && access.token.is_some()
        || address.is_some_and(|address| access.allow.iter().any(|net| net.contains(&address)));
    if !is_allowed {
        return Err(("forbidden", refusal(403, "Purging is not allowed from this address.")));
    }
    let Some(token) = &access.token else { return Ok(()) };
    let Some(given) = bearer(&session.req_header().headers) else {
        return Err(("unauthorized", refusal(401, "Purging needs a token.")));
    };
    if !token.is(given) {
        return Err(("unauthorized", refusal(403, "This is not the token for purging.")));
    }
    Ok(())
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn purge(edge: &Edge, session: &Session, ctx: &Ctx, soft: bool) -> std::result::Result<Value, Refused> {
    let request = session.req_header();
    let said = SOFT.iter().find_map(|name| request.headers.get(*name));
    let soft = said.map_or(soft, |value| value.as_bytes() == b"1");
    let at = soft.then(clock::wall);
    let asked = Asked::of(request, ctx);
    let named = asked.named();
    let tags = tags::read(&ctx.snapshot.config().cache.tags, &request.headers);
    if tags.cut > 0 {
        let sentence = "There are too many tags, or one of them is too long; nothing was purged.";
        return Err(("invalid", refusal(400, sentence)));
    }
    let (kind, number, what) = if tags.tags.is_empty() {
        let url = Url {
            authority: authority(named.host, named.port).into_owned(),
            path: named.path.to_owned(),
            query: named.query.map(str::to_owned),
        };
        let shown = format!("{}{}", url.authority, request.uri);
        ("url", edge.store().purge_by(Selector::Url(url), at), json!(shown))
    } else {
        let shown: Vec<_> = tags.tags.iter().map(|tag| String::from_utf8_lossy(tag)).collect();
        ("tag", edge.store().purge_tags_within(&named, &tags.tags, at), json!(shown))
    };
    let number = number.map_err(|full| ("full", refusal(503, format!("Nothing was purged: {full}."))))?;
    edge.metrics().purged("method", kind);
    Ok(json!({ "kind": kind, "purged": what, "soft": soft, "number": number }))
}

fn refusal(status: u16, sentence: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    let proxy_error = if status == 503 { "proxy_internal_response" } else { "http_request_denied" };
    Refusal { status, reason: Termination::Done, sentence: sentence.into(), proxy_error, details: None }
}

/// The field that an answer with 401 has to have (RFC 9110 §11.6.1).
pub(super) fn challenge(response: &mut ResponseHeader) -> Result<()> {
    response.insert_header(WWW_AUTHENTICATE, "Bearer")
}

async fn tell(session: &mut Session, ctx: &Ctx, done: &Value) -> Result<()> {
    let body = format!("{done}\n");
    let mut response = ResponseHeader::build(200, Some(4))?;
    response.insert_header(CONTENT_TYPE, "application/json")?;
    response.insert_header(CONTENT_LENGTH, body.len())?;
    response.insert_header(CACHE_CONTROL, "no-store")?;
    rate::tell(ctx, &mut response)?;
    if let Some(id) = &ctx.request_id {
        response.insert_header(X_REQUEST_ID, id.clone())?;
    }
    session.write_response_header(Box::new(response), false).await?;
    session.write_response_body(Some(Bytes::from(body)), true).await
}
