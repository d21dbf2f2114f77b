//! From what clients saw and backends received to figures.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::figures::figures;
use crate::load::{PATIENCE, Sample};
use crate::record::{End, Received};
use crate::run::Outcome;
use crate::scenario::{BACKENDS, SICK};

const SECOND: Duration = Duration::from_secs(1);
/// Windows of a second begin so often.
const STEP: Duration = Duration::from_millis(100);
/// The load is away from the sick backend when its share is at most this.
pub(crate) const AWAY: f64 = 0.015;
/// And back when its share of a fair one is at least this.
const BACK: f64 = 0.8;
/// Fetches that begin sooner after an answer are for the same expiry.
const SAME_EXPIRY: Duration = Duration::from_millis(500);

/// The figures of a run; latencies are in ms.
pub(crate) struct Measures {
    /// p50, p95, p99, p99.9 and the maximum of the fault phase.
    pub(crate) latencies: [f64; 5],
    /// From when a request was due to its sending, 99th percentile over the whole run.
    pub(crate) late: f64,
    /// Failed requests of the whole run, by what went wrong.
    pub(crate) failures: BTreeMap<String, usize>,
    /// Failed requests of the fault phase.
    pub(crate) errors: usize,
    /// Attempts at backends per request of a client: of requests of the fault phase, of all, and the most in any second.
    pub(crate) amplification: [f64; 3],
    /// Attempts that came marked as hedges in the fault phase.
    pub(crate) hedges: usize,
    /// Of attempts from the fault's first second on, the sick backend's share.
    pub(crate) share: f64,
    /// From when on, after the fault's begin, the sick backend's share stays low; seconds.
    pub(crate) away: Option<f64>,
    /// When its share is fair again, after the fault's end; seconds.
    pub(crate) back: Option<f64>,
    /// How long the run went on after the fault.
    pub(crate) recovery: Duration,
    /// Connections that backends accepted in the fault phase, and in the whole run.
    pub(crate) connections: [usize; 2],
    /// Fetches of the hot key and expiries in the fault phase.
    pub(crate) fetches: [usize; 2],
    pub(crate) open: usize,
    pub(crate) gauge: Option<u64>,
}

impl Measures {
    pub(crate) fn of(outcome: &Outcome) -> Measures {
        let phases = outcome.phases;
        let fault = phases.warm..phases.warm + phases.fault;
        let whole = Duration::ZERO..fault.end + phases.recovery;
        let due_in = |range: &Range<Duration>| {
            let range = range.clone();
            outcome.samples.iter().filter(move |sample| range.contains(&sample.due))
        };
        // Where there is a hot key, what else is asked for is there to keep estimators warm.
        let hot = outcome.samples.iter().any(|sample| sample.target.request().is_none());
        let told = |sample: &&Sample| sample.target.request().is_none() == hot;
        let took = |sample: &Sample| if sample.failure.is_some() { PATIENCE } else { sample.latency };
        let mut failures = BTreeMap::new();
        for failure in outcome.samples.iter().filter_map(|sample| sample.failure) {
            *failures.entry(failure.to_string()).or_default() += 1;
        }
        let ratio = |range: &Range<Duration>| {
            let attempts = outcome.received.iter().filter(|received| {
                let sample = received.request.and_then(|request| outcome.samples.get(request));
                let of = sample.map_or(received.at, |sample| sample.due);
                range.contains(&of)
            });
            attempts.count() as f64 / due_in(range).count().max(1) as f64
        };
        let seconds = windows(&whole).map(|window| {
            let attempts = received_in(&outcome.received, &window).count();
            attempts as f64 / due_in(&window).count().max(1) as f64
        });
        let share_in = |window: Range<Duration>| share(&outcome.received, &window);
        let last_near = windows(&fault).filter(|window| share_in(window.clone()) > AWAY).last();
        let away = last_near.map_or(Duration::ZERO, |window| window.start - fault.start + STEP);
        let back = windows(&(fault.end..whole.end)).find(|window| share_in(window.clone()) * BACKENDS as f64 >= BACK);
        let connected = |range: &Range<Duration>| outcome.connections.iter().filter(|at| range.contains(*at)).count();
        Measures {
            latencies: figures(due_in(&fault).filter(told).map(took)),
            late: figures(outcome.samples.iter().map(|sample| sample.late))[2],
            failures,
            errors: due_in(&fault).filter(|sample| sample.failure.is_some()).count(),
            amplification: [ratio(&fault), ratio(&whole), seconds.fold(0.0, f64::max)],
            hedges: received_in(&outcome.received, &fault).filter(|received| received.hedge).count(),
            share: share_in(fault.start + SECOND..fault.end),
            away: (away + SECOND <= phases.fault).then_some(away.as_secs_f64()),
            back: back.map(|window| (window.start - fault.end).as_secs_f64()),
            recovery: phases.recovery,
            connections: [connected(&fault), outcome.connections.len()],
            fetches: fetches(&outcome.received, &fault),
            open: outcome.open,
            gauge: outcome.gauge,
        }
    }

    /// `None` if nothing was fetched.
    pub(crate) fn fetches_per_expiry(&self) -> Option<f64> {
        let [fetches, expiries] = self.fetches;
        (expiries > 0).then(|| fetches as f64 / expiries as f64)
    }
}

/// All windows of a second in there.
pub(crate) fn windows(range: &Range<Duration>) -> impl Iterator<Item = Range<Duration>> {
    let end = range.end;
    let starts = std::iter::successors(Some(range.start), |start| Some(*start + STEP));
    starts.map(|start| start..start + SECOND).take_while(move |window| window.end <= end)
}

pub(crate) fn received_in<'a>(received: &'a [Received], range: &Range<Duration>) -> impl Iterator<Item = &'a Received> {
    let from = received.partition_point(|one| one.at < range.start);
    let to = received.partition_point(|one| one.at < range.end);
    received[from..to.max(from)].iter()
}

/// The sick backend's share.
fn share(received: &[Received], range: &Range<Duration>) -> f64 {
    let all = received_in(received, range).count();
    let sick = received_in(received, range).filter(|one| one.backend == SICK).count();
    sick as f64 / all.max(1) as f64
}

/// Fetches of the hot key, and how often it had expired: a fetch is for another expiry than the one before it if that one
/// has been answered, and a while ago.
fn fetches(received: &[Received], range: &Range<Duration>) -> [usize; 2] {
    let hot: Vec<&Received> = received_in(received, range).filter(|one| one.request.is_none()).collect();
    let mut expiries: Vec<Vec<&Received>> = Vec::new();
    for fetch in &hot {
        let answered =
            |before: &&Received| matches!(before.end, Some((at, End::Answered)) if at + SAME_EXPIRY <= fetch.at);
        match expiries.last_mut() {
            Some(same) if !same.iter().any(answered) => same.push(fetch),
            _ => expiries.push(vec![fetch]),
        }
    }
    [hot.len(), expiries.len()]
}
