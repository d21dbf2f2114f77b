//! May this response be stored by a shared cache, and what of it? (RFC 9111 §3)
//!
//! The list of RFC 9111 is where it starts, not where it ends: the RFC lets a cache hand one client's `Set-Cookie` to
//! the next, and store what it will never be able to reuse. Both are refused here by name. Nothing is stored on a
//! guess: without a lifetime from the origin or the route, a response is not stored.

use std::time::SystemTime;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, ETAG, HeaderName, LAST_MODIFIED,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, Method, StatusCode};

use super::directives::{RequestDirectives, ResponseDirectives};
use super::freshness::{self, Lifetime, Source, Validation};
use super::{deception, list, vary};

/// What a route lets be stored.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// What becomes of responses that set cookies.
    pub set_cookie: SetCookie,
    /// When path and content must agree.
    pub deception_guard: Guard,
}

/// What becomes of a response with `Set-Cookie`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SetCookie {
    /// It is not stored.
    #[default]
    Refuse,
    /// It is stored without its cookies, and nobody gets them.
    Strip,
    /// It is stored with them, as the RFC has it (RFC 9111 §7.3): everybody gets the first one's cookie.
    Share,
}

/// When the guard against deceptive paths ([`deception`]) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Guard {
    /// Never.
    Off,
    /// Where the origin did not say itself that the response may be stored.
    #[default]
    WithoutConsent,
    /// Always.
    Always,
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStorable {
    /// Not the answer to a GET.
    Method,
    /// An interim response (1xx) or a 304.
    Status,
    /// A 206; parts are not stored.
    Partial,
    /// `must-understand` with a status whose rules this cache does not know (§5.2.2.3).
    MustUnderstand,
    /// `no-store` in the response.
    NoStore,
    /// `no-store` in the request.
    RequestNoStore,
    /// `private` in the response.
    Private,
    /// The request had credentials, and the response does not allow sharing (§3.5).
    Authorization,
    /// It sets a cookie, and the route does not allow that.
    SetCookie,
    /// Its path promises one kind of content and its `Content-Type` tells of another.
    Deception,
    /// Its lifetime is a guess, and the request had a `Cookie`: a guess is no leave to share it.
    GuessWithCookie,
    /// `Vary: *`, or a `Vary` that cannot be read: it would never match (§4.1).
    VaryStar,
    /// Its key was not asked for as often as the route wants before it stores.
    MinUses,
    /// As many variants of this key are kept as the route allows.
    TooManyVariants,
    /// Its body is larger than `max_object`.
    TooLarge,
    /// It may end in trailers, which are not stored: gRPC, or a `Trailer` field.
    Trailers,
    /// `Connection`, `no-cache="…"` or `private="…"` names a field that no stored copy can do without.
    NeededField,
    /// Neither origin nor route says how long it is fresh.
    NoFreshness,
    /// Stale on arrival, with no window and nothing to validate it by.
    Expired,
}

impl NotStorable {
    /// The word for logs, metrics and `detail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            NotStorable::Method => "method",
            NotStorable::Status => "status",
            NotStorable::Partial => "partial",
            NotStorable::MustUnderstand => "must-understand",
            NotStorable::NoStore => "no-store",
            NotStorable::RequestNoStore => "request-no-store",
            NotStorable::Private => "private",
            NotStorable::Authorization => "authorization",
            NotStorable::SetCookie => "set-cookie",
            NotStorable::Deception => "deception",
            NotStorable::GuessWithCookie => "guess-with-cookie",
            NotStorable::VaryStar => "vary-star",
            NotStorable::MinUses => "min-uses",
            NotStorable::TooManyVariants => "too-many-variants",
            NotStorable::TooLarge => "too-large",
            NotStorable::Trailers => "trailers",
            NotStorable::NeededField => "needed-field",
            NotStorable::NoFreshness => "no-freshness",
            NotStorable::Expired => "expired",
        }
    }
}

/// The request as it was sent upstream.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// GET also for a client's HEAD, if it was fetched as a GET.
    pub method: &'a Method,
    /// Its path, in normal form.
    pub path: &'a str,
    /// Its fields, with the client's Authorization and Cookie.
    pub headers: &'a HeaderMap,
    /// Whether its client has shown who it is in another way than by `Authorization`, and the backend was told.
    pub is_authenticated: bool,
    /// Its Cache-Control, as far as the route heeds it.
    pub directives: &'a RequestDirectives,
}

/// The response as it came, before [`strip`].
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Its Cache-Control.
    pub directives: &'a ResponseDirectives,
    /// Its lifetime, from [`super::freshness::lifetime`].
    pub lifetime: &'a Lifetime,
    /// When it was asked for.
    pub asked: SystemTime,
    /// When it came: its age then is asked for last, since to read a date is dear.
    pub received: SystemTime,
}

/// May the response be stored? The first reason against it, the most telling first.
pub fn judge(params: &Params, request: Request<'_>, response: Response<'_>) -> Result<(), NotStorable> {
    let Response { status, headers, directives, lifetime, .. } = response;
    if request.method != Method::GET {
        return Err(NotStorable::Method);
    }
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err(NotStorable::Status);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        return Err(NotStorable::Partial);
    }
    // must-understand sets aside the no-store that it is sent with, for those who understand (§5.2.2.3).
    if directives.must_understand && !is_understood(status) {
        return Err(NotStorable::MustUnderstand);
    }
    if directives.no_store && !directives.must_understand {
        return Err(NotStorable::NoStore);
    }
    if directives.private {
        return Err(NotStorable::Private);
    }
    if request.directives.no_store {
        return Err(NotStorable::RequestNoStore);
    }
    let shared = directives.public || directives.s_maxage.is_some() || directives.must_revalidate;
    if (request.headers.contains_key(AUTHORIZATION) || request.is_authenticated) && !shared {
        return Err(NotStorable::Authorization);
    }
    let cookie_is_named = directives.fields_not_stored().any(|name| *name == SET_COOKIE);
    if headers.contains_key(SET_COOKIE) && params.set_cookie == SetCookie::Refuse && !cookie_is_named {
        return Err(NotStorable::SetCookie);
    }
    let consents = lifetime.source.is_explicit() || directives.public;
    let guarded = match params.deception_guard {
        Guard::Off => false,
        Guard::WithoutConsent => !consents,
        Guard::Always => true,
    };
    if guarded && deception::is_deceptive(request.path, headers) {
        return Err(NotStorable::Deception);
    }
    if lifetime.source == Source::Heuristic && !consents && request.headers.contains_key(COOKIE) {
        return Err(NotStorable::GuessWithCookie);
    }
    if vary::Vary::from(headers) == vary::Vary::Star {
        return Err(NotStorable::VaryStar);
    }
    if headers.contains_key(TRAILER) || is_grpc(headers) {
        return Err(NotStorable::Trailers);
    }
    if loses_needed_field(headers, directives) {
        return Err(NotStorable::NeededField);
    }
    worth_storing(response)
}

/// Was the key asked for often enough to be stored? `uses` are the requests for it lately, this one included.
pub const fn used_enough(uses: u8, min_uses: u8) -> Result<(), NotStorable> {
    if uses >= min_uses { Ok(()) } else { Err(NotStorable::MinUses) }
}

/// Does it say how long it holds, and can the copy ever be used?
fn worth_storing(response: Response<'_>) -> Result<(), NotStorable> {
    let Response { headers, directives, lifetime, asked, received, .. } = response;
    let spoken = lifetime.source.is_explicit() || directives.no_cache || directives.public;
    if !matches!(lifetime.source, Source::Route | Source::Heuristic) && !spoken {
        return Err(NotStorable::NoFreshness);
    }
    let held = lifetime.ttl.saturating_add(lifetime.while_revalidate.max(lifetime.if_error));
    let usable = lifetime.validation != Validation::Always
        && !held.is_zero()
        && held > freshness::initial_age(headers, asked, received);
    let validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    if usable || validator { Ok(()) } else { Err(NotStorable::Expired) }
}

/// Final statuses without caching rules of their own beyond those that all share (RFC 9110 §15).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300..=303 | 307 | 308 | 400 | 403 | 404 | 405 | 410 | 414 | 451 | 500..=504
    )
}

fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..GRPC.len()))
        .is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
}

/// A copy without its Vary would answer every variant; without its Content-Encoding or Type it would be misread;
/// without its Cache-Control the next cache would know no bounds.
fn loses_needed_field(headers: &HeaderMap, directives: &ResponseDirectives) -> bool {
    let needed = [VARY, CONTENT_ENCODING, CONTENT_TYPE, CACHE_CONTROL];
    directives.fields_not_stored().any(|name| needed.contains(name))
        || list::all_members(headers, &CONNECTION)
            .any(|option| needed.iter().any(|name| option.eq_ignore_ascii_case(name.as_str().as_bytes())))
}

/// Hop-by-hop fields whether or not `Connection` names them (RFC 9110 §7.6.1), and those that belong to one proxy
/// (RFC 9111 §3.1).
fn is_of_one_hop(name: &HeaderName) -> bool {
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "proxy-authentication-info")
}

/// Removes what must not be stored (§3.1): the fields of this hop, those that Connection names, those that the origin
/// names in `no-cache="…"` and `private="…"`, and every `Set-Cookie` unless cookies are shared.
pub fn strip(headers: &mut HeaderMap, directives: &ResponseDirectives, set_cookie: SetCookie) {
    let nominated: Vec<HeaderName> =
        list::all_members(headers, &CONNECTION).filter_map(|option| HeaderName::from_bytes(option).ok()).collect();
    for name in nominated.iter().chain(directives.fields_not_stored()) {
        headers.remove(name);
    }
    let of_one_hop: Vec<HeaderName> = headers.keys().filter(|name| is_of_one_hop(name)).cloned().collect();
    for name in &of_one_hop {
        headers.remove(name);
    }
    if set_cookie != SetCookie::Share {
        headers.remove(SET_COOKIE);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::HeaderValue;

    use super::super::freshness::{self, lifetime};
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    struct Case {
        params: Params,
        freshness: freshness::Params,
        method: Method,
        path: &'static str,
        request: HeaderMap,
        is_authenticated: bool,
        status: u16,
        age: u64,
    }

    impl Case {
        fn new() -> Case {
            Case {
                params: Params::default(),
                freshness: freshness::Params::default(),
                method: Method::GET,
                path: "/",
                request: HeaderMap::new(),
                is_authenticated: false,
                status: 200,
                age: 0,
            }
        }

        fn judge(&self, fields: &[(&'static str, &'static str)]) -> Result<(), NotStorable> {
            let headers = &map(fields);
            let directives = &ResponseDirectives::from(headers);
            let status = StatusCode::from_u16(self.status).unwrap();
            let lifetime = &lifetime(&self.freshness, status, headers, directives, SystemTime::UNIX_EPOCH);
            let received = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            let asked = received - Duration::from_secs(self.age);
            let response = Response { status, headers, directives, lifetime, asked, received };
            let wishes = &RequestDirectives::from(&self.request);
            let request = Request {
                method: &self.method,
                path: self.path,
                headers: &self.request,
                is_authenticated: self.is_authenticated,
                directives: wishes,
            };
            judge(&self.params, request, response)
        }
    }

    const FRESH: (&str, &str) = ("cache-control", "max-age=60");

    #[test]
    fn an_explicitly_fresh_get_is_stored_whatever_its_final_status_rfc9111_3() {
        for status in [200, 204, 299, 301, 302, 404, 410, 499, 500, 503, 599, 999] {
            assert_eq!(Case { status, ..Case::new() }.judge(&[FRESH]), Ok(()), "{status}");
        }
    }

    #[test]
    fn interim_partial_and_304_are_not_stored_rfc9111_3() {
        for (status, reason) in [
            (100, NotStorable::Status),
            (103, NotStorable::Status),
            (304, NotStorable::Status),
            (206, NotStorable::Partial),
        ] {
            assert_eq!(Case { status, ..Case::new() }.judge(&[FRESH]), Err(reason), "{status}");
        }
    }

    #[test]
    fn only_answers_to_get_are_stored() {
        for method in [Method::HEAD, Method::POST, Method::OPTIONS] {
            assert_eq!(Case { method, ..Case::new() }.judge(&[FRESH]), Err(NotStorable::Method));
        }
    }

    #[test]
    fn prohibitions_are_obeyed_rfc9111_5_2_2() {
        let case = Case::new();
        assert_eq!(case.judge(&[("cache-control", "no-store, max-age=9")]), Err(NotStorable::NoStore));
        assert_eq!(case.judge(&[("cache-control", "private, max-age=9")]), Err(NotStorable::Private));
        assert_eq!(case.judge(&[("cache-control", "private=\"x-a\", max-age=9")]), Ok(()));
        let case = Case { request: map(&[("cache-control", "no-store")]), ..Case::new() };
        assert_eq!(case.judge(&[FRESH]), Err(NotStorable::RequestNoStore));
    }

    #[test]
    fn must_understand_lifts_no_store_only_where_understood_rfc9111_5_2_2_3() {
        let fields = [("cache-control", "max-age=9, no-store, must-understand")];
        assert_eq!(Case::new().judge(&fields), Ok(()));
        assert_eq!(Case { status: 599, ..Case::new() }.judge(&fields), Err(NotStorable::MustUnderstand));
    }

    #[test]
    fn a_route_may_want_a_key_to_be_asked_for_more_than_once() {
        assert_eq!(used_enough(0, 1), Err(NotStorable::MinUses));
        assert_eq!(used_enough(1, 1), Ok(()));
        assert_eq!(used_enough(2, 3), Err(NotStorable::MinUses));
        assert_eq!(used_enough(u8::MAX, 100), Ok(()));
    }

    #[test]
    fn credentials_need_leave_to_share_rfc9111_3_5() {
        let by_field = Case { request: map(&[("authorization", "Basic x")]), ..Case::new() };
        let otherwise = Case { is_authenticated: true, ..Case::new() };
        for case in [by_field, otherwise] {
            assert_eq!(case.judge(&[FRESH]), Err(NotStorable::Authorization));
            for line in ["public, max-age=9", "s-maxage=9", "must-revalidate, max-age=9"] {
                assert_eq!(case.judge(&[("cache-control", line)]), Ok(()), "{line}");
            }
        }
    }

    #[test]
    fn a_cookie_is_not_stored_unless_it_is_stripped() {
        let fields = [FRESH, ("set-cookie", "s=1")];
        assert_eq!(Case::new().judge(&fields), Err(NotStorable::SetCookie));
        for set_cookie in [SetCookie::Strip, SetCookie::Share] {
            let params = Params { set_cookie, ..Params::default() };
            assert_eq!(Case { params, ..Case::new() }.judge(&fields), Ok(()));
        }
        let named = [("cache-control", "max-age=9, no-cache=\"set-cookie\""), ("set-cookie", "s=1")];
        assert_eq!(Case::new().judge(&named), Ok(()));
    }

    #[test]
    fn a_star_anywhere_in_vary_is_not_stored_rfc9111_4_1() {
        for fields in
            [&[FRESH, ("vary", "*")][..], &[FRESH, ("vary", "accept, *")], &[FRESH, ("vary", ""), ("vary", "*")]]
        {
            assert_eq!(Case::new().judge(fields), Err(NotStorable::VaryStar));
        }
    }

    #[test]
    fn what_may_end_in_trailers_is_not_stored() {
        assert_eq!(Case::new().judge(&[FRESH, ("trailer", "x-sum")]), Err(NotStorable::Trailers));
        for kind in ["application/grpc", "Application/GRPC+proto"] {
            assert_eq!(Case::new().judge(&[FRESH, ("content-type", kind)]), Err(NotStorable::Trailers), "{kind}");
        }
    }

    #[test]
    fn a_copy_that_would_lose_its_vary_is_not_stored() {
        for fields in [
            [FRESH, ("connection", "close, Vary")],
            [("cache-control", "max-age=9, no-cache=\"vary\""), ("vary", "cookie")],
            [("cache-control", "max-age=9, private=\"content-encoding\""), ("content-encoding", "gzip")],
        ] {
            assert_eq!(Case::new().judge(&fields), Err(NotStorable::NeededField));
        }
    }

    #[test]
    fn nothing_is_stored_on_a_guess() {
        let case = Case::new();
        assert_eq!(case.judge(&[]), Err(NotStorable::NoFreshness));
        assert_eq!(case.judge(&[("etag", "\"a\"")]), Err(NotStorable::NoFreshness));
        assert_eq!(case.judge(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]), Err(NotStorable::NoFreshness));
        let ttl = freshness::Ttl { default: Duration::from_secs(9), ..Default::default() };
        let case = Case { freshness: freshness::Params { ttl, ..Default::default() }, ..Case::new() };
        assert_eq!(case.judge(&[]), Ok(()));
        assert_eq!(case.judge(&[("expires", "0")]), Err(NotStorable::Expired));
    }

    #[test]
    fn a_guess_must_be_asked_for_and_is_not_made_for_a_request_with_cookies() {
        let freshness = freshness::Params { heuristic: Some(freshness::Heuristic::DEFAULT), ..Default::default() };
        let case = Case { freshness, ..Case::new() };
        let dated = ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT");
        let fields = [("date", "Thu, 01 Jan 1970 01:00:00 GMT"), dated];
        assert_eq!(case.judge(&fields), Ok(()));
        let case = Case { request: map(&[("cookie", "s=1")]), ..case };
        assert_eq!(case.judge(&fields), Err(NotStorable::GuessWithCookie));
        assert_eq!(case.judge(&[("cache-control", "public"), fields[0], fields[1]]), Ok(()));
    }

    #[test]
    fn a_page_under_a_files_name_needs_the_origins_consent() {
        let ttl = freshness::Ttl { default: Duration::from_secs(9), ..Default::default() };
        let freshness = freshness::Params { ttl, ..Default::default() };
        let case = Case { freshness, path: "/account/x.css", ..Case::new() };
        let page = ("content-type", "text/html");
        assert_eq!(case.judge(&[page]), Err(NotStorable::Deception));
        assert_eq!(case.judge(&[("content-type", "text/css")]), Ok(()));
        assert_eq!(case.judge(&[page, FRESH]), Ok(()));
        let params = |deception_guard| Params { deception_guard, ..Params::default() };
        let case = Case { params: params(Guard::Always), ..case };
        assert_eq!(case.judge(&[page, FRESH]), Err(NotStorable::Deception));
        assert_eq!(Case { params: params(Guard::Off), ..case }.judge(&[page]), Ok(()));
    }

    #[test]
    fn what_is_stale_on_arrival_needs_a_validator_or_a_window() {
        let case = Case { age: 60, ..Case::new() };
        assert_eq!(case.judge(&[FRESH]), Err(NotStorable::Expired));
        assert_eq!(case.judge(&[FRESH, ("etag", "\"a\"")]), Ok(()));
        assert_eq!(case.judge(&[("cache-control", "max-age=0, stale-while-revalidate=61")]), Ok(()));
        assert_eq!(Case::new().judge(&[("cache-control", "no-cache")]), Err(NotStorable::Expired));
        assert_eq!(Case::new().judge(&[("cache-control", "no-cache"), ("etag", "\"a\"")]), Ok(()));
        assert_eq!(Case::new().judge(&[("cache-control", "no-cache, max-age=9")]), Err(NotStorable::Expired));
        assert_eq!(Case::new().judge(&[("cache-control", "public"), ("etag", "\"a\"")]), Ok(()));
    }

    #[test]
    fn the_stored_copy_loses_the_fields_of_one_hop_and_of_one_client_rfc9111_3_1() {
        let mut headers = map(&[
            ("connection", "a, B"),
            ("connection", "keep-alive"),
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "x"),
            ("proxy-authenticate", "x"),
            ("proxy-authentication-info", "x"),
            ("proxy-authorization", "x"),
            ("te", "x"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "x"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("cache-control", "no-cache=\"d\", private=\"e\""),
            ("d", "4"),
            ("e", "5"),
            ("content-type", "text/plain"),
        ]);
        let directives = ResponseDirectives::from(&headers);
        strip(&mut headers, &directives, SetCookie::Strip);
        assert_eq!(
            headers,
            map(&[("c", "3"), ("cache-control", "no-cache=\"d\", private=\"e\""), ("content-type", "text/plain")])
        );
    }
}
