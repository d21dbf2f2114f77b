//! Answers that need no look into the cache: to who may not enter, and to who is sent elsewhere.

use std::net::IpAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION};
use http::{HeaderValue, Method, Request, Response};

use super::super::head::Refusal;
use super::super::redirect::Redirect;
use super::super::refusal;
use super::{answer, head};
use crate::edge::Edge;
use crate::uri;

/// Answers a head that may not enter.
pub(super) fn refuse(
    edge: &Edge,
    request: &Request<RecvStream>,
    respond: SendResponse<Bytes>,
    client: Option<IpAddr>,
    refusal: Refusal,
) {
    let (status, body) = refusal::said(refusal);
    let is_head = request.method() == Method::HEAD;
    let sent = if is_head { 0 } else { body.len() };
    refusal::log(edge, refusal, client, (request.method().as_str(), request.uri().path()), sent);
    let mut head = Response::builder().status(status).header(DATE, answer::now());
    if status == 405 {
        head = head.header(ALLOW, refusal::METHODS);
    }
    let head = head
        .header(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
        .header(CONTENT_LENGTH, body.len());
    send(respond, head.body(()), if is_head { String::new() } else { body });
}

/// Sends the client to HTTPS at `port`.
pub(super) fn redirect(
    edge: &Edge,
    request: &Request<RecvStream>,
    respond: SendResponse<Bytes>,
    client: Option<IpAddr>,
    port: u16,
) {
    let host = head::host(request).and_then(|host| uri::normalise_host(host).ok()).map(|(host, _)| host);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let (method, host) = (request.method().as_str(), host.as_deref().unwrap_or_default());
    let Some(redirect) = Redirect::new(method, host, target, port) else {
        return refuse(edge, request, respond, client, Refusal::Malformed("host"));
    };
    redirect.log(edge, client, method, host, "HTTP/2");
    let answer =
        Response::builder().status(redirect.status).header(DATE, answer::now()).header(LOCATION, &redirect.location);
    send(respond, answer.body(()), String::new());
}

/// Gives all of it to the connection. Whoever has left needs no answer.
fn send(mut respond: SendResponse<Bytes>, head: http::Result<Response<()>>, body: String) {
    let Ok(head) = head else { return };
    if let Ok(mut stream) = respond.send_response(head, body.is_empty())
        && !body.is_empty()
    {
        let _ = stream.send_data(body.into(), true);
    }
}
