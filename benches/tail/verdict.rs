//! What was to be reached, and whether it was.

/// One thing to be reached.
pub(crate) struct Verdict {
    what: String,
    pub(crate) met: bool,
}

impl Verdict {
    pub(crate) fn at_most(what: &str, value: f64, limit: f64, digits: usize) -> Verdict {
        Verdict { what: format!("{what} {value:.digits$} (at most {limit})"), met: value <= limit }
    }

    pub(crate) fn at_least(what: &str, value: f64, limit: f64, digits: usize) -> Verdict {
        Verdict { what: format!("{what} {value:.digits$} (at least {limit})"), met: value >= limit }
    }
}

/// The verdicts of a run in a line.
pub(crate) fn judged(seed: u64, verdicts: &[Verdict]) -> String {
    let said = |verdict: &Verdict| format!("{} {}", verdict.what, if verdict.met { "met" } else { "**missed**" });
    format!("* hedgerow, seed {seed}: {}", verdicts.iter().map(said).collect::<Vec<_>>().join("; "))
}
