//! Is the stored response good enough for this request, as it is? (RFC 9111 §4, §4.2.4, §5.2.1; RFC 5861; RFC 8246)
//!
//! "Fresh or not" is too coarse: a stale copy may be what the origin allows, what the client asked for or what is left
//! when the origin fails, and a fresh one may be what the client refused. Each way has its own name here, because each
//! is told differently in `Cache-Status`.

use std::time::{Duration, SystemTime};

use http::StatusCode;

use super::directives::RequestDirectives;
use super::freshness::{Freshness, Validation};
use super::status::Fwd;

/// What may be done with the stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Answer with it.
    Fresh,
    /// Answer with it, and have one refresh run behind (RFC 5861 §3).
    WhileRevalidate,
    /// Answer with it: stale, but the client said how stale it may be (`max-stale`, §5.2.1.2).
    ClientAllows,
    /// Ask the origin first. If the request says `only-if-cached`, answer 504 instead (§5.2.1.7).
    Revalidate(Reason),
}

/// Why the origin must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The copy is stale, beyond any window.
    Stale,
    /// The copy is stale, and the origin forbids to serve it so: `must-revalidate`, `proxy-revalidate`, `s-maxage`.
    MustRevalidate,
    /// The origin wants to be asked each time: `no-cache`.
    NoCache,
    /// The request's `no-cache`.
    RequestNoCache,
    /// Older than the request's `max-age`.
    RequestMaxAge,
    /// Not fresh for as long as the request's `min-fresh`.
    RequestMinFresh,
}

impl Reason {
    /// The word for logs, metrics and `detail`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Stale => "stale",
            Reason::MustRevalidate => "must-revalidate",
            Reason::NoCache => "no-cache",
            Reason::RequestNoCache => "request-no-cache",
            Reason::RequestMaxAge => "request-max-age",
            Reason::RequestMinFresh => "request-min-fresh",
        }
    }

    /// What `Cache-Status` calls it (RFC 9211 §2.2): `request` if the copy was fresh and only the client refused it.
    pub const fn fwd(self) -> Fwd {
        match self {
            Reason::Stale | Reason::MustRevalidate | Reason::NoCache => Fwd::Stale,
            Reason::RequestNoCache | Reason::RequestMaxAge | Reason::RequestMinFresh => Fwd::Request,
        }
    }
}

/// May `stored` answer a request with these directives at `now`, without asking the origin?
///
/// To ignore what clients ask for, pass `RequestDirectives::default()`.
pub fn reuse(stored: &Freshness, request: &RequestDirectives, now: SystemTime) -> Reuse {
    if stored.lifetime.validation == Validation::Always {
        return Reuse::Revalidate(Reason::NoCache);
    }
    match stored.fresh_for(now) {
        Some(left) => match refused_though_fresh(stored, left, request, now) {
            Some(reason) => Reuse::Revalidate(reason),
            None => Reuse::Fresh,
        },
        None => reuse_stale(stored, request, now),
    }
}

fn refused_though_fresh(
    stored: &Freshness,
    left: Duration,
    request: &RequestDirectives,
    now: SystemTime,
) -> Option<Reason> {
    if request.no_cache {
        return Some(Reason::RequestNoCache);
    }
    // A reload sends max-age=0; an immutable response is what makes that pointless (RFC 8246 §2).
    if request.max_age.is_some_and(|most| stored.age(now) > most) && !stored.lifetime.immutable {
        return Some(Reason::RequestMaxAge);
    }
    request.min_fresh.is_some_and(|least| left < least).then_some(Reason::RequestMinFresh)
}

fn reuse_stale(stored: &Freshness, request: &RequestDirectives, now: SystemTime) -> Reuse {
    if stored.lifetime.validation == Validation::WhenStale {
        return Reuse::Revalidate(Reason::MustRevalidate);
    }
    let staleness = stored.stale_for(now);
    let too_old = request.max_age.is_some_and(|most| stored.age(now) > most);
    if request.no_cache || too_old || request.min_fresh.is_some() {
        return Reuse::Revalidate(Reason::Stale);
    }
    let too_stale = match request.max_stale {
        Some(most) => staleness > most,
        // With max-age and no max-stale the client wants nothing stale (§5.2.1.1).
        None => request.max_age.is_some(),
    };
    if too_stale {
        Reuse::Revalidate(Reason::Stale)
    } else if staleness < stored.lifetime.while_revalidate {
        Reuse::WhileRevalidate
    } else if request.max_stale.is_some() {
        Reuse::ClientAllows
    } else {
        Reuse::Revalidate(Reason::Stale)
    }
}

/// Why a stale copy may not stand in for an origin that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoStale {
    /// The origin forbids it: `must-revalidate`, `proxy-revalidate`, `s-maxage`.
    MustRevalidate,
    /// The origin forbids it: `no-cache`.
    NoCache,
    /// Staler than the window of origin, route and client.
    WindowOver,
}

impl NoStale {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            NoStale::MustRevalidate => "must-revalidate",
            NoStale::NoCache => "no-cache",
            NoStale::WindowOver => "window-over",
        }
    }
}

/// Whether an answer with this status means that the origin failed (RFC 5861 §4). Other errors are answers: a 501 or
/// a 404 is what the origin has to say.
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// May `stored` answer because the origin failed: no connection, no answer, or one that [`is_failure`]?
///
/// A client that preferred a validated answer (`no-cache`, `max-age`) gets this rather than an error: what it asks
/// for is a preference (§5.2.1), and the origin has agreed to the window.
pub fn reuse_on_error(stored: &Freshness, request: &RequestDirectives, now: SystemTime) -> Result<(), NoStale> {
    match stored.lifetime.validation {
        // The window is zero unless the route overrides the origin.
        Validation::Always if stored.lifetime.if_error.is_zero() => Err(NoStale::NoCache),
        _ if stored.fresh_for(now).is_some() => Ok(()),
        Validation::WhenStale => Err(NoStale::MustRevalidate),
        Validation::Relaxed | Validation::Always => {
            let window = stored.lifetime.if_error.max(request.stale_if_error.unwrap_or_default());
            if stored.stale_for(now) < window { Ok(()) } else { Err(NoStale::WindowOver) }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{CACHE_CONTROL, HeaderValue};

    use super::super::directives::ResponseDirectives;
    use super::super::freshness::{Params, lifetime};
    use super::*;

    fn cc(line: &str) -> HeaderMap {
        [(CACHE_CONTROL, HeaderValue::from_str(line).unwrap())].into_iter().collect()
    }

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    fn stored(response: &str) -> Freshness {
        let headers = cc(response);
        let directives = ResponseDirectives::from(&headers);
        let lifetime = lifetime(&Params::default(), StatusCode::OK, &headers, &directives, start());
        Freshness { lifetime, received: start(), initial_age: Duration::ZERO }
    }

    fn at(response: &str, request: &str, age: u64) -> Reuse {
        reuse(&stored(response), &RequestDirectives::from(&cc(request)), start() + Duration::from_secs(age))
    }

    fn on_error(response: &str, request: &str, age: u64) -> Result<(), NoStale> {
        reuse_on_error(&stored(response), &RequestDirectives::from(&cc(request)), start() + Duration::from_secs(age))
    }

    use Reuse::{ClientAllows, Fresh, Revalidate, WhileRevalidate};

    #[test]
    fn fresh_until_the_lifetime_is_reached_rfc9111_4_2() {
        assert_eq!(at("max-age=10", "", 9), Fresh);
        assert_eq!(at("max-age=10", "", 10), Revalidate(Reason::Stale));
        assert_eq!(at("max-age=10, must-revalidate", "", 9), Fresh);
    }

    #[test]
    fn no_cache_is_never_reused_unasked_rfc9111_5_2_2_4() {
        assert_eq!(at("max-age=10, no-cache", "", 0), Revalidate(Reason::NoCache));
        assert_eq!(at("max-age=10, no-cache", "max-stale", 0), Revalidate(Reason::NoCache));
        assert_eq!(on_error("max-age=10, no-cache, stale-if-error=9", "", 0), Err(NoStale::NoCache));
    }

    #[test]
    fn a_stale_copy_serves_within_its_window_rfc5861_3() {
        assert_eq!(at("max-age=10, stale-while-revalidate=5", "", 14), WhileRevalidate);
        assert_eq!(at("max-age=10, stale-while-revalidate=5", "", 15), Revalidate(Reason::Stale));
    }

    #[test]
    fn a_forbidden_stale_copy_is_never_served_rfc9111_4_2_4() {
        for line in ["max-age=10, must-revalidate", "max-age=10, proxy-revalidate", "s-maxage=10"] {
            let line = format!("{line}, stale-while-revalidate=60, stale-if-error=60");
            assert_eq!(at(&line, "max-stale", 10), Revalidate(Reason::MustRevalidate), "{line}");
            assert_eq!(on_error(&line, "stale-if-error=60", 10), Err(NoStale::MustRevalidate), "{line}");
        }
    }

    #[test]
    fn a_client_may_refuse_what_is_fresh_rfc9111_5_2_1() {
        assert_eq!(at("max-age=10", "no-cache", 1), Revalidate(Reason::RequestNoCache));
        assert_eq!(at("max-age=10", "max-age=0", 1), Revalidate(Reason::RequestMaxAge));
        assert_eq!(at("max-age=10", "max-age=1", 1), Fresh);
        assert_eq!(at("max-age=10", "min-fresh=9", 1), Fresh);
        assert_eq!(at("max-age=10", "min-fresh=10", 1), Revalidate(Reason::RequestMinFresh));
        assert_eq!(Reason::RequestMaxAge.fwd(), Fwd::Request);
        assert_eq!(Reason::NoCache.fwd(), Fwd::Stale);
    }

    #[test]
    fn a_request_with_no_store_may_be_answered_rfc9111_5_2_1_5() {
        assert_eq!(at("max-age=10", "no-store", 1), Fresh);
    }

    #[test]
    fn a_reload_of_what_is_immutable_asks_nobody_rfc8246_2() {
        assert_eq!(at("max-age=10, immutable", "max-age=0", 1), Fresh);
        assert_eq!(at("max-age=10, immutable", "no-cache", 1), Revalidate(Reason::RequestNoCache));
        assert_eq!(at("max-age=10, immutable", "max-age=0", 10), Revalidate(Reason::Stale));
    }

    #[test]
    fn max_stale_is_the_clients_own_window_rfc9111_5_2_1_2() {
        assert_eq!(at("max-age=10", "max-stale=5", 15), ClientAllows);
        assert_eq!(at("max-age=10", "max-stale=5", 16), Revalidate(Reason::Stale));
        assert_eq!(at("max-age=10", "max-stale", 1_000_000), ClientAllows);
        assert_eq!(at("max-age=10, stale-while-revalidate=60", "max-stale=20", 15), WhileRevalidate);
        assert_eq!(at("max-age=10, stale-while-revalidate=60", "max-stale=2", 15), Revalidate(Reason::Stale));
        assert_eq!(at("max-age=10", "max-age=12, max-stale=5", 12), ClientAllows);
        assert_eq!(at("max-age=10", "max-age=12, max-stale=5", 13), Revalidate(Reason::Stale));
    }

    #[test]
    fn a_client_that_names_an_age_wants_nothing_stale_rfc9111_5_2_1_1() {
        for request in ["max-age=60", "min-fresh=0", "no-cache"] {
            assert_eq!(
                at("max-age=10, stale-while-revalidate=60", request, 11),
                Revalidate(Reason::Stale),
                "{request}"
            );
        }
    }

    #[test]
    fn a_failing_origin_is_covered_within_the_window_rfc5861_4() {
        assert_eq!(on_error("max-age=10, stale-if-error=5", "", 14), Ok(()));
        assert_eq!(on_error("max-age=10, stale-if-error=5", "", 15), Err(NoStale::WindowOver));
        assert_eq!(on_error("max-age=10", "stale-if-error=5", 14), Ok(()));
        assert_eq!(on_error("max-age=10", "", 10), Err(NoStale::WindowOver));
        assert_eq!(on_error("max-age=10", "no-cache", 5), Ok(()));
        let failures = (100..600).filter(|s| is_failure(StatusCode::from_u16(*s).unwrap())).collect::<Vec<_>>();
        assert_eq!(failures, [500, 502, 503, 504]);
    }
}
