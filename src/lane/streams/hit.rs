//! Plain hits over HTTP/2, answered at once: the lane's decisions, another way to write.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{AGE, CONNECTION, STRICT_TRANSPORT_SECURITY, VARY, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::super::account::{Account, Line};
use super::super::framed::Rest;
use super::super::front::{Uncached, path};
use super::super::head::Request as Asked;
use super::super::hit::{Hit, NoHit};
use super::super::plain::Plain;
use super::super::traced::{self, SpanFacts};
use super::answer::once;
use super::head;
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
/// The fields that a hit says of itself, at most.
const OURS: usize = 7;

/// Bodies up to this many bytes are given to the connection at once, whatever the client has room for: it has at most a
/// hundred of them to keep, all shared with the store.
const AT_ONCE: u64 = 64 * 1024;

/// Answers the request if it is a plain hit whose body is small enough not to wait for the client.
///
/// # Errors
/// If it is not: what that tells of the cache.
pub(super) fn answer(
    edge: &Edge,
    request: &Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    client: Option<IpAddr>,
    link: &Link,
) -> Result<(), Uncached> {
    let snapshot = edge.peek();
    let now = clock::now();
    let wall = clock::wall_at(now);
    let mut fields = Vec::with_capacity(request.headers().len());
    let all = request.headers().iter();
    fields.extend(all.map(|(name, value)| httparse::Header { name: name.as_str(), value: value.as_bytes() }));
    let asked = Asked {
        method: request.method().as_str(),
        target: request.uri().path_and_query().map_or("/", |target| target.as_str()),
        http_11: true,
        host: head::host(request).and_then(|host| uri::normalise_host(host).ok()),
        fields: &fields,
    };
    let rest = if request.body().is_end_stream() { Rest::Length(0) } else { Rest::Length(1) };
    let found = Plain::of(&asked, rest)
        .map_err(NoHit::from)
        .and_then(|plain| Hit::find(&snapshot, edge.store(), &plain, client, link, wall).map(|hit| (plain, hit)));
    let (plain, hit) = match found {
        Ok((_, hit)) if !hit.not_modified && hit.ready.length() > AT_ONCE => {
            edge.metrics().lane(Lane::Large);
            return Err(Uncached::No);
        }
        Ok(found) => found,
        Err(NoHit { reason, uncached }) => {
            edge.metrics().lane(reason);
            return Err(uncached);
        }
    };
    edge.metrics().lane(Lane::Served);
    let id = RequestId::of(plain.given_id);
    let status = if hit.not_modified { StatusCode::NOT_MODIFIED } else { hit.ready.status() };
    let without_body = hit.not_modified || plain.method == Method::Head;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = head(&hit, &snapshot, &id, link, wall);
    let sent = send(respond, response, &hit.ready, without_body);
    let trace = traced::trace(snapshot.config().tracing.as_deref(), &plain, &hit.client);
    let is_recorded = trace.is_some_and(|trace| trace.sampled.is_some());
    let log = edge.access_log();
    let agent = plain.agent(&log);
    let account = Account {
        started: now,
        method: plain.method,
        protocol: "HTTP/2",
        status: status.as_u16(),
        length: if without_body { 0 } else { hit.ready.length() },
        line: (is_recorded || log.is_on()).then(|| Line {
            time: wall,
            client: hit.client.address,
            host: Cow::Borrowed(plain.host),
            path: path(&plain, &hit),
            id: Cow::Borrowed(id.as_bytes()),
            generation: snapshot.generation(),
            coding: hit.coding(),
            trace,
            span: is_recorded.then(|| SpanFacts::of(&plain, &hit.client)),
            referer: Cow::Borrowed(agent.referer),
            user_agent: Cow::Borrowed(agent.user_agent),
        }),
    };
    let reason = if sent.is_some() { Termination::Done } else { Termination::ClientClosed };
    let at = if account.line.is_some() { clock::now() } else { now };
    account.close(edge, hit.route, reason, sent.unwrap_or(0), at, true);
    Ok(())
}

/// Gives all of it to the connection; how many bytes of body, or nothing if the client has left.
fn send(respond: &mut SendResponse<Bytes>, head: Response<()>, ready: &Ready, without_body: bool) -> Option<u64> {
    let length = if without_body { 0 } else { ready.length() };
    let mut stream = respond.send_response(head, length == 0).ok()?;
    let mut sent = 0;
    let mut pieces = ready.bytes();
    while sent < length {
        let piece = pieces.next()?;
        sent += piece.len() as u64;
        stream.send_data(piece, sent == length).ok()?;
    }
    Some(sent)
}

/// What `answer.rs` writes as text, as a map.
fn head(hit: &Hit<'_>, snapshot: &Snapshot, id: &RequestId<'_>, link: &Link, now: std::time::SystemTime) -> HeaderMap {
    let stored = hit.ready.fields();
    let tags = &snapshot.config().cache.tags;
    let mut head = HeaderMap::with_capacity(stored.len() + OURS);
    for (name, value) in stored {
        let is_left_out = matches!(*name, AGE | CONNECTION)
            || Ready::is_said_anew(name)
            || tags.contains(name)
            || (hit.not_modified && validate::is_of_the_body(name.as_str().as_bytes()));
        if !is_left_out {
            head.append(name.clone(), value.clone());
        }
    }
    if hit.varies {
        head.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    let outcome = Outcome { ttl: Some(hit.freshness.ttl_seconds(now)), ..Outcome::hit(0) };
    let mut member = String::with_capacity(48);
    outcome.write_to(&snapshot.config().cache.name, None, &mut member);
    head.append(AGE, hit.freshness.age(now).as_secs().into());
    if let Ok(member) = HeaderValue::try_from(member) {
        head.append(CACHE_STATUS, member);
    }
    head.append(X_CACHE_STATUS, HeaderValue::from_static(outcome.word().as_str()));
    head.append(VIA, snapshot.via(http::Version::HTTP_11).clone());
    let mut id = id.value();
    once(&mut id);
    head.append(X_REQUEST_ID, id);
    if !link.hsts.is_empty()
        && let Some((_, value)) = link.hsts.trim_end().split_once(": ")
        && !stored.contains_key(STRICT_TRANSPORT_SECURITY)
        && let Ok(value) = HeaderValue::try_from(value)
    {
        head.append(STRICT_TRANSPORT_SECURITY, value);
    }
    head
}
