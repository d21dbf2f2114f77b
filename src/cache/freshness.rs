//! How long is a stored response fresh, and how stale may it be served? (RFC 9111 §4.2, RFC 5861)
//!
//! The simple way, "now plus max-age", forgets that the response may have aged before it came here: the age it came
//! with, by its `Age` and by its `Date`, counts against its lifetime. What the origin says goes before what the route
//! says, and where the origin forbids staleness no window of either side opens.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES, HeaderName};
use http::{HeaderMap, StatusCode};

use super::directives::{ResponseDirectives, delta_seconds};
use super::{date, list};

/// A route's say in freshness: only where the origin is silent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Params {
    /// Time to live by status where the origin gives none.
    pub ttl: Ttl,
    /// `stale.while_revalidate` where the origin gives none.
    pub while_revalidate: Duration,
    /// `stale.if_error` where the origin gives none.
    pub if_error: Duration,
}

/// `ttl = { default = "0s", 200 = "10m", 5xx = "0s" }`: the exact status wins over its class, the class over the default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ttl {
    /// For every status not named.
    pub default: Duration,
    /// By class (1 to 5).
    pub class: Vec<(u16, Duration)>,
    /// By exact status.
    pub status: Vec<(u16, Duration)>,
}

impl Ttl {
    /// The time to live of a response with this status.
    pub fn of(&self, status: StatusCode) -> Duration {
        let named = |list: &[(u16, Duration)], key| list.iter().find(|(k, _)| *k == key).map(|(_, ttl)| *ttl);
        let status = status.as_u16();
        named(&self.status, status).or_else(|| named(&self.class, status / 100)).unwrap_or(self.default)
    }
}

/// Who set a lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The origin's `s-maxage`.
    SMaxage,
    /// The origin's `max-age`.
    MaxAge,
    /// The origin's `Expires`.
    Expires,
    /// The route's `ttl`.
    Route,
    /// Nobody: the lifetime is zero.
    None,
}

impl Source {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::SMaxage => "s-maxage",
            Source::MaxAge => "max-age",
            Source::Expires => "expires",
            Source::Route => "route",
            Source::None => "none",
        }
    }

    /// Whether the origin spoke.
    pub(super) const fn is_explicit(self) -> bool {
        matches!(self, Source::SMaxage | Source::MaxAge | Source::Expires)
    }
}

/// When the origin insists on being asked (§5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// It does not: stale copies may be served within the windows.
    Relaxed,
    /// Once stale: `must-revalidate`, `proxy-revalidate` or `s-maxage`.
    WhenStale,
    /// Before every reuse: `no-cache`.
    Always,
}

/// How long a response holds, from when the origin made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// The freshness lifetime (§4.2.1).
    pub ttl: Duration,
    /// Who set it.
    pub source: Source,
    /// When the origin insists on being asked.
    pub validation: Validation,
    /// After `ttl`, how long it may be served while it is refreshed behind; zero unless `validation` is relaxed.
    pub while_revalidate: Duration,
    /// After `ttl`, how long it may be served when the origin fails; zero unless `validation` is relaxed.
    pub if_error: Duration,
    /// While fresh, a client's reload is no reason to ask the origin (RFC 8246).
    pub immutable: bool,
}

/// The lifetime of a response that was received at `received`.
///
/// Never guessed: without a word of the origin it is the route's `ttl`, and that is zero unless configured.
pub fn lifetime(
    params: &Params,
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    received: SystemTime,
) -> Lifetime {
    let (ttl, source) = if let Some(ttl) = directives.s_maxage {
        (ttl, Source::SMaxage)
    } else if let Some(ttl) = directives.max_age {
        (ttl, Source::MaxAge)
    } else if headers.contains_key(EXPIRES) {
        (until_expires(headers, received), Source::Expires)
    } else if directives.no_cache || directives.no_store || directives.private {
        (Duration::ZERO, Source::None)
    } else {
        match params.ttl.of(status) {
            Duration::ZERO => (Duration::ZERO, Source::None),
            ttl => (ttl, Source::Route),
        }
    };
    let validation = if directives.no_cache {
        Validation::Always
    } else if directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some() {
        Validation::WhenStale
    } else {
        Validation::Relaxed
    };
    let window = |origin: Option<Duration>, route| match validation {
        Validation::Relaxed => origin.unwrap_or(route),
        Validation::WhenStale | Validation::Always => Duration::ZERO,
    };
    Lifetime {
        ttl,
        source,
        validation,
        while_revalidate: window(directives.stale_while_revalidate, params.while_revalidate),
        if_error: window(directives.stale_if_error, params.if_error),
        immutable: directives.immutable,
    }
}

/// `Expires` less `Date`, or less the time of receipt without one; whatever is no date is in the past (§5.3).
fn until_expires(headers: &HeaderMap, received: SystemTime) -> Duration {
    let time = |name: &HeaderName| headers.get(name).and_then(|value| date::parse(value, received));
    let Some(expires) = time(&EXPIRES) else { return Duration::ZERO };
    expires.duration_since(time(&DATE).unwrap_or(received)).unwrap_or_default()
}

/// How old a response was on arrival: the corrected_initial_age of §4.2.3, the more cautious of its two forms.
///
/// `requested` is when the request for it was sent, `received` when its head arrived. After a 304 these are
/// the times of the 304, and the headers its own or those of [`super::validate::merge_304`].
pub fn initial_age(headers: &HeaderMap, requested: SystemTime, received: SystemTime) -> Duration {
    let date = headers.get(DATE).and_then(|value| date::parse(value, received));
    let apparent = date.and_then(|date| received.duration_since(date).ok()).unwrap_or_default();
    let delay = received.duration_since(requested).unwrap_or_default();
    // Of a list the first member counts; what is no number is ignored (§5.1).
    let age = list::all_members(headers, &AGE).next().and_then(delta_seconds).unwrap_or_default();
    apparent.max(age.saturating_add(delay))
}

const JUST_UNDER_A_SECOND: Duration = Duration::from_nanos(999_999_999);

/// What is kept with a stored response to judge it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// How long it holds.
    pub lifetime: Lifetime,
    /// When it, or the 304 that last confirmed it, was received.
    pub received: SystemTime,
    /// Its age then, from [`initial_age`].
    pub initial_age: Duration,
}

impl Freshness {
    /// Its current_age (§4.2.3), the value of `Age` to send, in whole seconds below. A clock set back adds nothing.
    pub fn age(&self, now: SystemTime) -> Duration {
        self.initial_age.saturating_add(now.duration_since(self.received).unwrap_or_default())
    }

    /// How much longer it is fresh; `None` if it is stale. Fresh means that its lifetime exceeds its age (§4.2).
    pub fn fresh_for(&self, now: SystemTime) -> Option<Duration> {
        self.lifetime.ttl.checked_sub(self.age(now)).filter(|left| !left.is_zero())
    }

    /// How long it has been stale; zero if it is fresh.
    pub fn stale_for(&self, now: SystemTime) -> Duration {
        self.age(now).saturating_sub(self.lifetime.ttl)
    }

    /// The `ttl` of `Cache-Status` (RFC 9211 §2.4): seconds of freshness left, negative once stale.
    pub fn ttl_seconds(&self, now: SystemTime) -> i64 {
        // Rounded up, as `Age` is rounded down: together they are the lifetime, and anything stale shows as stale.
        let up = |d: Duration| i64::try_from(d.saturating_add(JUST_UNDER_A_SECOND).as_secs()).unwrap_or(i64::MAX);
        match self.fresh_for(now) {
            Some(left) => up(left),
            None => -up(self.stale_for(now)),
        }
    }

    /// The first moment at which it is no longer fresh; `received` if it never is. A lifetime past the clock's end
    /// is cut to 2^31 seconds.
    pub fn fresh_until(&self) -> SystemTime {
        let left = self.lifetime.ttl.saturating_sub(self.initial_age);
        let longest = Duration::from_secs(1 << 31);
        self.received.checked_add(left).or_else(|| self.received.checked_add(longest)).unwrap_or(self.received)
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, HeaderValue};

    use super::*;

    const fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Sun, 06 Nov 1994 08:49:37 GMT
    fn received() -> SystemTime {
        SystemTime::UNIX_EPOCH + secs(784_111_777)
    }

    fn in_date(offset: i64) -> HeaderValue {
        let now = received();
        let time = if offset < 0 { now - secs(offset.unsigned_abs()) } else { now + secs(offset.unsigned_abs()) };
        date::field(time).unwrap()
    }

    fn map(fields: &[(HeaderName, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (n.clone(), HeaderValue::from_str(v).unwrap())).collect()
    }

    fn of_with(params: &Params, headers: &HeaderMap) -> Lifetime {
        lifetime(params, StatusCode::OK, headers, &ResponseDirectives::from(headers), received())
    }

    fn of(headers: &HeaderMap) -> Lifetime {
        of_with(&Params::default(), headers)
    }

    fn cc(line: &str) -> HeaderMap {
        map(&[(CACHE_CONTROL, line)])
    }

    #[test]
    fn s_maxage_beats_max_age_beats_expires_rfc9111_4_2_1() {
        let mut headers = cc("max-age=20, s-maxage=10");
        headers.insert(EXPIRES, in_date(30));
        assert_eq!((of(&headers).ttl, of(&headers).source), (secs(10), Source::SMaxage));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=20"));
        assert_eq!((of(&headers).ttl, of(&headers).source), (secs(20), Source::MaxAge));
        headers.remove(CACHE_CONTROL);
        assert_eq!((of(&headers).ttl, of(&headers).source), (secs(30), Source::Expires));
    }

    #[test]
    fn an_invalid_max_age_is_stale_even_beside_a_future_expires() {
        let mut headers = cc("max-age=x");
        headers.insert(EXPIRES, in_date(30));
        assert_eq!((of(&headers).ttl, of(&headers).source), (secs(0), Source::MaxAge));
    }

    #[test]
    fn expires_counts_from_date_or_else_from_receipt_rfc9111_4_2_1() {
        let mut headers = HeaderMap::new();
        headers.insert(EXPIRES, in_date(30));
        headers.insert(DATE, in_date(-10));
        assert_eq!(of(&headers).ttl, secs(40));
        headers.insert(DATE, HeaderValue::from_static("foo"));
        assert_eq!(of(&headers).ttl, secs(30));
        headers.insert(DATE, in_date(60));
        assert_eq!(of(&headers).ttl, secs(0));
    }

    #[test]
    fn an_expires_that_is_no_date_is_in_the_past_rfc9111_5_3() {
        let params = Params { ttl: Ttl { default: secs(60), ..Ttl::default() }, ..Params::default() };
        for value in ["0", "", "-1", "never", "Sun, 06 Nov 2044 08:49:37 UTC"] {
            let headers = map(&[(EXPIRES, value)]);
            let it = of_with(&params, &headers);
            assert_eq!((it.ttl, it.source), (secs(0), Source::Expires), "{value}");
        }
    }

    #[test]
    fn the_route_speaks_only_where_the_origin_is_silent() {
        let ttl = Ttl { default: secs(1), class: vec![(2, secs(2))], status: vec![(204, secs(3))] };
        let params = Params { ttl, ..Params::default() };
        let silent = HeaderMap::new();
        let of_status = |status: u16, headers: &HeaderMap| {
            let status = StatusCode::from_u16(status).unwrap();
            lifetime(&params, status, headers, &ResponseDirectives::from(headers), received())
        };
        assert_eq!(of_status(204, &silent).ttl, secs(3));
        assert_eq!(of_status(200, &silent).ttl, secs(2));
        assert_eq!((of_status(404, &silent).ttl, of_status(404, &silent).source), (secs(1), Source::Route));
        assert_eq!(of_status(204, &cc("public")).ttl, secs(3));
        for line in ["no-cache", "no-store", "private", "max-age=0"] {
            assert_eq!(of_status(204, &cc(line)).ttl, secs(0), "{line}");
        }
        assert_eq!((of(&silent).ttl, of(&silent).source), (secs(0), Source::None));
    }

    #[test]
    fn windows_are_the_origins_or_else_the_routes_rfc5861() {
        let params = Params { while_revalidate: secs(1), if_error: secs(2), ..Params::default() };
        let it = of_with(&params, &cc("max-age=5"));
        assert_eq!((it.while_revalidate, it.if_error), (secs(1), secs(2)));
        let it = of_with(&params, &cc("max-age=5, stale-while-revalidate=7, stale-if-error=0"));
        assert_eq!((it.while_revalidate, it.if_error), (secs(7), secs(0)));
    }

    #[test]
    fn no_window_opens_where_staleness_is_forbidden_rfc9111_4_2_4() {
        let params = Params { while_revalidate: secs(9), if_error: secs(9), ..Params::default() };
        for (line, validation) in [
            ("max-age=5, must-revalidate", Validation::WhenStale),
            ("max-age=5, proxy-revalidate", Validation::WhenStale),
            ("s-maxage=5", Validation::WhenStale),
            ("max-age=5, no-cache", Validation::Always),
        ] {
            let it = of_with(&params, &cc(&format!("{line}, stale-while-revalidate=7, stale-if-error=7")));
            assert_eq!((it.while_revalidate, it.if_error, it.validation), (secs(0), secs(0), validation), "{line}");
        }
    }

    #[test]
    fn the_initial_age_is_the_greater_of_both_ways_rfc9111_4_2_3() {
        let sent = received() - secs(2);
        let mut headers = map(&[(AGE, "15")]);
        headers.insert(DATE, in_date(0));
        assert_eq!(initial_age(&headers, sent, received()), secs(17));
        headers.insert(DATE, in_date(-60));
        assert_eq!(initial_age(&headers, sent, received()), secs(60));
        headers.insert(DATE, in_date(60));
        assert_eq!(initial_age(&headers, sent, received()), secs(17));
        assert_eq!(initial_age(&HeaderMap::new(), sent, received()), secs(2));
        assert_eq!(initial_age(&HeaderMap::new(), received() + secs(9), received()), secs(0));
    }

    #[test]
    fn of_an_age_list_the_first_member_counts_and_no_number_is_ignored_rfc9111_5_1() {
        let age = |lines: &[&'static str]| {
            let headers: HeaderMap = lines.iter().map(|l| (AGE, HeaderValue::from_static(l))).collect();
            initial_age(&headers, received(), received()).as_secs()
        };
        assert_eq!(age(&["7200,0"]), 7200);
        assert_eq!(age(&["0, 7200"]), 0);
        assert_eq!(age(&["7200", "0"]), 7200);
        assert_eq!(age(&["abc"]), 0);
        assert_eq!(age(&["-7200"]), 0);
        assert_eq!(age(&["7200.0"]), 0);
        assert_eq!(age(&["99999999999"]), 1 << 31);
    }

    #[test]
    fn fresh_is_lifetime_greater_than_age_rfc9111_4_2() {
        let it = Freshness { lifetime: of(&cc("max-age=10")), received: received(), initial_age: secs(4) };
        let after = |s| received() + secs(s);
        assert_eq!(it.fresh_for(after(5)), Some(secs(1)));
        assert_eq!(it.fresh_for(after(6)), None);
        assert_eq!((it.stale_for(after(6)), it.stale_for(after(9))), (secs(0), secs(3)));
        assert_eq!(it.fresh_until(), after(6));
        assert_eq!(it.age(received() - secs(100)), secs(4));
    }

    #[test]
    fn the_ttl_of_cache_status_is_negative_once_stale_rfc9211_2_4() {
        let it = Freshness { lifetime: of(&cc("max-age=10")), received: received(), initial_age: secs(0) };
        let after = |millis| it.ttl_seconds(received() + Duration::from_millis(millis));
        assert_eq!((after(0), after(9_500), after(10_000), after(10_001), after(12_000)), (10, 1, 0, -1, -2));
    }
}
