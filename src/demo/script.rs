//! What a demo backend answers, and after how long: a function of the request, the time and chance.
//!
//! The server around it only waits and writes, so the whole scenario can be tested without a socket or a clock.

use std::fmt::Write;
use std::time::Duration;

/// One of the demo's backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// What it calls itself, in `X-Backend` and in bodies.
    pub name: &'static str,
    /// Whether it is slow by the schedule.
    pub pace: Pace,
}

/// How a backend's latency changes over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Always the same.
    Steady,
    /// Normal for [`PHASE`], then [`SLOWDOWN`] times slower for as long, and again.
    Degrading,
}

/// The three backends.
pub const BACKENDS: [Backend; 3] = [
    Backend { name: "one", pace: Pace::Steady },
    Backend { name: "two", pace: Pace::Steady },
    Backend { name: "three", pace: Pace::Degrading },
];

/// How long a degrading backend stays normal, and then slow. Long enough to watch its share fall and come back.
pub const PHASE: Duration = Duration::from_secs(20);

/// How much slower a degrading backend gets.
pub const SLOWDOWN: u32 = 10;

impl Pace {
    /// How many times slower than normal a backend is at `uptime` after the demo's start.
    pub const fn factor(self, uptime: Duration) -> u32 {
        let odd_phase = (uptime.as_secs() / PHASE.as_secs()) % 2 == 1;
        match self {
            Pace::Degrading if odd_phase => SLOWDOWN,
            Pace::Degrading | Pace::Steady => 1,
        }
    }
}

/// What a request says that an answer depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    /// As received.
    pub method: &'a str,
    /// Path and query.
    pub target: &'a str,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// `Accept-Language`.
    pub accept_language: Option<&'a str>,
}

/// An answer, to be sent after a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Besides `Content-Length`, `Date` and `X-Backend`.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Empty for a 304.
    pub body: String,
    /// How long the backend works on it.
    pub delay: Duration,
}

/// What is shown in the demo, and how it is linked on its page.
pub const PAGES: &[(&str, &str)] = &[
    ("/hit", "may be stored for 30 s, then confirmed by its ETag"),
    ("/slow", "takes a second to make; may be stored for 10 s"),
    ("/api", "never stored; 10 ms, give or take"),
    ("/vary", "may be stored, once for each language"),
    ("/private", "sets a cookie; for one client only"),
];

const ETAG: &str = "\"hit-1\"";
const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");
const HTML: (&str, &str) = ("Content-Type", "text/html; charset=utf-8");

impl Backend {
    /// The answer to `request`, `uptime` after the demo's start.
    pub fn answer(&self, request: &Request<'_>, uptime: Duration, rng: &mut fastrand::Rng) -> Answer {
        let mut answer = self.page(request, rng);
        answer.delay *= self.pace.factor(uptime);
        answer
    }

    fn page(&self, request: &Request<'_>, rng: &mut fastrand::Rng) -> Answer {
        let path = request.target.split('?').next().unwrap_or_default();
        if !matches!((request.method, path), ("GET" | "HEAD", _) | ("POST", "/api")) {
            return text(405, &[("Allow", "GET, HEAD")], "only GET and HEAD, and POST for /api\n");
        }
        let name = self.name;
        match path {
            "/" => Answer { body: self.index(), delay: Duration::from_millis(5), ..text(200, &[HTML, NO_STORE], "") },
            "/healthz" => text(200, &[TEXT, NO_STORE], "ok\n"),
            "/hit" => hit(request),
            "/slow" => Answer {
                delay: Duration::from_secs(1),
                ..text(200, &[TEXT, ("Cache-Control", "max-age=10")], "this took a second to make\n")
            },
            "/api" => Answer {
                body: format!("served by {name}\n"),
                delay: around_ten_millis(rng),
                ..text(200, &[TEXT, NO_STORE], "")
            },
            "/vary" => greeting(request.accept_language.unwrap_or_default()),
            "/private" => text(
                200,
                &[TEXT, ("Cache-Control", "private, max-age=30"), ("Set-Cookie", "visitor=you; Path=/; HttpOnly")],
                "for you alone\n",
            ),
            _ => text(404, &[TEXT, ("Cache-Control", "max-age=5")], "no such page; try /\n"),
        }
    }

    fn index(&self) -> String {
        let mut links = String::new();
        for (path, what) in PAGES {
            // Writing to a String cannot fail.
            let _infallible = writeln!(links, "<li><a href=\"{path}\">{path}</a> {what}");
        }
        let name = self.name;
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<title>Backend {name}</title>\n\
             <h1>Backend {name}</h1>\n<p>Reload to be served by another.\n<ul>\n{links}</ul>\n"
        )
    }
}

const NO_STORE: (&str, &str) = ("Cache-Control", "no-store");

fn text(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
    Answer { status, headers: headers.to_vec(), body: body.to_owned(), delay: Duration::ZERO }
}

/// The body is the same on every backend, as a strong ETag promises. Confirming it is quick, making it is not.
fn hit(request: &Request<'_>) -> Answer {
    let headers = [TEXT, ("Cache-Control", "max-age=30"), ("ETag", ETAG)];
    let confirmed = request.if_none_match.is_some_and(|tags| {
        tags.trim() == "*" || tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == ETAG)
    });
    if confirmed {
        return text(304, &headers[1..], "");
    }
    Answer { delay: Duration::from_millis(40), ..text(200, &headers, "a page worth keeping for 30 s\n") }
}

fn greeting(accept_language: &str) -> Answer {
    let (language, body) = match accept_language.get(..2) {
        Some("de") => (("Content-Language", "de"), "Guten Tag\n"),
        Some("fr") => (("Content-Language", "fr"), "Bonjour\n"),
        _ => (("Content-Language", "en"), "Good day\n"),
    };
    let headers = [TEXT, ("Cache-Control", "max-age=30"), ("Vary", "Accept-Language"), language];
    Answer { delay: Duration::from_millis(20), ..text(200, &headers, body) }
}

/// A lognormal latency with a median of 10 ms and a 99th percentile of 25 ms, as application servers have; at most
/// 200 ms.
fn around_ten_millis(rng: &mut fastrand::Rng) -> Duration {
    const SIGMA: f64 = 0.394;
    // Box and Muller's way from two uniform numbers to a normal one; 1 - u keeps the logarithm finite.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
    Duration::from_secs_f64((0.010 * (SIGMA * normal).exp()).clamp(0.0, 0.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Backend = BACKENDS[0];
    const THREE: Backend = BACKENDS[2];

    fn get(target: &str) -> Request<'_> {
        Request { method: "GET", target, ..Request::default() }
    }

    fn answer(request: &Request<'_>) -> Answer {
        ONE.answer(request, Duration::ZERO, &mut fastrand::Rng::with_seed(1))
    }

    #[test]
    fn the_third_backend_is_slow_every_other_twenty_seconds() {
        let factor = |seconds| THREE.pace.factor(Duration::from_secs(seconds));
        assert_eq!([0, 19, 20, 39, 40, 59, 60].map(factor), [1, 1, 10, 10, 1, 1, 10]);
        assert_eq!(ONE.pace.factor(Duration::from_secs(30)), 1);
    }

    #[test]
    fn a_slow_phase_stretches_the_same_answer_tenfold() {
        let api =
            |uptime| THREE.answer(&get("/api"), Duration::from_secs(uptime), &mut fastrand::Rng::with_seed(7)).delay;
        assert_eq!(api(25), api(5) * SLOWDOWN);
    }

    #[test]
    fn latencies_have_the_median_and_tail_they_claim() {
        let mut rng = fastrand::Rng::with_seed(42);
        let mut millis: Vec<_> = (0..10_000).map(|_| around_ten_millis(&mut rng).as_secs_f64() * 1e3).collect();
        millis.sort_by(f64::total_cmp);
        assert!((9.5..10.5).contains(&millis[5_000]), "{}", millis[5_000]);
        assert!((23.0..27.0).contains(&millis[9_900]), "{}", millis[9_900]);
    }

    #[test]
    fn a_known_etag_is_confirmed_without_a_body() {
        for tags in ["\"hit-1\"", "W/\"hit-1\"", "\"a\", \"hit-1\"", "*"] {
            let answer = answer(&Request { if_none_match: Some(tags), ..get("/hit") });
            assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{tags}");
            assert!(answer.headers.contains(&("ETag", ETAG)));
        }
        assert_eq!(answer(&Request { if_none_match: Some("\"hit-2\""), ..get("/hit") }).status, 200);
    }

    #[test]
    fn the_api_names_its_backend_and_is_never_stored() {
        let answer = answer(&get("/api?n=1"));
        assert_eq!(answer.body, "served by one\n");
        assert!(answer.headers.contains(&NO_STORE));
    }

    #[test]
    fn a_language_chooses_the_variant() {
        let body = |language| answer(&Request { accept_language: Some(language), ..get("/vary") }).body;
        assert_eq!(body("de-CH, en;q=0.5"), "Guten Tag\n");
        assert_eq!(body("fr"), "Bonjour\n");
        assert_eq!(body("é"), "Good day\n");
        assert!(answer(&get("/vary")).headers.contains(&("Vary", "Accept-Language")));
    }

    #[test]
    fn the_page_links_to_pages_that_exist() {
        let index = answer(&get("/")).body;
        for (path, _) in PAGES {
            assert!(index.contains(&format!("href=\"{path}\"")));
            assert_eq!(answer(&get(path)).status, 200, "{path}");
        }
    }

    #[test]
    fn other_methods_and_paths_are_refused() {
        assert_eq!(answer(&Request { method: "DELETE", ..get("/api") }).status, 405);
        assert_eq!(answer(&Request { method: "POST", ..get("/api") }).status, 200);
        assert_eq!(answer(&get("/nowhere")).status, 404);
    }
}
