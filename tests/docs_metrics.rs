//! docs/metrics.md, names.rs and the page say the same.
#![expect(clippy::expect_used, clippy::panic, reason = "the page's parser is part of the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use hedgerow::cache::status::Fwd;
use hedgerow::config;
use hedgerow::grpc;
use hedgerow::tail::race::NoHedge;
use hedgerow::telemetry::names::{self, Definition, Kind, Values};
use hedgerow::telemetry::{
    BackendSample, CacheResult, CacheSample, Dropped, Latencies, Method, Metrics, PoolSample, ReloadResult,
    RouteSample, Scrape, Termination,
};
use hedgerow::telemetry::{Course, Dial, Timeline};
use hedgerow::trace::sampling::Reason;
use hedgerow::units::Tick;

const DOCUMENT: &str = include_str!("../docs/metrics.md");

/// Sections of the document: a metric's name and the text under its heading.
fn sections() -> Vec<(&'static str, &'static str)> {
    DOCUMENT
        .split("\n### `")
        .skip(1)
        .map(|section| section.split_once('`').expect("a heading closes its backquote"))
        .map(|(name, text)| (name, text.split("\n## ").next().unwrap_or(text)))
        .collect()
}

#[test]
fn the_document_lists_the_defined_metrics_in_their_order() {
    let documented: Vec<_> = sections().iter().map(|(name, _)| *name).collect();
    let defined: Vec<_> = names::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(documented, defined);
}

#[test]
fn each_section_says_type_unit_labels_values_and_meaning() {
    for (metric, (name, text)) in names::ALL.iter().zip(sections()) {
        assert!(text.contains(&format!("* type: {}\n", metric.kind.as_str())), "{name}: type");
        let unit = metric.unit.map(|unit| format!("* unit: {}\n", unit.as_str()));
        match unit {
            Some(unit) => assert!(text.contains(&unit), "{name}: unit"),
            None => assert!(!text.contains("* unit:"), "{name} has no unit"),
        }
        let labels: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("  * `")?.split_once("`:")).map(|(l, _)| l).collect();
        assert_eq!(labels, metric.labels.iter().map(|l| l.name).collect::<Vec<_>>(), "{name}: labels");
        assert_eq!(text.contains("* labels: none\n"), labels.is_empty(), "{name}: labels");
        for label in metric.labels {
            if let Values::Words(words) = label.values {
                for word in words {
                    assert!(text.contains(&format!("`{word}`")), "{name}: {} may be {word}", label.name);
                }
            }
        }
        // The help is the first sentence of the meaning; lines may break anywhere.
        let words: Vec<_> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(metric.help), "{name}: `{}`", metric.help);
    }
}

#[test]
fn each_section_has_a_query_over_metrics_that_exist() {
    let series: BTreeSet<String> = names::ALL.iter().flat_map(samples_of).collect();
    for (name, text) in sections() {
        let (_, query) = text.split_once("```promql\n").unwrap_or_else(|| panic!("{name} has no query"));
        let (query, _) = query.split_once("```").expect("the query's block closes");
        assert!(query.contains(name), "{name} is not in its own query");
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|w| w.starts_with("hedgerow_") || w.starts_with("process_")) {
            assert!(series.contains(word), "{name}: the query asks for {word}");
        }
    }
}

#[test]
fn the_page_is_valid_and_has_every_metric() {
    let page = Page::parse(&busy().render(scrape()));
    for metric in names::ALL {
        let family = page.families.get(metric.family()).unwrap_or_else(|| panic!("{} is not on the page", metric.name));
        assert_eq!(family.kind, metric.kind.as_str(), "{}", metric.name);
        assert_eq!(family.unit.as_deref(), metric.unit.map(|u| u.as_str()), "{}", metric.name);
        assert_eq!(family.help, metric.help);
        assert!(!family.samples.is_empty() || !cfg!(target_os = "linux"), "{} has no sample", metric.name);
        for sample in &family.samples {
            assert!(samples_of(metric).contains(&sample.name), "{}", sample.name);
            let mut labels = sample.labels.clone();
            if sample.name.ends_with("_bucket") {
                assert_eq!(labels.remove(0).0, "le");
            }
            assert_eq!(labels.len(), metric.labels.len(), "{}", sample.name);
            for ((name, value), label) in labels.iter().zip(metric.labels) {
                assert_eq!(name, label.name);
                if let Values::Words(words) = label.values {
                    assert!(words.contains(&value.as_str()), "{}: {name}={value}", sample.name);
                }
            }
        }
    }
    assert_eq!(page.families.len(), names::ALL.len());
}

#[test]
fn a_fresh_edge_has_a_valid_page() {
    let page = Page::parse(&Metrics::new().render(Scrape::default()));
    assert_eq!(page.value("hedgerow_config_last_reload_successful", &[]), Some(1.0));
    assert_eq!(page.value("hedgerow_terminations_total", &[("reason", "deadline")]), Some(0.0));
    assert_eq!(page.value("hedgerow_requests_in_flight", &[]), Some(0.0));
    assert_eq!(page.value("hedgerow_request_duration_seconds_count", &[("route", "-")]), Some(0.0));
}

#[test]
fn what_was_recorded_is_on_the_page() {
    let page = Page::parse(&busy().render(scrape()));
    let request = [("route", "pages"), ("method", "GET"), ("status", "2xx"), ("cache", "hit")];
    assert_eq!(page.value("hedgerow_requests_total", &request), Some(2.0));
    assert_eq!(page.value("hedgerow_request_duration_seconds_count", &[("route", "pages")]), Some(3.0));
    assert_eq!(page.value("hedgerow_request_duration_seconds_sum", &[("route", "pages")]), Some(0.75));
    let slow = [("le", "0.5"), ("route", "pages")];
    assert_eq!(page.value("hedgerow_request_duration_seconds_bucket", &slow), Some(3.0));
    assert_eq!(page.value("hedgerow_route_duration_requests", &[("route", "pages")]), Some(3.0));
    let of_pages = |label, value| [("route", "pages"), (label, value)];
    assert_eq!(page.value("hedgerow_route_duration_seconds", &of_pages("quantile", "0.5")), Some(0.253_951));
    assert_eq!(page.value("hedgerow_request_first_byte_seconds_count", &[("route", "pages")]), Some(2.0));
    assert_eq!(page.value("hedgerow_request_upstream_seconds_sum", &[("route", "pages")]), Some(0.03));
    assert_eq!(page.value("hedgerow_request_phase_seconds_total", &of_pages("phase", "client")), Some(0.004));
    assert_eq!(page.value("hedgerow_request_phase_seconds_total", &of_pages("phase", "other")), Some(0.001));
    assert_eq!(page.value("hedgerow_response_body_bytes_total", &of_pages("cache", "hit")), Some(7.0));
    assert_eq!(page.value("hedgerow_grpc_responses_total", &of_pages("status", "UNAVAILABLE")), Some(1.0));
    assert_eq!(
        page.value("hedgerow_grpc_responses_total", &[("route", "-"), ("status", "OK")]),
        None,
        "it has no calls"
    );
    assert_eq!(page.value("hedgerow_response_body_bytes_total", &of_pages("cache", "miss")), Some(11.0));
    assert_eq!(page.value("hedgerow_cache_forwarded_total", &of_pages("fwd", "vary-miss")), Some(1.0));
    assert_eq!(page.value("hedgerow_cache_collapsed_total", &of_pages("result", "answered")), Some(1.0));
    assert_eq!(page.value("hedgerow_upstream_connect_seconds_sum", &[("pool", "web")]), Some(0.004));
    assert_eq!(page.value("hedgerow_upstream_tls_seconds_count", &[("pool", "web")]), Some(1.0));
    let backend_counter = [("pool", "web"), ("backend", "127.0.0.1:8001")];
    assert_eq!(page.value("hedgerow_probations_total", &backend_counter), Some(1.0));
    assert_eq!(page.value("hedgerow_retries_total", &[("pool", "web"), ("reason", "connect-failed")]), Some(1.0));
    let backend = |label, value| [("pool", "web"), ("backend", "127.0.0.1:8001"), (label, value)];
    assert_eq!(page.value("hedgerow_attempts_total", &backend("result", "ok")), Some(1.0));
    assert_eq!(page.value("hedgerow_ejections_total", &backend("reason", "other")), Some(1.0));
    assert_eq!(page.value("hedgerow_backend_state", &backend("state", "healthy")), Some(1.0));
    assert_eq!(page.value("hedgerow_backend_state", &backend("state", "ejected")), Some(0.0));
    let quantile = |hedging, quantile| {
        [("pool", "web"), ("backend", "127.0.0.1:8001"), ("hedging", hedging), ("quantile", quantile)]
    };
    assert_eq!(page.value("hedgerow_backend_latency_seconds", &quantile("with", "0.99")), Some(0.04));
    assert_eq!(page.value("hedgerow_backend_latency_seconds", &quantile("with", "0.999")), Some(0.08));
    assert_eq!(page.value("hedgerow_backend_latency_seconds", &quantile("without", "0.999")), Some(0.8));
    assert_eq!(
        page.value("hedgerow_backend_late_ratio", &[("pool", "web"), ("backend", "127.0.0.1:8001")]),
        Some(0.25)
    );
    assert_eq!(page.value("hedgerow_hedges_sent_total", &[("pool", "web")]), Some(3.0));
    assert_eq!(page.value("hedgerow_hedges_total", &[("pool", "web"), ("result", "won")]), Some(1.0));
    assert_eq!(page.value("hedgerow_hedges_total", &[("pool", "web"), ("result", "lost")]), Some(2.0));
    assert_eq!(page.value("hedgerow_hedges_denied_total", &[("pool", "web"), ("reason", "all-slow")]), Some(1.0));
    assert_eq!(page.value("hedgerow_hedge_wasted_seconds_total", &[("pool", "web")]), Some(0.025));
    assert_eq!(page.value("hedgerow_probes_total", &[("pool", "web")]), Some(1.0));
    assert_eq!(page.value("hedgerow_ledger_tokens", &[("pool", "web")]), Some(9.5));
    assert_eq!(page.value("hedgerow_amplification_ratio", &[("pool", "web")]), Some(1.05));
    assert_eq!(page.value("hedgerow_route_hedge_delay_seconds", &[("route", "pages")]), Some(0.02));
    assert_eq!(page.value("hedgerow_route_hedge_budget_ratio", &[("route", "pages")]), Some(0.5));
    assert_eq!(page.value("hedgerow_route_hedge_governor_ratio", &[("route", "pages")]), Some(0.125));
    let of_route = |hedging| [("route", "pages"), ("hedging", hedging), ("quantile", "1")];
    assert_eq!(page.value("hedgerow_route_first_byte_seconds", &of_route("with")), Some(0.09));
    assert_eq!(page.value("hedgerow_route_first_byte_seconds", &of_route("without")), Some(0.9));
    let window = |route, hedging| [("route", route), ("hedging", hedging)];
    assert_eq!(page.value("hedgerow_route_window_requests", &window("pages", "without")), Some(2000.0));
    assert_eq!(page.value("hedgerow_cache_evictions_total", &[]), Some(5.0));
    assert_eq!(page.value("hedgerow_cache_refusals_total", &[]), Some(6.0));
    assert_eq!(page.value("hedgerow_config_reloads_total", &[("result", "rejected")]), Some(1.0));
    assert_eq!(page.value("hedgerow_config_last_reload_successful", &[]), Some(0.0));
    assert_eq!(page.value("hedgerow_config_generation", &[]), Some(7.0));
}

#[test]
fn what_is_not_known_is_not_on_the_page() {
    let page = Page::parse(&busy().render(scrape()));
    assert_eq!(page.value("hedgerow_route_hedge_delay_seconds", &[("route", "new")]), None);
    assert_eq!(page.value("hedgerow_amplification_ratio", &[("pool", "idle")]), None);
    let of_route = [("route", "new"), ("hedging", "without"), ("quantile", "0.5")];
    assert_eq!(page.value("hedgerow_route_first_byte_seconds", &of_route), None);
    assert_eq!(page.value("hedgerow_route_window_requests", &[("route", "new"), ("hedging", "without")]), Some(0.0));
}

#[test]
fn the_reasons_for_denials_are_those_of_the_policy() {
    let (other, reasons) = names::HEDGE_DENIALS.split_last().expect("there are some");
    assert_eq!(*other, "other");
    assert!(reasons.iter().all(|reason| NoHedge::WORDS.contains(reason)), "{reasons:?}");
}

#[test]
fn the_reasons_to_go_forward_are_those_of_the_cache() {
    let (other, reasons) = names::FORWARDS.split_last().expect("there are some");
    assert_eq!(*other, "other");
    let all =
        [Fwd::Bypass, Fwd::Method, Fwd::UriMiss, Fwd::VaryMiss, Fwd::Miss, Fwd::Request, Fwd::Stale, Fwd::Partial];
    assert_eq!(reasons, all.map(Fwd::as_str));
}

#[test]
fn a_bucket_leads_to_a_request_in_it() {
    let text = busy().render(scrape());
    let with_exemplar: Vec<_> = text.lines().filter(|line| line.contains(" # ")).collect();
    assert_eq!(
        with_exemplar,
        ["hedgerow_request_duration_seconds_bucket{le=\"0.25\",route=\"pages\"} 2 # \
          {trace_id=\"000000000000000000000000000000ab\"} 0.25 1.500"]
    );
}

#[test]
fn a_state_nobody_listed_counts_as_other() {
    let mut scrape = scrape();
    scrape.backends[0].state = "bewildered";
    let page = Page::parse(&Metrics::new().render(scrape));
    let state = |word| [("pool", "web"), ("backend", "127.0.0.1:8001"), ("state", word)];
    assert_eq!(page.value("hedgerow_backend_state", &state("other")), Some(1.0));
    assert_eq!(page.value("hedgerow_backend_state", &state("healthy")), Some(0.0));
}

#[test]
fn a_route_with_quotes_in_its_name_does_not_break_the_page() {
    let metrics = Metrics::new();
    metrics.route("a \"b\\c\n{d}").record(Method::Get, 200, CacheResult::Hit, Duration::ZERO);
    let page = Page::parse(&metrics.render(Scrape::default()));
    let request = [("route", "a \"b\\c\n{d}"), ("method", "GET"), ("status", "2xx"), ("cache", "hit")];
    assert_eq!(page.value("hedgerow_requests_total", &request), Some(1.0));
}

/// Metrics of which each has been recorded.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    let route = metrics.route("pages");
    route.record(Method::Get, 200, CacheResult::Hit, Duration::from_millis(250));
    route.record(Method::Get, 206, CacheResult::Hit, Duration::from_millis(500));
    route.record_instant(Method::Head, 200, 7);
    route.sent(CacheResult::Miss, 11);
    route.first_byte(Duration::from_millis(20));
    route.upstream(Duration::from_millis(30));
    route.forwarded("vary-miss");
    route.collapsed("answered");
    route.called(grpc::Status::UNAVAILABLE);
    let course = Course { duration: Duration::from_millis(5), client: Duration::from_millis(4), ..Course::default() };
    route.phases(Duration::from_millis(5), &Timeline::of(course).phases);
    route.sampled(0xab, Duration::from_millis(250), SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
    metrics.unrouted().record(Method::Other, 400, CacheResult::None, Duration::from_micros(3));
    metrics.terminated(Termination::Done);
    metrics.terminated(Termination::BadRequest);
    let pool = metrics.pool("web");
    pool.first_byte(Duration::from_millis(9));
    pool.dialled(Dial { connect: Duration::from_millis(2), tls: Duration::from_millis(3) });
    pool.dialled(Dial { connect: Duration::from_millis(2), tls: Duration::ZERO });
    pool.retry("connect-failed");
    (0..3).for_each(|_| pool.hedge_sent());
    [true, false, false].into_iter().for_each(|won| pool.hedge_ended(won));
    pool.hedge_denied("all-slow");
    pool.wasted(Duration::from_millis(25));
    pool.probe_sent();
    let backend = metrics.backend("web", "127.0.0.1:8001");
    backend.attempt("ok");
    backend.ejected("a reason nobody listed");
    backend.put_on_probation();
    backend.health_check("passed");
    metrics.set_generation(7);
    metrics.reloaded(ReloadResult::Applied);
    metrics.reloaded(ReloadResult::Rejected);
    metrics.access_log_dropped().inc();
    metrics.tick(config::Slow { keep: 1, window: Duration::from_secs(60), query: false }, Tick::from_nanos(1));
    metrics.traces().recorded(Reason::Hedged);
    metrics.traces().dropped(Dropped::Export, 5);
    metrics.traces().exported(false);
    metrics
}

fn scrape() -> Scrape {
    let ms = Duration::from_millis;
    let with_hedging =
        Latencies { count: 200, p50: ms(10), p90: ms(20), p95: ms(25), p99: ms(40), p999: ms(80), max: ms(90) };
    let without_hedging = Latencies { count: 2000, p999: ms(800), max: ms(900), ..with_hedging };
    let healthy = BackendSample {
        pool: "web".to_owned(),
        backend: "127.0.0.1:8001".to_owned(),
        state: "healthy",
        in_flight: 3,
        ewma: Some(ms(11)),
        reported_load: Some(0.4),
        throttle: 0.2,
        late: 0.25,
        with_hedging,
        without_hedging,
    };
    let silent = BackendSample {
        backend: "127.0.0.1:8002".to_owned(),
        ewma: None,
        reported_load: None,
        with_hedging: Latencies::default(),
        without_hedging: Latencies::default(),
        ..healthy.clone()
    };
    let busy = PoolSample {
        pool: "web".to_owned(),
        ledger: 9.5,
        amplification: Some(1.05),
        limit: Some(24),
        admitted: 24,
        queued: 3,
    };
    let idle =
        PoolSample { pool: "idle".to_owned(), ledger: 1.0, amplification: None, limit: None, admitted: 0, queued: 0 };
    let known = RouteSample {
        route: "pages".to_owned(),
        delay: Some(ms(20)),
        level: 0.5,
        scale: 0.125,
        with_hedging,
        without_hedging,
    };
    let new = RouteSample {
        route: "new".to_owned(),
        delay: None,
        with_hedging: Latencies::default(),
        without_hedging: Latencies::default(),
        ..known.clone()
    };
    let cache = CacheSample {
        objects: 2,
        bytes: 4096,
        capacity: 1 << 30,
        stores: 7,
        evictions: 5,
        purged: 3,
        tags_cut: 1,
        purges: 2,
        refusals: 6,
    };
    Scrape { backends: vec![healthy, silent], pools: vec![busy, idle], routes: vec![known, new], cache }
}

/// The names of a metric's samples.
fn samples_of(metric: &Definition) -> Vec<String> {
    match metric.kind {
        Kind::Histogram => ["_bucket", "_count", "_sum"].iter().map(|s| format!("{}{s}", metric.name)).collect(),
        Kind::Counter | Kind::Gauge | Kind::Info => vec![metric.name.to_owned()],
    }
}

/// A page read by the rules of OpenMetrics 1.0, as far as it uses them; panics at the first one broken.
#[derive(Default)]
struct Page {
    families: BTreeMap<String, Family>,
}

#[derive(Default)]
struct Family {
    kind: String,
    help: String,
    unit: Option<String>,
    samples: Vec<Sample>,
}

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Page {
    fn parse(text: &str) -> Page {
        let body = text.strip_suffix("# EOF\n").expect("a page ends with # EOF");
        let mut page = Page::default();
        let mut current = String::new();
        let mut seen = BTreeSet::new();
        for line in body.lines() {
            if let Some(head) = line.strip_prefix("# ") {
                let (what, rest) = head.split_once(' ').expect(line);
                let (name, value) = rest.split_once(' ').expect(line);
                if name != current {
                    assert!(!page.families.contains_key(name), "the family {name} is split");
                    name.clone_into(&mut current);
                }
                let family = page.families.entry(current.clone()).or_default();
                assert!(family.samples.is_empty(), "{name}: a head after samples");
                match what {
                    "HELP" => value.clone_into(&mut family.help),
                    "TYPE" => value.clone_into(&mut family.kind),
                    "UNIT" => {
                        assert!(name.ends_with(&format!("_{value}")), "{line}");
                        family.unit = Some(value.to_owned());
                    }
                    _ => panic!("{line}"),
                }
                continue;
            }
            let sample = Sample::parse(line);
            let mut labels = sample.labels.clone();
            labels.sort();
            assert!(seen.insert((sample.name.clone(), labels)), "twice: {line}");
            let family = page.families.get_mut(&current).expect("a sample belongs to a family");
            let suffix = sample.name.strip_prefix(&current).expect(line);
            let allowed: &[&str] = match family.kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_bucket", "_count", "_sum"],
                "info" => &["_info"],
                kind => panic!("{current}: {kind}"),
            };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(family.kind != "counter" || sample.value >= 0.0, "{line}");
            family.samples.push(sample);
        }
        page.families.iter().filter(|(_, f)| f.kind == "histogram").for_each(|(name, f)| f.check_buckets(name));
        page
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut samples = self.families.values().flat_map(|family| &family.samples);
        let sample = samples.find(|sample| {
            sample.name == name
                && sample.labels.len() == labels.len()
                && sample.labels.iter().zip(labels).all(|((n, v), (name, value))| n == name && v == value)
        });
        sample.map(|sample| sample.value)
    }
}

impl Family {
    /// Buckets ascend and accumulate, and the last is `+Inf` and equal to the count.
    fn check_buckets(&self, name: &str) {
        let mut last = (f64::NEG_INFINITY, 0.0);
        let mut counts = Vec::new();
        let mut totals = Vec::new();
        for sample in &self.samples {
            if sample.name == format!("{name}_count") {
                counts.push(sample.value);
            } else if sample.name == format!("{name}_bucket") {
                let bound = number(&sample.labels[0].1);
                assert!(bound > last.0 && sample.value >= last.1, "{name}: {bound}");
                last = (bound, sample.value);
                if bound == f64::INFINITY {
                    totals.push(sample.value);
                    last = (f64::NEG_INFINITY, 0.0);
                }
            }
        }
        assert_eq!(counts, totals, "{name}");
    }
}

impl Sample {
    fn parse(line: &str) -> Sample {
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').expect(line);
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (label, after) = rest.split_once("=\"").expect(line);
                let (value, after) = unquote(after);
                labels.push((label.to_owned(), value));
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let (value, _exemplar) = rest.split_once(" # ").unwrap_or((rest, ""));
        let value = number(value.strip_prefix(' ').expect(line));
        Sample { name: name.to_owned(), labels, value }
    }
}

/// A label's value up to its closing quote, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                other => panic!("escape {other:?} in {text}"),
            },
            _ => value.push(c),
        }
    }
    panic!("{text} has no closing quote")
}

fn number(text: &str) -> f64 {
    if text == "+Inf" { f64::INFINITY } else { text.parse().unwrap_or_else(|_| panic!("{text} is not a number")) }
}
