//! What the cache would do with a request, and why: a dry run that sends nothing upstream and changes nothing.
//!
//! It takes the way of a request with the same functions, so that it cannot tell another story.

use std::time::{Duration, SystemTime};

use http::header::{AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, HOST, LAST_MODIFIED, VARY};
use http::{HeaderMap, HeaderName, Method, Uri};
use pingora::http::RequestHeader;
use serde::{Deserialize, Serialize};

use super::caching;
use super::ctx::Ctx;
use super::request::{self, From};
use crate::cache::directives::RequestDirectives;
use crate::cache::freshness::{Freshness, Validation};
use crate::cache::reuse::{self, Reason, Reuse};
use crate::cache::storable::NotStorable;
use crate::cache::{lookup, targeted};
use crate::clock;
use crate::config::Hedge;
use crate::edge::Edge;
use crate::snapshot::Route;
use crate::store::Found;
use crate::units::Ratio;

/// The request to explain.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Absolute, with scheme `http` or `https`.
    pub url: String,
    /// `GET` if not given.
    #[serde(default)]
    pub method: Option<String>,
    /// Further request fields, name and value.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What there is to say.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Explanation {
    /// Method and URL in normal form.
    pub request: String,
    /// Why it would be refused before any of what follows.
    pub refused: Option<String>,
    /// The route that matches.
    pub route: Option<String>,
    /// The pool that would be asked.
    pub pool: Option<String>,
    /// How important it is, by its route: a trusted proxy may say otherwise.
    pub priority: Option<&'static str>,
    /// Whether and when a copy of it would go to a second backend.
    pub hedge: Option<String>,
    /// What it is looked up by.
    pub key: Option<String>,
    /// The response that is stored for it.
    pub stored: Option<Stored>,
    /// What is stored of it in part.
    pub parts: Option<String>,
    /// Why the last response for the key was not stored.
    pub last_refusal: Option<String>,
    /// What a request would get now.
    pub now: String,
    /// What would change that.
    pub hints: Vec<String>,
}

/// A stored response.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// Its status.
    pub status: u16,
    /// Bytes of its body.
    pub length: u64,
    /// Variants stored of the same key.
    pub variants: usize,
    /// The fields that the cache goes by.
    pub headers: Vec<(String, String)>,
    /// How the lifetime comes about, in seconds.
    pub lifetime: Lifetime,
    /// How the age comes about, in seconds.
    pub age: Age,
    /// Seconds of freshness left; negative once stale.
    pub ttl: i64,
}

/// A lifetime, in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Lifetime {
    /// How long it is fresh.
    pub fresh: u64,
    /// Who said so.
    pub source: &'static str,
    /// The targeted field that spoke in place of Cache-Control.
    pub targeted: bool,
    /// How long it may then be served while it is refreshed.
    pub while_revalidate: u64,
    /// How long it may then stand in for a failing origin.
    pub if_error: u64,
    /// When the origin insists on being asked.
    pub validation: &'static str,
}

/// An age, in seconds (RFC 9111 §4.2.3).
#[derive(Clone, Debug, Serialize)]
pub struct Age {
    /// On arrival, by `Date`, `Age` and the time it took.
    pub on_arrival: u64,
    /// Since then.
    pub here: u64,
    /// Both.
    pub now: u64,
}

/// Explains what the edge would do with the request now.
///
/// # Errors
/// A sentence, if the question cannot be read.
pub fn explain(edge: &Edge, question: &Question) -> Result<Explanation, String> {
    let (mut request, scheme) = build(question)?;
    let mut ctx = Ctx::new(edge.snapshot());
    let mut told = Explanation::default();
    let placed = request::place(&mut request, From::Client(None), scheme == "https", &mut ctx);
    told.request = format!("{} {}", request.method, shown_target(&scheme, &ctx, &request));
    if let Err(refusal) = placed {
        told.now = format!("a {} of Hedgerow's own", refusal.status);
        told.refused = Some(refusal.sentence.into_owned());
        return Ok(told);
    }
    let Some(route) = ctx.route.clone() else { return Ok(told) };
    told.route = Some(route.config.name.clone());
    told.pool = Some(route.pool.name().to_owned());
    told.priority = Some(ctx.class.as_str());
    told.hedge = Some(hedge(&route, &request.method));
    if !route.config.cache.enabled {
        told.now = "it is forwarded: the route's cache is off".into();
        told.hints.push("set `cache.enabled = true` for the route".into());
        return Ok(told);
    }
    if let Err(bypass) = lookup::lookup_permitted(&request.method, &request.headers) {
        told.now = format!("it is forwarded without a look into the cache [{}]", bypass.as_str());
        return Ok(told);
    }
    told.key = Some(caching::shown_key(&request, &ctx));
    let primary = caching::key_of(&request, &ctx).hash();
    let store = edge.store();
    let found = store.peek(&primary, |head| caching::variance(&route, head, &request));
    let wishes = caching::wishes(&request, &route);
    told.last_refusal = edge.refusals().last(&primary).map(|refusal| {
        let ago = clock::wall().duration_since(refusal.at).unwrap_or_default();
        format!("{} (first {} s ago)", refusal.reason.as_str(), ago.as_secs())
    });
    told.parts = store.peek_parts(&primary, |head| caching::variance(&route, head, &request)).map(|found| {
        let complete = found.complete().map_or("?".to_owned(), |complete| complete.to_string());
        format!("some of its {complete} bytes, the first {} without a gap", found.reach(0))
    });
    match found {
        Some(found) => stored(&mut told, &ctx, &found, store.variants(primary), &wishes),
        None => missing(&mut told, edge, &primary, store.variants(primary), &wishes),
    }
    Ok(told)
}

/// Whether the request would be hedged once it is late.
fn hedge(route: &Route, method: &Method) -> String {
    let hedging = &route.hedging;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return "no: neither GET nor HEAD".into();
    }
    if route.config.hedge == Hedge::Off {
        return "no: the route's `hedge` is off".into();
    }
    if hedging.params().copies.budget == Ratio::ZERO {
        return "no: the pool's `tail.hedge` is off".into();
    }
    match hedging.delay() {
        Some(delay) => format!("after {:.1} ms at the earliest, if the budget allows it", delay.as_secs_f64() * 1e3),
        None => "not yet: too little is known of how long answers take".into(),
    }
}

fn build(question: &Question) -> Result<(RequestHeader, String), String> {
    let method = question.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    let uri: Uri = question.url.parse().map_err(|_| format!("`{}` is no URL", question.url))?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
    let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else {
        return Err(format!("`{}` has no scheme and host, as in http://shop.example/a", question.url));
    };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut request = RequestHeader::build(method, target.as_bytes(), None).map_err(|e| e.to_string())?;
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    request.insert_header(HOST, host).map_err(|_| "the host cannot be sent".to_owned())?;
    for (name, value) in &question.headers {
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no field name"))?;
        request.append_header(field, value.as_str()).map_err(|_| format!("the value of `{name}` cannot be sent"))?;
    }
    Ok((request, scheme.to_owned()))
}

fn shown_target(scheme: &str, ctx: &Ctx, request: &RequestHeader) -> String {
    let port = ctx.port.map_or(String::new(), |port| format!(":{port}"));
    format!("{scheme}://{}{port}{}", ctx.host, request.uri)
}

/// Something is stored.
fn stored(told: &mut Explanation, ctx: &Ctx, found: &Found, variants: usize, wishes: &RequestDirectives) {
    let Some(freshness) = found.freshness() else { return };
    let now = clock::wall();
    let head = found.head();
    told.stored = Some(Stored {
        status: head.status.as_u16(),
        length: found.complete().unwrap_or_default(),
        variants,
        headers: of_interest(&head.headers, ctx),
        lifetime: lifetime(&freshness, &head.headers, ctx),
        age: age(&freshness, now),
        ttl: freshness.ttl_seconds(now),
    });
    let on_error = match reuse::reuse_on_error(&freshness, wishes, now) {
        Ok(()) => "; if that fails, this copy stands in".to_owned(),
        Err(no) => format!("; if that fails, so does the request [{}]", no.as_str()),
    };
    told.now = match reuse::reuse(&freshness, wishes, now) {
        Reuse::Fresh => {
            format!("this copy, fresh for {} s more", seconds(freshness.fresh_for(now).unwrap_or_default()))
        }
        Reuse::ClientAllows => "this copy, stale, since the request's max-stale allows it".into(),
        Reuse::WhileRevalidate => "this copy, stale, while one request refreshes it".into(),
        Reuse::Revalidate(reason) if wishes.only_if_cached => {
            format!("504: the stored copy may not be used [{}] and the request wants nothing else", reason.as_str())
        }
        Reuse::Revalidate(reason) => format!("the origin is asked first [{}]{on_error}", reason.as_str()),
    };
    told.hints.extend(match reuse::reuse(&freshness, wishes, now) {
        Reuse::Revalidate(reason) => Some(hint_for_reason(reason)),
        Reuse::Fresh | Reuse::ClientAllows | Reuse::WhileRevalidate => None,
    });
    if freshness.lifetime.validation == Validation::WhenStale {
        told.hints.push(
            "the origin forbids stale use (must-revalidate, proxy-revalidate or s-maxage); `stale.override_origin` overrides it"
                .into(),
        );
    }
}

fn hint_for_reason(reason: Reason) -> String {
    match reason {
        Reason::Stale => {
            "a longer max-age or s-maxage, or a window: stale-while-revalidate or `stale.while_revalidate`"
        }
        Reason::MustRevalidate => "a longer max-age or s-maxage: the origin forbids to use it stale",
        Reason::NoCache => "the origin's no-cache: without it, its lifetime would count",
        Reason::RequestNoCache | Reason::RequestMaxAge | Reason::RequestMinFresh => {
            "the request's Cache-Control: `client_directives = \"ignore\"` makes the route deaf to it"
        }
    }
    .to_owned()
}

/// Nothing is stored.
fn missing(told: &mut Explanation, edge: &Edge, primary: &[u8; 16], variants: usize, wishes: &RequestDirectives) {
    told.now = match (wishes.only_if_cached, variants) {
        (true, _) => "504: nothing is stored, and the request wants nothing else".into(),
        (false, 0) => "nothing is stored: it is fetched".into(),
        (false, n) => format!("{n} variants are stored, none of them for this request: it is fetched"),
    };
    if let Some(refusal) = edge.refusals().last(primary) {
        told.hints.push(hint_for_refusal(refusal.reason).to_owned());
    }
    if wishes.no_store {
        told.hints.push("the request's no-store: what it fetches is not stored".into());
    }
}

/// What would make such a response storable.
const fn hint_for_refusal(reason: NotStorable) -> &'static str {
    match reason {
        NotStorable::NoFreshness => "say how long it holds: Cache-Control: max-age at the origin, or the route's `ttl`",
        NotStorable::SetCookie => "do not set a cookie with it, or `set_cookie = \"strip\"`",
        NotStorable::Private | NotStorable::NoStore => {
            "the origin forbids it; a targeted field such as CDN-Cache-Control goes before its Cache-Control"
        }
        NotStorable::Authorization => "the request had credentials: answer with public, s-maxage or must-revalidate",
        NotStorable::VaryStar => "name the request fields that choose the answer in Vary, in place of `*`",
        NotStorable::TooManyVariants => "vary on fewer fields, reduce them with `vary`, or raise `vary.max_variants`",
        NotStorable::TooLarge => "raise `[cache] max_object`, or fetch it in parts with `slice`",
        NotStorable::Expired => "it was stale on arrival: give it a validator (ETag), or a longer lifetime",
        NotStorable::Deception => {
            "send the Content-Type that its path promises, or say at the origin that it may be stored"
        }
        NotStorable::GuessWithCookie => "say how long it holds: a guess is not made for requests with cookies",
        NotStorable::RequestNoStore => {
            "the request said no-store; `client_directives = \"ignore\"` makes the route deaf to it"
        }
        NotStorable::Trailers => "an answer that may end in trailers is not stored",
        NotStorable::NeededField => "Connection, no-cache=\"…\" or private=\"…\" names a field that a copy needs",
        NotStorable::MinUses => "it was not asked for often enough yet, see `min_uses`",
        NotStorable::MustUnderstand => "its status is not one whose caching rules are known here",
        NotStorable::Method | NotStorable::Status | NotStorable::Partial => "answers of this kind are not stored",
    }
}

fn of_interest(headers: &HeaderMap, ctx: &Ctx) -> Vec<(String, String)> {
    let targets = &ctx.snapshot.config().cache.targets;
    let general = [CACHE_CONTROL, EXPIRES, DATE, AGE, LAST_MODIFIED, ETAG, VARY];
    let names = targets.iter().chain(&general);
    let values = names.flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    values.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}

fn lifetime(freshness: &Freshness, headers: &HeaderMap, ctx: &Ctx) -> Lifetime {
    let lifetime = &freshness.lifetime;
    Lifetime {
        fresh: lifetime.ttl.as_secs(),
        source: lifetime.source.as_str(),
        targeted: targeted::directives(headers, &ctx.snapshot.config().cache.targets).is_targeted,
        while_revalidate: lifetime.while_revalidate.as_secs(),
        if_error: lifetime.if_error.as_secs(),
        validation: match lifetime.validation {
            Validation::Relaxed => "when stale, if nothing allows more",
            Validation::WhenStale => "always when stale",
            Validation::Always => "before each use",
        },
    }
}

fn age(freshness: &Freshness, now: SystemTime) -> Age {
    Age {
        on_arrival: freshness.initial_age.as_secs(),
        here: now.duration_since(freshness.received).unwrap_or_default().as_secs(),
        now: freshness.age(now).as_secs(),
    }
}

fn seconds(d: Duration) -> u64 {
    d.as_secs()
}
