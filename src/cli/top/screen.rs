//! What the edge told as lines: the troubles first, then pools, routes, slow requests and what happened.

use std::net::SocketAddr;
use std::time::Duration;

use super::backends::{self, Sort};
use super::line::{Line, Look, amount, bytes, duration, millis, percent, time_of_day, wrapped};
use super::told::{Event, Incident, Route, Slow, Told};

/// Troubles that have ended and are shown.
const ENDED: usize = 2;
/// Events that are shown.
const EVENTS: usize = 12;
/// Silence from which on what is shown is out of date.
const LATE: Duration = Duration::from_millis(3_500);

/// What is to be seen of it, and how.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) admin: SocketAddr,
    pub(super) sort: Sort,
    pub(super) is_paused: bool,
    /// Lines above the screen.
    pub(super) scroll: usize,
    /// Since the edge last told something.
    pub(super) silent_for: Duration,
    /// Why it told nothing when it was last asked.
    pub(super) lost: Option<String>,
}

impl View {
    /// Of an edge that has just told something.
    pub(super) fn new(admin: SocketAddr) -> View {
        View { admin, sort: Sort::default(), is_paused: false, scroll: 0, silent_for: Duration::ZERO, lost: None }
    }
}

/// As many lines as there is room for: the head, what is seen of the rest, the keys.
pub(super) fn whole(told: &Told, view: &mut View, width: usize, height: usize) -> Vec<Line> {
    let mut lines = vec![state(view)];
    let body = body(told, view, width);
    let room = height.saturating_sub(2);
    view.scroll = view.scroll.min(body.len().saturating_sub(room));
    lines.extend(body.into_iter().skip(view.scroll).take(room));
    lines.resize(height.saturating_sub(1), Line::new());
    let sort = format!("s sort: {}   ", view.sort.as_str());
    lines.push(Line::new().with(Look::Dim, format!("q quit   {sort}p pause   ↑ ↓ scroll")));
    lines
}

fn state(view: &View) -> Line {
    let line = Line::new().with(Look::Dim, format!("{}  ", view.admin));
    if view.silent_for >= LATE {
        let why = view.lost.as_deref().unwrap_or("no answer");
        let silent = duration(view.silent_for.as_secs());
        return line.with(Look::Bad, format!("out of date: nothing heard for {silent} ({why}); trying again"));
    }
    match view.is_paused {
        true => line.with(Look::Warn, "paused: p goes on"),
        false => line.with(Look::Good, "live"),
    }
}

/// All there is to see.
pub(super) fn body(told: &Told, view: &View, width: usize) -> Vec<Line> {
    let mut lines = head(told, width);
    lines.push(Line::new());
    lines.extend(troubles(&told.incidents, width));
    for pool in &told.pools {
        lines.push(Line::new());
        lines.extend(backends::lines(pool, view.sort));
    }
    lines.push(Line::new());
    lines.extend(routes(&told.routes));
    if !told.slowest.is_empty() {
        lines.push(Line::new());
        lines.push(Line::new().with(Look::Bold, "SLOWEST REQUESTS"));
        lines.extend(told.slowest.iter().map(slow));
    }
    if !told.events.is_empty() {
        lines.push(Line::new());
        lines.push(Line::new().with(Look::Bold, "WHAT HAPPENED"));
        lines.extend(told.events.iter().take(EVENTS).map(event));
    }
    lines
}

fn head(told: &Told, width: usize) -> Vec<Line> {
    let phase = if told.phase == "serving" { Look::Good } else { Look::Warn };
    let first = Line::new()
        .with(Look::Bold, format!("Hedgerow {}", told.version))
        .with(Look::Plain, "  ")
        .with(phase, &told.phase)
        .with(Look::Dim, "  up ")
        .with(Look::Plain, duration(told.uptime_seconds))
        .with(Look::Dim, "  generation ")
        .with(Look::Plain, told.generation.to_string())
        .with(Look::Dim, format!("  {} UTC", time_of_day(told.time)));
    let traffic = &told.traffic;
    let alert = |rate: f64| if rate > 0.0 { Look::Bad } else { Look::Plain };
    let stored = format!("{}, {} of {}", told.cache.objects, bytes(told.cache.bytes), bytes(told.cache.capacity));
    let mut second = Line::new();
    for (look, name, value) in [
        (Look::Bold, "requests/s", amount(traffic.requests_per_second)),
        (Look::Bold, "from cache", percent(traffic.hit_ratio)),
        (alert(traffic.errors_per_second), "5xx/s", amount(traffic.errors_per_second)),
        (alert(traffic.shed_per_second), "shed/s", amount(traffic.shed_per_second)),
        (Look::Plain, "in flight", traffic.requests_in_flight.to_string()),
        (Look::Plain, "connections", traffic.client_connections.to_string()),
        (Look::Plain, "stored", stored),
    ] {
        second = second.with(Look::Dim, format!("{name} ")).with(look, value).with(Look::Plain, "   ");
    }
    let mut lines = vec![first, second];
    if let Some(reload) = &told.reload {
        let is_bad = reload.result == "rejected";
        let look = if is_bad { Look::Bad } else { Look::Plain };
        let head = Line::new().with(Look::Dim, "last reload ").with(look, &reload.result);
        lines.push(head.with(Look::Dim, format!(" {} UTC", time_of_day(reload.time))));
        for text in reload.lines.iter().filter(|_| is_bad).flat_map(|paragraph| paragraph.lines()) {
            lines.extend(
                wrapped(text, width.saturating_sub(4)).iter().map(|part| Line::new().with(look, format!("  {part}"))),
            );
        }
    }
    lines
}

fn troubles(incidents: &[Incident], width: usize) -> Vec<Line> {
    let (open, ended): (Vec<_>, Vec<_>) = incidents.iter().partition(|incident| incident.ended.is_none());
    if open.is_empty() && ended.is_empty() {
        return vec![Line::new().with(Look::Good, "✓ no backend in trouble since the start")];
    }
    let mut lines = Vec::new();
    if open.is_empty() {
        lines.push(Line::new().with(Look::Good, "✓ no backend in trouble"));
    }
    open.into_iter().chain(ended.into_iter().take(ENDED)).for_each(|incident| lines.extend(trouble(incident, width)));
    lines
}

fn trouble(incident: &Incident, width: usize) -> Vec<Line> {
    let word = incident.now.as_deref().unwrap_or(&incident.trouble);
    let (look, mark) = match incident.ended {
        None => backends::look(Some(word)),
        Some(_) => (Look::Dim, "✓"),
    };
    let lasts = if incident.ended.is_none() { "for" } else { "over; lasted" };
    let when = format!("since {} UTC, {lasts} {}", time_of_day(incident.since), duration(incident.lasts_seconds));
    let head = Line::new()
        .with(look, format!("{mark} {} ", incident.backend))
        .with(look, word)
        .with(Look::Dim, format!("  pool {}, {when}", incident.pool));
    let mut lines = vec![head];
    for (title, text) in
        [("", format!("It {}.", incident.what)), ("did", incident.did.join("; ")), ("cost", incident.cost.join("; "))]
    {
        for (place, part) in wrapped(&text, width.saturating_sub(9)).into_iter().enumerate() {
            let title = if place == 0 { title } else { "" };
            lines.push(Line::new().left(Look::Dim, format!("  {title}"), 6).with(Look::Plain, part));
        }
    }
    lines
}

fn routes(routes: &[Route]) -> Vec<Line> {
    let titles = Line::new()
        .left(Look::Bold, "ROUTES", 26)
        .left(Look::Dim, "POOL", 13)
        .right(Look::Dim, "REQ/S", 7)
        .right(Look::Dim, "P50 ms", 8)
        .right(Look::Dim, "P99 ms", 8)
        .right(Look::Dim, "P99.9 ms", 8)
        .right(Look::Dim, "P99 UNHEDGED", 12)
        .right(Look::Dim, "COPY AFTER", 10)
        .right(Look::Dim, "BUDGET", 7);
    let line = |route: &Route| {
        let look = if route.budget_level < 0.1 { Look::Bad } else { Look::Plain };
        Line::new()
            .left(Look::Plain, format!("  {}", route.name), 26)
            .left(Look::Dim, &route.pool, 13)
            .right(Look::Plain, amount(route.requests_per_second), 7)
            .right(Look::Plain, millis(route.first_byte_ms.p50()), 8)
            .right(Look::Plain, millis(route.first_byte_ms.p99()), 8)
            .right(Look::Plain, millis(route.first_byte_ms.p999()), 8)
            .right(Look::Plain, millis(route.first_byte_without_hedging_ms.p99()), 12)
            .right(Look::Plain, millis(route.hedge_delay_ms), 10)
            .right(look, percent(Some(route.budget_level)), 7)
    };
    [titles].into_iter().chain(routes.iter().map(line)).collect()
}

fn slow(request: &Slow) -> Line {
    let mut phases: Vec<(&String, &f64)> = request.phases_ms.iter().collect();
    phases.sort_by(|a, b| b.1.total_cmp(a.1));
    let waited = phases.first().map(|(phase, took)| format!("{phase} {} ms", millis(Some(**took))));
    // "2026-01-02T03:04:05.678Z"
    let time = request.time.get(11..19).unwrap_or_default();
    let target = format!(
        "{} {}{}",
        request.method,
        request.host.as_deref().unwrap_or_default(),
        request.path.as_deref().unwrap_or_default()
    );
    Line::new()
        .right(Look::Plain, format!("{} ms", millis(Some(request.duration_ms))), 10)
        .left(Look::Dim, time, 8)
        .right(Look::Plain, request.status.to_string(), 4)
        .left(Look::Dim, &request.cache, 11)
        .left(Look::Plain, waited.unwrap_or_default(), 20)
        .left(Look::Dim, request.backend.as_deref().unwrap_or("-"), 21)
        .with(Look::Plain, target)
}

fn event(event: &Event) -> Line {
    let (look, mark) = match event.turn.as_str() {
        "worse" => (Look::Bad, "▼"),
        "better" => (Look::Good, "▲"),
        _ => (Look::Plain, "•"),
    };
    let subject = match (&event.backend, &event.pool) {
        (Some(backend), _) => backend.clone(),
        (None, Some(pool)) => format!("pool {pool}"),
        (None, None) => event.topic.clone(),
    };
    Line::new()
        .with(Look::Dim, format!("  {}  ", time_of_day(event.time)))
        .with(look, format!("{mark} "))
        .with(Look::Plain, format!("{subject} "))
        .with(Look::Bold, format!("{}  ", event.what))
        .with(Look::Dim, &event.why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told() -> Told {
        let latency = json!({ "count": 9, "p50": 5.0, "p99": 21.0, "p999": 40.0 });
        let backend = |address: &str, p99: f64, trouble: Option<&str>| {
            json!({
                "address": address, "state": trouble.unwrap_or("healthy"), "trouble": trouble, "state_seconds": 31, "share": 0.4,
                "in_flight": 2, "limit": 12.4, "ewma_ms": 7.0, "late": 0.05, "latency_ms": { "count": 9, "p99": p99 },
                "latency_without_hedging_ms": { "count": 9, "p99": p99 },
            })
        };
        serde_json::from_value(json!({
            "version": "1.2.3", "time": 3_661.0, "uptime_seconds": 75, "phase": "serving", "generation": 2,
            "reload": { "time": 60.0, "result": "rejected", "lines": ["edge.toml:3:1: unknown key"] },
            "traffic": { "requests_per_second": 213.4, "hit_ratio": 0.5 },
            "routes": [{ "name": "pages", "pool": "web", "requests_per_second": 100.0, "first_byte_ms": latency }],
            "pools": [{ "name": "web", "ledger": 12.7, "limit": 40, "admitted": 3,
                "backends": [backend("a:1", 20.0, None), backend("b:1", 400.0, Some("probation"))] }],
            "incidents": [{ "pool": "web", "backend": "b:1", "trouble": "probation", "now": "probation", "since": 3_630.0,
                "lasts_seconds": 31, "what": "is slower than its peers",
                "did": ["7 late requests copied to others"], "cost": ["no request shed"] }],
            "slowest": [{ "time": "2026-01-02T03:04:05.678Z", "duration_ms": 412.0, "method": "GET", "path": "/a\u{1b}[2J",
                "status": 200, "cache": "miss", "phases_ms": { "first-byte": 410.0, "other": 2.0 } }],
            "events": [{ "time": 3_630.0, "topic": "backend", "turn": "worse", "pool": "web", "backend": "b:1",
                "what": "probation", "why": "slower-than-peers" }],
        }))
        .unwrap()
    }

    fn view() -> View {
        View::new(SocketAddr::from(([127, 0, 0, 1], 9090)))
    }

    fn text(lines: &[Line], width: usize) -> Vec<String> {
        lines.iter().map(|line| line.plain(width)).collect()
    }

    #[test]
    fn it_says_which_backend_since_when_what_was_done_and_what_it_cost() {
        let shown = text(&body(&told(), &view(), 120), 120).join("\n");
        for part in [
            "Hedgerow 1.2.3  serving  up 1m15s  generation 2  01:01:01 UTC",
            "requests/s 213   from cache 50.0 %",
            "last reload rejected 00:01:00 UTC\n  edge.toml:3:1: unknown key",
            "✕ b:1 probation  pool web, since 01:00:30 UTC, for 31s",
            "        It is slower than its peers.",
            "  did   7 late requests copied to others",
            "  cost  no request shed",
            "  a:1                       ● healthy          31s    40.0 %       2 / 12       7.0      20.0      20.0    5.0 %",
            "admitted 3 of 40",
            "  412 ms  03:04:05   200  miss         first-byte 410 ms     -                      GET /a·[2J",
            "  01:00:30  ▼ b:1 probation  slower-than-peers",
        ] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
    }

    #[test]
    fn backends_are_sorted_as_one_likes() {
        let first = |sort| {
            let shown = text(&backends::lines(&told().pools[0], sort), 120);
            shown[2].trim_start().split(' ').next().unwrap_or_default().to_owned()
        };
        assert_eq!([Sort::Written, Sort::Trouble, Sort::P99].map(first), ["a:1", "b:1", "b:1"]);
        let all = std::iter::successors(Some(Sort::Written), |sort| Some(sort.next())).skip(1);
        assert_eq!(all.take_while(|sort| *sort != Sort::Written).count(), 4, "each comes once");
    }

    #[test]
    fn the_screen_is_filled_and_never_overfilled() {
        let mut view = view();
        for height in [0, 1, 2, 5, 24, 200] {
            view.scroll = 1_000;
            let lines = whole(&told(), &mut view, 80, height);
            assert_eq!(lines.len(), height.max(1), "{height}");
            assert!(text(&lines, 80).iter().all(|line| line.chars().count() <= 80));
        }
        assert_eq!(view.scroll, 0, "there is nothing below");
    }

    #[test]
    fn it_says_when_it_is_out_of_date_or_paused() {
        let mut view = View { silent_for: Duration::from_secs(7), lost: Some("refused".to_owned()), ..view() };
        let first = |view: &mut View| text(&whole(&told(), view, 120, 10), 120)[0].clone();
        assert_eq!(first(&mut view), "127.0.0.1:9090  out of date: nothing heard for 7s (refused); trying again");
        view.silent_for = Duration::ZERO;
        view.is_paused = true;
        assert_eq!(first(&mut view), "127.0.0.1:9090  paused: p goes on");
    }

    #[test]
    fn an_edge_that_tells_little_is_shown_all_the_same() {
        let told: Told = serde_json::from_value(json!({ "pools": [{ "backends": [{}] }], "routes": [{}] })).unwrap();
        let shown = text(&body(&told, &view(), 80), 80).join("\n");
        assert!(shown.contains("no backend in trouble since the start"), "{shown}");
    }
}
