//! From a plain request to what answers it: route, key, stored response, freshness.
//!
//! Every decision is the one that the phases behind the lane make, by the same functions (`proxy/request.rs`,
//! `proxy/caching.rs`); where more is to be decided the lane hands the request on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderName;
use http::header::{CACHE_CONTROL, COOKIE, IF_MODIFIED_SINCE, IF_NONE_MATCH, USER_AGENT};

use super::front::Uncached;
use super::names::Name;
use super::plain::Plain;
use crate::cache::codings::Accepted;
use crate::cache::compression::{Asked, Plan, Said};
use crate::cache::directives::{RequestDirectives, no_transform};
use crate::cache::freshness::Freshness;
use crate::cache::reuse::{Reuse, reuse};
use crate::cache::vary::{Fields, Variance};
use crate::cache::{compression, device, key, validate};
use crate::caller::{self, Client, Link};
use crate::config::ClientDirectives;
use crate::snapshot::{Route, Snapshot};
use crate::store::{NotReady, Ready, Store};
use crate::telemetry::{Lane, Method};

/// A fresh stored response that answers a request.
#[derive(Debug)]
pub(super) struct Hit<'s> {
    pub route: &'s Arc<Route>,
    pub client: Client,
    pub ready: Ready,
    pub freshness: Freshness,
    /// Whether the client's own copy is still good.
    pub not_modified: bool,
    /// Whether it goes out in another form to others, which is not said in its head.
    pub varies: bool,
}

/// Why the lane does not answer a request, and what that tells of the cache.
#[derive(Debug)]
pub(super) struct NoHit {
    pub reason: Lane,
    pub uncached: Uncached,
}

impl From<Lane> for NoHit {
    fn from(reason: Lane) -> NoHit {
        NoHit { reason, uncached: Uncached::No }
    }
}

impl<'s> Hit<'s> {
    /// Looks for it at `now`. `peer` is the client's address, `link` its connection.
    ///
    /// # Errors
    /// Why the request is not for the lane.
    pub(super) fn find(
        snapshot: &'s Snapshot,
        store: &Store,
        plain: &Plain<'_>,
        peer: Option<IpAddr>,
        link: &Link,
        now: SystemTime,
    ) -> Result<Hit<'s>, NoHit> {
        let config = snapshot.config();
        let told = plain.values(Name::XForwardedFor);
        let client = Client { secure: link.secure, ..Client::new(peer, &config.server.trusted_proxies, told) };
        if may_be_told(plain, &client, snapshot) {
            return Err(Lane::Reveal.into());
        }
        let route = snapshot.route(plain.host, &plain.target.path).ok_or(Lane::NoRoute)?;
        let policy = &route.config.cache;
        if !policy.enabled {
            return Err(NoHit { reason: Lane::CacheOff, uncached: Uncached::Off });
        }
        if route.rate.is_some() {
            return Err(Lane::RateLimit.into());
        }
        if plain.has_wishes && policy.client_directives == ClientDirectives::Honour {
            return Err(Lane::CacheControl.into());
        }
        if route.config.priority_header.as_ref().is_some_and(|field| plain.has(field)) {
            return Err(Lane::Told.into());
        }
        if !snapshot.subject_fields().is_empty()
            && policy.key.headers.iter().any(|name| snapshot.subject_fields().contains(name))
        {
            return Err(Lane::Variant.into());
        }
        let primary = primary_key(plain, &client, route)?;
        let variance = |fields: &Fields| {
            // What a client's certificate says is written into the request behind the lane.
            let by_subject = fields.names().iter().any(|name| snapshot.subject_fields().contains(name));
            if by_subject { None } else { variance(plain, &client, route, fields) }
        };
        let ready = store.ready(&primary, variance);
        let ready = ready.map_err(|not_ready| match not_ready {
            // A HEAD is more than a GET without a body: it may be about a response that is fetched just now.
            NotReady::Absent if plain.method == Method::Get => {
                NoHit { reason: Lane::NotStored, uncached: Uncached::Absent(primary) }
            }
            other => reason(other).into(),
        })?;
        let freshness = *ready.freshness().ok_or(Lane::Stale)?;
        if reuse(&freshness, &RequestDirectives::default(), now) != Reuse::Fresh {
            return Err(Lane::Stale.into());
        }
        let (ready, varies) = form(plain, route, ready)?;
        let not_modified = plain.is_conditional && is_not_modified(plain, &ready, &freshness)?;
        if policy.min_uses > 1 {
            store.note_use(&primary);
        }
        Ok(Hit { route, client, ready, freshness, not_modified, varies })
    }
}

impl Hit<'_> {
    /// The word for the content coding of what is sent; `None` without one or without a body to speak of.
    pub(super) fn coding(&self) -> Option<&'static str> {
        compression::word(self.ready.fields()).filter(|_| !self.not_modified)
    }
}

/// Whether the client may be told the key: then there is more to say.
fn may_be_told(plain: &Plain<'_>, client: &Client, snapshot: &Snapshot) -> bool {
    let reveal = &snapshot.config().cache.reveal;
    let is_listed = |ip| reveal.clients.iter().any(|net| net.contains(&ip));
    client.address.is_some_and(is_listed) || reveal.secret.as_ref().is_some_and(|(field, _)| plain.has(field))
}

fn primary_key(plain: &Plain<'_>, client: &Client, route: &Route) -> Result<[u8; 16], Lane> {
    let params = &route.config.cache.key;
    let told = |name| if client.trusted { plain.values(name).next().and_then(caller::text) } else { None };
    let query = params.query.apply(plain.target.query.as_deref());
    let asked = key::Asked {
        host: plain.host,
        port: plain.port,
        scheme: told(Name::XForwardedProto).or(client.secure.then_some("https")),
        told_host: told(Name::XForwardedHost),
        path: &plain.target.path,
        query: query.as_deref(),
    };
    let extras = match extra_fields(params) {
        fields if fields.is_empty() => key::Extras::default(),
        fields => params.extras(&plain.selected(&fields, client.trusted).ok_or(Lane::Variant)?),
    };
    Ok(asked.with_parts(Some(params), |parts| parts.hash(&extras)))
}

/// The request fields that the key is made of besides the target.
fn extra_fields(params: &key::Params) -> Vec<HeaderName> {
    let cookie = (!params.cookies.is_empty()).then_some(COOKIE);
    let device = (!params.devices.is_empty()).then_some(USER_AGENT);
    params.headers.iter().cloned().chain(cookie).chain(device).collect()
}

/// Which variant is asked for; `None` if that cannot be told here.
fn variance(plain: &Plain<'_>, client: &Client, route: &Route, fields: &Fields) -> Option<[u8; 16]> {
    // The class of a device is written into the request behind the lane.
    if fields.names().contains(&device::FIELD) {
        return None;
    }
    // And so is the scheme.
    if client.secure && fields.names().iter().any(|name| name == "x-forwarded-proto") {
        return None;
    }
    let selecting = plain.selected(fields.names(), client.trusted)?;
    Some(Variance::new(&route.config.cache.vary, fields, &selecting).0)
}

/// What of the stored response goes to the client, and whether its `Vary` has to be completed.
fn form(plain: &Plain<'_>, route: &Route, ready: Ready) -> Result<(Ready, bool), Lane> {
    let params = route.config.compression.as_ref();
    if params.is_none() && !ready.is_for_all() {
        return Ok((ready, false));
    }
    let wishes = if plain.has_wishes { plain.selected(&[CACHE_CONTROL], true) } else { None };
    let asked = Asked {
        accepted: Accepted::of(plain.values(Name::AcceptEncoding)),
        wants_part: false,
        no_transform: wishes.is_some_and(|wishes| no_transform(&wishes)),
    };
    let said = Said {
        status: ready.status(),
        headers: ready.fields(),
        length: Some(ready.length()),
        for_all: ready.is_for_all(),
    };
    match compression::plan(params, &asked, &said) {
        Plan::AsIs { varies } => {
            let varies = varies && !compression::is_varied(ready.fields());
            Ok((ready, varies))
        }
        Plan::Recode(recode) => ready.form(recode.to).map(|form| (form, false)).ok_or(Lane::Coding),
        Plan::Unreadable => Err(Lane::Coding),
    }
}

fn is_not_modified(plain: &Plain<'_>, ready: &Ready, freshness: &Freshness) -> Result<bool, Lane> {
    let request = plain.selected(&[IF_NONE_MATCH, IF_MODIFIED_SINCE], true).ok_or(Lane::Precondition)?;
    let answer = validate::answer(&request, ready.status(), ready.fields(), freshness.received);
    Ok(answer == validate::Answer::NotModified)
}

fn reason(not_ready: NotReady) -> Lane {
    match not_ready {
        NotReady::Absent => Lane::NotStored,
        NotReady::Filling => Lane::Filling,
        NotReady::Vary => Lane::Variant,
        NotReady::Purged => Lane::Stale,
        NotReady::Doubted => Lane::Doubted,
    }
}
