//! How long is a stored response fresh, and how stale may it be served? (RFC 9111 §4.2, RFC 5861)
//!
//! The simple way, "now plus max-age", forgets that the response may have aged before it came here: the age it came
//! with, by its `Age` and by its `Date`, counts against its lifetime. What the origin says goes before what the route
//! says, that before what can be guessed, and where the origin forbids staleness no window of either side opens.

use std::time::{Duration, SystemTime};

use http::header::{AGE, DATE, EXPIRES, HeaderName, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};

use super::directives::{ResponseDirectives, delta_seconds};
use super::{date, list};
use crate::units::Ratio;

/// A route's say in freshness: only where the origin is silent.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Params {
    /// Time to live by status where the origin gives none.
    pub ttl: Ttl,
    /// `stale.while_revalidate` where the origin gives none.
    pub while_revalidate: Duration,
    /// `stale.if_error` where the origin gives none.
    pub if_error: Duration,
    /// `stale.override_origin`: the windows open even where the origin forbids staleness.
    pub override_origin: bool,
    /// What is guessed where neither origin nor route says anything. Default: nothing is.
    pub heuristic: Option<Heuristic>,
}

/// How a lifetime is guessed from the time for which a response has not changed (§4.2.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heuristic {
    /// The share of that time. §4.2.2 calls a tenth typical.
    pub fraction: Ratio,
    /// The longest guess: a page that nobody touched for ten years may still be touched tomorrow.
    pub max: Duration,
}

impl Heuristic {
    /// A tenth, at most a day.
    pub const DEFAULT: Heuristic = Heuristic { fraction: Ratio::percent(10), max: Duration::from_secs(86_400) };

    fn lifetime(&self, headers: &HeaderMap, received: SystemTime) -> Option<Duration> {
        let time = |name| headers.get(name).and_then(|value| date::parse(value, received));
        let unchanged = time(DATE).unwrap_or(received).duration_since(time(LAST_MODIFIED)?).ok()?;
        Some(unchanged.mul_f64(self.fraction.get()).min(self.max))
    }
}

/// Statuses that may be given a lifetime on a guess (RFC 9110 §15.1); others only with `public` (RFC 9111 §5.2.2.9).
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// `ttl = { default = "0s", 200 = "10m", 5xx = "0s" }`: the exact status wins over its class, the class over the default.
/// An error has no default: that one minute's outage is not to be remembered for ten is nobody's wish by silence.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Ttl {
    /// For every status below 400 that is not named.
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
        let default = if status < 400 { self.default } else { Duration::ZERO };
        named(&self.status, status).or_else(|| named(&self.class, status / 100)).unwrap_or(default)
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
    /// A guess by `Last-Modified`.
    Heuristic,
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
            Source::Heuristic => "heuristic",
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
    /// After `ttl`, how long it may be served while it is refreshed behind; zero where the origin forbids it.
    pub while_revalidate: Duration,
    /// After `ttl`, how long it may be served when the origin fails; zero where the origin forbids it.
    pub if_error: Duration,
    /// While fresh, a client's reload is no reason to ask the origin (RFC 8246).
    pub immutable: bool,
}

/// The lifetime of a response that was received at `received`, under `directives` from
/// [`super::targeted::directives`].
///
/// `s-maxage` goes before `max-age`, that before `Expires` (§4.2.1), that before the route's `ttl`, and that before a guess.
pub fn lifetime(
    params: &Params,
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    received: SystemTime,
) -> Lifetime {
    let explicit = explicit_lifetime(headers, directives, received);
    let (ttl, source) = explicit.unwrap_or_else(|| implicit_lifetime(params, status, headers, directives, received));
    let forbids = directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some();
    let validation = match directives.no_cache {
        true => Validation::Always,
        false if forbids && !params.override_origin => Validation::WhenStale,
        false => Validation::Relaxed,
    };
    let window = |origin: Option<Duration>, route| match validation {
        Validation::WhenStale => Duration::ZERO,
        Validation::Always if !params.override_origin => Duration::ZERO,
        Validation::Relaxed | Validation::Always => origin.unwrap_or(route),
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

/// What the origin says.
fn explicit_lifetime(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    received: SystemTime,
) -> Option<(Duration, Source)> {
    let shared = directives.s_maxage.map(|ttl| (ttl, Source::SMaxage));
    let own = directives.max_age.map(|ttl| (ttl, Source::MaxAge));
    let expires = !directives.is_targeted && headers.contains_key(EXPIRES);
    shared.or(own).or_else(|| expires.then(|| (until_expires(headers, received), Source::Expires)))
}

/// What the route says, or what may be guessed, where the origin neither gives a lifetime nor forbids to use one.
fn implicit_lifetime(
    params: &Params,
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    received: SystemTime,
) -> (Duration, Source) {
    if directives.no_cache || directives.no_store || directives.private {
        return (Duration::ZERO, Source::None);
    }
    let ttl = params.ttl.of(status);
    if !ttl.is_zero() {
        return (ttl, Source::Route);
    }
    let may_guess = is_heuristically_cacheable(status) || directives.public;
    let guess = params.heuristic.filter(|_| may_guess).and_then(|guess| guess.lifetime(headers, received));
    guess.filter(|ttl| !ttl.is_zero()).map_or((Duration::ZERO, Source::None), |ttl| (ttl, Source::Heuristic))
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

    /// Ends its freshness at `now`, if it lasts as long: the windows for serving it stale then run from `now`.
    pub fn expire(&mut self, now: SystemTime) {
        self.lifetime.ttl = self.lifetime.ttl.min(self.age(now));
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
    fn what_is_expired_is_stale_from_that_moment_and_no_earlier_or_later() {
        let fresh = Freshness { lifetime: of(&cc("max-age=60")), received: received(), initial_age: secs(10) };
        let at = |offset| received() + secs(offset);
        let mut expired = fresh;
        expired.expire(at(20));
        assert_eq!((expired.fresh_for(at(19)), expired.fresh_for(at(20))), (Some(secs(1)), None));
        assert_eq!(expired.stale_for(at(25)), secs(5));
        assert_eq!(expired.fresh_until(), at(20));
        // Stale before: the windows have run since then.
        let mut stale = fresh;
        stale.expire(at(70));
        assert_eq!(stale, fresh);
        // A purge from before it came: stale on arrival.
        let mut late = fresh;
        late.expire(received() - secs(5));
        assert_eq!(late.fresh_for(received()), None);
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
        assert_eq!((of_status(302, &silent).ttl, of_status(302, &silent).source), (secs(1), Source::Route));
        assert_eq!((of_status(404, &silent).ttl, of_status(404, &silent).source), (secs(0), Source::None));
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
    fn an_override_opens_the_windows_and_still_asks_each_time_for_no_cache() {
        let params =
            Params { while_revalidate: secs(9), if_error: secs(8), override_origin: true, ..Params::default() };
        let it = of_with(&params, &cc("s-maxage=5, must-revalidate"));
        assert_eq!((it.while_revalidate, it.if_error, it.validation), (secs(9), secs(8), Validation::Relaxed));
        let it = of_with(&params, &cc("max-age=5, no-cache"));
        assert_eq!((it.if_error, it.validation), (secs(8), Validation::Always));
    }

    #[test]
    fn a_guess_is_a_tenth_of_the_time_unchanged_where_nobody_speaks_rfc9111_4_2_2() {
        let params = Params { heuristic: Some(Heuristic::DEFAULT), ..Params::default() };
        let of_status = |status: u16, headers: &HeaderMap| {
            let status = StatusCode::from_u16(status).unwrap();
            let it = lifetime(&params, status, headers, &ResponseDirectives::from(headers), received());
            (it.ttl, it.source)
        };
        let mut headers = HeaderMap::new();
        headers.insert(LAST_MODIFIED, in_date(-1000));
        assert_eq!(of(&headers).source, Source::None, "nothing is guessed unless asked for");
        for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(of_status(status, &headers), (secs(100), Source::Heuristic), "{status}");
        }
        for status in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
            assert_eq!(of_status(status, &headers), (secs(0), Source::None), "{status}");
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        assert_eq!(of_status(599, &headers), (secs(100), Source::Heuristic));
        for line in ["no-cache", "private", "max-age=0", "no-store"] {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(line));
            assert_eq!(of_status(200, &headers).0, secs(0), "{line}");
        }
        headers.remove(CACHE_CONTROL);
        headers.insert(DATE, in_date(-500));
        assert_eq!(of_status(200, &headers).0, secs(50));
        headers.insert(LAST_MODIFIED, in_date(-400));
        assert_eq!(of_status(200, &headers).0, secs(0));
        headers.insert(LAST_MODIFIED, in_date(-20_000_000));
        assert_eq!(of_status(200, &headers).0, secs(86_400));
    }

    #[test]
    fn under_a_targeted_field_expires_does_not_count_rfc9213_2_2() {
        let mut headers = HeaderMap::new();
        headers.insert(EXPIRES, in_date(30));
        let directives = ResponseDirectives { is_targeted: true, ..ResponseDirectives::default() };
        let it = lifetime(&Params::default(), StatusCode::OK, &headers, &directives, received());
        assert_eq!(it.source, Source::None);
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
