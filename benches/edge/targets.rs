//! What Hedgerow is to reach. Whether it does is computed from what was measured, never written down.

use crate::report::{Figure, What};

/// One thing to be reached: a figure of `this`, or its ratio to that of another, at most.
struct Target {
    scenario: &'static str,
    what: What,
    this: &'static str,
    /// None where the figure itself is meant.
    that: Option<&'static str>,
    most: f64,
}

const TARGETS: &[Target] = &[
    cpu("hit-1k", "hedgerow", "floor", 1.25),
    cpu("hit-1k", "hedgerow", "haproxy", 0.8),
    cpu("hit-1k", "hedgerow", "nginx", 0.55),
    cpu("hit-1k", "hedgerow", "varnish", 0.3),
    cpu("hit-64k", "hedgerow", "floor", 1.25),
    cpu("flat", "hedgerow, 1,000,000 keys", "hedgerow, 1,000 keys", 1.1),
    cpu("log", "hedgerow, log", "hedgerow", 1.15),
    cpu("miss", "hedgerow", "nginx", 2.0),
    cpu("miss-hedge", "hedgerow", "nginx", 2.0),
    cpu("tls-hit-1k", "hedgerow", "nginx", 0.8),
    cpu("h2-hit-1k", "hedgerow", "nginx", 0.8),
    Target { scenario: "open", what: What::P99, this: "hedgerow", that: Some("nginx"), most: 1.0 },
    Target { scenario: "idle", what: What::Memory, this: "hedgerow", that: None, most: 8.0 },
];

const fn cpu(scenario: &'static str, this: &'static str, that: &'static str, most: f64) -> Target {
    Target { scenario, what: What::Cpu, this, that: Some(that), most }
}

/// A table of the targets in the scenarios that were run.
pub(crate) fn table(figures: &[Figure]) -> Vec<String> {
    let run = |target: &&Target| figures.iter().any(|figure| figure.scenario == target.scenario);
    let head = "| scenario | what | at most | measured | | of the least |\n|---|---|---|---|---|---|";
    std::iter::once(head.to_owned()).chain(TARGETS.iter().filter(run).map(|target| target.row(figures))).collect()
}

impl Target {
    fn row(&self, figures: &[Figure]) -> String {
        let of = |entrant: &str, part: fn(&Figure) -> f64| {
            let wanted = |figure: &&Figure| {
                (figure.scenario, figure.what, figure.entrant.as_str()) == (self.scenario, self.what, entrant)
            };
            figures.iter().find(wanted).map(part)
        };
        let value = |part: fn(&Figure) -> f64| match self.that {
            Some(that) => of(self.this, part).zip(of(that, part)).map(|(this, that)| this / that),
            None => of(self.this, part),
        };
        let [median, least] = [value(|figure| figure.median), value(|figure| figure.least)];
        let verdict = match median {
            Some(value) if value <= self.most => "met",
            Some(_) => "**missed**",
            None => "not measured",
        };
        let [median, least] = [median, least].map(|value| value.map_or(String::new(), |value| format!("{value:.2}")));
        let what = match self.what {
            What::Cpu => "CPU",
            What::P99 => "p99",
            What::Memory => "KiB per connection",
        };
        let that = self.that.map_or(String::new(), |that| format!(" / {that}"));
        format!(
            "| `{}` | {what}, {}{that} | {} | {median} | {verdict} | {least} |",
            self.scenario, self.this, self.most
        )
    }
}
