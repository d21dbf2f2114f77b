//! What purges know a response by, and what a request that changes things makes invalid.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HeaderName;
use pingora::http::{RequestHeader, ResponseHeader};

use super::ctx::Ctx;
use super::{fields, identity};
use crate::cache::invalidate;
use crate::cache::tags::{self, Tags};
use crate::edge::Edge;
use crate::store::{Labelled, Named, Store};
use crate::uri::{self, Scheme};

/// Host and scheme of a request as its key has them: the route's one host, else as a trusted proxy tells, else as they came.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    scheme: Option<Cow<'a, str>>,
    host: Cow<'a, str>,
    port: Option<u16>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// Of a request in normal form.
    pub(super) fn of(request: &'a RequestHeader, ctx: &'a Ctx) -> Asked<'a> {
        let told_host = identity::told_host(&ctx.client, request);
        let alias = ctx.route.as_ref().and_then(|route| route.config.cache.key.host.as_deref());
        let (host, port) = match (alias, told_host) {
            (Some(alias), _) => (Cow::Borrowed(alias), None),
            // What is no host is a name all the same: the key holds it as it came.
            (None, Some(told)) => uri::normalise_host(told).unwrap_or((Cow::Borrowed(told), None)),
            (None, None) => (Cow::Borrowed(ctx.host.as_str()), ctx.port),
        };
        let scheme =
            identity::scheme(&ctx.client, request).map(|scheme| match scheme.bytes().any(|b| b.is_ascii_uppercase()) {
                true => Cow::Owned(scheme.to_ascii_lowercase()),
                false => Cow::Borrowed(scheme),
            });
        Asked { scheme, host, port, path: request.uri.path(), query: request.uri.query() }
    }

    /// As the store takes it.
    pub(super) fn named(&self) -> Named<'_> {
        Named {
            scheme: self.scheme.as_deref().unwrap_or("http"),
            host: &self.host,
            port: self.port,
            path: self.path,
            query: self.query,
        }
    }

    fn scheme(&self) -> Option<Scheme> {
        match self.scheme.as_deref() {
            Some("https") => Some(Scheme::Https),
            Some("http") => Some(Scheme::Http),
            _ => None,
        }
    }
}

/// By what purges know the response that is about to be stored.
pub(super) fn label(store: &Store, request: &RequestHeader, head: &HeaderMap, ctx: &Ctx) -> Labelled {
    let asked = Asked::of(request, ctx);
    let tags: Tags = tags::read(&ctx.snapshot.config().cache.tags, head);
    if tags.cut > 0 {
        log::debug!("{}{}: {} tags are too many or too long and left out", asked.host, asked.path, tags.cut);
    }
    store.label(&asked.named(), &tags, ctx.newest_purge)
}

/// Makes invalid what the backend's answer to a request says has changed, before the client hears of it.
pub(super) fn after_change(edge: &Edge, request: &RequestHeader, ctx: &Ctx, response: &ResponseHeader) {
    if request.method.is_safe() {
        return;
    }
    let asked = Asked::of(request, ctx);
    let with_port = |host: &str, port: Option<u16>| match port {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let (authority, came) = (with_port(&asked.host, asked.port), with_port(&ctx.host, ctx.port));
    let of = invalidate::Request {
        method: &request.method,
        scheme: asked.scheme(),
        authority: &authority,
        alias: Some(&came),
        path: asked.path,
        query: asked.query,
    };
    let Ok(mut targets) = invalidate::judge(&of, response.status, &response.headers) else { return };
    for (path, query) in targets.uris.iter_mut().skip(1) {
        *query = ctx.snapshot.keyed_query(&ctx.host, path, query.as_deref()).map(Cow::into_owned);
    }
    edge.store().invalidate_within(&asked.named(), &targets.uris, &targets.groups);
    edge.metrics().purged("unsafe-request", "url");
    if !targets.groups.is_empty() {
        edge.metrics().purged("unsafe-request", "tag");
    }
}

/// Takes the tag fields off a response that goes to a client who is not to see them.
pub(super) fn hide_tags(ctx: &Ctx, response: &mut ResponseHeader) {
    if may_see_tags(ctx) {
        return;
    }
    let tags: &[HeaderName] = &ctx.snapshot.config().cache.tags;
    fields::remove_from(response, |name| tags.contains(name));
}

/// Whether the client may see by what its response can be purged: whoever is told the key may.
fn may_see_tags(ctx: &Ctx) -> bool {
    ctx.reveal
}
