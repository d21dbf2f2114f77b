//! A request to look at for each bucket of a histogram: the last one whose trace is kept. (OpenMetrics 1.0, exemplars)
//!
//! The exporter's encoder takes only exemplars that it has collected itself, so ours are put into the page behind its back: the
//! lines of a histogram come in a known order.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::histogram::{self, BUCKETS};

/// Those of one histogram.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<[Option<Exemplar>; BUCKETS]>);

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Exemplar {
    trace_id: u128,
    value: Duration,
    at: SystemTime,
}

impl Exemplars {
    /// A request of this duration that ended at `at`, and whose trace is kept. Where others are at it just now, theirs is as good.
    pub(super) fn note(&self, trace_id: u128, value: Duration, at: SystemTime) {
        let Some(mut kept) = self.0.try_lock() else { return };
        if let Some(place) = kept.get_mut(histogram::bucket(value)) {
            *place = Some(Exemplar { trace_id, value, at });
        }
    }

    /// One for each bucket, or none.
    pub(super) fn read(&self) -> [Option<Exemplar>; BUCKETS] {
        *self.0.lock()
    }
}

/// Puts exemplars behind the buckets of `histogram` on a page: one place for each bucket's line, in their order.
pub(super) fn splice(page: &mut String, histogram: &str, exemplars: &[Option<Exemplar>]) {
    let bucket = format!("\n{histogram}_bucket{{");
    let Some(start) = page.find(&bucket).filter(|_| exemplars.iter().any(Option::is_some)) else { return };
    let lines = page.split_off(start + 1);
    let (mut rest, mut exemplars) = (lines.as_str(), exemplars.iter());
    while let Some((line, after)) = rest.split_once('\n') {
        page.push_str(line);
        if line.starts_with(&bucket[1..])
            && let Some(Some(Exemplar { trace_id, value, at })) = exemplars.next()
        {
            let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let (value, since) = (value.as_secs_f64(), since.as_secs_f64());
            // Writing to a String cannot fail.
            let _infallible = write!(page, " # {{trace_id=\"{trace_id:032x}\"}} {value} {since:.3}");
        }
        page.push('\n');
        rest = after;
        if exemplars.len() == 0 {
            break;
        }
    }
    page.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_its_last_one() {
        let exemplars = Exemplars::default();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        exemplars.note(1, Duration::from_millis(7), at);
        exemplars.note(2, Duration::from_millis(8), at);
        exemplars.note(3, Duration::from_secs(99), at);
        let ids: Vec<_> = exemplars.read().into_iter().flatten().map(|exemplar| exemplar.trace_id).collect();
        assert_eq!(ids, [2, 3]);
    }

    #[test]
    fn they_stand_behind_their_buckets_and_nothing_else_changes() {
        let page = "# TYPE a histogram\na_sum 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\n\
                    a_sum{b=\"c\"} 1\na_bucket{le=\"1\",b=\"c\"} 1\na_bucket{le=\"+Inf\",b=\"c\"} 2\n# TYPE d gauge\nd 1\n";
        let some = Exemplar {
            trace_id: 0xab,
            value: Duration::from_millis(250),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
        };
        let mut spliced = page.to_owned();
        splice(&mut spliced, "a", &[None, None, Some(some), None]);
        let mark = " # {trace_id=\"000000000000000000000000000000ab\"} 0.25 1.500";
        assert_eq!(spliced, page.replace("le=\"1\",b=\"c\"} 1", &format!("le=\"1\",b=\"c\"}} 1{mark}")));
        for (histogram, exemplars) in [("a", &[None; 4][..]), ("e", &[Some(some)])] {
            let mut same = page.to_owned();
            splice(&mut same, histogram, exemplars);
            assert_eq!(same, page);
        }
    }
}
