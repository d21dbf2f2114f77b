//! From what clients saw and backends received to figures.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use super::arrivals::{Arrivals, Class};
use super::scenario::{PATIENCE, service};
use crate::figures::figures;
use crate::load::{Failure, Sample};
use crate::measures::{received_in, windows};
use crate::record::Received;
use crate::run::Outcome;

/// What is answered later than this after it was due is of no use.
const IN_TIME: Duration = Duration::from_millis(250);
/// The recovery is looked at in parts of this length.
const SLICE: Duration = Duration::from_millis(500);
/// Latency is back when its p99 is at most so many times what it was before the spike, or, in a part of the recovery whose
/// requests happen to cost more, what their service times alone come to.
const BACK: f64 = 1.25;
/// What comes first, with connections to be opened, is not what is usual.
const BEGINNING: Duration = Duration::from_secs(1);

/// What became of some requests of the spike.
#[derive(Default)]
pub(crate) struct Fate {
    pub(crate) due: usize,
    pub(crate) in_time: usize,
    /// Answered 503.
    pub(crate) refused: usize,
    /// Failed otherwise.
    pub(crate) failed: usize,
    /// p50 and p99 of those that were answered, ms.
    pub(crate) latencies: [f64; 2],
}

impl Fate {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Fate {
        let mut fate = Fate::default();
        let mut answered = Vec::new();
        for sample in samples {
            fate.due += 1;
            match sample.failure {
                None => answered.push(sample.latency),
                Some(Failure::Status(503)) => fate.refused += 1,
                Some(_) => fate.failed += 1,
            }
        }
        fate.in_time = answered.iter().filter(|latency| **latency <= IN_TIME).count();
        let [p50, _, p99, _, _] = figures(answered.into_iter());
        fate.latencies = [p50, p99];
        fate
    }

    /// In %, of those that were due.
    pub(crate) fn share(&self, number: usize) -> f64 {
        number as f64 / self.due.max(1) as f64 * 100.0
    }
}

/// The figures of a run; latencies are in ms.
pub(crate) struct Measures {
    /// Answers in time per second of the spike.
    pub(crate) goodput: f64,
    /// By class, in the order of [`Class::ALL`].
    pub(crate) classes: [Fate; 3],
    /// Of requests for keys that may be stored.
    pub(crate) kept: Fate,
    /// Failed requests of the spike, by what went wrong.
    pub(crate) failures: BTreeMap<String, usize>,
    /// p99 before the spike, and of each part of the recovery.
    pub(crate) before: f64,
    pub(crate) slices: Vec<f64>,
    /// From when on after the spike p99 stays what it was; seconds.
    pub(crate) back: Option<f64>,
    /// When each request that failed after the spike was due; seconds after its end.
    pub(crate) failed_after: Vec<f64>,
    /// Attempts at backends in a second for each request that reached one in it, the most in any second of the run.
    pub(crate) amplification: f64,
    /// Attempts that came marked as hedges in the spike.
    pub(crate) hedges: usize,
    /// Processor time of the proxy in the spike for each request due in it, microseconds.
    pub(crate) cpu: Option<f64>,
    /// The same for each that it answered 503: what is left when each answered 200 has cost what one costs before the
    /// spike, where most are refused.
    pub(crate) shed_cpu: Option<f64>,
    /// From when a request was due to its sending, 99th percentile over the whole run.
    pub(crate) late: f64,
    pub(crate) open: usize,
    pub(crate) gauge: Option<u64>,
}

impl Measures {
    pub(crate) fn of(outcome: &Outcome, arrivals: &Arrivals, seed: u64) -> Measures {
        let phases = outcome.phases;
        let spike = phases.warm..phases.warm + phases.fault;
        let end = spike.end + phases.recovery;
        let due_in = |range: Range<Duration>| outcome.samples.iter().filter(move |sample| range.contains(&sample.due));
        let p99 = |range| figures(due_in(range).map(took))[2];
        let of_class =
            |class| Fate::of(due_in(spike.clone()).filter(move |sample| arrivals.class(sample.request) == Some(class)));
        let classes = Class::ALL.map(of_class);
        let before = p99(BEGINNING.min(phases.warm / 2)..phases.warm);
        let starts = std::iter::successors(Some(spike.end), |start| Some(*start + SLICE));
        let ranges: Vec<Range<Duration>> =
            starts.map(|start| start..start + SLICE).take_while(|slice| slice.end <= end).collect();
        let drawn = |range: &Range<Duration>| {
            let requests = due_in(range.clone()).filter_map(|sample| sample.target.request());
            figures(requests.map(|request| service(seed, request)))[2]
        };
        let limits: Vec<f64> = ranges.iter().map(|range| before.max(drawn(range)) * BACK).collect();
        let slices: Vec<f64> = ranges.into_iter().map(p99).collect();
        let mut failures = BTreeMap::new();
        for failure in due_in(spike.clone()).filter_map(|sample| sample.failure) {
            *failures.entry(failure.to_string()).or_default() += 1;
        }
        let failed_after = due_in(spike.end..end).filter(|sample| sample.failure.is_some());
        let all = |number: fn(&Fate) -> usize| classes.iter().map(number).sum::<usize>() as f64;
        let (requests, refused, failed) = (all(|fate| fate.due), all(|fate| fate.refused), all(|fate| fate.failed));
        let micros = |cpu: Duration| cpu.as_secs_f64() * 1e6;
        let usual = |cpu: Duration| micros(cpu) / due_in(Duration::ZERO..phases.warm).count().max(1) as f64;
        let answered = requests - refused - failed;
        // Where less is refused, what it costs is lost in what the rest does.
        let mostly = refused > (answered + failed) * 2.0;
        let shed_cpu =
            outcome.cpu.filter(|_| mostly).map(|[warm, spike]| (micros(spike) - answered * usual(warm)) / refused);
        Measures {
            goodput: all(|fate| fate.in_time) / phases.fault.as_secs_f64(),
            kept: Fate::of(due_in(spike.clone()).filter(|sample| sample.target.request().is_none())),
            classes,
            failures,
            before,
            back: back(&slices, &limits),
            slices,
            failed_after: failed_after.map(|sample| (sample.due - spike.end).as_secs_f64()).collect(),
            amplification: amplification(&outcome.received, &(Duration::ZERO..end)),
            hedges: received_in(&outcome.received, &spike).filter(|received| received.hedge).count(),
            cpu: outcome.cpu.map(|[_, spike]| micros(spike) / requests.max(1.0)),
            shed_cpu,
            late: figures(outcome.samples.iter().map(|sample| sample.late))[2],
            open: outcome.open,
            gauge: outcome.gauge,
        }
    }
}

/// What fails counts as having taken as long as a client waits.
fn took(sample: &Sample) -> Duration {
    if sample.failure.is_some() { PATIENCE } else { sample.latency }
}

/// When the first of the parts begins from which on all keep to their limits; `None` if the last does not.
fn back(slices: &[f64], limits: &[f64]) -> Option<f64> {
    let bad = slices.iter().zip(limits).rposition(|(p99, limit)| p99 > limit).map_or(0, |last| last + 1);
    (bad < slices.len()).then(|| bad as f64 * SLICE.as_secs_f64())
}

fn amplification(received: &[Received], whole: &Range<Duration>) -> f64 {
    let of_window = |window: Range<Duration>| {
        let attempts = received_in(received, &window);
        // Fetches of what may be stored are for nobody alone.
        let of_requests: Vec<usize> = attempts.filter_map(|one| one.request).collect();
        let requests: HashSet<&usize> = of_requests.iter().collect();
        of_requests.len() as f64 / requests.len().max(1) as f64
    };
    windows(whole).map(of_window).fold(0.0, f64::max)
}
