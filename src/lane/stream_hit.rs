//! Plain hits over HTTP/2, answered before pingora builds a request of them: the lane's decisions, another way to write.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{AGE, CONNECTION, DATE, STRICT_TRANSPORT_SECURITY, VARY, VIA};
use http::{HeaderName, HeaderValue};
use pingora::http::ResponseHeader;
use pingora::protocols::http::v2::server::HttpSession;

use super::account::{Account, Line};
use super::framed::Rest;
use super::head::Request;
use super::hit::{Hit, NoHit};
use super::plain::Plain;
use super::traced::{self, SpanFacts};
use crate::cache::status::Outcome;
use crate::cache::validate;
use crate::caller::{Link, RequestId};
use crate::clock;
use crate::edge::Edge;
use crate::snapshot::Snapshot;
use crate::store::Ready;
use crate::telemetry::{Lane, Method, Termination};
use crate::uri;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE_STATUS: HeaderName = HeaderName::from_static("x-cache-status");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Bodies up to this many bytes are given to the connection at once, whatever the client has room for: it has at most a
/// hundred of them to keep, all shared with the store.
const AT_ONCE: u64 = 64 * 1024;

/// Answers the request if it is a plain hit whose body is small enough not to wait for the client; gives it back if not.
pub(super) fn answer(
    edge: &Edge,
    mut session: HttpSession,
    client: Option<IpAddr>,
    link: &Link,
) -> Option<HttpSession> {
    let snapshot = edge.peek();
    let now = clock::now();
    let wall = clock::wall_at(now);
    let (head, body, account, route) = {
        let request = session.req_header();
        let fields: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() })
            .collect();
        let authority = request.uri.authority().map(|authority| authority.as_str());
        let host = authority.and_then(|authority| uri::normalise_host(authority).ok());
        let asked = Request {
            method: request.method.as_str(),
            target: request.uri.path_and_query().map_or("/", |target| target.as_str()),
            http_11: true,
            host,
            fields: &fields,
        };
        let rest = if session.is_body_empty() { Rest::Length(0) } else { Rest::Length(1) };
        let found = Plain::of(&asked, rest)
            .map_err(NoHit::from)
            .and_then(|plain| Hit::find(&snapshot, edge.store(), &plain, client, link, wall).map(|hit| (plain, hit)));
        let (plain, hit) = match found {
            Ok((_, hit)) if !hit.not_modified && hit.ready.length() > AT_ONCE => {
                edge.metrics().lane(Lane::Large);
                return Some(session);
            }
            Ok(found) => found,
            Err(NoHit { reason, .. }) => {
                edge.metrics().lane(reason);
                return Some(session);
            }
        };
        let id = RequestId::of(plain.given_id);
        let Ok(head) = head(&hit, &snapshot, &id, link, wall) else { return Some(session) };
        let trace = traced::trace(snapshot.config().tracing.as_deref(), &plain, &hit.client);
        let is_recorded = trace.is_some_and(|trace| trace.sampled.is_some());
        let without_body = hit.not_modified || plain.method == Method::Head;
        let body = if without_body { Vec::new() } else { hit.ready.bytes().collect() };
        let log = edge.access_log();
        let agent = plain.agent(&log);
        let account = Account {
            started: now,
            method: plain.method,
            protocol: "HTTP/2",
            status: head.status.as_u16(),
            length: if without_body { 0 } else { hit.ready.length() },
            line: (is_recorded || log.is_on()).then(|| Line {
                time: wall,
                client: hit.client.address,
                host: Cow::Owned(plain.host.to_owned()),
                path: Cow::Owned(super::front::path(&plain, &hit).into_owned()),
                id: Cow::Owned(id.as_bytes().to_vec()),
                generation: snapshot.generation(),
                coding: hit.coding(),
                trace,
                span: is_recorded.then(|| SpanFacts::of(&plain, &hit.client).into_owned()),
                referer: Cow::Owned(agent.referer.to_vec()),
                user_agent: Cow::Owned(agent.user_agent.to_vec()),
            }),
        };
        (head, body, account, hit.route.clone())
    };
    edge.metrics().lane(Lane::Served);
    let sent = send(&mut session, head, body);
    let reason = if sent.is_some() { Termination::Done } else { Termination::ClientClosed };
    let at = if account.line.is_some() { clock::now() } else { now };
    account.close(edge, &route, reason, sent.unwrap_or(0), at);
    None
}

/// Gives all of it to the connection; how many bytes of body, or nothing if the client has left.
fn send(session: &mut HttpSession, head: ResponseHeader, body: Vec<Bytes>) -> Option<u64> {
    session.write_response_header(Box::new(head), body.is_empty()).ok()?;
    let count = body.len();
    if count == 0 {
        return Some(0);
    }
    let mut writer = session.take_response_body_writer()?;
    let mut sent = 0;
    for (place, piece) in body.into_iter().enumerate() {
        sent += piece.len() as u64;
        writer.send_data(piece, place + 1 == count).ok()?;
    }
    Some(sent)
}

/// What `answer.rs` writes as text, as a map. `Date` is pingora's to write.
fn head(
    hit: &Hit<'_>,
    snapshot: &Snapshot,
    id: &RequestId<'_>,
    link: &Link,
    now: std::time::SystemTime,
) -> pingora::Result<ResponseHeader> {
    let stored = hit.ready.fields();
    let status = if hit.not_modified { 304 } else { hit.ready.status().as_u16() };
    let mut head = ResponseHeader::build_no_case(status, Some(stored.len() + 6))?;
    for (name, value) in stored {
        let is_hidden = snapshot.config().cache.tags.contains(name) || Ready::is_said_anew(name);
        let is_left_out = hit.not_modified && validate::is_of_the_body(name.as_str().as_bytes());
        if !is_hidden && !is_left_out && ![AGE, CONNECTION, DATE].contains(name) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    if hit.varies {
        head.append_header(VARY, "Accept-Encoding")?;
    }
    let outcome = Outcome { ttl: Some(hit.freshness.ttl_seconds(now)), ..Outcome::hit(0) };
    let mut member = String::with_capacity(48);
    outcome.write_to(&snapshot.config().cache.name, None, &mut member);
    head.append_header(AGE, hit.freshness.age(now).as_secs())?;
    head.append_header(CACHE_STATUS, member)?;
    head.append_header(X_CACHE_STATUS, HeaderValue::from_static(outcome.word().as_str()))?;
    head.append_header(VIA, snapshot.via(http::Version::HTTP_11).clone())?;
    head.append_header(X_REQUEST_ID, id.value())?;
    if let Some((_, value)) = link.hsts.trim_end().split_once(": ")
        && !stored.contains_key(STRICT_TRANSPORT_SECURITY)
    {
        head.append_header(STRICT_TRANSPORT_SECURITY, value)?;
    }
    Ok(head)
}
