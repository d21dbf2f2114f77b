//! The files in deploy/ ask for metrics that there are, with labels that they have, and every alert has its section.

#![allow(clippy::expect_used, clippy::panic, reason = "a file that cannot be read has failed")]

use hedgerow::telemetry::names;
use serde_json::Value;

const DASHBOARD: &str = include_str!("../deploy/grafana/hedgerow.json");
const RECORDING: &str = include_str!("../deploy/prometheus/recording.yml");
const ALERTS: &str = include_str!("../deploy/prometheus/alerts.yml");
const TESTS: &str = include_str!("../deploy/prometheus/tests.yml");
const OPERATIONS: &str = include_str!("../docs/operations.md");

/// Every text below a key of this name.
fn texts<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get(key).and_then(Value::as_str));
            map.values().for_each(|value| texts(value, key, found));
        }
        Value::Array(list) => list.iter().for_each(|value| texts(value, key, found)),
        _ => {}
    }
}

/// The words of a query that look like a metric of ours, each with the labels that are asked for in braces behind it.
fn metrics(query: &str) -> Vec<(String, Vec<String>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(is_word) {
        let word: String = rest[start..].chars().take_while(|c| is_word(*c)).collect();
        rest = &rest[start + word.len()..];
        if word.starts_with("hedgerow_") || word.starts_with("process_") {
            let inside = rest.strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
            let labels = inside.split(',').filter_map(|part| part.split(['=', '!']).next());
            let labels = labels.map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect();
            found.push((word, labels));
        }
    }
    found
}

/// Complains of what no page has.
fn check(query: &str) {
    for (name, labels) in metrics(query) {
        let of = |suffix: &str| name.strip_suffix(suffix).map(str::to_owned);
        let candidates = [Some(name.clone()), of("_bucket"), of("_sum"), of("_count")];
        let metric = names::ALL.iter().find(|metric| candidates.iter().flatten().any(|c| c == metric.name));
        let metric = metric.unwrap_or_else(|| panic!("no metric is called {name}, in: {query}"));
        for label in labels {
            let is_ours = metric.labels.iter().any(|known| known.name == label);
            assert!(
                is_ours || matches!(label.as_str(), "instance" | "job" | "le"),
                "{name} has no label {label}: {query}"
            );
        }
    }
}

#[test]
fn every_query_of_the_dashboard_names_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("a dashboard");
    let mut queries = Vec::new();
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard["templating"], "query", &mut queries);
    assert!(queries.len() > 30, "{queries:?}");
    queries.iter().for_each(|query| check(query));
}

#[test]
fn the_rules_name_metrics_that_there_are() {
    let known: Vec<&str> = RECORDING.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    assert!(known.len() > 5);
    for (text, least) in [(RECORDING, 10), (ALERTS, 12), (TESTS, 20)] {
        let lines =
            text.lines().filter(|line| !line.trim_start().starts_with(['#', 's', 'd']) || line.contains("series"));
        let mut count = 0;
        for line in lines {
            for name in known.iter().filter(|name| line.contains(**name)) {
                count += usize::from(!name.is_empty());
            }
            let line = known.iter().fold(line.to_owned(), |line, name| line.replace(name, ""));
            count += metrics(&line).len();
            check(&line);
        }
        assert!(count >= least, "{count}");
    }
    // What an alert asks of a recording rule is recorded.
    for line in ALERTS.lines() {
        for word in line.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))) {
            assert!(!word.starts_with("instance_") || known.contains(&word), "{word}");
        }
    }
}

#[test]
fn every_alert_has_a_test_and_a_runbook() {
    let alerts: Vec<&str> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 12, "{alerts:?}");
    for alert in alerts {
        assert!(TESTS.contains(&format!("alertname: {alert}\n")), "{alert} has no test");
        assert!(OPERATIONS.contains(&format!("\n### {alert}\n")), "{alert} has no section in docs/operations.md");
        let anchor = format!("runbook: docs/operations.md#{}\n", alert.to_lowercase());
        assert!(ALERTS.contains(&anchor), "{alert} does not lead to its section");
    }
}
